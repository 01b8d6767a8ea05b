"""A market for the feeds: deterministic, with gaps, moving enough to trade on."""

from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import cracktrader as ct


def make_frame(rows: int, *, step: str = "1min", start: str = "2024-03-29", seed: int = 3) -> pd.DataFrame:
    """A random walk of OHLCV with naive UTC times, some rows of which are missing."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.002, rows)))
    open_ = np.concatenate(([100.0], close[:-1]))
    high = np.maximum(open_, close) * (1 + rng.random(rows) * 0.001)
    low = np.minimum(open_, close) * (1 - rng.random(rows) * 0.001)
    frame = pd.DataFrame(
        {"open": open_, "high": high, "low": low, "close": close, "volume": rng.lognormal(2, 1, rows)},
        index=pd.date_range(start, periods=rows, freq=step, name="timestamp"),
    )
    return frame[rng.random(rows) > 0.03]


class Recorder(bt.Strategy):
    """A crossover strategy that writes down everything it sees and trades."""

    def __init__(self) -> None:
        fast, slow = bt.indicators.SMA(self.data.close, period=5), bt.indicators.SMA(self.data.close, period=20)
        self.cross = bt.indicators.CrossOver(fast, slow)
        self.seen: list[Any] = []
        self.trades: list[Any] = []

    def next(self) -> None:
        for data in self.datas:
            row = [float(getattr(data, name)[0]) for name in ("datetime", "open", "high", "low", "close", "volume")]
            self.seen.append((data._name, len(data), *row))
        if self.cross > 0:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        self.trades.append((trade.status, trade.size, trade.price, trade.pnl, trade.pnlcomm, trade.dtopen, trade.dtclose))


@pytest.fixture
def frame() -> pd.DataFrame:
    return make_frame(1500)


@pytest.fixture
def bars(frame: pd.DataFrame) -> ct.Bars:
    return ct.Bars.from_pandas(frame, symbol="BTC/USDT", timeframe="1m")


@pytest.fixture
def short_frame() -> pd.DataFrame:
    """Two days, coarse enough to run hundreds of times."""
    return make_frame(700, step="4min")


Outcome = tuple[list[Any], list[Any], float]


@pytest.fixture
def outcome() -> Callable[..., Outcome]:
    """Runs a Cerebro that ``setup`` has filled: what was seen, the trades, and the broker's value."""

    def run(setup: Callable[[bt.Cerebro], Any], cls: type[bt.Cerebro] = bt.Cerebro, **options: Any) -> Outcome:
        cerebro = cls(**options)
        setup(cerebro)
        cerebro.addstrategy(Recorder)
        strategy = cerebro.run()[0]
        return strategy.seen, strategy.trades, cerebro.broker.getvalue()

    return run
