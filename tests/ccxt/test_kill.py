"""A download that is killed at random moments and started again ends in the catalog that one clean run makes."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from downloader import REQUEST, download

import cracktrader as ct
from cracktrader.catalog import Catalog, SeriesKey
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator import faults as F

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no SIGKILL and no fork")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: what a process wrote outlives it there too, and there is time for more kills."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


def kept(root: Path, options: dict[str, Any]) -> tuple[Any, int, ct.Bars]:
    """What a catalog holds: coverage, rows and bars; every file is what the ledger says."""
    with ct.source("ccxt", **options) as source:
        series = Catalog(root).series(SeriesKey("ccxt", dict(source.identity), "BTC/USDT", ct.Timeframe("1m")))
    ledger = series.ledger()
    for file in ledger.files:
        series.check(file)
    return ledger.coverage, ledger.rows, series.read(ledger)


def test_killed_at_random_moments_and_started_again(exchange: Simulator, options: dict[str, Any], folder: Path) -> None:
    exchange.faults.add(F.Outage(start="2024-01-11", end="2024-01-13"))
    exchange.faults.add(F.Latency(path="*/klines", seconds=0.005))
    clean = download(str(folder / "clean"), options["config"])
    assert clean.but(source="") == exchange.truth("BTC/USDT", "1m", REQUEST["start"], REQUEST["end"]).but(source="")
    chance, kills, begun = random.Random(), 0, 0
    command = [sys.executable, str(Path(__file__).parent / "downloader.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(3):
            root = folder / str(number)
            for _ in range(4):
                exchange.requests.clear()
                process.stdin.write(f"{root} {json.dumps(options['config'])}\n")
                process.stdin.flush()
                child, enough, until = int(process.stdout.readline()), chance.randrange(1, 20), time.monotonic() + 30
                while len(exchange.requests) < enough and time.monotonic() < until:
                    time.sleep(0.001)
                time.sleep(chance.uniform(0, 0.02))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)
                ended = int(process.stdout.readline())
                assert ended in (0, -signal.SIGKILL)
                kills += ended != 0
                _coverage, rows, bars = kept(root, options)
                assert bars == clean[: len(bars)], "What is kept is not what the exchange sent."
                begun += 0 < rows < len(clean)
            download(str(root), options["config"])
            assert kept(root, options) == kept(folder / "clean", options)
        process.stdin.close()
        assert process.wait(10) == 0
    assert kills > 3
    assert begun, "No download was killed with a part of it kept."
