"""Times in every spelling; what can't be known is asked for."""

from __future__ import annotations

import datetime as dt
import io
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader import errors
from cracktrader_csv.converting import parse_format

START = 1_704_067_200_000
NOON = 1_709_643_600_000  # 2024-03-05T13:00:00Z: neither day nor month can be mistaken for the other's zone, 5 < 13


def one(load, text: str, **options) -> int:
    bars = load(io.StringIO(f"time;open;high;low;close\n{text};1;1;1;1\n"), delimiter=";", **options)
    assert len(bars) == 1
    return int(bars.time[0])


@pytest.mark.parametrize("text", [
    "1709643600", "1709643600.0", "1709643600000", "1709643600000000", "1709643600000000000", "1.7096436e9", "1709643600000.25",
    "2024-03-05T13:00:00Z", "2024-03-05T13:00:00.000Z", "2024-03-05T13:00:00.000000000Z", "2024-03-05 14:00:00+01:00",
    "2024-03-05T08:00:00-0500", "2024-03-05 13", "2024-03-05 13:00", "2024-03-05 13:00:00", "2024-03-05 13:00:00.000001",
    "2024/03/05 13:00", "2024.03.05 13:00:00", "20240305 130000", "20240305T130000", "202403051300", "20240305130000",
    "20240305130000000", "2024/03/05 13:00Z", "2024-03-05 13:00:00 UTC",
    "2024-03-05 14:00:00 +0100", "05.03.2024 13:00", "05 Mar 2024 13:00:00.000",
    "Mar 5, 2024 01:00 PM", "March 5, 2024 1:00 pm", "5-Mar-2024 13:00", "2024-03-05, 13:00", " 2024-03-05 13:00 ",
    "2024-03-05 01:00:00 PM", "2024-3-5 13:00", "20240305-13:00",
])  # fmt: skip
def test_a_time_in_any_usual_spelling_is_told(text: str, load) -> None:
    assert one(load, text) == NOON


@pytest.mark.parametrize(("text", "time_format"), [
    ("05/03/2024 13:00", "%d/%m/%Y %H:%M"), ("03/05/24 1.00 PM", "%m/%d/%y %I.%M %p"),
    ("2024 day 065 at 13h", "%Y day %j at %Hh"),
    ("Tue Mar  5 13:00:00 2024", "%a %b %d %H:%M:%S %Y"), ("13:00:00.000000 05.03.2024", "%H:%M:%S.%f %d.%m.%Y"),
    ("100% 2024-03-05 13", "100%% %F %H"), ("2024-03-05 13:00:00 -0000", "%Y-%m-%d %T %z"),
    ("5 march 2024, 13:00", "%d %B %Y, %R"),
    ("2024-03-05T15:30:00+02:30", "%Y-%m-%dT%H:%M:%S%z"), ("(2024.03.05) [13]", "(%Y.%m.%d) [%H]"),
])  # fmt: skip
def test_any_format_of_strptime_can_be_said(text: str, time_format: str, load) -> None:
    assert one(load, text, time_format=time_format) == NOON


FORMATS = st.sampled_from(
    ["%Y-%m-%d %H:%M:%S", "%d/%m/%y %I:%M:%S.%f %p", "%Y%m%d%H%M%S", "%b %d %Y %H.%M.%S", "%j/%Y %H:%M:%S,%f"]
)


