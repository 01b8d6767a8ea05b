"""What is drawn, taken from the bars: a whole series in a few hundred candles, or a few dozen around a place.

Nothing here loops over the rows of a series: they are put together by ``reduceat``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, overload

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import InvalidTimeframe
from cracktrader.quality.gaps import Gap
from cracktrader.timeframe import Timeframe

__all__ = [
    "LARGEST",
    "Band",
    "Candles",
    "Coverage",
    "Overview",
    "Zoom",
    "bands",
    "coverage",
    "overview",
    "zoom",
]

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

#: The width that all horizontal places are counted in.
WIDTH: Final = 1000.0
CANDLES: Final = 300
AROUND: Final = 20
#: Flags that get a lane of their own under the chart.
_FLAGS: Final = {"repaired": Flag.REPAIRED, "revised": Flag.REVISED, "suspect": Flag.SUSPECT}
_FRAMES: Final = ("5s", "15s", "30s", "1m", "5m", "15m", "30m", "1h", "2h", "4h", "8h", "12h", "1d", "2d", "1w", "2w", "1M", "3M",
                  "6M", "12M", "60M", "120M", "600M", "1200M")  # fmt: skip
LARGEST: Final = 1e100  #: Prices beyond it, or nearer to zero than its inverse, can't be drawn: no one can reckon with them.
_HOLE: Final = 12.0  # the most places that missing bars take in a zoomed chart


class Candles(NamedTuple):
    """Candles to draw, each column of shape (n,): from ``left`` to ``right``, of :data:`WIDTH`."""

    time: Integers
    left: Floats
    right: Floats
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    rows: Integers
    filled: Integers  # how many of the rows


class Band(NamedTuple):
    """A stretch with missing bars: ``kind`` is filled, open or closed; ``share`` is how much of it is missing."""

    left: float
    right: float
    kind: str
    gaps: int
    missing: int
    start: int
    end: int
    share: float = 1.0


@dataclass(frozen=True, slots=True)
class Overview:
    """A whole series from ``start`` to ``end``, in candles of ``frame``."""

    candles: Candles
    frame: Timeframe
    start: int
    end: int
    #: Rows that can't be drawn: of prices that are no numbers, and of times far from all others.
    unpriced: int
    remote: int
    flagged: dict[str, NDArray[np.bool_]]

    @overload
    def x(self, time: int) -> float: ...
    @overload
    def x(self, time: Integers) -> Floats: ...
    def x(self, time: int | Integers) -> float | Floats:
        """Where times lie."""
        scale = WIDTH / max(1, self.end - self.start)
        if isinstance(time, np.ndarray):
            return (time - self.start).astype(np.float64) * scale
        return (time - self.start) * scale

    def candle_at(self, time: int) -> int:
        """The candle that a time falls into, or the one before it."""
        return max(0, int(np.searchsorted(self.candles.time, time, side="right")) - 1)


def overview(bars: Bars) -> Overview | None:
    """Ordered bars as at most about 300 candles; None where no row can be drawn."""
    priced = _drawable(bars)
    unpriced = len(bars) - int(np.count_nonzero(priced))
    bars = bars[priced] if unpriced else bars
    if not len(bars):
        return None
    first, stop = _near(bars.time)
    remote = len(bars) - (stop - first)
    bars = bars[first:stop]
    frame = _frame_for(bars)
    numbers = frame.ordinal(bars.time)
    starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
    stops = np.append(starts[1:], len(bars))
    numbers = numbers[starts]
    time = frame.opening(numbers)
    start, end = int(time[0]), int(frame.next(int(time[-1])))
    scale = np.float64(WIDTH / max(1, end - start))
    candles = Candles(
        time, (time - start) * scale, (frame.opening(numbers + 1) - start) * scale,
        bars.open[starts], np.maximum.reduceat(bars.high, starts), np.minimum.reduceat(bars.low, starts), bars.close[stops - 1],
        np.add.reduceat(_volumes(bars.volume), starts), stops - starts,
        np.add.reduceat((bars.flags & np.uint8(Flag.FILLED)).astype(np.int64), starts),
    )  # fmt: skip
    flags = np.bitwise_or.reduceat(bars.flags, starts)
    flagged = {name: marked for name, flag in _FLAGS.items() if (marked := (flags & np.uint8(flag)) != 0).any()}
    return Overview(candles, frame, start, end, unpriced, remote, flagged)


def _drawable(bars: Bars) -> NDArray[np.bool_]:
    """Which rows have four prices that are numbers, of a size with which one can reckon; shape (n,)."""
    drawn = np.ones(len(bars), np.bool_)
    for name in PRICES:
        size = np.abs(bars[name])
        drawn &= (size < LARGEST) & ((size > 1 / LARGEST) | (size == 0))
    return drawn


def _volumes(volume: Floats) -> Floats:
    """Volumes to draw: none below zero, none beyond measure."""
    return np.clip(np.nan_to_num(volume, nan=0.0, posinf=0.0), 0.0, LARGEST)


def _near(time: Integers) -> tuple[int, int]:
    """The rows that are not absurdly far from most: a bar stamped in the year 3000 must not hide all others."""
    rows = len(time)
    low, high = float(time[int(0.1 * (rows - 1))]), float(time[math.ceil(0.9 * (rows - 1))])
    reach = 50 * (high - low)
    if rows < 11 or not reach:
        return 0, rows
    values = time.astype(np.float64)
    return int(np.searchsorted(values, low - reach)), int(np.searchsorted(values, high + reach, side="right"))


def _frame_for(bars: Bars) -> Timeframe:
    """The shortest timeframe in which the bars are few enough to be drawn one by one."""
    frame = bars.timeframe
    first, last = int(bars.time[0]), int(bars.time[-1])
    slots = frame.ordinal(last) - frame.ordinal(first) + 1
    if slots <= CANDLES:
        return frame
    for longer in map(Timeframe, _FRAMES):
        if frame.divides(longer) and longer.ordinal(last) - longer.ordinal(first) < CANDLES:
            return longer
    try:
        return frame * math.ceil(slots / CANDLES)
    except InvalidTimeframe:  # rows that are further apart than any calendar goes: their times are wrong, and few
        return Timeframe(_FRAMES[-1])


# ── gaps and coverage ────────────────────────────────────────────────────────────────────────────────


def bands(gaps: Sequence[Gap], view: Overview) -> list[Band]:
    """Gaps as bands wide enough to be seen, neighbours of one kind put together."""
    made = []
    kinds = np.array([_kind(gap) for gap in gaps])
    for kind in ("closed", "filled", "open"):
        chosen = [gap for gap, its in zip(gaps, kinds, strict=True) if its == kind]
        if not chosen:
            continue
        edges = np.array([(gap.start, gap.end, gap.missing) for gap in chosen], np.int64)
        left, right = view.x(edges[:, 0]), view.x(edges[:, 1])
        middle = (left + right) / 2
        left, right = np.minimum(left, middle - 0.75), np.maximum(right, middle + 0.75)
        apart = np.flatnonzero(np.append(True, left[1:] > np.maximum.accumulate(right)[:-1] + 0.5))
        stops = np.append(apart[1:], len(chosen))
        widest = np.maximum.reduceat(right, apart)
        missing, lasted = np.add.reduceat(edges[:, 2], apart), np.add.reduceat(edges[:, 1] - edges[:, 0], apart)
        for a, b, end, lost, length in zip(*(c.tolist() for c in (apart, stops, widest, missing, lasted)), strict=True):
            first, last = chosen[a].start, chosen[b - 1].end
            band = Band(max(0.0, float(left[a])), min(WIDTH, end), kind, b - a, lost, first, last, length / max(1, last - first))
            if band.left < band.right:
                made.append(band)
    return made


def _kind(gap: Gap) -> str:
    return "closed" if gap.kind == "closed" else "filled" if gap.filled else "open"


class Coverage(NamedTuple):
    """For each candle's slot on the grid, how many bars there should be, and what there is; columns of shape (n,)."""

    left: Floats
    right: Floats
    time: Integers
    expected: Integers
    present: Integers
    filled: Integers
    closed: Integers

    @property
    def missing(self) -> Integers:
        return self.expected - self.present - self.filled - self.closed


