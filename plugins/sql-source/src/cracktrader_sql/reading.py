"""Reading: from the configuration through one SELECT to Bars, chunk by chunk."""

from __future__ import annotations

import time as clock_time
from collections.abc import Generator
from contextlib import closing
from typing import Any, Final

import numpy as np

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import MalformedData, NotSupported, TemporarySourceError, UnsupportedMode, UnsupportedTimeframe
from cracktrader.request import BarRequest
from cracktrader.timeframe import TIMEFRAMES, Timeframe
from cracktrader.times import isoformat
from cracktrader_sql.aggregating import UnsureError, aggregated, obstacle
from cracktrader_sql.arrow import stream
from cracktrader_sql.asking import question
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database
from cracktrader_sql.relation import find_relation
from cracktrader_sql.rows import Columns, numbers
from cracktrader_sql.series import Series, find_series, frames_in, symbols_in, timeframe_of
from cracktrader_sql.trades import bars_of_rows
from cracktrader_sql.tuning import advice

__all__ = ["read_bars", "read_span", "read_symbols", "read_timeframes"]

#: How long to wait before another try, in seconds. What failed only after a while has waited already.
_PAUSES: Final = (0.1, 0.4)
_QUICK: Final = 2.0


def read_bars(database: Database, config: SqlConfig, request: BarRequest) -> Generator[Bars]:
    """The bars of a request, chunk by chunk; memory is bounded by ``chunk_size``.

    What fails for the moment is tried again, as long as no bar was delivered. Bars that the database can't put together
    as it would be done here are, from the first of them on, put together here.
    """
    pauses = list(_PAUSES)
    while True:
        delivered, begun = False, clock_time.monotonic()
        try:
            with closing(_read(database, config, request)) as chunks:
                for bars in chunks:
                    yield bars
                    delivered = True
            return
        except UnsureError as unsure:
            if config.aggregate == "database":
                raise MalformedData(
                    f"From {isoformat(unsure.opening)} on, bars can't be made in the database: {unsure.why}.",
                    hint="Repair the rows, or leave out aggregate='database'.",
                ) from None
            rest = request.but(start=unsure.opening)
            yield from read_bars(database, config.model_copy(update={"aggregate": "local"}), rest)
            return
        except TemporarySourceError:
            if delivered or not pauses or clock_time.monotonic() - begun > _QUICK:
                raise
        clock_time.sleep(pauses.pop(0))


def read_symbols(database: Database, config: SqlConfig) -> list[str]:
    """The symbols in the database; raises :class:`NotSupported` without a column of them."""
    with database.reading() as connection:
        relation = find_relation(connection, config, None)
        if not relation.has("symbol"):
            raise NotSupported(f"{relation.name} has no column of symbols.", hint="It is one series: name it with symbol='…'.")
        return symbols_in(connection, relation, database.dialect, config)


def read_span(database: Database, config: SqlConfig, request: BarRequest) -> tuple[int, int] | None:
    """The first and the last time of the series of a request, in milliseconds; None where it has no rows."""
    with database.reading() as connection:
        series = find_series(connection, database.dialect, config, request)
        return None if series is None else series.span


def read_timeframes(database: Database, config: SqlConfig) -> list[str]:
    """The timeframes in the database; of trades, all that are usual."""
    if config.trades:
        return list(TIMEFRAMES)
    if config.table_timeframe is not None:
        return [config.table_timeframe]
    with database.reading() as connection:
        relation = find_relation(connection, config, None)
        if relation.has("timeframe"):
            return [str(frame) for frame in frames_in(connection, relation, database.dialect, [])]
        symbols = symbols_in(connection, relation, database.dialect, config)[:1] if relation.has("symbol") else [""]
        for symbol in symbols:
            series = find_series(connection, database.dialect, config, BarRequest(config.symbol_filter or symbol, "1m"))
            if series is not None and (frame := timeframe_of(connection, series, config)) is not None:
                return [str(frame)]
        raise NotSupported(
            f"The timeframe of {relation.name.lower()} can't be told from its times.", hint="Say it: table_timeframe='1m'."
        )


