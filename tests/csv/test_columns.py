"""Delimiters, decimals, headers, encodings and columns are told from the file, or taken as said."""

from __future__ import annotations

import io

import numpy as np
import pytest

import cracktrader as ct
from cracktrader import errors

HOUR = 3_600_000
ROWS = [(1_704_067_200_000, 1.5, 3.25, 0.5, 2.75, 10.0), (1_704_070_800_000, 2.75, 4.5, 1.25, 3.5, 20.0)]
PLAIN = "time,open,high,low,close,volume\n1704067200000,1.5,3.25,0.5,2.75,10\n1704070800000,2.75,4.5,1.25,3.5,20\n"


def told(bars: ct.Bars) -> dict:
    return bars.provenance["files"][0]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_the_delimiter_is_told(delimiter: str, header: bool, load) -> None:
    text = PLAIN.replace(",", delimiter)
    bars = load(io.StringIO(text if header else text.partition("\n")[2]))
    assert bars.to_records() == ROWS
    assert told(bars)["delimiter"] == delimiter
    assert told(bars)["header"] is header


@pytest.mark.parametrize("delimiter", [" ", ":", "^"])
def test_any_delimiter_can_be_said(delimiter: str, load) -> None:
    assert load(io.StringIO(PLAIN.replace(",", delimiter)), delimiter=delimiter).to_records() == ROWS


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
@pytest.mark.parametrize("header", [True, False])
def test_a_decimal_comma_is_told(delimiter: str, header: bool, load) -> None:
    text = PLAIN.replace(",", delimiter).replace(".", ",")
    bars = load(io.StringIO(text if header else text.partition("\n")[2]))
    assert bars.to_records() == ROWS
    assert told(bars)["decimal"] == ","


def test_a_quoted_decimal_comma_between_commas_is_told(load) -> None:
    rows = '"1704067200000","1,5","3,25","0,5","2,75","10"\n"1704070800000","2,75","4,5","1,25","3,5","20"\n'
    text = "time,open,high,low,close,volume\n" + rows
    assert load(io.StringIO(text)).to_records() == ROWS


def test_a_comma_that_may_be_for_thousands_is_asked_about(load) -> None:
    text = 'time,open,high,low,close\n2024-01-01,"42,280","44,175","42,214","44,167"\n'
    with pytest.raises(
        errors.MalformedData, match=r"such as '42,280' may have a decimal comma or a comma for thousands\.\nSay decimal=','"
    ):
        load(io.StringIO(text))
    assert load(io.StringIO(text), decimal=",").open.tolist() == [42.28]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("size", [7, 1 << 20])
def test_the_encoding_is_told(encoding: str, size: int, load) -> None:
    text = (
        PLAIN
        if "16-" in encoding
        else PLAIN.replace("volume", "volume,Größe").replace("10\n", "10,é\n").replace("20\n", "20,ü\n")
    )
    bars = load(io.BytesIO(text.encode(encoding)), chunk_bytes=size)
    assert bars.to_records() == ROWS
    assert told(bars)["encoding"] == encoding.removesuffix("-sig")


def test_any_encoding_can_be_said(load) -> None:
    text = PLAIN.replace("time,", "время,")
    bars = load(io.BytesIO(text.encode("koi8-r")), encoding="koi8-r", datetime_col="время")
    assert bars.to_records() == ROWS
    with pytest.raises(errors.InvalidOption, match="there is no encoding 'klingon'"):
        load("x.csv", encoding="klingon")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_lines_may_end_as_they_like(end: str, last: bool, size: int, load) -> None:
    text = PLAIN.replace("\n", end)
    data = (text if last else text.removesuffix(end)).encode()
    assert load(io.BytesIO(data), chunk_bytes=size).to_records() == ROWS


@pytest.mark.parametrize("size", [1, 50, 1 << 20])
def test_empty_lines_are_passed_over(size: int, load) -> None:
    assert load(io.StringIO("\n\n" + PLAIN.replace("\n", "\n\n  \n")), chunk_bytes=size).to_records() == ROWS


def test_lines_before_the_header_are_passed_over(load) -> None:
    bars = load(io.StringIO("# made by hand, in January\nBTC/USDT hourly\n" + PLAIN))
    assert bars.to_records() == ROWS
    assert told(bars)["lines_before"] == 2


@pytest.mark.parametrize("header", [
    "Timestamp,Open,High,Low,Close,Volume", "OPEN TIME,OPEN,HIGH,LOW,CLOSE,VOL", "t,o,h,l,c,v",
    " time , open , high , low , close , volume ",
    '"time","open","high","low","close","volume"', "open_time,open_price,high_price,low_price,close_price,base_volume",
    "unix,Open,High,Low,Close,Volume,", "#timestamp,open,high,low,close,volume",
])  # fmt: skip
def test_columns_are_found_by_name_whatever_their_spelling(header: str, load) -> None:
    assert load(io.StringIO(header + PLAIN[PLAIN.index("\n") :])).to_records() == ROWS


