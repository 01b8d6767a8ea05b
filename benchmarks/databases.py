"""SQL databases against pandas and bare drivers; servers are those that the variables of the tests name."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
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
        yield from _memory(f"sqlite:///{Path(folder) / 'ten.sqlite'}", bars)
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
        assert ours() == bars
        fast, slow = side_by_side(ours, pandas, runs=3)
        name = f"{len(bars):,} rows of {kind} to checked Bars"
        yield Result("sql", f"{name}: {fast:.2f} s; pandas.read_sql {slow:.2f} s; times faster", slow / fast,
                     f">= {targets[0]}", slow / fast >= targets[0])  # fmt: skip
        if targets[1] is not None:
            fast, bare = side_by_side(ours, lambda: _adbc(kind, url, query))
            yield Result("sql", f"{name}: {fast:.3f} s; bare ADBC {bare:.3f} s; ratio", fast / bare,
                         f"<= {targets[1]}", fast / bare <= targets[1])  # fmt: skip
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


def _memory(url: str, bars: ct.Bars) -> Iterator[Result]:
    rows = 10 * len(bars)
    bars.to_sql(url, "ct_bench")
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        rest = "open, high, low, close, volume, flags"
        step = len(bars) * 60_000
        for part in range(1, 10):
            copied = f"SELECT symbol, timeframe, time + ?, {rest} FROM ct_bench WHERE time < ?"
            connection.execute(f"INSERT INTO ct_bench {copied}", (part * step, int(bars.time[0]) + step))
        connection.commit()
    script = (
        "import cracktrader as ct\n"
        f"with ct.source('sql', url={url!r}, table='ct_bench') as source:\n"
        "    assert sum(map(len, source.bars(ct.BarRequest('BTC/USDT', '1m')))) == " + str(rows)
    )
    peak = peak_memory_of(script)
    yield Result("sql", f"peak memory in MB of {rows:,} rows of SQLite, streamed", peak, "<= 300", peak <= 300)
