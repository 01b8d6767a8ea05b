"""Bars that are put together in the database, of trades or of shorter bars, where the result is the same as here.

Opening, highest, lowest and closing price are those of the rows themselves. Volumes are summed as whole hundred-millionths,
which is exact in any order, as :func:`~cracktrader.resampling.exact_sums` does it. What can't be summed so, and whatever
would be an error or be left out here, is found by the database on the way, and ends what it delivers.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import CracktraderError
from cracktrader.timeframe import Timeframe
from cracktrader_sql.asking import Question
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.dialects import Dialect
from cracktrader_sql.rows import numbers, stream_rows
from cracktrader_sql.series import Series

__all__ = ["UnsureError", "aggregated", "obstacle"]

_UNITS: Final[sa.ColumnElement[float]] = sa.literal_column("1e8")
_BOUGHT, _SOLD = ("buy", "b", "1"), ("sell", "s", "-1")
#: Bars that are handed over at once.
_BARS: Final = 8192


class UnsureError(CracktraderError):
    """From the bar ``opening`` on, the database can't put bars together as it would be done here."""

    def __init__(self, opening: int, why: str) -> None:
        super().__init__(f"{why[0].upper()}{why[1:]}.")
        self.opening, self.why = opening, why


def obstacle(series: Series, dialect: Dialect, config: SqlConfig, frame: Timeframe) -> str:
    """Why the bars of a series can't be put together in the database; empty where they can."""
    columns = series.relation.columns
    first = series.first
    if config.aggregate == "local":
        return "aggregate='local'"
    if not dialect.aggregates:
        return "this database can't tell which of many rows is the first"
    if dialect.in_process and config.aggregate == "auto":
        return "the file is read by this process, whoever makes the bars"
    if frame.step is None:
        return f"bars of {frame} differ in length"
    if series.clock.kind not in ("epoch", "timestamp", "aware"):
        return f"the times are {series.clock}"
    if series.clock.kind == "epoch" and not (isinstance(first[columns["time"]], int) and first[columns["time"]] >= 0):
        return "the times are not whole numbers above zero"
    if series.is_of_trades:
        if "id" not in columns or not isinstance(first[columns["id"]], int):
            return "without whole numbers as ids the order of trades of one moment is not known"
        if "side" in columns and not isinstance(first[columns["side"]], str):
            return "sides are not text"
    exact = (int, float, *dialect.nearest)
    if odd := [columns[role] for role in _values(series) if not isinstance(first[columns[role]], exact)]:
        return f"the column {odd[0]!r} does not hold plain numbers"
    return ""


def _values(series: Series) -> tuple[str, ...]:
    return ("price", "amount") if series.is_of_trades else tuple(role for role in series.roles if role != "flags")


def aggregated(
    connection: sa.Connection, dialect: Dialect, asked: Question, part: Timeframe | None, provenance: dict[str, Any]
) -> Generator[Bars]:
    """The bars of a request, put together in the database of trades, or of bars of ``part``.

    Raises :class:`UnsureError` from the first bar on that it can't.
    """
    frame = asked.request.timeframe
    rows = _trades(dialect, asked) if part is None else _bars(dialect, asked)
    with closing(stream_rows(connection, dialect, rows, _BARS)) as chunks:
        for values in chunks:
            columns = dict(zip(rows.selected_columns.keys(), values, strict=True))
            openings = frame.opening(np.array(columns.pop("bar"), dtype=np.int64))
            known = {name: numbers(name, column, text=True) for name, column in columns.items()}
            good = _good(known)
            cut = len(good) if good.all() else int(np.argmin(good))
            if cut:
                yield _made(openings[:cut], {name: column[:cut] for name, column in known.items()}, asked, part, provenance)
            if cut < len(good):
                raise UnsureError(int(openings[cut]), _why(known, cut))


def _good(known: dict[str, NDArray[np.float64]]) -> NDArray[np.bool_]:
    """Which bars are as they would be here; what is missing compares as false."""
    whole = np.logical_and.reduce([known[name] < 2.0**53 for name in known if name.startswith("units_")])
    tested = np.logical_and.reduce([known[name] == known["rows"] for name in ("sound", "distinct", "exact") if name in known])
    good: NDArray[np.bool_] = whole & tested
    return good


def _why(known: dict[str, NDArray[np.float64]], row: int) -> str:
    if known["sound"][row] != known["rows"][row]:
        return "a row has a value that no trade or bar has, or lacks one"
    if known["distinct"][row] != known["rows"][row]:
        return "a row occurs twice"
    return "a volume has more than eight decimals, or is too large to be summed exactly"


def _made(
    openings: Any, known: dict[str, NDArray[np.float64]], asked: Question, part: Timeframe | None, provenance: dict[str, Any]
) -> Bars:
    frame = asked.request.timeframe
    volumes = {name.removeprefix("units_"): known[name] / 1e8 for name in known if name.startswith("units_")}
    flags = np.zeros(len(openings), np.uint8)
    sums: dict[str, Any] = {**known, **volumes}
    names = ["quote_volume", "trades", "taker_buy_volume", "taker_buy_quote_volume"] if part is None else list(volumes)
    extra = {name: sums[name] for name in names if name in sums and name != "volume"}
    if part is None:
        provenance = provenance | {"resampled_from": "trades"}
    else:
        provenance = provenance | {"resampled_from": str(part)}
        whole = part.ordinal(frame.next(openings)) - part.ordinal(openings)
        flags[known["rows"] < whole] = Flag.SUSPECT
    opened, high, low, close = (known[price] for price in PRICES)
    return Bars(
        openings, opened, high, low, close, volumes.get("volume", np.zeros(len(openings))), flags=flags, extra=extra,
        symbol=asked.series.label, timeframe=frame, provenance=provenance,
    )  # fmt: skip


