"""The streams of the source themselves: what they yield, share, refuse and leave behind; real ccxt.pro on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest
from followed import SPEED, follow, source_of

import cracktrader as ct
from cracktrader.errors import (
    CracktraderError,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnknownSymbol,
    UnsupportedTimeframe,
)
from cracktrader.live.hub import HUB
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.desk import Desk
from cracktrader_ccxt.pro import closed_times, streamed
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator.faults import NoStreams
from cracktrader_ccxt.streaming import Channel, Reader


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    with Simulator(
        ["BTC/USDT", "ETH/USDT", "BTC/USDT:USDT"], now="2024-06-01T00:00:10", start="2024-05-31", weight_limit=0
    ) as one:
        yield one


async def take(stream: AsyncIterator[Any], count: int, seconds: float = 10) -> list[Any]:
    """The next events of a stream."""
    async with asyncio.timeout(seconds):
        return [await anext(stream) for _ in range(count)]


def in_a_loop(source: ct.Source, work: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine as the hub would, then give back what the streams held; no task is left."""

    async def run() -> Any:
        try:
            return await work()
        finally:
            await source.call("close_streams")
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left

    try:
        return asyncio.run(run())
    finally:
        source.close()


async def opened(source: ct.Source, exchange: Simulator, hook: str, **arguments: Any) -> Any:
    """A stream, and its first event; the exchange's clock moves so that there is one."""
    stream = source.call(hook, **arguments)
    first = asyncio.ensure_future(anext(stream))
    for _ in range(200):
        await asyncio.wait({first}, timeout=0.02)
        if first.done():
            return stream, await first
        await asyncio.to_thread(exchange.clock.advance, 1_000)
    raise AssertionError("nothing came")


def test_candles_are_every_update_and_the_exchange_says_which_is_the_last(exchange: Simulator) -> None:
    source = source_of(exchange)

    async def work() -> list[Any]:
        stream, first = await opened(source, exchange, "stream_candles", symbol="BTC/USDT", timeframe="1m")
        async with contextlib.aclosing(stream):
            await asyncio.to_thread(exchange.clock.advance, "3m")
            sent = exchange.streams.sent["BTC/USDT@kline_1m"]
            return [first, *await take(stream, sent - 1)]

    candles = in_a_loop(source, work)
    closed = [candle for candle in candles if candle.closed]
    truth = exchange.truth("BTC/USDT", "1m", "2024-06-01", closed[-1].end).to_records()
    assert [(c.time, c.open, c.high, c.low, c.close, c.volume) for c in closed] == truth
    assert len(closed) == 3
    assert len({candle.volume for candle in candles}) > 50  # each is what it was then
    assert all(candle.timeframe == "1m" and candle.symbol == "BTC/USDT" for candle in candles)


def test_trades_tickers_and_books_of_spot_and_futures(exchange: Simulator) -> None:
    source = source_of(exchange)

    async def work() -> None:
        for symbol in ("BTC/USDT", "BTC/USDT:USDT"):
            trades, one = await opened(source, exchange, "stream_trades", symbol=symbol)
            tickers, ticker = await opened(source, exchange, "stream_ticker", symbol=symbol)
            books, book = await opened(source, exchange, "stream_order_book", symbol=symbol, limit=5)
            await asyncio.to_thread(exchange.clock.advance, 20_000)
            more = await take(trades, 5)
            ids = [int(trade.id) for trade in (one, *more)]
            assert ids == sorted(set(ids))
            assert {one.side, *(trade.side for trade in more)} <= {"buy", "sell"}
            assert all(trade.symbol == symbol and trade.price > 0 and trade.amount > 0 for trade in more)
            assert ticker.symbol == symbol
            assert ticker.last > 0
            assert len(book.bids) == len(book.asks) == 5
            before = book.bids
            await asyncio.to_thread(exchange.clock.advance, 5_000)
            (later,) = await take(books, 1)
            assert book.bids == before
            assert later.bids[0][0] < later.asks[0][0]
            for stream in (trades, tickers, books):
                await stream.aclose()

    in_a_loop(source, work)


