"""BarRequest: which bars are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cracktrader.errors import InvalidOption, InvalidRange, InvalidTimeframe
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, isoformat, parse_time

__all__ = ["BarRequest", "refuse_backwards"]


@dataclass(frozen=True, slots=True)
class BarRequest:
    """Which bars: a symbol, a timeframe, a half-open range and a limit.

    Bars whose opening lies in ``[start, end)`` are wanted. Both may be given as anything that
    :func:`~cracktrader.times.parse_time` takes, and are kept as epoch milliseconds on the timeframe's grid
    (a bound between two openings means the later one); None leaves that side open. ``limit`` bars are
    wanted at most: the first ones where ``start`` is given, otherwise the last. ``symbol`` is the user's own
    spelling, empty where the source has only one.

    Raises :class:`InvalidTimeframe`, :class:`InvalidTime`, :class:`InvalidRange`.
    """

    symbol: str
    timeframe: Timeframe
    start: int | None = None
    end: int | None = None
    limit: int | None = None

    def __init__(
        self,
        symbol: str | None,
        timeframe: str,
        start: TimeLike | None = None,
        end: TimeLike | None = None,
        limit: int | None = None,
    ) -> None:
        if timeframe is None:
            raise InvalidTimeframe("No timeframe was given.", hint="Say how long a bar lasts: timeframe='1h'.")
        frame = Timeframe(timeframe)
        first = None if start is None else parse_time(start)
        stop = None if end is None else parse_time(end)
        refuse_backwards(first, stop)
        if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, np.integer)) or limit < 1):
            raise InvalidRange(f"limit={limit!r} is not a number of bars to load.", hint="Give a whole number, at least 1.")
        object.__setattr__(self, "symbol", symbol or "")
        object.__setattr__(self, "timeframe", frame)
        object.__setattr__(self, "start", None if first is None else frame.ceil(first))
        object.__setattr__(self, "end", None if stop is None else frame.ceil(stop))
        object.__setattr__(self, "limit", None if limit is None else int(limit))

    def contains(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of ``times`` lie in the range; shape as given."""
        inside = np.ones(times.shape, dtype=np.bool_)
        if self.start is not None:
            inside &= times >= self.start
        if self.end is not None:
            inside &= times < self.end
        return inside

    def but(self, **changes: Any) -> BarRequest:
        """The same request with some fields changed; bounds that stay move to the grid of a new timeframe."""
        kept = {"symbol": self.symbol, "timeframe": self.timeframe, "limit": self.limit}
        changed = BarRequest.from_options(kept | changes)
        for name in {"start", "end"} - set(changes):  # exact already: read again, a number from 1970 would pass for seconds
            bound = getattr(self, name)
            object.__setattr__(changed, name, None if bound is None else changed.timeframe.ceil(bound))
        refuse_backwards(changed.start, changed.end)
        return changed

    def to_dict(self) -> dict[str, Any]:
        """The request as plain JSON values, times as ISO-8601 text."""
        return {
            "symbol": self.symbol,
            "timeframe": str(self.timeframe),
            "start": None if self.start is None else isoformat(self.start),
            "end": None if self.end is None else isoformat(self.end),
            "limit": self.limit,
        }

    @classmethod
    def from_options(cls, options: Mapping[str, Any]) -> BarRequest:
        """The request in a mapping of options that holds at least ``timeframe``; others are refused."""
        if unknown := sorted(set(options) - set(cls.__slots__)):
            raise InvalidOption(f"A request has no {unknown[0]!r}.", hint=f"It has: {', '.join(cls.__slots__)}.")
        return cls(**{"symbol": None, "timeframe": None} | dict(options))

    def __str__(self) -> str:
        start = "the first bar" if self.start is None else isoformat(self.start)
        end = "now" if self.end is None else isoformat(self.end)
        limit = f", at most {self.limit}" if self.limit else ""
        return f"{self.symbol or 'the only symbol'} {self.timeframe} from {start} to {end}{limit}"


def refuse_backwards(start: int | None, end: int | None) -> None:
    """Raises :class:`InvalidRange` where a range ends before it starts."""
    if start is not None and end is not None and end < start:
        raise InvalidRange(
            f"The range ends at {isoformat(end)}, before it starts at {isoformat(start)}.",
            hint="`start` is inclusive, `end` is exclusive; `start` must not be later.",
        )