@given(st.lists(st.datetimes(dt.datetime(1970, 1, 1), dt.datetime(2068, 1, 1)), min_size=1, max_size=20), FORMATS)
def test_formats_are_read_as_python_reads_them(moments: list[dt.datetime], time_format: str) -> None:
    texts = [moment.strftime(time_format) for moment in moments]
    file = io.StringIO("time;open;high;low;close\n" + "".join(f"{text};1;1;1;1\n" for text in texts))
    bars = ct.load("csv", path=file, timeframe="1s", delimiter=";", time_format=time_format, validation="off")
    read = [dt.datetime.strptime(text, time_format).replace(tzinfo=dt.UTC) for text in texts]
    expected = [int(moment.timestamp()) * 1000 + moment.microsecond // 1000 for moment in read]
    assert bars.time.tolist() in (expected, expected[::-1])  # rows that happen to fall in time are turned


@pytest.mark.parametrize(("date", "clock"), [
    ("2024-03-05", "13:00"), ("2024.03.05", "13:00:00"), ("20240305", "130000"), ("05.03.2024", "13:00:00.000"),
    ("2024-03-05", "1:00 PM"),
])  # fmt: skip
@pytest.mark.parametrize("names", ["Date;Time", "<DATE>;<TIME>", "Date;Timestamp"])
def test_a_date_and_a_clock_in_two_columns_are_joined(date: str, clock: str, names: str, load) -> None:
    bars = load(io.StringIO(f"{names};open;high;low;close\n{date};{clock};1;1;1;1\n"), delimiter=";")
    assert bars.time.tolist() == [NOON]


def test_clocks_of_digits_that_lost_their_zeros_are_read_right(load) -> None:
    rows = "".join(f"20240305;{clock};1;1;1;1\n" for clock in (0, 3000, 93000, 130000))
    bars = load(io.StringIO("date;time;open;high;low;close\n" + rows))
    assert [(t - NOON) // 60_000 + 13 * 60 for t in bars.time.tolist()] == [0, 30, 570, 780]


def test_two_columns_can_be_named(load) -> None:
    text = "when,at,o,h,l,c\n05/03/2024,13h00,1,1,1,1\n"
    bars = load(io.StringIO(text), columns={"time": ["when", "at"]}, time_format="%d/%m/%Y %Hh%M")
    assert bars.time.tolist() == [NOON]
    assert load(io.StringIO(text), datetime_col=["when", 1], time_format="%d/%m/%Y %Hh%M") == bars


@pytest.mark.parametrize("time", ["03/05/2024 13:00", "03-05-2024"])
def test_day_and_month_that_can_be_mistaken_are_asked_for(time: str, load) -> None:
    with pytest.raises(
        errors.InvalidTime, match=r"can be read as '%d.%m.%Y.*' or as '%m.%d.%Y.*'\.\nSay which it is: time_format="
    ):
        one(load, time)


def test_one_row_that_tells_day_from_month_is_enough(load) -> None:
    rows = "".join(f"{day};1;1;1;1\n" for day in ("01/02/2024", "02/02/2024", "13/02/2024"))
    bars = load(io.StringIO("time;open;high;low;close\n" + rows), "1d")
    assert (np.diff(bars.time) == [86_400_000, 11 * 86_400_000]).all()


def test_a_unit_that_is_said_is_taken_at_its_word(load) -> None:
    assert one(load, "86400", time_unit="s") == 86_400_000
    assert one(load, "86400.5", time_unit="s") == 86_400_500
    assert one(load, "20240101", time_unit="ms") == 20_240_101


@pytest.mark.parametrize(("text", "complaint"), [
    ("1709643600000000", "is a time in us, but the file's times are in ms"),
    ("1709643600", "is a time in s, but the file's times are in ms"),
    ("soon", "is not an epoch time in ms"), ("", "is empty, but every line needs a time"), ("nan", "is not an epoch time in ms"),
])  # fmt: skip
@pytest.mark.parametrize("size", [10, 1 << 20])
def test_a_unit_that_changes_within_a_file_is_told_with_its_line(text: str, complaint: str, size: int, load) -> None:
    rows = "".join(f"{NOON + i * 3_600_000},1,1,1,1\n" for i in range(20))
    with pytest.raises(errors.MalformedData) as caught:
        load(io.StringIO(f"time,open,high,low,close\n{rows}{text},1,1,1,1\n"), chunk_bytes=size)
    assert caught.value.message == f"<StringIO>, line 22, column 'time': {text!r} {complaint}."
    assert caught.value.context["line"] == 22


@pytest.mark.parametrize(("first", "text", "complaint"), [
    ("2024-03-05 13:00:00Z", "2024-03-05 14:00:00", "has no time zone, unlike the times before it"),
    ("2024-03-05 13:00:00", "2024-03-05 14:00:00+01:00", "has a time zone, unlike the times before it"),
    ("2024-03-05 13:00:00", "2024-02-30 14:00:00", "is not a time: there is no such day or hour"),
    ("2024-03-05 13:00:00", "14:00", "is not a time written as ISO-8601"),
    ("05.03.2024", "31.02.2024", "is not a time written as '%d.%m.%Y'"),
])  # fmt: skip
def test_zoned_and_naive_times_in_one_file_are_told_with_their_line(first: str, text: str, complaint: str, load) -> None:
    with pytest.raises(errors.MalformedData) as caught:
        load(io.StringIO(f"time,open,high,low,close\n{first},1,1,1,1\n{first},1,1,1,1\n{text},1,1,1,1\n"))
    assert caught.value.message == f"<StringIO>, line 4, column 'time': {text!r} {complaint}."


def test_times_that_can_not_be_told_are_asked_for(load) -> None:
    with pytest.raises(
        errors.MalformedData, match=r"The times of <StringIO> can't be told: the first is 'Q1 2024'\.\nSay how they are"
    ):
        one(load, "Q1 2024")


@pytest.mark.parametrize(("options", "message"), [
    ({"time_format": "%Y-%m-%d %Q"}, r"the directive '%Q' can't be read"), ({"time_format": "%H:%M"}, "makes no date"),
    ({"time_format": "%Y-%m-%d %I"}, "%I and %p need each other"), ({"time_format": "%Y %Y"}, "holds a directive twice"),
    ({"time_format": "%Y-%m-%d", "time_unit": "s"}, "not both"), ({"tz": "Mars/Olympus"}, "There is no time zone 'Mars/Olympus'"),
])  # fmt: skip
def test_a_format_or_zone_that_makes_no_sense_is_refused_before_any_file_is_opened(options, message: str, load) -> None:
    with pytest.raises(errors.InvalidOption, match=message):
        load("nowhere.csv", **options)


# ── zones ────────────────────────────────────────────────────────────────────────────────────────────

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Africa/Casablanca", "America/Sao_Paulo")


def walls(zone: str, start: dt.datetime, step: dt.timedelta, rows: int) -> list[str]:
    moments = [start.replace(tzinfo=dt.UTC) + i * step for i in range(rows)]
    return [moment.astimezone(ZoneInfo(zone)).strftime("%Y-%m-%d %H:%M:%S") for moment in moments]


@given(st.sampled_from(ZONES), st.datetimes(dt.datetime(1995, 1, 1), dt.datetime(2030, 1, 1)), st.sampled_from([1, 15, 30, 60]),
       st.integers(100, 4000), st.booleans())  # fmt: skip
def test_the_wall_clock_of_a_zone_becomes_the_utc_it_was(
    zone: str, start: dt.datetime, minutes: int, size: int, newest: bool
) -> None:
    assume(minutes < 60 or zone != "Australia/Lord_Howe")  # whose half an hour no order of whole hours tells
    start = start.replace(minute=0, second=0, microsecond=0)
    texts = walls(zone, start, dt.timedelta(minutes=minutes), 200)
    lines = [f"{text},1,1,1,1\n" for text in texts]
    file = io.StringIO("time,open,high,low,close\n" + "".join(lines[::-1] if newest else lines))
    bars = ct.load("csv", path=file, timeframe="1m", tz=zone, chunk_bytes=size, validation="off")
    first = int(start.replace(tzinfo=dt.UTC).timestamp()) * 1000
    assert bars.time.tolist() == [first + i * minutes * 60_000 for i in range(200)]


@pytest.mark.parametrize(("zone", "start"), [("Europe/Berlin", dt.datetime(2024, 10, 26)),
                                             ("America/New_York", dt.datetime(2024, 11, 2)),
                                             ("America/Sao_Paulo", dt.datetime(2018, 2, 17))])  # fmt: skip
@pytest.mark.parametrize("minutes", [1, 30, 60])
@pytest.mark.parametrize("size", [100, 1000, 1 << 20])
def test_the_hour_that_clocks_show_twice_is_told_apart(zone: str, start: dt.datetime, minutes: int, size: int, load) -> None:
    rows = 2 * 24 * 60 // minutes
    texts = walls(zone, start, dt.timedelta(minutes=minutes), rows)
    bars = load(io.StringIO("time,open,high,low,close\n" + "".join(f"{t},1,1,1,1\n" for t in texts)), tz=zone, chunk_bytes=size)
    assert (np.diff(bars.time) == minutes * 60_000).all()
    assert any(f"clocks in {zone} show twice" in note for note in bars.provenance["notes"])


@pytest.mark.parametrize(
    "days",
    [("2024-10-27T00:00Z", "2024-10-27T01:00Z"), ("2024-10-27T00:30Z", "2024-10-28"), ("2024-10-26T23:59Z", "2024-10-27T00:31Z")],
)
def test_a_range_that_begins_or_ends_in_that_hour_is_exact(days: tuple[str, str], load) -> None:
    texts = walls("Europe/Berlin", dt.datetime(2024, 10, 26), dt.timedelta(minutes=1), 2880)
    file = io.StringIO("time,open,high,low,close\n" + "".join(f"{t},1,1,1,1\n" for t in texts))
    bars = load(file, "1m", tz="Europe/Berlin", start=days[0], end=days[1])
    whole = load(file, "1m", tz="Europe/Berlin")
    assert bars == whole.between(*days)


def test_a_time_that_no_clock_ever_showed_is_told_with_its_line(load) -> None:
    file = io.StringIO("time,open,high,low,close\n2024-03-31 01:00,1,1,1,1\n2024-03-31 02:30,1,1,1,1\n")
    with pytest.raises(
        errors.MalformedData, match=r"line 3, column 'time': '2024-03-31 02:30' does not exist in Europe/Berlin: clocks were put"
    ):
        load(file, tz="Europe/Berlin")


def test_a_zone_is_only_for_times_without_one(load) -> None:
    for text in ("2024-03-05T13:00Z", "1709643600", "2024/03/05 13:00 UTC"):
        assert one(load, text, tz="Asia/Tokyo") == NOON
    for zone in ("Asia/Tokyo", ZoneInfo("Asia/Tokyo"), dt.timezone(dt.timedelta(hours=9))):
        assert one(load, "2024-03-05 22:00", tz=zone) == NOON
    assert one(load, "2024-03-05 22:00", tzinput="Asia/Tokyo") == NOON


# ── stamps ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("timeframe", "end", "opening"), [
    ("1h", "2024-03-05T14:00:00Z", "2024-03-05T13:00:00Z"), ("1h", "2024-03-05T13:59:59.999Z", "2024-03-05T13:00:00Z"),
    ("1h", "2024-03-05T13:59:59Z", "2024-03-05T13:00:00Z"), ("1d", "2024-03-05T23:59:59.999Z", "2024-03-05T00:00:00Z"),
    ("1d", "2024-03-06T16:00:00Z", "2024-03-05T16:00:00Z"), ("1M", "2024-04-01", "2024-03-01T00:00:00Z"),
    ("1M", "2024-03-31T23:59:59.999", "2024-03-01T00:00:00Z"), ("1w", "2024-03-11", "2024-03-04T00:00:00Z"),
    ("1s", "2024-03-05T13:00:01Z", "2024-03-05T13:00:00Z"),
])  # fmt: skip
def test_bars_that_are_stamped_with_their_end_come_out_with_their_opening(timeframe: str, end: str, opening: str, load) -> None:
    bars = load(io.StringIO(f"time,open,high,low,close\n{end},1,1,1,1\n"), timeframe, stamp="close")
    assert ct.times.isoformat(bars.time[0]) == opening