def test_what_nobody_reads_is_not_subscribed_to(exchange: Simulator) -> None:
    source = source_of(exchange)

    def asked(method: str) -> list[str]:
        return [one.query["params"] for one in exchange.requests if one.query.get("method") == method]

    async def work() -> None:
        first, _ = await opened(source, exchange, "stream_candles", symbol="BTC/USDT", timeframe="1m")
        again, _ = await opened(source, exchange, "stream_candles", symbol="BTC/USDT", timeframe="1m")
        other, _ = await opened(source, exchange, "stream_candles", symbol="ETH/USDT", timeframe="1m")
        assert asked("SUBSCRIBE") == ["btcusdt@kline_1m", "ethusdt@kline_1m"]
        streams = source.plugin.desk.streams
        await first.aclose()
        assert not streams.ending
        await again.aclose()
        await asyncio.wait(streams.ending.values())
        assert asked("UNSUBSCRIBE") == ["btcusdt@kline_1m"]
        assert "1m" not in streams.exchange.ohlcvs["BTC/USDT"]
        await asyncio.to_thread(exchange.clock.advance, 60_000)
        await take(other, 5)
        once_more, _ = await opened(source, exchange, "stream_candles", symbol="BTC/USDT", timeframe="1m")
        assert asked("SUBSCRIBE")[2:] == ["btcusdt@kline_1m"]
        await once_more.aclose()
        await other.aclose()

    in_a_loop(source, work)
    assert len([one for one in exchange.requests if one.status == 101]) == 1


def test_sources_with_the_same_options_share_connections(exchange: Simulator) -> None:
    with follow(exchange, source=source_of(exchange)) as one, follow(exchange, "ETH/USDT", source=source_of(exchange)) as other:
        one.more(1)
        other.more(1)
        assert len([asked for asked in exchange.requests if asked.status == 101]) == 1
    assert not HUB.running
    assert not [thread for thread in threading.enumerate() if thread.name == "cracktrader-hub"]


def test_nothing_is_left_of_streams_that_end_all_at_once(exchange: Simulator) -> None:
    source = source_of(exchange)

    async def work() -> None:
        streams = [
            (await opened(source, exchange, "stream_candles", symbol=symbol, timeframe=timeframe))[0]
            for symbol in ("BTC/USDT", "ETH/USDT") for timeframe in ("1m", "5m")
        ]  # fmt: skip
        for stream in streams:
            await stream.aclose()  # what is to be unsubscribed from has had no time for it

    in_a_loop(source, work)  # looks for tasks
    assert source.plugin.desk.streams.exchange is None


def test_nothing_grows(exchange: Simulator) -> None:
    source = source_of(exchange)

    async def work() -> None:
        candles, _ = await opened(source, exchange, "stream_candles", symbol="BTC/USDT", timeframe="1m")
        trades, _ = await opened(source, exchange, "stream_trades", symbol="BTC/USDT")
        await asyncio.to_thread(exchange.clock.advance, "1h")
        await take(candles, 3_000)
        await take(trades, 3_000)
        ccxts = source.plugin.desk.streams.exchange
        assert len(ccxts.ohlcvs["BTC/USDT"]["1m"]) <= 16
        assert len(ccxts.trades["BTC/USDT"]) <= 16
        assert all(len(client.futures) + len(client.rejections) < 8 for client in ccxts.clients.values())
        await candles.aclose()
        await trades.aclose()

    in_a_loop(source, work)


def test_a_reader_that_is_too_slow_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cracktrader_ccxt.streaming._MOST_WAITING", 3)

    async def work() -> list[Any]:
        reader: Any = Reader(lambda row, _: row)
        for number in range(5):
            reader.put(number)
        got = [await reader.next() for _ in range(3)]
        with pytest.raises(TemporarySourceError, match="waited to be read"):
            await reader.next()
        return got

    assert asyncio.run(work()) == [0, 1, 2]


