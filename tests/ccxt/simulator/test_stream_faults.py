"""Each scripted fault of streams, as it is met on the wire and by real ccxt.pro."""

from __future__ import annotations

import asyncio
import json
import threading
from itertools import pairwise

import aiohttp
import pytest
from simulated import MINUTE, NOW, records, until, with_pro

import ccxt
from cracktrader.errors import InvalidOption
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator.faults import (
    ClosedFlagLost,
    ClosingLost,
    Delisted,
    Disconnect,
    Frozen,
    Gap,
    Held,
    NoStreams,
    OldCandle,
    Repeated,
    Revision,
    Silence,
    SubscribeRefused,
    Swapped,
)

OPEN = NOW - NOW % MINUTE  # of the bar that is open
CANDLES, TRADES = "btcusdt@kline_1m", "btcusdt@trade"


async def told(exchange: Simulator, minutes: int, *streams: str) -> list[dict]:
    """All messages of some minutes; a close or a reset ends them."""
    messages = []
    async with aiohttp.ClientSession() as session, session.ws_connect(exchange.url + "/stream/ws/1") as socket:
        await socket.send_json({"method": "SUBSCRIBE", "params": streams, "id": 1})
        await socket.receive_json()
        await asyncio.to_thread(exchange.clock.advance, minutes * MINUTE)
        while True:
            try:
                message = await socket.receive(timeout=0.15)
            except TimeoutError:
                return messages
            if message.type is not aiohttp.WSMsgType.TEXT:
                return [*messages, {"e": message.type.name, "code": message.data}]
            messages.append(json.loads(message.data))


def listen(exchange: Simulator, *streams: str, minutes: int = 3) -> list[dict]:
    return asyncio.run(told(exchange, minutes, *streams))


@pytest.fixture
def clean() -> list[dict]:
    """What three minutes tell where nothing goes wrong."""
    with Simulator(now=NOW) as exchange:
        return listen(exchange, CANDLES, TRADES)


def of(messages: list[dict], kind: str) -> list[dict]:
    return [message for message in messages if message["e"] == kind]


def test_a_frozen_stream_is_silent_while_the_other_goes_on(exchange, clean) -> None:
    fault = exchange.faults.add(Frozen(stream="*@kline_1m", start=OPEN + MINUTE, end=OPEN + 2 * MINUTE))
    messages = listen(exchange, CANDLES, TRADES)
    assert of(messages, "trade") == of(clean, "trade")
    lost = [m for m in of(clean, "kline") if OPEN + MINUTE <= m["E"] < OPEN + 2 * MINUTE]
    assert of(messages, "kline") == [m for m in of(clean, "kline") if m not in lost]
    assert exchange.faults.fired(fault) == len(lost) > 0


def test_half_open_silence_says_nothing_and_answers_no_ping(exchange, clean) -> None:
    exchange.faults.add(Silence(start=NOW + 10_000))

    async def run() -> None:
        async with aiohttp.ClientSession() as session:
            socket = await session.ws_connect(exchange.url + "/stream/ws/1", autoping=False)
            await socket.send_json({"method": "SUBSCRIBE", "params": [TRADES], "id": 1})
            await socket.receive_json()
            await socket.ping()
            assert (await socket.receive(timeout=1)).type is aiohttp.WSMsgType.PONG
            await asyncio.to_thread(exchange.clock.advance, 2 * MINUTE)
            before = [m for m in of(clean, "trade") if m["E"] < NOW + 10_000]
            assert [await socket.receive_json() for _ in before] == before
            await socket.ping()
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.15)
            assert not socket.closed
            exchange.faults.clear()
            await socket.ping()
            assert (await socket.receive(timeout=1)).type is aiohttp.WSMsgType.PONG
            await socket.close()

    asyncio.run(run())


def test_the_closing_update_may_be_lost_or_its_flag(exchange, clean) -> None:
    lost = exchange.faults.add(ClosingLost(times=1))
    flag = exchange.faults.add(ClosedFlagLost(times=1))
    candles = of(listen(exchange, CANDLES), "kline")
    closing = [m for m in of(clean, "kline") if m["k"]["x"]]
    assert [m["k"]["t"] for m in candles if m["k"]["x"]] == [closing[2]["k"]["t"]]
    assert closing[0]["k"] not in [m["k"] for m in candles]
    assert closing[1]["k"] | {"x": False} in [m["k"] for m in candles]
    assert exchange.faults.fired(lost) == exchange.faults.fired(flag) == 1


