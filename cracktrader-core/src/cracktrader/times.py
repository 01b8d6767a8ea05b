"""Times: one parser for everything a user may call a time.

Inside cracktrader a time is an ``int``: milliseconds since 1970-01-01T00:00:00Z. This module turns what
users and sources have into that, and back into text.
"""

from __future__ import annotations

import datetime as dt
import math
import re
import time as _clock
from fractions import Fraction
from typing import Any, Literal, TypeAlias
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from cracktrader.errors import InvalidTime

__all__ = ["EpochUnit", "TimeLike", "epoch_to_ms", "epoch_unit", "isoformat", "now_ms", "parse_time", "parse_zone"]

TimeLike: TypeAlias = "str | int | float | dt.date | dt.datetime | np.datetime64 | np.integer[Any] | np.floating[Any]"
EpochUnit: TypeAlias = Literal["s", "ms", "us", "ns"]

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MILLISECOND = dt.timedelta(milliseconds=1)
_PER_MS: dict[str, tuple[int, int]] = {"s": (1000, 1), "ms": (1, 1), "us": (1, 1000), "ns": (1, 1_000_000)}
# The largest magnitude of each unit: the next unit's 1973-03-03, so that each covers 1973 to 5138.
_LARGEST: tuple[tuple[float, EpochUnit], ...] = ((1e11, "s"), (1e14, "ms"), (1e17, "us"), (math.inf, "ns"))
_YEAR_OR_MONTH = re.compile(r"[0-9]{4}(-[0-9]{2})?")
_FIRST, _LAST = -62_135_596_800_000, 253_402_300_799_999  # the years 1 to 9999, what a datetime can hold


def now_ms() -> int:
    """The machine's clock as epoch milliseconds."""
    return _clock.time_ns() // 1_000_000


def parse_zone(zone: str | dt.tzinfo) -> dt.tzinfo:
    """The ``tzinfo`` that a zone name (``"Europe/Berlin"``) stands for; raises :class:`InvalidTime`."""
    if isinstance(zone, dt.tzinfo):
        # pytz's own zones mean local mean time (in Berlin 53 minutes) unless they are asked to localize
        name = getattr(zone, "zone", None)
        return ZoneInfo(name) if isinstance(name, str) and hasattr(zone, "localize") else zone
    if isinstance(zone, str) and zone.upper() in ("UTC", "Z"):
        return dt.UTC
    try:
        return ZoneInfo(zone)
    except (KeyError, ValueError, OSError, TypeError, AttributeError) as error:
        raise InvalidTime(
            f"There is no time zone {zone!r}.",
            hint="Name a zone of the IANA database, such as 'Europe/Berlin', 'America/New_York' or 'UTC'"
            " (where the system has none, `pip install tzdata`).",
            zone=zone,
        ) from error


def parse_time(value: TimeLike, *, unit: EpochUnit | None = None, tz: str | dt.tzinfo = dt.UTC) -> int:
    """``value`` as epoch milliseconds UTC.

    Takes ISO-8601 text (``"2024-01-01"``, ``"2024-01-01T12:30:00Z"``, ``"2024-01"``, ``"2024"``,
    ``"202401011230"``), dates (their midnight), naive or aware datetimes, ``datetime64``, and epoch numbers,
    also as text, whose unit (s, ms, us, ns) is told from the magnitude unless ``unit`` says it. Naive times are
    of zone ``tz``, UTC unless said otherwise: in the hour that clocks repeat they are of the first time round, in
    the one that they skip they count on as if nothing were skipped. What is finer than a millisecond is cut off;
    a float is first rounded to a microsecond, as ``datetime`` does, because it holds no more.

    Raises :class:`InvalidTime`, also for times outside the years 1 to 9999.

    >>> parse_time("2024-01-01")
    1704067200000
    >>> parse_time(1704067200) == parse_time(1704067200000) == parse_time("2024-01-01T01:00+01:00")
    True
    """
    time = _to_ms(value, unit, tz)
    if not _FIRST <= time <= _LAST:
        raise _out_of_range(value)
    return time


def _to_ms(value: Any, unit: EpochUnit | None, tz: str | dt.tzinfo) -> int:
    if isinstance(value, str):
        return _parse_text(value, unit, tz)
    if isinstance(value, np.datetime64) and not np.isnat(value):
        plain = value.astype("datetime64[ms]").item()  # naive, like a datetime; an int where no datetime can hold it
        if isinstance(plain, int):
            raise _out_of_range(value)
        return _datetime_to_ms(plain, tz)
    if isinstance(value, dt.datetime):  # pandas' Timestamp is a datetime, and so is NaT, whose year is NaN
        if math.isnan(value.year):
            raise _unreadable(value)
        return _datetime_to_ms(value, tz)
    if isinstance(value, dt.date):
        return _datetime_to_ms(dt.datetime.combine(value, dt.time.min), tz)
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return _number_to_ms(float(value) if isinstance(value, (float, np.floating)) else int(value), unit)
    raise _unreadable(value)


