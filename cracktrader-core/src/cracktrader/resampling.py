"""Bars of a longer timeframe made from bars of a shorter one, on the calendar grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars, Flag
from cracktrader.errors import DataError, UnsupportedTimeframe
from cracktrader.timeframe import Timeframe

__all__ = ["exact_sums", "product_sums", "resample", "rows_that_open"]

#: Rows that are summed at once, so that they stay in the processor's cache.
_BLOCK = 32_768
#: The finest unit that exchanges count volume in; as multiples of it, volumes are whole numbers.
_UNITS = 1e8
_EXACT = 2.0**53


def resample(bars: Bars, timeframe: str) -> Bars:
    """``bars`` as bars of ``timeframe``: first open, highest high, lowest low, last close, summed volume.

    Bars open on the calendar grid of ``timeframe`` and carry the flags of everything they were made from,
    FILLED only where all of it was filled: where something was traded, bars that were filled in have no say in
    the prices, so that they are those of the exchange's own bar. A bar that lacks some of its parts is flagged
    SUSPECT. Extra columns are summed. Sums of up to eight decimals are exact, whatever the order.

    Raises :class:`~cracktrader.errors.UnsupportedTimeframe` where ``timeframe`` isn't made of whole bars, and
    :class:`~cracktrader.errors.DataError` where times are out of order or occur twice.
    """
    target = Timeframe(timeframe)
    if target == bars.timeframe:
        return bars
    if not bars.timeframe.divides(target):
        raise UnsupportedTimeframe(
            f"Bars of {target} can't be made from bars of {bars.timeframe}.",
            hint=f"{target} must be a whole number of {bars.timeframe} bars on the calendar.",
        )
    provenance = {**bars.provenance, "resampled_from": str(bars.timeframe)}
    if not len(bars):
        return bars.but(timeframe=target, provenance=provenance)
    if not (bars.time[1:] > bars.time[:-1]).all():
        raise DataError(
            "Bars that are out of order, or occur twice, can't be resampled.", hint="Check them first: ct.validate(bars)."
        )
    starts = rows_that_open(bars.time, target)
    openings = target.floor(bars.time[starts])
    flags = np.zeros(len(starts), np.uint8)
    complete = _parts(bars.timeframe, target, openings) == np.diff(starts, append=len(bars))
    if bars.flags.any():
        filled = np.bitwise_and.reduceat(bars.flags, starts) & np.uint8(Flag.FILLED)
        flags = np.bitwise_or.reduceat(bars.flags, starts) & ~np.uint8(Flag.FILLED) | filled
        known = (bars.flags & np.uint8(Flag.FILLED) == 0) | np.repeat(filled > 0, np.diff(starts, append=len(bars)))
        if not known.all():
            bars = bars[known]
            starts = rows_that_open(bars.time, target)
    flags[~complete] |= np.uint8(Flag.SUSPECT)
    return Bars(
        openings,
        bars.open[starts],
        np.maximum.reduceat(bars.high, starts),
        np.minimum.reduceat(bars.low, starts),
        bars.close[np.append(starts[1:], len(bars)) - 1],
        exact_sums(bars.volume, starts),
        flags=flags,
        extra={name: exact_sums(values, starts) for name, values in bars.extra.items()},
        symbol=bars.symbol,
        timeframe=target,
        source=bars.source,
        provenance=provenance,
        report=bars._report,
    )


def rows_that_open(time: NDArray[np.int64], timeframe: Timeframe) -> NDArray[np.int64]:
    """The rows that are the first of their bar of ``timeframe``; ``time`` ascends and has at least one row."""
    found = [np.zeros(1, np.int64)]
    for first in range(0, len(time), _BLOCK):
        block = time[first : first + _BLOCK + 1]
        number, last = timeframe.ordinal(int(block[0])), timeframe.ordinal(int(block[-1]))
        if last - number > len(block) // 16:  # short bars: every row is looked at
            numbers = timeframe.ordinal(block)
            rows = np.flatnonzero(numbers[1:] != numbers[:-1]) + 1
        else:
            rows = _rows_at(timeframe.opening(np.arange(number + 1, last + 1)), block)
        found.append(rows + first)
    return np.concatenate(found)


def _rows_at(openings: NDArray[np.int64], time: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first rows at or after each of ``openings``, all of which lie after the first and up to the last of ``time``."""
    apart = max(1, (time[-1] - time[0]) // (len(time) - 1)) if len(openings) else 1
    rows: NDArray[np.int64] = -((time[0] - openings) // apart)  # right where rows are equally far apart, as bars mostly are
    if not ((rows < len(time)).all() and (time[rows] >= openings).all() and (time[rows - 1] < openings).all()):
        rows = np.searchsorted(time, openings)
    return rows[np.diff(rows, prepend=0) > 0]  # where bars are missing, openings share a row


def _parts(part: Timeframe, whole: Timeframe, openings: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many bars of ``part`` make each bar of ``whole`` that opens at ``openings``."""
    return part.ordinal(whole.next(openings)) - part.ordinal(openings)


def exact_sums(values: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum from each of ``starts`` to the next; exact where all parts have at most eight decimals.

    0.1 + 0.2 is not 0.3 in binary, but 10,000,000 + 20,000,000 hundred-millionths are 30,000,000, and the nearest
    float to that is the one that the exchange's own sum is read as. Every sum is decided upon by itself, so that
    it does not depend on rows that belong to others.
    """
    ends = np.append(starts[1:], len(values))
    sums = np.empty(len(starts))
    at_once = max(1, _BLOCK * len(starts) // len(values))
    with np.errstate(all="ignore"):  # what is not finite is no whole number
        for first in range(0, len(starts), at_once):
            bars = slice(first, first + at_once)
            begin = starts[first]
            block, offsets = values[begin : ends[bars][-1]], starts[bars] - begin
            units = block * _UNITS
            np.rint(units, out=units)
            whole = units / _UNITS == block
            total = np.add.reduceat(units, offsets)
            exact = (total if block.min() >= 0 else np.add.reduceat(np.abs(units), offsets)) < _EXACT
            sums[bars] = total / _UNITS
            if not (whole.all() and exact.all()):
                exact &= np.logical_and.reduceat(whole, offsets)
                sums[bars] = np.where(exact, sums[bars], np.add.reduceat(block, offsets))
    return sums


def product_sums(values: NDArray[np.float64], factors: NDArray[np.float64], starts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The sum of ``values * factors`` from each of ``starts`` to the next, in floats."""
    ends = np.append(starts[1:], len(values))
    sums = np.empty(len(starts))
    at_once = max(1, _BLOCK * len(starts) // len(values))
    for first in range(0, len(starts), at_once):
        bars = slice(first, first + at_once)
        rows = slice(starts[first], ends[bars][-1])
        sums[bars] = np.add.reduceat(values[rows] * factors[rows], starts[bars] - starts[first])
    return sums
