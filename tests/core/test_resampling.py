"""Resampling: exactly the exchange's own longer bars, on the calendar, flagged where something is missing."""

import csv
import datetime as dt
import math
from decimal import Decimal
from itertools import groupby

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import DataError, UnsupportedTimeframe
from cracktrader.quality import validate
from cracktrader.resampling import resample, rows_that_open
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, parse_time

MINUTE = 60_000
START = 1_704_067_200_000
NOW = 4_000_000_000_000


def make(times, timeframe="1m", **changes) -> Bars:
    """Bars at the given times, whose prices tell where they come from."""
    at = np.arange(len(times), dtype=np.float64)
    arguments = {
        "open": at + 10, "high": at + 12, "low": at + 9, "close": at + 11, "volume": at + 1, "symbol": "X",
        "timeframe": timeframe,
    }  # fmt: skip
    return Bars(times, **arguments | changes)


def minutes(count: int, **changes) -> Bars:
    return make(START + MINUTE * np.arange(count), **changes)


def from_csv(folder, name: str, timeframe: str) -> Bars:
    with open(folder / name, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return Bars([int(row[0]) for row in rows], *([float(row[at]) for row in rows] for at in range(1, 6)),
                symbol="BTC/USD", timeframe=timeframe)  # fmt: skip


# ── real bars ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def seconds(shared_data) -> Bars:
    return from_csv(shared_data, "coinbase_BTC-USD_1s_2016-10-07_09.csv", "1s")


@pytest.fixture(scope="module")
def published(shared_data) -> Bars:
    return from_csv(shared_data, "coinbase_BTC-USD_1m_2016-10-07_09.csv", "1m")


def test_seconds_make_the_published_minutes_to_the_last_bit(seconds, published):
    made = seconds.resample("1m")
    assert made.but(flags=published.flags) == published


def test_seconds_with_the_gaps_filled_make_the_published_minutes_as_well(seconds, published):
    filled = validate(seconds, now=NOW)
    assert len(filled) > 5 * len(seconds)
    made = filled.resample("1m")
    traded = made[(made.flags & Flag.FILLED) == 0]
    assert traded.but(flags=published.flags) == published


@pytest.mark.parametrize("by_way_of", ["5s", "15s", "30s", "1m", "5m", "15m"])
def test_it_does_not_matter_by_way_of_what(seconds, by_way_of):
    direct, indirect = seconds.resample("1h"), seconds.resample(by_way_of).resample("1h")
    assert indirect.but(flags=direct.flags) == direct


def test_minutes_of_two_days_make_two_days(shared_data):
    bars = from_csv(shared_data, "coinbase_BTC-USD_1m_2018-04-04_05.csv", "1m")
    days = bars.resample("1d")
    assert [isoformat(time) for time in days.time] == ["2018-04-04T00:00:00Z", "2018-04-05T00:00:00Z"]
    assert days.high.tolist() == [bars.between("2018-04-04", "2018-04-05").high.max(), bars.between("2018-04-05").high.max()]
    assert days.flags.tolist() == [Flag.SUSPECT, 0]  # the outage of the fourth


# ── every bar, against the definition ────────────────────────────────────────────────────────────────


@given(
    st.lists(st.integers(0, 400), min_size=1, max_size=60, unique=True).map(sorted),
    st.sampled_from(["5m", "7m", "30m", "1h", "4h", "1d", "1w", "1M"]),
    st.randoms(use_true_random=False),
)
def test_each_bar_is_what_the_definition_says(at, target, random):
    frame = Timeframe(target)
    if not Timeframe("1m").divides(frame):
        return
    values = [[random.uniform(1, 100) for _ in at] for _ in range(5)]
    flags = [random.choice([0, 2, 4, 8]) for _ in at]
    time = [parse_time("2024-02-29T22:00") + MINUTE * each for each in at]
    bars = Bars(time, *values, flags=flags, extra={"trades": values[4]}, symbol="X", timeframe="1m", source="here")
    made = bars.resample(target)
    rows = []
    for opening, members in groupby(range(len(time)), key=lambda row: frame.floor(time[row])):
        part = list(members)
        whole = len(part) == (frame.next(opening) - opening) // MINUTE
        flag = int(np.bitwise_or.reduce([flags[row] for row in part])) | (0 if whole else 8)
        open, high, low, close, volume = ([column[row] for row in part] for column in values)
        rows.append((opening, open[0], max(high), min(low), close[-1], pytest.approx(sum(volume)), flag))
    assert [(*record, flag) for record, flag in zip(made.to_records(), made.flags.tolist(), strict=True)] == rows
    assert made["trades"].tolist() == pytest.approx(made.volume.tolist())
    assert (made.symbol, made.timeframe, made.source) == ("X", target, "here")


@given(st.lists(st.decimals(0, 10_000, places=8), min_size=1, max_size=50), st.integers(1, 20))
def test_sums_of_volumes_are_those_of_the_decimals(volumes, length):
    made = minutes(len(volumes), volume=[float(volume) for volume in volumes]).resample(f"{length}m")
    offset = START // MINUTE % length
    parts = [volumes[max(0, at) : at + length] for at in range(-offset, len(volumes), length)]
    assert made.volume.tolist() == [float(sum(part, Decimal(0))) for part in parts if part]


@given(st.lists(st.floats(-1e300, 1e300) | st.sampled_from([0.1, 0.2, 1e8, math.nan, math.inf]), min_size=1, max_size=40))
def test_sums_of_other_numbers_are_those_of_the_floats(volumes):
    with np.errstate(all="ignore"):
        made = minutes(len(volumes), volume=volumes).resample("5m")
        expected = [np.sum(np.array(volumes[at : at + 5])) for at in range(0, len(volumes), 5)]
        scale = [max(1.0, float(np.abs(volumes[at : at + 5]).max())) for at in range(0, len(volumes), 5)]
    for value, want, size in zip(made.volume.tolist(), expected, scale, strict=True):
        assert value == want or (math.isnan(value) and math.isnan(want)) or abs(value - want) <= 1e-14 * size


@pytest.mark.parametrize(
    "volumes", [[1 / 3, 1 / 7, 1e-9], [0.1, 0.2, 1e-12], [254784674.9284819, 0.26978671, 0.04097352], [1e300, 0.1]]
)
def test_what_is_finer_or_larger_than_exchanges_count_is_summed_as_floats(volumes):
    made = minutes(len(volumes), volume=volumes).resample("5m")
    assert made.volume.tolist() == np.add.reduceat(np.array(volumes), [0]).tolist()


@given(st.integers(1, 40), st.lists(st.sampled_from([0.1, 0.25, 1 / 3, 1e9, 3.00000001]), min_size=40, max_size=40))
def test_a_bar_does_not_depend_on_the_bars_after_it(cut, volumes):
    bars = minutes(40, volume=volumes)
    whole, prefix = bars.resample("5m"), bars[:cut].resample("5m")
    complete = cut // 5
    assert prefix[:complete] == whole[:complete]


# ── the calendar ─────────────────────────────────────────────────────────────────────────────────────


def test_days_make_weeks_from_monday_and_calendar_months():
    days = make(Timeframe("1d").openings(parse_time("2024-01-01"), parse_time("2025-01-01")), "1d")
    weeks, months, quarters = days.resample("1w"), days.resample("1M"), days.resample("3M")
    assert {dt.date.fromisoformat(isoformat(time)[:10]).weekday() for time in weeks.time} == {0}
    assert len(weeks) == 53
    assert [isoformat(time)[:10] for time in months.time] == [f"2024-{month:02}-01" for month in range(1, 13)]
    assert months.volume.sum() == quarters.volume.sum() == days.volume.sum()
    assert (months.flags == 0).all()
    assert (quarters.flags == 0).all()
    assert [bool(flag) for flag in weeks.flags] == [False] * 52 + [True]  # the last week goes on into 2025


def test_a_february_lacks_nothing_in_a_leap_year_and_a_day_if_the_29th_is_missing():
    february = Timeframe("1d").openings(parse_time("2024-02-01"), parse_time("2024-03-01"))
    assert make(february, "1d").resample("1M").flags.tolist() == [0]
    assert make(february[:-1], "1d").resample("1M").flags.tolist() == [Flag.SUSPECT]
    other = Timeframe("1d").openings(parse_time("2023-02-01"), parse_time("2023-03-01"))
    assert make(other, "1d").resample("1M").flags.tolist() == [0]


# ── flags, extras, ends ──────────────────────────────────────────────────────────────────────────────


def test_a_bar_that_lacks_a_part_at_either_end_or_inside_is_suspect():
    whole = minutes(15)
    assert whole.resample("5m").flags.tolist() == [0, 0, 0]
    assert whole[1:].resample("5m").flags.tolist() == [8, 0, 0]
    assert whole[:-1].resample("5m").flags.tolist() == [0, 0, 8]
    assert whole[np.delete(np.arange(15), 7)].resample("5m").flags.tolist() == [0, 8, 0]


def test_flags_are_those_of_all_parts_but_filled_only_where_all_was():
    flags = [1, 1, 1, 1, 1, 2, 0, 4, 0, 1, 0, 0, 0, 8, 0]
    assert minutes(15, flags=flags).resample("5m").flags.tolist() == [1, 2 | 4, 8]


def test_what_was_filled_has_no_say_in_the_prices_where_something_was_traded():
    bars = minutes(5, open=[5, 5, 7, 5, 9], high=[5, 5, 8, 9, 9], low=[5, 5, 6, 3, 9], close=[5, 5, 7, 5, 9],
                   volume=[0, 0, 2, 3, 0], extra={"trades": [np.nan, np.nan, 4, 6, np.nan]}, flags=[1, 1, 0, 0, 1])  # fmt: skip
    made = bars.resample("5m")
    assert made.to_records() == [(START, 7.0, 9.0, 3.0, 5.0, 5.0)]
    assert made["trades"].tolist() == [10.0]
    assert made.flags.tolist() == [0]


def test_a_bar_that_was_filled_throughout_stays_flat_and_flagged():
    made = minutes(5, **dict.fromkeys(PRICES, [5.0] * 5), volume=[0] * 5, flags=[1] * 5, extra={"n": [np.nan] * 5}).resample("5m")
    assert made.to_records() == [(START, 5.0, 5.0, 5.0, 5.0, 0.0)]
    assert made.flags.tolist() == [Flag.FILLED]
    assert np.isnan(made["n"][0])


@given(st.lists(st.integers(0, 90), min_size=1, max_size=40, unique=True).map(sorted))
def test_filling_before_resampling_changes_no_bar_that_was_traded_in(at):
    bars = make(START + MINUTE * np.array(at), extra={"n": np.arange(len(at))})
    direct, filled = bars.resample("15m"), validate(bars, now=NOW).resample("15m")
    same = filled[np.isin(filled.time, direct.time)]
    assert same.but(flags=direct.flags) == direct


def test_extra_columns_are_summed():
    made = minutes(4, extra={"trades": [1, 2, 3, 4], "quote_volume": [0.1, 0.2, np.nan, 1]}).resample("2m")
    assert made["trades"].tolist() == [3.0, 7.0]
    assert made["quote_volume"][0] == 0.3
    assert np.isnan(made["quote_volume"][1])


def test_where_it_comes_from_is_told():
    bars = validate(minutes(10, source="here", provenance={"file": "x"}), now=NOW)
    made = bars.resample("5m")
    assert dict(made.provenance) == {"file": "x", "resampled_from": "1m"}
    assert made.report == bars.report
    assert dict(Bars.empty("X", "1m").resample("1h").provenance) == {"resampled_from": "1m"}


@pytest.mark.parametrize("target", ["1m", "60s"])
def test_the_same_timeframe_is_the_same_bars(target):
    bars = minutes(3)
    assert bars.resample(target) is bars


def test_no_bars_and_one_bar():
    none = resample(Bars.empty("X", "1m"), "1h")
    assert (len(none), none.timeframe, none.symbol) == (0, "1h", "X")
    one = minutes(1).resample("1h")
    assert one.to_records() == minutes(1).to_records()
    assert one.flags.tolist() == [Flag.SUSPECT]


@pytest.mark.parametrize(
    ("own", "target"), [("1h", "1m"), ("7m", "1h"), ("1w", "1M"), ("1M", "1w"), ("1M", "1d"), ("7d", "1w"), ("2d", "1w")]
)
def test_a_timeframe_that_is_not_made_of_whole_bars_is_refused_with_both(own, target):
    with pytest.raises(UnsupportedTimeframe, match=f"Bars of {target} can't be made from bars of {own}") as caught:
        Bars.empty("X", own).resample(target)
    assert f"{target} must be a whole number of {own} bars" in caught.value.hint


@pytest.mark.parametrize("rows", [[1, 0], [0, 0], [0, 1, 2, 2, 3], [0, 3, 1]])
def test_rows_out_of_order_or_twice_are_refused_and_not_mixed_up(rows):
    with pytest.raises(DataError, match="out of order, or occur twice") as caught:
        minutes(5)[rows].resample("5m")
    assert "ct.validate" in caught.value.hint


@given(st.integers(1, 3), st.integers(0, 3))
def test_long_series_are_summed_block_by_block_like_short_ones(length, offset):
    rows = 3 * 16_384 + offset
    volume = np.random.default_rng(length).integers(0, 10**9, rows) / 1e8
    made = minutes(rows, volume=volume).resample(f"{length * 60}m")
    units = np.add.reduceat(np.rint(volume * 1e8).astype(np.int64), np.searchsorted(minutes(rows).time, made.time))
    assert made.volume.tolist() == (units / 1e8).tolist()


@given(st.lists(st.integers(0, 3 * 10**6), min_size=1, max_size=300, unique=True).map(sorted), st.sampled_from([1, 7, 60_000]))
def test_the_rows_that_open_a_bar_are_those_whose_number_differs_from_the_one_before(at, apart):
    regular = START + apart * np.arange(70_000)
    for time in (START + 1000 * np.array(at), np.delete(regular, [row for row in at if row < len(regular)])):
        for name in ("1m", "1h", "1d", "1w", "1M"):
            numbers = Timeframe(name).ordinal(time)
            wanted = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
            assert np.array_equal(rows_that_open(time, Timeframe(name)), wanted)
