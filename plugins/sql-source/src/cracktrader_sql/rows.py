"""Two ways for the rows of a statement to come, with the same result: as the driver's rows, or as Arrow."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from cracktrader.errors import MalformedData
from cracktrader_sql.dialects import Dialect

__all__ = ["Columns", "numbers", "stream_rows"]

#: Some rows, column by column: lists of Python values, or Arrow arrays.
Columns = Sequence[Any]


def stream_rows(connection: sa.Connection, dialect: Dialect, statement: sa.Executable, size: int) -> Generator[Columns]:
    """The rows of a statement, at most ``size`` at a time, by a cursor on the server where the driver has one."""
    result = connection.execute(statement, execution_options={"yield_per": size})
    whole = False
    try:
        for part in result.partitions():
            yield list(zip(*part, strict=True))
        whole = True
    finally:
        if not whole:
            dialect.abandon(connection, result)
        result.close()


def numbers(name: str, values: Any, *, text: bool = False) -> NDArray[np.float64]:
    """A column as float64, what is missing as NaN; ``text`` says that numbers stand in it as text.

    Raises :class:`MalformedData` for what is no number, or of the other kind.
    """
    if isinstance(values, pa.ChunkedArray | pa.Array):
        kind = values.type
        if pa.types.is_floating(kind) or pa.types.is_integer(kind):
            return np.asarray(values.to_numpy()).astype(np.float64, copy=False)
        if not text and not pa.types.is_decimal(kind) and not pa.types.is_null(kind):  # all are text now
            raise MalformedData(
                f"The column {name!r} holds something that is not a number.",
                hint="Repair the rows, or convert the column in a query; fast='no' says what it is.",
                column=name,
            )
        values = values.to_pylist()
    array = np.array(values)
    if array.dtype.kind in "iuf":
        return array.astype(np.float64, copy=False)
    if not any(_is_odd(value, text) for value in values):
        return np.array(values, dtype=object).astype(np.float64)
    wrong = next(value for value in values if _is_odd(value, text))
    raise MalformedData(
        f"The column {name!r} holds something that is not a number: {str(wrong)[:60]!r}.",
        hint="Repair the rows, or convert the column in a query.",
        column=name,
    )


def _is_odd(value: Any, text: bool) -> bool:
    """Whether a value has no place among numbers, or among numbers as text."""
    if value is None:
        return False
    if isinstance(value, bool | bytes) or (isinstance(value, str) and not text):
        return True
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return True
    return False
