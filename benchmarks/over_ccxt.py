"""A year of minutes of an exchange on loopback: against a plain loop of ccxt's own, and out of the catalog."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from measuring import Result, cpu_of, side_by_side

import cracktrader as ct

__all__ = ["ccxt"]

_START, _STEP, _PAGE = 1_672_531_200_000, 60_000, 1000  # 2023


def ccxt(rows: int) -> Iterator[Result]:
    """From an exchange on loopback through real ccxt to checked Bars."""
    import ccxt as library

    rows = min(rows, 525_600)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder  # whose turn it is here is nobody else's business
        with exchange() as (config, ask):
            options = {"exchange": "binance", "config": config, "symbol": "BTC/USDT", "timeframe": "1m", "start": _START}
            plain = library.binance(config)
            plain.load_markets()

            def loop(until: int) -> int:
                got, since = 0, _START
                while since < until:
                    page = plain.fetch_ohlcv("BTC/USDT", "1m", since, _PAGE)
                    got += len(page)
                    since = page[-1][0] + _STEP
                return got

            def ours(until: int, **more: Any) -> ct.Bars:
                return ct.load("ccxt", **{"end": until, "catalog": False, **options, **more})

            end = _START + rows * _STEP
            assert len(ours(end)) == rows  # the exchange has made its candles
            quick, one, slow = side_by_side(
                lambda: ours(end), lambda: ours(end, concurrency=1), lambda: loop(end), runs=3, warm=False
            )
            yield Result("ccxt", f"{rows:,} minutes to Bars: {quick:.2f} s; a loop of fetch_ohlcv {slow:.2f} s; times faster",
                         slow / quick, ">= 1.6", slow / quick >= 1.6)  # fmt: skip
            yield Result(
                "ccxt", f"the same, one page after the other: {one:.2f} s; times faster", slow / one, ">= 1.2", slow / one >= 1.2
            )
            kept = {"catalog": f"{folder}/kept"}
            ours(end, **kept)
            (again,) = side_by_side(lambda: ours(end, **kept))
            yield Result("ccxt", f"the same out of the catalog: {again:.3f} s; share of the download", again / quick, "<= 0.02",
                         again / quick <= 0.02)  # fmt: skip
            pages = min(rows // _PAGE, 300)
            throttled = {**config, "enableRateLimit": True}  # a request for candles has its turn every 20 ms
            (taken,) = side_by_side(lambda: ours(_START + pages * _PAGE * _STEP, config=throttled), runs=1, warm=False)
            allowed = pages * plain.rateLimit * 0.4 / 1000
            yield Result("ccxt", f"{pages} pages with the limit kept: {taken:.2f} s; it allows them in {allowed:.2f} s; ratio",
                         taken / allowed, "1 to 1.1", 1 <= taken / allowed <= 1.1)  # fmt: skip
            ask("latency")
            part = _START + min(rows, 60 * _PAGE) * _STEP
            many, slow = side_by_side(lambda: ours(part, concurrency=8), lambda: loop(part), runs=3, warm=False)
            yield Result("ccxt", f"60 pages of 50 ms, 8 at once: {many:.2f} s; the loop {slow:.2f} s; times faster",
                         slow / many, ">= 5", slow / many >= 5)  # fmt: skip
    empty = cpu_of(sys.executable, "-c", "pass")
    light = (cpu_of(sys.executable, "-c", "import cracktrader_ccxt") - empty) * 1000
    core = (cpu_of(sys.executable, "-c", "import cracktrader.plugins.source, cracktrader.plugins.hookspec") - empty) * 1000
    what = f"`import cracktrader_ccxt`, ms of CPU over an empty interpreter and the core's {core:.0f}"
    yield Result("ccxt", what, light - core, "< 60", light - core < 60)


@contextmanager
def exchange() -> Iterator[tuple[dict[str, Any], Any]]:
    """An exchange in a process of its own; what ccxt needs to find it, and a way to make it slow."""
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(what: str) -> None:
        print(what, file=process.stdin, flush=True)
        process.stdout.readline()  # type: ignore[union-attr]

    try:
        yield json.loads(process.stdout.readline()) | {"enableRateLimit": False}, ask
    finally:
        process.kill()
        process.communicate()


def serve() -> None:
    """Be the exchange until told otherwise."""
    from cracktrader_ccxt.simulator import Simulator
    from cracktrader_ccxt.simulator.faults import Latency

    with Simulator(["BTC/USDT"], now="2024-02-01T00:00:10", start="2023-01-01", weight_limit=0) as running:
        print(json.dumps(running.config("binance")), flush=True)
        for _ in sys.stdin:
            running.faults.add(Latency(seconds=0.05, path="*/klines"))
            print("slow", flush=True)


if __name__ == "__main__":
    serve()