# ── statements ───────────────────────────────────────────────────────────────────────────────────────


def _inner(dialect: Dialect, asked: Question, columns: dict[str, Any]) -> sa.Subquery:
    """The rows, with their time in milliseconds, and the number of their bar."""
    series, frame = asked.series, asked.request.timeframe
    time = dialect.milliseconds(series.relation.column("time"), series.clock.kind, series.clock.unit)
    source = sa.select(time.label("ms"), *(column.label(name) for name, column in columns.items()))
    timed = source.select_from(series.relation.source).where(*asked.conditions).subquery("timed")
    anchor: sa.ColumnElement[int] = sa.literal_column(str(frame.opening(0)))
    bar = dialect.divided(timed.c.ms - anchor, sa.literal_column(str(frame.step)))
    return sa.select(bar.label("bar"), *timed.c).subquery("wanted")


def _whole(dialect: Dialect, asked: Question, name: str) -> sa.ColumnElement[Any]:
    return dialect.whole(sa.column(name), asked.series.relation.code(name))


def _trades(dialect: Dialect, asked: Question) -> sa.Select[Any]:
    names = {role: _whole(dialect, asked, asked.series.relation.columns[role]) for role in asked.series.roles}
    rows = _inner(dialect, asked, names).c
    order = (rows.ms, rows.id)
    price, amount = dialect.double(rows.price), dialect.double(rows.amount)
    sound = [rows.price > 0, rows.amount > 0, price < _UNITS * _UNITS, amount < _UNITS * _UNITS, rows.id.is_not(None)]
    made = [
        *_prices(dialect, dict.fromkeys(PRICES, rows.price), order),
        *_sums(amount, "volume"),
        sa.func.sum(price * amount).label("quote_volume"),
        sa.func.count().label("trades"),
        sa.func.count(rows.id.distinct()).label("distinct"),
    ]
    exact = [_is_exact(amount)]
    if "side" in names:
        side = sa.func.lower(rows.side)
        bought = sa.case((side.in_([sa.literal_column(f"'{word}'") for word in _BOUGHT]), amount), else_=sa.literal_column("0e0"))
        sound.append(side.in_([sa.literal_column(f"'{word}'") for word in (*_BOUGHT, *_SOLD)]))
        made += [*_sums(bought, "taker_buy_volume"), sa.func.sum(price * bought).label("taker_buy_quote_volume")]
    return _grouped(rows, made, sound, exact)


def _bars(dialect: Dialect, asked: Question) -> sa.Select[Any]:
    series = asked.series
    names = {role: _whole(dialect, asked, series.relation.columns[role]) for role in series.roles}
    names |= {f"extra {number}": _whole(dialect, asked, name) for number, name in enumerate(series.extra)}
    rows = _inner(dialect, asked, names).c
    summed = {"volume": rows.volume} if "volume" in names else {}
    summed |= {name: rows[f"extra {number}"] for number, name in enumerate(series.extra)}
    opened, high, low, close = (rows[price] for price in PRICES)
    sound = [high >= opened, high >= close, low <= opened, low <= close, low > 0, dialect.double(high) < _UNITS * _UNITS]
    sound += [rows.flags == 0] if "flags" in names else []
    doubles = {name: dialect.double(column) for name, column in summed.items()}
    made = [
        *_prices(dialect, {price: rows[price] for price in PRICES}, (rows.ms,)),
        *(part for name, column in doubles.items() for part in _sums(column, name)),
        sa.func.count(rows.ms.distinct()).label("distinct"),
    ]
    return _grouped(rows, made, sound, [_is_exact(column) for column in doubles.values()])


def _prices(dialect: Dialect, columns: dict[str, Any], order: tuple[Any, ...]) -> list[sa.Label[Any]]:
    return [
        dialect.first(columns["open"], order).label("open"),
        dialect.number(sa.func.max(columns["high"]), text=False).label("high"),
        dialect.number(sa.func.min(columns["low"]), text=False).label("low"),
        dialect.last(columns["close"], order).label("close"),
    ]


def _sums(column: Any, name: str) -> list[sa.Label[Any]]:
    return [sa.func.sum(sa.func.round(column * _UNITS)).label(f"units_{name}")]


def _is_exact(column: Any) -> sa.ColumnElement[bool]:
    return sa.and_(sa.func.round(column * _UNITS) / _UNITS == column, column >= 0)


def _grouped(rows: Any, made: list[Any], sound: list[Any], exact: list[Any]) -> sa.Select[Any]:
    one: sa.ColumnElement[int] = sa.literal_column("1")
    tests = [sa.func.count(sa.case((sa.and_(*sound), one))).label("sound")]
    tests += [sa.func.count(sa.case((sa.and_(*exact), one))).label("exact")] if exact else []
    return sa.select(rows.bar.label("bar"), *made, sa.func.count().label("rows"), *tests).group_by(rows.bar).order_by(rows.bar)
