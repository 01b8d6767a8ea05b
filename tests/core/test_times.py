"""Times: every spelling, both directions, and what is refused."""

import datetime as dt
import math
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cracktrader.errors import ConfigurationError, InvalidTime
from cracktrader.times import epoch_to_ms, epoch_unit, isoformat, now_ms, parse_time, parse_zone

MS = dt.timedelta(milliseconds=1)
EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
FIRST, LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999
PER_MS = {"ms": 1, "us": 1000, "ns": 1_000_000}

any_ms = st.integers(FIRST, LAST)
# What a magnitude tells: 1973-03-03 to 5138-11-16.
told_ms = st.integers(100_000_000_000, 99_999_999_999_999)
# What fits into int64 nanoseconds.
near_ms = st.integers(-9_000_000_000_000, 9_000_000_000_000)
utc_datetimes = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30), timezones=st.just(dt.UTC))


def exactly(moment: dt.datetime) -> int:
    """The milliseconds of an aware datetime, by nothing but the standard library's integers."""
    return (moment - EPOCH) // MS


# ── every spelling ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2024-01-01", "2024-01-01T00:00:00Z"),
        ("2024-01", "2024-01-01T00:00:00Z"),
        ("2024", "2024-01-01T00:00:00Z"),
        ("1971", "1971-01-01T00:00:00Z"),
        ("20240229", "2024-02-29T00:00:00Z"),
        ("  2024-01-01\n", "2024-01-01T00:00:00Z"),
        ("2024-01-01T12:30", "2024-01-01T12:30:00Z"),
        ("2024-01-01 12:30:15", "2024-01-01T12:30:15Z"),
        ("2024-01-01T12:30:15.250", "2024-01-01T12:30:15.250Z"),
        ("2024-01-01T12:30:15,250", "2024-01-01T12:30:15.250Z"),
        ("2024-01-01T12:30:15.250999", "2024-01-01T12:30:15.250Z"),
        ("2024-01-01T12:30:15.250999999Z", "2024-01-01T12:30:15.250Z"),
        ("2024-01-01T12:30:00Z", "2024-01-01T12:30:00Z"),
        ("2024-01-01T12:30:00+02:00", "2024-01-01T10:30:00Z"),
        ("2024-01-01T12:30:00-0530", "2024-01-01T18:00:00Z"),
        ("20240101T123015", "2024-01-01T12:30:15Z"),
        ("202401011230", "2024-01-01T12:30:00Z"),
        ("20240101123015", "2024-01-01T12:30:15Z"),
        ("199912312359", "1999-12-31T23:59:00Z"),
        ("2024-W01", "2024-01-01T00:00:00Z"),
        ("2024W01", "2024-01-01T00:00:00Z"),
        ("2024-W01-3", "2024-01-03T00:00:00Z"),
        ("1704110400", "2024-01-01T12:00:00Z"),
        ("1704110400000", "2024-01-01T12:00:00Z"),
        ("1704110400000000", "2024-01-01T12:00:00Z"),
        ("1704110400000000000", "2024-01-01T12:00:00Z"),
        ("1704110400.5", "2024-01-01T12:00:00.500Z"),
        ("1704110400.0239999999", "2024-01-01T12:00:00.023Z"),
        ("1704110400.", "2024-01-01T12:00:00Z"),
        ("-100000000", "1966-10-31T14:13:20Z"),
        (1704110400, "2024-01-01T12:00:00Z"),
        (1704110400000, "2024-01-01T12:00:00Z"),
        (1704110400000000, "2024-01-01T12:00:00Z"),
        (1704110400000000000, "2024-01-01T12:00:00Z"),
        (1704110400.25, "2024-01-01T12:00:00.250Z"),
        (0, "1970-01-01T00:00:00Z"),
        (-0.0, "1970-01-01T00:00:00Z"),
        (np.int64(1704110400000), "2024-01-01T12:00:00Z"),
        (np.int32(1704110400), "2024-01-01T12:00:00Z"),
        (np.uint64(1704110400000000000), "2024-01-01T12:00:00Z"),
        (np.float64(1704110400.25), "2024-01-01T12:00:00.250Z"),
        (np.float32(1704110464), "2024-01-01T12:01:04Z"),
        (dt.date(2024, 1, 1), "2024-01-01T00:00:00Z"),
        (dt.datetime(2024, 1, 1, 12), "2024-01-01T12:00:00Z"),
        (dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC), "2024-01-01T12:00:00Z"),
        (dt.datetime(2024, 1, 1, 12, tzinfo=ZoneInfo("Asia/Tokyo")), "2024-01-01T03:00:00Z"),
        (pd.Timestamp("2024-01-01T12:00"), "2024-01-01T12:00:00Z"),
        (pd.Timestamp("2024-01-01T12:00", tz="America/New_York"), "2024-01-01T17:00:00Z"),
        (pd.Timestamp("2024-01-01T12:00:00.123999999Z"), "2024-01-01T12:00:00.123Z"),
        (np.datetime64("2024"), "2024-01-01T00:00:00Z"),
        (np.datetime64("2024-01-01"), "2024-01-01T00:00:00Z"),
        (np.datetime64("2024-01-01T12:00:00.123999999"), "2024-01-01T12:00:00.123Z"),
        (np.str_("2024-01-01"), "2024-01-01T00:00:00Z"),
    ],
)  # fmt: skip
def test_every_spelling_means_its_moment(value, expected):
    time = parse_time(value)
    assert isoformat(time) == expected
    assert type(time) is int


