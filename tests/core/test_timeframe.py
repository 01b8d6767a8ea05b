"""Timeframe: spellings, the text that it is, the calendar grid, divisibility, backtrader's constants."""

import copy
import datetime as dt
import json
import pickle

import backtrader as bt
import numpy as np
import pandas as pd
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cracktrader.errors import ConfigurationError, InvalidTimeframe
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader.times import parse_time

GUIDE = ("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
SECOND, MINUTE, HOUR, DAY, WEEK = 1000, 60_000, 3_600_000, 86_400_000, 604_800_000
STEPS = {
    "1s": SECOND, "1m": MINUTE, "3m": 3 * MINUTE, "5m": 5 * MINUTE, "15m": 15 * MINUTE, "30m": 30 * MINUTE, "1h": HOUR,
    "2h": 2 * HOUR, "4h": 4 * HOUR, "6h": 6 * HOUR, "8h": 8 * HOUR, "12h": 12 * HOUR,
    "1d": DAY, "3d": 3 * DAY, "1w": WEEK, "1M": None,
}  # fmt: skip

timeframes = st.sampled_from([*TIMEFRAMES, "10s", "45s", "7m", "90m", "5h", "36h", "2d", "10d", "2w", "2M", "3M", "12M"]).map(
    Timeframe
)
# 1600 to 2400, so that the leap years of both centuries are among them.
moments = st.integers(-11_676_096_000_000, 13_569_465_600_000)


# ── spellings ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("text", [*GUIDE, "1s"])
def test_every_timeframe_of_the_user_guide_is_its_own_canonical_spelling(text):
    frame = Timeframe(text)
    assert frame == text
    assert f"{frame.amount}{frame.unit}" == text
    assert frame.step == STEPS[text]


def test_the_list_of_timeframes_is_the_user_guides_with_seconds_and_each_is_canonical():
    assert set(TIMEFRAMES) == {*GUIDE, "1s"}
    assert [Timeframe(text) for text in TIMEFRAMES] == list(TIMEFRAMES)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("60s", "1m"), ("90s", "90s"), ("3600s", "1h"), ("86400s", "1d"), ("60m", "1h"), ("90m", "90m"), ("240m", "4h"),
        ("1440m", "1d"), ("24h", "1d"), ("36h", "36h"), ("48h", "2d"), ("72h", "3d"), ("7d", "7d"), ("168h", "7d"),
        ("12M", "12M"),
        ("1Y", "12M"), ("1y", "12M"), ("2Y", "24M"), (" 1h ", "1h"), ("1 h", "1h"), ("1H", "1h"), ("1D", "1d"), ("1W", "1w"),
        ("5min", "5m"), ("30sec", "30s"), ("1S", "1s"), ("1mo", "1M"), ("3mon", "3M"), ("7m", "7m"), ("999999s", "999999s"),
    ],
)  # fmt: skip
def test_spellings_of_one_length_are_one_timeframe(text, canonical):
    assert Timeframe(text) == canonical
    assert Timeframe(text) == Timeframe(canonical)
    assert hash(Timeframe(text)) == hash(canonical)


def test_seven_days_are_not_a_week_because_weeks_begin_on_monday():
    assert Timeframe("7d") != Timeframe("1w")
    assert Timeframe("7d").step == Timeframe("1w").step


def test_minutes_and_months_are_told_by_case_alone():
    assert Timeframe("1m").step == MINUTE
    assert Timeframe("1M").step is None


@pytest.mark.parametrize(
    "bad",
    ["", " ", "h", "1", "60", "0m", "-1m", "01m", "1.5h", "1x", "7x", "1hh", "m1", "1h 30m", "1m\n5m", "1000000s", "１m", "1µ",
     "daily", None, 5, 1.5, b"1h", ["1h"], 999999.0],
    ids=repr,
)  # fmt: skip
def test_what_is_no_timeframe_is_quoted_with_what_to_write(bad):
    with pytest.raises(InvalidTimeframe, match="is not a timeframe") as caught:
        Timeframe(bad)
    assert repr(bad) in caught.value.message
    assert caught.value.hint == "Write a whole number and a unit: s, m (minutes), h, d, w or M (months), as in '15m' or '1M'."
    assert caught.value.context["timeframe"] == bad
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize(("typo", "meant"), [("1hh", "1h"), ("15mm", "15m"), ("1 day", "1d"), ("30minutes", "30m")])
def test_a_typo_is_answered_with_what_was_probably_meant(typo, meant):
    with pytest.raises(InvalidTimeframe, match=f"Did you mean '{meant}'"):
        Timeframe(typo)


