"""Columns of whatever an API sends as arrays: numbers, numbers in text, times of any kind. No loop over rows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.errors import InvalidTime, MalformedData
from cracktrader.times import EpochUnit, epoch_to_ms

__all__ = ["numbers", "times"]

_NUMBERS: Final = {float, int}
_NONE: Final = type(None)
_OFFSET: Final = re.compile(r"(?i)\d\s?(z|[+-]\d\d(:?\d\d)?)$")


def numbers(name: str, values: Any) -> NDArray[np.float64]:
    """A column as float64: numbers, or text that holds numbers, exactly; None is NaN. Raises :class:`MalformedData`."""
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values.astype(np.float64, copy=False)
    kinds = set(map(type, values))
    if odd := kinds - {*_NUMBERS, str, _NONE}:
        raise _no_number(name, values, next(row for row, value in enumerate(values) if type(value) in odd))
    if str in kinds and any("_" in value for value in values if type(value) is str):  # Python would read 1_000
        raise _no_number(name, values, next(row for row, value in enumerate(values) if type(value) is str and "_" in value))
    try:
        return np.array(values, dtype=np.float64)
    except (ValueError, TypeError, OverflowError):
        raise _no_number(name, values, next(row for row, value in enumerate(values) if not _is_number(value))) from None


def times(values: Any, *, unit: EpochUnit | None = None, time_format: str | None = None, tz: str = "UTC") -> NDArray[np.int64]:
    """A column as epoch milliseconds: epoch numbers of any unit, also as text, or dates and clocks."""
    if time_format is not None and (dates := _written_as_numbers(values)) is not None:
        return _moments(dates, time_format, tz)
    try:
        if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
            return epoch_to_ms(values, unit)
        kinds = set(map(type, values))
        if kinds <= _NUMBERS:
            return epoch_to_ms(np.array(values, dtype=np.int64 if kinds == {int} else np.float64), unit)
        if kinds == {str}:
            if time_format is None and (epochs := _digits(values)) is not None:
                return epoch_to_ms(epochs, unit)
            return _moments(values, time_format, tz)
    except (InvalidTime, OverflowError) as error:
        raise MalformedData(f"The times can't be read. {error}", hint="Say their unit: time_unit='s' or 'ms'.") from error
    row = next(
        row for row, value in enumerate(values) if type(value) not in (int, float, str) or type(value) is not type(values[0])
    )
    raise MalformedData(
        f"Row {row} has no time: {values[row]!r}.", hint="Is `columns` right? It says where the time is.", row=row
    )


def _written_as_numbers(values: Any) -> list[str] | None:
    """Whole numbers as text, for dates such as 20240131; None where they are none."""
    numeric = values.dtype.kind in "iuf" if isinstance(values, np.ndarray) else set(map(type, values)) <= _NUMBERS
    if not numeric or any(value % 1 for value in values):
        return None
    return [str(int(value)) for value in values]


def _digits(values: Sequence[str]) -> NDArray[Any] | None:
    """Texts that are epoch numbers; None where the first is not."""
    if not values[0].lstrip("-").replace(".", "", 1).isdigit() or len(values[0]) < 9:
        return None
    try:
        return np.array(values, dtype=np.int64)
    except ValueError:
        return numbers("time", values)


def _moments(values: Sequence[str], time_format: str | None, tz: str) -> NDArray[np.int64]:
    import pandas as pd

    try:
        # offsets that differ, as over a change of the clocks, are read only if every time has one
        zoned = all(map(_OFFSET.search, values)) if time_format is None else "%z" in time_format
        index = pd.DatetimeIndex(pd.to_datetime(list(values), format=time_format or "ISO8601", utc=zoned))
        if index.tz is None and tz != "UTC":
            index = index.tz_localize(tz)
        if index.isna().any():
            raise ValueError("one is missing")
    except (ValueError, TypeError, OverflowError) as error:
        said = str(error).split(". ")[0][:200]
        raise MalformedData(
            f"The times can't be read, such as {values[0]!r}: {said}.",
            hint="Say how they are written (time_format='%d/%m/%Y %H:%M'), and of which zone they are (tz='…').",
        ) from None
    return np.asarray(index.as_unit("ms").asi8, dtype=np.int64)


def _is_number(value: Any) -> bool:
    try:
        return value is None or float(value) is not None
    except (TypeError, ValueError, OverflowError):
        return False


def _no_number(name: str, values: Any, row: int) -> MalformedData:
    return MalformedData(
        f"The column {name!r} holds {str(values[row])[:60]!r} in row {row}, which is no number.",
        hint="Does `columns` say the right key or position?",
        column=name,
        row=row,
    )
