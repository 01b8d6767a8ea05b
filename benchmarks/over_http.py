"""Loading from an HTTP API: against fetching and parsing the same bytes by hand, and side by side against one by one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import orjson
import requests
from measuring import Result, side_by_side

import cracktrader as ct

__all__ = ["http"]

_START, _STEP, _PAGE = 946_684_800_000, 60_000, 1000


def http(rows: int) -> Iterator[Result]:
    """From pages of JSON to checked Bars."""
    end = _START + rows * _STEP
    asked = {"symbol": "X", "timeframe": "1m", "start": _START, "end": end, "catalog": False}
    options = {"params": {"start": "{start}", "end": "{end}"}, "page_size": _PAGE, "newest_first": False, **asked}
    with server(rows, delay=0, at_once=64) as url:

        def by_hand() -> int:
            with requests.Session() as session:
                return sum(
                    len(orjson.loads(session.get(url, params={"start": start, "end": end}).content))
                    for start in range(_START, end, _PAGE * _STEP)
                )

        ours, bare = side_by_side(lambda: ct.load("http", url=url, **options), by_hand)
        yield Result("http", f"{rows:,} rows in pages of {_PAGE:,} to checked Bars: {ours:.2f} s; requests + orjson {bare:.2f} s;"
                     " ratio", ours / bare, "<= 1.5", ours / bare <= 1.5)  # fmt: skip
    with server(rows, delay=0.1, at_once=8) as url:
        options |= {"end": _START + min(rows, 64 * _PAGE) * _STEP}
        many, one = side_by_side(
            lambda: ct.load("http", url=url, concurrency=8, **options),
            lambda: ct.load("http", url=url, **options),
            runs=3,
            warm=False,
        )
        yield Result("http", f"64 pages of 100 ms, 8 at once: {many:.2f} s; one by one {one:.2f} s; times faster",
                     one / many, ">= 6", one / many >= 6)  # fmt: skip


# ── the server ───────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def server(rows: int, delay: float, at_once: int) -> Iterator[str]:
    """An API in a process of its own."""
    command = [sys.executable, __file__, str(rows), str(delay), str(at_once)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}/candles"  # type: ignore[union-attr]
    finally:
        process.kill()
        process.communicate()


def rendered(rows: int) -> list[bytes]:
    """Every page as JSON."""
    rng = np.random.default_rng(1)
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 1e-4, rows))), 2)
    volume = np.round(rng.lognormal(0, 1, rows), 6)
    columns = (_START + _STEP * np.arange(rows), close, close + 1, close - 1, close, volume)
    records = list(zip(*(column.tolist() for column in columns), strict=True))
    return [orjson.dumps(records[at : at + _PAGE]) for at in range(0, rows, _PAGE)]


async def serve(rows: int, delay: float, at_once: int) -> None:
    """Pages by their start, each after a delay, so many at once."""
    pages, turns = rendered(rows), asyncio.Semaphore(at_once)

    async def answer(reader: Any, writer: Any) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            query = parse_qs(urlsplit(head.split(b" ", 2)[1].decode()).query)
            async with turns:
                if delay:
                    await asyncio.sleep(delay)
                body = pages[(int(query["start"][0]) - _START) // _STEP // _PAGE]
                writer.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
                )
                await writer.drain()

    async def quietly(reader: Any, writer: Any) -> None:
        try:
            await answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    listening = await asyncio.start_server(quietly, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await listening.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
