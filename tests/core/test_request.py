"""BarRequest: half-open ranges on the grid, limits, and what is refused."""

import dataclasses
import datetime as dt
import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.errors import InvalidOption, InvalidRange, InvalidTime, InvalidTimeframe
from cracktrader.request import BarRequest
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader.times import isoformat, parse_time

timeframes = st.sampled_from(TIMEFRAMES).map(Timeframe)
#: 1966 to 2050: in the first years, milliseconds look like seconds.
moments = st.datetimes(dt.datetime(1966, 1, 1), dt.datetime(2050, 1, 1))


def ms(text: str) -> int:
    return parse_time(text)


# ── the grid ─────────────────────────────────────────────────────────────────────────────────────────


@given(timeframes, moments, moments)
def test_bars_that_open_in_the_half_open_range_are_wanted_and_no_others(frame, one, other):
    start, end = min(one, other), max(one, other)
    request = BarRequest("X", frame, start, end)
    first, stop = parse_time(start), parse_time(end)
    near = np.concatenate([frame.openings(t - 3 * 31 * 86_400_000, t + 3 * 31 * 86_400_000)[:200] for t in (first, stop)])
    near = np.concatenate([near, [request.start, request.end]])
    assert request.contains(near).tolist() == ((near >= first) & (near < stop)).tolist()


@given(timeframes, moments)
def test_bounds_between_two_openings_mean_the_later_one_and_openings_stay(frame, moment):
    request = BarRequest("X", frame, moment, moment)
    assert request.start == request.end == frame.ceil(parse_time(moment))
    assert frame.floor(request.start) == request.start
    opening = frame.floor(parse_time(moment))
    assert BarRequest("X", frame, isoformat(opening)).start == opening
    assert type(request.start) is int


@pytest.mark.parametrize(
    ("frame", "start", "end", "first", "stop"),
    [
        ("1h", "2024-01-01T00:00", "2024-01-01T02:00", "2024-01-01T00:00", "2024-01-01T02:00"),
        ("1h", "2024-01-01T00:00:00.001", "2024-01-01T02:00:00.001", "2024-01-01T01:00", "2024-01-01T03:00"),
        ("1d", "2024-01-01T12:00", "2024-01-02T12:00", "2024-01-02", "2024-01-03"),
        ("1w", "2024-01-02", "2024-01-31", "2024-01-08", "2024-02-05"),
        ("1M", "2024-01-02", "2024-02-29", "2024-02-01", "2024-03-01"),
    ],
)
def test_known_ranges(frame, start, end, first, stop):
    request = BarRequest("X", frame, start, end)
    assert (request.start, request.end) == (ms(first), ms(stop))


@pytest.mark.parametrize("start", ["2024-01-01", dt.date(2024, 1, 1), 1704067200, 1704067200000, np.datetime64("2024-01-01")])
def test_bounds_may_be_anything_that_is_a_time(start):
    assert BarRequest("X", "1h", start).start == 1704067200000


def test_a_side_that_is_not_given_is_open():
    noon = 1704110400000
    times = np.array([0, noon, 2 * noon])
    assert BarRequest("X", "1h").contains(times).tolist() == [True, True, True]
    assert BarRequest("X", "1h", start=noon).contains(times).tolist() == [False, True, True]
    assert BarRequest("X", "1h", end=noon).contains(times).tolist() == [True, False, False]


def test_an_empty_range_holds_nothing():
    request = BarRequest("X", "1h", "2024-01-01", "2024-01-01")
    assert request.start == request.end
    assert not request.contains(np.array([request.start - 1, request.start, request.start + 1])).any()


def test_contains_keeps_the_shape():
    assert BarRequest("X", "1h").contains(np.zeros((2, 3), np.int64)).shape == (2, 3)
    assert BarRequest("X", "1h", 0, 10).contains(np.zeros(0, np.int64)).shape == (0,)


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


def test_an_end_before_its_start_is_refused_with_both():
    with pytest.raises(InvalidRange, match=r"ends at 2024-01-01T00:00:00Z, before it starts at 2024-02-01T00:00:00Z") as caught:
        BarRequest("X", "1h", "2024-02-01", "2024-01-01")
    assert "`end` is exclusive" in caught.value.hint
    with pytest.raises(InvalidRange):
        BarRequest("X", "1d", "2024-01-01T12:00", "2024-01-01T11:59")  # although the grid would make them equal


@pytest.mark.parametrize("limit", [0, -1, True, False, np.True_, 1.0, 1.5, float("nan"), "5", [], 10**3 * 1.0])
def test_a_limit_that_is_no_number_of_bars_is_refused(limit):
    with pytest.raises(InvalidRange, match="is not a number of bars to load") as caught:
        BarRequest("X", "1h", limit=limit)
    assert f"limit={limit!r}" in caught.value.message


