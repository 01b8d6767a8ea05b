"""Closed bars of a longer timeframe, of closed bars as they come."""

from __future__ import annotations

from cracktrader.bars import Bars
from cracktrader.events import OHLCVCandle
from cracktrader.timeframe import Timeframe

__all__ = ["Longer"]


class Longer:
    """Collects the parts of one longer bar, and makes it as :meth:`Bars.resample` does, once nothing can be missing."""

    def __init__(self, part: Timeframe, whole: Timeframe) -> None:
        self._part, self._whole = part, whole
        self._parts: list[OHLCVCandle] = []

    def add(self, candle: OHLCVCandle, reached: int) -> list[OHLCVCandle]:
        """Take a part, after which the next one opens at ``reached`` or later; the longer bars that are then over."""
        made = self.over(candle.time)
        self._parts.append(candle)
        return made + self.over(reached)

    def over(self, reached: int) -> list[OHLCVCandle]:
        """The longer bar, where every part that can still come opens after its end."""
        return [self._made()] if self._parts and reached >= self._whole.next(self._parts[0].time) else []

    def _made(self) -> OHLCVCandle:
        parts, self._parts = self._parts, []
        rows = [(c.time, c.open, c.high, c.low, c.close, c.volume, c.flags) for c in parts]
        *columns, flags = zip(*rows, strict=True)
        bars = Bars(*columns, flags=flags, symbol=parts[0].symbol, timeframe=self._part)
        return bars.resample(self._whole)[0]
