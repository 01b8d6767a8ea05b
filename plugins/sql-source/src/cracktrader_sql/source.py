"""The ``sql`` source itself; the work is done in :mod:`cracktrader_sql.reading`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cracktrader.plugins import DataSource, hookimpl
from cracktrader_sql.config import SqlConfig

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.events import OHLCVCandle
    from cracktrader.request import BarRequest
    from cracktrader_sql.database import Database

__all__ = ["SqlSource"]


class SqlSource(DataSource):
    """Bars from a table, a view or a query of any database that SQLAlchemy speaks to."""

    api = (1, 0)
    Config = SqlConfig
    #: A database is a store already, and its owner may change it at any time: nothing is kept beside it unless asked for.
    remote = False
    config: SqlConfig

    def __init__(self, config: SqlConfig | None = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self._lock = threading.Lock()
        self._database: Database | None = None

    # SQLAlchemy takes 0.3 s to import: only whoever reads a database pays for it.

    @property
    def database(self) -> Database:
        """The database, whose connections come when they are needed."""
        from cracktrader_sql.database import Database

        with self._lock:
            if self._database is None:
                self._database = Database(self.config)
            return self._database

    def identity(self) -> Mapping[str, Any]:
        from cracktrader_sql.identity import identity_of

        return identity_of(self.config)

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        from cracktrader_sql.reading import read_bars

        return read_bars(self.database, self.config, request)

    @hookimpl
    def list_symbols(self) -> Sequence[str]:
        from cracktrader_sql.reading import read_symbols

        return read_symbols(self.database, self.config)

    def span(self, symbol: str = "", timeframe: str = "1d") -> tuple[int, int] | None:
        """The first and the last time of a series, epoch milliseconds UTC as the table has them; None where it has no rows.

        Of trades, and in a table without a column of timeframes, the timeframe doesn't matter. Raises what reading does.
        """
        from cracktrader.request import BarRequest
        from cracktrader_sql.reading import read_span

        return read_span(self.database, self.config, BarRequest(symbol, timeframe))

    @hookimpl
    def list_timeframes(self) -> Sequence[str]:
        from cracktrader_sql.reading import read_timeframes

        return read_timeframes(self.database, self.config)

    @hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
        from cracktrader_sql.polling import closed_candles

        async for candle in closed_candles(self.database, self.config, symbol, timeframe):
            yield candle

    @hookimpl
    def close(self) -> None:
        with self._lock:
            database, self._database = self._database, None
        if database is not None:
            database.close()
