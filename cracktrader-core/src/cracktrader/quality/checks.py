"""The checks: small pure functions over columns, none of which loops over rows.

A check looks at one window of rows at a time, small enough to stay in the processor's cache, and answers
with a mask, or None where it saw nothing. What needs more than a row and the one before it (a run of
rows, a jump that comes back) marks candidates first, cheaply; :data:`CONFIRM` then looks only at those.

Moves are told by their ratio, so that up and down are alike: what doubles is as far as what halves.

The robust scale is 1.4826 times the median absolute deviation (the factor makes it the standard deviation
where moves are normal; Rousseeuw & Croux, "Alternatives to the Median Absolute Deviation", 1993).
"""

# ruff: noqa: ARG001  (all checks are called alike; not all need the context)

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.timeframe import Timeframe

__all__ = ["CONFIRM", "ROW_CHECKS", "SEQUENCE_CHECKS", "Context", "Window", "finer_bars", "robust_scale", "windows"]

#: Rows in a window: 128 KiB a column, so that a window's columns stay in the second-level cache.
WINDOW: Final = 16_384
#: A spike or wick of less than one percent is none, however quiet the market.
LEAST: Final = 0.01
#: How many moves the robust scale is taken from, spread evenly over the series.
SAMPLE: Final = 100_000
_WEEK: Final = 604_800_000

Mask = NDArray[np.bool_]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Context:
    """What a check has to know besides the rows: the grid, the clock, the limits, the scale of moves."""

    bars: Bars
    now: int
    limits: Mapping[str, float]
    scale: float = 0.0
    #: Whether no bar at all has a volume: then it isn't known, rather than none.
    silent: bool = False

    def far(self, check: str) -> float:
        """How far is far for a check whose limit counts robust standard deviations, as a fraction; 0 where nothing moves."""
        return max(self.limits[check] * self.scale, LEAST) if self.scale else 0.0


class Window:
    """At most :data:`WINDOW` rows of the bars from ``start`` on, and what several checks derive from them."""

    def __init__(self, bars: Bars, start: int) -> None:
        self.start = start
        rows = slice(start, min(start + WINDOW, len(bars)))
        self.time = bars.time[rows]
        self.open, self.high, self.low, self.close = bars.open[rows], bars.high[rows], bars.low[rows], bars.close[rows]
        self.volume = bars.volume[rows]
        self._bars, self._rows = bars, rows

    @cached_property
    def body_high(self) -> NDArray[np.float64]:
        """The higher of open and close."""
        return np.maximum(self.open, self.close)

    @cached_property
    def body_low(self) -> NDArray[np.float64]:
        """The lower of open and close."""
        return np.minimum(self.open, self.close)

    @cached_property
    def change(self) -> NDArray[np.float64]:
        """Each close by the close before it, one value less in the first window: see :meth:`from_second`."""
        before = self._bars.close[max(0, self.start - 1) : self._rows.stop - 1]
        return self.close[len(self.close) - len(before) :] / before

    @cached_property
    def step(self) -> NDArray[np.int64]:
        """Each time less the time before it, in milliseconds, aligned like :attr:`change`."""
        before = self._bars.time[max(0, self.start - 1) : self._rows.stop - 1]
        return self.time[len(self.time) - len(before) :] - before

    def from_second(self, mask: Mask) -> Mask:
        """A mask over rows that have a row before them, as a mask over all rows."""
        return mask if len(mask) == len(self.time) else np.concatenate(([False], mask))


def windows(bars: Bars) -> Iterator[Window]:
    """All rows, window by window; what a window derived goes with it."""
    return (Window(bars, start) for start in range(0, len(bars), WINDOW))


# ── single rows and their times ──────────────────────────────────────────────────────────────────────


def not_finite(w: Window, context: Context) -> Mask | None:
    # One sum of all five is finite where each is; only where it isn't, each is asked.
    total = w.open + w.high
    total += w.low
    total += w.close
    total += w.volume
    if np.isfinite(total).all():
        return None
    finite: Mask = np.logical_and.reduce(np.isfinite([w.open, w.high, w.low, w.close, w.volume]))
    return ~finite