# ── it is a str ──────────────────────────────────────────────────────────────────────────────────────


@given(timeframes)
def test_it_is_its_text_everywhere_a_text_is_wanted(frame):
    text = str(frame)
    assert type(text) is str
    assert isinstance(frame, str)
    assert frame == text
    assert {text: 1}[frame] == {frame: 1}[text] == 1
    assert json.loads(json.dumps({"timeframe": frame, frame: 1})) == {"timeframe": text, text: 1}
    assert f"{frame}" == f"{frame:s}" == "%s" % frame == text  # noqa: UP031
    assert f"{frame:>6}" == f"{text:>6}"
    assert repr(frame) == f"Timeframe({text!r})"


@given(timeframes)
def test_copies_are_equal_and_whole(frame):
    copies = [copy.copy(frame), copy.deepcopy(frame), Timeframe(frame), Timeframe(str(frame))]
    copies += [pickle.loads(pickle.dumps(frame, protocol)) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for same in copies:
        assert type(same) is Timeframe
        assert (same, same.amount, same.unit, same.step) == (frame, frame.amount, frame.unit, frame.step)
    assert Timeframe(frame) is frame


def test_it_is_a_field_of_pydantic_models_with_its_own_error_and_a_schema():
    class Model(pydantic.BaseModel):
        timeframe: Timeframe

    model = Model(timeframe="60m")
    assert type(model.timeframe) is Timeframe
    assert model.timeframe.step == HOUR
    assert model.model_dump_json() == '{"timeframe":"1h"}'
    assert Model.model_validate_json('{"timeframe":"1h"}') == model == Model(timeframe=Timeframe("1h"))
    for mode in ("validation", "serialization"):
        assert Model.model_json_schema(mode=mode)["properties"]["timeframe"]["type"] == "string"
    with pytest.raises(pydantic.ValidationError, match="'7x' is not a timeframe"):
        Model(timeframe="7x")


# ── multiples ────────────────────────────────────────────────────────────────────────────────────────


@given(timeframes, st.integers(1, 1000))
def test_a_multiple_is_that_many_times_as_long(frame, factor):
    longer = frame * factor
    assert longer == factor * frame
    if frame.step is None:
        assert (longer.unit, longer.amount) == ("M", frame.amount * factor)
    else:
        assert longer.step == frame.step * factor
    assert Timeframe(str(longer)) == longer


def test_compression_makes_the_timeframe_that_users_would_write():
    assert Timeframe("1h") * 4 == "4h"
    assert Timeframe("1m") * 60 == "1h"
    assert Timeframe("1d") * 7 == "7d"
    assert Timeframe("1M") * 12 == Timeframe("1Y")


@pytest.mark.parametrize("factor", [0, -1, 1.5, "2", None])
def test_only_whole_positive_factors_make_a_timeframe(factor):
    with pytest.raises(InvalidTimeframe, match="can't be multiplied"):
        Timeframe("1h") * factor


def test_a_multiple_too_long_to_be_written_is_refused():
    with pytest.raises(InvalidTimeframe, match="is not a timeframe"):
        Timeframe("1w") * 1_000_000
    with pytest.raises(InvalidTimeframe, match="is not a timeframe"):
        Timeframe("999999Y")


# ── the grid ─────────────────────────────────────────────────────────────────────────────────────────


@given(timeframes, moments)
@example(Timeframe("1w"), 0)
@example(Timeframe("1M"), -1)
def test_a_moment_lies_in_its_bar(frame, time):
    assert frame.floor(time) <= time < frame.next(time)
    assert frame.previous(time) < frame.floor(time)
    assert frame.ceil(time) - time < frame.next(time) - frame.floor(time)
    assert frame.ceil(time) in (frame.floor(time), frame.next(time))
    assert (frame.ceil(time) == time) == (frame.floor(time) == time)


@given(timeframes, moments)
def test_numbers_of_consecutive_bars_are_consecutive(frame, time):
    number = frame.ordinal(time)
    assert frame.ordinal(frame.floor(time)) == number
    assert frame.ordinal(frame.next(time)) == number + 1
    assert frame.ordinal(frame.next(time) - 1) == number
    assert frame.ordinal(frame.previous(time)) == number - 1
    assert frame.opening(number) == frame.floor(time)
    assert frame.opening(number + 1) == frame.next(time)


@given(timeframes, moments)
def test_openings_are_fixed_points_and_the_functions_undo_each_other(frame, time):
    opening = frame.floor(time)
    assert frame.floor(opening) == frame.ceil(opening) == opening
    assert frame.previous(frame.next(opening)) == frame.next(frame.previous(opening)) == opening
    assert frame.ceil(opening + 1) == frame.next(opening)
    assert frame.floor(opening - 1) == frame.previous(opening)


@given(timeframes, st.lists(moments, max_size=12))
@pytest.mark.parametrize("method", ["floor", "ceil", "next", "previous", "ordinal"])
def test_an_array_gives_what_each_of_its_times_gives(method, frame, times):
    answers = getattr(frame, method)(np.array(times, dtype=np.int64))
    assert answers.dtype == np.int64
    assert answers.tolist() == [getattr(frame, method)(time) for time in times]
    square = np.array([times, times], dtype=np.int64)
    assert getattr(frame, method)(square).shape == square.shape


@given(timeframes, moments)
def test_an_int_gives_an_int(frame, time):
    for method in (frame.floor, frame.ceil, frame.next, frame.previous, frame.ordinal, frame.opening):
        assert type(method(time if method != frame.opening else frame.ordinal(time))) is int


@given(timeframes, moments)
def test_the_array_given_is_not_written_to(frame, time):
    times = np.array([time, time + 1])
    times.flags.writeable = False
    frame.floor(times), frame.next(times), frame.previous(times), frame.ceil(times)
    assert times.tolist() == [time, time + 1]


@given(moments)
def test_weeks_open_on_monday_at_midnight(time):
    opening = dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=Timeframe("1w").floor(time))
    assert opening.weekday() == 0
    assert opening.time() == dt.time.min


