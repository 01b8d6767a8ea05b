"""backtrader's dates: float days that are equal, to the last bit, to ``bt.date2num``.

backtrader adds the day, h/24, m/1440, s/86400 and µs/86400e6 with ``math.fsum``, which rounds once. The sum
of the four fractions needs at most 71 bits, so two doubles hold it exactly; what is left is one correct
rounding to the spacing of doubles near today's day numbers, 2**-33 days.
"""

from __future__ import annotations

import functools
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption
from cracktrader.timeframe import Timeframe

__all__ = ["Stamp", "backtrader_dates", "check_stamp", "stamped", "to_backtrader_dates"]

#: Which moment of a bar backtrader is told: ``last``, its last millisecond, as exchanges give a candle's close
#: time; ``close``, its end; ``open``, its opening, with which backtrader shows a bar before it has happened.
Stamp: TypeAlias = Literal["last", "close", "open"]

_DAY: Final = 86_400_000
_BLOCK: Final = 16_384
_EPOCH_ORDINAL: Final = 719_163  # datetime.date(1970, 1, 1).toordinal()
#: Day numbers between these (1436 to 2871) have doubles 2**-33 days apart.
_FIRST, _LAST = 524_288, 1_048_576


def check_stamp(stamp: object) -> None:
    """Raise :class:`~cracktrader.errors.InvalidOption` for what is no stamp."""
    if stamp not in get_args(Stamp):
        raise InvalidOption(f"stamp={stamp!r} is unknown.", hint="Give 'last' (the bar's last millisecond), 'close' or 'open'.")


def backtrader_dates(bars: Bars, stamp: Stamp = "last") -> NDArray[np.float64]:
    """The moments of bars that backtrader is told, as its float days, UTC; shape (n,)."""
    dates = np.empty(len(bars))
    for start in range(0, len(bars), _BLOCK):  # temporary arrays that fit the cache cost nothing, large new ones a lot
        rows = slice(start, start + _BLOCK)
        dates[rows] = to_backtrader_dates(stamped(bars.time[rows], bars.timeframe, stamp))
    return dates


def stamped(time: NDArray[np.int64], timeframe: Timeframe, stamp: Stamp) -> NDArray[np.int64]:
    """Openings as the moments that backtrader is told; epoch milliseconds, shape (n,)."""
    if stamp == "open":
        return time
    end = time + timeframe.step if timeframe.step is not None else timeframe.next(time)
    return end - 1 if stamp == "last" else end


def to_backtrader_dates(time: NDArray[np.int64]) -> NDArray[np.float64]:
    """Epoch milliseconds, shape (n,), as backtrader's float days, UTC, each equal to ``bt.date2num`` of it.

    Times must lie between the years 1436 and 2871.
    """
    days, rest = np.divmod(time, _DAY)
    days += _EPOCH_ORDINAL
    if len(days) and (days.min() < _FIRST or days.max() >= _LAST):
        raise InvalidOption("backtrader can't be given times before 1436 or after 2871.", hint="Are the times in the right unit?")
    seconds, milliseconds = np.divmod(rest, 1000)
    if len(rest) and (milliseconds == milliseconds[0]).all():  # bars of a whole number of seconds
        return days + _fractions_of_a_day(int(milliseconds[0]))[seconds]
    return days + _fraction(rest)


@functools.lru_cache(maxsize=4)
def _fractions_of_a_day(millisecond: int) -> NDArray[np.float64]:
    """The fraction of the day at that millisecond of each of its 86,400 seconds."""
    return _fraction(np.arange(86_400, dtype=np.int64) * 1000 + millisecond)


def _fraction(rest: NDArray[np.int64]) -> NDArray[np.float64]:
    """Milliseconds of the day as the fraction that backtrader's sum has, a multiple of 2**-33."""
    seconds, milliseconds = np.divmod(rest, 1000)
    minutes, second = np.divmod(seconds, 60)
    hour, minute = np.divmod(minutes, 60)
    high, low = hour / 24.0, np.zeros(len(rest))
    for part in (minute / 1440.0, second / 86_400.0, milliseconds * 1000 / 86_400e6):
        total = high + part  # Knuth's two-sum: total + error is the exact sum
        shifted = total - high
        low += (high - (total - shifted)) + (part - shifted)
        high = total
    high, low = high + low, low - ((high + low) - high)
    rounded = (_FIRST + high) - _FIRST
    left = (high - rounded) + low  # exact: what rounding to 2**-33 left over
    rounded += np.where(left > 2.0**-34, 2.0**-33, 0.0)
    rounded -= np.where(left < -(2.0**-34), 2.0**-33, 0.0)
    return rounded
