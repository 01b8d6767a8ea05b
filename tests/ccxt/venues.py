"""Exchanges that are unlike Binance, as real ccxt asks them: their candles by their own rules, on loopback."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

import cracktrader as ct
from cracktrader.times import isoformat, parse_time

__all__ = ["HOUR", "MINUTE", "START", "Venue"]

MINUTE, HOUR = 60_000, 3_600_000
START = 1_704_067_200_000  # 2024-01-01
_SECONDS = {"1m": 60, "5m": 300, "15m": 900, "30m": 1800, "1h": 3600, "4h": 14400, "6h": 21600, "1d": 86400}


class Venue:
    """An exchange with ``hours`` hours of BTC/USDT from 2024 on, and the hour after them still open.

    ``gone`` are hours without bars, ``ignores_since`` how many of its latest candles it sends whatever it is asked for,
    ``since`` how it understands a start, ``day_opens`` the hour at which its days open, ``volume`` whether its candles have one.
    ``trades`` is how many trades there are, ``at_once`` how many a page of them holds, ``bunched`` how many some moments have.
    """

    def __init__(
        self,
        name: str,
        *,
        hours: int,
        gone: range = range(0),
        ignores_since: int | None = None,
        since: str = "inclusive",
        day_opens: int = 0,
        volume: bool = True,
        trades: int = 0,
        at_once: int = 1000,
        bunched: int = 3,
    ) -> None:
        rng = np.random.default_rng(5)
        close = 100 + rng.integers(-200, 201, hours + 1).cumsum() / 100
        kept = ~np.isin(np.arange(hours + 1), gone)
        self.bars = ct.Bars(START + HOUR * np.arange(hours + 1), close, close + 0.25, close - 0.25, close + 0.125,
                            rng.integers(1, 999, hours + 1) / 8, symbol="BTC/USDT", timeframe="1h")[kept]  # fmt: skip
        self.now = START + hours * HOUR + HOUR // 2
        self.name, self.ignores_since, self.since, self.day_opens, self.volume = name, ignores_since, since, day_opens, volume
        self.requests: list[str] = []
        moments = START + np.sort(rng.integers(0, 8 * HOUR, max(1, trades // 2)))
        self.at_once = at_once
        self.trades = [(int(moment), 100 + int(rng.integers(0, 500)) / 100, int(rng.integers(1, 99)) / 8, "bs"[number % 2])
                       for moment in moments for number in range(int(rng.integers(1, bunched + 1)))][:trades]  # fmt: skip
        self._answer = getattr(self, f"_{name}")

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def load(self, **options: Any) -> ct.Bars:
        """Hours of BTC/USDT through real ccxt."""
        usual = {"exchange": self.name, "symbol": "BTC/USDT", "timeframe": "1h", "catalog": False, "validation": "off",
                 "backoff": 0.01, "config": self.config()}  # fmt: skip
        return ct.load("ccxt", **usual | options)

    def config(self) -> dict[str, Any]:
        """Every address of the exchange, here."""
        import ccxt

        def here(urls: Any) -> Any:
            return {key: here(value) for key, value in urls.items()} if isinstance(urls, dict) else self.url

        return {"enableRateLimit": False, "urls": {"api": here(getattr(ccxt, self.name)().urls["api"])}}

    def truth(self, first: int, stop: int) -> ct.Bars:
        """The bars of the hours from ``first`` to ``stop``."""
        bars = self.bars.between(START + first * HOUR, START + stop * HOUR, unit="ms")
        return bars if self.volume else bars.but(volume=np.zeros(len(bars)))

    def bars_of_trades(self, timeframe: str, start: int, end: int) -> ct.Bars:
        """Bars of all trades in a range."""
        inside = [trade for trade in self.trades if start <= trade[0] < end]
        moment, price, amount, side = zip(*inside, strict=True)
        columns = {"timestamp": np.array(moment, "datetime64[ms]"), "price": price, "amount": amount, "side": list(side)}
        return ct.Bars.from_trades(columns, symbol="BTC/USDT", timeframe=timeframe, start=start, end=end)

    def iso(self, hour: int) -> str:
        return isoformat(START + hour * HOUR)

    def asked(self, word: str) -> list[str]:
        return [path for path in self.requests if word in path]

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────

    def __enter__(self) -> Venue:
        venue = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1

            def do_GET(self) -> None:
                asked = urlsplit(self.path)
                venue.requests.append(self.path)
                body = json.dumps(venue._answer(asked.path, dict(parse_qsl(asked.query)))).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def date_time_string(self, timestamp: Any = None) -> str:
                return super().date_time_string(venue.now / 1000)

            def log_message(self, *said: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # ── the exchanges ────────────────────────────────────────────────────────────────────────────────

    def _of(self, frame: str) -> ct.Bars:
        """All bars of a timeframe, the open one too."""
        bars = self.bars if frame == "1h" else self.bars.resample(frame)
        if frame == "1d" and self.day_opens:
            moved = self.bars.but(time=self.bars.time - self.day_opens * HOUR).resample("1d")
            bars = moved.but(time=moved.time + self.day_opens * HOUR)
        return bars

    def _rows(self, frame: str) -> list[list[Any]]:
        return [list(row) for row in self._of(frame).to_records()]

    def _kraken(self, path: str, said: dict[str, str]) -> Any:
        """The latest 720 after ``since``, which is in seconds and exclusive."""
        if path.endswith("Time"):
            return {"error": [], "result": {"unixtime": self.now // 1000}}
        if path.endswith("OHLC"):
            rows = self._rows(_named(int(said["interval"]) * 60))[-720:]
            rows = [row for row in rows if row[0] > 1000 * int(said.get("since", 0))]
            result = {"XBTUSDT": [[row[0] // 1000, *map(str, row[1:5]), "0", str(row[5]), 1] for row in rows], "last": 0}
            return {"error": [], "result": result}
        if path.endswith("Trades"):
            since, count = int(said.get("since", 0)), min(int(said.get("count", 1000)), self.at_once)
            listed = [(place, trade) for place, trade in enumerate(self.trades, 1) if trade[0] > 1000 * since]
            listed = listed[:count] if "since" in said else listed[-count:]
            rows = [[str(price), str(amount), moment / 1000, side, "l", "", place]
                    for place, (moment, price, amount, side) in listed]  # fmt: skip
            return {"error": [], "result": {"XBTUSDT": rows, "last": str(listed[-1][1][0] * 10**6 if listed else since)}}
        if path.endswith("AssetPairs"):
            pair = {"altname": "XBTUSDT", "wsname": "XBT/USDT", "base": "XXBT", "quote": "USDT", "pair_decimals": 1,
                    "cost_decimals": 5, "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
                    "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "ordermin": "0.0001", "costmin": "0.5", "tick_size": "0.1",
                    "status": "online"}  # fmt: skip
            return {"error": [], "result": {"XBTUSDT": pair}}
        return {"error": [], "result": {}}

    def _binancecoinm(self, path: str, said: dict[str, str]) -> Any:
        """The first ``limit`` candles between ``startTime`` and ``endTime``, of one coin-margined swap."""
        if path.endswith("klines"):
            start, end = int(said.get("startTime", 0)), int(said.get("endTime", self.now))
            rows = [row for row in self._rows(said["interval"]) if start <= row[0] <= end][: int(said["limit"])]
            return [[row[0], *map(str, row[1:5]), "0", row[0] + HOUR - 1, str(row[5]), 1, "0", "0", "0"] for row in rows]
        if path.endswith("time"):
            return {"serverTime": self.now}
        if path.endswith("exchangeInfo"):
            swap = {"symbol": "BTCUSD_PERP", "pair": "BTCUSD", "contractType": "PERPETUAL", "deliveryDate": 4133404800000,
                    "onboardDate": START, "contractStatus": "TRADING", "contractSize": 100, "marginAsset": "BTC",
                    "baseAsset": "BTC", "quoteAsset": "USD", "pricePrecision": 1, "quantityPrecision": 0,
                    "baseAssetPrecision": 8, "quotePrecision": 8, "filters": [], "orderTypes": [], "timeInForce": []}  # fmt: skip
            return {"timezone": "UTC", "serverTime": self.now, "rateLimits": [], "symbols": [swap]}
        return []

    def _coinbaseexchange(self, path: str, said: dict[str, str]) -> Any:
        """Both ends inclusive, newest first, at most 300; nothing where there is nothing."""
        if path.endswith("/time"):
            return {"iso": isoformat(self.now), "epoch": self.now / 1000}
        if path.endswith("/candles"):
            start, end = parse_time(said["start"]), parse_time(said["end"])
            rows = [row for row in self._rows(_named(int(said["granularity"]))) if start <= row[0] <= end]
            return [[row[0] // 1000, row[3], row[2], row[1], row[4], row[5]] for row in rows[-300:][::-1]]
        return [{"id": "BTC-USDT", "base_currency": "BTC", "quote_currency": "USDT", "quote_increment": "0.01",
                 "base_increment": "0.00000001", "status": "online", "trading_disabled": False,
                 "min_market_funds": "1"}]  # fmt: skip

    def _whitebit(self, path: str, said: dict[str, str]) -> Any:
        """The first ``limit`` candles from ``start`` on, by whatever rule this venue was made with."""
        if path.endswith("time"):
            return {"time": self.now // 1000}
        if path.endswith("kline"):
            frame = said["interval"]
            rows = self._rows(frame)
            start, limit = 1000 * int(said.get("start", 0)), int(said.get("limit", 1440))
            if self.ignores_since is not None:
                rows = rows[-self.ignores_since :]
            else:
                step = 1000 * _SECONDS[frame] if frame in _SECONDS else 1
                start += {"inclusive": 0, "exclusive": 1, "rounded up": step // 2, "rounded down": -step // 2}[self.since]
                rows = [row for row in rows if row[0] >= start][:limit]
            return {"success": True, "message": None, "result": [
                [row[0] // 1000, str(row[1]), str(row[4]), str(row[2]), str(row[3]), str(row[5]) if self.volume else None, "0"]
                for row in rows]}  # fmt: skip
        if path.endswith("markets"):
            return [{"name": "BTC_USDT", "stock": "BTC", "money": "USDT", "stockPrec": "6", "moneyPrec": "2", "feePrec": "4",
                     "makerFee": "0.1", "takerFee": "0.1", "minAmount": "0.001", "minTotal": "5", "tradesEnabled": True,
                     "isCollateral": True, "type": "spot", "maxTotal": "1000000"}]  # fmt: skip
        return {"result": []}


def _named(seconds: int) -> str:
    return next((name for name, length in _SECONDS.items() if length == seconds), str(ct.Timeframe(f"{seconds // 60}m")))


Answers = Callable[[str, dict[str, str]], Any]
