"""Where prices go: hidden paths of logarithms, from the coarse to the fine, any block of days by itself.

Days: the logarithm walks from day to day with a volatility that is smooth noise itself, on scales of 2 to 128
days. Minutes: within a day the path is a bridge, a random walk of 1440 steps bent to end where the next day
begins; the logarithm of its volatility has noise on scales of 1 minute to 8 hours, with the hours of the
day upon it. That makes clusters, and from nearly Gaussian steps the fat tails of a mixture (the idea of Bacry, Delour
& Muzy, "Multifractal random walk", Physical Review E 64, 2001, with fewer scales). Only the walk over days, a number
a day, runs from the beginning.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import numpy as np

from cracktrader.synthetic.listing import Listing
from cracktrader.synthetic.noise import Floats, Integers, exp, key_of, normal, smooth

__all__ = ["BLOCK", "DAY", "Path", "Paths", "Recent", "reflected", "season"]

T = TypeVar("T")

DAY: Final = 1440  #: Minutes in a day.
BLOCK: Final = 8  #: Days in a block: a column of its minutes takes 92 KiB and stays in the processor's cache.

#: Scales of the noise in the logarithm of volatility, and its standard deviation on each.
_DAY_SCALES: Final = ((2, 0.15), (8, 0.2), (32, 0.25), (128, 0.2))
_MINUTE_SCALES: Final = ((1, 0.3), (8, 0.25), (30, 0.35), (120, 0.35), (480, 0.35))
#: A price keeps within e^±2.5, a twelfth to twelvefold of what it was at the start.
_BOUND: Final = 2.5
#: Activity by hour, UTC: quiet at the end of the American night, busiest when London and New York overlap.
_HOURS: Final = (0.95, 0.85, 0.75, 0.65, 0.55, 0.5, 0.55, 0.7, 0.85, 0.95, 1.0, 1.0,
                 1.1, 1.35, 1.6, 1.7, 1.6, 1.45, 1.3, 1.2, 1.15, 1.1, 1.05, 1.0)  # fmt: skip
_WEEKEND_ACTIVITY: Final = 0.6
_WEEKEND_VOLATILITY: Final = 0.75


class Recent:
    """What was made last, by key: at most ``most`` things. Safe between threads; a copy by pickle is empty."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._things: OrderedDict[tuple[Any, ...], Any] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[Any, ...], make: Callable[[], T]) -> T:
        """The thing of that key, made now if it isn't there; two threads may make the same thing at once."""
        with self._lock:
            if key in self._things:
                self._things.move_to_end(key)
                return self._things[key]  # type: ignore[no-any-return]
        made = make()
        with self._lock:
            self._things[key] = made
            while len(self._things) > self._most:
                self._things.popitem(last=False)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        return Recent, (self._most,)


class Path(NamedTuple):
    """A path over the minutes of a block; ``level`` has one value more a day, where the next day begins."""

    level: Floats  # (days, 1441): a logarithm
    sigma: Floats  # (minutes,): standard deviation of a minute's move
    heat: Floats  # (minutes,): how much livelier than usual, a logarithm


class _Days(NamedTuple):
    """The walk over days, from the day numbered ``first`` on."""

    first: int
    level: Floats  # where each day begins
    move: Floats  # how far it goes
    deviation: Floats  # of the move
    heat: Floats


class Paths:
    """The paths of one seed: the whole market's and each symbol's own, all 0 at the beginning of the day ``origin``."""

    def __init__(self, seed: int, volatility: float, origin: int) -> None:
        self.seed, self.volatility, self.origin = seed, volatility, origin
        self._recent = Recent(24)

    def of(self, item: Listing, block: int) -> Path:
        """The market's path as the symbol follows it, and its own upon it."""
        market = self._recent.get(("market", block), lambda: self._path("", self.volatility, block))
        level = market.level
        if item.lag:
            level = level.copy()
            level[:, 1:-1] -= item.lag * (market.level[:, 1:-1] - market.level[:, :-2])  # a minute late, on time at midnight
        level = item.beta * level
        if not item.volatility:
            return Path(level, abs(item.beta) * market.sigma, market.heat)
        own = self._path(item.symbol, item.volatility, block)
        sigma = np.sqrt(item.beta * item.beta * (market.sigma * market.sigma) + own.sigma * own.sigma)
        return Path(level + own.level, sigma, 0.7 * market.heat + 0.5 * own.heat)

    def _path(self, name: str, volatility: float, block: int) -> Path:
        first, count = block * BLOCK * DAY, BLOCK * DAY
        minute = np.arange(first, first + count, dtype=np.int64)
        heat = np.zeros(count)
        for scale, part in _MINUTE_SCALES:
            heat += part * smooth(key_of(self.seed, name, "minutes", scale), scale, first, count)
        unit = (exp(heat) * np.sqrt(season(minute))).reshape(BLOCK, DAY)
        walk = np.cumsum(unit * normal(key_of(self.seed, name, "steps"), minute).reshape(BLOCK, DAY), axis=1)
        variance = np.cumsum(unit * unit, axis=1)

        walked = self._days(name, volatility, (block + 1) * BLOCK)
        rows = slice(block * BLOCK - walked.first, (block + 1) * BLOCK - walked.first)
        begin, move, deviation, warmth = (column[rows, None] for column in walked[1:])
        scale_of_day = deviation / np.sqrt(variance[:, -1:])
        walk *= scale_of_day
        level = np.empty((BLOCK, DAY + 1))
        level[:, :1] = begin
        level[:, 1:] = begin + walk + variance / variance[:, -1:] * (move - walk[:, -1:])
        level[:, -1:] = begin + move  # to the bit, so that days join
        return Path(level, (unit * scale_of_day).reshape(-1), (heat.reshape(BLOCK, DAY) + warmth).reshape(-1))

    def _days(self, name: str, volatility: float, stop: int) -> _Days:
        """The walk over days, up to the day ``stop`` at least."""
        longest = max(scale for scale, _ in _DAY_SCALES)
        first = self.origin // longest * longest
        count = -(-(stop - first) // 1024) * 1024  # so that the same walk serves many requests

        def walk() -> _Days:
            heat = np.zeros(count)
            for scale, part in _DAY_SCALES:
                heat += part * smooth(key_of(self.seed, name, "days", scale), scale, first, count)
            number = np.arange(first, first + count, dtype=np.int64)
            calm = np.where((number + 3) % 7 >= 5, _WEEKEND_VOLATILITY, 1.0)  # day 0 was a Thursday
            deviation = exp(heat) * calm * (volatility / math.sqrt(365))
            move = deviation * normal(key_of(self.seed, name, "moves"), number)
            move[: self.origin - first] = 0.0
            ends = np.cumsum(move)
            return _Days(first, np.append(0.0, ends[:-1]), move, deviation, heat)

        return self._recent.get(("days", name, count), walk)


def reflected(level: Floats) -> Floats:
    """Levels turned back at the bounds, as a path between two mirrors; moves keep their size."""
    period = 4 * _BOUND
    turned = level + _BOUND
    turned -= period * np.floor(turned / period)
    return np.minimum(turned, period - turned) - _BOUND


def season(minute: Integers) -> Floats:
    """How active the market usually is at these minutes (since the epoch), about 1 on average over a working day."""
    nodes = np.append(_HOURS, _HOURS[0])
    share = np.arange(60) / 60
    day: Floats = (nodes[:-1, None] + (nodes[1:] - nodes[:-1])[:, None] * share).reshape(-1)
    usual: Floats = day[minute % DAY] * np.where((minute // DAY + 3) % 7 >= 5, _WEEKEND_ACTIVITY, 1.0)
    return usual
