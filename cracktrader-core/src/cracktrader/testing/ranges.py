"""The contract, part two: which bars come, in which order, in what shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cracktrader.bars import PRICES, Bars
from cracktrader.catalog import Catalog
from cracktrader.errors import InvalidOption
from cracktrader.loading import load
from cracktrader.plugins.registry import Registry
from cracktrader.plugins.source import Source
from cracktrader.testing.base import ContractBase, MakeSource
from cracktrader.times import isoformat

__all__ = ["RangeContract"]


class RangeContract(ContractBase):
    """Exactly the bars that were asked for, oldest first, whatever the chunks."""

    # ── the catalog ──────────────────────────────────────────────────────────────────────────────────

    def test_a_catalog_in_front_changes_nothing(self, make: MakeSource, whole: Bars, tmp_path: Path) -> None:
        """Its bars come back from the disk as they came, in parts and whole; two sources of the same options are one."""
        try:
            json.dumps(dict(make().identity))
        except InvalidOption as error:
            pytest.skip(f"The source can't be kept in a catalog: {error.message}")
        catalog = Catalog(tmp_path)
        half = int(whole.time[len(whole) // 2])
        for start, end in ((half, self.end), (self.start, self.end), (self.start, half)):
            request = self.request(start, end)
            kept = catalog.bars(make(), request).in_order()
            self.assert_same(kept, whole[request.contains(whole.time)], f"Through a catalog, {request}")

    # ── ranges ───────────────────────────────────────────────────────────────────────────────────────

    def test_the_range_holds_the_expected_bars(self, whole: Bars) -> None:
        """``expected``, where it is given, value for value."""
        request = self.request()
        assert request.contains(whole.time).all()
        if self.expected is not None:
            self.assert_same(whole.but(flags=self.expected.flags), self.expected, "The bars of the whole range")

    def test_start_is_inclusive(self, source: Source, whole: Bars) -> None:
        """A bar that opens at the start belongs to the range, the one before does not; the plugin cuts there itself."""
        for row in (1, len(whole) // 2):
            first = self._times(source, whole.time[row], self.end).min()
            assert first == whole.time[row], (
                f"Asked for bars from {isoformat(whole.time[row])}, the plugin's first is {isoformat(first)}."
            )

    def test_end_is_exclusive(self, source: Source, whole: Bars) -> None:
        """A bar that opens at the end does not belong to the range, the one before does; the plugin cuts there itself."""
        for row in (len(whole) // 2, len(whole) - 1):
            last = self._times(source, self.start, whole.time[row]).max()
            assert last == whole.time[row - 1], (
                f"Asked for bars until {isoformat(whole.time[row])}, that one excluded, the plugin's last is {isoformat(last)};"
                f" it should be {isoformat(whole.time[row - 1])}."
            )

    def test_inner_ranges_are_slices_of_the_whole(self, source: Source, whole: Bars) -> None:
        """A part that is asked for alone has the same bars as in the whole: not fewer, not others."""
        rows = len(whole) - 1
        for first, stop in ((0, 1), (0, rows), (1, rows), (rows // 2, rows // 2 + 1), (rows - 1, rows)):
            part = self.fetch(source, whole.time[first], whole.time[stop])
            self.assert_same(part, whole[first:stop], f"The bars from row {first} to row {stop} of the whole, asked for alone")

    def test_adjacent_ranges_join(self, source: Source, whole: Bars) -> None:
        """[a, b) and [b, c) are [a, c): nothing lost at the border, nothing twice."""
        for border in (1, len(whole) // 3, len(whole) - 1):
            parts = [
                self.fetch(source, self.start, whole.time[border]),
                self.fetch(source, whole.time[border], self.end),
            ]
            self.assert_same(Bars.concat(parts), whole, f"Two ranges that meet at row {border}, joined")

    def test_a_range_may_be_open(self, source: Source, whole: Bars) -> None:
        """Without a start from the first bar, without an end to the latest."""
        if not self.open_ends:
            pytest.skip("open_ends is False.")
        begun, ended = self.fetch(source, start=None), self.fetch(source, end=None)
        self.assert_same(begun[-len(whole) :], whole, "The last bars of the range without a start")
        self.assert_same(ended[: len(whole)], whole, "The first bars of the range without an end")
        assert self.fetch(source, None, None).time.tolist() == sorted({*begun.time.tolist(), *ended.time.tolist()}), (
            "Without start and end there should be all bars of both half-open ranges."
        )

    def test_an_empty_range_is_no_error(self, source: Source, whole: Bars) -> None:
        """No bars are an answer: a range of no length, a hole in the data, before the first bar, after the last."""
        for time in (whole.time[0], whole.time[len(whole) // 2], whole.timeframe.next(int(whole.time[-1]))):
            assert not len(self.fetch(source, time, time)), f"The range from {isoformat(time)} to the same time holds bars."
        for start, end in self._ranges_without_bars(source, whole):
            bars = self.fetch(source, start, end)
            assert not len(bars), f"Asked for {isoformat(start)} to {isoformat(end)}, where there are none, got {bars}."

    def _ranges_without_bars(self, source: Source, whole: Bars) -> list[tuple[int, int]]:
        grid, step = whole.timeframe, np.diff(whole.time)
        holes = np.flatnonzero(whole.time[1:] > grid.next(whole.time[:-1]))
        ranges = [(int(grid.next(whole.time[row])), int(whole.time[row + 1])) for row in holes[:1]]
        if self.open_ends:
            everything = self.fetch(source, None, None)
            first, after = int(everything.time[0]), int(grid.next(everything.time[-1]))
            ranges += [(first - 10 * int(step.min()), first), (after, after + 10 * int(step.min()))]
        return ranges

    def _times(self, source: Source, start: Any, end: Any) -> np.ndarray[Any, np.dtype[np.int64]]:
        times = self.delivered(source, start, end).time
        assert len(times), f"No bars of {self.request(start, end)}."
        return times

    # ── limits ───────────────────────────────────────────────────────────────────────────────────────

    def test_a_limit_with_a_start_gives_the_first_bars(self, source: Source, whole: Bars) -> None:
        """The core keeps the limit; a plugin that knows it too may save work, but must not send others."""
        for limit in (1, 3, len(whole), len(whole) + 5):
            bars = self._limited(source, limit, self.start)
            self.assert_same(bars, whole[:limit], f"The first {limit} bars")

    def test_a_limit_without_a_start_gives_the_last_bars(self, source: Source, whole: Bars) -> None:
        """The latest before the end."""
        if not self.open_ends:
            pytest.skip("open_ends is False.")
        for limit in (1, 3, len(whole)):
            self.assert_same(self._limited(source, limit, None), whole[-limit:], f"The last {limit} bars")

    def _limited(self, source: Source, limit: int, start: Any) -> Bars:
        return self.fetch(source, start=start, limit=limit)

    # ── order, chunks, types ─────────────────────────────────────────────────────────────────────────

    def test_bars_come_oldest_first_and_once(self, source: Source) -> None:
        """Strictly increasing times, within a chunk and from one to the next."""
        times = self.delivered(source).time
        wrong = np.flatnonzero(times[1:] <= times[:-1])
        assert not len(wrong), (
            f"After {isoformat(times[wrong[0]])} comes {isoformat(times[wrong[0] + 1])}, which is not later (row {wrong[0] + 1})."
        )

    def test_the_chunk_size_does_not_matter(self, make: MakeSource, whole: Bars) -> None:
        """However few rows are handed over at once, the same bars come."""
        if self.chunk_option is None:
            pytest.skip("No chunk_option was named.")
        for value in self.chunk_values:
            with make(**{self.chunk_option: value}) as source:
                self.assert_same(self.fetch(source), whole, f"The bars with {self.chunk_option}={value}")

    def test_bars_open_on_the_grid(self, whole: Bars) -> None:
        """Bars are stamped with their opening: not with their close, not with the last trade's time."""
        off = np.flatnonzero(whole.timeframe.floor(whole.time) != whole.time)
        assert not len(off), f"{isoformat(whole.time[off[0]])} is no opening of a {whole.timeframe} bar (row {off[0]})."

    def test_prices_and_volumes_are_numbers(self, whole: Bars) -> None:
        """float64, and in the range that the author chose none of them missing."""
        for name in (*PRICES, "volume"):
            assert whole[name].dtype == np.float64
            unknown = np.flatnonzero(~np.isfinite(whole[name]))
            assert not len(unknown), f"The {name} of row {unknown[0]} is {whole[name][unknown[0]]}."
        assert whole.time.dtype == np.int64

    def test_provenance_is_plain_json(self, whole: Bars) -> None:
        """It is stored and sent; times go in as text."""
        json.dumps(dict(whole.provenance), allow_nan=False)

    def test_the_same_question_has_the_same_answer(self, source: Source, whole: Bars) -> None:
        """Asked again, the same; and what was handed out before does not change under its owner's hands."""
        taken = [(chunk, {name: chunk[name].copy() for name in chunk.columns}) for chunk in source.bars(self.request())]
        self.assert_same(self.fetch(source), whole, "The second time")
        self.fetch(source, start=whole.time[1])
        for chunk, before in taken:
            self.assert_same(chunk, chunk.but(**_columns(before)), "A chunk, after others came,")

    def test_loading_gives_the_same_bars_checked(self, source: Source, whole: Bars) -> None:
        """The way that users go: ``ct.load``, with a report."""
        request = self.request()
        registry = Registry(entry_points=lambda _: (), environ={})
        bars = load(source, symbol=request.symbol, timeframe=request.timeframe, start=request.start, end=request.end,
                    validation="report", registry=registry)  # fmt: skip
        assert bars.report is not None
        self.assert_same(bars.in_order().but(flags=whole.flags), whole, "What ct.load gives")


def _columns(named: dict[str, Any]) -> dict[str, Any]:
    own = ("time", *PRICES, "volume", "flags")
    return {name: named[name] for name in own} | {"extra": {name: named[name] for name in named if name not in own}}
