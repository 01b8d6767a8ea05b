"""Gaps of what a catalog holds, each with its class and the evidence: the coverage, the series, and the other symbols.

A series alone can only guess why bars are missing. The ledger knows what was never fetched; and where the other symbols
of the same source stop and go on at the same times, it was not the traders.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from dataclasses import replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.catalog import Catalog, CatalogWarning, Ledger, SeriesStore
from cracktrader.catalog.answering import BarSource
from cracktrader.catalog.intervals import BEGINNING, Interval, Intervals, intersect, merge, subtract
from cracktrader.catalog.upkeep import whole
from cracktrader.errors import CatalogError
from cracktrader.quality.gaps import Gap, GapClass, find_gaps
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat

__all__ = ["ask_again", "gaps_of"]

Times: TypeAlias = NDArray[np.int64]

#: A symbol is silent where it has fewer of its usual bars than one in so many.
_SILENT: Final = 10
#: So many bars must be missing among the others, of those they usually have, before chance is ruled out.
_ENOUGH: Final = 5
#: Gaps that are not further apart than so many bars are asked for at once.
_PAGE: Final = 500


def gaps_of(series: Iterable[SeriesStore], others: Iterable[SeriesStore] = ()) -> list[tuple[SeriesStore, list[Gap]]]:
    """The gaps of each series, oldest first.

    - ``never_fetched``: not in the coverage, though something before and after it is; or lost to damage since.
    - ``before_listing``: the source was asked from here on, and its first bar is later.
    - ``outage``: most of the other symbols lack their bars as well; or the gap is longer than quiet trading explains.
    - ``closed``: the market is closed at these hours every week, or for a holiday.
    - ``no_trades``: the source was asked, and had none.

    The other symbols are those of ``series`` and ``others`` with the same source and identity. What lies before the first
    and after the last time that is known of a series is no gap. A series that is damaged is warned about and left out.
    """
    chosen = {one.folder: one for one in series}
    markets = [(one.key.source, one.key.identity) for one in chosen.values()]
    beside = {one.folder: one for one in others if (one.key.source, one.key.identity) in markets}
    known = [presence for one in (beside | chosen).values() if (presence := _Presence.of(one)) is not None]
    by_folder = {one.series.folder: one for one in known}
    return [(own.series, own.gaps_beside(_one_of_each_symbol(own, known))) for folder in chosen if (own := by_folder.get(folder))]


def _one_of_each_symbol(own: _Presence, known: Iterable[_Presence]) -> list[_Presence]:
    """The other symbols of the same source, each in the same timeframe or else the shortest."""
    key, others = own.series.key, dict[str, _Presence]()
    for one in sorted(known, key=lambda one: (one.frame != own.frame, one.frame.shortest)):
        its = one.series.key
        if (its.source, its.identity) == (key.source, key.identity) and its.symbol != key.symbol:
            others.setdefault(its.symbol, one)
    return list(others.values())


class _Presence:
    """When one series has bars and when it has none: all that is remembered of it while others are looked at."""

    def __init__(self, series: SeriesStore, bars: Bars, ledger: Ledger) -> None:
        self.series = series
        self.frame = bars.timeframe
        self.gaps = _gaps_alone(bars, ledger)
        self._bounds = (int(bars.time[0]), int(bars.time[-1])) if len(bars) else (0, 0)
        self._covered = np.array(ledger.coverage, np.int64).reshape(-1, 2)
        held = [gap for gap in self.gaps if gap.kind not in ("never_fetched", "before_listing")]
        self._starts = np.array([gap.start for gap in held], np.int64)
        self._counts = np.array([gap.missing for gap in held], np.int64)
        self._before = np.concatenate(([0], np.cumsum(self._counts)))
        quiet = sum(gap.missing for gap in held if gap.kind != "closed")
        #: The share of its bars that is there, of those that could be.
        self._density = len(bars) / max(len(bars) + quiet, 1)

    @classmethod
    def of(cls, series: SeriesStore) -> _Presence | None:
        """Reads the whole series; None, with a warning, where that can't be."""
        try:
            ledger, bars = whole(series)
        except CatalogError as error:
            warnings.warn(f"{error}\nThis series was left out.", CatalogWarning, stacklevel=4)
            return None
        return cls(series, bars, ledger)

    def gaps_beside(self, others: list[_Presence]) -> list[Gap]:
        """The gaps of this series, classified with what other symbols did at the time."""
        judged = [at for at, gap in enumerate(self.gaps) if gap.kind in ("no_trades", "outage")]
        starts, ends = (np.array([getattr(self.gaps[at], name) for at in judged], np.int64) for name in ("start", "end"))
        asked, silent, lacking = np.zeros(len(judged), np.int64), np.zeros(len(judged), np.int64), np.zeros(len(judged))
        for other in others:
            usual, present = other.bars_in(starts, ends)
            quiet = present * _SILENT < usual
            asked += usual > 0
            silent += quiet
            lacking += np.where(quiet, usual, 0.0)
        gaps = list(self.gaps)
        for at, of, without, bars in zip(judged, asked.tolist(), silent.tolist(), lacking.tolist(), strict=True):
            if of:
                gaps[at] = _with_others(gaps[at], of, without, sure=bars >= _ENOUGH)
        return gaps

    def bars_in(self, starts: Times, ends: Times) -> tuple[NDArray[np.float64], Times]:
        """How many bars the series usually has in such stretches, and how many it has, each of shape (n,).

        Both are 0 where it can't tell: not covered, not yet or no more listed, or too short for a bar of its timeframe.
        """
        first, stop = self.frame.ceil(starts), self.frame.floor(ends)
        possible = self.frame.ordinal(stop) - self.frame.ordinal(first)
        at = np.searchsorted(self._covered[:, 0], first, side="right") - 1
        tells = (possible > 0) & (at >= 0) & (self._bounds[0] <= first) & (stop <= self._bounds[1])
        if len(self._covered):
            tells &= self._covered[at, 1] >= stop
        present = possible - (self._missing_before(stop) - self._missing_before(first))
        return np.where(tells, possible * self._density, 0.0), np.where(tells, present, 0)

    def _missing_before(self, times: Times) -> Times:
        """How many bars are missing before each of some openings."""
        if not len(self._starts):
            return np.zeros(len(times), np.int64)
        at = np.searchsorted(self._starts, times, side="right") - 1
        into = self.frame.ordinal(times) - self.frame.ordinal(self._starts[at])
        return np.where(at < 0, 0, self._before[at] + np.minimum(into, self._counts[at]))


