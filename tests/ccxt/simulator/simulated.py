"""What the tests of the simulator share."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import ccxt.pro

from cracktrader_ccxt.simulator import Simulator

NOW = 1_717_245_296_000  # 2024-06-01T12:34:56Z
MAY = 1_714_521_600_000  # 2024-05-01
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


def records(rows: Any) -> list[tuple[float, ...]]:
    """Rows of ccxt, or of bars, to be compared."""
    return [(int(row[0]), *map(float, row[1:])) for row in rows]


def with_pro(exchange: Simulator, work: Callable[[Any], Awaitable[Any]], name: str = "binance", **more: Any) -> Any:
    """The outcome of work with a ccxt.pro client."""

    async def run() -> Any:
        client = getattr(ccxt.pro, name)({**exchange.config(name), "enableRateLimit": False, **more})
        try:
            await client.load_markets()
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())


async def until(condition: Callable[[], Any], seconds: float = 5.0) -> Any:
    """Wait until something is true, and return it."""
    stop = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < stop, "it did not happen"
        await asyncio.sleep(0.005)
    return found