def test_a_range_goes_by_the_opening_not_by_the_stamp(load) -> None:
    rows = "".join(f"2024-01-01T{hour:02}:00Z,{hour},24,0,{hour}\n" for hour in range(1, 24))
    wanted = {"start": "2024-01-01T05:00", "end": "2024-01-01T08:00"}
    for ordered in (False, True):
        bars = load(io.StringIO("time,open,high,low,close\n" + rows), stamp="close", ordered=ordered, **wanted)
        assert bars.open.tolist() == [6, 7, 8]


# ── formats of fixed places take a short cut, which must lead to the same ────────────────────────────

FIXED = ["%Y.%m.%d %H:%M:%S", "%d/%m/%Y %H:%M", "%Y%m%d%H%M%S", "%H:%M:%S.%f %d.%m.%Y", "%Y-%m-%d"]


@given(st.sampled_from(FIXED), st.lists(st.datetimes(dt.datetime(1600, 1, 1), dt.datetime(2400, 1, 1)), min_size=1, max_size=30),
       st.lists(st.tuples(st.integers(0, 29), st.integers(0, 30), st.sampled_from("0129 -:./x")), max_size=3))  # fmt: skip
def test_the_short_cut_of_fixed_places_reads_what_the_format_says(
    time_format: str, moments: list[dt.datetime], damage: list[tuple[int, int, str]]
) -> None:
    texts = [moment.strftime(time_format) for moment in moments]
    for row, place, sign in damage:
        if row < len(texts) and place < len(texts[row]):
            texts[row] = texts[row][:place] + sign + texts[row][place + 1 :]
    times, bad = parse_format(pa.array(["", *texts])[1:], time_format)
    alone = [parse_format(pa.array([text, "no time"]), time_format) for text in texts]  # the second keeps off the short cut
    assert bad.tolist() == [bool(wrong[0]) for _, wrong in alone]
    assert times[~bad].tolist() == [int(time[0]) for time, wrong in alone if not wrong[0]]