def test_the_loop_is_held_up_while_the_connection_dies(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(2)
        line.line._job.call(time.sleep, 0.8)  # three minutes of the exchange, in which nobody awaits anything
        time.sleep(0.2)
        exchange.disconnect()
        line.more(5)
    line.check()


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


def refusal(source: ct.Source, hook: str, **arguments: Any) -> CracktraderError:
    async def work() -> CracktraderError:
        with pytest.raises(CracktraderError) as caught:
            await take(source.call(hook, **arguments), 1)
        return caught.value

    error: CracktraderError = in_a_loop(source, work)
    return error


def test_unknown_symbols_and_timeframes(exchange: Simulator) -> None:
    error = refusal(source_of(exchange), "stream_candles", symbol="BTC/USD", timeframe="1m")
    assert isinstance(error, UnknownSymbol)
    assert "BTC/USDT" in error.hint
    assert isinstance(refusal(source_of(exchange), "stream_trades", symbol="XYZ/USDT"), UnknownSymbol)
    error = refusal(source_of(exchange), "stream_candles", symbol="BTC/USDT", timeframe="7m")
    assert isinstance(error, UnsupportedTimeframe)
    assert "no 7m candles" in str(error)


def test_venues_without_candles_or_streams() -> None:
    def of(name: str) -> ct.Source:
        return ct.source("ccxt", exchange=name)

    error = refusal(of("coinbaseexchange"), "stream_candles", symbol="BTC/USD", timeframe="1m")
    assert isinstance(error, UnsupportedTimeframe)
    assert "from_trades=True" in error.hint
    for name in ("bitbns", "zaif"):
        for hook, arguments in (("stream_candles", {"timeframe": "1m"}), ("stream_trades", {})):
            error = refusal(of(name), hook, symbol="BTC/USDT", **arguments)
            assert isinstance(error, NotSupported)
            assert "can't stream" in str(error)


def test_candles_of_an_odd_timeframe_are_made_of_trades(exchange: Simulator) -> None:
    with follow(exchange, timeframe="2m") as line:
        line.more(2)
        assert [asked.query["params"] for asked in exchange.requests if asked.query.get("params")] == ["btcusdt@trade"]
    assert line.failed is None


def test_a_refused_connection_is_tried_again_and_no_secret_is_told(exchange: Simulator) -> None:
    exchange.faults.add(NoStreams())
    url = exchange.url.replace("http://", "ws://somebody:a-password@") + "/stream/ws"
    config = exchange.config("binance", apiKey="an-api-key")
    config["urls"]["api"]["ws"]["spot"] = url
    error = refusal(source_of(exchange, config=config), "stream_candles", symbol="BTC/USDT", timeframe="1m")
    assert isinstance(error, TemporarySourceError)
    assert "503" in str(error)
    assert not {"a-password", "an-api-key"} & set(str(error).replace("@", " ").replace(":", " ").split())


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ("AuthenticationError", PermanentSourceError), ("PermissionDenied", PermanentSourceError),
        ("BadSymbol", UnknownSymbol), ("RateLimitExceeded", TemporarySourceError), ("DDoSProtection", TemporarySourceError),
        ("NetworkError", TemporarySourceError), ("RequestTimeout", TemporarySourceError), ("OnMaintenance", TemporarySourceError),
        ("NotSupported", UnsupportedTimeframe), ("BadRequest", PermanentSourceError), ("ChecksumError", TemporarySourceError),
    ],
)  # fmt: skip
def test_what_ccxt_raises_means(error: str, kind: type[CracktraderError]) -> None:
    import ccxt

    desk = Desk.of(CcxtConfig(exchange="binance", api_key="an-api-key"))

    async def work() -> CracktraderError:
        channel = Channel(desk.streams, ("candles", "BTC/USDT", "1m"))
        channel.task.cancel()
        await asyncio.wait({channel.task})
        judged = desk.streams.judged(getattr(ccxt, error)("binance said an-api-key"), channel)
        channel.streams.worked.add(channel.key)
        assert not isinstance(desk.streams.judged(ccxt.BadRequest("binance"), channel), PermanentSourceError)
        channel.streams.worked.clear()
        return judged

    judged = asyncio.run(work())
    desk.release()
    assert type(judged) is kind
    assert "BTC/USDT" in str(judged)
    assert "an-api-key" not in str(judged)