@given(moments, st.sampled_from([1, 2, 3, 6, 12]))
def test_months_are_calendar_months(time, amount):
    frame = Timeframe(f"{amount}M")
    moment = dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=time)
    month = (moment.month - 1) // amount * amount + 1
    assert frame.floor(time) == parse_time(dt.date(moment.year, month, 1))
    following = month + amount
    assert frame.next(time) == parse_time(dt.date(moment.year + (following > 12), (following - 1) % 12 + 1, 1))


@given(moments)
def test_fixed_lengths_count_from_the_epoch_as_pandas_floors_them(time):
    for text, rule in {"5m": "5min", "1h": "h", "4h": "4h", "1d": "D", "45s": "45s"}.items():
        floor = pd.Timestamp(time, unit="ms").floor(rule).asm8.astype("datetime64[ms]")
        assert Timeframe(text).floor(time) == floor.astype(np.int64)


@pytest.mark.parametrize(
    ("frame", "time", "floor", "following"),
    [
        ("1M", "2024-02-29T23:59:59.999Z", "2024-02-01", "2024-03-01"),
        ("1M", "2023-02-28", "2023-02-01", "2023-03-01"),
        ("1M", "1900-02-28T12:00Z", "1900-02-01", "1900-03-01"),
        ("1M", "2000-02-29", "2000-02-01", "2000-03-01"),
        ("1M", "2023-12-31T23:59:59.999Z", "2023-12-01", "2024-01-01"),
        ("3M", "2024-05-15", "2024-04-01", "2024-07-01"),
        ("12M", "1969-12-31T23:59:59.999Z", "1969-01-01", "1970-01-01"),
        ("1w", "2024-01-07T23:59:59.999Z", "2024-01-01", "2024-01-08"),
        ("1w", "2024-01-01", "2024-01-01", "2024-01-08"),
        ("1w", "1970-01-01", "1969-12-29", "1970-01-05"),
        ("3d", "1970-01-05", "1970-01-04", "1970-01-07"),
        ("1d", "1969-12-31T23:59:59.999Z", "1969-12-31", "1970-01-01"),
        ("8h", "2024-01-01T15:59", "2024-01-01T08:00", "2024-01-01T16:00"),
    ],
)
def test_known_bars(frame, time, floor, following):
    frame, time = Timeframe(frame), parse_time(time)
    assert frame.floor(time) == parse_time(floor)
    assert frame.next(time) == parse_time(following)