def non_positive_price(w: Window, context: Context) -> Mask | None:
    lowest: NDArray[np.float64] = np.minimum(np.minimum(w.body_low, w.high), w.low)
    return lowest <= 0


def negative_volume(w: Window, context: Context) -> Mask | None:
    return w.volume < 0


def ohlc_order(w: Window, context: Context) -> Mask | None:
    return (w.high < w.body_high) | (w.low > w.body_low) | (w.high < w.low)


def unordered(w: Window, context: Context) -> Mask | None:
    return w.from_second(w.step < 0)


def duplicate_time(w: Window, context: Context) -> Mask | None:
    # In ordered rows equal times are neighbours; where rows are out of order the pipeline looks at all of them.
    return w.from_second(w.step == 0)


def off_grid(w: Window, context: Context) -> Mask | None:
    frame = context.bars.timeframe
    if frame.step is not None and w.time[0] == frame.floor(int(w.time[0])) and (w.step == frame.step).all():
        return None
    off: Mask = w.time != frame.floor(w.time)
    return off


def future(w: Window, context: Context) -> Mask | None:
    return w.time > context.now


def unclosed(w: Window, context: Context) -> Mask | None:
    frame, now = context.bars.timeframe, context.now
    opened = now - frame.step if frame.step is not None else frame.previous(now)  # the last bar that is over opened by then
    return None if w.time.max() <= opened else (w.time > opened) & (w.time <= context.now)