def coverage(bars: Bars, view: Overview, gaps: Sequence[Gap]) -> Coverage | None:
    """How much of the grid between the first and the last bar holds bars; None where the grid is beyond measure."""
    if view.frame.ordinal(view.end - 1) - view.frame.ordinal(view.start) > 2 * CANDLES:
        return None
    numbers = np.arange(view.frame.ordinal(view.start), view.frame.ordinal(view.end - 1) + 1, dtype=np.int64)
    edges = view.frame.opening(np.append(numbers, numbers[-1] + 1))
    inside = bars.timeframe.ordinal(np.clip(edges, bars.time[0], bars.timeframe.next(int(bars.time[-1])))) if len(bars) else edges
    expected = np.diff(inside)
    at = np.searchsorted(bars.time, edges)
    filled = np.diff(np.append(0, np.cumsum(bars.flags & np.uint8(Flag.FILLED), dtype=np.int64))[at])
    present = np.minimum(np.diff(at) - filled, expected - filled)
    shut = np.array([(gap.start, gap.end) for gap in gaps if gap.kind == "closed"], np.float64).reshape(-1, 2)
    points, lasted = shut.reshape(-1), np.cumsum(np.diff(shut, axis=1))
    through = (
        np.diff(np.interp(edges, points, np.append(0.0, np.repeat(lasted, 2)[:-1]))) if len(points) else np.zeros(len(expected))
    )
    shut_bars = np.rint(through / np.diff(edges) * np.diff(bars.timeframe.ordinal(edges))).astype(np.int64)
    closed = np.minimum(shut_bars, expected - filled - present)
    return Coverage(view.x(edges[:-1]), view.x(edges[1:]), edges[:-1], expected, present, filled, closed)