@pytest.mark.parametrize("merged", [False, True])
def test_messages_are_held_and_come_in_one_burst_or_merged(exchange, clean, merged) -> None:
    exchange.faults.add(Held(stream="*kline*", start=OPEN + MINUTE, end=OPEN + 2 * MINUTE, by=20_000, merged=merged))
    candles = of(listen(exchange, CANDLES), "kline")
    all_of_them = of(clean, "kline")
    if merged:
        assert len(candles) < len(all_of_them) - 20
        assert [m for m in all_of_them if m in candles] == candles
    else:
        assert candles == all_of_them


def test_messages_come_twice_or_change_places(exchange, clean) -> None:
    twice = exchange.faults.add(Repeated(stream=TRADES, times=3))
    trades = of(listen(exchange, TRADES), "trade")
    assert len(trades) == len(of(clean, "trade")) + 3
    assert trades[0] == trades[1]
    assert exchange.faults.fired(twice) == 3
    exchange.faults.clear()
    exchange.clock.set(NOW)
    exchange.faults.add(Swapped(stream=TRADES, times=2))
    trades = of(listen(exchange, TRADES), "trade")
    expected = of(clean, "trade")
    expected[0:4] = [expected[1], expected[0], expected[3], expected[2]]
    assert trades == expected


def test_an_older_candle_comes_once_more(exchange, clean) -> None:
    exchange.faults.add(OldCandle(times=1))
    opens = [m["k"]["t"] for m in of(listen(exchange, CANDLES), "kline")]
    back = [place for place, (a, b) in enumerate(pairwise(opens)) if b < a]
    assert len(back) == 1
    assert opens[back[0] + 1] == OPEN
    assert len(opens) == len(of(clean, "kline")) + 1


def test_late_trades_revise_a_bar_that_was_closed(exchange) -> None:
    truth = None
    exchange.faults.add(Revision(symbol="BTC/USDT", start=OPEN + MINUTE, end=OPEN + 2 * MINUTE + 30_000, trades=4))
    messages = listen(exchange, CANDLES, TRADES)
    truth = records(exchange.truth("BTC/USDT", "1m", OPEN, exchange.clock.now).to_records())
    closed = [(m["k"]["t"], *(float(m["k"][name]) for name in "ohlcv")) for m in of(messages, "kline") if m["k"]["x"]]
    assert [a == b for a, b in zip(closed, truth, strict=True)] == [True, False, True]
    late = [m for m in of(messages, "trade") if m["E"] != m["T"]]
    assert len(late) == 4
    assert {m["E"] for m in late} == {OPEN + 2 * MINUTE + 30_000}
    assert all(OPEN + MINUTE <= m["T"] < OPEN + 2 * MINUTE for m in late)
    volume = sum(float(m["q"]) for m in of(messages, "trade") if OPEN + MINUTE <= m["T"] < OPEN + 2 * MINUTE)
    assert volume == pytest.approx(truth[1][5])


def test_a_gap_and_a_delisting_fall_silent(exchange) -> None:
    exchange.faults.add(Gap(symbol="BTC/USDT", start=OPEN + MINUTE, end=OPEN + 2 * MINUTE))
    exchange.faults.add(Delisted(symbol="BTC/USDT", start=OPEN + 4 * MINUTE))
    messages = listen(exchange, CANDLES, TRADES, minutes=6)
    assert {m["k"]["t"] for m in of(messages, "kline") if m["k"]["x"]} == {OPEN, OPEN + 2 * MINUTE, OPEN + 3 * MINUTE}
    assert max(m["T"] for m in of(messages, "trade")) < OPEN + 4 * MINUTE


def test_a_gap_added_on_the_way_counts_from_then_on(exchange) -> None:
    async def run() -> list[dict]:
        task = asyncio.ensure_future(told(exchange, 1, TRADES))
        await until(lambda: exchange.clock.now > NOW)
        await asyncio.to_thread(exchange.faults.add, Gap(symbol="BTC/USDT", start=OPEN + MINUTE, end=OPEN + 5 * MINUTE))
        return await task

    asyncio.run(run())
    exchange.clock.set(NOW)
    messages = listen(exchange, TRADES)
    assert max(m["T"] for m in messages) < OPEN + MINUTE


