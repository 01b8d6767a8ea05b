"""The contract, run for a table of many symbols in each kind of database, and for a query."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import pytest

import cracktrader as ct
from cracktrader.testing import SECRET, SourceContract

from .conftest import ALL, TYPES, Store, records, series

BTC, ETH = series(), series("ETH/USDT", seed=2)


class SqlContract(SourceContract):
    name = "sql"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T12:00", "2024-01-04T06:00"
    expected: ClassVar[ct.Bars] = BTC.between(start, end)
    other_symbol: ClassVar[str | None] = "ETH/USDT"
    chunk_option, chunk_values = "chunk_size", (1, 7, 1_000_000)

    @pytest.fixture
    def options(self, store: Store) -> dict[str, Any]:
        name = store.create(TYPES, records(BTC, ETH), key=("symbol", "ts"))
        return {"url": store.url, "table": name}

    @pytest.fixture
    def make_source(self, options: dict[str, Any]) -> Callable[..., ct.Source]:
        return lambda **more: ct.source("sql", **{**options, **more})


@pytest.mark.parametrize("store", ALL, indirect=True)
class TestTable(SqlContract):
    secret_options: ClassVar = {"url": f"postgresql+psycopg://user:{SECRET}@127.0.0.1:9/market"}


@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
class TestQuery(SqlContract):
    unknown_symbol = None  # the symbols of a query without a column of them can't be listed

    @pytest.fixture
    def options(self, store: Store) -> dict[str, Any]:
        name = store.create(TYPES, records(BTC, ETH))
        chosen = "symbol = :symbol AND ts >= :start AND ts < :end"
        query = f"SELECT ts AS time, open, high, low, close, volume FROM {name} WHERE {chosen};"
        return {"url": store.url, "query": query, "bind_times": "ms", "table_timeframe": "1h"}
