"""The strategies that the command line brings along."""

from __future__ import annotations

from typing import Any

import backtrader as bt

from cracktrader.errors import InvalidOption

__all__ = ["STRATEGIES", "BuyAndHold", "SmaCross", "TrendCross"]


class SmaCross(bt.Strategy):  # type: ignore[misc]
    """Buys when the fast moving average of the closes rises above the slow one, sells when it falls below."""

    params: Any = (("fast", 10), ("slow", 30))

    def __init__(self) -> None:
        for name in ("fast", "slow"):
            period = getattr(self.p, name)
            if not isinstance(period, int) or period < 1:
                raise InvalidOption(
                    f"{name}={period} is not a number of bars to average.", hint="Give a whole number, at least 1."
                )
        fast, slow = (bt.indicators.SMA(self.data.close, period=period) for period in (self.p.fast, self.p.slow))
        self.cross = bt.indicators.CrossOver(fast, slow)

    def next(self) -> None:
        if self.cross > 0 and not self.position:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()


class TrendCross(SmaCross):
    """As :class:`SmaCross`, but buys only while the second feed, of longer bars, closes above its own average."""

    params: Any = (("trend", 20),)

    def __init__(self) -> None:
        super().__init__()
        self.rising = self.data1.close > bt.indicators.SMA(self.data1.close, period=self.p.trend)

    def next(self) -> None:
        """Buys at a cross while the trend rises, sells at the opposite cross."""
        if self.cross > 0 and self.rising[0] and not self.position:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()


class BuyAndHold(bt.Strategy):  # type: ignore[misc]
    """Buys at the first bar and keeps it."""

    def next(self) -> None:
        if not self.position and len(self) == 1:
            self.buy()


STRATEGIES = {"sma-cross": SmaCross, "buy-and-hold": BuyAndHold}
