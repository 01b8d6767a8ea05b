"""The source of bars held in memory: the reference implementation of the plugin API."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from pydantic import Field, WithJsonSchema, field_validator

from cracktrader.bars import Bars
from cracktrader.errors import UnknownSymbol, UnsupportedTimeframe, did_you_mean
from cracktrader.plugins.hookspec import hookimpl
from cracktrader.plugins.options import SourceConfig
from cracktrader.plugins.source import DataSource
from cracktrader.request import BarRequest

__all__ = ["MemoryConfig", "MemorySource"]


class MemoryConfig(SourceConfig):
    """The options of the ``memory`` source."""

    bars: tuple[Annotated[Bars, WithJsonSchema({"description": "a Bars object"})], ...] = Field(
        description="The bars, one series or several.", min_length=1
    )
    chunk_size: int = Field(default=50_000, ge=1, description="How many rows are handed over at once.")

    @field_validator("bars", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Bars) else value

    @field_validator("bars")
    @classmethod
    def _differ(cls, value: tuple[Bars, ...]) -> tuple[Bars, ...]:
        seen = [(series.symbol, series.timeframe) for series in value]
        for symbol, timeframe in seen:
            if seen.count((symbol, timeframe)) > 1:
                raise ValueError(f"there are two series of {symbol} {timeframe}; join them with Bars.concat")
        return value


class MemorySource(DataSource):
    """Bars that are in memory already, of one series or of several."""

    api = (1, 0)
    Config = MemoryConfig
    config: MemoryConfig

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        return self._chunks(self._series(request), request)

    @hookimpl
    def list_symbols(self) -> Sequence[str]:
        return list(dict.fromkeys(series.symbol for series in self.config.bars))

    @hookimpl
    def list_timeframes(self) -> Sequence[str]:
        return list(dict.fromkeys(str(series.timeframe) for series in self.config.bars))

    def _series(self, request: BarRequest) -> Bars:
        symbols = self.list_symbols()
        symbol = request.symbol or (symbols[0] if len(symbols) == 1 else "")
        of_symbol = [series for series in self.config.bars if series.symbol == symbol]
        if not of_symbol:
            raise UnknownSymbol(
                f"There is no symbol {request.symbol!r} in memory.{did_you_mean(symbol, symbols)}",
                hint=f"There are: {', '.join(symbols)}.",
                symbol=request.symbol,
            )
        for series in of_symbol:
            if series.timeframe == request.timeframe:
                return series
        raise UnsupportedTimeframe(
            f"There are no bars of {request.timeframe} of {symbol} in memory.",
            hint=f"There are: {', '.join(str(series.timeframe) for series in of_symbol)}.",
            symbol=symbol,
            timeframe=str(request.timeframe),
        )

    def _chunks(self, series: Bars, request: BarRequest) -> Iterator[Bars]:
        in_order = bool((series.time[1:] >= series.time[:-1]).all())
        # A stretch of bars in order is a view, where a mask would copy them.
        wanted = series.between(request.start, request.end) if in_order else series[request.contains(series.time)]
        for first in range(0, len(wanted), self.config.chunk_size):
            yield wanted[first : first + self.config.chunk_size]