def _parse_text(text: str, unit: EpochUnit | None, tz: str | dt.tzinfo) -> int:
    stripped = text.strip()
    if unit is None and len(stripped) in (12, 14) and stripped.isdigit() and stripped[:2] in ("19", "20"):
        stripped = f"{stripped[:8]}T{stripped[8:]}"  # 202401011230: as an epoch it would lie in 1976 or 2611
    digits = stripped.removeprefix("-").replace(".", "", 1)
    if digits.isascii() and digits.isdigit() and (1 if unit else 9) <= len(digits) <= 40:
        return _number_to_ms(Fraction(stripped), unit)
    if _YEAR_OR_MONTH.fullmatch(stripped):
        stripped = f"{stripped}-01-01"[:10]
    try:
        moment = dt.datetime.fromisoformat(stripped)
    except ValueError as error:
        raise _unreadable(text) from error
    return _datetime_to_ms(moment, tz)


def _datetime_to_ms(value: dt.datetime, tz: str | dt.tzinfo) -> int:
    if value.tzinfo is None:
        value = value.replace(tzinfo=parse_zone(tz))
    return (value - _EPOCH) // _MILLISECOND


def _number_to_ms(value: float | Fraction, unit: EpochUnit | None) -> int:
    if isinstance(value, float):
        if not math.isfinite(value):
            raise _unreadable(value)
        return int(epoch_to_ms(np.array([value]), unit)[0])
    multiply, divide = _PER_MS[unit or _unit_of(abs(value))]
    return math.floor(value * multiply / divide) if isinstance(value, Fraction) else value * multiply // divide


def _unit_of(magnitude: float | Fraction) -> EpochUnit:
    return next(unit for largest, unit in _LARGEST if magnitude < largest)


def epoch_unit(values: NDArray[np.integer[Any]] | NDArray[np.floating[Any]]) -> EpochUnit:
    """The unit of a column of epoch numbers, told from their magnitude; NaN is not looked at.

    Seconds below 1e11, milliseconds below 1e14, microseconds below 1e17, then nanoseconds, which is right
    from 1973 to 5138. Raises :class:`InvalidTime` where the smallest and the largest disagree.
    """
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    return _unit_between(*_extremes(values)) if values.size else "ms"


def _extremes(values: NDArray[Any]) -> tuple[float, float]:
    return values.min().item(), values.max().item()


def _unit_between(smallest: float, largest: float) -> EpochUnit:
    units = {_unit_of(abs(smallest)), _unit_of(abs(largest))}
    if len(units) > 1:
        raise InvalidTime(
            f"The epoch times go from {smallest} to {largest}: that mixes units ({' and '.join(sorted(units))}).",
            hint="Say which unit they have, or repair the rows that differ.",
        )
    return units.pop()


def epoch_to_ms(values: NDArray[Any], unit: EpochUnit | None = None) -> NDArray[np.int64]:
    """A column of epoch numbers as int64 milliseconds, cut off as :func:`parse_time` does; shape as given.

    ``unit`` is told from the magnitude by :func:`epoch_unit` unless given. Raises :class:`InvalidTime` for
    NaN or infinite times, and for times outside the years 1 to 9999.
    """
    kind = values.dtype.kind
    if kind not in "iuf":
        raise InvalidTime(f"Epoch times must be numbers, not {values.dtype}.")
    if not values.size:
        return np.empty(values.shape, np.int64)
    if kind == "f" and not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InvalidTime(f"The time in row {row} is {values[row]}.", row=row)
    smallest, largest = _extremes(values)
    chosen = unit or _unit_between(smallest, largest)
    multiply, divide = _PER_MS[chosen]
    for extreme in (smallest, largest):
        if not _FIRST <= extreme * multiply / divide < _LAST + 1:
            raise _out_of_range(extreme, chosen)
    if kind == "f":
        return _floats_to_ms(values.astype(np.float64, copy=False), chosen)
    # unsigned nanoseconds after 2262 fit into int64 only once they are milliseconds
    exact = values.astype(np.uint64 if kind == "u" else np.int64, copy=False)
    times: NDArray[np.int64] = (exact // divide if divide != 1 else exact).astype(np.int64, copy=False)
    return times * multiply if multiply != 1 else times


def _floats_to_ms(values: NDArray[np.float64], unit: EpochUnit) -> NDArray[np.int64]:
    if unit == "ns":
        microseconds = np.rint(values / 1000).astype(np.int64)
    else:
        whole, per = np.floor(values), {"s": 1_000_000, "ms": 1000, "us": 1}[unit]
        microseconds = whole.astype(np.int64) * per + np.rint((values - whole) * per).astype(np.int64)
    return microseconds // 1000


def isoformat(time: int | np.integer[Any]) -> str:
    """Epoch milliseconds as ISO-8601 text in UTC.

    >>> isoformat(1704067200000)
    '2024-01-01T00:00:00Z'
    """
    text = str(np.datetime64(int(time), "ms"))
    return text.removesuffix(".000") + "Z"


def _out_of_range(value: object, unit: str = "") -> InvalidTime:
    return InvalidTime(
        f"{value!r}{f' ({unit})' if unit else ''} lies outside the years 1 to 9999.",
        hint="Is it a time? If it is an epoch number, is its unit right?",
        value=repr(value),
    )


def _unreadable(value: object) -> InvalidTime:
    return InvalidTime(
        f"{value!r} is not a time.",
        hint="Give ISO-8601 text ('2024-01-01', '2024-01-01T12:00:00Z'), a date or datetime,"
        " or an epoch number in s, ms, us or ns.",
        value=repr(value),
    )