@pytest.mark.parametrize(
    ("first", "second"), [("45292", "45293"), ("19723", "19724"), ("240101", "240102"), ("1012024", "2012024"), ("0", "86400")]
)
def test_small_numbers_may_be_anything_and_are_not_guessed(first, second, write, load) -> None:
    path = write(f"time,open,high,low,close\n{first},1,1,1,1\n{second},1,1,1,1\n")
    with pytest.raises(errors.InvalidTime, match=f"'{first}' may be an epoch time of about 1970, a date in digits, or a count"):
        load(path, "1d")
    assert load(path, "1d", time_unit="s").time.tolist() == [int(first) * 1000, int(second) * 1000]


def test_dates_and_hours_of_digits_are_no_epoch_times(write, load) -> None:
    for times in (("2024010100", "2024010101"), ("202401010000", "202401010100"), ("20240101000000", "20240101010000")):
        path = write("time,open,high,low,close\n" + "".join(f"{time},1,1,1,1\n" for time in times))
        assert load(path).time.tolist() == [START, START + 3_600_000]
    path = write("time,open,high,low,close\n20240101,1,1,1,1\n")
    assert load(path, "1d").time.tolist() == [START]


def test_times_that_a_spreadsheet_cut_short_are_refused(write, load) -> None:
    path = write("time,open,high,low,close\n" + "1.70407E+12,1,1,1,1\n" * 24)
    with pytest.raises(
        errors.InvalidTime, match=r"'1\.70407E\+12' and most that follow are one number: their last digits are lost"
    ):
        load(path)
