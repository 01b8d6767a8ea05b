"""Gaps: where bars are missing, what probably happened there, and filling the ones that may be filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.quality.checks import WINDOW
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader.times import isoformat

__all__ = ["Gap", "GapClass", "fill", "find_gaps"]

#: ``no_trades``: nobody traded. ``outage``: the venue, or whoever recorded it, was down. ``closed``: the market is
#: closed at these hours every week, or for a holiday. Only a catalog knows of ``never_fetched`` and ``before_listing``.
GapClass: TypeAlias = Literal["no_trades", "outage", "closed", "never_fetched", "before_listing"]
_DAY: Final = 86_400_000
_WEEK: Final = 7 * _DAY
_HOUR: Final = 3_600_000
#: The longest holidays of an exchange: Golden Week with the weekends around it. What is longer is missing.
_HOLIDAYS: Final = 11 * _DAY
#: So many bars that are all a multiple of the timeframe apart were made for that multiple.
_ENOUGH: Final = 20
#: Fewer are proof, from three on, where they all open on the grid of a usual longer timeframe: one in k bars of a quiet
#: market does, so that n of them do by chance once in k to the n. That is to be once in so many, at least.
_CHANCE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Gap:
    """A stretch of grid without bars: ``missing`` openings in ``[start, end)``, times in epoch milliseconds."""

    start: int
    end: int
    missing: int
    kind: GapClass
    evidence: str
    filled: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"start": isoformat(self.start), "end": isoformat(self.end), "missing": self.missing, "class": self.kind,
                "evidence": self.evidence, "filled": self.filled}  # fmt: skip


def find_gaps(bars: Bars, longest_fill: float, *, may_fill: bool) -> tuple[list[Gap], NDArray[np.int64]]:
    """The gaps of ordered bars, and how many bars to fill in after each row, shape (n,), or an empty array for none."""
    before, missing = _holes(bars)
    if not len(before):
        return [], np.empty(0, np.int64)
    frame = bars.timeframe
    starts = frame.next(bars.time[before])
    ends = frame.floor(bars.time[before + 1])
    right = coarser_bars(bars) is None  # otherwise what is missing was never there, and is not for us to make up
    weekly, holidays = _closed(bars, starts, ends) if right else (np.zeros(len(starts), np.bool_),) * 2
    closed = weekly | holidays
    longest_quiet, typical = _longest_quiet(missing[~closed])
    lasts = ends - starts
    fillable = (missing <= longest_fill) & (lasts <= _DAY) & ~closed & may_fill & right
    gaps = []
    for start, end, count, shut, holiday, filled in zip(
        starts.tolist(), ends.tolist(), missing.tolist(), weekly.tolist(), holidays.tolist(), fillable.tolist(), strict=True
    ):
        kind: GapClass
        if shut:
            kind, evidence = "closed", "the market has no bars at these hours in most weeks"
        elif holiday:
            kind, evidence = "closed", "a day or more in a market that closes every week: taken for holidays"
        elif count > longest_quiet:
            kind = "outage"
            evidence = f"{count} bars in a row; gaps here usually last {typical:g}, and quiet ones hardly over {longest_quiet}"
        else:
            kind, evidence = "no_trades", f"{count} bars in a row, no longer than quiet gaps here are (up to {longest_quiet})"
        gaps.append(Gap(start, end, count, kind, evidence, filled))
    if not fillable.any():
        return gaps, np.empty(0, np.int64)
    added = np.zeros(len(bars), np.int64)
    added[before] = np.where(fillable, missing, 0)
    return gaps, added


def _holes(bars: Bars) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The rows after which bars are missing, and how many; window by window, so that no large array is made."""
    frame, time = bars.timeframe, bars.time
    rows = []
    for start in range(0, len(time) - 1, WINDOW):
        part = time[start : start + WINDOW + 1]
        if frame.step is not None:
            found = np.flatnonzero(np.diff(part) > frame.step)
        else:
            found = np.flatnonzero(np.diff(frame.ordinal(part)) > 1)
        if len(found):
            rows.append(found + start)
    before = np.concatenate(rows) if rows else np.empty(0, np.int64)
    missing = frame.ordinal(time[before + 1]) - frame.ordinal(time[before]) - 1
    return before[missing > 0], missing[missing > 0]