def _with_others(gap: Gap, asked: int, silent: int, *, sure: bool) -> Gap:
    if 2 * silent > asked and sure:
        lack = "lacks its bars" if asked == 1 else "lack their bars"
        return replace(gap, kind="outage", evidence=f"{silent} of {asked} other symbols of the source {lack} as well")
    return replace(gap, evidence=f"{gap.evidence}; {asked - silent} of {asked} other symbols of the source traded")


# ── one series alone ─────────────────────────────────────────────────────────────────────────────────


def _gaps_alone(bars: Bars, ledger: Ledger) -> list[Gap]:
    """The gaps of one series, by its ledger and its own bars, oldest first."""
    frame, coverage = bars.timeframe, ledger.coverage
    lost = [(int(start), int(end)) for incident in ledger.incidents for start, end in incident.get("lost", ())]
    spans = merge(coverage, lost)
    if not spans:
        return []
    end = spans[-1][1]
    first, after = (frame.floor(int(bars.time[0])), frame.next(int(bars.time[-1]))) if len(bars) else (end, end)
    # Whoever asked from the beginning of time did not ask for any bar before the first.
    start = spans[0][0] if spans[0][0] != BEGINNING else min(first, spans[0][1])

    def gap(kind: GapClass, span: Interval, evidence: str) -> Gap:
        return Gap(*span, frame.ordinal(span[1]) - frame.ordinal(span[0]), kind, evidence)

    gaps = [gap("never_fetched", span, "the ledger has no fetch of it") for span in subtract([(start, end)], coverage)]
    gaps += [
        gap("before_listing", span, "asked for, and its first bar is later") for span in intersect([(start, first)], coverage)
    ]
    gaps += [gap("no_trades", span, "asked for, and no bar came since") for span in intersect([(after, end)], coverage)]
    for one in find_gaps(bars, 0, may_fill=False)[0]:
        whole = (one.start, one.end)
        known = intersect([whole], coverage)
        beside = "asked for, and no bar came, beside what was never fetched"
        gaps += [one] if known == (whole,) else [gap("no_trades", span, beside) for span in known]
    return sorted(gaps, key=lambda gap: gap.start)


# ── asking again ─────────────────────────────────────────────────────────────────────────────────────


def ask_again(catalog: Catalog, source: BarSource, series: SeriesStore, gaps: Iterable[Gap]) -> int:
    """Ask a source for gaps again, those that lie close together at once; how many bars came that were not held.

    Of what was fetched once, nothing is fetched again, unless there are gaps among ``gaps`` that the source left: it may
    have filled them since. Raises :class:`CatalogError`, and whatever the source raises; what had come by then is kept.
    """
    gaps, key, before = list(gaps), series.key, series.ledger().rows
    left = any(gap.kind != "never_fetched" for gap in gaps)
    for start, end in _together(gaps, key.timeframe):
        request = BarRequest(key.symbol, key.timeframe, isoformat(start), isoformat(end))
        count = key.timeframe.ordinal(end) - key.timeframe.ordinal(start)
        catalog.but(recheck=count if left else 0).bars(source, request)
    return series.ledger().rows - before


def _together(gaps: Iterable[Gap], frame: Timeframe) -> Intervals:
    """Gaps as stretches to ask for: so near to each other that one page of a source holds both, they are one."""
    stretches: list[Interval] = []
    for gap in sorted(gaps, key=lambda gap: gap.start):
        near = stretches and frame.ordinal(gap.start) - frame.ordinal(stretches[-1][1]) <= _PAGE
        start = stretches.pop()[0] if near else gap.start
        stretches.append((start, gap.end))
    return tuple(stretches)
