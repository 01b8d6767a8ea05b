"""An exchange on loopback for each test, and clients of it that don't wait for their throttle."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import ccxt
from cracktrader_ccxt.simulator import Simulator

sys.path.insert(0, str(Path(__file__).parent))  # for simulated.py

from simulated import NOW


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    with Simulator(now=NOW, weight_limit=0) as exchange:
        yield exchange


@pytest.fixture
def client(exchange: Simulator) -> Iterator[Callable[..., Any]]:
    """``client("binance", **config)``: a real ccxt client, closed at the end."""
    made = []

    def make(name: str = "binance", **more: Any) -> Any:
        made.append(getattr(ccxt, name)({"enableRateLimit": False, "timeout": 5_000, **exchange.config(name), **more}))
        return made[-1]

    yield make
    for one in made:
        one.session.close()
