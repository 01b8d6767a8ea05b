"""How a column holds times: what to compare it with, and what its values mean."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cracktrader.errors import InvalidTime, MalformedData
from cracktrader.times import EpochUnit, epoch_to_ms, epoch_unit, isoformat, parse_time

__all__ = ["Clock", "clock_of"]

Kind = Literal["epoch", "timestamp", "aware", "date", "text", "opaque"]

_PER_MS: Final[dict[EpochUnit, tuple[int, int]]] = {"s": (1, 1000), "ms": (1, 1), "us": (1000, 1), "ns": (1_000_000, 1)}
_DAY: Final = 86_400_000
_ISO: Final = re.compile(r"\d{4}-\d{2}-\d{2}([ T]|$)")
#: A date, or a date with hours, minutes and maybe seconds, without signs between.
_DATE: Final = re.compile(r"(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(([01]\d|2[0-3])[0-5]\d([0-5]\d)?)?")
_1973: Final = 94_694_400
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Clock:
    """The layout of a column of times."""

    kind: Kind
    unit: EpochUnit | None = None

    def __str__(self) -> str:
        return f"epoch {self.unit}" if self.kind == "epoch" else {"aware": "timestamp with time zone"}.get(self.kind, self.kind)

    def bounds(self, start: int | None, end: int | None) -> tuple[Any, Any] | None:
        """What the column is to be compared with, as in ``>= start`` and ``< end``; None where it can't be.

        For text it is a day more on both sides, because offsets and ways of writing may differ; what is too much is cut
        off from the rows.
        """
        if self.kind == "opaque":
            return None
        slack = (-_DAY, 2 * _DAY) if self.kind == "text" else (0, 0)
        return tuple(None if time is None else self._bound(time + more) for time, more in zip((start, end), slack, strict=True))  # type: ignore[return-value]

    def units(self, time: int) -> int:
        """A stretch of so many milliseconds in the unit of epoch times, rounded up."""
        multiply, divide = _PER_MS[self.unit or "ms"]
        return -(-time * multiply // divide)

    def _bound(self, time: int) -> Any:
        if self.kind == "epoch":
            return self.units(time)
        if self.kind == "text":
            return isoformat(time)[:10]
        moment = _EPOCH + dt.timedelta(milliseconds=time)
        if self.kind == "date":
            return (moment + dt.timedelta(milliseconds=-time % _DAY)).date()
        return moment if self.kind == "aware" else moment.replace(tzinfo=None)

    def to_ms(self, values: Any) -> NDArray[np.int64]:
        """A column, as a list or an Arrow array, as epoch milliseconds UTC; raises :class:`MalformedData`."""
        try:
            if self.kind == "epoch":
                return _epochs(values, self.unit)
            array = values if isinstance(values, pa.ChunkedArray | pa.Array) else pa.array(values)
            if array.null_count:
                raise MalformedData("A time is missing.", hint="Repair the row, or leave it out through a query.")
            return _moments(array)
        except InvalidTime as error:
            raise MalformedData(error.message, hint=error.hint, **error.context) from error
        except (pa.ArrowException, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, MalformedData):
                raise
            raise MalformedData(f"The times can't be read as {self}: {error}.", hint="Are all of one kind?") from error


def clock_of(first: Any, last: Any, unit: EpochUnit | None = None) -> Clock:
    """How times are held, told from the first and the last of them; raises :class:`MalformedData` where they differ."""
    kinds = {_kind(first), _kind(last)}
    if len(kinds) > 1:
        raise MalformedData(
            f"The times are of two kinds: the first is {first!r}, the last {last!r}.",
            hint="Repair the rows, or convert them in a query.",
        )
    kind = kinds.pop()
    if kind != "epoch":
        return Clock(kind)
    if unit is None:
        _refuse_other_numbers(first, last)
    try:
        return Clock(kind, unit or epoch_unit(np.array([float(first), float(last)])))
    except InvalidTime as error:
        raise MalformedData(error.message, hint=f"{error.hint} The option is time_unit.") from error


def _refuse_other_numbers(first: Any, last: Any) -> None:
    """Never dates that are written as numbers, nor days, as a few seconds of 1970."""
    if all(_DATE.fullmatch(f"{value:.0f}") and value == int(value) for value in (first, last)):
        raise MalformedData(
            f"The times are numbers that look like dates: the first is {first}, the last {last}.",
            hint="Read them through a query that makes text of them, such as CAST(… AS VARCHAR(14)); if they are epoch numbers,"
            " say which: time_unit='s'.",
        )
    if max(abs(first), abs(last)) < _1973:
        raise MalformedData(
            f"The times are small numbers, from {first} to {last}: as seconds they would be of 1970 to 1972.",
            hint="Convert days and the like in a query; if they are seconds, say so: time_unit='s'.",
        )


def _kind(value: Any) -> Kind:
    if isinstance(value, dt.datetime):
        return "timestamp" if value.tzinfo is None else "aware"
    if isinstance(value, dt.date):
        return "date"
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        return "epoch"
    if isinstance(value, str):
        return "text" if _ISO.match(value) else "opaque"
    raise MalformedData(
        f"{type(value).__name__} is no time: {str(value)[:60]!r}.",
        hint="Say which column holds the times: columns={'time': '…'}.",
    )


def _epochs(values: Any, unit: EpochUnit | None) -> NDArray[np.int64]:
    if isinstance(values, pa.ChunkedArray | pa.Array):
        if values.null_count:
            raise InvalidTime("A time is missing.", hint="Repair the row, or leave it out through a query.")
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            return epoch_to_ms(values.to_numpy(), unit)
        values = values.to_pylist()
    array = np.array(values)
    if array.dtype.kind in "iuf":
        return epoch_to_ms(array, unit)
    return _exactly(values, unit or "ms")  # NUMERIC, which a float may not hold


def _exactly(values: Sequence[Any], unit: EpochUnit) -> NDArray[np.int64]:
    multiply, divide = _PER_MS[unit]
    try:
        numbers = [Decimal(value) for value in values]
    except (TypeError, ValueError, ArithmeticError):
        wrong = next(value for value in values if not isinstance(value, (int, float, Decimal)))
        raise InvalidTime(f"Among epoch times stands {str(wrong)[:60]!r}.", hint="Are all of one kind?") from None
    return epoch_to_ms(np.array([math.floor(number * divide / multiply) for number in numbers], dtype=np.int64), "ms")


def _moments(array: Any) -> NDArray[np.int64]:
    kind = array.type
    if pa.types.is_timestamp(kind):
        return epoch_to_ms(array.cast(pa.int64()).to_numpy(), kind.unit)
    if pa.types.is_date(kind):
        return epoch_to_ms(array.cast(pa.timestamp("ms")).cast(pa.int64()).to_numpy(), "ms")
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        try:
            return epoch_to_ms(pc.cast(array, pa.timestamp("us")).cast(pa.int64()).to_numpy(), "us")
        except pa.ArrowInvalid:  # offsets, or other ways of writing
            pass
    return np.array([parse_time(value) for value in array.to_pylist()], dtype=np.int64)
