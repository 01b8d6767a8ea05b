"""From rows to Bars: symbols, zones, stamps, and what the user has to know about a file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import InvalidOption, MalformedData, UnknownSymbol
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader_csv.claims import doubt_about
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.layouts import plain
from cracktrader_csv.parsing import BadLine, Filter, Rows
from cracktrader_csv.sniffing import Plan, quoted
from cracktrader_csv.zones import WallClock

__all__ = ["Assembly", "Series", "opening_of"]

_DAY_MS: Final = 86_400_000
# Clocks differ from UTC by 14 hours at most, and from themselves by a day where a country changed sides of the date line.
_ZONE_SLACK: Final = 2 * _DAY_MS
_MONTH_SLACK: Final = 32 * _DAY_MS


class Series:
    """What all files of one request share: which rows are wanted, how they are called, which symbols were met."""

    def __init__(
        self, config: CsvConfig, request: BarRequest, stem: str, all_symbols: Callable[[], list[str]], notes: list[str]
    ) -> None:
        self.config, self.request, self.stem, self.all_symbols, self.notes = config, request, stem, all_symbols, notes
        self.doubted = False
        self.asked = config.filter_symbol or request.symbol
        self.met: dict[str, bool] = {}  # and whether it is the one asked for
        self.has_symbols = False
        self.spans: list[tuple[str, int, int]] = []
        self.latest = -(1 << 62)

    def filter_of(self, plan: Plan) -> Filter:
        """What the parser of one file has to look for."""
        start, end = self.request.start, self.request.end
        slack = _ZONE_SLACK if plan.clock.local else 0
        length = self.request.timeframe.step or _MONTH_SLACK * self.request.timeframe.amount
        late = length + 1000 if self.config.stamp == "close" else 0
        return Filter(
            self.is_asked if plan.symbol is not None and self.asked else None,
            None if start is None else start - slack,
            None if end is None else end + slack + late,
        )

    def doubt(self, name: str, *, listed: bool) -> None:
        """Look at the name of a file that has no column of symbols: whether it is plainly of another series.

        Raises :class:`InvalidOption` where it is, unless the file is ``listed``; what is less plain, is noted once.
        """
        if self.doubted or self.config.by_column or (doubt := doubt_about(name, self.request)) is None:
            return
        if doubt.plain and not listed:
            raise InvalidOption(
                f"By its name {name!r} holds {doubt.bears}, and {doubt.asked} was asked for.",
                hint=f"If it does hold {doubt.asked}, name it in a list: path=['…'] is read whatever the names.",
                path=name,
            )
        self.notes.append(f"By its name {name!r} may hold {doubt.bears}; it was read as {doubt.asked}.")
        self.doubted = True

    def is_asked(self, symbol: str) -> bool:
        """Whether a symbol of a file is the one asked for: ``BTCUSDT`` is ``BTC/USDT``, unless filter_symbol is told."""
        if self.config.filter_symbol is not None:
            return symbol == self.config.filter_symbol
        return symbol == self.asked or plain(symbol) == plain(self.asked)

    def meet(self, rows: Rows, plan: Plan) -> None:
        """Take note of the symbols in a block; raises :class:`InvalidOption` where it is not clear which is meant."""
        self.has_symbols |= plan.symbol is not None
        new = {symbol: self.is_asked(symbol) for symbol in rows.symbols if symbol not in self.met}
        if not new:
            return
        self.met |= new
        if not self.asked and len(self.met) > 1:
            raise InvalidOption(
                f"{plan.name} holds several symbols ({_some(self.all_symbols())}), and none was asked for.",
                hint=f"Say which: symbol={next(iter(self.met))!r}.",
            )
        if self.asked and len(alike := [symbol for symbol, asked in self.met.items() if asked]) > 1:
            raise InvalidOption(
                f"{plan.name} holds more than one symbol that may be {self.asked!r}: {_some(alike)}.",
                hint=f"Say which, spelled as in the file: filter_symbol={alike[0]!r}.",
            )

    @cached_property
    def label(self) -> str:
        """What the bars are called; settled with the first of them."""
        return self.request.symbol or self.config.filter_symbol or next(iter(self.met), "") or self.stem

    def overlapping(self, name: str, first: int, last: int) -> str:
        """What the user has to know where another file holds bars of the same times, as files of one series rarely do."""
        # Files mostly come in the order of their times: then none reaches into the next, and none is compared.
        for other, begin, end in self.spans if first < self.latest else ():
            shared = min(last, end) - max(first, begin)
            if shared > 0.1 * min(last - first, end - begin):
                self.spans.clear()  # said once
                return (
                    f"{other} and {name} both hold bars of {isoformat(max(first, begin))} to {isoformat(min(last, end))}, and the"
                    " later file counts; if they are not of one series, name the file that is meant."
                )
        self.spans.append((name, first, last))
        self.latest = max(last, self.latest)
        return ""

    def finish(self) -> None:
        """Raises :class:`UnknownSymbol` where files with a column of symbols had none that was asked for."""
        if not self.has_symbols or not self.asked or any(self.met.values()):
            return
        known = self.all_symbols()  # an ordered file was not read to its end
        if not any(map(self.is_asked, known)):
            near = difflib.get_close_matches(self.asked, known, n=3, cutoff=0.5)
            raise UnknownSymbol(
                f"There is no symbol {self.asked!r} in {self.stem!r}.{f' Did you mean {near[0]!r}?' if near else ''}",
                hint=f"There are: {_some(known)}. To read one under another name, add filter_symbol='…'.",
                symbol=self.asked, near=near,
            )  # fmt: skip


class Assembly:
    """Makes Bars of the rows of one file, in their order, and keeps count of what the user has to know."""

    def __init__(self, series: Series, plan: Plan, *, turned: bool) -> None:
        self.series, self.plan = series, plan
        self.wall = WallClock(plan.clock.zone) if plan.clock.local else None
        self.held: list[Rows] | None = [] if turned else None
        self.told = False
        self.read = self.bad = 0
        self.first: int | None = None
        self.last: int | None = None
        self.first_bad: BadLine | None = None

    def take(self, rows: Rows) -> Iterator[Bars]:
        """The bars of the next rows, as far as they need not wait for later ones."""
        self.series.meet(rows, self.plan)
        self.read += rows.read
        self.bad += len(rows.bad)
        if rows.bad and (self.first_bad is None or rows.bad[0].line < self.first_bad.line):
            self.first_bad = rows.bad[0]
        if self.held is None:
            yield from self._bars(rows)
        elif len(rows.time):
            self.held.append(rows)

    def finish(self) -> Iterator[Bars]:
        """What is left when the file has been read: rows that waited, and notes."""
        if self.first_bad is not None and not self.read:
            message = self.first_bad.error(self.plan.name).message
            raise MalformedData(f"Not one line of {self.plan.name} could be read. {message}", hint="Is it the right file?")
        while self.held:
            yield from self._bars(self.held.pop())
        if notes := list(self._notes()):
            yield Bars.empty(self.series.label, self.series.request.timeframe, provenance={"notes": notes})

    def _bars(self, rows: Rows) -> Iterator[Bars]:
        if not len(rows.time):
            return
        if self.plan.descending:
            rows = rows.reversed()
        request, columns = self.series.request, rows.columns
        times = rows.time if self.wall is None else self.wall.to_utc(rows.time)
        if self.series.config.stamp == "close":
            times = opening_of(times, request.timeframe)
        first, last = int(times.min()), int(times.max())
        self.first, self.last = min(first, self.first or first), max(last, self.last or last)
        opened, high, low, close = (columns[name] for name in PRICES)
        volume = columns["volume"] if "volume" in columns else np.zeros(len(times))
        bars = Bars(
            times, opened, high, low, close, volume, flags=columns.get("flags"),
            extra={name: columns[name] for name in self.plan.extra},
            symbol=self.series.label, timeframe=request.timeframe, provenance=self._provenance(),
        )  # fmt: skip
        inside = request.contains(bars.time)
        yield bars if inside.all() else bars[inside]

    def _provenance(self) -> dict[str, Any]:
        """What was told of the file; once, for the chunks of a load are put together."""
        volume = {"volume": self.plan.volume} if self.plan.volume else {}
        if self.told:
            return volume
        self.told = True
        notes = {"notes": list(self.plan.notes)} if self.plan.notes else {}
        return {"files": [self.plan.describe()], **volume, **notes}

    def _notes(self) -> Iterator[str]:
        if self.first_bad is not None:
            some = "1 line" if self.bad == 1 else f"{self.bad:,} lines"
            yield (
                f"{some} of {self.plan.name} could not be read and {'was' if self.bad == 1 else 'were'} skipped; the first is"
                f" line {self.first_bad.line}: {quoted(self.first_bad.text)} {self.first_bad.complaint}."
            )
        if self.wall is not None and self.wall.twice:
            yield (
                f"{self.wall.twice:,} times of {self.plan.name} are in an hour that clocks in {self.wall.zone} show twice; which"
                " of the two is meant was told from the order of the rows: the first, until the times come again."
            )
        if self.first is None or self.last is None or self.plan.symbol is not None:
            return
        if note := self.series.overlapping(self.plan.name, self.first, self.last):
            yield note


def opening_of(ends: NDArray[np.int64], timeframe: Timeframe) -> NDArray[np.int64]:
    """When the bars opened that end at these times; an end up to a second before the next opening is meant to be on it."""
    due = timeframe.ceil(ends)
    short = due - ends
    whole = np.where(short <= min(1000, (timeframe.step or _DAY_MS) - 1), due, ends)
    return whole - timeframe.step if timeframe.step is not None else timeframe.floor(whole - 1)


def _some(symbols: list[str]) -> str:
    return ", ".join(symbols[:20]) + (f" and {len(symbols) - 20:,} more" if len(symbols) > 20 else "")
