"""A server on loopback that does what a test tells it: answers, lies, breaks off, is late."""

from __future__ import annotations

import contextlib
import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np

import cracktrader as ct

HOUR = 3_600_000
START = 1_704_067_200_000  # 2024-01-01


def make_bars(rows: int = 48, symbol: str = "BTC/USDT", timeframe: str = "1h", start: int = START) -> ct.Bars:
    """A random walk with prices of many digits."""
    rng = np.random.default_rng(rows)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1e-3, rows)))
    open_ = np.concatenate([[100.0], close[:-1]])
    high, low = np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999
    time = start + (ct.Timeframe(timeframe).step or 0) * np.arange(rows)
    return ct.Bars(time, open_, high, low, close, rng.random(rows) + 1, symbol=symbol, timeframe=timeframe)


@dataclass
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes


@dataclass
class Said:
    """What to answer; ``cut`` bytes are kept back and the connection is broken off, ``late`` seconds are waited."""

    body: Any = b""  #: bytes, a value for JSON, or an iterator of bytes that are sent as they come
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    late: float = 0
    drop: bool = False


class Server:
    """``server.on("/path", function)``: the function gets an :class:`Asked` and returns a :class:`Said` or a value for JSON."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[Asked] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._routes: dict[str, Callable[[Asked], Any]] = {}
        self._stopped = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = -1  # head and body in one packet

            def handle_one(self) -> None:
                outer._serve(self)

            do_GET = do_POST = handle_one

            def log_message(self, *said: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
            self._server.handle_error = lambda *of: None  # type: ignore[method-assign]  # a client that trusts us not hangs up
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self._server.server_port}"

    def on(self, path: str, answer: Callable[[Asked], Any] | Any) -> str:
        self._routes[path] = answer if callable(answer) else lambda asked: answer
        return self.url + path

    def in_turn(self, path: str, answers: Iterable[Any]) -> str:
        """One answer after the other; the last one for ever."""
        left = list(answers)
        return self.on(path, lambda asked: left.pop(0) if len(left) > 1 else left[0])

    def close(self) -> None:
        self._stopped.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        headers = {name.lower(): value for name, value in handler.headers.items()}
        asked = Asked(handler.command, parts.path, dict(parse_qsl(parts.query, keep_blank_values=True)), headers, body)
        with self._lock:
            self.asked.append(asked)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            route = self._routes.get(parts.path)
            said = Said(b"no such page", 404) if route is None else route(asked)
            self._say(handler, said if isinstance(said, Said) else Said(said))
        finally:
            with self._lock:
                self._at_once -= 1

    def _say(self, handler: BaseHTTPRequestHandler, said: Said) -> None:
        if said.late:
            self._stopped.wait(said.late)
        if said.drop:
            handler.close_connection = True
            handler.connection.close()
            return
        if isinstance(said.body, Iterator):
            self._say_bit_by_bit(handler, said)
            return
        raw = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
        if date := said.headers.get("Date"):
            handler.date_time_string = lambda timestamp=None: date  # type: ignore[method-assign]
        handler.send_response(said.status)
        for name, value in ({"Content-Type": "application/json", "Content-Length": str(len(raw))} | said.headers).items():
            if name == "Date":
                continue
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(raw[: len(raw) - said.cut])
        handler.close_connection = handler.close_connection or said.cut > 0

    def _say_bit_by_bit(self, handler: BaseHTTPRequestHandler, said: Said) -> None:
        """In chunks, or until the connection is closed; a bit that is a number is a pause."""
        chunked = said.headers.get("Transfer-Encoding") == "chunked"
        handler.send_response(said.status)
        for name, value in ({"Content-Type": "text/event-stream"} | said.headers).items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.flush()
        handler.close_connection = True
        with contextlib.suppress(OSError):  # nobody listens any more
            for bit in said.body:
                if isinstance(bit, (int, float)):
                    self._stopped.wait(bit)
                else:
                    handler.wfile.write(b"%x\r\n%b\r\n" % (len(bit), bit) if chunked else bit)
                    handler.wfile.flush()
            if chunked and not said.cut:
                handler.wfile.write(b"0\r\n\r\n")


def by_time(bars: ct.Bars, cap: int = 10, *, newest: bool = False) -> Callable[[Asked], Any]:
    """Answers ``?start=&end=`` in milliseconds with at most ``cap`` of the bars, the oldest or the newest."""

    def answer(asked: Asked) -> Any:
        rows = bars.between(int(asked.query.get("start", 0)), int(asked.query.get("end", 1 << 45)), unit="ms").to_records()
        return rows[-cap:] if newest else rows[:cap]

    return answer
