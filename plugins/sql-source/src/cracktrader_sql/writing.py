"""Bars into a table, as often as one likes: a bar that is there already is replaced."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, Final

import sqlalchemy as sa
from pydantic import SecretStr

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import InvalidOption
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database
from cracktrader_sql.failures import told

__all__ = ["write_bars"]

_KEY: Final = ("symbol", "timeframe", "time")
#: How many rows go to the database at once.
_ROWS: Final = 10_000


def write_bars(bars: Bars, url: Any, table: str = "ohlcv") -> int:
    """Write ``bars`` into a table, which is made where there is none; the number of rows.

    ``url`` is a SQLAlchemy URL or an ``Engine``. The table has a row for each symbol, timeframe and time (epoch
    milliseconds): one that is there already is replaced, so that writing twice is as writing once. All is written, or
    nothing. Raises :class:`InvalidOption` for a table of another layout.
    """
    target = _target(bars, table)
    engine, database = _engine(url)
    try:
        with told(database.label, database.hidden):
            with engine.connect() as connection:
                if exists := sa.inspect(connection).has_table(target.name, schema=target.schema):
                    _refuse_other_layout(connection, target)
            with engine.begin() as connection:
                if not exists:
                    target.create(connection)
                for rows in _rows(bars):
                    _write(connection, target, rows)
    finally:
        if engine is not url:
            engine.dispose()
    return len(bars)


def _engine(url: Any) -> tuple[sa.Engine, Database]:
    if isinstance(url, sa.Engine):
        return url, Database(SqlConfig(engine=url))
    text = url.render_as_string(hide_password=False) if isinstance(url, sa.URL) else url
    database = Database(SqlConfig(url=SecretStr(text)))
    with told(database.label, database.hidden):
        return sa.create_engine(database.url, poolclass=sa.pool.NullPool, hide_parameters=True), database


def _target(bars: Bars, table: str) -> sa.Table:
    name, _, schema = table.rpartition(".")[::-1]
    columns: list[sa.Column[Any]] = [
        sa.Column("symbol", sa.String(64), primary_key=True),
        sa.Column("timeframe", sa.String(16), primary_key=True),
        sa.Column("time", sa.BigInteger, primary_key=True, autoincrement=False),
        *(sa.Column(column, sa.Double) for column in (*PRICES, "volume")),
        sa.Column("flags", sa.SmallInteger),
        *(sa.Column(column, sa.Double) for column in bars.extra),
    ]
    # to the letter, also where a database takes upper and lower case for the same
    return sa.Table(name, sa.MetaData(), *columns, schema=schema or None, mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin",
                    mariadb_charset="utf8mb4", mariadb_collate="utf8mb4_bin")  # fmt: skip


def _refuse_other_layout(connection: sa.Connection, target: sa.Table) -> None:
    found = set(connection.execute(sa.select(sa.text("*")).select_from(target).limit(0)).keys())
    if missing := [column.name for column in target.columns if column.name not in found]:
        raise InvalidOption(
            f"The table {target.fullname!r} has no column {missing[0]!r}; found: {', '.join(sorted(found))}.",
            hint="Bars are written into a table that this made, with the same further columns. Name another: it is made.",
            option="table",
        )
    try:
        key = set(sa.inspect(connection).get_pk_constraint(target.name, schema=target.schema)["constrained_columns"])
    except (sa.exc.SQLAlchemyError, NotImplementedError):  # a dialect that can't tell: the database itself will
        return
    if key != set(_KEY):
        raise InvalidOption(
            f"The primary key of the table {target.fullname!r} is not ({', '.join(_KEY)}), so bars would stand in it twice.",
            hint="Name a table that is not there yet: it is made.",
            option="table",
        )


def _rows(bars: Bars) -> Iterator[list[dict[str, Any]]]:
    names = ("time", *PRICES, "volume", "flags", *bars.extra)
    for start in range(0, len(bars), _ROWS):
        part = bars[start : start + _ROWS]
        columns = [part[name].tolist() for name in names]
        yield [
            {
                "symbol": bars.symbol,
                "timeframe": str(bars.timeframe),
                **{name: _plain(v) for name, v in zip(names, row, strict=True)},
            }
            for row in zip(*columns, strict=True)
        ]


def _plain(value: Any) -> Any:
    """What is no number is NULL: not every database has a NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _write(connection: sa.Connection, target: sa.Table, rows: list[dict[str, Any]]) -> None:
    """Insert the rows, or replace those that are there."""
    dialect = connection.dialect.name
    if dialect != "duckdb":
        connection.execute(_upsert(dialect, target), rows)
        return
    import pyarrow as pa  # row by row, DuckDB takes a millisecond for each

    raw: Any = connection.connection.driver_connection
    raw.register("cracktrader_rows", pa.Table.from_pylist(rows))
    names = list(rows[0])
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in names]
    chosen = sa.select(*columns).select_from(sa.table("cracktrader_rows"))
    connection.execute(_upsert(dialect, target, lambda insert: insert.from_select(names, chosen)))
    raw.unregister("cracktrader_rows")


def _upsert(dialect: str, target: sa.Table, filled: Callable[[Any], Any] = lambda insert: insert) -> Any:
    """An insert that replaces rows of the same key, in the words of a dialect."""
    values = [column.name for column in target.columns if column.name not in _KEY]
    if dialect in ("mysql", "mariadb"):
        from sqlalchemy.dialects import mysql

        insert = mysql.insert(target)
        return insert.on_duplicate_key_update({name: insert.inserted[name] for name in values})
    if dialect in ("postgresql", "duckdb"):
        from sqlalchemy.dialects import postgresql

        into = filled(postgresql.insert(target))
        return into.on_conflict_do_update(index_elements=_KEY, set_={name: into.excluded[name] for name in values})
    if dialect == "sqlite":
        from sqlalchemy.dialects import sqlite

        put = sqlite.insert(target)
        return put.on_conflict_do_update(index_elements=_KEY, set_={name: put.excluded[name] for name in values})
    raise InvalidOption(
        f"Bars can't be written to {dialect}: it is not known how a row is replaced there.",
        hint="Write to SQLite, DuckDB, PostgreSQL, MariaDB or MySQL.",
        option="url",
    )
