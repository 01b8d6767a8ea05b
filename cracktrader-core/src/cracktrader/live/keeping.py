"""Live bars into the catalog: what went out was fetched, in a way, and need not be fetched again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from cracktrader.bars import Bars, Flag
from cracktrader.catalog import Catalog
from cracktrader.events import OHLCVCandle
from cracktrader.plugins.source import Source
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe

__all__ = ["Keeper"]

#: Written at the latest after so many bars; a catalog's file is written as a whole each time.
_MOST: Final = 500


class Keeper:
    """Collects what goes out, and writes it as one stretch of coverage: the bars, and that there were no others between them."""

    def __init__(self, catalog: Catalog, source: Source, symbol: str, timeframe: Timeframe, cursor: int) -> None:
        self._catalog, self._source = catalog, source
        self._symbol, self._frame = symbol, timeframe
        self._start = self._end = cursor
        self._bars: list[OHLCVCandle] = []

    def add(self, candle: OHLCVCandle, reached: int) -> bool:
        """Note a bar that went out; True where it is time to write."""
        if not candle.flags & Flag.FILLED:
            self._bars.append(candle)
        self._end = reached
        return len(self._bars) >= _MOST

    def stretch(self) -> tuple[list[OHLCVCandle], int, int]:
        """What has been collected, which is then no longer kept here."""
        taken = self._bars, self._start, self._end
        self._bars, self._start = [], self._end
        return taken

    def write(self, stretch: tuple[list[OHLCVCandle], int, int]) -> None:
        """Write a stretch into the catalog; takes a while. Raises :class:`CatalogError`."""
        candles, start, end = stretch
        if end > start:
            rows = [(c.time, c.open, c.high, c.low, c.close, c.volume) for c in candles]
            bars = Bars(*(zip(*rows, strict=True) if rows else [[]] * 6), symbol=self._symbol, timeframe=self._frame,
                        source=self._source.name)  # fmt: skip
            request = BarRequest(self._symbol, self._frame)  # bounds are exact: as times, a number of 1970 would pass for seconds
            object.__setattr__(request, "start", start)
            object.__setattr__(request, "end", end)
            self._catalog.bring(_Delivered(self._source, bars, end), request)


class _Delivered:
    """A source, as a catalog asks one, that has only what went out live."""

    def __init__(self, source: Source, bars: Bars, now: int) -> None:
        self.name = source.name
        self.identity: Mapping[str, Any] = source.identity
        self.provenance = {**source.provenance, "live": True}
        self._bars, self._now = bars, now

    def bars(self, request: BarRequest) -> Iterator[Bars]:
        yield self._bars[request.contains(self._bars.time)]

    def now(self) -> int:
        return self._now