def finer_bars(bars: Bars, off: Rows) -> tuple[Rows, Timeframe | None]:
    """Of bars with rows ``off`` their grid: those that stand regularly at a finer step, and the timeframe that this is.

    A stray row is not regular, and neither is a session that opens beside the grid: most of the rows off the grid must stand
    on that of the finer step, and three such steps must follow each other, or nearly half of all rows be off the grid.
    """
    none = np.empty(0, np.int64), None
    if not len(off):
        return none
    time, beside = np.unique(bars.time), np.unique(bars.time[off])
    at = np.searchsorted(time, beside)
    before = np.where(at > 0, beside - time[at - 1], 0)
    steps = before[(before > 0) & (before <= beside - bars.timeframe.floor(beside))]  # from another bar of the same interval
    steps, counts = np.unique(steps[steps % 1000 == 0], return_counts=True)
    if not len(steps):
        return none
    step = int(steps[counts.argmax()])
    finer = Timeframe("1w") * (step // _WEEK) if step % _WEEK == 0 else Timeframe("1s") * (step // 1000)
    shortest = 1 if len(beside) > 0.4 * len(time) else min(3, len(time) - 1)
    apart = _long_runs(np.flatnonzero(np.diff(time) == step), shortest)
    if not len(apart) or np.count_nonzero(beside == finer.floor(beside)) <= len(beside) / 2:
        return none
    return np.flatnonzero(np.isin(bars.time, time[np.union1d(apart, apart + 1)])), finer


# ── rows in their order ──────────────────────────────────────────────────────────────────────────────


def extreme_move(w: Window, context: Context) -> Mask | None:
    return _moved(w, context.limits["extreme_move"])


def spike(w: Window, context: Context) -> Mask | None:
    far = context.far("spike")
    return _moved(w, far) if far else None


def wick(w: Window, context: Context) -> Mask | None:
    far = context.far("wick")
    return (w.high > w.body_high * (1 + far)) | (w.low * (1 + far) < w.body_low) if far else None


def flatline(w: Window, context: Context) -> Mask | None:
    same = w.change == 1.0
    if not same.any():
        return None
    flat: Mask = w.from_second(same) & (w.high == w.low) & ((w.volume > 0) | context.silent)
    return flat


def zero_volume_run(w: Window, context: Context) -> Mask | None:
    none: Mask = w.volume == 0
    return none


def _moved(w: Window, limit: float) -> Mask:
    return w.from_second(_beyond(w.change, limit))


def _beyond(ratio: NDArray[np.float64], limit: float) -> Mask:
    """Which ratios are further from one than a limit: 0.2 is over 1.2, or under 1 / 1.2, from where 1.2 times leads back."""
    return (ratio > 1 + limit) | (ratio < 1 / (1 + limit))


ROW_CHECKS: Final[dict[str, Callable[[Window, Context], Mask | None]]] = {
    f.__name__: f
    for f in (not_finite, non_positive_price, negative_volume, ohlc_order, unordered, duplicate_time, off_grid, future, unclosed)
}
SEQUENCE_CHECKS: Final[dict[str, Callable[[Window, Context], Mask | None]]] = {
    f.__name__: f for f in (extreme_move, spike, wick, flatline, zero_volume_run)
}


# ── candidates, looked at again ──────────────────────────────────────────────────────────────────────


def _came_back(rows: Rows, context: Context) -> Rows:
    """Of jumps, those that the next bar took back: it jumped too, the other way, to near where it all began."""
    close = context.bars.close
    rows = rows[(rows > 0) & (rows < len(close) - 1)]
    before, at, after = close[rows - 1], close[rows], close[rows + 1]
    back = _beyond(after / at, context.far("spike"))
    near = np.abs(np.log(after / before)) < np.abs(np.log(at / before)) / 2
    return rows[back & near]


def _unconfirmed(rows: Rows, context: Context) -> Rows:
    """Of long wicks, those that reach far beyond what the bars before and after traded as well."""
    bars, far = context.bars, context.far("wick")
    rows = rows[np.isfinite(bars.high[rows]) & np.isfinite(bars.low[rows])]  # what is not, has its own check
    before, after = np.maximum(rows - 1, 0), np.minimum(rows + 1, len(bars) - 1)
    ceiling, floor = np.maximum(bars.open[rows], bars.close[rows]), np.minimum(bars.open[rows], bars.close[rows])
    for neighbour in (before, after):
        other = neighbour != rows
        ceiling = np.where(other, np.maximum(ceiling, bars.high[neighbour]), ceiling)
        floor = np.where(other, np.minimum(floor, bars.low[neighbour]), floor)
    return rows[(bars.high[rows] > ceiling * (1 + far)) | (bars.low[rows] * (1 + far) < floor)]


def _repeated(rows: Rows, context: Context) -> Rows:
    """Of bars that stand still, those that repeat the bar before them, in a run that with it is long enough."""
    bars, before = context.bars, np.maximum(rows - 1, 0)
    same = (
        (bars.high[before] == bars.low[before])
        & (bars.close[rows] == bars.close[before])
        & (bars.volume[rows] == bars.volume[before])
    )
    return _long_runs(rows[same], context.limits["flatline"] - 1)


def _long_runs(rows: Rows, shortest: float) -> Rows:
    """Of rows, those that stand in a run of at least ``shortest`` consecutive ones."""
    if not len(rows):
        return rows
    starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1)
    lengths = np.diff(starts, append=len(rows))
    return rows[np.repeat(lengths >= shortest, lengths)]


CONFIRM: Final[dict[str, Callable[[Rows, Context], Rows]]] = {
    "spike": _came_back,
    "wick": _unconfirmed,
    "flatline": _repeated,
    "zero_volume_run": lambda rows, context: _long_runs(rows, context.limits["zero_volume_run"]),
}


def robust_scale(close: NDArray[np.float64]) -> float:
    """The typical move from close to close, as a fraction: 1.4826 x MAD of at most 100,000 of them.

    Where more than half of the moves are zero, the mean absolute move times 1.2533 (the same factor for it)
    takes its place; 0.0 where nothing moves at all. Moves that are not finite are left out.
    """
    if len(close) < 3:
        return 0.0
    at = np.arange(1, len(close), max(1, (len(close) - 1) // SAMPLE))
    with np.errstate(all="ignore"):
        moves = close[at] / close[at - 1] - 1
    moves = moves[np.isfinite(moves)]
    if not len(moves):
        return 0.0
    scale = 1.4826 * float(np.median(np.abs(moves - np.median(moves))))
    return scale or 1.2533 * float(np.abs(moves).mean())
