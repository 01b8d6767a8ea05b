"""Candles as somebody else writes them into the database: it is asked for new ones from time to time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from cracktrader.bars import Bars
from cracktrader.events import OHLCVCandle
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import now_ms
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database
from cracktrader_sql.reading import read_bars

__all__ = ["closed_candles"]


async def closed_candles(database: Database, config: SqlConfig, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
    """Every candle from the one on that is open now, once it is over and in the database; oldest first, none twice."""
    frame = Timeframe(timeframe)
    since = frame.floor(now_ms())
    while True:
        for bars in await asyncio.to_thread(_new, database, config, BarRequest(symbol, frame, start=since)):
            for candle in bars:
                if candle.time >= since and candle.end <= now_ms():
                    since = candle.end
                    yield candle
        await asyncio.sleep(config.poll_seconds)


def _new(database: Database, config: SqlConfig, request: BarRequest) -> list[Bars]:
    return list(read_bars(database, config, request))