# ── what exchanges call closed ───────────────────────────────────────────────────────────────────────

# Messages as the exchanges' documents have them; {0} is whether the candle is closed, as the exchange writes it.
MESSAGES: dict[str, tuple[Any, Callable[[bool], Any]]] = {
    "binance": ("BTC/USDT", lambda closed: {"e": "kline", "E": 1, "s": "BTCUSDT", "k": {
        "t": 1717200000000, "T": 1717200059999, "s": "BTCUSDT", "i": "1m", "o": "1", "c": "2", "h": "3", "l": "0.5", "v": "7",
        "x": closed}}),
    "bybit": ("BTC/USDT", lambda closed: {"topic": "kline.1.BTCUSDT", "type": "snapshot", "ts": 1, "data": [
        {"start": 1717200000000, "end": 1717200059999, "interval": "1", "open": "1", "close": "2", "high": "3", "low": "0.5",
         "volume": "7", "turnover": "9", "confirm": closed, "timestamp": 1}]}),
    "okx": ("BTC/USDT", lambda closed: {"arg": {"channel": "candle1m", "instId": "BTC-USDT"}, "data": [
        ["1717200000000", "1", "3", "0.5", "2", "7", "9", "9", "1" if closed else "0"]]}),
}  # fmt: skip


@pytest.mark.parametrize("name", MESSAGES)
def test_the_closed_flag_of_an_exchange_is_kept(name: str) -> None:
    symbol, message = MESSAGES[name]
    url = {"binance": "ws://127.0.0.1/stream/ws/0"}.get(name, "ws://127.0.0.1/v5/public/spot")

    async def work() -> list[Any]:
        exchange = streamed(name, {})
        base, quote = symbol.split("/")
        identity = f"{base}-{quote}" if name == "okx" else f"{base}{quote}"
        exchange.set_markets([
            exchange.safe_market_structure({
                "id": identity, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote, "type": "spot",
                "spot": True, "lowercaseId": identity.lower(),
            })
        ])  # fmt: skip
        desk = type("Desk", (), {"name": name})()
        streams = type("Streams", (), {"exchange": exchange, "desk": desk, "worked": set(), "channels": {}})()
        heard = Reader(lambda row, closed: (list(row), closed))  # type: ignore[arg-type, return-value]
        channel = Channel(streams, ("candles", symbol, "1m"))
        channel.task.cancel()
        channel.readers.append(heard)
        channel.tap()
        client = exchange.client(url)
        for closed in (False, True, False):
            exchange.handle_message(client, message(closed))
        found = [await heard.next() for _ in range(3)]
        await asyncio.wait({channel.task})
        await exchange.close()
        return found

    found = asyncio.run(asyncio.wait_for(work(), 20))
    assert [closed for _, closed in found] == [False, True, False]
    assert {tuple(row) for row, _ in found} == {(1717200000000, 1.0, 3.0, 0.5, 2.0, 7.0)}


def test_messages_that_look_otherwise_call_nothing_closed() -> None:
    for name in ("binance", "bybit", "okx", "aster", "kraken"):
        for message in ({}, {"k": None}, {"k": {"t": "x", "x": True}}, {"data": [{}]}, {"data": [["1"]]}, [], None, "text"):
            assert closed_times(name, message) == frozenset()


def test_the_names_of_timeframes_are_ccxts(exchange: Simulator) -> None:
    with follow(exchange, timeframe="60s", speed=SPEED) as line:
        line.more(1)
    assert line.line.frame == Timeframe("1m")
    line.check()