@given(utc_datetimes)
def test_aware_datetimes_in_any_zone_and_their_text_are_the_same_moment(moment):
    assert parse_time(moment) == parse_time(moment.isoformat()) == exactly(moment)
    elsewhere = moment.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=45)))
    assert parse_time(elsewhere) == parse_time(str(elsewhere)) == exactly(moment)


@given(utc_datetimes)
def test_naive_datetimes_are_utc_and_dates_are_their_midnight(moment):
    assert parse_time(moment.replace(tzinfo=None)) == exactly(moment)
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    assert parse_time(moment.date()) == parse_time(moment.date().isoformat()) == exactly(midnight)


@given(any_ms)
@example(FIRST)
@example(LAST)
@example(-1)
def test_isoformat_is_read_back_as_the_same_moment(time):
    assert parse_time(isoformat(time)) == time


@given(any_ms)
def test_isoformat_says_what_the_standard_library_says(time):
    text = (EPOCH + time * MS).isoformat(timespec="milliseconds").removesuffix("+00:00").removesuffix(".000") + "Z"
    assert isoformat(time) == isoformat(np.int64(time)) == text


@given(told_ms, st.sampled_from(["s", "ms", "us", "ns"]))
def test_the_unit_of_an_epoch_number_is_told_from_its_magnitude(time, unit):
    number = time // 1000 if unit == "s" else time * PER_MS[unit]
    expected = time // 1000 * 1000 if unit == "s" else time
    assert parse_time(number) == parse_time(number, unit=unit) == expected
    if not (len(str(number)) in (12, 14) and str(number)[:2] in ("19", "20")):  # which as text is a date
        assert parse_time(str(number)) == expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (99_999_999_999, "5138-11-16T09:46:39Z"),
        (100_000_000_000, "1973-03-03T09:46:40Z"),
        (99_999_999_999_999, "5138-11-16T09:46:39.999Z"),
        (100_000_000_000_000, "1973-03-03T09:46:40Z"),
        (99_999_999_999_999_999, "5138-11-16T09:46:39.999Z"),
        (100_000_000_000_000_000, "1973-03-03T09:46:40Z"),
    ],
)
def test_the_borders_between_units_are_where_the_next_unit_begins_in_1973(number, expected):
    assert isoformat(parse_time(number)) == expected
    assert isoformat(epoch_to_ms(np.array([number]))[0]) == expected


@given(near_ms, st.sampled_from(["s", "ms", "us", "ns"]))
def test_a_unit_that_is_given_is_not_told_from_the_magnitude(time, unit):
    number = time // 1000 if unit == "s" else time * PER_MS[unit]
    expected = time // 1000 * 1000 if unit == "s" else time
    assert parse_time(number, unit=unit) == parse_time(str(number), unit=unit) == expected
    assert epoch_to_ms(np.array([number]), unit).tolist() == [expected]


def test_text_with_a_unit_may_be_short_and_iso_text_ignores_the_unit():
    assert parse_time("5", unit="s") == 5000
    assert parse_time("-0.5", unit="s") == -500
    assert parse_time("2024", unit="s") == 2_024_000
    assert parse_time("2024-01-01", unit="s") == parse_time("2024-01-01")
    assert parse_time("202401011230", unit="ms") == 202_401_011_230


# ── what is finer than a millisecond ─────────────────────────────────────────────────────────────────


