"""Unmodified ccxt.pro against the simulator: every stream agrees with REST and with the truth."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import numpy as np
import pytest
from simulated import MINUTE, NOW, records, until, with_pro

import cracktrader as ct
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator.faults import Gap, Outage, Revision


async def raw(exchange: Simulator, *streams: str, path: str = "/stream/ws/1"):
    """A plain connection that listens; the session and the socket."""
    session = aiohttp.ClientSession()
    socket = await session.ws_connect(exchange.url + path)
    await socket.send_json({"method": "SUBSCRIBE", "params": list(streams), "id": 1})
    assert (await socket.receive_json()) == {"result": None, "id": 1}
    return session, socket


async def told(exchange: Simulator, steps: int, by: int, *streams: str, path: str = "/stream/ws/1") -> list[dict]:
    """All messages while the clock moves on."""
    session, socket = await raw(exchange, *streams, path=path)
    messages = []
    async with session, socket:
        for _ in range(steps):
            await asyncio.to_thread(exchange.clock.advance, by)
            await asyncio.sleep(0)
        while True:
            try:
                messages.append(json.loads((await socket.receive(timeout=0.1)).data))
            except TimeoutError:
                return messages


def candle(message: dict) -> tuple[float, ...]:
    k = message["k"]
    return (k["t"], *(float(k[name]) for name in "ohlcv"))


@pytest.mark.parametrize("symbol", ["BTC/USDT", "BTC/USDT:USDT"])
def test_watched_candles_end_as_the_truth(exchange, symbol) -> None:
    async def watch(client):
        first = asyncio.ensure_future(client.watch_ohlcv(symbol, "1m"))
        await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
        for _ in range(6):
            await asyncio.to_thread(exchange.clock.advance, 30_000)
        await first
        await until(lambda: len(client.ohlcvs[symbol]["1m"]) >= 4)
        await asyncio.sleep(0.05)
        return [list(row) for row in client.ohlcvs[symbol]["1m"]]

    rows = with_pro(exchange, watch)
    assert records(rows[:-1]) == records(exchange.truth(symbol, "1m", rows[0][0], exchange.clock.now).to_records())
    assert len(rows) >= 4


def test_watched_trades_are_those_of_rest(exchange, client) -> None:
    async def watch(pro):
        trades = []

        async def collect() -> None:
            while True:
                trades.extend(dict(trade) for trade in await pro.watch_trades("ETH/USDT"))

        task = asyncio.ensure_future(collect())
        await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
        await asyncio.to_thread(exchange.clock.advance, "3m")
        await asyncio.sleep(0.2)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return trades

    trades = with_pro(exchange, watch)
    page = client().fetch_trades("ETH/USDT", since=NOW + 1, limit=1000)
    assert [trade["id"] for trade in trades] == [trade["id"] for trade in page]
    whole = [trade for trade in trades if trade["timestamp"] >= NOW - NOW % MINUTE + MINUTE]
    made = ct.Bars.from_trades(whole, symbol="ETH/USDT", timeframe="1m")
    truth = exchange.truth("ETH/USDT", "1m", made.time[0], exchange.clock.now)
    assert records(made.to_records())[: len(truth)] == records(truth.to_records())


@pytest.mark.parametrize("symbol", ["BTC/USDT", "ETH/USDT:USDT"])
def test_the_watched_book_stays_that_of_rest(exchange, symbol) -> None:
    async def watch(client):
        first = asyncio.ensure_future(client.watch_order_book(symbol))
        await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
        for _ in range(40):
            await asyncio.to_thread(exchange.clock.advance, 700)
            await asyncio.sleep(0.005)
        await first
        await asyncio.to_thread(exchange.clock.advance, 250)
        await asyncio.sleep(0.1)
        mine, theirs = client.orderbooks[symbol], await client.fetch_order_book(symbol, 1000)
        return [[list(map(list, book[side]))[:200] for side in ("bids", "asks")] + [book["nonce"]] for book in (mine, theirs)]

    mine, theirs = with_pro(exchange, watch)
    assert mine == theirs
    assert len(mine[0]) == 200


def test_watched_ticker_and_best_prices(exchange) -> None:
    async def watch(client):
        waiting = [
            asyncio.ensure_future(work) for work in (client.watch_ticker("BTC/USDT"), client.watch_bids_asks(["BTC/USDT"]))
        ]
        await until(lambda: len(exchange.requests.of("*/ws/*", method="SUBSCRIBE")) == 2)
        await asyncio.to_thread(exchange.clock.advance, 5_000)
        ticker, best = await asyncio.gather(*waiting)
        return ticker, best["BTC/USDT"], await client.fetch_ticker("BTC/USDT")

    ticker, best, rest = with_pro(exchange, watch)
    assert ticker["high"] == rest["high"]
    assert best["bid"] < best["ask"]


def test_a_candle_is_told_as_trades_happen_and_once_as_closed(exchange) -> None:
    messages = asyncio.run(told(exchange, 9, 20_000, "btcusdt@kline_1m", "btcusdt@trade", "btcusdt@aggTrade"))
    candles = [message for message in messages if message["e"] == "kline"]
    closed = [message for message in candles if message["k"]["x"]]
    assert [candle(message) for message in closed] == records(
        exchange.truth("BTC/USDT", "1m", NOW - NOW % MINUTE, exchange.clock.now).to_records()
    )
    assert [message["E"] for message in closed] == [candle(message)[0] + MINUTE for message in closed]
    assert [message["E"] for message in messages] == sorted(message["E"] for message in messages)
    assert len(candles) > 60
    trades = [(m["t"], m["p"], m["q"], m["T"], m["m"]) for m in messages if m["e"] == "trade"]
    assert trades == [(m["a"], m["p"], m["q"], m["T"], m["m"]) for m in messages if m["e"] == "aggTrade"]
    last = next(message for message in reversed(messages) if message["e"] == "kline" and not message["k"]["x"])
    count = sum(last["k"]["t"] <= m["T"] <= last["E"] for m in messages if m["e"] == "trade")
    assert count == last["k"]["n"]


def test_a_minute_without_a_trade_tells_nothing(exchange) -> None:
    messages = asyncio.run(told(exchange, 20, MINUTE, "xmrbtc@kline_1m"))
    closed = [candle(message) for message in messages if message["k"]["x"]]
    truth = exchange.truth("XMR/BTC", "1m", NOW - NOW % MINUTE, exchange.clock.now)
    assert closed == records(truth.to_records())
    assert 0 < len(closed) < 20


def test_seconds_and_hours_close_on_their_grids(exchange) -> None:
    messages = asyncio.run(told(exchange, 27, MINUTE, "btcusdt@kline_1h", "btcusdt@kline_1s"))
    for timeframe in ("1h", "1s"):
        closed = [candle(m) for m in messages if m["k"]["x"] and m["k"]["i"] == timeframe]
        truth = exchange.truth("BTC/USDT", timeframe, ct.Timeframe(timeframe).floor(NOW), exchange.clock.now)
        assert closed == records(truth.to_records())
        assert closed


def test_the_same_steps_or_one_leap_tell_the_same(exchange) -> None:
    streams = ("btcusdt@kline_1m", "ethusdt@trade", "btcusdt@depth@100ms", "solusdt@bookTicker", "ethusdt@miniTicker")
    small = asyncio.run(told(exchange, 120, 1_000, *streams))
    with Simulator(now=NOW, weight_limit=0) as other:
        leap = asyncio.run(told(other, 1, 120_000, *streams))
    assert small == leap
    assert len(small) > 300


def test_unsubscribed_streams_fall_silent_and_unknown_ones_are(exchange) -> None:
    async def run():
        session, socket = await raw(exchange, "btcusdt@trade", "nosuch@trade", "btcusdt@nonsense")
        async with session, socket:
            await socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": 2})
            assert (await socket.receive_json())["result"] == ["btcusdt@nonsense", "btcusdt@trade", "nosuch@trade"]
            await socket.send_json({"method": "UNSUBSCRIBE", "params": ["btcusdt@trade"], "id": 3})
            assert (await socket.receive_json()) == {"result": None, "id": 3}
            await socket.send_json({"method": "NONSENSE", "id": 4})
            assert (await socket.receive_json())["error"]["code"] == 2
            await socket.send_str("nonsense")
            assert (await socket.receive_json())["error"]["code"] == 2
            await asyncio.to_thread(exchange.clock.advance, "1m")
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.1)

    asyncio.run(run())
    assert exchange.streams.sent == {}


def test_a_clock_that_runs_drives_the_streams(exchange) -> None:
    async def watch(client):
        first = asyncio.ensure_future(client.watch_ohlcv("BTC/USDT", "1m"))
        await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
        await asyncio.to_thread(exchange.clock.run, 600)
        await first
        await until(lambda: len(client.ohlcvs["BTC/USDT"]["1m"]) >= 4)
        await asyncio.to_thread(exchange.clock.pause)
        await asyncio.sleep(0.05)
        return [list(row) for row in client.ohlcvs["BTC/USDT"]["1m"]]

    rows = with_pro(exchange, watch)
    assert records(rows[:-1]) == records(exchange.truth("BTC/USDT", "1m", rows[0][0], rows[-1][0]).to_records())


def test_the_clock_can_be_set_back(exchange) -> None:
    before = asyncio.run(told(exchange, 1, 60_000, "btcusdt@trade"))

    async def again():
        session, socket = await raw(exchange, "btcusdt@trade")
        async with session, socket:
            await asyncio.to_thread(exchange.clock.set, NOW)
            await asyncio.to_thread(exchange.clock.advance, 60_000)
            return [await socket.receive_json() for _ in before]

    assert asyncio.run(again()) == before


def test_two_hundred_symbols_at_once() -> None:
    symbols = [f"C{number:03d}/USDT" for number in range(200)]
    with Simulator(symbols, now=NOW, weight_limit=0) as exchange:
        streams = [f"c{number:03d}usdt@{kind}" for number in range(200) for kind in ("kline_1m", "trade")]
        messages = asyncio.run(told(exchange, 2, 30_000, *streams))
        trades = [message for message in messages if message["e"] == "trade"]
        assert len({message["s"] for message in trades}) > 150
        assert sum(exchange.streams.sent.values()) == len(messages)


@pytest.mark.parametrize("seed", range(3))
def test_every_closing_candle_is_what_was_known_then_whatever_happens(seed) -> None:
    random = np.random.default_rng(seed)
    opens = NOW - NOW % MINUTE

    def moment() -> int:
        return int(opens + random.integers(0, 60) * MINUTE)

    async def run(exchange: Simulator) -> list[dict]:
        names = [f"{name}@kline_{interval}" for name in ("btcusdt", "dogeusdt") for interval in ("1m", "5m", "1h")]
        session, socket = await raw(exchange, *names)
        async with session, socket:
            while exchange.clock.now < NOW + 3_600_000:
                await asyncio.to_thread(exchange.clock.advance, int(random.integers(1, 200_000)))
            messages = []
            while True:
                try:
                    messages.append(json.loads((await socket.receive(timeout=0.2)).data))
                except TimeoutError:
                    return messages

    with Simulator(now=NOW, weight_limit=0, seed=seed, candles_every=5_000) as exchange:
        for _ in range(4):
            minute = moment()
            exchange.faults.add(
                Gap(symbol="BTC/USDT", start=moment(), end=moment()), Outage(start=minute, end=minute + 3 * MINUTE)
            )
            minute = moment()
            exchange.faults.add(Revision(symbol="BTC/USDT", start=minute, end=minute + int(random.integers(0, 5)) * 45_000))
        closed = [message for message in asyncio.run(run(exchange)) if message["k"]["x"]]
        for message in closed:
            symbol = {"BTCUSDT": "BTC/USDT", "DOGEUSDT": "DOGE/USDT"}[message["s"]]
            frame, time = ct.Timeframe(message["k"]["i"]), message["k"]["t"]
            (row,) = zip(*exchange.venue.candles(symbol, frame, time, frame.next(time), frame.next(time) - 1), strict=True)
            steps = exchange.venue.steps[symbol]
            prices = [float(message["k"][name]) * 10**steps.tick_digits / steps.tick_units for name in "ohlc"]
            assert [round(price) for price in prices] == list(row[1:5])
            assert round(float(message["k"]["v"]) * 10**steps.lot_digits / steps.lot_units) == row[5]
            assert message["k"]["n"] == row[6]
        assert len(closed) > 60
