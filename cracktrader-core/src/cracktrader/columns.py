"""Columns that others hand over, by name: prices and volumes as floats, times of any kind as milliseconds."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES
from cracktrader.errors import InvalidTime, MalformedData
from cracktrader.times import EpochUnit, epoch_to_ms, parse_time

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["TIME_NAMES", "arrow_to_ms", "find_columns", "find_names", "floats", "is_frame", "named_once", "numbers",
           "objects_to_ms", "record_columns", "series_to_ms", "series_values"]  # fmt: skip

#: Names under which sources keep a bar's opening time, best first; compared without case, blanks and signs. What says that it is
#: the opening comes first: beside it a timestamp may be the close, or when the row was written.
TIME_NAMES: Final = ("opentime", "timestamp", "time", "datetime", "date", "ts", "unix", "unixtime", "bartime", "t")
_NAMES: Final = {
    "open": ("open", "o", "openprice", "first"),
    "high": ("high", "h", "highprice", "max"),
    "low": ("low", "l", "lowprice", "min"),
    "close": ("close", "c", "closeprice", "last"),
    "volume": ("volume", "v", "vol", "basevolume", "volumebase", "tickvolume", "tickvol"),
}


def find_columns(names: Iterable[object]) -> dict[str, str]:
    """Which of ``names`` are the time, prices, volume and flags: ``{"time": "Open time", "open": "Open", …}``.

    Only what is found is in the answer.
    """
    return find_names(names, {"time": TIME_NAMES, **_NAMES, "flags": ("flags",)})


def find_names(names: Iterable[object], wanted: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Which of ``names`` stands for each of ``wanted``, whose aliases are compared without case, blanks and signs.

    The first name of an alias list wins, and of two spellings of one name the plainest.
    """
    plain: dict[str, str] = {}
    for name in map(str, names):
        key = "".join(c for c in name.lower() if c.isalnum())
        if key not in plain or name == key:
            plain[key] = name
    found: dict[str, str] = {}
    for column, aliases in wanted.items():
        for alias in aliases:
            if alias in plain:
                found[column] = plain[alias]
                break
    return found


def is_frame(data: Any) -> bool:
    """Whether this is a pandas frame; told without pandas."""
    return type(data).__module__.partition(".")[0] == "pandas" and hasattr(data, "columns")


def floats(name: str, values: Any) -> NDArray[np.float64]:
    """A column as float64, None as NaN; raises :class:`MalformedData` that names the first row that is no number."""
    try:
        return np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        row = next((row for row, value in enumerate(values) if not _is_number(value)), None)
        where = "" if row is None else f" in row {row}: {str(values[row])[:60]!r}"
        raise MalformedData(
            f"The column {name!r} holds something that is not a number{where} ({error}).", column=name, row=row
        ) from error


def _is_number(value: Any) -> bool:
    try:
        return value is None or float(value) is not None
    except (TypeError, ValueError, OverflowError):
        return False


def named_once(names: Iterable[object]) -> list[str]:
    """The names as text; raises where one occurs twice, because then it is not known which is meant."""
    texts = [str(name) for name in names]
    if twice := next((name for at, name in enumerate(texts) if name in texts[:at]), None):
        raise MalformedData(f"There are two columns called {twice!r}.", hint="Rename one, or leave it out.", column=twice)
    return texts


@contextlib.contextmanager
def _malformed_times() -> Iterator[None]:
    """In data, a time that can't be read is a fault of the data, not of the call."""
    try:
        yield
    except InvalidTime as error:
        raise MalformedData(error.message, hint=error.hint, **error.context) from error


def series_values(series: Any) -> NDArray[Any]:
    """A series as an array, what is missing as NaN; pandas' nullable and Arrow types have a missing value of their own."""
    import pandas as pd

    if pd.api.types.is_extension_array_dtype(series.dtype) and pd.api.types.is_numeric_dtype(series.dtype):
        whole = pd.api.types.is_integer_dtype(series.dtype) and not series.isna().any()
        values: NDArray[Any] = series.to_numpy(np.int64) if whole else series.to_numpy(np.float64, na_value=np.nan)
        return values
    plain: NDArray[Any] = series.to_numpy()
    return plain