@given(near_ms, st.integers(0, 999_999))
@example(-1, 999_999)
@example(0, 1)
def test_what_is_finer_than_a_millisecond_is_cut_off_for_every_kind_of_time(time, nanoseconds):
    number = time * 1_000_000 + nanoseconds
    assert parse_time(number, unit="ns") == time
    assert parse_time(np.datetime64(number, "ns")) == time
    assert parse_time(pd.Timestamp(number)) == time
    assert parse_time(EPOCH + time * MS + dt.timedelta(microseconds=nanoseconds // 1000)) == time
    assert epoch_to_ms(np.array([number]), "ns").tolist() == [time]
    assert parse_time(f"{time * 1000 + nanoseconds // 1000}.{nanoseconds % 1000:03}", unit="us") == time or time < 0


@given(st.integers(0, 4_102_444_800_000))
@example(1001)  # 1.001 * 1000 is 1000.9999999999999
@example(1_704_067_200_123)
def test_float_seconds_milliseconds_and_microseconds_hold_their_millisecond(time):
    for unit, number in {"s": time / 1000, "ms": float(time), "us": time * 1e3}.items():
        assert parse_time(number, unit=unit) == time
        assert epoch_to_ms(np.array([number]), unit).tolist() == [time]


@given(st.integers(946_684_800_000, 4_102_444_800_000))
@example(1_704_067_200_003)
def test_float_nanoseconds_hold_their_millisecond_although_they_are_256_apart(time):
    assert parse_time(time * 1e6) == time
    assert epoch_to_ms(np.array([time * 1e6])).tolist() == [time]


@given(st.floats(-60_000_000_000, 250_000_000_000).filter(lambda x: abs(x) > 1e-3))
def test_float_seconds_are_the_moment_that_the_standard_library_reads(seconds):
    whole = math.floor(seconds)
    moment = EPOCH + dt.timedelta(seconds=whole) + dt.timedelta(microseconds=round((seconds - whole) * 1e6))
    assert parse_time(seconds, unit="s") == exactly(moment)


@given(st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2100, 1, 1), timezones=st.just(dt.UTC)))
def test_a_timestamp_of_a_datetime_is_that_datetime(moment):
    assert parse_time(moment.timestamp()) == exactly(moment)


@given(st.lists(st.floats(1e9, 4e9), min_size=1, max_size=5))
def test_a_column_of_floats_is_read_like_each_of_them(seconds):
    assert epoch_to_ms(np.array(seconds)).tolist() == [parse_time(value) for value in seconds]


# ── zones ────────────────────────────────────────────────────────────────────────────────────────────

NAIVE_SPELLINGS = [
    lambda text: text,
    dt.datetime.fromisoformat,
    pd.Timestamp,
    np.datetime64,
]


@pytest.mark.parametrize("spell", NAIVE_SPELLINGS, ids=["text", "datetime", "Timestamp", "datetime64"])
class TestNaiveTimesInAZone:
    @pytest.mark.parametrize("zone", ["Europe/Berlin", ZoneInfo("Europe/Berlin")], ids=["name", "zoneinfo"])
    def test_summer_and_winter_have_their_own_offset(self, spell, zone):
        assert isoformat(parse_time(spell("2024-07-01T12:00"), tz=zone)) == "2024-07-01T10:00:00Z"
        assert isoformat(parse_time(spell("2024-01-01T12:00"), tz=zone)) == "2024-01-01T11:00:00Z"

    def test_in_the_repeated_hour_the_first_time_round_is_meant(self, spell):
        assert isoformat(parse_time(spell("2024-10-27T02:30"), tz="Europe/Berlin")) == "2024-10-27T00:30:00Z"

    def test_in_the_hour_that_is_skipped_time_counts_on(self, spell):
        assert isoformat(parse_time(spell("2024-03-31T02:30"), tz="Europe/Berlin")) == "2024-03-31T01:30:00Z"


def test_fold_chooses_the_second_time_round():
    second = dt.datetime(2024, 10, 27, 2, 30, fold=1)
    assert isoformat(parse_time(second, tz="Europe/Berlin")) == "2024-10-27T01:30:00Z"


def test_a_zone_concerns_naive_times_only():
    for value in ("2024-01-01T00:00Z", 1704067200, 1704067200000, dt.datetime(2024, 1, 1, tzinfo=dt.UTC)):
        assert parse_time(value, tz="Asia/Tokyo") == 1704067200000


