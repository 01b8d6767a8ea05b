"""Timeframes: how long a bar lasts, and where on the calendar bars of that length open.

The grid is the whole of it: :meth:`Timeframe.ordinal` numbers the bars of a timeframe and
:meth:`Timeframe.opening` says when a number opens; floor, next, previous and every check for gaps follow
from these two. Seconds, minutes, hours and days count from the epoch, weeks from Monday, months are
calendar months.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cracktrader.errors import InvalidTimeframe, did_you_mean

__all__ = ["TIMEFRAMES", "Timeframe"]

Times = TypeVar("Times", int, NDArray[np.int64])

#: The timeframes that exchanges commonly offer.
TIMEFRAMES: Final = (
    "1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M",
)  # fmt: skip

_UNIT_MS: Final = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_ALIASES: Final = {"S": "s", "sec": "s", "min": "m", "H": "h", "D": "d", "W": "w", "mo": "M", "mon": "M", "y": "Y"}
_LARGER: Final = {"s": ("m", 60), "m": ("h", 60), "h": ("d", 24), "Y": ("M", 1)}
_MONDAY: Final = 4 * 86_400_000  # 1970-01-05
_PATTERN: Final = re.compile(r"([1-9][0-9]{0,5})\s*([A-Za-z]+)")
_MOST: Final = 999_999  # the largest amount that the pattern reads
# backtrader's TimeFrame constants, which this room may not import.
_BT_SECONDS, _BT_MINUTES, _BT_DAYS, _BT_WEEKS, _BT_MONTHS, _BT_YEARS = 3, 4, 5, 6, 7, 8


class Timeframe(str):
    """A bar's length and grid: ``"1s"``, ``"1m"``, ``"4h"``, ``"1d"``, ``"1w"``, ``"1M"``, any multiple.

    It *is* its canonical text, so that it can be a dictionary key, a URL parameter or JSON as it stands;
    spellings of one length are one timeframe. ``amount`` and ``unit`` are its parts; ``step`` is its length
    in milliseconds, None for calendar months, which differ in length.

    Times are epoch milliseconds UTC, an ``int`` or an int64 array of any shape, and come back as what
    was given. Raises :class:`InvalidTimeframe`.

    >>> Timeframe("60m"), Timeframe("1h") * 4, Timeframe("1d").step
    (Timeframe('1h'), Timeframe('4h'), 86400000)
    """

    amount: int
    unit: str
    step: int | None

    def __new__(cls, text: str) -> Timeframe:
        if isinstance(text, Timeframe):
            return text
        match = _PATTERN.fullmatch(text.strip()) if isinstance(text, str) else None
        unit = match and _ALIASES.get(match[2], match[2])
        if not match or unit not in ("s", "m", "h", "d", "w", "M", "Y"):
            raise _invalid(text)
        return cls._of(int(match[1]), unit)

    @classmethod
    def _of(cls, amount: int, unit: str) -> Timeframe:
        if unit == "Y":
            amount, unit = amount * 12, "M"
        while unit in _LARGER and amount % _LARGER[unit][1] == 0:
            unit, amount = _LARGER[unit][0], amount // _LARGER[unit][1]
        if not 1 <= amount <= _MOST:
            raise _invalid(f"{amount}{unit}")
        self = super().__new__(cls, f"{amount}{unit}")
        self.amount = amount
        self.unit = unit
        self.step = None if unit == "M" else amount * _UNIT_MS[unit]
        return self

    def __getnewargs__(self) -> tuple[str]:
        return (str(self),)

    def __repr__(self) -> str:
        return f"Timeframe({str(self)!r})"

    def __str__(self) -> str:
        return str.__str__(self)

    def __mul__(self, factor: Any) -> Timeframe:
        """The timeframe ``factor`` times as long."""
        if not isinstance(factor, int) or factor < 1:
            raise InvalidTimeframe(f"{self} can't be multiplied by {factor!r}.", hint="Give a whole number, at least 1.")
        return self._of(self.amount * factor, self.unit)

    __rmul__ = __mul__

    @property
    def shortest(self) -> int:
        """How long its shortest bar lasts, in milliseconds: ``step``, and 28 days for each calendar month."""
        return self.step or self.amount * 28 * _UNIT_MS["d"]

    # ── the grid ─────────────────────────────────────────────────────────────────────────────────────

    def ordinal(self, time: Times) -> Times:
        """The number of the bar that ``time`` falls into; consecutive bars have consecutive numbers."""
        if self.step is not None:
            return (time - self._anchor) // self.step
        months = np.asarray(time).astype("datetime64[ms]").astype("datetime64[M]").astype(np.int64) // self.amount
        return months if isinstance(time, np.ndarray) else int(months)

    def opening(self, ordinal: Times) -> Times:
        """When the bar of that number opens."""
        if self.step is not None:
            return ordinal * self.step + self._anchor
        months = np.asarray(ordinal, dtype=np.int64) * self.amount
        times = months.astype("datetime64[M]").astype("datetime64[ms]").astype(np.int64)
        return times if isinstance(ordinal, np.ndarray) else int(times)

    def floor(self, time: Times) -> Times:
        """The opening of the bar that ``time`` falls into."""
        return self.opening(self.ordinal(time))

    def ceil(self, time: Times) -> Times:
        """The first opening that is not before ``time``."""
        return self.opening(self.ordinal(time - 1) + 1)

    def next(self, time: Times) -> Times:
        """The end of the bar that ``time`` falls into: the opening of the one after it."""
        return self.opening(self.ordinal(time) + 1)

    def previous(self, time: Times) -> Times:
        """The opening of the bar before the one that ``time`` falls into."""
        return self.opening(self.ordinal(time) - 1)

    def openings(self, start: int, end: int) -> NDArray[np.int64]:
        """Every opening in ``[start, end)``, ascending."""
        first, stop = self.ordinal(start - 1) + 1, self.ordinal(end - 1) + 1
        return self.opening(np.arange(first, stop, dtype=np.int64))

    @property
    def _anchor(self) -> int:
        return _MONDAY if self.unit == "w" else 0

    # ── other timeframes ─────────────────────────────────────────────────────────────────────────────

    def divides(self, other: Timeframe) -> bool:
        """Whether every bar of ``other`` is made of whole bars of this one.

        >>> Timeframe("1m").divides(Timeframe("1M")), Timeframe("1w").divides(Timeframe("1M"))
        (True, False)
        """
        if self.step is None:
            return other.step is None and other.amount % self.amount == 0
        if other.step is None:
            return self.unit != "w" and _UNIT_MS["d"] % self.step == 0
        return other.step % self.step == 0 and (other._anchor - self._anchor) % self.step == 0

    # ── backtrader ───────────────────────────────────────────────────────────────────────────────────

    def to_backtrader(self) -> tuple[int, int]:
        """backtrader's ``(timeframe, compression)``; hours are minutes there.

        >>> Timeframe("4h").to_backtrader()
        (4, 240)
        """
        if self.unit in ("m", "h"):
            return _BT_MINUTES, self.amount * (60 if self.unit == "h" else 1)
        return {"s": _BT_SECONDS, "d": _BT_DAYS, "w": _BT_WEEKS, "M": _BT_MONTHS}[self.unit], self.amount

    @classmethod
    def from_backtrader(cls, timeframe: int, compression: int = 1) -> Timeframe:
        """The timeframe of backtrader's ``TimeFrame.X`` and compression; raises for ticks."""
        units = {_BT_SECONDS: "s", _BT_MINUTES: "m", _BT_DAYS: "d", _BT_WEEKS: "w", _BT_MONTHS: "M", _BT_YEARS: "Y"}
        if timeframe not in units:
            raise InvalidTimeframe(
                f"backtrader's timeframe {timeframe!r} has no bars of a fixed length.",
                hint="Use TimeFrame.Seconds, Minutes, Days, Weeks, Months or Years, or text such as '1h'.",
            )
        if not isinstance(compression, int) or compression < 1:
            raise InvalidTimeframe(f"compression={compression!r} makes no bar.", hint="Give a whole number, at least 1.")
        return cls._of(compression, units[timeframe])

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        from pydantic_core import core_schema

        text = core_schema.str_schema()
        return core_schema.no_info_after_validator_function(
            cls, text, serialization=core_schema.plain_serializer_function_ser_schema(str, return_schema=text)
        )


def _invalid(text: object) -> InvalidTimeframe:
    return InvalidTimeframe(
        f"{text!r} is not a timeframe.{did_you_mean(str(text), TIMEFRAMES, cutoff=0.5)}",
        hint="Write a whole number and a unit: s, m (minutes), h, d, w or M (months), as in '15m' or '1M'.",
        timeframe=text,
    )
