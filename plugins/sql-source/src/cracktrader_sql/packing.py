"""Rows of MariaDB and MySQL, a thousand in one text: their drivers spend far longer on a row than on what is in it.

The server writes a number into a text as it would send it, so both ways give the same bits.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from decimal import Decimal
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import sqlalchemy as sa

from cracktrader.errors import MalformedData
from cracktrader_sql.asking import Question
from cracktrader_sql.dialects import Dialect
from cracktrader_sql.rows import stream_rows

__all__ = ["obstacle", "packed"]

#: How many bars of time share a text.
_BARS: Final = 1000
_LARGEST: Final = 1 << 62
#: What stands for NULL. MariaDB takes a double for 22 characters at most, where it may have 24, and cuts off the rest of a
#: line that is longer than its parts can be together: so the longest that may stand there is said to be longer.
_NULL: Final = "-" * 32


def obstacle(asked: Question) -> str:
    """Why rows can't come so, empty where they can: only of numbers is it known how they are written."""
    series = asked.series
    if series.is_of_trades:
        return "trades come one by one"
    if series.clock.kind not in ("epoch", "timestamp", "date"):
        return "the times are text"
    for name in series.columns:
        known = series.first[name] if series.first[name] is not None else series.last[name]
        if not isinstance(known, int | float | Decimal):
            return f"it is not known that the column {name!r} holds numbers"
    return ""


def packed(connection: sa.Connection, dialect: Dialect, asked: Question, size: int) -> Generator[pa.RecordBatch]:
    """The rows of a question, about ``size`` at a time. Raises :class:`MalformedData` where a text can't hold them."""
    wanted = asked.unordered()
    names = [column.name for column in wanted.columns]
    line = sa.func.concat(*(part for column in wanted.columns for part in (sa.func.coalesce(column, _NULL), ",")), "\n")
    stretch = _stretch(wanted.columns["c0"], asked)
    packs = sa.select(sa.func.aggregate_strings(line, ""), sa.func.count()).group_by(stretch).order_by(stretch)
    kinds = {name: pa.float64() for name in names} | {"c0": _kind_of_times(asked)}
    with closing(stream_rows(connection, dialect, packs, max(1, size // _BARS))) as parts:
        for texts, counts in parts:
            if any(text is None or text.count("\n") != count for text, count in zip(texts, counts, strict=True)):
                raise MalformedData(
                    f"{asked.series.relation.name} holds more rows than can be bars: they are longer than a text may be.",
                    hint="Has it one row for each bar? To read it all the same, add fast='no'.",
                )
            table = pacsv.read_csv(
                pa.py_buffer("".join(texts).encode()),
                pacsv.ReadOptions(column_names=[*names, "end"], use_threads=False),
                pacsv.ParseOptions(quote_char=False),
                pacsv.ConvertOptions(
                    column_types=kinds, null_values=[_NULL], strings_can_be_null=True, include_columns=names
                ),
            )  # fmt: skip
            times = asked.series.clock.to_ms(table["c0"])
            if (times[1:] < times[:-1]).any():  # within a text rows have no order
                table = table.take(np.argsort(times, kind="stable"))
            yield from table.combine_chunks().to_batches()


def _stretch(time: sa.ColumnElement[Any], asked: Question) -> sa.ColumnElement[Any]:
    """The number of the stretch of time that a row is in."""
    step = _BARS * asked.request.timeframe.shortest
    clock = asked.series.clock
    if clock.kind == "epoch":
        return sa.func.floor(time / min(clock.units(step), _LARGEST))
    return sa.func.floor(sa.func.timestampdiff(sa.text("SECOND"), "1970-01-01", time) / max(1, step // 1000))


def _kind_of_times(asked: Question) -> pa.DataType:
    first = asked.series.first[asked.series.relation.columns["time"]]
    return pa.int64() if isinstance(first, int) else pa.float64() if isinstance(first, float) else pa.string()
