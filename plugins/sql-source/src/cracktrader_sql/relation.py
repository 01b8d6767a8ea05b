"""What is read: a table, a view or a query, and which of its columns is what."""

from __future__ import annotations

import datetime as dt
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from cracktrader.bars import PRICES
from cracktrader.columns import TIME_NAMES, find_columns, find_names
from cracktrader.errors import InvalidOption, MalformedData, NotSupported, SourceNotFound
from cracktrader.request import BarRequest
from cracktrader.times import isoformat
from cracktrader_sql.config import SqlConfig

__all__ = ["Relation", "find_relation", "plain", "some"]

#: The time, and the columns that tell series apart, by their usual names.
_KEYS: Final = {
    "time": ("opentime", "opentimestamp", "starttime", *TIME_NAMES, "bucket", "tradetime", "transacttime"),
    "symbol": ("symbol", "ticker", "pair", "instrument", "market", "coin", "asset"),
    "timeframe": ("timeframe", "interval", "tf", "period", "resolution", "granularity"),
    "exchange": ("exchange", "venue", "provider"),
}
_TRADE: Final = {
    "price": ("price", "p", "tradeprice"),
    "amount": ("amount", "size", "qty", "quantity", "volume"),
    "side": ("side", "takerside"),
    "id": ("id", "tradeid", "aggtradeid", "tid", "execid"),
}
_DAY: Final = 86_400_000
_EARLIEST, _LATEST = -30_610_224_000_000, 253_370_764_800_000  # the years 1000 to 9999, which all databases can hold


@dataclass(frozen=True, slots=True)
class Relation:
    """Something to select from. ``columns`` says by role what they are called: ``{"time": "ts", "open": "o", …}``, and
    ``codes`` what the driver calls the types of ``names``."""

    name: str
    source: sa.FromClause
    columns: Mapping[str, str]
    names: tuple[str, ...]
    codes: tuple[Any, ...]
    binds: frozenset[str] = frozenset()

    def column(self, role: str) -> sa.ColumnClause[Any]:
        """The column of a role, untyped: values come as the driver sends them."""
        return sa.column(self.columns[role])

    def code(self, name: str) -> Any:
        """What the driver calls the type of a column."""
        return self.codes[self.names.index(name)]

    def has(self, role: str) -> bool:
        """Whether there is a column of that role."""
        return role in self.columns


def find_relation(connection: sa.Connection, config: SqlConfig, request: BarRequest | None) -> Relation:
    """The table, view or query of a configuration; a request fills in what depends on the series.

    Names are those that the database itself tells. Raises :class:`SourceNotFound` where there is no such table,
    :class:`MalformedData` where a column is missing, :class:`InvalidOption` for a mapping to no column.
    """
    if config.query is not None:
        name, source, binds = "The query", *_query(config, request)
    else:
        source, binds = _table(connection, config, request), frozenset[str]()
        name = f"The table {source.fullname!r}"
    result = connection.execute(sa.select(sa.text("*")).select_from(source).limit(1))
    names = tuple(map(str, result.keys()))
    codes = tuple(column[1] for column in result.cursor.description)
    result.close()
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise MalformedData(f"{name} has two columns called {twice[0]!r}.", hint="Give one of them another name: … AS name.")
    return Relation(name, source, _columns(name, names, config), names, codes, binds)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────


def _table(connection: sa.Connection, config: SqlConfig, request: BarRequest | None) -> sa.TableClause:
    wanted = config.table or "ohlcv"
    schema, known = None, _tables(connection, None)
    name = _pick(wanted, known, config, request)
    if name is None and "." in wanted:
        schema, _, rest = wanted.partition(".")
        known = _tables(connection, schema)
        name = _pick(rest, known, config, request)
    if name is None:
        near = difflib.get_close_matches(wanted, known, n=1)
        raise SourceNotFound(
            f"There is no table {wanted!r} in the database.{f' Did you mean {near[0]!r}?' if near else ''}",
            hint=f"There are: {some(known) or 'none at all'}. Say which: table='…', or 'schema.table'.",
            table=wanted,
        )
    return sa.table(name, schema=schema)


def _tables(connection: sa.Connection, schema: str | None) -> list[str]:
    inspector = sa.inspect(connection)
    found: list[str] = []
    for listed in (inspector.get_table_names, inspector.get_view_names, inspector.get_materialized_view_names):
        try:
            found += listed(schema=schema)
        except (NotImplementedError, sa.exc.NoSuchTableError):
            continue
    return sorted(set(found))


