"""Faults as data: what goes wrong, for which requests, how often or from when until when.

Three kinds. A :class:`Happening` changes the market for everybody, REST and streams alike. A :class:`RequestFault` spoils
answers over REST. A :class:`StreamFault` spoils streams. ``exchange.faults.add(...)`` puts them in force, at any time.
"""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar, overload

from cracktrader.errors import InvalidOption
from cracktrader.times import TimeLike, parse_time

__all__ = [
    "BannedPlace",
    "ClosedFlagLost",
    "ClosingLost",
    "Delisted",
    "Disconnect",
    "Disorder",
    "Duplicates",
    "EmptyPages",
    "Fault",
    "Faults",
    "Forbidden",
    "Frozen",
    "Gap",
    "Happening",
    "Held",
    "HtmlError",
    "LateBars",
    "Latency",
    "Maintenance",
    "NoStreams",
    "OldCandle",
    "Outage",
    "PageCap",
    "Repeated",
    "RequestFault",
    "Reset",
    "Revision",
    "Silence",
    "Slow",
    "Status",
    "StreamFault",
    "SubscribeRefused",
    "Swapped",
    "Truncated",
    "WrongClock",
]

_EVER: Final = 1 << 47


@dataclass(frozen=True, eq=False, kw_only=True)
class Fault:
    """``symbol`` is the unified one, None for all; ``[start, end)`` is by the exchange's clock, None for open."""

    symbol: str | None = None
    start: TimeLike | None = None
    end: TimeLike | None = None

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, parse_time(value))

    @property
    def begins(self) -> int:
        return -_EVER if self.start is None else parse_time(self.start, unit="ms")

    @property
    def ends(self) -> int:
        return _EVER if self.end is None else parse_time(self.end, unit="ms")

    def concerns(self, symbol: str | None) -> bool:
        return self.symbol is None or self.symbol == symbol


# ── the market ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False, kw_only=True)
class Happening(Fault):
    """What happens to the market itself; part of the truth."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Outage(Happening):
    """The venue was down: no bars and trades for anyone in ``[start, end)``. It goes on answering requests."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Gap(Happening):
    """Nobody traded ``symbol`` in ``[start, end)``: no bars and trades there."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Delisted(Happening):
    """``symbol`` is gone from ``start`` on: no trades, no bars, streams fall silent, and markets say so."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Revision(Happening):
    """The last ``trades`` of the minute ``start`` of ``symbol`` are only known from ``end`` on.

    Until then the bar that has them is served, and closed on the stream, without them; the truth is the bar as it is from then
    on. On a stream of trades they come at ``end``, late. A minute keeps its first trade: of one with a single trade nothing is
    held back.
    """

    trades: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.symbol is None or self.start is None or self.end is None or self.trades < 1:
            raise InvalidOption("A Revision needs symbol=, start= (the minute), end= (until when) and trades= of at least 1.")


# ── requests ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False, kw_only=True)
class RequestFault(Fault):
    """Spoils the answers to requests whose path fits ``path`` and that ask for ``symbol``.

    The first ``skip`` of them pass unharmed, the next ``times`` meet it (None: all).
    """

    path: str = "*"
    times: int | None = None
    skip: int = 0

    def fits(self, path: str, symbol: str | None, now: int) -> bool:
        return fnmatch.fnmatchcase(path, self.path) and self.concerns(symbol) and self.begins <= now < self.ends


@dataclass(frozen=True, eq=False, kw_only=True)
class Latency(RequestFault):
    """The answer comes ``seconds`` (real ones) later."""

    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class Status(RequestFault):
    """An answer of that HTTP status: ``body`` as it stands, or the exchange's own words for it."""

    status: int
    body: str | None = None
    retry_after: int | None = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False, kw_only=True)
