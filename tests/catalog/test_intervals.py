"""Intervals against sets of whole numbers, which can't be got wrong."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from cracktrader.catalog.intervals import cover, intersect, merge, run_until, subtract

intervals = st.lists(st.tuples(st.integers(-20, 20), st.integers(-20, 20)), max_size=8)


def numbers(these) -> set[int]:
    return {number for start, end in these for number in range(start, end)}


def is_canonical(these) -> bool:
    return all(start < end for start, end in these) and all(a[1] < b[0] for a, b in itertools.pairwise(these))


@given(intervals, intervals)
def test_merge_is_the_union(one, other) -> None:
    merged = merge(one, other)
    assert numbers(merged) == numbers(one) | numbers(other)
    assert is_canonical(merged)
    assert merge(merged) == merged


@given(intervals, intervals)
def test_subtract_is_the_difference(one, other) -> None:
    rest = subtract(one, other)
    assert numbers(rest) == numbers(one) - numbers(other)
    assert is_canonical(rest)


@given(intervals, intervals)
def test_intersect_is_the_intersection(one, other) -> None:
    both = intersect(one, other)
    assert numbers(both) == numbers(one) & numbers(other)
    assert is_canonical(both)


@given(intervals, st.tuples(st.integers(-20, 20), st.integers(-20, 20)))
def test_cover_says_whether_all_is_in(these, wanted) -> None:
    assert cover(merge(these), wanted) == (numbers([wanted]) <= numbers(these))


@given(intervals, st.integers(-20, 20))
def test_a_run_ends_at_the_first_number_that_is_not_in(these, start) -> None:
    end = run_until(merge(these), start)
    assert numbers([(start, end)]) <= numbers(these)
    assert end not in numbers(these)
