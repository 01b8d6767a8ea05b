"""The contract, run for the HTTP source: an API asked by time, in windows side by side, and by pages, newest first."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.testing import SECRET, SourceContract

pytest.importorskip("cracktrader_http", reason="cracktrader-http is not installed")

HOUR = 3_600_000
START = 1_704_067_200_000


def series(symbol: str, seed: int) -> ct.Bars:
    """A random walk from 2024-01-01, of four days with a hole of two hours."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-200, 201, 96).cumsum() / 100
    bars = ct.Bars(START + HOUR * np.arange(96), close, close + 0.25, close - 0.25, close + 0.125, rng.integers(1, 999, 96) / 8,
                   symbol=symbol, timeframe="1h")  # fmt: skip
    return bars[np.arange(96) // 2 != 20]


MARKET = {bars.symbol.replace("/", ""): bars for bars in (series("BTC/USDT", 1), series("ETH/USDT", 2))}


class Api(BaseHTTPRequestHandler):
    """Two ways to ask for the same candles, at most ten at once."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet

    def do_GET(self) -> None:
        asked = urlsplit(self.path)
        said = dict(parse_qsl(asked.query))
        if said["market"] not in MARKET:
            self.answer(400, {"code": -1121, "msg": "Invalid symbol."})
            return
        bars = MARKET[said["market"]]
        bars = bars.between(int(said.get("from", 0)), int(said.get("to", 1 << 42)), unit="ms")
        size = min(int(said.get("limit", 10)), 10)
        if asked.path == "/pages":
            page = int(said["page"])
            rows = bars.to_records()[::-1][size * page : size * (page + 1)]
            names = ("t", "o", "h", "l", "c", "v")
            self.answer(200, {"data": [{name: str(value) for name, value in zip(names, row, strict=True)} for row in rows]})
        else:
            self.answer(200, bars.to_records()[:size])

    def answer(self, status: int, value: Any) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: Any) -> None:
        pass


@pytest.fixture(scope="module")
def api() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class HttpContract(SourceContract):
    name = "http"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T12:00", "2024-01-04T06:00"
    expected: ClassVar[ct.Bars] = MARKET["BTCUSDT"].between(start, end)
    other_symbol = "ETH/USDT"
    chunk_option, chunk_values = "page_size", (1, 7, 1000)
    secret_options: ClassVar = {
        "headers": {"X-Access-Token": SECRET},
        "auth": {"kind": "basic", "username": "me", "password": SECRET},
    }
    options: ClassVar[dict[str, Any]] = {}
    path = "/range"

    @pytest.fixture
    def make_source(self, api: str) -> Callable[..., ct.Source]:
        usual = {
            "url": f"{api}{self.path}",
            "params": {"market": "{symbol}", "from": "{start}", "to": "{end}", "limit": "{limit}"},
            "symbol_format": "{base}{quote}",
            "timeframes": {"1h": "60"},
            "backoff": 0.01,
        }
        return lambda **options: ct.source("http", **{**usual, **self.options, **options})


class TestByTime(HttpContract):
    pass


class TestWindowsSideBySide(HttpContract):
    options: ClassVar = {"concurrency": 4, "window": 96, "earliest": "2023-12-20", "newest_first": False}
    chunk_values = (3, 50)


class TestPagesNewestFirst(HttpContract):
    path = "/pages"
    options: ClassVar = {
        "params": {"market": "{symbol}", "page": "{page}", "limit": "{limit}"},
        "first_page": 0,
        "records": "data",
        "newest_first": True,
    }
