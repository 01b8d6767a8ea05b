"""Candles as they come over HTTP: polling, long polling, Server-Sent Events, from a real server."""

import asyncio
import json
import threading
import time
from datetime import UTC

import backtrader as bt
import pytest
from httpmarket import HOUR, Said

import cracktrader as ct
from cracktrader.errors import InvalidOption, MalformedData, PermanentSourceError, TemporarySourceError
from cracktrader_http import HttpSource

NOW = int(time.time() * 1000) // HOUR * HOUR


def row(hours: int, close: float) -> list[float]:
    return [NOW + hours * HOUR, 1, 9, 0.5, close, 7]


def event(values, *, id=None, name=None, closed=None) -> bytes:
    data = {"t": values[0], "o": values[1], "h": values[2], "l": values[3], "c": values[4], "v": values[5]}
    lines = [f"event: {name}"] * (name is not None) + [f"id: {id}"] * (id is not None)
    said = json.dumps({"k": data} | ({} if closed is None else {"final": closed}))
    return "\n".join([*lines, f"data: {said}", "", ""]).encode()


def heard(url, many, symbol="BTC/USDT", *, within=10.0, **options):
    """The first candles of a stream, as (hours from now, close, closed)."""

    async def listen():
        async with asyncio.timeout(within):
            candles = source.call("stream_candles", symbol=symbol, timeframe="1h")
            try:
                return [await anext(candles) for _ in range(many)]
            finally:
                await candles.aclose()

    with ct.source("http", url=url, **{"backoff": 0.01} | options) as source:
        got = asyncio.run(listen())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cracktrader-http")]
    assert all(candle.symbol == symbol and candle.timeframe == "1h" for candle in got)
    return [((candle.time - NOW) // HOUR, candle.close, candle.closed) for candle in got]


# ── polling ──────────────────────────────────────────────────────────────────────────────────────────


def test_polling_tells_each_change_once_and_calls_nothing_closed(server):
    url = server.in_turn("/k", [
        [row(-1, 3), row(0, 4)], [row(-1, 3), row(0, 4)], [row(0, 5)], [], [row(0, 6), row(1, 2)], [row(0, 6), row(1, 2.5)]
    ])  # fmt: skip
    got = heard(url + "?s={symbol}&from={start}", 5, pagination="none", stream={"seconds": 0.01})
    assert got == [(0, 4, False), (0, 5, False), (0, 6, False), (1, 2, False), (1, 2.5, False)]
    starts = [int(asked.query["from"]) for asked in server.asked]
    assert starts[0] == NOW
    assert starts[-1] == NOW + HOUR


def test_polling_goes_on_after_failures_in_passing(server):
    url = server.in_turn("/k", [Said(b"", 503), [row(0, 4)], Said(b"", drop=True), Said(b"", 502), [row(0, 5)]])
    assert heard(url + "?from={start}", 2, stream={"seconds": 0.01}) == [(0, 4, False), (0, 5, False)]


def test_the_errors_of_requests_are_those_of_the_stream(server):
    with pytest.raises(PermanentSourceError, match="refuses"):
        heard(server.on("/k", Said(b"no", 403)) + "?from={start}", 1, api_key="geheim")
    with pytest.raises(TemporarySourceError, match="tried 2 times"):
        heard(server.on("/k", Said(b"no", 503)) + "?from={start}", 1, retries=1)


@pytest.mark.parametrize("kind", ["poll", "long", "sse"])
def test_a_stream_that_waits_for_the_server_ends_at_once(server, kind):
    url = server.on("/k", Said([], late=20))
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        heard(url + "?from={start}", 1, within=0.3, stream={"kind": kind})
    assert time.monotonic() - began < 5


def test_who_does_not_read_does_not_fill_the_memory(server, monkeypatch):
    monkeypatch.setattr("cracktrader_http.streaming._WAITING", 3)
    told = []

    def events():
        for number in range(100_000):
            told.append(number)
            yield event(row(0, number), closed=False) + b":" + b" " * 2000 + b"\n"

    url = server.on("/k", lambda asked: Said(events()))

    async def listen():
        candles = HttpSource(url=url, stream={"kind": "sse", "records": "[k]"}).stream_candles("BTC/USDT", "1h")
        first = await anext(candles)
        await asyncio.sleep(0.5)
        await candles.aclose()
        return first

    assert asyncio.run(listen()).close == 0
    assert len(told) < 50_000


# ── long polling ─────────────────────────────────────────────────────────────────────────────────────


def test_long_polling_asks_at_once_after_news_and_goes_on_from_the_cursor(server):
    answers = [{"rows": [row(0, 4)], "at": "a"}, Said(b"", 204), {"rows": [row(0, 5), row(1, 6)], "at": "b"}]
    url = server.in_turn("/news", [*answers, Said([], late=20)])
    stream = {"kind": "long", "url": url, "params": {"after": "{cursor}", "from": "{start}"}, "seconds": 0.2}
    began = time.monotonic()
    got = heard(server.url + "/history", 3, next="at", pagination="none", records="rows", stream=stream)
    assert got == [(0, 4, False), (0, 5, False), (1, 6, False)]
    assert 0.2 <= time.monotonic() - began < 3
    assert [asked.query.get("after") for asked in server.asked][:3] == [None, "a", "a"]
    assert {asked.path for asked in server.asked} == {"/news"}


# ── Server-Sent Events ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("headers", [{}, {"Transfer-Encoding": "chunked"}])
def test_events_are_told_as_they_come(server, headers):
    first, second, third = event(row(0, 4), closed=False), event(row(0, 5), closed=True), event(row(1, 6), closed=False)
    half = len(second) // 2
    bits = [b": hello\n\n", first[:20], first[20:], 0.05, second[:half], 0.05, second[half:] + third, 20]
    url = server.on("/events", lambda asked: Said(iter(bits), headers=headers))
    began = time.monotonic()
    assert heard(url + "?s={symbol}", 3, stream={"kind": "sse", "records": "[k]", "closed": "final"}) == [
        (0, 4, False), (0, 5, True), (1, 6, False)
    ]  # fmt: skip
    assert time.monotonic() - began < 5
    assert server.asked[0].headers["accept"] == "text/event-stream"


def test_a_stream_that_ends_goes_on_where_it_was_and_what_was_cut_off_does_not_count(server):
    url = server.in_turn("/events", [
        Said(iter([b"retry: 10\n" + event(row(0, 4), id=7), event(row(0, 99))[:-2]])),
        Said(b"", 503),
        Said(iter([event(row(0, 5), id=8)]), headers={"Transfer-Encoding": "chunked"}, cut=1),
        Said(iter([event(row(0, 6), id=9), 20])),
    ])  # fmt: skip
    assert heard(url, 3, stream={"kind": "sse", "records": "[k]"}) == [(0, 4, False), (0, 5, False), (0, 6, False)]
    assert [asked.headers.get("last-event-id") for asked in server.asked] == [None, "7", "7", "8"]


def test_events_of_other_names_and_lines_of_other_kinds_are_passed_over(server):
    data = json.dumps(dict(zip("tohlcv", row(0, 4), strict=True)), indent=1).replace("\n", "\r\ndata: ")
    bits = [event(row(0, 1), name="tick"), b"data\n\nid: x\0y\nretry: soon\nwhat: this\n\n",
            f"event: candle\r\ndata: {data}\r\n\r\n".encode(), 20]  # fmt: skip
    url = server.on("/events", lambda asked: Said(iter(bits)))
    assert heard(url, 1, stream={"kind": "sse", "events": ["candle"]}) == [(0, 4, False)]


def test_events_that_are_none(server):
    page = server.on("/page", Said(b"<html>", headers={"Content-Type": "text/html"}))
    with pytest.raises(MalformedData, match="sends text/html, not events"):
        heard(page, 1, stream={"kind": "sse"})
    broken = server.on("/broken", lambda asked: Said(iter([b"data: {{\n\n", 20])))
    with pytest.raises(MalformedData, match=r"event of the stream was heard.*begins with"):
        heard(broken, 1, stream={"kind": "sse"})
    empty = server.on("/empty", lambda asked: Said(iter([b"retry: 1\n: nothing\n\n"])))
    with pytest.raises(TemporarySourceError, match="ended 3 times before the first one came"):
        heard(empty, 1, retries=2, stream={"kind": "sse"})
    gone = server.on("/gone", Said(b"", 204))
    with pytest.raises(PermanentSourceError, match="204"):
        heard(gone, 1, stream={"kind": "sse"})


def test_the_key_goes_to_the_hosts_that_were_named_and_to_no_other(server):
    events = server.on("/events", lambda asked: Said(iter([event(row(0, 4)), 20])))
    elsewhere = server.on("/moved", Said(b"", 302, {"Location": events.replace("127.0.0.1", "localhost")}))
    for url, shown in ((events, "Bearer geheim"), (elsewhere, None)):
        server.asked.clear()
        stream = {"kind": "sse", "url": url, "records": "[k]"}
        assert heard("http://127.0.0.2:9/history", 1, api_key="geheim", stream=stream) == [(0, 4, False)]
        assert server.asked[0].headers["authorization"] == "Bearer geheim"
        assert server.asked[-1].headers.get("authorization") == shown


def test_what_a_stream_can_not_be(server):
    with pytest.raises(InvalidOption, match="stream"):
        HttpSource(url=server.url, stream={"kind": "socket"})
    with pytest.raises(InvalidOption, match="second"):
        HttpSource(url=server.url, stream={"second": 1})
    with pytest.raises(InvalidOption, match="there is no"):
        HttpSource(url=server.url, stream={"url": server.url + "/{sybmol}"})
    with pytest.raises(InvalidOption, match="JMESPath"):
        HttpSource(url=server.url, stream={"records": "[["})


# ── as a live feed ───────────────────────────────────────────────────────────────────────────────────


def test_a_live_feed_of_a_polled_api_steps_through_history_into_what_closes(server):
    def rows(asked):
        now = int(time.time() * 1000)
        first = int(asked.query["from"]) // 1000
        last = min(int(asked.query.get("to") or now), now - 1) // 1000
        return [[1000 * at, at % 7 + 1, 20, 0.5, at % 7 + 2, 5] for at in range(first, last + 1)]

    class Watch(bt.Strategy):
        def __init__(self):
            self.said, self.bars = [], []

        def notify_data(self, data, status, *args, **kwargs):
            self.said.append(data._getstatusname(status))

        def next(self):
            opened = round(self.data.datetime.datetime().replace(tzinfo=UTC).timestamp())  # stamped a millisecond before its end
            self.bars.append((opened, self.data.close[0]))
            if self.said[-1] == "LIVE" and len(self) >= 8:
                self.env.runstop()

    url = server.on("/k", rows) + "?from={start}&to={end}"
    feed = ct.feed(
        "http", url=url, symbol="BTC/USDT", timeframe="1s", live=True, historical_limit=5, catalog=False, stream={"seconds": 0.2}
    )
    cerebro = ct.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    cerebro.addstrategy(Watch)
    (strategy,) = cerebro.run()
    assert strategy.said[:2] == ["DELAYED", "LIVE"]
    opened = [end - 1 for end, _ in strategy.bars]
    assert opened == list(range(opened[0], opened[0] + len(opened)))
    assert [close for _, close in strategy.bars] == [at % 7 + 2 for at in opened]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("cracktrader")]