def test_a_date_is_midnight_in_its_zone():
    for value in (dt.date(2024, 1, 1), "2024-01-01", "2024"):
        assert isoformat(parse_time(value, tz="Asia/Tokyo")) == "2023-12-31T15:00:00Z"


@given(st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2400, 1, 1)), st.sampled_from(["Europe/London", "America/New_York"]))
def test_a_naive_time_in_a_zone_is_what_the_standard_library_makes_of_it(naive, zone):
    assert parse_time(naive, tz=zone) == exactly(naive.replace(tzinfo=ZoneInfo(zone)))


@pytest.mark.parametrize("name", ["UTC", "utc", "Z", "z"])
def test_utc_needs_no_database_of_zones(name):
    assert parse_zone(name) is dt.UTC


def test_a_zone_object_is_taken_as_it_stands():
    zone = dt.timezone(dt.timedelta(hours=2))
    assert parse_zone(zone) is zone
    assert parse_time("2024-01-01", tz=zone) == 1704067200000 - 7_200_000


def test_zones_of_pytz_are_not_read_as_local_mean_time():
    class LikePytz(dt.tzinfo):
        """pytz's zone as it comes out of ``pytz.timezone``: set by ``replace``, it means local mean time."""

        zone = "Europe/Berlin"

        def localize(self, moment):
            raise NotImplementedError

        def utcoffset(self, moment):
            return dt.timedelta(minutes=53)

    assert isoformat(parse_time("2024-01-01T12:00", tz=LikePytz())) == "2024-01-01T11:00:00Z"


@pytest.mark.parametrize("zone", ["Europe/Berlinn", "", "Europe", "../etc/passwd", "a\0b", "+02:00", None, 5])
def test_an_unknown_zone_is_named_with_what_to_write(zone):
    with pytest.raises(InvalidTime, match="There is no time zone") as caught:
        parse_time("2024-01-01", tz=zone)
    assert repr(zone) in str(caught.value)
    assert "Europe/Berlin" in caught.value.hint


# ── what is no time ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        None, True, False, np.bool_(True), math.nan, math.inf, -math.inf, np.float64("nan"), pd.NaT, np.datetime64("NaT", "ms"),
        "", " ", "yesterday", "now", "2024-13-01", "2024-02-30", "2023-02-29", "24-01-01", "2024/01/01", "01.02.2024", "12:30",
        "20241", "202413011230", "209912319999", "1.7e9", "nan", "１７０４０６７２００", "２０２４", "1704067200s",
        "--1704067200", "1_704_067_200", b"2024", [1704067200], (), {}, object(), 1j, dt.time(12), dt.timedelta(1), "9" * 5000,
    ],
    ids=lambda value: repr(value)[:20].partition(" at ")[0],
)  # fmt: skip
def test_what_is_no_time_is_quoted_and_refused(value):
    with pytest.raises(InvalidTime, match="is not a time") as caught:
        parse_time(value)
    assert repr(value if not isinstance(value, np.floating) else float(value)) in caught.value.message
    assert "ISO-8601" in caught.value.hint
    assert isinstance(caught.value, ConfigurationError)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize(
    "value", [10**30, -(10**30), 10**400, 1e300, np.datetime64("10000-01-01"), "0001-01-01T00:00+14:00", "9999-12-31T23:59-14:00"]
)
def test_times_outside_the_years_1_to_9999_are_refused(value):
    with pytest.raises(InvalidTime, match="outside the years 1 to 9999"):
        parse_time(value)


def test_the_first_and_last_moment_are_times():
    assert parse_time("0001-01-01") == parse_time(FIRST, unit="ms") == FIRST
    assert parse_time("9999-12-31T23:59:59.999Z") == parse_time(LAST, unit="ms") == LAST
    for beyond in (FIRST - 1, LAST + 1):
        with pytest.raises(InvalidTime, match="outside"):
            parse_time(beyond, unit="ms")
        with pytest.raises(InvalidTime, match="outside"):
            epoch_to_ms(np.array([0, beyond]), "ms")


# ── columns of epoch numbers ─────────────────────────────────────────────────────────────────────────


