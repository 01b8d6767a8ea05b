"""Arithmetic of half-open intervals of time, as sorted tuples of ``(start, end)``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["BEGINNING", "Interval", "Intervals", "cover", "intersect", "merge", "run_until", "subtract"]

#: ``[start, end)`` in epoch milliseconds UTC.
Interval: TypeAlias = tuple[int, int]
#: Sorted, disjoint, not even touching, none empty: one set of times has one spelling.
Intervals: TypeAlias = tuple[Interval, ...]

#: Before every bar there ever was: the start of a stretch that begins with the first bar.
BEGINNING: Final = -(2**62)


def merge(*many: Iterable[Interval]) -> Intervals:
    """The times that lie in any of the intervals, which may be in any order, overlap and be empty.

    >>> merge([(5, 8), (1, 3)], [(3, 4), (9, 9)])
    ((1, 4), (5, 8))
    """
    merged: list[Interval] = []
    for start, end in sorted(interval for one in many for interval in one if interval[0] < interval[1]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return tuple(merged)


def subtract(these: Iterable[Interval], others: Iterable[Interval]) -> Intervals:
    """The times that lie in ``these`` and not in ``others``.

    >>> subtract([(0, 10)], [(2, 3), (8, 20)])
    ((0, 2), (3, 8))
    """
    rest: list[Interval] = []
    holes = merge(others)
    for start, end in merge(these):
        left = start
        for hole_start, hole_end in holes:
            if hole_start >= end:
                break
            if hole_end > left:
                rest.append((left, hole_start))
                left = hole_end
        rest.append((left, end))
    return tuple((start, end) for start, end in rest if start < end)


def intersect(these: Iterable[Interval], others: Iterable[Interval]) -> Intervals:
    """The times that lie in both.

    >>> intersect([(0, 10)], [(2, 3), (8, 20)])
    ((2, 3), (8, 10))
    """
    known = merge(these)
    return subtract(known, subtract(known, others))


def cover(intervals: Intervals, wanted: Interval) -> bool:
    """Whether every time of ``wanted`` lies in ``intervals``."""
    return not subtract([wanted], intervals)


def run_until(intervals: Intervals, start: int) -> int:
    """Where the unbroken stretch that holds ``start`` ends; ``start`` itself where nothing holds it."""
    return next((end for begin, end in intervals if begin <= start < end), start)
