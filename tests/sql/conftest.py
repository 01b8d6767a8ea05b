"""Databases to test with: SQLite and DuckDB as files, PostgreSQL and MariaDB where a variable names a server."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import cracktrader as ct

sa = pytest.importorskip("sqlalchemy", reason="SQLAlchemy is not installed")

HOUR = 3_600_000
START = 1_704_067_200_000  # 2024-01-01
VARIABLES = {"postgresql": "CRACKTRADER_TEST_POSTGRES_URL", "mysql": "CRACKTRADER_TEST_MYSQL_URL"}
DRIVERS = {"postgresql": "psycopg", "mysql": "pymysql", "duckdb": "duckdb_engine"}
ALL = ("sqlite", "duckdb", "postgresql", "mysql")
#: What the connections are called that are counted: other processes test on the same server.
APPLICATION = f"ct-leak-{secrets.token_hex(4)}"


_ENGINES: dict[str, Any] = {}


class Store:
    """A database of a kind, and the tables that a test makes in it, which go with the test."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        if kind in DRIVERS:
            pytest.importorskip(DRIVERS[kind], reason=f"{DRIVERS[kind]} is not installed")
        if kind in VARIABLES:
            if not os.environ.get(VARIABLES[kind]):
                pytest.skip(f"{VARIABLES[kind]} names no server")
            self.url = os.environ[VARIABLES[kind]]
            if kind == "mysql":  # whose driver reads all certificates for each connection
                self.url = f"{self.url}{'&' if '?' in self.url else '?'}ssl_disabled=true"
        else:
            self.url = f"{kind}:///{folder / f'market.{kind}'}"
        url = sa.make_url(self.url)
        driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}.get(kind, url.drivername)
        #: Of servers kept open for all tests, because to connect takes longer than most of them.
        self.engine = _ENGINES.get(kind) or sa.create_engine(
            url.set(drivername=driver), poolclass=sa.pool.QueuePool if kind in VARIABLES else sa.pool.NullPool
        )
        if kind in VARIABLES:
            _ENGINES[kind] = self.engine
        self.made: list[tuple[str, str | None]] = []
        self.sources: dict[str, ct.Source] = {}

    def quote(self, name: str) -> str:
        """An identifier as it is, whatever stands in it."""
        mark = "`" if self.kind == "mysql" else '"'
        return f"{mark}{name.replace(mark, 2 * mark)}{mark}"

    def name(self, stem: str = "bars") -> str:
        """A name that nobody else uses."""
        return f"ct_{stem}_{secrets.token_hex(4)}"

    def create(self, types: Mapping[str, Any], rows: Sequence[Sequence[Any]] = (), *, name: str = "", schema: str | None = None,
               key: Sequence[str] = ()) -> str:  # fmt: skip
        """A table of these columns, given as SQL types, with these rows; its name."""
        name = name or self.name()
        quote = self.quote
        full = f"{quote(schema)}.{quote(name)}" if schema else quote(name)
        columns = [f"{quote(column)} {kind}" for column, kind in types.items()]
        columns += [f"PRIMARY KEY ({', '.join(map(quote, key))})"] if key else []
        table = sa.table(name, *map(sa.column, types), schema=schema)
        with self.engine.begin() as connection:
            text = f"CREATE TABLE {full} ({', '.join(columns)})"
            connection.exec_driver_sql(text.replace("%", "%%") if self.kind in VARIABLES else text)
            self.made.append((name, schema))
            if rows and self.kind == "duckdb":  # row by row it takes a millisecond for each
                raw: Any = connection.connection.driver_connection
                raw.register(
                    "given",
                    pa.table({column: pa.array(part) for column, part in zip(types, zip(*rows, strict=True), strict=True)}),
                )
                connection.exec_driver_sql(f"INSERT INTO {full} SELECT * FROM given")
                raw.unregister("given")
            elif rows:
                connection.execute(table.insert(), [dict(zip(types, row, strict=True)) for row in rows])
        return name

    def run(self, statement: str, **parameters: Any) -> list[Any]:
        """What a statement answers, if anything; committed."""
        with self.engine.begin() as connection:
            result = connection.execute(sa.text(statement), parameters)
            return list(result) if result.returns_rows else []

    def drop(self) -> None:
        quote = self.quote
        for source in self.sources.values():
            source.close()
        for name, schema in self.made if self.kind in VARIABLES else ():  # files go with their folder
            with self.engine.begin() as connection:
                if self.kind == "postgresql":  # whoever failed with a reader open must not stop all tests
                    connection.exec_driver_sql("SET LOCAL lock_timeout = '5s'")
                connection.exec_driver_sql(f"DROP TABLE IF EXISTS {f'{quote(schema)}.' if schema else ''}{quote(name)}")

    def load(self, **options: Any) -> ct.Bars:
        """What a user gets; of the same options for the source, from the same source."""
        asked = {"symbol": "BTC/USDT", "timeframe": "1h", "validation": "off"}
        asked |= {name: options.pop(name) for name in (*asked, "start", "end", "limit") if name in options}
        key = repr(sorted(options.items()))
        if key not in self.sources:
            self.sources[key] = ct.source("sql", **{"url": self.url, **options})
        return ct.load(self.sources[key], **asked)


def series(symbol: str = "BTC/USDT", rows: int = 96, seed: int = 1) -> ct.Bars:
    """A random walk of hours from 2024-01-01, with a hole of two hours; prices that floats and decimals hold alike."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-200, 201, rows).cumsum() / 128
    volume = rng.integers(1, 999, rows) / 8
    bars = ct.Bars(START + HOUR * np.arange(rows), close, close + 0.25, close - 0.25, close + 0.125, volume,
                   symbol=symbol, timeframe="1h")  # fmt: skip
    return bars[np.arange(rows) // 2 != 20]


TYPES = {
    "symbol": "VARCHAR(20)",
    "ts": "BIGINT",
    **dict.fromkeys(("open", "high", "low", "close", "volume"), "DOUBLE PRECISION"),
}


def records(*parts: ct.Bars) -> list[tuple[Any, ...]]:
    """The rows of TYPES."""
    return [(bars.symbol, *row) for bars in parts for row in bars.to_records()]


@pytest.fixture(params=ALL)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Each kind of database in turn."""
    yield from made(request.param, tmp_path)


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Store]:
    yield from made("sqlite", tmp_path)


@pytest.fixture
def postgresql(tmp_path: Path) -> Iterator[Store]:
    yield from made("postgresql", tmp_path)


@pytest.fixture
def mysql(tmp_path: Path) -> Iterator[Store]:
    yield from made("mysql", tmp_path)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again is tried again soon."""
    monkeypatch.setattr("cracktrader_sql.reading._PAUSES", (0.02, 0.05))


@pytest.fixture(scope="session", autouse=True)
def _closed_in_the_end() -> Iterator[None]:
    yield
    for engine in _ENGINES.values():
        engine.dispose()
    _ENGINES.clear()


def made(kind: str, folder: Path) -> Iterator[Store]:
    one = Store(kind, folder)
    try:
        yield one
    finally:
        one.drop()


def connections(store: Store) -> int:
    ours = f"backend_type = 'client backend' AND application_name = '{APPLICATION}'"
    query = f"SELECT count(*) FROM pg_stat_activity WHERE {ours}"
    for _ in range(500):  # a server takes a moment to notice
        if not (count := int(store.run(query)[0][0])):
            return 0
        time.sleep(0.01)
    return count


@pytest.fixture
def leaky(postgresql: Store) -> tuple[Store, str]:
    return postgresql, f"{postgresql.url}?application_name={APPLICATION}"
