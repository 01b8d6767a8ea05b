"""The fast ways: rows as Arrow from the drivers that send them so, by a connection of their own if need be; or packed."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final, NamedTuple

import pyarrow as pa
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql.base import PGCompiler, PGDialect
from sqlalchemy.dialects.sqlite.base import SQLiteDialect

from cracktrader.errors import MalformedData, UnsupportedMode
from cracktrader_sql import packing
from cracktrader_sql.asking import Question
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database
from cracktrader_sql.dialects import UTC
from cracktrader_sql.failures import told
from cracktrader_sql.rows import Columns, stream_rows

__all__ = ["Rows", "stream"]

#: Fewer rows than this come sooner by the connection that is already there.
_PAYS: Final = 20_000
#: How many rows of SQLite share a batch: what stays in the processor's cache is read sooner.
_SQLITE_ROWS: Final = 16_384

Batches = Generator[pa.RecordBatch]


class _Ask(NamedTuple):
    """What a driver is asked, on whichever connection."""

    database: Database
    connection: sa.Connection
    question: Question
    size: int


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a statement, and in which way they come, for the provenance."""

    chunks: Generator[Columns]
    how: str


def stream(database: Database, connection: sa.Connection, asked: Question, expected: int | None, config: SqlConfig) -> Rows:
    """The rows that were asked for, about ``expected`` of them: the fast way where there is one and it pays, which
    ``config.fast`` may settle.

    Raises :class:`UnsupportedMode` for ``fast="yes"`` where there is none.
    """
    obstacle = _obstacle(database, asked, expected, config)
    if not obstacle:
        fetch, how = _FETCHERS[database.url.get_backend_name()]
        return Rows(_columns(database, fetch(_Ask(database, connection, asked, config.chunk_size)), config), how)
    if config.fast == "yes":
        raise UnsupportedMode(f"There is no fast way: {obstacle}.", hint="Leave out fast='yes'.", source="sql")
    return Rows(stream_rows(connection, database.dialect, asked.statement(), config.chunk_size), f"rows: {obstacle}")


def _obstacle(database: Database, asked: Question, expected: int | None, config: SqlConfig) -> str:
    """Why rows can't come the fast way, or had better not; empty where nothing is in the way."""
    backend = database.url.get_backend_name()
    if config.fast == "no":
        return "fast='no'"
    if backend not in _FETCHERS:
        return f"no driver for {backend} that sends Arrow is known"
    if config.fast == "auto" and expected is not None and expected < _PAYS:
        return f"for fewer than {_PAYS:,} the fast way would not pay"
    if backend in _PACKED:
        return packing.obstacle(asked)
    if backend != "duckdb":
        if config.engine is not None:
            return "an engine of yours is read through its own connections"
        if config.timeout is not None:
            return "a timeout is kept by the usual driver only"
        if find_spec(f"adbc_driver_{backend}") is None:
            return f'adbc-driver-{backend} is not installed (pip install "cracktrader-sql[fast]")'
        if backend == "postgresql" and (odd := set(database.url.query) - _LIBPQ):
            return f"{min(odd)!r} in the url is for the usual driver only"
    return ""


def _columns(database: Database, batches: Batches, config: SqlConfig) -> Generator[Columns]:
    """Batches as columns of at most ``chunk_size`` rows; the small ones that some drivers send are put together."""
    waiting: list[pa.RecordBatch] = []
    rows = 0
    with told(database.label, database.hidden), closing(batches):
        for batch in batches:
            for start in range(0, batch.num_rows, config.chunk_size):
                part = batch.slice(start, config.chunk_size)
                if rows + part.num_rows > config.chunk_size:
                    yield pa.Table.from_batches(waiting).columns
                    waiting, rows = [], 0
                waiting.append(part)
                rows += part.num_rows
        if rows:
            yield pa.Table.from_batches(waiting).columns


# ── drivers ──────────────────────────────────────────────────────────────────────────────────────────

#: What of a URL PostgreSQL's own library understands too.
_LIBPQ: Final = {
    "application_name", "host", "options", "port", "sslcert", "sslkey", "sslmode", "sslrootcert", "target_session_attrs",
}  # fmt: skip


def _from_sqlite(ask: _Ask) -> Batches:
    import adbc_driver_sqlite.dbapi as driver

    path = str(ask.database.url.database)
    uri = path if path.startswith("file:") else f"file:{_quoted(path)}?mode=ro"
    with driver.connect(uri) as own, own.cursor() as cursor:
        cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(min(ask.size, _SQLITE_ROWS))})
        busy = round(ask.database.config.connect_timeout * 1000)
        cursor.execute(f"PRAGMA busy_timeout = {busy}")
        cursor.fetchall()
        kinds = _kinds(ask.question)
        reader = _executed(cursor, ask.question.statement())
        try:
            if any(field.type not in known for field, known in zip(reader.schema, kinds, strict=True) if known):
                reader = _executed(cursor, _with_kinds(ask.question, kinds))
                yield next(reader).slice(1)
            yield from reader
        except (driver.Error, pa.ArrowException, OSError) as error:
            if "mismatch" not in str(error).lower():
                raise
            raise MalformedData(
                "A column holds values of more than one kind.",  # the driver quotes one that may be none of them
                hint="Repair the rows; or read them one by one, where text that holds a number counts as one, and others are"
                " quoted: fast='no'.",
            ) from error