def _read(database: Database, config: SqlConfig, request: BarRequest) -> Generator[Bars]:
    with database.reading() as connection:
        begun = clock_time.monotonic()
        series = find_series(connection, database.dialect, config, request)
        if series is None:
            return
        frame = None if config.trades else timeframe_of(connection, series, config)
        asked = question(series, database.dialect, config, request)
        notes = list(series.notes)
        if database.dialect.indexed:  # before the answer comes: some connections hold one at a time
            notes += advice(connection, series.relation, clock_time.monotonic() - begun)
        if config.trades or (config.aggregate == "database" and frame is not None and _makes(frame, request.timeframe)):
            where = _place(series, database, config, request)
            if not where:
                about = _about(series, "bars made in the database", notes)
                yield from aggregated(connection, database.dialect, asked, frame, about)
                return
            notes.append(f"Bars were made here, not in the database: {where}.")
        _refuse_other_bars(series, frame, request)
        rows = stream(database, connection, asked, _expected(series, request), config)
        with closing(rows.chunks) as chunks:
            if config.trades:
                yield from bars_of_rows(chunks, series, request, _about(series, rows.how, notes))
                return
            for columns in chunks:
                yield _bars(columns, series, request, _about(series, rows.how, notes))


def _makes(part: Timeframe, whole: Timeframe) -> bool:
    return part != whole and part.divides(whole)


def _place(series: Series, database: Database, config: SqlConfig, request: BarRequest) -> str:
    """Why bars can't be put together in the database, empty where they can; raises where they must be."""
    why = obstacle(series, database.dialect, config, request.timeframe)
    if why and config.aggregate == "database":
        raise UnsupportedMode(f"Bars can't be made in the database: {why}.", hint="Leave out aggregate='database'.", source="sql")
    return why


def _bars(columns: Columns, series: Series, request: BarRequest, provenance: dict[str, Any]) -> Bars:
    times = series.clock.to_ms(columns[0])
    values = [numbers(name, column, text=series.is_text(name)) for name, column in zip(series.columns, columns[1:], strict=True)]
    known = dict(zip(series.roles, values, strict=False))
    if "volume" not in known:
        known["volume"] = np.zeros(len(times))
        provenance["volume"] = "the table has none; 0 stands in its place"
    opened, high, low, close = (known[price] for price in PRICES)
    bars = Bars(
        times, opened, high, low, close, known["volume"], flags=known.get("flags"),
        extra=dict(zip(series.extra, values[len(series.roles) :], strict=True)),
        symbol=series.label, timeframe=request.timeframe, provenance=provenance,
    )  # fmt: skip
    inside = request.contains(times)
    if not inside.all():
        bars = bars[inside]
    return bars.in_order()


def _refuse_other_bars(series: Series, frame: Timeframe | None, request: BarRequest) -> None:
    """Never bars of another length under the name of those that were asked for."""
    if frame is not None and frame != request.timeframe:
        raise UnsupportedTimeframe(
            f"{series.relation.name} holds bars of {frame}, not of {request.timeframe}.",
            hint=f"Ask for {frame}, or for a timeframe that is made of those."
            f" If that is wrong, say table_timeframe={str(request.timeframe)!r}.",
        )


def _expected(series: Series, request: BarRequest) -> int | None:
    """About how many rows will come; None where nobody knows."""
    if request.timeframe.step is None or not series.relation.has("close"):
        return None
    first, last = series.span
    start, end = max(first, request.start or first), min(last + request.timeframe.step, request.end or last)
    rows: int = max(0, (end - start) // request.timeframe.step)
    return rows if request.limit is None else min(rows, request.limit)


def _about(series: Series, how: str, notes: list[str]) -> dict[str, Any]:
    wanted = ("time", *series.roles)
    about: dict[str, Any] = {
        "relation": series.relation.name.removeprefix("The "),
        "columns": {role: series.relation.columns[role] for role in wanted},
        "times": str(series.clock),
        "read_as": how,
    }
    return about | ({"notes": list(notes)} if notes else {})