@given(st.lists(told_ms.map(lambda t: t // 1000 * 1000), min_size=1, max_size=20), st.sampled_from(["s", "ms", "us"]))
def test_a_column_in_any_unit_is_the_same_milliseconds(times, unit):
    numbers = np.array([time // 1000 if unit == "s" else time * PER_MS[unit] for time in times], dtype=np.int64)
    assert epoch_unit(numbers) == unit
    assert epoch_to_ms(numbers).tolist() == epoch_to_ms(numbers, unit).tolist() == times


@given(st.lists(st.integers(100_000_000_000, 9_000_000_000_000), min_size=1, max_size=20))
def test_a_column_of_nanoseconds_is_the_same_milliseconds(times):
    numbers = np.array(times, np.int64) * 1_000_000
    assert epoch_unit(numbers) == "ns"
    assert epoch_to_ms(numbers).tolist() == times
    assert epoch_to_ms(numbers).tolist() == numbers.view("datetime64[ns]").astype("datetime64[ms]").astype(np.int64).tolist()


@pytest.mark.parametrize("dtype", [np.int32, np.uint32, np.int64, np.uint64, np.float64, ">i8", ">f8"])
def test_every_dtype_of_numbers_gives_int64(dtype):
    times = epoch_to_ms(np.array([1704067200, 1704067260], dtype=dtype))
    assert times.dtype == np.int64
    assert times.tolist() == [1704067200000, 1704067260000]


def test_unsigned_nanoseconds_beyond_int64_do_not_wrap():
    assert isoformat(epoch_to_ms(np.array([2**64 - 1], np.uint64))[0]) == "2554-07-21T23:34:33.709Z"


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (np.array([10**18]), "s"),
        (np.array([2**63 - 1]), "ms"),
        (np.array([-(2**63)]), "us"),
        (np.array([1e300]), "ns"),
        (np.array([2**64 - 1], np.uint64), "us"),
    ],
)
def test_a_column_outside_the_years_1_to_9999_is_refused_and_never_wraps(values, unit):
    with pytest.raises(InvalidTime, match=r"outside the years 1 to 9999.\n.*unit right"):
        epoch_to_ms(values, unit)


def test_milliseconds_come_back_uncopied():
    times = np.array([1704067200000, 1704067260000])
    assert np.shares_memory(epoch_to_ms(times), times)


def test_the_column_given_is_not_written_to():
    for values in (np.array([1704067200.5]), np.array([1704067200]), np.array([1704067200000000])):
        before = values.copy()
        epoch_to_ms(values)
        assert values.tolist() == before.tolist()


@pytest.mark.parametrize("dtype", [np.int64, np.float64])
def test_no_number_is_no_time(dtype):
    assert epoch_unit(np.array([], dtype)) == "ms"
    times = epoch_to_ms(np.array([], dtype))
    assert times.dtype == np.int64
    assert times.shape == (0,)


def test_seconds_and_milliseconds_in_one_column_are_refused_with_both_named():
    for values in ([1704067200, 1704067260000], [1704067260000, 1704067200], [1704067260000, 0]):
        with pytest.raises(InvalidTime, match=r"mixes units \(ms and s\)") as caught:
            epoch_to_ms(np.array(values))
        assert str(min(values)) in caught.value.message
        assert str(max(values)) in caught.value.message
    assert epoch_to_ms(np.array([0, 1704067260000]), "ms").tolist() == [0, 1704067260000]


def test_an_archive_that_changed_to_microseconds_is_refused():
    with pytest.raises(InvalidTime, match="ms and us"):
        epoch_unit(np.array([1735689599000, 1735689600000000]))


def test_the_unit_of_a_column_does_not_come_from_nan():
    assert epoch_unit(np.array([np.nan, 1704067200.0, np.inf])) == "s"
    assert epoch_unit(np.array([np.nan])) == "ms"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_time_that_is_not_finite_is_refused_with_its_row(bad):
    with pytest.raises(InvalidTime, match=r"The time in row 2 is (nan|inf|-inf)\.") as caught:
        epoch_to_ms(np.array([1704067200.0, 1704067260.0, bad, bad]))
    assert caught.value.context["row"] == 2


@pytest.mark.parametrize("values", [np.array([True]), np.array(["1704067200"]), np.array([1704067200], object),
                                    np.array(["2024-01-01"], "datetime64[D]")])  # fmt: skip
def test_a_column_that_is_not_numbers_is_refused_with_its_type(values):
    with pytest.raises(InvalidTime, match="must be numbers, not"):
        epoch_to_ms(values)


def test_now_is_the_clock_of_the_machine():
    before = dt.datetime.now(dt.UTC)
    now = now_ms()
    assert exactly(before) <= now <= exactly(dt.datetime.now(dt.UTC))
    assert type(now) is int
