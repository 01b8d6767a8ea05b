"""Which rows of a relation are the series that is asked for, and what is known of it before it is read."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import numpy as np
import sqlalchemy as sa

from cracktrader.bars import PRICES
from cracktrader.errors import InvalidOption, InvalidTimeframe, UnknownSymbol, UnsupportedTimeframe
from cracktrader.request import BarRequest
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader_sql.clock import Clock, clock_of
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.dialects import Dialect
from cracktrader_sql.relation import Relation, find_relation, plain, some

__all__ = ["Series", "find_series", "frames_in", "symbols_in", "timeframe_of"]

#: From how many bars the timeframe of a table is told, and fewer than this many do not prove that it is a longer one.
_SAMPLE, _PROOF = 200, 20
_DAY = 86_400_000


@dataclass(frozen=True, slots=True)
class Series:
    """The rows of one series; ``first`` and ``last`` are whole rows, by column."""

    relation: Relation
    conditions: tuple[sa.ColumnElement[bool], ...]
    label: str
    notes: tuple[str, ...]
    first: Mapping[str, Any]
    last: Mapping[str, Any]
    clock: Clock
    extra: tuple[str, ...]

    def is_text(self, column: str) -> bool:
        """Whether a column of numbers holds them as text."""
        return isinstance(self.first[column], str) or isinstance(self.last[column], str)

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last time, in milliseconds."""
        time = self.relation.columns["time"]
        first, last = self.clock.to_ms([self.first[time], self.last[time]]).tolist()
        return first, last

    @property
    def is_of_trades(self) -> bool:
        """Whether the rows are trades, not bars."""
        return self.relation.has("price") and not self.relation.has("close")

    @property
    def roles(self) -> tuple[str, ...]:
        """What is read of each row, besides its time and the further columns."""
        wanted = ("price", "amount", "side", "id") if self.is_of_trades else ()
        return tuple(role for role in wanted or (*PRICES, "volume", "flags") if self.relation.has(role))

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns that are read besides the time: those of the roles, then the further ones."""
        return (*(self.relation.columns[role] for role in self.roles), *self.extra)


def find_series(connection: sa.Connection, dialect: Dialect, config: SqlConfig, request: BarRequest) -> Series | None:
    """The series of a request, None where it has no rows.

    Raises :class:`UnknownSymbol`, :class:`UnsupportedTimeframe`, or whatever the relation does."""
    relation = find_relation(connection, config, request)
    conditions = _of_config(relation, dialect, config)
    notes: list[str] = []
    asked = config.symbol_filter or request.symbol
    label = request.symbol or asked
    if relation.has("symbol"):
        spelled = _symbol(connection, relation, dialect, conditions, asked)
        if asked and spelled != asked:
            notes.append(f"The symbol {asked!r} is spelled {spelled!r} in the database.")
        conditions.append(_exactly(relation, relation.columns["symbol"], dialect, spelled))
        label = label or spelled
    if relation.has("timeframe") and not config.trades:
        spelled = _timeframe(connection, relation, dialect, conditions, request.timeframe)
        conditions.append(_exactly(relation, relation.columns["timeframe"], dialect, spelled))
    first = _extreme(connection, relation, conditions, sa.asc)
    last = first and _extreme(connection, relation, conditions, sa.desc)
    if first is None and "symbol" in relation.binds:
        _refuse_unknown(connection, config, request, asked)
    if first is None or last is None:
        return None
    if relation.has("exchange") and relation.columns["exchange"] not in config.where:
        _refuse_several_exchanges(connection, relation, dialect, conditions, first)
    if lacking := _without_time(connection, relation, conditions):
        notes.append(f"{lacking:,} rows have no time, and are left out.")
        conditions.append(relation.column("time").is_not(None))
    clock = clock_of(first[relation.columns["time"]], last[relation.columns["time"]], config.time_unit)
    extra = _extra(relation, config, first, last)
    return Series(relation, tuple(conditions), label, tuple(notes), first, last, clock, extra)


def symbols_in(connection: sa.Connection, relation: Relation, dialect: Dialect, config: SqlConfig) -> list[str]:
    """Every symbol, in alphabetical order."""
    return _spellings(connection, relation, "symbol", dialect, _of_config(relation, dialect, config))


def _spellings(
    connection: sa.Connection, relation: Relation, role: str, dialect: Dialect, conditions: list[sa.ColumnElement[bool]]
) -> list[str]:
    """What stands in a column, each as it is spelled."""
    column = relation.column(role)
    # not DISTINCT: a database without case would show one of two spellings
    statement = sa.select(sa.func.min(column)).select_from(relation.source).where(*conditions).group_by(dialect.spelling(column))
    return sorted(str(text) for (text,) in connection.execute(statement) if text is not None)


def _exactly(relation: Relation, name: str, dialect: Dialect, value: str) -> sa.ColumnElement[bool]:
    """That a column has this value to the letter."""
    return dialect.exactly(sa.column(name), value, relation.code(name))


def _of_config(relation: Relation, dialect: Dialect, config: SqlConfig) -> list[sa.ColumnElement[bool]]:
    return [
        _exactly(relation, name, dialect, value) if isinstance(value, str) else sa.column(name) == value
        for name, value in config.where.items()
    ]


def _symbol(
    connection: sa.Connection, relation: Relation, dialect: Dialect, conditions: list[sa.ColumnElement[bool]], asked: str
) -> str:
    """How the symbol is spelled in the table."""
    if asked and _is_there(connection, relation, conditions, _exactly(relation, relation.columns["symbol"], dialect, asked)):
        return asked
    known = _spellings(connection, relation, "symbol", dialect, conditions)
    if not asked:
        if len(known) == 1:
            return known[0]
        raise InvalidOption(
            f"{relation.name} holds {f'several symbols ({some(known)})' if known else 'no symbol'}, and none was asked for.",
            hint=f"Say which: symbol={known[0]!r}." if known else "Is it the right table?",
        )
    alike = [symbol for symbol in known if plain(symbol) == plain(asked)]
    if len(alike) == 1:
        return alike[0]
    near = alike or difflib.get_close_matches(asked, known, n=3, cutoff=0.5)
    raise UnknownSymbol(
        f"There is no symbol {asked!r} in {relation.name.lower()}.{f' Did you mean {near[0]!r}?' if near else ''}",
        hint=f"There are: {some(known) or 'none'}. To read one under another name, add symbol_filter='…'.",
        symbol=asked,
        near=near,
    )


def _without_time(connection: sa.Connection, relation: Relation, conditions: list[sa.ColumnElement[bool]]) -> int:
    """How many rows of a series have no time."""
    lacking = sa.select(sa.func.count()).select_from(relation.source).where(*conditions, relation.column("time").is_(None))
    return int(connection.execute(lacking).scalar_one())


def _is_there(
    connection: sa.Connection, relation: Relation, conditions: list[sa.ColumnElement[bool]], condition: sa.ColumnElement[bool]
) -> bool:
    one: sa.ColumnElement[int] = sa.literal_column("1")
    statement = sa.select(one).select_from(relation.source).where(*conditions, condition).limit(1)
    return connection.execute(statement).first() is not None


def _extreme(
    connection: sa.Connection, relation: Relation, conditions: list[sa.ColumnElement[bool]], order: Any
) -> Mapping[str, Any] | None:
    """The first or the last row of a series."""
    time = relation.column("time")
    columns: list[sa.ColumnClause[Any]] = [sa.column(name) for name in relation.names]
    statement = (
        sa.select(*columns).select_from(relation.source).where(*conditions, time.is_not(None)).order_by(order(time)).limit(1)
    )
    row = connection.execute(statement).first()
    return None if row is None else dict(zip(relation.names, row, strict=True))


def _refuse_unknown(connection: sa.Connection, config: SqlConfig, request: BarRequest, asked: str) -> None:
    """A query that finds nothing for a symbol at any time does not know it."""
    everything = find_relation(connection, config, BarRequest(request.symbol, request.timeframe))
    if _extreme(connection, everything, [], sa.asc) is None:
        raise UnknownSymbol(
            f"The query finds nothing for the symbol {asked!r}, at any time.",
            hint="Spell it as in the database: symbol_filter='…'.",
            symbol=asked,
        )


def _refuse_several_exchanges(
    connection: sa.Connection,
    relation: Relation,
    dialect: Dialect,
    conditions: list[sa.ColumnElement[bool]],
    first: Mapping[str, Any],
) -> None:
    """Two markets in one series would be neither; and a row without an exchange may be of any."""
    name = relation.columns["exchange"]
    column: sa.ColumnClause[Any] = sa.column(name)
    known = first[name]
    if known is None:
        differs: sa.ColumnElement[bool] = column.is_not(None)
    elif isinstance(known, str):
        differs = column.is_(None) | (dialect.spelling(column) != dialect.spelling(sa.literal(known)))
    else:
        differs = column.is_(None) | (column != known)
    other = sa.select(column).select_from(relation.source).where(*conditions, differs).limit(1)
    if (row := connection.execute(other).first()) is not None:
        raise InvalidOption(
            f"{relation.name} holds this symbol of more than one {name}: {known!r} and {row[0]!r}.",
            hint=f"Say which: where={{{name!r}: {row[0] if known is None else known!r}}}.",
        )


def _extra(relation: Relation, config: SqlConfig, first: Mapping[str, Any], last: Mapping[str, Any]) -> tuple[str, ...]:
    if config.trades:
        return ()
    if config.extra_columns is not None:
        return config.extra_columns
    taken = {*relation.columns.values(), *config.where}
    return tuple(
        name for name in relation.names if name not in taken and name.lower() != "id" and _numeric(first[name], last[name])
    )


def _numeric(*values: Any) -> bool:
    known = [value for value in values if value is not None]
    return bool(known) and all(isinstance(value, (int, float, Decimal)) and not isinstance(value, bool) for value in known)


# ── timeframes ───────────────────────────────────────────────────────────────────────────────────────


def _timeframe(
    connection: sa.Connection, relation: Relation, dialect: Dialect, conditions: list[sa.ColumnElement[bool]], asked: Timeframe
) -> str:
    """How the timeframe is spelled in the table."""
    wanted = _exactly(relation, relation.columns["timeframe"], dialect, str(asked))
    if _is_there(connection, relation, conditions, wanted):
        return str(asked)
    spelled = frames_in(connection, relation, dialect, conditions)
    if asked not in spelled:
        raise UnsupportedTimeframe(
            f"{relation.name} has no bars of {asked} here; there are {some(spelled) or 'none'}.",
            hint="Ask for one of those, or for one that is made of them.",
        )
    return spelled[asked]


def frames_in(
    connection: sa.Connection, relation: Relation, dialect: Dialect, conditions: list[sa.ColumnElement[bool]]
) -> dict[Timeframe, str]:
    """The timeframes in a column of them, with their spelling there; what is no timeframe is left out."""
    found: dict[Timeframe, str] = {}
    for text in _spellings(connection, relation, "timeframe", dialect, conditions):
        try:
            found.setdefault(Timeframe(text), text)
        except InvalidTimeframe:
            continue
    return found


def timeframe_of(connection: sa.Connection, series: Series, config: SqlConfig) -> Timeframe | None:
    """The timeframe of a table that doesn't say, from its first times; None where they are on no grid, or too few."""
    if config.table_timeframe is not None:
        return Timeframe(config.table_timeframe)
    if series.relation.has("timeframe"):
        return None
    column = series.relation.column("time")
    statement = (
        sa.select(column).distinct().select_from(series.relation.source).where(*series.conditions, column.is_not(None))
        .order_by(column).limit(_SAMPLE)
    )  # fmt: skip
    times = np.unique(series.clock.to_ms([time for (time,) in connection.execute(statement)]))
    if len(times) < _PROOF:
        return None
    step = int(np.diff(times).min())
    usual = [frame for frame in map(Timeframe, (*TIMEFRAMES, "3M", "1Y")) if frame.step in (step, None)]
    other = [Timeframe(f"{step // 1000}s")] if step % 1000 == 0 and step // 1000 <= 999_999 else []
    # Days all lie on the grid of months only where they are first days: so months come with their own distance.
    frames = [frame for frame in (*usual, *other) if frame.step is not None or step >= 28 * frame.amount * _DAY]
    return next((frame for frame in frames if (frame.floor(times) == times).all()), None)