def series_to_ms(values: Any) -> NDArray[np.int64]:
    """A pandas index or series of times as milliseconds; naive times are UTC."""
    import pandas as pd

    if values.isna().any():
        raise MalformedData(f"The time in row {int(np.flatnonzero(values.isna())[0])} is missing.")
    if pd.api.types.is_numeric_dtype(values.dtype):
        with _malformed_times():
            return epoch_to_ms(series_values(values))
    if not pd.api.types.is_datetime64_any_dtype(values.dtype):
        # only what is of one kind: numbers among text pandas reads as nanoseconds
        if pd.api.types.infer_dtype(values) not in ("datetime", "datetime64", "date", "string"):
            return objects_to_ms(values.tolist())
        try:
            values = pd.to_datetime(values, utc=True, format="ISO8601")
        except (ValueError, TypeError):
            return objects_to_ms(values.tolist())  # slower, and says what it is that can't be read
    index = pd.DatetimeIndex(values)
    units: dict[str, EpochUnit] = {"s": "s", "ms": "ms", "us": "us", "ns": "ns"}
    with _malformed_times():
        return epoch_to_ms(index.asi8, units[index.unit])


def objects_to_ms(times: list[Any]) -> NDArray[np.int64]:
    """Times of any kind, one by one; numbers all at once, so that one unit is told for all of them."""
    with _malformed_times():
        if times and all(isinstance(time, (int, float, np.number)) and not isinstance(time, bool) for time in times):
            try:
                whole = all(isinstance(time, (int, np.integer)) for time in times)
                return epoch_to_ms(np.array(times, dtype=np.int64 if whole else np.float64))
            except OverflowError as error:
                raise MalformedData(f"{max(times, key=abs)} is not a time.") from error
        parsed = np.empty(len(times), np.int64)
        for row, time in enumerate(times):
            try:
                parsed[row] = parse_time(time)
            except InvalidTime as error:
                raise MalformedData(f"{error.message.removesuffix('.')} (row {row}).", hint=error.hint, row=row) from error
        return parsed


def arrow_to_ms(column: pa.ChunkedArray) -> NDArray[np.int64]:
    """An Arrow column of times as milliseconds; naive times are UTC."""
    import pyarrow as pa

    kind = column.type
    if column.null_count:
        raise MalformedData(f"The time in row {column.is_null().index(True).as_py()} is missing.")
    with _malformed_times():
        if pa.types.is_timestamp(kind):
            return epoch_to_ms(column.cast(pa.int64()).to_numpy(), kind.unit)
        if pa.types.is_date(kind):
            return epoch_to_ms(column.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy(), "ms")
        if pa.types.is_integer(kind) or pa.types.is_floating(kind):
            return epoch_to_ms(column.to_numpy())
    return objects_to_ms(column.to_pylist())


def record_columns(rows: list[Any]) -> dict[str, list[Any]]:
    """The columns of mappings, or of rows ``(time, open, high, low, close[, volume])``; at least one row."""
    if all(isinstance(row, Mapping) for row in rows):
        names = list(dict.fromkeys(name for row in rows for name in row))
        return dict(zip(named_once(names), ([row.get(name) for row in rows] for name in names), strict=True))
    for at, row in enumerate(rows):
        if isinstance(row, (str, bytes, Mapping)) or not isinstance(row, Collection) or len(row) != len(rows[0]):
            raise MalformedData(
                f"Row {at} can't be read as a bar: {str(row)[:60]!r}.",
                hint="Give (time, open, high, low, close, volume) rows, mappings with those names, or candles: one kind.",
                row=at,
            )
    return dict(zip(("time", *PRICES, "volume"), map(list, zip(*rows, strict=True)), strict=False))


def numbers(values: list[Any]) -> NDArray[Any]:
    """The values of a column of records: float64 where all are numbers or None, otherwise as they are."""
    if all(value is None or (isinstance(value, (int, float, np.number)) and not isinstance(value, bool)) for value in values):
        with contextlib.suppress(OverflowError):
            return np.array(values, dtype=np.float64)
    return np.array([*values, None], dtype=object)[:-1]  # the None keeps numpy from looking into the values
