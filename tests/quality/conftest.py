"""Bars for trying the checks on: clean ones, and clean ones with one fault."""

import numpy as np
import pytest

from cracktrader.bars import Bars
from cracktrader.quality import validate
from cracktrader.timeframe import Timeframe

START = 1_704_067_200_000  # Monday, 2024-01-01
NOW = 4_000_000_000_000


@pytest.fixture(scope="session")
def clean():
    """``clean(rows)``: a random walk in which no check finds anything, with a numbered extra column."""

    def make(rows: int, timeframe: str = "1m", *, start: int = START, seed: int = 0, **changes) -> Bars:
        random, frame = np.random.default_rng(seed), Timeframe(timeframe)
        close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, rows)))
        open = np.concatenate((close[:1], close[:-1]))
        columns = {
            "time": frame.opening(frame.ordinal(start) + np.arange(rows)),
            "open": open,
            "high": np.maximum(open, close) * (1 + 1e-3 * random.random(rows)),
            "low": np.minimum(open, close) * (1 - 1e-3 * random.random(rows)),
            "close": close,
            "volume": 1 + random.random(rows),
            "extra": {"id": np.arange(rows)},
        }
        return Bars(**columns | changes, symbol="BTC/USDT", timeframe=timeframe, source="here")

    return make


@pytest.fixture(scope="session")
def spoil():
    """``spoil(bars, close={3: nan})``: the bars with some values changed."""

    def change(bars: Bars, **columns) -> Bars:
        changed = {name: bars[name].copy() for name in columns}
        for name, values in columns.items():
            for row, value in values.items():
                changed[name][row] = value
        return bars.but(**changed)

    return change


@pytest.fixture(scope="session")
def check():
    """``check(bars, validation)``: the bars checked, long after the last of them."""
    return lambda bars, validation=None, **options: validate(bars, validation, **{"now": NOW} | options)
