"""Every way in which APIs hand out pages brings all the bars, once, oldest first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpmarket import HOUR, START, Asked, Said, Server, by_time, make_bars
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import MalformedData, NotSupported, PermanentSourceError, TemporarySourceError
from cracktrader.times import isoformat
from cracktrader_http.pages import follow, in_turn, latest, windows

BARS = make_bars(48)[np.r_[0:13, 20:41, 44:48]]
ROWS = BARS.to_records()
TIMES = {"start": "{start}", "end": "{end}"}
RANGE: dict[str, Any] = {"start": "2024-01-01", "end": "2024-01-03"}
Load = Callable[..., ct.Bars]

# ── by time ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("newest", [False, True])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("cap", [1, 7, 10, 1000])
@pytest.mark.parametrize("options", [{}, {"window": 5, "earliest": "2023-12-30"}, {"concurrency": 4, "page_size": 9}])
def test_no_cap_and_no_gap_ends_a_range_early(
    server: Server, load: Load, newest: bool, known: bool, cap: int, options: dict[str, Any]
) -> None:
    url = server.on("/x", by_time(BARS, cap, newest=newest))
    options = {"params": TIMES, **options} | ({"newest_first": newest} if known else {})
    assert load(url, **options, **RANGE) == BARS


@pytest.mark.parametrize("newest", [False, True])
def test_a_range_without_a_start_and_the_last_bars(server: Server, load: Load, newest: bool) -> None:
    options = {"url": server.on("/x", by_time(BARS, 10, newest=newest)), "params": TIMES}
    assert load(**options) == BARS
    assert load(**options, limit=15, end="2024-01-03") == BARS[-15:]
    assert load(**options, limit=500, end="2024-01-03") == BARS


def test_the_last_bars_are_not_looked_for_in_all_of_history(server: Server, load: Load) -> None:
    load(server.on("/x", by_time(BARS, 1000)), params=TIMES, limit=4, end="2024-01-03")
    assert len(server.asked) == 1
    assert int(server.asked[0].query["start"]) == START + 44 * HOUR


def test_the_first_bars_take_no_more_pages_than_they_fill(server: Server, load: Load) -> None:
    load(server.on("/x", by_time(BARS, 10)), params=TIMES, limit=12, **RANGE)
    assert len(server.asked) == 2


def test_windows_side_by_side_come_in_order_and_many_at_once(server: Server, load: Load) -> None:
    answer = by_time(make_bars(480), 20)
    url = server.on("/x", lambda asked: Said(answer(asked), late=0.05 if int(asked.query["start"]) // HOUR % 40 else 0.1))
    started = time.monotonic()
    bars = load(url, params=TIMES, concurrency=8, page_size=20, start="2024-01-01", end="2024-01-21")
    assert bars == make_bars(480)
    assert 4 <= server.most_at_once <= 8
    assert time.monotonic() - started < 24 * 0.05


def test_one_window_that_fails_fails_the_load_and_stops_the_others(server: Server, load: Load) -> None:
    answer = by_time(make_bars(480), 20)
    url = server.on("/x", lambda asked: Said(status=500) if int(asked.query["start"]) == START + 60 * HOUR else answer(asked))
    with pytest.raises(TemporarySourceError, match="500"):
        load(url, params=TIMES, concurrency=4, page_size=20, retries=1, start="2024-01-01", end="2024-01-21")
    assert len(server.asked) < 24
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cracktrader-http")]


@pytest.mark.parametrize("early", [0, 1])
@pytest.mark.parametrize("end", [{"end": "{end}"}, {"end": "{last}", "inclusive": "1"}])
@pytest.mark.parametrize("options", [{}, {"window": 5, "earliest": "2023-12-30"}])
def test_bars_that_are_stamped_with_their_end_are_asked_for_by_it(
    server: Server, load: Load, early: int, end: dict[str, str], options: dict[str, Any]
) -> None:
    stamped = BARS.but(time=BARS.time + HOUR - early)

    def answer(asked: Asked) -> Any:
        stop = int(asked.query["end"]) + ("inclusive" in asked.query)
        return stamped.between(int(asked.query["start"]), stop, unit="ms").to_records()[:10]

    params = {"start": "{start}", **end}
    assert load(server.on("/x", answer), params=params, stamp="close", **options, **RANGE) == BARS


@pytest.mark.parametrize(
    ("form", "first", "last"),
    [
        ("", "1704067200000", "1704236400000"),
        (":s", "1704067200", "1704236400"),
        (":us", "1704067200000000", "1704236400000000"),
        (":iso", "2024-01-01T00:00:00Z", "2024-01-02T23:00:00Z"),
        (":%d.%m.%Y", "01.01.2024", "02.01.2024"),
    ],
)
def test_times_are_asked_for_in_any_form(server: Server, load: Load, form: str, first: str, last: str) -> None:
    load(server.on("/x", []), params={"from": f"{{start{form}}}", "since": f"{{before{form}}}", "to": f"{{last{form}}}"}, **RANGE)
    assert (server.asked[0].query["from"], server.asked[0].query["to"]) == (first, last)
    if form == ":s":
        assert server.asked[0].query["since"] == "1704067199"


@pytest.mark.parametrize("params", [TIMES, {"end": "{end:iso}"}, {"start": "{start:s}", "end": "{end:s}"}])
def test_an_api_that_does_not_look_at_the_range_is_an_error_not_a_short_answer(
    server: Server, load: Load, params: dict[str, str]
) -> None:
    url = server.on("/x", ROWS[-20:])  # always the latest
    with pytest.raises(MalformedData, match="was asked for bars from") as caught:
        load(url, params=params, **RANGE)
    assert "{start:s}" in caught.value.hint
    assert load(url, params=params, **RANGE, pagination="none") == BARS[-20:]


def test_an_api_without_an_end_may_send_what_comes_after(server: Server, load: Load) -> None:
    url = server.on("/x", lambda asked: BARS.between(int(asked.query["start"]), unit="ms").to_records()[:10])
    assert load(url, params={"start": "{start}"}, start="2024-01-01T14:00", end="2024-01-01T19:00") == BARS[:0]


def test_days_may_be_sent_whole(server: Server, load: Load) -> None:
    days = lambda asked: BARS.between(asked.query["from"], f"{asked.query['to']}T23:59:59").to_records()  # noqa: E731
    params = {"from": "{start:%Y-%m-%d}", "to": "{last:%Y-%m-%d}"}
    assert load(server.on("/x", days), params=params, start="2024-01-01T10:00", end="2024-01-02T21:00") == BARS.between(
        "2024-01-01T10:00", "2024-01-02T21:00"
    )


def test_what_an_api_does_not_keep_any_more_is_an_error_not_a_short_answer(server: Server, load: Load) -> None:
    url = server.on("/x", ROWS)
    with pytest.raises(NotSupported, match="keeps the last 720 bars"):
        load(url, params=TIMES, keeps=720, start="2024-01-01")


@given(st.sets(st.integers(0, 60)), st.integers(1, 9), st.booleans(), st.sampled_from([None, True, False]), st.booleans())
def test_following_a_range_brings_all_of_it(hours: set[int], cap: int, newest: bool, said: bool | None, open_start: bool) -> None:
    bars = make_bars(61)[sorted(hours)]

    def ask(start: int | None, end: int) -> ct.Bars:
        inside = bars.between(start, end, unit="ms")
        return inside[-cap:] if newest else inside[:cap]

    said = newest if said is not None else None
    start = None if open_start else START + 5 * HOUR
    parts = list(follow(ask, start, START + 50 * HOUR, said))
    whole = ct.Bars.concat(parts) if parts else bars[:0]
    assert whole == bars.between(start, START + 50 * HOUR, unit="ms")


@given(st.sets(st.integers(0, 60)), st.integers(1, 70), st.sampled_from([None, START - 1000 * HOUR]))
def test_the_latest_are_the_latest(hours: set[int], limit: int, earliest: int | None) -> None:
    bars = make_bars(61)[sorted(hours)]
    end = START + 61 * HOUR
    parts = list(latest(lambda start, stop: [bars.between(start, stop, unit="ms")], bars.timeframe, end, limit, earliest))
    assert (ct.Bars.concat(parts) if parts else bars)[-limit:] == bars[-limit:]


def test_windows_of_months_are_months() -> None:
    spans = list(windows(ct.Timeframe("1M"), 1_704_067_200_000, 1_719_792_000_000, 4))
    assert spans == [(1_704_067_200_000, 1_714_521_600_000), (1_714_521_600_000, 1_719_792_000_000)]


# ── page after page ──────────────────────────────────────────────────────────────────────────────────


def sliced(rows: list[Any], size: int = 10, wrap: Callable[[list[Any], Asked, int], Any] | None = None) -> Callable[[Asked], Any]:
    """Answers ``?page=`` (from 1), ``?offset=`` or ``?cursor=`` with a slice."""

    def answer(asked: Asked) -> Any:
        query = asked.query
        at = size * (int(query["page"]) - 1) if "page" in query else int(query.get("offset") or query.get("cursor") or 0)
        part = rows[at : at + size]
        return part if wrap is None else wrap(part, asked, at + size)

    return answer


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]], ids=["oldest first", "newest first"])
@pytest.mark.parametrize("said", [False, True])
@pytest.mark.parametrize("kind", ["page", "offset", "cursor", "next", "link", "next of its own"])
def test_pages_of_any_kind(server: Server, load: Load, kind: str, rows: list[Any], said: bool) -> None:
    def wrap(part: list[Any], asked: Asked, after: int) -> Any:
        more = after < len(rows)
        if kind == "cursor":
            return {"data": part, "meta": {"cursor": str(after) if more else ""}}
        if kind == "next":
            return {"data": part, "meta": {"cursor": f"/x?offset={after}&token=t0ken" if more else None}}
        if kind == "link":
            return Said({"data": part}, headers={"Link": f'<{server.url}/x?offset={after}>; rel="next"'} if more else {})
        return {"data": part}

    options: dict[str, Any] = {"params": {kind: f"{{{kind}}}"}}
    if kind == "cursor":
        options |= {"next": "meta.cursor"}
    elif kind == "next":
        options = {"params": {"all": 1}, "next": "meta.cursor"}
    elif kind == "link":
        options = {"params": {"all": 1}, "pagination": "link"}
    elif kind == "next of its own":
        options = {"params": {"at": "{offset}", "offset": "{offset}"}}
    if said:
        options["newest_first"] = rows is not ROWS
    assert load(server.on("/x", sliced(rows, 10, wrap)), records="data", **options) == BARS


def test_the_last_bars_of_pages_within_a_range_are_not_looked_for_in_all_of_history(server: Server, load: Load) -> None:
    def answer(asked: Asked) -> Any:
        rows = BARS.between(int(asked.query["start"]), int(asked.query["end"]), unit="ms").to_records()
        at = int(asked.query.get("offset", 0))
        return {"rows": rows[at : at + 5], "next": f"/x?start={asked.query['start']}&end={asked.query['end']}&offset={at + 5}"
                if at + 5 < len(rows) else None}  # fmt: skip

    options = {"params": TIMES, "records": "rows", "next": "next", "pagination": "next", "earliest": "2010-01-01"}
    url = server.on("/x", answer)
    assert load(url, **options, limit=12, end="2024-01-03") == BARS[-12:]
    assert len(server.asked) < 12
    assert load(url, **options, limit=500, end="2024-01-03") == BARS
    assert load(url, **options, end="2024-01-03") == BARS


def test_a_stop_rule_saves_the_page_that_would_be_empty(server: Server, load: Load) -> None:
    answer = sliced(ROWS, 10, lambda part, asked, after: {"data": part, "more": after < len(ROWS)})
    assert load(server.on("/x", answer), params={"page": "{page}"}, records="data", stop="!more") == BARS
    assert len(server.asked) == 4


@pytest.mark.parametrize("rows", [ROWS, ROWS[::-1]], ids=["oldest first", "newest first"])
def test_pages_past_the_range_are_not_asked_for(server: Server, load: Load, rows: list[Any]) -> None:
    span = {"end": "2024-01-01T05:00"} if rows is ROWS else {"start": "2024-01-02T21:00"}
    bars = load(server.on("/x", sliced(rows)), params={"page": "{page}"}, newest_first=rows is not ROWS, **span)
    assert bars == BARS.between(**span)
    assert len(server.asked) == 1


def test_rows_that_come_twice_because_the_list_grew_come_once(server: Server, load: Load) -> None:
    pages = iter([ROWS[::-1][0:10], ROWS[::-1][8:20], ROWS[::-1][19:], []])
    assert load(server.on("/x", lambda asked: next(pages)), params={"page": "{page}"}) == BARS


@pytest.mark.parametrize(
    ("answer", "options", "said"),
    [
        (lambda asked: ROWS[:10], {"params": {"page": "{page}"}}, "same page again"),
        (sliced(ROWS), {"params": {"page": "{page}"}, "newest_first": True}, "not come in the order of time"),
        (sliced(ROWS[::-1]), {"params": {"page": "{page}"}, "newest_first": False}, "not come in the order of time"),
        (
            lambda asked: {"d": [], "n": "again"},
            {"params": {"cursor": "{cursor}"}, "next": "n", "records": "d"},
            "sent already: 'again'",
        ),
        (
            lambda asked: {"d": [], "n": time.monotonic_ns()},
            {"params": {"cursor": "{cursor}"}, "next": "n", "records": "d", "max_pages": 20},
            "still has pages after 20",
        ),
    ],
)
def test_apis_without_end_or_order_are_errors(
    server: Server, load: Load, answer: Any, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(MalformedData, match=said) as caught:
        load(server.on("/x", answer), **options)
    assert caught.value.hint


def test_a_body_is_filled_and_sent_as_json_or_as_a_form(server: Server, load: Load) -> None:
    url = server.on("/x", [])
    body = {"query": {"symbol": "{symbol}", "from": "{start}", "note": "{cursor}", "list": ["{limit}", True]}}
    load(url, body=body, pagination="time", **RANGE)
    load(url, body={"a": "{base:lower}-{quote}"}, body_format="form", pagination="none")
    assert server.asked[0].method == "POST"
    assert server.asked[0].body == b'{"query": {"symbol": "BTC/USDT", "from": 1704067200000, "list": [1000, true]}}'
    assert server.asked[1].body == b"a=btc-USDT"


def test_symbols_and_timeframes_are_spelled_as_the_api_does(server: Server, load: Load) -> None:
    server.on("/v1/XBTUSD/60/x", [])
    load(server.url + "/v1/{symbol}/{timeframe}/x", symbol="BTC/USD", symbols={"BTC/USD": "XBTUSD"}, timeframes={"1h": "60"})
    server.on("/v1/BTC%2FUSDT/x", [])
    load(server.url + "/v1/{symbol}/x")
    assert [asked.path for asked in server.asked] == ["/v1/XBTUSD/60/x", "/v1/BTC%2FUSDT/x"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"params": {"cursor": "{cursor}"}, "next": "nextt"}, "keys of next='nextt'"),
        ({"params": {"cursor": "{cursor}"}, "next": "meta.next"}, "keys of next='meta.next'"),
        ({"params": {"page": "{page}"}, "stop": "!hasmore"}, "keys of stop='!hasmore'"),
        ({"params": {"page": "{page}"}, "stop": "meta.more == `null`"}, "keys of stop='meta.more"),
    ],
)
def test_a_next_or_stop_that_no_answer_has_does_not_end_the_pages(
    server: Server, load: Load, options: dict[str, Any], said: str
) -> None:
    answer = sliced(ROWS, 10, lambda part, asked, after: {"data": part, "next": str(after), "has_more": after < len(ROWS)})
    with pytest.raises(MalformedData, match=said) as caught:
        load(server.on("/x", answer), records="data", **options)
    assert "leaves them out in the last page" in caught.value.hint


@pytest.mark.parametrize(
    "options",
    [
        {"params": {"cursor": "{cursor}"}, "next": "next"},
        {"params": {"cursor": "{cursor}"}, "next": "next || ''"},
        {"params": {"page": "{page}"}, "stop": "!more"},
        {"params": {"page": "{page}"}, "stop": "!(more || `false`)"},
        {"params": {"page": "{page}"}, "stop": "length(data) < `10`"},
    ],
)
@pytest.mark.parametrize("size", [10, 100])
def test_a_last_page_may_leave_out_what_the_others_have(server: Server, load: Load, options: dict[str, Any], size: int) -> None:
    def wrap(part: list[Any], asked: Asked, after: int) -> Any:
        return {"data": part} | ({"next": str(after), "more": True} if after < len(ROWS) else {})

    url, whole = server.on("/x", sliced(ROWS, size, wrap)), "||" in repr(options) or "length" in repr(options)
    if size == 100 and not whole:  # one page, which does not have the key either
        with pytest.raises(MalformedData, match="No answer of the API has the keys"):
            load(url, records="data", **options)
    else:
        assert load(url, records="data", **options) == BARS


# ── pages that lie, or that change meanwhile ─────────────────────────────────────────────────────────

WHOLE = make_bars(60)
LIST = WHOLE.to_records()


def in_pages(*slices: list[Any]) -> Callable[[Asked], Any]:
    return lambda asked: [*slices, *([[]] * 9)][int(asked.query["page"]) - 1]


def test_rows_of_pages_without_order_are_not_left_out_in_silence(server: Server, load: Load) -> None:
    pages = in_pages(LIST[:5] + LIST[8:10], LIST[5:8] + LIST[10:12], LIST[12:20])
    with pytest.raises(MalformedData, match="not come in the order of time"):
        load(server.on("/x", pages), params={"page": "{page}"})


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("said", [False, True])
def test_of_a_bar_that_comes_twice_the_latest_counts(server: Server, load: Load, way: int, said: bool) -> None:
    rows = LIST[:20][::way]
    revised = (*rows[8][:5], 999.0)
    pages = in_pages(rows[:10], [revised, *rows[9:20]])
    bars = load(server.on("/x", pages), params={"page": "{page}"}, **({"newest_first": way < 0} if said else {}))
    assert bars.time.tolist() == WHOLE.time[:20].tolist()
    assert bars.volume[bars.time == revised[0]].tolist() == [999.0]


@pytest.mark.parametrize("growing", [1, 3])
def test_a_list_that_grows_while_it_is_gone_through_ends(server: Server, load: Load, growing: int) -> None:
    def answer(asked: Asked) -> Any:
        newest_first = LIST[: 33 + growing * len(server.asked)][::-1]
        at = int(asked.query["offset"])
        return newest_first[at : at + 10]

    assert load(server.on("/x", answer), params={"offset": "{offset}"}) == WHOLE[: 33 + growing]


def test_a_list_that_loses_its_oldest_rows_meanwhile_is_noted(server: Server, load: Load) -> None:
    def answer(asked: Asked) -> Any:
        at = int(asked.query["offset"])
        return LIST[len(server.asked) :][at : at + 10]

    bars = load(server.on("/x", answer), params={"offset": "{offset}"})
    assert len(bars) < 59
    assert any("may have fallen out" in note for note in bars.report.notes)


def test_whole_pages_are_not_noted(server: Server, load: Load) -> None:
    bars = load(server.on("/x", sliced(LIST)), params={"page": "{page}"}, first_page=1)
    assert bars == WHOLE
    assert not bars.report.notes


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 12)), min_size=1, max_size=4), st.booleans(), st.booleans())
def test_pages_bring_all_that_they_hold_or_fail(spans: list[tuple[int, int]], newest: bool, said: bool) -> None:
    pages = [WHOLE[at : at + size] for at, size in sorted(spans, reverse=newest)]
    try:
        whole = ct.Bars.concat(list(in_turn(pages, None, None, newest if said else None)))
    except MalformedData:
        return
    assert whole.time.tolist() == sorted({int(time) for page in pages for time in page.time})


# ── ranges that an API takes otherwise than it is asked ──────────────────────────────────────────────

SPAN: dict[str, Any] = {"start": "2024-01-01T10:00", "end": "2024-01-03T00:00"}


@pytest.mark.parametrize("params", [TIMES, {"start": "{start}"}])
def test_an_api_that_leaves_out_the_start_does_not_lose_a_bar_a_page(server: Server, load: Load, params: dict[str, str]) -> None:
    def answer(asked: Asked) -> Any:
        after, end = int(asked.query["start"]), int(asked.query.get("end", 1 << 45))
        return [row for row in LIST if after < row[0] < end][:10]

    url = server.on("/x", answer)
    with pytest.raises(MalformedData, match="leaves out the start") as caught:
        load(url, params=params, **SPAN)
    assert "{before}" in caught.value.hint
    assert load(url, params={**params, "start": "{before}"}, **SPAN) == WHOLE.between(SPAN["start"], SPAN["end"])


def test_an_api_that_sends_the_latest_whatever_the_start_is_an_error(server: Server, load: Load) -> None:
    url = server.on("/x", LIST[-20:])
    with pytest.raises(MalformedData, match="was asked for bars from"):
        load(url, params={"since": "{start}"}, start="2024-01-01", end="2024-01-04")


@pytest.mark.parametrize("newest", [True, False])
@pytest.mark.parametrize("more", [{}, {"concurrency": 3, "page_size": 25}])
def test_a_wrong_word_about_the_order_loses_no_bars(server: Server, load: Load, newest: bool, more: dict[str, Any]) -> None:
    url = server.on("/x", by_time(WHOLE, 10, newest=newest))
    with pytest.raises(MalformedData, match=f"newest_first={not newest} isn't right"):
        load(url, params=TIMES, newest_first=not newest, **SPAN, **more)


def test_a_list_that_begins_later_than_asked_takes_few_more_requests(server: Server, load: Load) -> None:
    url = server.on("/x", by_time(WHOLE, 10))
    for newest_first, most in ((None, 8), (False, 8)):
        server.asked.clear()
        assert load(url, params=TIMES, newest_first=newest_first, start="2023-12-01", end="2024-01-03T12:00") == WHOLE
        assert len(server.asked) <= most


@pytest.mark.parametrize(
    "said",
    [
        {"data": LIST[:10], "has_more": True},
        {"data": LIST[:10], "next_page_token": "abc"},
        {"data": LIST[:10], "meta": {"next": "/x?page=2"}},
        Said({"data": LIST[:10]}, headers={"Link": '</x?page=2>; rel="next"'}),
    ],
)
def test_an_answer_that_says_that_there_is_more_is_not_all(server: Server, load: Load, said: Any) -> None:
    url = server.on("/x", said)
    with pytest.raises(MalformedData, match="says that there are more pages"):
        load(url, params={"symbol": "{symbol}"}, records="data")
    assert load(url, params={"symbol": "{symbol}"}, records="data", pagination="none") == WHOLE[:10]
    if not isinstance(said, Said):
        with pytest.raises(MalformedData, match="says that there are more pages"):
            load(url, params={"at": "{cursor}"}, records="data", next="cursor || ''")


@pytest.mark.parametrize("said", [{"data": LIST[:10], "has_more": False, "next": None}, {"data": LIST[:10], "next_cursor": ""}])
def test_an_answer_that_says_that_there_is_no_more_is_all(server: Server, load: Load, said: Any) -> None:
    assert load(server.on("/x", said), params={"symbol": "{symbol}"}, records="data") == WHOLE[:10]


def test_a_part_of_an_answer_is_refused(server: Server, load: Load) -> None:
    said = Said(LIST[:10], status=206, headers={"Content-Range": "items 0-9/60"})
    with pytest.raises(PermanentSourceError, match="items 0-9/60"):
        load(server.on("/x", said), pagination="none")


@pytest.mark.parametrize("kind", ["page", "offset"])
def test_pages_whose_first_number_nobody_said_are_noted(server: Server, load: Load, kind: str) -> None:
    url = server.on("/x", sliced(LIST, 10))
    notes = load(url, params={kind: f"{{{kind}}}"}).report.notes
    assert any("first_page=0" in note for note in notes) == (kind == "page")
    assert not load(url, params={kind: f"{{{kind}}}"}, first_page=1).report.notes


def test_what_an_api_keeps_no_more_is_not_written_down_as_known(server: Server, load: Load, tmp_path: Path) -> None:
    hours = int(time.time()) // 3600
    market = make_bars(30, start=(hours - 30) * HOUR)
    url = server.on("/x", by_time(market, cap=100))
    options = {"params": TIMES, "keeps": 20, "catalog": tmp_path}
    assert len(load(url, **options)) >= 19
    with pytest.raises(NotSupported, match="keeps the last 20 bars"):
        load(url, **options, start=isoformat(int(market.time[0])))
