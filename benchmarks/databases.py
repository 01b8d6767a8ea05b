"""SQL databases against pandas and bare drivers; servers are those that the variables of the tests name."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from measuring import Result, peak_memory_of, side_by_side

import cracktrader as ct

__all__ = ["databases"]

_QUERY = "SELECT time, open, high, low, close, volume FROM {table} WHERE symbol = '{symbol}' AND timeframe = '1m' ORDER BY time"


def databases(market: Callable[[int], ct.Bars], rows: int) -> Iterator[Result]:
    """A million rows of a database to Bars, checked."""
    bars = market(rows)
    with tempfile.TemporaryDirectory() as folder:
        yield from _one("sqlite", f"sqlite:///{Path(folder) / 'bench.sqlite'}", bars, (5, 1.3))
    if url := os.environ.get("CRACKTRADER_TEST_POSTGRES_URL"):
        yield from _one("postgresql", url, bars, (4, 1.3))
    if url := os.environ.get("CRACKTRADER_TEST_MYSQL_URL"):
        yield from _one("mysql", url, bars, (2, None))


def _one(kind: str, url: str, bars: ct.Bars, targets: tuple[float, float | None]) -> Iterator[Result]:
    import sqlalchemy as sa

    driver = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}.get(kind, kind)
    engine = sa.create_engine(sa.make_url(url).set(drivername=driver), poolclass=sa.pool.NullPool)
    table = "ct_bench"
    query = _QUERY.format(table=table, symbol=bars.symbol)
    options = {"url": url, "table": table, "symbol": bars.symbol, "timeframe": "1m"}

    def ours() -> Any:
        return ct.load("sql", **options)

    def pandas() -> Any:
        with engine.connect() as connection:
            return pd.read_sql(sa.text(query), connection)

    try:
        bars.to_sql(url, table)
        if kind == "postgresql":  # as it does by itself within a minute
            with engine.begin() as connection:
                connection.exec_driver_sql(f"ANALYZE {table}")
        assert ours() == bars
        fast, slow = side_by_side(ours, pandas, runs=3)
        name = f"{len(bars):,} rows of {kind} to checked Bars"
        yield Result("sql", f"{name}: {fast:.2f} s; pandas.read_sql {slow:.2f} s; times faster", slow / fast,
                     f">= {targets[0]}", slow / fast >= targets[0])  # fmt: skip
        if targets[1] is not None:
            fast, bare = side_by_side(ours, lambda: _adbc(kind, url, query))
            yield Result("sql", f"{name}: {fast:.3f} s; bare ADBC {bare:.3f} s; ratio", fast / bare,
                         f"<= {targets[1]}", fast / bare <= targets[1])  # fmt: skip
        yield from _memory(kind, url, table, engine, bars)
    finally:
        with engine.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE IF EXISTS {table}")
        engine.dispose()


def _adbc(kind: str, url: str, query: str) -> Any:
    if kind == "sqlite":
        import adbc_driver_sqlite.dbapi as driver

        url = url.removeprefix("sqlite:///")
    else:
        import adbc_driver_postgresql.dbapi as driver
    with driver.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute(query)
        return cursor.fetch_arrow_table()


def _memory(kind: str, url: str, table: str, engine: Any, bars: ct.Bars) -> Iterator[Result]:
    """Nine more copies of the bars, each later than the one before, and the whole streamed by a process of its own."""
    rest = "open, high, low, close, volume, flags"
    step = len(bars) * 60_000
    copied = f"SELECT symbol, timeframe, time + {{}}, {rest} FROM {table} WHERE time < {int(bars.time[0]) + step}"
    for part in range(1, 10):
        with engine.begin() as connection:
            connection.exec_driver_sql(f"INSERT INTO {table} {copied.format(part * step)}")
    script = (
        "import cracktrader as ct\n"
        f"with ct.source('sql', url={url!r}, table={table!r}) as source:\n"
        f"    assert sum(map(len, source.bars(ct.BarRequest('BTC/USDT', '1m')))) == {10 * len(bars)}"
    )
    peak = peak_memory_of(script)
    yield Result("sql", f"peak memory in MB of {10 * len(bars):,} rows of {kind}, streamed", peak, "<= 300", peak <= 300)