class BannedPlace(RequestFault):
    """451: not for people of that place."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Forbidden(RequestFault):
    """403, from the firewall in front, in HTML."""


@dataclass(frozen=True, eq=False, kw_only=True)
class HtmlError(RequestFault):
    """502 from a proxy, in HTML."""

    status: int = 502


@dataclass(frozen=True, eq=False, kw_only=True)
class Maintenance(RequestFault):
    """All is refused: 503 and the exchange's words for it; its status endpoint says that it is in maintenance."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Reset(RequestFault):
    """The connection is reset instead of an answer."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Truncated(RequestFault):
    """The connection ends after this share of the body; with ``honest`` the shortened body is declared as whole."""

    share: float = 0.5
    honest: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Slow(RequestFault):
    """The body trickles in over that many real seconds."""

    seconds: float


@dataclass(frozen=True, eq=False, kw_only=True)
class WrongClock(RequestFault):
    """What the exchange says of its time is wrong by ``offset`` milliseconds; its bars are not."""

    offset: int


@dataclass(frozen=True, eq=False, kw_only=True)
class EmptyPages(RequestFault):
    """A page of no rows."""


@dataclass(frozen=True, eq=False, kw_only=True)
class PageCap(RequestFault):
    """No more than ``rows`` rows in a page, the first of those asked for, whatever the limit."""

    rows: int


@dataclass(frozen=True, eq=False, kw_only=True)
class Duplicates(RequestFault):
    """Every ``every``th row of a page comes twice."""

    every: int = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Disorder(RequestFault):
    """The rows of a page come newest first, or mixed up (always in the same way)."""

    newest_first: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class LateBars(RequestFault):
    """Bars are served only ``by`` milliseconds after they closed; the one that is open, never."""

    by: int = 60_000


# ── streams ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, eq=False, kw_only=True)
class StreamFault(Fault):
    """Spoils messages of the streams whose name fits ``stream`` (``"btcusdt@kline_1m"``); ``skip`` and ``times`` count those."""

    stream: str = "*"
    times: int | None = None
    skip: int = 0

    def fits(self, stream: str, symbol: str | None, now: int) -> bool:
        return fnmatch.fnmatchcase(stream, self.stream) and self.concerns(symbol) and self.begins <= now < self.ends


@dataclass(frozen=True, eq=False, kw_only=True)
class Frozen(StreamFault):
    """The stream says nothing; the others of the connection do."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Silence(StreamFault):
    """Connections stay open, but nothing comes over them any more, not even an answer to a ping or to a request."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClosingLost(StreamFault):
    """The update that closes a candle is not sent."""


@dataclass(frozen=True, eq=False, kw_only=True)
class ClosedFlagLost(StreamFault):
    """The update that closes a candle is sent, but does not say that it does."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Held(StreamFault):
    """Messages come ``by`` milliseconds (of the exchange's clock) late, in one burst; if ``merged``, only the last of each."""

    by: int = 5_000
    merged: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Repeated(StreamFault):
    """Each message comes twice."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Swapped(StreamFault):
    """Two messages of a stream that follow each other change places."""


@dataclass(frozen=True, eq=False, kw_only=True)
class OldCandle(StreamFault):
    """After an update of a candle, the first update of the candle before comes once more."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SubscribeRefused(StreamFault):
    """A request to subscribe is answered with an error."""

    code: int = 2
    message: str = "Invalid request: request ID must be an unsigned integer"


@dataclass(frozen=True, eq=False, kw_only=True)
class NoStreams(StreamFault):
    """Nobody can connect: the handshake is answered with 503."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Disconnect(StreamFault):
    """All connections with such a stream are closed when the clock reaches ``start``: with a closing handshake or by a reset."""

    clean: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.start is None:
            raise InvalidOption("A Disconnect needs start=, the time at which it happens.")


F = TypeVar("F", bound=Fault)


class Faults:
    """The faults in force; safe between threads."""

    def __init__(self) -> None:
        self._faults: dict[Fault, list[int]] = {}  # how often each was met, and how often it spoilt something
        self._lifted: dict[Fault, list[int]] = {}
        self._lock = threading.Lock()
        #: Called after the market's happenings changed.
        self.on_market: Callable[[], None] | None = None
        #: Called after any change.
        self.on_change: Callable[[], None] | None = None

    @overload
    def add(self, fault: F, /) -> F: ...
    @overload
    def add(self, fault: Fault, /, *more: Fault) -> tuple[Fault, ...]: ...
    def add(self, fault: Fault, /, *more: Fault) -> Fault | tuple[Fault, ...]:
        """Put faults in force; returns what was given, for :meth:`fired` and :meth:`remove`."""
        with self._lock:
            for one in (fault, *more):
                self._faults[one] = [0, 0]
        self._changed(fault, *more)
        return (fault, *more) if more else fault

    def remove(self, *faults: Fault) -> None:
        """Lift faults; those that are not in force are let be. Their counts are kept."""
        with self._lock:
            for fault in faults:
                if fault in self._faults:
                    self._lifted[fault] = self._faults.pop(fault)
        self._changed(*faults)

    def clear(self) -> None:
        """Lift all."""
        self.remove(*self.all())

    def all(self) -> list[Fault]:
        """Those in force."""
        with self._lock:
            return list(self._faults)

    def fired(self, fault: Fault) -> int:
        """How often a fault has spoilt something; for what happens to the market, 0."""
        counts = self._faults.get(fault) or self._lifted.get(fault)
        return counts[1] if counts else 0

    def of(self, kind: type[F], symbol: str | None = None) -> list[F]:
        """Those of a kind that concern a symbol."""
        return [fault for fault in self._faults if isinstance(fault, kind) and fault.concerns(symbol)]

    def fire(self, fault: Fault) -> bool:
        """Count one more occasion; whether the fault strikes at it."""
        with self._lock:
            counts = self._faults.get(fault)
            if counts is None:
                return False
            counts[0] += 1
            skip, times = getattr(fault, "skip", 0), getattr(fault, "times", None)
            strikes = counts[0] > skip and (times is None or counts[1] < times)
            counts[1] += strikes
            return bool(strikes)

    def strike(self, path: str, symbol: str | None, now: int) -> list[RequestFault]:
        """The faults that spoil this request."""
        return [
            fault
            for fault in list(self._faults)
            if isinstance(fault, RequestFault) and fault.fits(path, symbol, now) and self.fire(fault)
        ]

    def _changed(self, *faults: Fault) -> None:
        if self.on_market and any(isinstance(fault, Happening) for fault in faults):
            self.on_market()
        if self.on_change:
            self.on_change()
