"""What the tests of the csv source share: writing a file, and loading it as it is."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cracktrader as ct


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Writes a text, without the indentation that it has in the test, into a new file."""

    def written(text: str, name: str = "bars.csv", encoding: str = "utf-8") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(textwrap.dedent(text).lstrip("\n").encode(encoding))
        return path

    return written


@pytest.fixture
def load() -> Callable[..., ct.Bars]:
    """``ct.load("csv", …)`` without any check: what is in the file comes out."""

    def loaded(path: Any, timeframe: str = "1h", **options: Any) -> ct.Bars:
        return ct.load("csv", path=path, timeframe=timeframe, **{"validation": "off"} | options)

    return loaded


@pytest.fixture
def make_bars() -> Callable[..., ct.Bars]:
    """Some bars with prices of many digits."""

    def made(rows: int = 300, *, timeframe: str = "1m", start: int = 1_704_067_200_000, symbol: str = "BTC/USDT") -> ct.Bars:
        random = np.random.default_rng(rows)
        step = ct.Timeframe(timeframe).step or 0
        close = 100 * np.exp(np.cumsum(random.normal(0, 1e-3, rows)))
        opened = np.concatenate([close[:1], close[:-1]])
        high, low = np.maximum(opened, close) * 1.001, np.minimum(opened, close) * 0.999
        time = start + step * np.arange(rows, dtype=np.int64)
        return ct.Bars(time, opened, high, low, close, random.random(rows), symbol=symbol, timeframe=timeframe)

    return made
