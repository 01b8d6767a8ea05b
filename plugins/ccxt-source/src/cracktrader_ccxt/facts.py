"""What is known of exchanges that ccxt does not say, in one table; the rest comes from ccxt's ``features``.

``answers`` says which candles an exchange sends when it is asked for those since a time:

- ``first``: the first ones from there on, wherever they are: an empty page says that there are none at all any more;
- ``window``: those of the stretch that the page could hold, so an empty page says nothing about what comes later;
- ``latest``: its last ones whatever it is asked for, so there is no older history than ``depth`` candles;
- ``unknown``: any of these. Then one bar more is asked for before the first (``since`` may be exclusive or rounded),
  both ends of a page are asked for again, and a page that begins long after it should is looked into.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

__all__ = ["FACTS", "Facts", "facts_of"]

Answers = Literal["first", "window", "latest", "unknown"]
_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one exchange."""

    answers: Answers = "unknown"
    #: How many candles a request gives at most, by the kind of market; None: what ccxt says, else 100.
    limit: Mapping[str, int] | None = None
    #: How many bars before the wanted ones a request begins, because the exchange takes ``since`` as exclusive or rounds it.
    early: int = 1
    #: How many of the latest candles it keeps; None: all, as far as known.
    depth: int | None = None
    #: Timeframes whose candles open elsewhere than on the calendar (weeks from Monday): they are made of shorter ones.
    odd: tuple[str, ...] = ()
    #: Milliseconds after its end at which a candle is taken to be final.
    grace: int = 2_000
    #: What ``volume`` counts, by the kind of market: ``base``, ``quote`` or ``contracts``.
    volume: Mapping[str, str] = field(default_factory=lambda: {"spot": "base"})
    #: How trades are paged through: by ``id``, by ``time``; None: not known, found out.
    trades: Literal["id", "time"] | None = None
    #: The parameter of the id from which on trades are wanted, where they are paged by id.
    trades_from: str = ""
    #: How many trades a request gives at most, and the longest stretch that it may span, in milliseconds.
    trades_limit: int = 1000
    trades_span: int | None = None
    #: Milliseconds that ``since`` is moved back, where the exchange leaves out what is of that moment.
    trades_early: int = 1
    #: The shape of its candles as they come over the wire, where it is known; see :mod:`cracktrader_ccxt.candles`.
    raw: str = ""
    #: Kinds of markets that answer as ``window`` does, because ccxt says an end for them.
    bounded: tuple[str, ...] = ()

    def volume_unit(self, kind: str) -> str:
        """What ``volume`` counts on markets of a kind, in words."""
        return self.volume.get(kind, "not known: as the exchange sends it")


_BASE: Final = {"spot": "base", "linear": "base", "inverse": "base"}
_BINANCE: Final = Facts(
    "first", {"spot": 1000, "linear": 1000, "inverse": 1000, "option": 1000}, early=0, volume=_BASE, raw="klines",
    trades="id", trades_from="fromId", trades_limit=1000, trades_span=3_600_000, trades_early=0,
    bounded=("inverse",),
)  # fmt: skip

#: By ccxt's names. What is not listed is ``Facts()``.
FACTS: Final[dict[str, Facts]] = {
    "binance": _BINANCE,
    "binanceus": _BINANCE,
    "binanceusdm": _BINANCE,
    "binancecoinm": _BINANCE,
    "bitfinex": Facts(limit={"spot": 10_000, "linear": 10_000}, volume={"spot": "base", "linear": "base"}),
    "bithumb": Facts("latest", {"spot": 200}, depth=200),
    "bitget": Facts("window", {"spot": 200, "linear": 200, "inverse": 200}, volume={"spot": "base", "linear": "base"}),
    "bybit": Facts("unknown", volume={"spot": "base", "linear": "base"}),
    "coinbase": Facts("window", {"spot": 300, "linear": 300}),
    "coinbaseexchange": Facts("window", {"spot": 300}),
    "gate": Facts("window", {"spot": 1000, "linear": 1999, "inverse": 1999}, volume={"spot": "base", "linear": "contracts",
                                                                                    "inverse": "contracts"}),
    "gemini": Facts("latest", volume={"spot": "base"}),
    "hyperliquid": Facts("window", {"spot": 5000, "linear": 5000}, depth=5000, volume={"spot": "base", "linear": "base"}),
    "kraken": Facts("latest", {"spot": 720}, depth=720, odd=("1w", "2w"), trades="time", trades_limit=1000, trades_early=1000),
    "kucoin": Facts("window", {"spot": 1500, "linear": 500, "inverse": 500}, volume={"spot": "base", "linear": "contracts",
                                                                                    "inverse": "contracts"}),
    "lbank": Facts(grace=60_000),
    "mexc": Facts("window", {"spot": 500, "linear": 2000}, volume={"spot": "base", "linear": "contracts"}),
    "okx": Facts("window", {"spot": 300, "linear": 300, "inverse": 300}, volume=_BASE),
    "upbit": Facts("window", {"spot": 200}),
}  # fmt: skip


def facts_of(exchange: Any, kind: str) -> Facts:
    """What is known of an exchange, a ccxt object, for markets of a kind (``spot``, ``linear``, ``inverse``, ``option``).

    The limit is settled: ``limit[kind]`` is there.
    """
    known = FACTS.get(exchange.id, Facts())
    limit = (known.limit or {}).get(kind) or _ccxts_limit(exchange.features, kind) or 100
    return replace(known, limit={kind: limit}, answers="window" if kind in known.bounded else known.answers)


def _ccxts_limit(features: Any, kind: str) -> int | None:
    """The limit of a request for candles as ccxt's ``features`` have it."""
    path = ("spot",) if kind in ("spot", "margin") else ("swap", kind)
    about = features
    for name in (*path, "fetchOHLCV", "limit"):
        about = about.get(name) if isinstance(about, Mapping) else None
    return about if isinstance(about, int) and about > 0 else None