def _longest_quiet(missing: NDArray[np.int64]) -> tuple[int, float]:
    """How long a gap can be that quiet trading explains, and how long gaps usually are.

    Quiet gaps end at each bar with about the same chance, so their lengths are geometric. The chance is taken
    from the median length (a few outages don't move it); a gap is too long when among so many gaps even one of
    its length would be expected less than once in a hundred series like this.
    """
    if not len(missing):
        return 0, 0.0
    usual = float(np.sort(missing)[(len(missing) - 1) // 2]) if len(missing) > 1 else 1.0  # the lower median
    goes_on = 1 - 1 / max(2.0, usual / math.log(2))
    return math.ceil(1 + math.log(100 * len(missing)) / -math.log(goes_on)), usual


def coarser_bars(bars: Bars) -> Timeframe | None:
    """What the timeframe seems to be, where ordered bars all stand at a multiple of theirs; None where they don't."""
    frame = bars.timeframe
    if len(bars) < 3 or (np.diff(frame.ordinal(bars.time[: _ENOUGH + 1])) == 1).any():
        return None
    missing = _holes(bars)[1]
    if len(missing) < len(bars) - 1:
        return None
    if (by := coarser_by(bars, missing)) == 1:
        return _longer_grid(bars)
    return Timeframe("1w") * (by // 7) if frame == "1d" and by % 7 == 0 else frame * by


def _longer_grid(bars: Bars) -> Timeframe | None:
    """The longest usual timeframe on whose grid all bars open, which is not by chance; None for none."""
    frame, few = bars.timeframe, bars.time[:_ENOUGH]
    for longer in map(Timeframe, ("1Y", "3M", *reversed(TIMEFRAMES))):
        by = longer.shortest // frame.shortest
        if by < 2 or len(bars) * math.log(by) < math.log(_CHANCE) or not frame.divides(longer):
            continue
        if (longer.floor(few) == few).all() and (longer.floor(bars.time) == bars.time).all():
            return longer
    return None


def coarser_by(bars: Bars, missing: NDArray[np.int64]) -> int:
    """By how many times the bars are longer than their timeframe says, told from many gaps; 1 where it is right."""
    if len(missing) < max(len(bars) - 1, _ENOUGH):  # some bars follow each other
        return 1
    return int(np.gcd.reduce(missing + 1))


def _closed(bars: Bars, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which gaps lie in hours of the week at which the market never trades, and which are its holidays.

    Takes three weeks of data at least. Where trading is thin, nothing is closed: then many of the hours with few
    bars do hold some, or the others are not regular either. In a market that is shut for a fifth of the week or more, a
    gap of a whole day is a holiday.
    """
    step, span = bars.timeframe.step, bars.time[-1] - bars.time[0]
    nowhere = np.zeros(len(starts), np.bool_)
    if step is None or step > _DAY or span < 3 * _WEEK:
        return nowhere, nowhere
    slot = max(step, _HOUR)
    slots = _WEEK // slot
    made_up = (bars.flags & np.uint8(Flag.FILLED)).astype(np.bool_)
    time = bars.time[~made_up] if made_up.any() else bars.time
    hours = time // slot
    first_in_hour = time[np.flatnonzero(np.diff(hours, prepend=hours[0] - 1))]
    seen = np.bincount((first_in_hour % _WEEK) // slot, minlength=slots)[:slots]  # in how many weeks
    shut = seen < 0.15 * span / _WEEK  # in under a seventh of them: those are daylight saving or a test
    regular = seen[~shut].sum() > 0.5 * span / _WEEK * np.count_nonzero(~shut)
    if not shut.any() or seen[shut].sum() > 0.05 * seen.sum() or not regular:
        return nowhere, nowhere
    # How many of the slots that a gap covers are shut; at the end of the week it goes on at its beginning.
    through = np.concatenate(([0], np.cumsum(np.tile(shut, 2))))
    lasts = ends - starts
    first = (starts % _WEEK) // slot
    count = np.minimum(-(-lasts // slot), slots)
    covered = through[first + count] - through[first]
    whole_day = lasts >= _DAY - slot if step < _DAY else ~nowhere
    weekly = (covered >= 0.75 * count) & (lasts <= _HOLIDAYS)
    holidays = ~weekly & whole_day & (lasts <= _HOLIDAYS) & bool(shut.mean() > 0.2)
    return weekly, holidays


def fill(bars: Bars, added: NDArray[np.int64]) -> Bars:
    """``bars`` with ``added[i]`` bars after row i: all prices the previous close, volume 0, FILLED.

    Extra columns are NaN there: nothing is known about them. (Exchanges that send every bar do the same:
    Kraken's own candles without trades are flat at the previous close with volume 0.)
    """
    frame, copies = bars.timeframe, added + 1
    rows = np.repeat(np.arange(len(bars)), copies)
    firsts = np.cumsum(copies) - copies
    new = np.ones(len(rows), np.bool_)
    new[firsts] = False
    after = rows[new]  # the row that each new one follows
    nth = np.flatnonzero(new) - firsts[after]
    time = bars.time[rows]
    time[new] += frame.opening(frame.ordinal(bars.time[after]) + nth) - frame.floor(bars.time[after])
    columns = {name: bars[name][rows] for name in (*PRICES, "volume")}
    for name in PRICES:
        columns[name][new] = bars.close[after]
    columns["volume"][new] = 0.0
    flags = bars.flags[rows]
    flags[new] = np.uint8(Flag.FILLED)
    extra = {name: np.where(new, np.nan, values[rows]) for name, values in bars.extra.items()}
    return bars.but(time=time, **columns, flags=flags, extra=extra)
