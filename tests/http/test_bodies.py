"""Answers in every shape give the same bars; what can't be read is an error that shows where."""

from __future__ import annotations

import datetime as dt
import io
import json
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow.parquet
import pytest
from httpmarket import HOUR, START, Said, Server, make_bars
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import InvalidOption, MalformedData, PermanentSourceError, TemporarySourceError, UnknownSymbol
from cracktrader_http.columns import numbers, times

BARS = make_bars(12)
ROWS = BARS.to_records()
NAMES = ("time", "open", "high", "low", "close", "volume")
MAPPINGS = [dict(zip(NAMES, row, strict=True)) for row in ROWS]


def iso(row: tuple[Any, ...]) -> str:
    return dt.datetime.fromtimestamp(row[0] / 1000, dt.UTC).strftime("%Y-%m-%d %H:%M:%S")


SHAPES: dict[str, tuple[Any, dict[str, Any]]] = {
    "lists": (ROWS, {}),
    "mappings": (MAPPINGS, {}),
    "newest first": (ROWS[::-1], {}),
    "columns": ({name: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}, {}),
    "columns of one letter, with a status": (
        {"s": "ok", **{name[0]: [row[at] for row in ROWS] for at, name in enumerate(NAMES)}},
        {},
    ),
    "the only list in the answer": ({"status": "ok", "ohlcv": MAPPINGS}, {}),
    "the only list one floor down": ({"status": {"code": 0}, "data": {"candles": ROWS}}, {}),
    "a path": ({"a": [1], "b": {"c": ROWS}, "d": []}, {"records": "b.c"}),
    "numbers as text": ([[str(value) for value in row] for row in ROWS], {}),
    "seconds": ([[row[0] // 1000, *row[1:]] for row in ROWS], {}),
    "seconds with a fraction": ([[row[0] / 1000 + 0.0004, *row[1:]] for row in ROWS], {}),
    "nanoseconds as text": ([[f"{row[0]}000000", *row[1:]] for row in ROWS], {}),
    "ISO text": ([[iso(row).replace(" ", "T") + "Z", *row[1:]] for row in ROWS], {}),
    "text without a zone": ([[iso(row), *row[1:]] for row in ROWS], {}),
    "text of a zone": (
        [[dt.datetime.fromtimestamp(row[0] / 1000 + 3600, dt.UTC).isoformat()[:-6], *row[1:]] for row in ROWS],
        {"tz": "Europe/Berlin"},
    ),
    "a format": (
        [[dt.datetime.fromtimestamp(row[0] / 1000, dt.UTC).strftime("%d/%m/%Y %H.%M"), *row[1:]] for row in ROWS],
        {"time_format": "%d/%m/%Y %H.%M"},
    ),
    "rows by their times": (
        {
            "meta": {"zone": "UTC"},
            "Series (60min)": {
                iso(row): {f"{at}. {name}": str(row[at]) for at, name in enumerate(NAMES) if at} for row in ROWS[::-1]
            },
        },
        {"records": '"Series (60min)"', "columns": {name: f"{at}. {name}" for at, name in enumerate(NAMES) if at}},
    ),
    "other positions": (
        [[row[0], row[3], row[2], row[1], row[4], row[5]] for row in ROWS],
        {"columns": {"time": 0, "low": 1, "high": 2, "open": 3, "close": 4, "volume": 5}},
    ),
    "other keys": (
        [{"when": row[0], "o": row[1], "h": row[2], "l": row[3], "c": row[4], "amount": row[5], "v": 7} for row in ROWS],
        {"columns": {"time": "when", "volume": "amount"}},
    ),
    "stamped with the end": ([[row[0] + HOUR, *row[1:]] for row in ROWS], {"stamp": "close"}),
    "stamped a millisecond before the end": ([[row[0] + HOUR - 1, *row[1:]] for row in ROWS], {"stamp": "close"}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_json_of_any_shape_gives_the_same_bars(server: Server, load: Callable[..., ct.Bars], shape: str) -> None:
    body, options = SHAPES[shape]
    assert load(server.on("/x", body), params={"all": 1}, **options) == BARS


def parquet(bars: ct.Bars) -> bytes:
    buffer = io.BytesIO()
    pyarrow.parquet.write_table(bars.to_arrow(), buffer)
    return buffer.getvalue()


def parquet_of_texts(bars: ct.Bars, kind: str) -> bytes:
    buffer, rows = io.BytesIO(), bars.to_records()
    columns = {name: [str(row[at]) for row in rows] for at, name in enumerate(NAMES)}
    table = pyarrow.table(columns).cast(pyarrow.schema([(name, kind) for name in NAMES]))
    pyarrow.parquet.write_table(table, buffer)
    return buffer.getvalue()


TEXTS: dict[str, tuple[bytes, str, dict[str, Any]]] = {
    "ndjson": ("\n".join(map(json.dumps, MAPPINGS)).encode() + b"\n", "application/x-ndjson", {}),
    "ndjson of lists, said": ("\r\n".join(map(json.dumps, ROWS)).encode(), "text/plain", {"format": "ndjson"}),
    "csv": ("\n".join([",".join(NAMES), *(",".join(map(repr, row)) for row in ROWS)]).encode(), "text/csv; charset=utf-8", {}),
    "csv without header": ("\n".join(";".join(map(repr, row)) for row in ROWS).encode(), "text/csv", {"delimiter": ";"}),
    "csv with dates": (
        ("Date,Open,High,Low,Close,Volume\n" + "\n".join(f"{iso(row)},{','.join(map(repr, row[1:]))}" for row in ROWS)).encode(),
        "text/csv",
        {},
    ),
    "csv by position": (
        "\n".join(",".join(map(repr, (*row[1:], row[0]))) for row in ROWS).encode(),
        "text/plain",
        {"format": "csv", "columns": {"time": 5, "open": 0, "high": 1, "low": 2, "close": 3, "volume": 4}},
    ),
    "parquet": (parquet(BARS), "application/octet-stream", {}),
    "parquet of texts": (parquet_of_texts(BARS, "string"), "application/octet-stream", {}),
    "parquet of long texts": (parquet_of_texts(BARS, "large_string"), "application/octet-stream", {}),
}


@pytest.mark.parametrize("kind", TEXTS)
def test_other_formats_give_the_same_bars(server: Server, load: Callable[..., ct.Bars], kind: str) -> None:
    body, content_type, options = TEXTS[kind]
    url = server.on("/x", Said(body, headers={"Content-Type": content_type}))
    assert load(url, params={"all": 1}, **options) == BARS


def test_further_columns_come_along_by_name(server: Server, load: Callable[..., ct.Bars]) -> None:
    rows = [{**row, "trades": at, "taker": None if at == 1 else str(at / 3)} for at, row in enumerate(MAPPINGS)]
    bars = load(server.on("/x", rows), params={}, columns={"trades": "trades", "taker_volume": "taker"}, pagination="none")
    assert bars["trades"].tolist() == list(range(12))
    assert np.isnan(bars["taker_volume"][1])
    assert bars["taker_volume"][2] == 2 / 3


def test_nulls_are_nan_and_a_missing_volume_is_said(server: Server, load: Callable[..., ct.Bars]) -> None:
    rows = [[row[0], row[1], None, *row[3:5]] for row in ROWS]
    bars = load(server.on("/x", rows), params={"all": 1})
    assert np.isnan(bars.high).all()
    assert "0 stands in its place" in bars.provenance["volume"]


def test_not_a_number_of_servers_written_in_python_is_read(server: Server, load: Callable[..., ct.Bars]) -> None:
    body = json.dumps([[START, 1.0, float("nan"), float("inf"), 1, 2]]).encode()
    bars = load(server.on("/x", Said(body)), params={"all": 1})
    assert np.isnan(bars.high[0])
    assert np.isinf(bars.low[0])


TRUNCATED = json.dumps(ROWS).encode()[:-20]
BROKEN: dict[str, tuple[Any, str]] = {
    "html": (b"<!DOCTYPE html><html><body>Please log in</body></html>", "a page of HTML"),
    "cut off": (TRUNCATED, "cut off after"),
    "nothing": (b"", "is empty, where JSON was expected"),
    "rubbish": (b"\x00\xff\xfe 17", "not JSON"),
    "lists without end": (b"[" * 200_000 + b"NaN", "not JSON"),
    "a ragged row": ([*ROWS[:3], ROWS[3][:4]], "Row 3 has not 6 values"),
    "a row that is none": ([*ROWS[:3], None], "Row 3 has not 6 values"),
    "a key that a row lacks": ([*MAPPINGS[:2], {"time": 1, "open": 2}], "Row 2 has no 'high'"),
    "a word": ([[START, 1, 2, "n/a", 1, 1]], "'low' holds 'n/a' in row 0"),
    "a number with underscores": ([[START, 1, 2, "1_0", 1, 1]], "'low' holds '1_0' in row 0"),
    "true": ([[START, 1, 2, True, 1, 1]], "'low' holds 'True' in row 0"),
    "a list for a number": ([[START, 1, 2, [3], 1, 1]], "'low' holds '[3]' in row 0"),
    "no time": ([[None, 1, 2, 1, 1, 1]], "Row 0 has no time"),
    "a time that is none": ([["yesterday", 1, 2, 1, 1, 1]], "times can't be read, such as 'yesterday'"),
    "times of two units": ([[START, 1, 2, 1, 1, 1], [START // 1000, 1, 2, 1, 1, 1]], "mixes units"),
    "too few columns": ([[START, 1, 2]], "no column for low, close"),
    "keys of another world": ([{"id": 1, "name": "x"}], "no column for time, open, high, low, close; found: id, name"),
    "two lists": ({"asks": [1], "bids": [2]}, "not clear where the rows are"),
    "columns of two lengths": ({name: [1] * (1 + at) for at, name in enumerate(NAMES)}, "not of one length"),
    "a number": (17, "no rows"),
}


@pytest.mark.parametrize("fault", BROKEN)
def test_what_can_not_be_read_says_where_and_begins_with(server: Server, load: Callable[..., ct.Bars], fault: str) -> None:
    body, said = BROKEN[fault]
    url = server.on("/x", Said(body))
    with pytest.raises(MalformedData) as caught:
        load(url, params={"apikey": "s3cr3t", "all": 1})
    assert said in caught.value.message
    assert f"GET {url}?apikey=***&all=1 answered 200, and begins with" in caught.value.message
    assert caught.value.hint
    assert caught.value.context["status"] == 200


@pytest.mark.parametrize(
    ("body", "wanted"),
    [
        ({"error": ["EQuery:Unknown asset pair"]}, UnknownSymbol),
        ({"error": ["EGeneral:Permission denied"]}, PermanentSourceError),
    ],
)
def test_what_an_answer_with_status_200_says_is_wrong_is_raised(
    server: Server, load: Callable[..., ct.Bars], body: Any, wanted: type[Exception]
) -> None:
    with pytest.raises(wanted) as caught:
        load(server.on("/x", body), error="error[0]")
    assert body["error"][0] in str(caught.value)


def test_an_error_with_status_200_that_may_pass_is_tried_again(server: Server, load: Callable[..., ct.Bars]) -> None:
    url = server.in_turn("/x", [{"error": ["EAPI:Rate limit exceeded"]}, {"error": [], "result": ROWS}])
    assert load(url, error="error[0]", records="result", params={"all": 1}) == BARS


@pytest.mark.parametrize(
    "options",
    [
        {"records": "[["},
        {"error": "a b"},
        {"unknown_symbol": "("},
        {"params": {"x": "{telephone}"}},
        {"params": {"x": "{start:furlong}"}},
        {"url": "ftp://host/x"},
        {"url": "https://{symbol}.host/"},
        {"timeframes": {"7x": "1"}},
        {"tz": "Mars/Olympus"},
        {"pagination": "cursor"},
        {"pagination": "time", "params": {"a": 1}},
        {"window": 10},
        {"concurrency": 4, "pagination": "none"},
        {"preset": "krakn"},
        {"earliest": "once"},
        {"auth": {"kind": "telepathy"}},
        {"method": "GET", "body": {"a": 1}},
    ],
)
def test_options_that_make_no_sense_are_refused_by_name(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption) as caught:
        ct.source("http", **({"url": "https://host/x"} | options))
    assert caught.value.hint


@given(st.lists(st.floats(allow_nan=False), min_size=1))
def test_numbers_as_text_are_read_to_the_last_bit(values: list[float]) -> None:
    assert numbers("x", tuple(map(repr, values))).tolist() == values


@given(st.lists(st.integers(1_000_000_000, 99_999_999_999), min_size=1))
def test_epochs_of_seconds_are_read_exactly(seconds: list[int]) -> None:
    wanted = [1000 * one for one in seconds]
    assert times(seconds).tolist() == wanted
    assert times([str(one) for one in seconds]).tolist() == wanted
    assert times([1000 * one for one in seconds], unit="ms").tolist() == wanted


# ── none, or an error ────────────────────────────────────────────────────────────────────────────────

NOT_ROWS: list[tuple[Any, dict[str, Any], str]] = [
    ({"data": {"candles": ROWS}}, {"records": "data.candels"}, "'data.candels' leads to nothing in an answer with keys 'data'"),
    ({"error": "invalid api key"}, {"records": "data"}, "leads to nothing in an answer with keys 'error'"),
    ({"message": "internal maintenance"}, {"records": "data.list"}, "with keys 'message'"),
    ({"code": 0, "data": None}, {"records": "data"}, "with keys 'code', 'data'"),
    (ROWS, {"records": "data"}, "with list in it"),
    ({"message": "internal maintenance"}, {}, "not clear where the rows are"),
]


@pytest.mark.parametrize(("body", "options", "said"), NOT_ROWS)
def test_an_answer_without_rows_is_an_error_where_it_does_not_say_that_there_are_none(
    server: Server, load: Callable[..., ct.Bars], body: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MalformedData, match=said):
        load(server.on("/x", body), params={"all": 1}, **options)


@pytest.mark.parametrize(
    ("body", "options"),
    [
        ({"data": []}, {"records": "data"}),
        ({"data": {}}, {"records": "data"}),
        ({}, {"records": "data"}),
        ({"code": 0, "msg": "", "data": []}, {"records": "data"}),
        ({"count": 0}, {"records": "data", "empty": '"count": 0'}),
        ({"count": 0}, {"empty": '"count": 0'}),
        ({"count": 0}, {"records": "data || `[]`"}),
        ([], {}),
    ],
)
def test_an_answer_that_says_that_there_are_none_is_none(
    server: Server, load: Callable[..., ct.Bars], body: Any, options: dict[str, Any]
) -> None:
    assert len(load(server.on("/x", body), params={"all": 1}, **options)) == 0


@pytest.mark.parametrize("records", ["data.candles", None])
@pytest.mark.parametrize(
    "busy",
    [
        {"code": 429, "message": "Too many requests"},
        {"code": "50011", "msg": "Too Many Requests", "data": {"candles": []}},
        {"data": "Too many requests"},
    ],
)
def test_an_error_where_rows_should_be_is_tried_again_where_it_may_pass(
    server: Server, load: Callable[..., ct.Bars], busy: Any, records: str | None
) -> None:
    url = server.in_turn("/x", [busy, busy, {"data": {"candles": ROWS}}])
    assert load(url, records=records, params={"all": 1}) == BARS
    assert len(server.asked) == 3


def test_an_error_in_the_middle_of_a_range_is_not_kept_in_a_catalog_as_none(server: Server, tmp_path: Any) -> None:
    def answer(asked: Any) -> Any:
        rows = BARS.between(int(asked.query["from"]), int(asked.query["to"]), unit="ms").to_records()[:5]
        return {"code": 1, "reason": "under repair"} if down and len(server.asked) == 2 else {"data": rows}

    options: dict[str, Any] = {
        "url": server.on("/x", answer), "params": {"from": "{start}", "to": "{end}"}, "records": "data", "symbol": "BTC/USDT",
        "timeframe": "1h", "start": "2024-01-01", "end": "2024-01-01T12:00", "catalog": tmp_path,
    }  # fmt: skip
    down = True
    with pytest.raises(MalformedData, match="with keys 'code', 'reason'"):
        ct.load("http", **options)
    down = False
    assert ct.load("http", **options) == BARS


def test_a_symbol_that_is_not_known_is_told_from_an_answer_without_rows(server: Server, load: Callable[..., ct.Bars]) -> None:
    with pytest.raises(UnknownSymbol):
        load(server.on("/x", {"result": "unknown symbol"}), records="data", params={"all": 1})


@pytest.mark.parametrize("lacking", [[0], [0, 1, 2], [5]])
def test_a_row_without_volume_does_not_take_it_from_the_others(
    server: Server, load: Callable[..., ct.Bars], lacking: list[int]
) -> None:
    rows = [{key: value for key, value in row.items() if key != "volume" or at not in lacking} for at, row in enumerate(MAPPINGS)]
    with pytest.raises(MalformedData, match=f"Row {lacking[0]} has no 'volume'"):
        load(server.on("/x", rows), params={"all": 1})


@pytest.mark.parametrize(("cut", "whole"), [(0, True), (1, False), (3, False)])
def test_csv_that_may_be_cut_in_its_last_number_is_not_read(
    server: Server, load: Callable[..., ct.Bars], cut: int, whole: bool
) -> None:
    body = "\n".join([",".join(NAMES), *(",".join(map(repr, row)) for row in ROWS), ""]).encode()
    sent = body[: len(body) - cut]
    url = server.on("/x", lambda asked: Said(iter([sent]), headers={"Content-Type": "text/csv"}))
    if whole:
        assert load(url, params={"all": 1}) == BARS
    else:
        with pytest.raises(TemporarySourceError, match="ends in the middle of a line"):
            load(url, params={"all": 1}, retries=1)
    if cut < 2:  # the length is known: nothing is missing
        chunked = lambda asked: Said(iter([sent]), headers={"Content-Type": "text/csv", "Transfer-Encoding": "chunked"})  # noqa: E731
        assert load(server.on("/y", chunked), params={"all": 1}) == BARS
        assert load(server.on("/z", Said(sent, headers={"Content-Type": "text/csv"})), params={"all": 1}) == BARS


BERLIN = [dt.datetime(2024, 10, 26, 22, tzinfo=dt.UTC) + dt.timedelta(hours=at) for at in range(8)]


def local(moment: dt.datetime) -> str:
    return moment.astimezone(ZoneInfo("Europe/Berlin")).isoformat()


def test_times_with_offsets_are_read_over_a_change_of_the_clocks() -> None:
    wanted = [int(moment.timestamp() * 1000) for moment in BERLIN]
    assert len({local(moment)[-6:] for moment in BERLIN}) == 2
    assert times([local(moment) for moment in BERLIN]).tolist() == wanted
    written = [local(moment).replace("T", "_") for moment in BERLIN]
    assert times(written, time_format="%Y-%m-%d_%H:%M:%S%z", tz="Asia/Tokyo").tolist() == wanted


def test_times_of_which_only_some_have_an_offset_are_an_error() -> None:
    with pytest.raises(MalformedData, match="times can't be read"):
        times([local(BERLIN[0]), "2024-10-27 02:00"])


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize("kind", [int, float])
def test_dates_that_are_written_as_numbers_are_read_by_their_format(as_array: bool, kind: type) -> None:
    values: Any = [kind(20240101), kind(20240229)]
    wanted = times(["2024-01-01", "2024-02-29"]).tolist()
    assert times(np.array(values) if as_array else values, time_format="%Y%m%d").tolist() == wanted


@pytest.mark.parametrize(("auth", "said"), [({"kind": "apikey"}, "there is no kind 'apikey'"), ("bearer", "it has no kind")])
def test_a_kind_of_auth_that_does_not_exist_is_refused_with_those_that_do(auth: Any, said: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        ct.source("http", url="https://host/x", auth=auth)
    assert f"{said}; there are bearer, header, query, basic, oauth2" in str(caught.value)
    assert "tagged-union" not in str(caught.value)