def _executed(cursor: Any, statement: sa.Select[Any] | sa.CompoundSelect[Any]) -> pa.RecordBatchReader:
    compiled = statement.compile(dialect=SQLiteDialect(paramstyle="qmark"))
    cursor.execute(str(compiled), [compiled.params[name] for name in compiled.positiontup or ()])
    return cursor.fetch_record_batch()


def _kinds(asked: Question) -> list[tuple[pa.DataType, ...]]:
    """Of what kinds the columns of a question may be sent; of any, where nothing is said."""
    series = asked.series
    free = {series.relation.columns.get(role) for role in ("side", "id")} if series.is_of_trades else set()
    whole = {series.relation.columns.get("flags")}
    kinds: list[tuple[pa.DataType, ...]] = [()]
    for name in series.columns:
        number = (pa.float64(), pa.int64()) if name in whole else (pa.float64(),)
        kinds.append(() if name in free else (pa.string(),) if series.is_text(name) else number)
    return kinds


def _with_kinds(asked: Question, kinds: list[tuple[pa.DataType, ...]]) -> sa.CompoundSelect[Any]:
    """The rows of a question after one without a time, from which the driver sees of what kinds they are.

    It tells that from the first rows, which may all be whole numbers, or missing, where others are not. A value of another
    kind is an error then. A cast would make 0.0 of it, and to ask for each value's kind takes half as long as to read it.
    """
    wanted = asked.unordered()
    said = {pa.float64(): "0.0", pa.string(): "'0'"}
    texts = [said[known[0]] if known else "NULL" for known in kinds]
    first: list[sa.Label[Any]] = [sa.literal_column(text).label(f"c{number}") for number, text in enumerate(texts)]
    union = sa.union_all(sa.select(*first), sa.select(*wanted.columns))
    return union.order_by(*(union.selected_columns[name] for name in asked.order))


def _quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path, safe="/:\\")


class _SettingsCompiler(PGCompiler):
    """Writes ``current_setting('cracktrader.pN')`` where a parameter stands.

    COPY, by which rows come fastest, takes no parameters. So values are bound into settings of the session first, and the
    statement names those: no value is ever part of its text.
    """

    def bindparam_string(self, name: str, *_: Any, **__: Any) -> str:
        known: dict[str, str] = self.__dict__.setdefault("settings", {})
        setting = known.setdefault(name, f"cracktrader.p{len(known)}")
        kind = self.dialect.type_compiler_instance.process(self.binds[name].type) if name in self.binds else "TEXT"
        return f"CAST(current_setting('{setting}') AS {kind})"


def _from_postgresql(ask: _Ask) -> Batches:
    import adbc_driver_postgresql.dbapi as driver

    dialect: Any = PGDialect()  # type: ignore[no-untyped-call]
    dialect.statement_compiler = _SettingsCompiler
    compiled = ask.question.statement().compile(dialect=dialect)
    settings: dict[str, str] = getattr(compiled, "settings", {})
    values = {setting: compiled.params[name] for name, setting in settings.items()}
    url = ask.database.url.set(drivername="postgresql").update_query_dict(
        {"connect_timeout": str(max(2, round(ask.database.config.connect_timeout)))}
    )
    with driver.connect(url.render_as_string(hide_password=False)) as own, own.cursor() as cursor:
        cursor.execute("SET TRANSACTION READ ONLY")
        cursor.execute("SET LOCAL TIME ZONE 'UTC'")
        cursor.execute("SET LOCAL client_encoding TO 'UTF8'")  # as the driver writes, whatever the database is in
        for setting, value in values.items():
            cursor.execute("SELECT set_config($1, $2, true)", (setting, _as_setting(value)))
            cursor.fetchall()
        cursor.adbc_statement.set_options(
            **{"adbc.postgresql.batch_size_hint_bytes": str(min(max(ask.size * 56, 4096), 16 << 20))}
        )
        cursor.execute(str(compiled))
        yield from cursor.fetch_record_batch()


def _as_setting(value: Any) -> str:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _from_duckdb(ask: _Ask) -> Batches:
    compiled = ask.question.statement().compile(dialect=ask.connection.dialect)
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    with closing(_raw(ask.connection).duplicate()) as own:  # one connection holds one answer at a time
        own.execute(UTC)
        relation = own.sql(str(compiled), params=values)
        read: Callable[[int], Iterator[pa.RecordBatch]] = (
            getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        )
        yield from read(min(ask.size, 1_000_000))


def _raw(connection: sa.Connection) -> Any:
    return connection.connection.driver_connection


def _from_mysql(ask: _Ask) -> Batches:
    return packing.packed(ask.connection, ask.database.dialect, ask.question, ask.size)


_FETCHERS: Final = {
    "sqlite": (_from_sqlite, "Arrow"), "postgresql": (_from_postgresql, "Arrow"), "duckdb": (_from_duckdb, "Arrow"),
    "mysql": (_from_mysql, "packed text"), "mariadb": (_from_mysql, "packed text"),
}  # fmt: skip
_PACKED: Final = {"mysql", "mariadb"}