def test_columns_are_found_in_any_order(load) -> None:
    text = "volume,close,low,high,open,date\n10,2.75,0.5,3.25,1.5,2024-01-01T00:00\n20,3.5,1.25,4.5,2.75,2024-01-01T01:00\n"
    assert load(io.StringIO(text)).to_records() == ROWS


@pytest.mark.parametrize("columns", [
    {"time": "Zeit", "open": "Auf", "high": "Hoch", "low": "Tief", "close": "Zu", "volume": "Menge"},
    {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4, "volume": 5},
    {"time": "zeit", "open": "AUF", "high": 2, "low": -3, "close": -2, "volume": -1},
])  # fmt: skip
def test_columns_can_be_said_by_name_and_by_position(columns: dict, load) -> None:
    text = PLAIN.replace("time,open,high,low,close,volume", "Zeit,Auf,Hoch,Tief,Zu,Menge")
    assert load(io.StringIO(text), columns=columns).to_records() == ROWS


def test_positions_work_without_a_header(load) -> None:
    text = "x,2.75,0.5,3.25,1.5,1704067200000\nx,3.5,1.25,4.5,2.75,1704070800000\n"
    bars = load(io.StringIO(text), header=False, columns={"time": 5, "open": 4, "high": 3, "low": 2, "close": 1})
    assert [row[:5] for row in bars.to_records()] == [row[:5] for row in ROWS]


def test_one_column_may_be_several_prices(load) -> None:
    bars = load(io.StringIO("time,price\n1704067200000,5\n"), columns=dict.fromkeys(ct.bars.PRICES, "price"))
    assert bars.to_records() == [(1_704_067_200_000, 5, 5, 5, 5, 0)]


def test_a_missing_volume_is_zero_and_said(load) -> None:
    bars = load(io.StringIO("time,open,high,low,close\n1704067200000,1,2,0.5,1\n"))
    assert bars.volume.tolist() == [0]
    assert bars.provenance["volume"] == "the file has none; 0 stands in its place"


def test_further_numbers_come_along_and_text_stays_behind(load) -> None:
    text = (
        "time,open,high,low,close,volume,funding,note,trades,close_time\n1704067200000,1,2,0.5,1,9,0.01,hello,7,1704070799999\n"
    )
    bars = load(io.StringIO(text))
    assert {name: column.tolist() for name, column in bars.extra.items()} == {"funding": [0.01], "trades": [7]}
    assert not load(io.StringIO(text), extra_columns=[]).extra
    assert list(load(io.StringIO(text), extra_columns=["trades", 9]).extra) == ["trades", "close_time"]
    assert load(io.StringIO(text), columns={"fee": "Funding"}, extra_columns=()).extra["fee"].tolist() == [0.01]


def test_missing_numbers_are_nan_however_they_are_written(load) -> None:
    words = ["", "nan", "NaN", "null", "NULL", "None", "N/A", "#N/A", "<NA>", '""', " "]
    rows = "".join(f"{1_704_067_200_000 + i * HOUR},{word},2,0.5,1,1\n" for i, word in enumerate(words))
    bars = load(io.StringIO("time,open,high,low,close,volume\n" + rows))
    assert np.isnan(bars.open).all()
    assert len(bars) == len(words)


def test_numbers_come_as_exactly_as_python_reads_them(load) -> None:
    texts = [
        "0.1",
        "1e-320",
        "1.7976931348623157e308",
        "-0.0",
        "+5",
        "1E5",
        ".5",
        "5.",
        "123456789.123456789",
        "inf",
        "-inf",
        "1e400",
    ]
    rows = "".join(f"{1_704_067_200_000 + i * HOUR},{text},1,1,1,1\n" for i, text in enumerate(texts))
    for tail in ("", "\n"):  # the second takes the careful way
        bars = load(io.StringIO("time,open,high,low,close,volume\n" + rows + tail + rows))
        assert bars.open.tobytes() == np.array([float(text) for text in texts] * 2).tobytes()


def test_a_header_can_be_denied_or_insisted_on(load) -> None:
    numbers = "1704067200000,1,2,0.5,1\n1704070800000,1,2,0.5,1\n"
    assert len(load(io.StringIO(numbers), header=False)) == 2
    where = {"time": 0, "open": 1, "high": 2, "low": 3, "close": 4}
    assert len(load(io.StringIO(numbers), header=True, columns=where)) == 1
    with pytest.raises(errors.MalformedData, match=r"'time' is not an epoch time in ms"):
        load(io.StringIO("time,open,high,low,close\n" + numbers), header=False)


def test_a_trailing_delimiter_in_header_or_rows_does_no_harm(load) -> None:
    assert load(io.StringIO(PLAIN.replace("0\n", "0,\n"))).to_records() == ROWS