# ── a few bars from near by ──────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Zoom:
    """The bars around one place, each of the same width, long holes shortened."""

    candles: Candles
    bands: list[Band]
    times: Integers  # of all rows, also of those that can't be drawn
    places: Floats  # where they begin, in bars
    slots: float
    flags: NDArray[np.uint8]

    def x(self, time: int) -> float:
        """Where a time lies; proportional between the rows."""
        return float(np.interp(time, self.times, self.places)) * self.width

    @property
    def width(self) -> float:
        """Of one bar."""
        return WIDTH / self.slots


def zoom(bars: Bars, start: int, end: int) -> Zoom | None:
    """Ordered bars around ``[start, end)``, some before and some after; None where there are none."""
    first = max(0, int(np.searchsorted(bars.time, start)) - AROUND)
    stop = min(int(np.searchsorted(bars.time, end)) + AROUND, first + 6 * AROUND)
    part = bars[first : max(stop, first + 1)]
    if not len(part):
        return None
    frame = part.timeframe
    numbers = frame.ordinal(part.time)
    openings = frame.opening(numbers)
    grid = numbers + (part.time - openings) / np.maximum(1, frame.opening(numbers + 1) - openings)
    steps = np.clip(np.diff(grid), 0.0, _HOLE + 1)
    places = np.append(0.0, np.cumsum(steps))
    slots = float(places[-1]) + 1
    scale = WIDTH / slots
    holes = np.flatnonzero(np.diff(numbers) > 1)
    shaded = [
        Band((places[row] + 1) * scale, places[row + 1] * scale, "open", 1, int(numbers[row + 1] - numbers[row] - 1),
             frame.next(int(part.time[row])), int(openings[row + 1]))
        for row in holes.tolist()
    ]  # fmt: skip
    shaded += _filled_bands(part, places, scale)
    drawn = np.flatnonzero(_drawable(part))
    left = places * scale
    candles = Candles(
        part.time[drawn], left[drawn], left[drawn] + scale,
        part.open[drawn], part.high[drawn], part.low[drawn], part.close[drawn],
        _volumes(part.volume[drawn]), np.ones(len(drawn), np.int64),
        (part.flags[drawn] & np.uint8(Flag.FILLED)).astype(np.int64),
    )  # fmt: skip
    # One more point, so that places after the last opening are inside too.
    times = np.append(part.time, frame.next(int(part.time[-1])))
    return Zoom(candles, shaded, times, np.append(places, slots), slots, part.flags[drawn])


def _filled_bands(part: Bars, places: Floats, scale: float) -> list[Band]:
    filled = np.flatnonzero(part.flags & np.uint8(Flag.FILLED))
    if not len(filled):
        return []
    starts = np.flatnonzero(np.diff(filled, prepend=filled[0] - 2) != 1)
    stops = np.append(starts[1:], len(filled))
    return [
        Band(float(places[filled[a]]) * scale, (float(places[filled[b - 1]]) + 1) * scale, "filled", 1, b - a,
             int(part.time[filled[a]]), part.timeframe.next(int(part.time[filled[b - 1]])))
        for a, b in zip(starts.tolist(), stops.tolist(), strict=True)
    ]  # fmt: skip
