"""The question that is put to the database, whichever way its rows come."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from cracktrader.request import BarRequest
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.dialects import Dialect
from cracktrader_sql.series import Series

__all__ = ["Question", "question"]


@dataclass(frozen=True, slots=True)
class Question:
    """Which rows of a series are wanted, and what of each: columns called ``c0``, the time, ``c1``, ``c2``, …"""

    series: Series
    request: BarRequest
    columns: tuple[sa.Label[Any], ...]
    conditions: tuple[sa.ColumnElement[bool], ...]
    #: By which columns rows are ordered.
    order: tuple[str, ...]
    limit: int | None
    #: Whether the limit is for the last rows.
    latest: bool

    def statement(self) -> sa.Select[Any]:
        """The rows in order."""
        if not self.latest:
            return self._plain().order_by(*self._sorted()).limit(self.limit)
        latest = self._plain().order_by(*(column.desc() for column in self._sorted())).limit(self.limit).subquery("latest")
        return sa.select(*latest.columns).order_by(*(latest.columns[name] for name in self.order))

    def unordered(self) -> sa.Subquery:
        """The rows in any order, to be selected from."""
        return (self._plain() if self.limit is None else self.statement()).subquery("wanted")

    def _plain(self) -> sa.Select[Any]:
        return sa.select(*self.columns).select_from(self.series.relation.source).where(*self.conditions)

    def _sorted(self) -> list[Any]:
        return [column.element for column in self.columns if column.name in self.order]


def question(series: Series, dialect: Dialect, config: SqlConfig, request: BarRequest) -> Question:
    """What to ask for the bars, or the trades, of a request: no more than is wanted, as far as the database can tell."""
    relation = series.relation
    time = relation.column("time")
    values: list[sa.ColumnElement[Any]] = []
    for name in series.columns:
        column = dialect.whole(sa.column(name), relation.code(name))
        plain = name == relation.columns.get("flags") and isinstance(series.first[name], int)
        plain |= config.trades and name in (relation.columns.get("side"), relation.columns.get("id"))
        values.append(column if plain else dialect.number(column, text=series.is_text(name)))
    columns = tuple(value.label(f"c{number}") for number, value in enumerate((time, *values)))
    bounds = series.clock.bounds(request.start, request.end)
    start, end = bounds or (None, None)
    conditions = list(series.conditions)
    if start is not None:
        conditions.append(time >= start)
    if end is not None:
        conditions.append(time < end)
    order = ["c0"]
    if config.trades and relation.has("id"):
        order.append(f"c{series.columns.index(relation.columns['id']) + 1}")
    exact = series.clock.kind not in ("text", "opaque") or (request.start is None and request.end is None)
    limit = None if config.trades or not exact else request.limit
    return Question(
        series, request, columns, tuple(conditions), tuple(order), limit, latest=limit is not None and request.start is None
    )
