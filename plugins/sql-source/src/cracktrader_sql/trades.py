"""Bars from a table of trades, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from cracktrader.bars import Bars
from cracktrader.errors import MalformedData
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader.trades import bars_of_trades
from cracktrader_sql.rows import Columns, numbers
from cracktrader_sql.series import Series

__all__ = ["bars_of_rows"]

#: How much earlier a trade may be than one that comes before it, in milliseconds; None for no end of it. Text of local times
#: comes in the order of what it says, whose offsets may be 26 hours apart, and a day may be written in two ways.
_LATE: Final[dict[str, int | None]] = {"text": 50 * 3_600_000, "opaque": None}


def bars_of_rows(chunks: Iterator[Columns], series: Series, request: BarRequest, provenance: dict[str, Any]) -> Iterator[Bars]:
    """The bars of trades that come in the order of their column of times; those of a bar that may go on wait for the rest.

    Raises :class:`MalformedData` for a trade of a bar that was passed on: it came later than its text explains.
    """
    frame, late = request.timeframe, _LATE.get(series.clock.kind, 0)
    tables: list[pa.Table] = []
    passed: int | None = None
    for columns in chunks:
        tables.append(_table(columns, series, request))
        if late is None:
            continue
        waiting, openings = _in_order(tables, frame, passed)
        over = int(np.searchsorted(openings, frame.floor(_last(waiting) - late))) if waiting.num_rows else 0
        if over:
            yield _bars(waiting.slice(0, over), openings[:over], request, series, provenance)
            passed = frame.next(int(openings[over - 1]))
        tables = [waiting.slice(over)]
    waiting, openings = _in_order(tables, frame, passed)
    if waiting.num_rows:
        yield _bars(waiting, openings, request, series, provenance)


def _in_order(tables: list[pa.Table], frame: Timeframe, passed: int | None) -> tuple[pa.Table, NDArray[np.int64]]:
    """The trades by their times, and when the bar of each opens; those of one moment stay as they came."""
    if not tables:
        return pa.table({}), np.empty(0, np.int64)
    table = pa.concat_tables(tables, promote_options="permissive")
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    if (times[1:] < times[:-1]).any():
        order = np.argsort(times, kind="stable")
        table, times = table.take(order), times[order]
    if passed is not None and len(times) and times[0] < passed:
        raise MalformedData(
            f"The text of times is in no order: a trade of {isoformat(int(times[0]))} comes after those of {isoformat(passed)}.",
            hint="Read it through a query that makes timestamps of the text.",
        )
    return table, frame.floor(times)


def _last(table: pa.Table) -> int:
    return int(table["timestamp"][-1].value)


def _table(columns: Columns, series: Series, request: BarRequest) -> pa.Table:
    times = series.clock.to_ms(columns[0])
    named: dict[str, Any] = {"timestamp": pa.array(times).view(pa.timestamp("ms", "UTC"))}
    for role, column in zip(series.roles, columns[1:], strict=True):
        name = series.relation.columns[role]
        named[role] = column if role in ("side", "id") else numbers(name, column, text=series.is_text(name))
    table = pa.table(named)
    inside = request.contains(times)
    return table if inside.all() else table.filter(pa.array(inside))


def _bars(table: pa.Table, openings: Any, request: BarRequest, series: Series, provenance: dict[str, Any]) -> Bars:
    start, end = int(openings[0]), request.timeframe.next(int(openings[-1]))
    options: dict[str, Any] = {"symbol": series.label, "timeframe": request.timeframe, "provenance": provenance}
    return bars_of_trades(table, start=start, end=end, **options)