@pytest.mark.parametrize("clean_close", [True, False])
def test_a_connection_is_closed_or_reset_at_its_time(exchange, clean, clean_close) -> None:
    fault = exchange.faults.add(Disconnect(start=OPEN + MINUTE, clean=clean_close))
    messages = listen(exchange, TRADES)
    before = [m for m in of(clean, "trade") if m["E"] < OPEN + MINUTE]
    assert messages[-1]["e"] in (("CLOSE",) if clean_close else ("ERROR", "CLOSED", "CLOSING", "CLOSE"))
    if clean_close:
        assert messages[:-1] == before
        assert messages[-1]["code"] == 1001
    assert exchange.faults.fired(fault) == 1
    assert exchange.streams.connections == set()


def test_pro_hears_of_a_close_and_of_a_reset_and_connects_again(exchange) -> None:
    async def watch(client):
        for clean in (True, False):
            first = asyncio.ensure_future(client.watch_trades("BTC/USDT"))
            await until(lambda: exchange.streams.connections)
            await asyncio.to_thread(exchange.clock.advance, 3_000)
            await first
            await asyncio.sleep(0.1)  # until the other trades of these seconds have come
            waiting = asyncio.ensure_future(client.watch_trades("BTC/USDT"))
            await asyncio.sleep(0.05)
            assert await asyncio.to_thread(exchange.disconnect, clean=clean, stream="btcusdt@*") == 1
            with pytest.raises(ccxt.NetworkError):
                await waiting
        return len(exchange.requests.of("*/ws/*", method="SUBSCRIBE"))

    assert with_pro(exchange, watch) == 2


def test_a_restart_keeps_the_port_and_loses_the_subscriptions(exchange) -> None:
    async def watch(client):
        first = asyncio.ensure_future(client.watch_ohlcv("BTC/USDT", "1m"))
        await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
        await asyncio.to_thread(exchange.restart, 0.1)
        with pytest.raises(ccxt.NetworkError):
            await first
        assert exchange.streams.connections == set()
        again = asyncio.ensure_future(client.watch_ohlcv("BTC/USDT", "1m"))
        await until(lambda: len(exchange.requests.of("*/ws/*", method="SUBSCRIBE")) == 2)
        await asyncio.to_thread(exchange.clock.advance, 5_000)
        return await again

    assert with_pro(exchange, watch)[-1][0] == OPEN


def test_a_subscription_or_a_connection_is_refused(exchange) -> None:
    async def watch(client):
        exchange.faults.add(SubscribeRefused(stream="btcusdt@*", times=1))
        with pytest.raises(ccxt.ExchangeError):
            await asyncio.wait_for(client.watch_trades("BTC/USDT"), 2)
        assert exchange.requests.of("*/ws/*", method="SUBSCRIBE")[0].faults == ("SubscribeRefused",)

    with_pro(exchange, watch)

    async def refused(client):
        fault = exchange.faults.add(NoStreams(times=1))
        with pytest.raises(ccxt.NetworkError):
            await asyncio.wait_for(client.watch_trades("BTC/USDT"), 2)
        assert exchange.faults.fired(fault) == 1

    with_pro(exchange, refused)


def test_a_disconnect_needs_its_time() -> None:
    with pytest.raises(InvalidOption, match="needs start="):
        Disconnect()


def test_closing_with_listeners_leaves_nothing_behind() -> None:
    before = set(threading.enumerate())

    async def run(exchange: Simulator) -> None:
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(f"{exchange.url}/stream/ws/{number}") for number in range(5)]
            for socket in sockets:
                await socket.send_json({"method": "SUBSCRIBE", "params": [CANDLES, "ethusdt@depth@100ms"], "id": 1})
                await socket.receive_json()
            await asyncio.to_thread(exchange.clock.run, 100)
            await sockets[0].receive()
            await asyncio.to_thread(exchange.close)
            kinds = {(await socket.receive()).type for socket in sockets for _ in range(1)}
            assert kinds
            for socket in sockets:
                await socket.close()

    exchange = Simulator(now=NOW).start()
    asyncio.run(run(exchange))
    after = {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")}
    assert after == before