@pytest.mark.parametrize(("text", "options", "message"), [
    ("time,open,high,low\n1704067200000,1,2,0.5\n", {},
     r"has no column for close\.\nIt has: time, open, high, low\. Say where they are: columns={'close': …}"),
    ("open,high,low,close\n1,2,0.5,1\n", {}, r"has no column for time\.\nIt has: open, high, low, close\."),
    ("time,open,high,low\n", {}, r"has no column for close\."),
    (PLAIN, {"columns": {"open": "Opening"}}, r"has no column 'Opening'\.\nIt has: time, open, high, low, close, volume\."),
    (PLAIN, {"columns": {"open": 6}}, r"has no column 6: it has 6, counted from 0\."),
    (PLAIN, {"datetime_col": "when"}, r"has no column 'when'"),
    (PLAIN, {"extra_columns": ["funding"]}, r"has no column 'funding'"),
    (PLAIN, {"symbol_col": "pair"}, r"has no column 'pair'"),
    (PLAIN, {"filter_symbol": "BTC"},
     r"has no column of symbols, so filter_symbol='BTC' has nothing to choose from\.\nName it: symbol_col='…'\. It has"),
    ("1704067200000,1,2,3,4,5,6,7,8\n", {},
     r"has no column for open, high, low, close, time\.\nIt has no header and 9 columns, counted from 0\."),
    ("1704067200000,1,1,2,0.5,5\n1704070800000,1,1,2,0.5,5\n", {},
     r"has no header, and columns 1 to 4 can't be open, high, low and close"),
    ("time,open,high,low,close\n1704067200000,1,2,0.5,1,7,8\n", {},
     r"The header of <StringIO> names 5 columns, but its rows have 7"),
    ("hello world\n", {}, r"does not look like CSV: its first line is 'hello world'"),
])  # fmt: skip
def test_columns_that_are_not_there_are_said_with_those_that_are(text: str, options: dict, message: str, load) -> None:
    with pytest.raises((errors.MalformedData, errors.InvalidOption), match=message):
        load(io.StringIO(text), **options)


def test_text_in_a_further_column_can_be_left_out_with_the_column(load) -> None:
    rows = "".join(f"{1_704_067_200_000 + i * HOUR},1,1,1,1,{i if i != 7 else 'late'}\n" for i in range(20))
    text = "time,open,high,low,close,delay\n" + rows
    with pytest.raises(
        errors.MalformedData, match=r"line 9, column 'delay': 'late' is not a number\.\nLeave the column out with"
    ):
        load(io.StringIO(text))
    assert len(load(io.StringIO(text), extra_columns=[])) == 20


def test_a_number_that_is_called_like_a_symbol_is_a_number(load) -> None:
    bars = load(io.StringIO("time,open,high,low,close,market\n1704067200000,1,1,1,1,5\n"), symbol="BTC/USDT")
    assert bars["market"].tolist() == [5]


def test_a_comma_that_may_be_for_thousands_is_asked_about_whatever_the_delimiter(load) -> None:
    text = "2024-01-01;42,280;42,500;42,100;42,300;{}\n2024-01-02;42,300;42,600;42,200;42,400;{}\n"
    with pytest.raises(errors.MalformedData, match="such as '42,280' may have a decimal comma or a comma for thousands"):
        load(io.StringIO(text.format("1,000", "12")), "1d")
    assert load(io.StringIO(text.format("0,5", "12")), "1d").close.tolist() == [42.3, 42.4]
    named = "time;open;high;low;close;volume;funding\n" + text.replace("\n", ";{}\n").format("1,000", "-0,5", "2,000", "a, b")
    assert load(io.StringIO(named), "1d").close.tolist() == [42.3, 42.4]
    assert load(io.StringIO(text.format("1,000", "12")), "1d", decimal=",").close.tolist() == [42.3, 42.4]


def test_a_column_that_is_there_twice_is_asked_about(load) -> None:
    text = "time,open,high,low,close,Close,volume\n2024-01-01,1,3,0.5,2,2.5,10\n"
    with pytest.raises(
        errors.MalformedData, match=r"has more than one column 'close'\.\nSay which one is meant, by its position.*'close': 4"
    ):
        load(io.StringIO(text), "1d")
    assert load(io.StringIO(text), "1d", columns={"close": 5}).close.tolist() == [2.5]


@pytest.mark.parametrize("date", ["2024-01-01", "01.13.2024", "13.01.2024"])
@pytest.mark.parametrize("volume", ["", ";10"])
def test_no_header_and_a_date_and_a_clock(date, volume, load) -> None:
    options = {"time_format": "%m.%d.%Y %H:%M"} if date.startswith("01.") else {}
    text = "".join(f"{date};{hour:02}:00;1,5;3,5;0,5;2{volume}\n" for hour in range(24))
    for more in ({}, {"ordered": True, "start": 0}):
        bars = load(io.StringIO(text), **options, **more)
        assert len(bars) == 24
        assert {row[1:] for row in bars.to_records()} == {(1.5, 3.5, 0.5, 2, 10 if volume else 0)}
