"""Bars from a table of trades, a stretch at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa

from cracktrader.bars import Bars
from cracktrader.request import BarRequest
from cracktrader.trades import bars_of_trades
from cracktrader_sql.rows import Columns, numbers
from cracktrader_sql.series import Series

__all__ = ["bars_of_rows"]


def bars_of_rows(chunks: Iterator[Columns], series: Series, request: BarRequest, provenance: dict[str, Any]) -> Iterator[Bars]:
    """The bars of trades that come in the order of their times; the trades of a bar that may go on wait for the rest."""
    frame, waiting = request.timeframe, pa.table({})
    for columns in chunks:
        table = _table(columns, series, request)
        waiting = table if not waiting.num_columns else pa.concat_tables([waiting, table], promote_options="permissive")
        openings = frame.floor(waiting["timestamp"].cast(pa.int64()).to_numpy())
        if len(openings) and (over := int(np.searchsorted(openings, openings[-1]))):
            yield _bars(waiting.slice(0, over), openings[:over], request, series, provenance)
            waiting = waiting.slice(over)
    if waiting.num_rows:
        yield _bars(waiting, frame.floor(waiting["timestamp"].cast(pa.int64()).to_numpy()), request, series, provenance)


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
