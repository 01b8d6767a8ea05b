"""What was recorded is played back: to ccxt, to ccxt.pro and to anything else."""

from __future__ import annotations

import asyncio
import json
import threading
import time

import aiohttp
import ccxt.pro
import pytest
import requests
from simulated import MAY, NOW, records, until

import ccxt
from cracktrader.errors import DataError
from cracktrader_ccxt.simulator import Recorder, Replay, Simulator
from cracktrader_ccxt.simulator.faults import HtmlError
from cracktrader_ccxt.simulator.pointing import config
from cracktrader_ccxt.simulator.replay import read_recording


def test_rest_is_played_back_to_ccxt(tmp_path) -> None:
    def ask(url: str) -> list:
        binance = ccxt.binance({**config("binance", url, ["BTC/USDT"]), "enableRateLimit": False})
        binance.load_markets()
        said = [binance.fetch_ohlcv("BTC/USDT", "1m", since=MAY, limit=5), binance.fetch_time()]
        with pytest.raises(ccxt.ExchangeNotAvailable, match="502"):
            binance.fetch_ticker("BTC/USDT")
        said.append(binance.fetch_ticker("BTC/USDT"))
        binance.session.close()
        return said

    file = tmp_path / "day.jsonl"
    with Simulator(["BTC/USDT"], now=NOW, recording=file) as exchange:
        exchange.faults.add(HtmlError(path="*/24hr", times=1))
        live = ask(exchange.url)
    with Replay(file) as replay:
        assert ask(replay.url) == live
        assert len(replay.requests) == 5
        never = requests.get(replay.url + "/api/v3/depth", params={"symbol": "BTCUSDT"}, timeout=5)
        assert never.status_code == 404


def test_streams_are_played_back_to_pro(tmp_path) -> None:
    async def watch(url: str, exchange: Simulator | None) -> list:
        client = ccxt.pro.binance({**config("binance", url, ["BTC/USDT"]), "enableRateLimit": False})
        try:
            first = asyncio.ensure_future(client.watch_ohlcv("BTC/USDT", "1m"))
            if exchange:
                await until(lambda: exchange.requests.of("*/ws/*", method="SUBSCRIBE"))
                await asyncio.to_thread(exchange.clock.advance, "3m")
            await first
            await until(lambda: len(client.ohlcvs["BTC/USDT"]["1m"]) >= 4)
            await asyncio.sleep(0.1)
            return [list(row) for row in client.ohlcvs["BTC/USDT"]["1m"]]
        finally:
            await client.close()

    file = tmp_path / "day.jsonl"
    with Simulator(["BTC/USDT"], now=NOW, recording=file) as exchange:
        live = asyncio.run(watch(exchange.url, exchange))
        truth = records(exchange.truth("BTC/USDT", "1m", live[0][0], exchange.clock.now).to_records())
    with Replay(file) as replay:
        assert asyncio.run(watch(replay.url, None)) == live
        assert asyncio.run(watch(replay.url, None)) == live, "the last connection is played again and again"
    assert records(live)[: len(truth)] == truth
    assert {line["kind"] for line in read_recording(file)} == {"rest", "open", "client", "server", "close"}


def test_the_pace_the_numbers_and_the_close_are_those_recorded(tmp_path) -> None:
    file = tmp_path / "any.jsonl"
    with Recorder(file) as recorder:
        number = recorder.open("/feed")
        recorder.client(number, '{"op":"hello","id":7}')
        recorder.server(number, '{"ok":true,"id":7}')
        time.sleep(0.3)
        recorder.server(number, "not json at all")
        recorder.end(number, 4000)
        recorder.rest("GET", "/blob", {"a": "1"}, 200, {"X-Kind": "raw"}, b"\xff\x00")

    async def talk(url: str) -> tuple[list, float]:
        async with aiohttp.ClientSession() as session, session.ws_connect(url + "/feed") as socket:
            await socket.send_str('{"op":"hello","id":99}')
            said, began = [await socket.receive()], time.perf_counter()
            said += [await socket.receive(), await socket.receive()]
            return [message.data for message in said], time.perf_counter() - began

    with Replay(file, speed=1) as replay:
        said, took = asyncio.run(talk(replay.url))
        assert json.loads(said[0]) == {"ok": True, "id": 99}
        assert said[1:] == ["not json at all", 4000]
        assert took > 0.25
        blob = requests.get(replay.url + "/blob?a=1", timeout=5)
        assert (blob.content, blob.headers["X-Kind"]) == (b"\xff\x00", "raw")
    with Replay(file) as replay:
        assert asyncio.run(talk(replay.url))[1] < 0.2


def test_a_connection_that_was_not_recorded_is_refused_and_nothing_is_left() -> None:
    before = set(threading.enumerate())
    lines = [{"kind": "open", "at": 0, "path": "/feed", "connection": 1}]

    async def talk(replay: Replay) -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.WSServerHandshakeError):
                await session.ws_connect(replay.url + "/other")
            socket = await session.ws_connect(replay.url + "/feed")
            await asyncio.to_thread(replay.close)
            assert (await socket.receive()).type is aiohttp.WSMsgType.CLOSE

    asyncio.run(talk(Replay(lines).start()))
    assert {thread for thread in threading.enumerate() if not thread.name.startswith("asyncio_")} == before


@pytest.mark.parametrize("line", ["nonsense", '{"kind":"song"}', '{"kind":"rest","path":"/x"}', "[]"])
def test_a_line_that_is_none_is_told_by_its_number(tmp_path, line) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_text('{"kind":"open","at":0,"path":"/feed","connection":1}\n\n' + line + "\n")
    with pytest.raises(DataError, match="Line 3"):
        Replay(file)