def _pick(wanted: str, known: Sequence[str], config: SqlConfig, request: BarRequest | None) -> str | None:
    """The known table that is meant; one with the symbol in its name is found whatever signs and case that has."""
    if "{" not in wanted:
        return wanted if wanted in known else None
    if request is None:
        raise NotSupported(
            "Each series has a table of its own, so no column says which there are.", hint="Name the symbol that you want."
        )
    symbol = config.symbol_filter or request.symbol
    filled = plain(wanted.replace("{symbol}", symbol).replace("{timeframe}", request.timeframe))
    alike = [name for name in known if plain(name) == filled]
    if len(alike) > 1:
        raise InvalidOption(f"More than one table may be meant by {wanted!r}: {some(alike)}.", hint="Name it: table='…'.")
    return alike[0] if alike else None


def plain(name: str) -> str:
    """A name without case and signs, by which spellings of it are alike.

    >>> plain("BTC/USDT") == plain("btc_usdt")
    True
    """
    return "".join(c for c in name.casefold() if c.isalnum())


# ── queries ──────────────────────────────────────────────────────────────────────────────────────────


def _query(config: SqlConfig, request: BarRequest | None) -> tuple[sa.FromClause, frozenset[str]]:
    if not isinstance(config.query, str):
        return config.query.subquery("source"), frozenset()
    text = sa.text(f"{config.query}\n")  # a comment at its end must not swallow what follows
    binds = frozenset(text.compile().params)
    if unknown := sorted(binds - {"symbol", "timeframe", "start", "end"}):
        raise InvalidOption(
            f"The query has a parameter :{unknown[0]}, which means nothing here.",
            hint=r"There are :symbol, :timeframe, :start and :end. A colon that is no parameter is written as \:.",
            option="query",
        )
    if binds & {"start", "end"} and config.bind_times is None:
        raise InvalidOption(
            "The query is compared with :start or :end, and it is not known how its times are written.",
            hint="Say it: bind_times='ms' (or 's', 'us', 'ns') for epoch numbers, 'datetime' for timestamps, 'text' for text.",
            option="bind_times",
        )
    values: dict[str, Any] = {
        "symbol": config.symbol_filter or (request.symbol if request else ""),
        "timeframe": str(request.timeframe) if request else "",
        "start": _bound(config.bind_times, request.start if request else None, _EARLIEST, -_DAY),
        "end": _bound(config.bind_times, request.end if request else None, _LATEST, 2 * _DAY),
    }
    return text.bindparams(**{name: values[name] for name in binds}).columns().subquery("source"), binds


def _bound(kind: str | None, time: int | None, default: int, slack: int) -> Any:
    """A bound as the user's query compares it; text is a date, a day too early or late, to hold for any way of writing."""
    if kind == "text":
        return isoformat(default if time is None else time + slack)[:10]
    time = default if time is None else time
    if kind == "datetime":
        return dt.datetime.fromtimestamp(time / 1000, dt.UTC).replace(tzinfo=None)
    exact = {"s": (1, 1000), "ms": (1, 1), "us": (1000, 1), "ns": (1_000_000, 1)}[kind or "ms"]
    return min(max(time * exact[0] // exact[1], -(1 << 63)), (1 << 63) - 1)


# ── columns ──────────────────────────────────────────────────────────────────────────────────────────


def _columns(name: str, names: tuple[str, ...], config: SqlConfig) -> dict[str, str]:
    found = find_names(names, _KEYS)
    found |= find_names(names, _TRADE) if config.trades else {**find_columns(names), **found}
    needed = ("time", "price", "amount") if config.trades else ("time", *PRICES)
    roles = {*needed, "symbol", "timeframe", *(("side", "id") if config.trades else ("volume", "flags"))}
    for option, asked in (
        ("columns", config.columns.values()),
        ("where", config.where),
        ("extra_columns", config.extra_columns or ()),
    ):
        if absent := [column for column in asked if column not in names]:
            raise InvalidOption(
                f"{name} has no column {absent[0]!r}, which the option {option!r} names; found: {', '.join(names)}.",
                hint="Spell it as the database does.",
                option=option,
            )
    if unknown := sorted(set(config.columns) - roles):
        raise InvalidOption(
            f"There is nothing called {unknown[0]!r} to which columns could map.",
            hint=f"There are: {', '.join(sorted(roles))}. Further columns are named in extra_columns.",
            option="columns",
        )
    found |= config.columns
    if missing := [role for role in needed if role not in found]:
        raise MalformedData(
            f"{name} has no column for {', '.join(missing)}; found: {', '.join(names) or 'no columns at all'}.",
            hint=f"Say which it is: columns={{'{missing[0]}': '…'}}.",
            missing=missing,
        )
    return found


def some(names: Iterable[str]) -> str:
    """The first of many names, for a message."""
    listed = list(names)
    return ", ".join(listed[:20]) + (f" and {len(listed) - 20:,} more" if len(listed) > 20 else "")
