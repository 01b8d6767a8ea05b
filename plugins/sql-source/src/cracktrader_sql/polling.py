"""Candles as somebody else writes them into the database: it is asked for new ones, from time to time or when it calls."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from cracktrader.bars import Bars
from cracktrader.events import OHLCVCandle
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import now_ms
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database
from cracktrader_sql.listening import Bell
from cracktrader_sql.reading import read_bars

__all__ = ["closed_candles"]


async def closed_candles(database: Database, config: SqlConfig, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
    """Every candle from the one on that is open now, once it is over and in the database; oldest first, none twice.

    A row may be written while its bar is open and changed until the end, or a little later: a candle is passed on once a
    newer one is there, or ``settle_seconds`` have gone by since its end. One that comes after a newer one was passed on is left
    out. Raises :class:`~cracktrader.errors.TemporarySourceError` where the database can't be asked.
    """
    frame = Timeframe(timeframe)
    since = frame.floor(now_ms())
    settling = round(config.settle_seconds * 1000)
    async with contextlib.AsyncExitStack() as stack:
        bell = await stack.enter_async_context(Bell.of(database, config))
        while True:
            found = await asyncio.to_thread(_new, database, config, BarRequest(symbol, frame, start=since))
            now = now_ms()
            candles = [candle for bars in found for candle in bars]
            newest = max((candle.time for candle in candles), default=0)
            for candle in candles:
                if since <= candle.time and candle.end <= now and (candle.time < newest or candle.end + settling <= now):
                    since = candle.end
                    yield candle
            # Whoever is called need not ask before a bar that is there, or the one that is open now, has settled.
            ends = [candle.end for candle in candles if candle.time >= since] + [frame.next(now)]
            await bell.wait(max(min(ends) + settling - now_ms(), 0) / 1000)


def _new(database: Database, config: SqlConfig, request: BarRequest) -> list[Bars]:
    return list(read_bars(database, config, request))
