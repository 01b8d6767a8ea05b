"""Recorded traffic, REST and WebSocket, written to a file and played back from it.

A recording is JSON lines, in the order of what happened. ``at`` is milliseconds, from any beginning::

    {"kind": "rest", "at": 0, "method": "GET", "path": "/api/v3/time", "query": {}, "status": 200,
     "headers": {"Content-Type": "application/json"}, "body": "{\\"serverTime\\":1717245296000}"}
    {"kind": "open", "at": 5, "path": "/stream/ws/1", "connection": 1}
    {"kind": "client", "at": 6, "connection": 1, "text": "{\\"method\\":\\"SUBSCRIBE\\",\\"params\\":[\\"btcusdt@trade\\"]}"}
    {"kind": "server", "at": 7, "connection": 1, "text": "{\\"result\\":null,\\"id\\":1}"}
    {"kind": "close", "at": 99, "connection": 1, "code": 1001}

``body`` is text, or under ``base64`` what isn't; other keys are allowed and not looked at.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, Self

from aiohttp import WSMsgType, web

from cracktrader.errors import DataError
from cracktrader_ccxt.simulator.loopback import Loopback
from cracktrader_ccxt.simulator.record import Asked, Record

__all__ = ["Recorder", "Replay", "read_recording"]

_NEEDS: Final = {
    "rest": ("method", "path", "status"), "open": ("path", "connection"), "client": ("connection", "text"),
    "server": ("connection", "text"), "close": ("connection",),
}  # fmt: skip
#: Headers that belong to a connection, not to an answer.
_HOP: Final = ("connection", "content-encoding", "content-length", "date", "server", "transfer-encoding")


class Recorder:
    """Writes a recording, a line at a time; safe between threads."""

    def __init__(self, path: str | Path) -> None:
        self._file = Path(path).open("w", encoding="utf-8")  # noqa: SIM115  # open for as long as there is traffic
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._connections = 0

    def rest(
        self, method: str, path: str, query: Mapping[str, str], status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """A request and its answer."""
        try:
            told = {"body": body.decode()}
        except UnicodeDecodeError:
            told = {"base64": base64.b64encode(body).decode()}
        self._write("rest", method=method, path=path, query=dict(query), status=status, headers=dict(headers), **told)

    def open(self, path: str) -> int:
        """A client has connected; returns the number of the connection."""
        with self._lock:
            self._connections += 1
            number = self._connections
        self._write("open", path=path, connection=number)
        return number

    def client(self, connection: int, text: str) -> None:
        """What a client said."""
        self._write("client", connection=connection, text=text)

    def server(self, connection: int, text: str) -> None:
        """What it was told."""
        self._write("server", connection=connection, text=text)

    def end(self, connection: int, code: int) -> None:
        """The connection was closed, with that code."""
        self._write("close", connection=connection, code=code)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _write(self, kind: str, **values: Any) -> None:
        line = json.dumps(
            {"kind": kind, "at": round(1000 * (time.monotonic() - self._began), 3), **values}, separators=(",", ":")
        )
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")


def read_recording(path: str | Path) -> list[dict[str, Any]]:
    """The lines of a recording; raises :class:`~cracktrader.errors.DataError` with the number of a line that isn't one."""
    lines = []
    with Path(path).open(encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                line = json.loads(text)
                missing = [name for name in _NEEDS[line["kind"]] if name not in line]
            except (ValueError, KeyError, TypeError):
                raise DataError(f"Line {number} of {path} is no line of a recording: {text[:80]!r}.",
                                hint="docs/simulator.md says what a recording looks like.", line=number) from None  # fmt: skip
            if missing:
                raise DataError(f"Line {number} of {path} lacks {missing[0]!r}.", hint="docs/simulator.md says what it needs.",
                                line=number)  # fmt: skip
            lines.append(line)
    return lines


class Replay(Loopback):
    """A server on 127.0.0.1 that plays a recording back to any client.

    A request gets what was answered to the same method, path and query; asked again, what was answered next, and the last answer
    for ever. To what was never asked the answer is 404. A connection to a path plays the next one recorded there (the last one
    for ever): what the server said comes at the pace of the recording, ``speed`` times as fast (0: at once); where a client spoke
    it is waited for, and where its words carry another ``id`` than those recorded, what is said after has that one instead.

    ``replay.requests`` is the record of what was asked.
    """

    def __init__(self, recording: str | Path | Iterable[Mapping[str, Any]], *, speed: float = 0.0, port: int = 0) -> None:
        super().__init__(port)
        lines = read_recording(recording) if isinstance(recording, (str, Path)) else list(recording)
        self.speed = speed
        self.requests = Record()
        self._answers: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
        self._sessions: dict[str, list[list[Mapping[str, Any]]]] = defaultdict(list)
        by_number: dict[Any, list[Mapping[str, Any]]] = {}
        for line in lines:
            if line["kind"] == "rest":
                self._answers[_key(line["method"], line["path"], line.get("query") or {})].append(line)
            elif line["kind"] == "open":
                by_number[line["connection"]] = [line]
                self._sessions[line["path"]].append(by_number[line["connection"]])
            else:
                by_number.setdefault(line["connection"], []).append(line)
        self._talking: set[web.WebSocketResponse] = set()

    async def end(self) -> None:
        for response in list(self._talking):
            await asyncio.wait({asyncio.ensure_future(response.close(code=1001))}, timeout=0.2)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._play(request)
        answers = self._answers.get(_key(request.method, request.path, dict(request.query)))
        if not answers:
            self._note(request, 404)
            return web.json_response({"error": "This was not recorded."}, status=404)
        line = answers.pop(0) if len(answers) > 1 else answers[0]
        body = base64.b64decode(line["base64"]) if "base64" in line else str(line.get("body", "")).encode()
        headers = {name: value for name, value in (line.get("headers") or {}).items() if name.lower() not in _HOP}
        self._note(request, line["status"])
        return web.Response(body=body, status=line["status"], headers=headers)

    async def _play(self, request: web.BaseRequest) -> web.StreamResponse:
        sessions = self._sessions.get(request.path)
        if not sessions:
            self._note(request, 404)
            return web.Response(status=404, text="This was not recorded.")
        lines = sessions.pop(0) if len(sessions) > 1 else sessions[0]
        response = web.WebSocketResponse(compress=False)
        await response.prepare(request)
        self._note(request, 101)
        self._talking.add(response)
        try:
            await self._follow(response, lines)
            async for _ in response:  # the recording is over, the connection isn't
                pass
        except ConnectionError:
            pass
        finally:
            self._talking.discard(response)
        return response

    async def _follow(self, response: web.WebSocketResponse, lines: list[Mapping[str, Any]]) -> None:
        numbers: dict[Any, Any] = {}
        since, began = lines[0]["at"], time.monotonic()
        for line in lines[1:]:
            if line["kind"] == "client":
                message = await response.receive()
                if message.type is not WSMsgType.TEXT:
                    return
                numbers |= _other_number(line["text"], message.data)
                since, began = line["at"], time.monotonic()
                continue
            if self.speed and (wait := (line["at"] - since) / 1000 / self.speed - (time.monotonic() - began)) > 0:
                await asyncio.sleep(wait)
            if line["kind"] == "close":
                await response.close(code=line.get("code") or 1000)
                return
            await response.send_str(_renumbered(line["text"], numbers))

    def _note(self, request: web.BaseRequest, status: int) -> None:
        method = "WS" if status == 101 else request.method
        self.requests.add(Asked(time.monotonic(), 0, method, request.path, dict(request.query), dict(request.headers), status))


def _key(method: str, path: str, query: Mapping[str, str]) -> tuple[Any, ...]:
    return method.upper(), path, tuple(sorted((name, str(value)) for name, value in query.items()))


def _number(text: str) -> Any:
    try:
        said = json.loads(text)
    except ValueError:
        return None
    return said.get("id") if isinstance(said, dict) else None


def _other_number(recorded: str, said: str) -> dict[Any, Any]:
    """Which ``id`` a client has now in place of the one recorded."""
    old, new = _number(recorded), _number(said)
    return {old: new} if old is not None and new is not None and old != new else {}


def _renumbered(text: str, numbers: Mapping[Any, Any]) -> str:
    if not numbers or (number := _number(text)) not in numbers:
        return text
    return json.dumps(json.loads(text) | {"id": numbers[number]}, separators=(",", ":"))
