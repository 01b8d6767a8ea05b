"""Everything that differs between databases, in one place; what is not named here goes the portable way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from decimal import Decimal
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar, Final

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.engine import URL
from sqlalchemy.ext.compiler import compiles

from cracktrader.errors import InvalidOption, NotSupported, PluginDependencyMissing, SourceNotFound
from cracktrader_sql.config import SqlConfig

__all__ = ["UTC", "Dialect", "dialect_of"]


class Dialect:
    """A database of which nothing special is known."""

    #: The extra of this package that brings a driver, and the drivers that are known, best first, with their modules.
    extra: ClassVar[str] = ""
    drivers: ClassVar[Mapping[str, str]] = {}
    #: Whether it is told here which indexes a table has, and they are what makes it fast.
    indexed: ClassVar[bool] = False

    def with_driver(self, url: URL) -> URL:
        """The URL with a driver that is installed, where it names none."""
        if "+" in url.drivername or not self.drivers:
            return url
        for driver, module in self.drivers.items():
            if find_spec(module) is not None:
                return url.set(drivername=f"{url.drivername}+{driver}")
        raise PluginDependencyMissing(
            f"No driver for {url.drivername} is installed.",
            hint=f'Run: pip install "cracktrader-sql[{self.extra}]"   (or name the driver in the URL: {url.drivername}+DRIVER://…)',
            source="sql",
        )

    def connect_args(self, url: URL, config: SqlConfig) -> dict[str, Any]:  # noqa: ARG002 - others use them
        """How to connect: for reading only, where that can be said, and not for ever."""
        return {}

    @contextmanager
    def reading(self, connection: sa.Connection, config: SqlConfig) -> Iterator[None]:
        """A connection on which nothing can be written, and times are UTC, for as long as the block lasts."""
        if config.timeout is not None:
            raise InvalidOption(
                f"A statement can't be given a timeout on {connection.dialect.name}.",
                hint="The option `timeout` is for PostgreSQL, MariaDB and MySQL; leave it out.",
                option="timeout",
            )
        yield

    def abandon(self, connection: sa.Connection, result: sa.CursorResult[Any]) -> None:
        """Let go of an answer that was not read to its end."""

    def exactly(self, column: sa.ColumnElement[Any], value: str, code: Any) -> sa.ColumnElement[bool]:  # noqa: ARG002
        """That a text, of a type that the driver calls ``code``, is this one to the letter, also where the database compares
        without case."""
        spelling = self.spelling(column)
        return column == value if spelling is column else sa.and_(column == value, spelling == self.spelling(sa.literal(value)))

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A text by which its spellings differ, where the database would take some of them for the same."""
        return column

    def whole(self, column: sa.ColumnElement[Any], code: Any) -> sa.ColumnElement[Any]:  # noqa: ARG002 - others use it
        """A column, of a type that the driver calls ``code``, with all the digits that it holds."""
        return column

    def number(self, column: sa.ColumnElement[Any], *, text: bool) -> sa.ColumnElement[Any]:  # noqa: ARG002 - others use it
        """A column of numbers, or of text that holds numbers, as every driver sends it alike."""
        return column

    # ── what is needed to put bars together; only asked for where ``aggregates`` ─────────────────────

    #: Whether the database can tell which of many rows is the first by some order, and reckons with floats as we do.
    aggregates: ClassVar[bool] = False
    #: Whether it is a file that this process reads, so that no rows travel.
    in_process: ClassVar[bool] = False
    #: The kinds of numbers, besides floats and integers, that it turns into the nearest float.
    nearest: ClassVar[tuple[type, ...]] = ()
    #: The sign by which whole numbers are divided to whole numbers.
    quotient: ClassVar[str] = "/"

    def first(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        """The value of the first row of a group by that order."""
        raise NotSupported(f"The first of many rows can't be asked for: {value} by {order}.")

    def last(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        """The value of the last row of a group."""
        return self.first(value, [column.desc() for column in order])

    def double(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A number as a float of eight bytes, to reckon with."""
        return sa.cast(column, sa.Double)

    def divided(self, number: sa.ColumnElement[Any], by: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A whole number that is not negative, divided by another, without the rest."""
        return number.op(self.quotient, precedence=8)(by)

    def microseconds(self, time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        """A timestamp as microseconds since 1970."""
        raise NotSupported(f"Microseconds can't be asked for: {time}.")

    def milliseconds(self, time: sa.ColumnElement[Any], kind: str, unit: str | None) -> sa.ColumnElement[Any]:
        """A time, epoch numbers of a unit or timestamps, as whole milliseconds since 1970."""
        if kind == "epoch" and unit in ("s", "ms"):
            return time * sa.literal_column("1000") if unit == "s" else time
        finer = time if kind == "epoch" else self.microseconds(time)
        return self.divided(finer, sa.literal_column("1000000" if unit == "ns" else "1000"))


class Sqlite(Dialect):
    """SQLite: a file, opened for reading; a column holds whatever was put into it."""

    indexed = True

    def connect_args(self, url: URL, config: SqlConfig) -> dict[str, Any]:
        _existing_file(url)
        return {"timeout": config.connect_timeout}

    @contextmanager
    def reading(self, connection: sa.Connection, config: SqlConfig) -> Iterator[None]:
        with super().reading(connection, config):
            connection.exec_driver_sql("PRAGMA query_only = ON")
            try:
                yield
            finally:
                if not connection.closed and not connection.invalidated:
                    connection.exec_driver_sql("PRAGMA query_only = OFF")

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return column.collate("BINARY")

    def number(self, column: sa.ColumnElement[Any], *, text: bool) -> sa.ColumnElement[Any]:
        if not text:
            return column
        # what is not of the column's kind turns into a blob, to be noticed
        return sa.case((sa.func.typeof(column).in_(_literals("text", "null")), column), else_=sa.literal_column("x'00'"))


#: What PostgreSQL calls its types of text: name, text, char and varchar.
_TEXTS: Final = {19, 25, 1042, 1043}


class Postgres(Dialect):
    """PostgreSQL and its kin, such as TimescaleDB."""

    extra = "postgresql"
    indexed = True
    drivers: ClassVar = {"psycopg": "psycopg", "psycopg2": "psycopg2"}

    def connect_args(self, url: URL, config: SqlConfig) -> dict[str, Any]:
        if url.get_driver_name() not in ("psycopg", "psycopg2"):
            return {}
        options = f"{url.query.get('options', '')} -c default_transaction_read_only=on".strip()
        return {"connect_timeout": max(2, round(config.connect_timeout)), "options": options}

    @contextmanager
    def reading(self, connection: sa.Connection, config: SqlConfig) -> Iterator[None]:
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
        connection.exec_driver_sql("SET LOCAL TIME ZONE 'UTC'")
        if config.timeout is not None:
            told = sa.func.set_config("statement_timeout", str(round(config.timeout * 1000)), True)
            connection.execute(sa.select(told))
        yield

    def exactly(self, column: sa.ColumnElement[Any], value: str, code: Any) -> sa.ColumnElement[bool]:
        if code in _TEXTS:
            return super().exactly(column, value, code)
        return self.spelling(column) == sa.literal(value, sa.Text())  # an enumeration, or a number, can't be compared with text

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.Text).collate("C")

    def number(self, column: sa.ColumnElement[Any], *, text: bool) -> sa.ColumnElement[Any]:  # noqa: ARG002
        return sa.cast(column, sa.Double)  # NUMERIC takes twice as long, and some drivers send it as text

    aggregates = True
    nearest = (Decimal,)

    def first(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        first: sa.ColumnElement[Any] = self._sorted(value, order)[sa.literal_column("1")]
        return first

    def last(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        last: sa.ColumnElement[Any] = self._sorted(value, order)[sa.cast(sa.func.count(), sa.Integer)]
        return last  # of the same array, which is sorted once

    def _sorted(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.Function[Any]:
        return sa.func.array_agg(aggregate_order_by(self.double(value), *order), type_=sa.ARRAY(sa.Double))

    def microseconds(self, time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(sa.func.round(sa.extract("epoch", time) * sa.literal_column("1000000")), sa.BigInteger)


#: What the protocol of MariaDB and MySQL calls a FLOAT.
_FLOAT: Final = 4
#: How long a text of many rows may be, in MariaDB and MySQL; as long as what they send at once.
_LONGEST_TEXT: Final = 16 << 20


class MySql(Dialect):
    """MariaDB and MySQL."""

    extra = "mysql"
    indexed = True
    drivers: ClassVar = {"pymysql": "pymysql", "mysqldb": "MySQLdb"}

    def connect_args(self, url: URL, config: SqlConfig) -> dict[str, Any]:
        if url.get_driver_name() not in ("pymysql", "mysqldb"):
            return {}
        return {"connect_timeout": max(1, round(config.connect_timeout))}

    @contextmanager
    def reading(self, connection: sa.Connection, config: SqlConfig) -> Iterator[None]:
        # TIMESTAMP columns are sent in the zone of the session; an engine of the user's gets its own back.
        settings: dict[str, Any] = {"time_zone": "+00:00", "group_concat_max_len": _LONGEST_TEXT}
        if config.timeout is not None:
            if getattr(connection.dialect, "is_mariadb", False):
                settings["max_statement_time"] = config.timeout
            else:
                settings["max_execution_time"] = round(config.timeout * 1000)
        known = connection.exec_driver_sql(f"SELECT {', '.join(f'@@SESSION.{name}' for name in settings)}").one()
        connection.rollback()
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")  # of the one that begins now
        _set(connection, settings)
        try:
            yield
        finally:
            if not connection.closed and not connection.invalidated:
                _set(connection, dict(zip(settings, known, strict=True)))

    def abandon(self, connection: sa.Connection, result: sa.CursorResult[Any]) -> None:
        # Its drivers would read the rest, however long that is, and complain where the connection is gone.
        unread: Any = getattr(result.cursor, "_result", None)
        if hasattr(unread, "unbuffered_active"):
            unread.unbuffered_active = False
        connection.invalidate()

    def whole(self, column: sa.ColumnElement[Any], code: Any) -> sa.ColumnElement[Any]:
        return self.double(column) if code == _FLOAT else column  # of a FLOAT six digits are sent, and it holds more

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        # in one set of characters first: a column may be in another one than what it is compared with
        return sa.cast(sa.func.convert(column.op("USING")(sa.text("utf8mb4"))), sa.BINARY)

    aggregates = True
    nearest = (Decimal,)
    quotient = "DIV"

    def first(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        # What is longer than a text may be is cut off at its end, where nobody looks. The default is never taken; it is there
        # because a double is taken for shorter than it may be, see packing.
        text = sa.func.coalesce(value, sa.literal_column(f"'{'-' * 32}'"))
        return sa.func.substring_index(sa.func.group_concat(_Ordered(text, order)), ",", 1)

    def microseconds(self, time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.timestampdiff(sa.text("MICROSECOND"), sa.literal_column("'1970-01-01'"), time)


#: How a session of DuckDB is told to take times without a zone for UTC.
UTC: Final = "SET TimeZone = 'UTC'"


class DuckDb(Dialect):
    """DuckDB: a file, opened for reading, which several processes may do at a time."""

    extra = "duckdb"
    drivers: ClassVar = {"duckdb_engine": "duckdb_engine"}

    def with_driver(self, url: URL) -> URL:
        super().with_driver(url)
        return url  # the dialect is its own driver

    def connect_args(self, url: URL, config: SqlConfig) -> dict[str, Any]:  # noqa: ARG002
        _existing_file(url)
        return {"read_only": True}

    @contextmanager
    def reading(self, connection: sa.Connection, config: SqlConfig) -> Iterator[None]:
        with super().reading(connection, config):
            known = str(connection.exec_driver_sql("SELECT current_setting('TimeZone')").scalar_one())
            connection.exec_driver_sql(UTC)  # in which times without a zone are compared with those that have one
            try:
                yield
            finally:
                if not connection.closed and not connection.invalidated:
                    connection.exec_driver_sql(f"SET TimeZone = '{known}'")

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.cast(column, sa.String).collate("C")

    aggregates = True
    in_process = True
    quotient = "//"

    def first(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        return sa.func.arg_min(self.double(value), sa.func.row(*order))

    def last(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> sa.ColumnElement[Any]:
        return sa.func.arg_max(self.double(value), sa.func.row(*order))

    def microseconds(self, time: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return sa.func.epoch_us(time)


class SqlServer(Dialect):
    """Microsoft's SQL Server."""

    def spelling(self, column: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
        return column.collate("Latin1_General_BIN2")


_DIALECTS: Final[Mapping[str, Dialect]] = {
    "sqlite": Sqlite(), "postgresql": Postgres(), "mysql": MySql(), "mariadb": MySql(), "duckdb": DuckDb(), "mssql": SqlServer(),
}  # fmt: skip


def dialect_of(name: str) -> Dialect:
    """What is known of a database by the name of its SQLAlchemy dialect."""
    return _DIALECTS.get(name, Dialect())


class _Ordered(sa.sql.expression.ColumnElement[Any]):
    """A value within an aggregate, with the order in which rows are taken."""

    inherit_cache = False

    def __init__(self, value: sa.ColumnElement[Any], order: Sequence[sa.ColumnElement[Any]]) -> None:
        self.value, self.order = value, order


@compiles(_Ordered)
def _ordered(element: _Ordered, compiler: Any, **options: Any) -> str:
    order = ", ".join(compiler.process(column, **options) for column in element.order)
    return f"{compiler.process(element.value, **options)} ORDER BY {order}"


def _set(connection: sa.Connection, settings: Mapping[str, Any]) -> None:
    names = ", ".join(f"SESSION {name} = :{name}" for name in settings)  # the names are ours; values can be bound
    connection.execute(sa.text(f"SET {names}"), settings)


def _literals(*words: str) -> list[sa.ColumnClause[Any]]:
    return [sa.literal_column(f"'{word}'") for word in words]


def _existing_file(url: URL) -> None:
    """Opening a file that does not exist would make an empty database of it."""
    name = url.database or ":memory:"
    if name == ":memory:" or "mode=memory" in name:
        raise InvalidOption(
            "A database in memory is empty for whoever opens it by a URL.",
            hint="Give the engine that filled it: engine=…",
            option="url",
        )
    if not name.startswith("file:") and not Path(name).is_file():
        raise SourceNotFound(
            f"There is no file {name!r}.", hint="Where is the database? A path is looked up from here.", path=name
        )