@given(timeframes, moments, st.integers(0, 40), st.integers(-3, 3), st.integers(-3, 3))
def test_openings_are_all_of_the_grid_in_the_range_and_nothing_else(frame, time, bars, before, after):
    start = time
    end = frame.opening(frame.ordinal(time) + bars) + after
    start += before
    expected = []
    opening = frame.ceil(start)
    while opening < end:
        expected.append(opening)
        opening = frame.next(opening)
    openings = frame.openings(start, end)
    assert openings.dtype == np.int64
    assert openings.tolist() == expected


def test_openings_include_the_start_and_exclude_the_end():
    day = Timeframe("1d")
    assert day.openings(0, 2 * DAY).tolist() == [0, DAY]
    assert day.openings(1, 2 * DAY + 1).tolist() == [DAY, 2 * DAY]
    assert day.openings(DAY, DAY).tolist() == []
    assert day.openings(2 * DAY, 0).tolist() == []


# ── divides ──────────────────────────────────────────────────────────────────────────────────────────

#: Eight years with three leap days.
SPAN = (parse_time("1998-01-01"), parse_time("2006-01-01"))
LENGTHS = ["1h", "3h", "5h", "7h", "8h", "12h", "1d", "2d", "3d", "4d", "7d", "1w", "2w", "3w", "1M", "2M", "3M", "6M"]


@pytest.mark.parametrize("part", LENGTHS)
def test_divides_means_that_every_bar_begins_and_ends_where_a_part_does(part):
    openings = set(Timeframe(part).openings(SPAN[0] - 100 * DAY, SPAN[1] + 200 * DAY).tolist())
    for whole in LENGTHS:
        edges = Timeframe(whole).openings(*SPAN).tolist()
        assert Timeframe(part).divides(Timeframe(whole)) == openings.issuperset(edges), f"{part} into {whole}"


@given(timeframes)
def test_every_timeframe_divides_itself_and_its_multiples_on_the_same_grid(frame):
    assert frame.divides(frame)
    if frame.unit != "w":
        assert frame.divides(frame * 6)


def test_seconds_and_minutes_divide_what_whole_days_do():
    for part in ("1s", "1m", "15m", "4h"):
        for whole in ("1d", "3d", "1w", "1M", "12M"):
            assert Timeframe(part).divides(Timeframe(whole))
            assert not Timeframe(whole).divides(Timeframe(part))
    assert not Timeframe("7m").divides(Timeframe("1h"))
    assert not Timeframe("7m").divides(Timeframe("1M"))


# ── backtrader ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "unit", "compression"),
    [
        ("1s", bt.TimeFrame.Seconds, 1), ("30s", bt.TimeFrame.Seconds, 30), ("1m", bt.TimeFrame.Minutes, 1),
        ("90m", bt.TimeFrame.Minutes, 90), ("1h", bt.TimeFrame.Minutes, 60), ("4h", bt.TimeFrame.Minutes, 240),
        ("1d", bt.TimeFrame.Days, 1), ("3d", bt.TimeFrame.Days, 3), ("1w", bt.TimeFrame.Weeks, 1), ("1M", bt.TimeFrame.Months, 1),
        ("12M", bt.TimeFrame.Months, 12),
    ],
)  # fmt: skip
def test_backtraders_constants_mean_the_same_bar(text, unit, compression):
    assert Timeframe(text).to_backtrader() == (unit, compression)
    assert Timeframe.from_backtrader(unit, compression) == text


@given(timeframes)
def test_backtrader_and_back_is_the_same_timeframe(frame):
    assert Timeframe.from_backtrader(*frame.to_backtrader()) == frame


def test_a_year_of_backtrader_is_twelve_months():
    assert Timeframe.from_backtrader(bt.TimeFrame.Years) == "12M"
    assert Timeframe.from_backtrader(bt.TimeFrame.Years, 2) == "24M"


@pytest.mark.parametrize("unit", [bt.TimeFrame.Ticks, bt.TimeFrame.MicroSeconds, bt.TimeFrame.NoTimeFrame, 0, None])
def test_ticks_are_no_bars(unit):
    with pytest.raises(InvalidTimeframe, match="has no bars of a fixed length"):
        Timeframe.from_backtrader(unit)


@pytest.mark.parametrize("compression", [0, -1, 1.5, "2", None])
def test_a_compression_that_makes_no_bar_is_refused(compression):
    with pytest.raises(InvalidTimeframe, match="makes no bar"):
        Timeframe.from_backtrader(bt.TimeFrame.Minutes, compression)
