"""Bars made from a table of trades, and candles that come while somebody writes them."""

from __future__ import annotations

import asyncio
import time
from decimal import Decimal

import numpy as np
import pytest

import cracktrader as ct

from .conftest import START, TYPES, Store

TRADES = {"symbol": "VARCHAR(20)", "ts": "BIGINT", "price": "DOUBLE PRECISION", "amount": "NUMERIC(20, 8)",
          "side": "VARCHAR(4)", "id": "BIGINT"}  # fmt: skip


def market(rows: int = 3000) -> list[ct.Trade]:
    rng = np.random.default_rng(7)
    times = START + np.sort(rng.integers(0, 6 * 3_600_000, rows))
    prices = 100 + rng.integers(-50, 50, rows) / 4
    return [
        ct.Trade("BTC/USDT", int(at), float(price), float(amount) / 1000, "buy" if buy else "sell", str(number))
        for number, (at, price, amount, buy) in enumerate(
            zip(times, prices, rng.integers(1, 9999, rows), rng.integers(0, 2, rows), strict=True)
        )
    ]


def rows_of(trades: list[ct.Trade], *, decimals: bool) -> list[tuple[object, ...]]:
    return [
        (one.symbol, one.time, one.price, Decimal(str(one.amount)) if decimals else one.amount, one.side, int(one.id or 0))
        for one in trades
    ]


@pytest.mark.parametrize("chunk", [50, 65_536])
def test_bars_of_trades_are_those_that_the_core_makes(store: Store, chunk: int) -> None:
    trades = market()
    wanted = ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="5m", start=START, end=START + 6 * 3_600_000)
    shuffled = [trades[at] for at in np.random.default_rng(1).permutation(len(trades))]
    name = store.create(TRADES, rows_of(shuffled, decimals=store.kind != "sqlite"))
    for fast in ("no",) if store.kind == "mysql" else ("no", "yes"):
        options = {"table": name, "trades": True, "timeframe": "5m", "chunk_size": chunk, "fast": fast}
        assert store.load(**options) == wanted
        part = store.load(**options, start="2024-01-01T01:00", end="2024-01-01T02:00")
        assert part == wanted.between("2024-01-01T01:00", "2024-01-01T02:00")
        assert store.load(**options, limit=3) == wanted[-3:]


def test_candles_come_once_they_are_over(sqlite: Store) -> None:
    name = sqlite.create(TYPES)

    def write(at: int, close: float) -> None:
        sqlite.run(f"INSERT INTO {name} VALUES ('BTC/USDT', {at}, 1, 9, 1, {close}, 1)")

    async def watch() -> list[ct.OHLCVCandle]:
        with ct.source("sql", url=sqlite.url, table=name, poll_seconds=0.02) as source:
            candles = source.call("stream_candles", symbol="BTC/USDT", timeframe="1s")
            found = []
            try:
                async for candle in candles:
                    found.append(candle)
                    if len(found) == 3:
                        return found
            finally:
                await candles.aclose()
        return found

    begun = int(time.time()) * 1000
    for second in range(-2, 5):  # old ones, and those of seconds to come
        write(begun + second * 1000, float(second + 3))
    found = asyncio.run(asyncio.wait_for(watch(), 20))
    assert all(candle.closed for candle in found)
    assert np.diff([candle.time for candle in found]).tolist() == [1000, 1000]
    assert found[0].time >= begun
    assert found[-1].end <= time.time() * 1000
