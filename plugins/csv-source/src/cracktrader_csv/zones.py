"""Times on the wall of a zone as UTC, whole columns at once, with the hour that clocks show twice told apart."""

from __future__ import annotations

import datetime as dt
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["WallClock", "missing_times"]

_WEEK = 7 * 86_400
_DAY_MS = 86_400_000


class WallClock:
    """Turns the times of one file, in their order, into UTC.

    Where clocks are put back an hour is shown twice. Which of the two a time means is told from the order: from where
    the times of such an hour stop rising, they are of the second pass. ``twice`` counts them.
    """

    def __init__(self, zone: dt.tzinfo) -> None:
        self.zone = zone
        self.twice = 0
        self._last: int | None = None
        self._second = False

    def to_utc(self, wall: NDArray[np.int64]) -> NDArray[np.int64]:
        """The next times of the file, ascending, as milliseconds UTC."""
        if not len(wall):
            return wall
        first, second = _readings(wall, self.zone)
        double = first < second
        before = wall[:1] - 1 if self._last is None else np.array([self._last])
        turned = double & (np.diff(wall, prepend=before) <= 0)
        # A row is of the second pass if the order has turned since its stretch of doubtful rows began.
        turns = np.cumsum(turned)
        begins = double & ~np.concatenate(([False], double[:-1]))
        at_begin = np.where(begins, turns - turned, 0)
        since: NDArray[np.int64] = turns - np.maximum.accumulate(at_begin)
        late = double & (since > 0)
        if self._second and double[0] and wall[0] - before[0] < _DAY_MS:
            late |= double & (np.cumsum(~double) == 0)
        self.twice += int(np.count_nonzero(double))
        self._last, self._second = int(wall[-1]), bool(late[-1])
        return np.where(late, second, first)


def missing_times(wall: NDArray[np.int64], zone: dt.tzinfo) -> NDArray[np.bool_]:
    """Which times no clock of the zone ever showed, because it was put forward over them."""
    first, second = _readings(wall, zone)
    return first > second


def _readings(wall: NDArray[np.int64], zone: dt.tzinfo) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each time read by the offset before and after the nearest change; both are equal for nearly all."""
    if not len(wall):
        return wall, wall
    years = wall[[wall.argmin(), wall.argmax()]].astype("datetime64[ms]").astype("datetime64[Y]").astype(int) + 1970
    changes, offsets = _changes(zone, max(2, int(years[0])), min(9998, int(years[1])))
    if not len(changes):
        return wall - offsets[0], wall - offsets[0]
    forward, back = np.maximum(offsets[:-1], offsets[1:]), np.minimum(offsets[:-1], offsets[1:])
    before = offsets[np.searchsorted(changes + forward, wall, side="right")]
    after = offsets[np.searchsorted(changes + back, wall, side="right")]
    return wall - before, wall - after


@lru_cache(maxsize=64)
def _changes(zone: dt.tzinfo, first_year: int, last_year: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """When (ms UTC) the offset of a zone changes in these years, and the offsets (ms) between the changes."""

    def offset(second: int) -> int:
        utc = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(seconds=second)
        difference = utc.astimezone(zone).utcoffset()
        return 0 if difference is None else difference // dt.timedelta(milliseconds=1)

    def seconds(year: int) -> int:
        return (dt.date(year, 1, 1) - dt.date(1970, 1, 1)).days * 86_400

    start, end = seconds(first_year) - _WEEK, seconds(last_year + 1) + _WEEK
    changes, offsets = [], [offset(start)]
    for week in range(start, end, _WEEK):
        low, high = week, week + _WEEK
        if offset(high) == offsets[-1]:
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if offset(middle) == offsets[-1] else (low, middle)
        changes.append(high * 1000)
        offsets.append(offset(high))
    return np.array(changes, np.int64), np.array(offsets, np.int64)
