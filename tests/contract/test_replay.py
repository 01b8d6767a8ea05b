"""The contract, run for the replay source: bars that are over by a clock of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.testing import SourceContract


def series(symbol: str, seed: int, rows: int = 60) -> ct.Bars:
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-2, 3, rows).cumsum().astype(float)
    bars = ct.Bars(
        1_704_067_200_000 + 3_600_000 * np.arange(rows), close, close + 2, close - 2, close + 1,
        rng.integers(1, 9, rows).astype(float), symbol=symbol, timeframe="1h",
    )  # fmt: skip
    return bars[np.arange(rows) // 3 != 5]


BTC, ETH = series("BTC/USDT", 1), series("ETH/USDT", 2)


class TestReplay(SourceContract):
    name = "replay"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T06:00", "2024-01-02T18:00"
    expected: ClassVar[ct.Bars] = BTC.between(start, end)
    other_symbol = "ETH/USDT"

    @pytest.fixture
    def make_source(self) -> Callable[..., ct.Source]:
        return lambda **options: ct.source("replay", **{"bars": (BTC, ETH), "begin": "2024-01-04", **options})
