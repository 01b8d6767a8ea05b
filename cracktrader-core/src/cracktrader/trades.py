"""Bars made from trades, on the calendar grid: what an exchange makes of its own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import Bars, Flag
from cracktrader.columns import find_names, floats, is_frame, named_once, record_columns, series_to_ms, series_values
from cracktrader.errors import DataError, MalformedData
from cracktrader.events import Trade
from cracktrader.request import refuse_backwards
from cracktrader.resampling import exact_sums, product_sums, rows_that_open
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, parse_time

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["bars_of_trades"]

#: Names under which sources keep the parts of a trade, best first; compared without case, blanks and signs.
_NAMES: Final = {
    # "t" is a time to some and an id to others
    "time": ("timestamp", "time", "datetime", "date", "ts", "unix", "unixtime", "transacttime", "tradetime"),
    "price": ("price", "p", "tradeprice"),
    "amount": ("amount", "size", "qty", "quantity", "volume"),
    "side": ("side", "takerside"),
    "maker": ("isbuyermaker", "buyermaker"),
    "id": ("id", "tradeid", "aggtradeid", "tid", "trdmatchid", "execid"),
    "symbol": ("symbol",),
}
_BOUGHT: Final = {"buy": True, "b": True, "1": True, "sell": False, "s": False, "-1": False}
#: Where the buyer was the maker, the taker sold.
_BOUGHT_BY_MAKER: Final = {"true": False, "1": False, "false": True, "0": True}
#: Up to here floats tell whole numbers apart.
_EXACT: Final = 2.0**53


def bars_of_trades(
    trades: Any,
    *,
    symbol: str,
    timeframe: str,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    source: str = "",
    provenance: Mapping[str, Any] | None = None,
) -> Bars:
    """Bars of a pandas frame of trades, of anything with ``__arrow_c_stream__``, of a mapping of columns, or of
    an iterable of :class:`~cracktrader.events.Trade` or of mappings.

    Columns are found by their usual names: time, price and amount, and if they are there side and id. Trades
    are put in the order of their times, those of one moment by id where ids are whole numbers, otherwise as they
    stand, or the other way round in a listing that begins with the newest; a trade whose id occurs again counts
    once. Intervals without trades have no bar. Extra columns are ``quote_volume``, ``trades`` (their number) and,
    where all sides are known, ``taker_buy_volume`` and ``taker_buy_quote_volume``. Volumes of up to eight decimals
    are exact sums, as in :func:`~cracktrader.resampling.resample`.

    ``[start, end)`` is the range of which ``trades`` holds everything; a bar that does not lie wholly inside is
    flagged SUSPECT. Without ``start`` that is the first bar, without ``end`` the last.

    Raises :class:`~cracktrader.errors.MalformedData` for columns that are missing or unreadable, a price or
    amount that is not a number above zero, and one id on different trades.
    """
    frame = Timeframe(timeframe)
    begin, stop = (None if bound is None else parse_time(bound) for bound in (start, end))
    refuse_backwards(begin, stop)
    time, columns, notes = _read(_columns_of(trades))
    notes = {**(provenance or {}), "resampled_from": "trades", **notes}
    if not len(time):
        extra = {"quote_volume": np.empty(0), "trades": np.empty(0)}
        return Bars.empty(symbol, frame, extra=extra, source=source, provenance=notes)
    price, amount = columns["price"], columns["amount"]
    starts = rows_that_open(time, frame)
    openings = frame.floor(time[starts])
    extra = {"quote_volume": product_sums(price, amount, starts), "trades": np.diff(starts, append=len(time)).astype(np.float64)}
    if "bought" in columns:
        bought = np.where(columns["bought"], amount, 0.0)
        extra["taker_buy_volume"] = exact_sums(bought, starts)
        extra["taker_buy_quote_volume"] = product_sums(price, bought, starts)
    return Bars(
        openings,
        price[starts],
        np.maximum.reduceat(price, starts),
        np.minimum.reduceat(price, starts),
        price[np.append(starts[1:], len(time)) - 1],
        exact_sums(amount, starts),
        flags=np.where(_within(openings, frame, begin, stop), 0, Flag.SUSPECT).astype(np.uint8),
        extra=extra,
        symbol=symbol,
        timeframe=frame,
        source=source,
        provenance=notes,
    )


def _within(openings: NDArray[np.int64], frame: Timeframe, start: int | None, end: int | None) -> NDArray[np.bool_]:
    """Which bars lie wholly in ``[start, end)``; an end that is not known lies within the bar there."""
    ends = frame.next(openings)
    first = openings[0] + 1 if start is None else start
    last = ends[-1] - 1 if end is None else end
    return (openings >= first) & (ends <= last)


# ── columns in ───────────────────────────────────────────────────────────────────────────────────────


def _columns_of(trades: Any) -> dict[str, Any]:
    """The columns of whatever trades came in, by the names of ``_NAMES``, as pandas series."""
    import pandas as pd

    if is_frame(trades):
        frame = trades
    elif hasattr(trades, "__arrow_c_stream__"):
        import pyarrow as pa

        try:
            table = pa.table(trades)
        except (pa.ArrowInvalid, TypeError) as error:  # a stream of one column
            raise _no_trades(trades) from error
        names = find_names(named_once(table.column_names), _NAMES)
        frame = table.select(list(names.values())).to_pandas(split_blocks=True, ignore_metadata=True)
    else:
        return _series_of(trades)
    series = dict(zip(named_once(frame.columns), (column for _, column in frame.items()), strict=True))
    found = {part: series[name] for part, name in find_names(series, _NAMES).items()}
    if isinstance(frame.index, pd.DatetimeIndex):
        found["time"] = frame.index
    return found


def _series_of(trades: Any) -> dict[str, Any]:
    """The columns of a mapping of arrays, or of trades one by one."""
    import pandas as pd

    columns: dict[Any, Any]
    if isinstance(trades, Mapping) and not isinstance(trades, Trade):
        columns = dict(trades)
    elif isinstance(trades, Iterable) and not isinstance(trades, (str, bytes, Mapping)):
        rows = list(trades)
        if wrong := next((row for row in rows if not isinstance(row, Mapping)), None):
            raise _no_trades(wrong)
        columns = {**record_columns(rows)} if rows else {"time": np.empty(0), "price": np.empty(0), "amount": np.empty(0)}
        if rows and all(isinstance(row, Trade) for row in rows):  # milliseconds, whatever their magnitude
            columns["time"] = np.array(columns["time"], dtype="datetime64[ms]")
    else:
        raise _no_trades(trades)
    try:
        found = find_names(named_once(columns), _NAMES)
        return {part: pd.Series(columns[name], copy=False) for part, name in found.items()}
    except (TypeError, ValueError) as error:
        raise MalformedData(f"The columns of these trades can't be read: {error}.") from error


def _no_trades(data: Any) -> DataError:
    return DataError(
        f"This is {type(data).__name__}: {str(data)[:60]!r}, which can't be read as trades.",
        hint="Give a pandas frame, anything with __arrow_c_stream__ (Arrow, polars, duckdb), a mapping of columns,"
        " or an iterable of Trade.",
    )


def _read(found: Mapping[str, Any]) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]], dict[str, Any]]:
    """Times in milliseconds, the other columns, both in order and without trades that occur again, and what was done."""
    if missing := [part for part in ("time", "price", "amount") if part not in found]:
        raise MalformedData(
            f"There is no column for {', '.join(missing)} in these trades.",
            hint="Rename the columns to timestamp, price and amount.",
            missing=missing,
        )
    if len({len(series) for series in found.values()}) > 1:
        lengths = ", ".join(f"{part} {len(series)}" for part, series in found.items())
        raise MalformedData(f"The columns of these trades differ in length: {lengths}.")
    if "symbol" in found and found["symbol"].nunique(dropna=False) > 1:
        raise MalformedData("These are trades of more than one symbol.", hint="Make the bars of each by itself.")
    time, moment = series_to_ms(found["time"]), _moments(found["time"])
    columns: dict[str, NDArray[Any]] = {
        part: _positive(part, floats(part, series_values(found[part]))) for part in ("price", "amount")
    }
    for part, known in (("side", _BOUGHT), ("maker", _BOUGHT_BY_MAKER)):
        if part in found and "bought" not in columns and (bought := _bought(found[part], known)) is not None:
            columns["bought"] = bought
    rows = _rows(time if moment is None else moment, columns, found.get("id"))
    if rows is None:
        return time, columns, {}
    notes = {"duplicate_trades": len(time) - len(rows)} if len(rows) < len(time) else {}
    return time[rows], {name: values[rows] for name, values in columns.items()}, notes


def _moments(times: Any) -> NDArray[Any] | None:
    """Times as fine as they are given, to tell trades of one millisecond apart; None where they are no numbers."""
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(times.dtype):
        return pd.DatetimeIndex(times).asi8
    return series_values(times) if pd.api.types.is_numeric_dtype(times.dtype) else None


def _positive(part: str, values: NDArray[np.float64]) -> NDArray[np.float64]:
    if values.size and not (values.min() > 0 and values.max() < np.inf):
        row = int(np.flatnonzero(~((values > 0) & (values < np.inf)))[0])
        raise MalformedData(
            f"The {part} in row {row} is {values[row]}: no trade has that.",
            hint="Bars are made of trades with a price and an amount above zero; take out the rows that are none.",
            column=part,
            row=row,
        )
    return values


def _bought(sides: pd.Series, known: Mapping[str, bool]) -> NDArray[np.bool_] | None:
    """Where the taker bought; None where not every side is known."""
    import pandas as pd

    codes, values = pd.factorize(sides)
    if (codes < 0).any():
        return None
    words = [str(value).lower().removesuffix(".0") for value in values]
    if unknown := next((word for word in words if word not in known), None):
        row = int(np.flatnonzero(codes == words.index(unknown))[0])
        raise MalformedData(
            f"The side in row {row} is {unknown!r}, which says neither buy nor sell.",
            hint="Write 'buy' and 'sell' for the side of the taker, or leave the column out.",
            column="side",
            row=row,
        )
    return np.array([known[word] for word in words], np.bool_)[codes]


# ── order ────────────────────────────────────────────────────────────────────────────────────────────


def _rows(moment: NDArray[Any], columns: Mapping[str, NDArray[Any]], ids: pd.Series | None) -> NDArray[np.int64] | None:
    """The rows by moment, then by id where ids have an order, each id once; None where that is how they stand.

    Without such ids, times that fall and never rise are those of a listing that begins with the newest: it is turned.
    """
    again = numbers = None
    ascending = False
    if ids is not None:
        numbers = _whole_numbers(ids)
        ascending = numbers is not None and bool((numbers[1:] > numbers[:-1]).all())
        if ascending:
            numbers = None  # each occurs once, and they order trades as they stand
        else:
            again = _again(ids, {"time": moment, **columns})
    in_order = moment[1:] >= moment[:-1]
    if numbers is not None:
        in_order &= (moment[1:] > moment[:-1]) | (numbers[1:] >= numbers[:-1])
    rows = None
    if not in_order.all():
        if numbers is not None:
            rows = np.lexsort((numbers, moment))
        elif not ascending and (moment[1:] <= moment[:-1]).all():
            rows = np.arange(len(moment))[::-1]
        else:
            rows = np.argsort(moment, kind="stable")
    if again is not None and again.any():
        rows = np.flatnonzero(~again) if rows is None else rows[~again[rows]]
    return rows


def _whole_numbers(ids: pd.Series) -> NDArray[Any] | None:
    """Ids as whole numbers, by which trades of one moment are ordered; None where they are something else."""
    values = series_values(ids)
    if values.dtype.kind in "iu":
        return values
    if values.dtype.kind == "f":
        if (np.abs(values) >= _EXACT).any():
            raise MalformedData("The ids of these trades are floats too large to be told apart.", hint="Read them as integers.")
        return values if np.isfinite(values).all() else None
    try:
        return values.astype(np.int64)
    except (TypeError, ValueError, OverflowError):
        return None


def _again(ids: pd.Series, columns: Mapping[str, NDArray[Any]]) -> NDArray[np.bool_]:
    """The trades whose id occurred before; raises where they differ from the first, because then one is wrong."""
    import pandas as pd

    codes, values = pd.factorize(ids)
    if len(values) == np.count_nonzero(codes >= 0):
        return np.zeros(len(codes), np.bool_)
    rows = np.arange(len(codes))
    first = np.empty(len(values) + 1, np.int64)
    first[codes[::-1]] = rows[::-1]  # what has no id is -1: the last place, which nobody looks at
    again: NDArray[np.bool_] = (codes >= 0) & (first[codes] < rows)
    later = np.flatnonzero(again)
    earlier = first[codes[later]]
    for name, column in columns.items():
        if (differs := column[later] != column[earlier]).any():
            at = int(np.flatnonzero(differs)[0])
            row, other = int(later[at]), int(earlier[at])
            raise MalformedData(
                f"Rows {other} and {row} have the id {values[codes[row]]}, but differ in {name}:"
                f" {column[other]} and {column[row]}.",
                hint="Ids must be those of one market. Which of the two is the trade?",
                column=name,
                row=row,
            )
    return again
