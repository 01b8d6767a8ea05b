"""The contract, run for a table of many symbols in each kind of database, and for a query."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

import cracktrader as ct
from cracktrader.testing import SECRET, SourceContract

from .conftest import ALL, TYPES, Store, made, records, series

BTC, ETH = series(), series("ETH/USDT", seed=2)


class SqlContract(SourceContract):
    name = "sql"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T12:00", "2024-01-04T06:00"
    expected: ClassVar[ct.Bars] = BTC.between(start, end)
    other_symbol: ClassVar[str | None] = "ETH/USDT"
    chunk_option, chunk_values = "chunk_size", (1, 7, 1_000_000)

    @pytest.fixture
    def make_source(self, options: dict[str, Any]) -> Callable[..., ct.Source]:
        return lambda **more: ct.source("sql", **{**options, **more})


@pytest.fixture(scope="module", params=ALL)
def filled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, str]]:
    """Each kind of database in turn, with one table for all tests, which only read."""
    for store in made(request.param, tmp_path_factory.mktemp("contract")):
        yield store, store.create(TYPES, records(BTC, ETH), key=("symbol", "ts"))


class OfTable(SqlContract):
    @pytest.fixture
    def options(self, filled: tuple[Store, str]) -> dict[str, Any]:
        store, name = filled
        return {"url": store.url, "table": name}


@pytest.mark.parametrize("filled", ["sqlite"], indirect=True)
class TestTable(OfTable):
    secret_options: ClassVar = {"url": f"postgresql+psycopg://user:{SECRET}@127.0.0.1:9/market"}


@pytest.mark.parametrize("filled", ALL[1:], indirect=True)
class TestTableElsewhere(OfTable):
    """The same but for what is of the package, and not of the database."""

    test_importing_it_is_cheap = test_importing_it_brings_no_heavy_module = test_it_can_be_rebuilt_in_another_process = None  # type: ignore[assignment]


@pytest.mark.parametrize("filled", ["sqlite"], indirect=True)
class TestQuery(SqlContract):
    unknown_symbol = None  # the symbols of a query without a column of them can't be listed
    test_importing_it_is_cheap = test_importing_it_brings_no_heavy_module = None  # type: ignore[assignment]

    @pytest.fixture
    def options(self, filled: tuple[Store, str]) -> dict[str, Any]:
        store, name = filled
        chosen = "symbol = :symbol AND ts >= :start AND ts < :end"
        query = f"SELECT ts AS time, open, high, low, close, volume FROM {name} WHERE {chosen};"
        return {"url": store.url, "query": query, "bind_times": "ms", "table_timeframe": "1h"}
