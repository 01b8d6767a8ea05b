"""The contract, run for the in-memory source: the reference implementation of the plugin API."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.testing import SourceContract


def series(symbol: str, seed: int, timeframe: str = "1h", rows: int = 60) -> ct.Bars:
    """A random walk of whole numbers from 2024-01-01; with a hole of three bars."""
    rng = np.random.default_rng(seed)
    time = ct.Timeframe(timeframe).openings(1_704_067_200_000, 1_704_067_200_000 + rows * 3_600_000)
    close = 100 + rng.integers(-2, 3, len(time)).cumsum().astype(float)
    bars = ct.Bars(
        time, close, close + 2, close - 2, close + 1, rng.integers(1, 9, len(time)).astype(float),
        symbol=symbol, timeframe=timeframe, extra={"trades": rng.integers(1, 99, len(time)).astype(float)},
    )  # fmt: skip
    return bars[np.arange(len(bars)) // 3 != 5]


BTC, ETH = series("BTC/USDT", 1), series("ETH/USDT", 2)


class TestMemory(SourceContract):
    name = "memory"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T06:00", "2024-01-02T18:00"
    expected: ClassVar[ct.Bars] = BTC.between(start, end)
    other_symbol = "ETH/USDT"
    chunk_option = "chunk_size"

    @pytest.fixture
    def make_source(self) -> Callable[..., ct.Source]:
        return lambda **options: ct.source("memory", **{"bars": (BTC, ETH, series("BTC/USDT", 3, "4h")), **options})