@pytest.mark.parametrize("limit", [1, 10**9, np.int64(5), np.uint8(5)])
def test_a_limit_is_an_int(limit):
    assert type(BarRequest("X", "1h", limit=limit).limit) is int
    assert BarRequest("X", "1h", limit=limit).limit == limit


def test_no_timeframe_says_what_to_give():
    with pytest.raises(InvalidTimeframe, match="No timeframe was given") as caught:
        BarRequest("X", None)
    assert "timeframe='1h'" in caught.value.hint


@pytest.mark.parametrize("options", [{"timeframe": "7x"}, {"timeframe": 60}, {"timeframe": ""}])
def test_a_bad_timeframe_is_refused(options):
    with pytest.raises(InvalidTimeframe, match="is not a timeframe"):
        BarRequest("X", **options)


@pytest.mark.parametrize("bad", ["yesterday", True, float("nan"), [], "2024-13-01", 10**30])
@pytest.mark.parametrize("side", ["start", "end"])
def test_a_bound_that_is_no_time_is_refused(side, bad):
    with pytest.raises(InvalidTime):
        BarRequest("X", "1h", **{side: bad})


def test_an_unknown_option_is_refused_with_what_there_is():
    with pytest.raises(InvalidOption, match="A request has no 'begin'") as caught:
        BarRequest.from_options({"timeframe": "1h", "begin": 0})
    assert caught.value.hint == "It has: symbol, timeframe, start, end, limit."
    with pytest.raises(InvalidOption, match="A request has no 'begin'"):
        BarRequest("X", "1h").but(begin=0)


# ── a value ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_request_is_a_frozen_value():
    request = BarRequest("X", "60m", "2024-01-01", "2024-02-01", 5)
    assert request == BarRequest("X", "1h", 1704067200, "2024-02-01T00:00Z", 5)
    assert len({request, BarRequest("X", "1h", "2024-01-01", "2024-02-01", 5)}) == 1
    assert pickle.loads(pickle.dumps(request)) == request
    with pytest.raises(dataclasses.FrozenInstanceError):
        request.limit = 6


def test_no_symbol_is_an_empty_one():
    assert BarRequest(None, "1h").symbol == BarRequest("", "1h").symbol == ""


@given(timeframes, moments, moments, st.none() | st.integers(1, 10))
def test_but_changes_what_is_named_and_leaves_the_rest_to_the_millisecond(frame, one, other, limit):
    request = BarRequest("X", frame, min(one, other), max(one, other), limit)
    assert request.but() == request
    assert request.but(symbol="Y") == BarRequest("Y", frame, min(one, other), max(one, other), limit)
    assert request.but(limit=3) == BarRequest("X", frame, min(one, other), max(one, other), 3)
    assert request.but(start=None) == BarRequest("X", frame, None, max(one, other), limit)
    assert request.but(end=None).start == request.start


def test_but_moves_bounds_to_the_grid_of_a_new_timeframe():
    request = BarRequest("X", "1h", "1971-01-01T05:00", "1971-01-03T05:00", 7).but(timeframe="1d")
    assert request == BarRequest("X", "1d", "1971-01-02", "1971-01-04", 7)


def test_but_refuses_what_a_request_refuses():
    request = BarRequest("X", "1h", "2024-01-01", "2024-02-01")
    with pytest.raises(InvalidRange, match="before it starts"):
        request.but(end="2023-01-01")
    with pytest.raises(InvalidRange, match="before it starts"):
        request.but(start="2025-01-01")
    with pytest.raises(InvalidRange, match="limit=0"):
        request.but(limit=0)


@given(timeframes, st.none() | moments, st.none() | st.integers(1, 10))
def test_a_request_as_json_values_is_the_same_request_again(frame, start, limit):
    request = BarRequest("X", frame, start, None, limit)
    plain = request.to_dict()
    assert set(plain) == {"symbol", "timeframe", "start", "end", "limit"}
    assert all(value is None or type(value) in (str, int) for value in plain.values())
    assert BarRequest.from_options(plain) == request


def test_a_request_reads_as_a_sentence():
    assert str(BarRequest("BTC/USDT", "1h", "2024-01-01", "2024-02-01", 5)) == (
        "BTC/USDT 1h from 2024-01-01T00:00:00Z to 2024-02-01T00:00:00Z, at most 5"
    )
    assert str(BarRequest(None, "1h")) == "the only symbol 1h from the first bar to now"
