"""What the tests of the ccxt source share: an exchange on loopback, and a machine that has asked nobody yet."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cracktrader as ct
from cracktrader.plugins.hosts import HostBudget

pytest.importorskip("cracktrader_ccxt", reason="cracktrader-ccxt is not installed")

sys.path.insert(0, str(Path(__file__).parent))  # for venues.py

from cracktrader_ccxt.desk import Desk
from cracktrader_ccxt.simulator import Simulator


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """No turn, no ban and no list of markets from another test, or from whoever runs this one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CRACKTRADER_CATALOG", str(tmp_path / "catalog"))
    yield tmp_path
    Desk._all.clear()
    HostBudget._all.clear()


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    """An exchange whose clock stands ten seconds into June 2024, without a limit of requests."""
    with Simulator(["BTC/USDT", "ETH/USDT"], now="2024-06-01T00:00:10", start="2024-01-01", weight_limit=0) as running:
        yield running


@pytest.fixture
def options(exchange: Simulator) -> dict[str, Any]:
    """What a source needs to ask that exchange, as fast as it can."""
    return {"exchange": "binance", "config": exchange.config("binance", enableRateLimit=False), "backoff": 0.01}


@pytest.fixture
def load(options: dict[str, Any]) -> Callable[..., ct.Bars]:
    """``ct.load`` from that exchange: an hour's bars of BTC/USDT, without a catalog, unless said otherwise."""

    def load(**changed: Any) -> ct.Bars:
        usual = {"symbol": "BTC/USDT", "timeframe": "1h", "catalog": False, "validation": "off"}
        return ct.load("ccxt", **{**usual, **options, **changed})

    return load
