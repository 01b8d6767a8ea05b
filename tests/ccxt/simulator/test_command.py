"""``cracktrader simulate`` and the fixture for users, each in a process of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import ccxt


def test_the_command_runs_an_exchange_until_it_is_interrupted() -> None:
    command = [
        sys.executable,
        "-m",
        "cracktrader",
        "simulate",
        "--symbols",
        "BTC/USDT, ETH/USDT",
        "--now",
        "2024-06-01",
        "--seconds",
        "60",
    ]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    ) as process:
        try:
            said = [process.stdout.readline() for _ in range(2)]
            assert re.fullmatch(r"An exchange at http://127\.0\.0\.1:\d+: BTC/USDT, ETH/USDT\.\n", said[0])
            config = re.fullmatch(r"ccxt\.binance\((.*)\)\n", said[1])
            binance = ccxt.binance(json.loads(config[1]))
            assert list(binance.load_markets()) == ["BTC/USDT", "ETH/USDT"]
            assert 1_717_200_000_000 <= binance.fetch_time() < 1_717_200_060_000
            assert len(binance.fetch_ohlcv("ETH/USDT", "1m", limit=10)) == 10
            binance.session.close()
        finally:
            process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=10)
    assert re.search(r"Ended after \d+ requests", errors), errors
    assert "Traceback" not in errors


def test_a_port_that_is_taken_is_said_in_a_sentence(exchange) -> None:
    command = [sys.executable, "-m", "cracktrader", "simulate", "--port", str(exchange.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0
    assert f"Nothing can listen on port {exchange.port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("way", [["-p", "cracktrader_ccxt.simulator.pytest_plugin"]])
def test_users_get_a_fixture(tmp_path: Path, way: list[str]) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import urllib.request, pytest\n"
        "@pytest.mark.simulated(symbols=['BTC/USDT'], now='2024-06-01T12:00')\n"
        "def test_mine(simulated_exchange):\n"
        "    assert simulated_exchange.symbols == ('BTC/USDT',)\n"
        "    said = urllib.request.urlopen(simulated_exchange.url + '/api/v3/time').read()\n"
        "    assert said == b'{\"serverTime\":1717243200000}'\n"
        "def test_unmarked(simulated_exchange):\n"
        "    assert len(simulated_exchange.symbols) == 7\n"
    )
    command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "pytest",
        "-q",
        "--strict-markers",
        "-p",
        "no:cacheprovider",
        *way,
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert "2 passed" in done.stdout, done.stdout + done.stderr


def test_the_package_of_the_source_imports_nothing_of_the_simulator() -> None:
    heavy = "name for name in sys.modules if 'simulator' in name or name in ('aiohttp', 'ccxt', 'typer')"
    subprocess.run([sys.executable, "-c", f"import sys, cracktrader_ccxt; assert not [{heavy}]"], check=True, timeout=30)
