"""The markets of an exchange: loaded by kind, kept on disk for a while, found by symbol."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cracktrader.errors import CracktraderError, UnknownSymbol
from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.patience import Patience

if TYPE_CHECKING:
    from cracktrader_ccxt.desk import Desk

__all__ = ["Markets", "kind_of"]

#: What exchanges call the parts of their lists of markets that hold markets of a kind.
_PARTS: Final = {
    "spot": {"spot", "margin"},
    "linear": {"linear", "swap", "future", "contract"},
    "inverse": {"inverse", "swap", "future", "contract"},
    "option": {"option"},
}
_ALL: Final = ""
#: Where ccxt keeps what it knows of markets.
_OF_MARKETS: Final = (
    "markets", "markets_by_id", "symbols", "ids", "currencies", "currencies_by_id", "baseCurrencies", "quoteCurrencies", "codes",
)  # fmt: skip
#: A list of markets younger than so many seconds is not asked for again because a symbol is not in it.
_NEWS: Final = 60.0


def kind_of(market: Mapping[str, Any]) -> str:
    """``spot``, ``linear``, ``inverse`` or ``option``."""
    if market.get("option"):
        return "option"
    return "linear" if market.get("linear") else "inverse" if market.get("inverse") else "spot"


class Markets:
    """The markets of one desk; safe between threads."""

    def __init__(self, desk: Desk, config: CcxtConfig) -> None:
        self._desk, self._ttl, self._type = desk, config.markets_ttl, config.market_type
        self._lock = threading.RLock()
        self._loaded: dict[str, list[Any]] = {}
        self._at: dict[str, float] = {}  # when each was asked for, in epoch seconds
        options = (config.ccxt_config.get("options") or {}).get("fetchMarkets")
        self._parts = None if options is not None else _parts(desk.exchange.options.get("fetchMarkets"))
        addresses = [desk.exchange.urls.get("api"), desk.exchange.hostname, options]
        told = json.dumps([desk.name, config.sandbox, addresses], sort_keys=True, default=repr)
        self._name = f"{desk.name}-{hashlib.sha256(told.encode()).hexdigest()[:16]}"

    # ── finding ──────────────────────────────────────────────────────────────────────────────────────

    def find(self, symbol: str, patience: Patience) -> Mapping[str, Any]:
        """The market of a unified symbol; raises :class:`UnknownSymbol` with near ones, and with the types that there are."""
        with self._lock:
            kind = _kind_meant(symbol)
            self.load(kind, patience)
            market = self._known(symbol)
            if market is None and self._age(kind) > _NEWS:  # it may have been listed since
                self.load(kind, patience, reload=True)
                market = self._known(symbol)
            if market is not None:
                return market
            if self._parts is not None:
                with contextlib.suppress(CracktraderError):  # what is known has to do for advice
                    self.load(_ALL, patience)
                if (market := self._known(symbol)) is not None:
                    return market
            raise self._unknown(symbol)

    def all(
        self,
        patience: Patience,
        *,
        type: str | None = None,
        base: str | None = None,
        quote: str | None = None,
        settle: str | None = None,
        active: bool | None = True,
    ) -> tuple[str, ...]:
        """The unified symbols of the markets that fit, by name; ``active`` None: those that don't trade any more too."""
        with self._lock:
            self.load({"spot": "spot", "margin": "spot", "option": "option"}.get(type or "", _ALL), patience)
            wanted = {"base": base, "quote": quote, "settle": settle}
            return tuple(sorted(
                symbol for symbol, market in (self._desk.exchange.markets or {}).items()
                if (type is None or bool(market.get(type)))
                and all(text is None or market.get(name) == text for name, text in wanted.items())
                and (active is None or market.get("active") in (None, active))
            ))  # fmt: skip

    def _known(self, symbol: str) -> Mapping[str, Any] | None:
        market = (self._desk.exchange.markets or {}).get(symbol)
        return market if market is not None and (self._type is None or market.get(self._type)) else None

    def _unknown(self, symbol: str) -> UnknownSymbol:
        markets = self._desk.exchange.markets or {}
        if not symbol:
            return UnknownSymbol(
                f"{self._desk.name} must be asked for a symbol, and none was given.", hint="Say it: symbol='BTC/USDT'."
            )
        said = f"{self._desk.name} has no market {symbol!r}{f' of type {self._type}' if self._type else ''}."
        pair = symbol.partition(":")[0]
        same = [f"{name} ({market.get('type')})" for name, market in markets.items() if name.partition(":")[0] == pair]
        by_id = [name for name, market in markets.items() if market.get("id") == symbol]
        if same:
            hint = f"Of {pair} there is: {', '.join(sorted(same)[:8])}."
        elif by_id:
            hint = f"That is the exchange's own name. Say {' or '.join(map(repr, sorted(by_id)[:3]))}."
        else:
            near = difflib.get_close_matches(symbol.upper().replace("-", "/").replace("_", "/"), list(markets), n=5, cutoff=0.5)
            hint = f"Near it are: {', '.join(near)}." if near else f"It has {len(markets):,} markets; list_symbols names them."
        return UnknownSymbol(said, hint=hint, symbol=symbol, exchange=self._desk.name)

    def share(self, other: Any) -> None:
        """Let another ccxt object of this exchange know the same markets."""
        exchange = self._desk.exchange
        with self._lock:
            if other.markets is not exchange.markets:
                for name in _OF_MARKETS:
                    setattr(other, name, getattr(exchange, name, None))

    # ── loading ──────────────────────────────────────────────────────────────────────────────────────

    def load_all(self, reload: bool = False) -> None:
        """All markets, as ccxt's own ``load_markets`` has them."""
        self.load(_ALL, Patience(retries=3, backoff=0.5, budget=120), reload=reload)

    def load(self, kind: str, patience: Patience, *, reload: bool = False) -> None:
        """See that the exchange knows its markets of a kind: from memory, from disk, or by asking."""
        kind = kind if self._parts is not None and self._narrowed(kind) is not None else _ALL
        with self._lock:
            if not reload and self._age(kind) < self._ttl and self._desk.exchange.markets:
                return
            listed = None if reload else self._kept(kind)
            if listed is None:
                listed = self._asked(kind, patience)
                self._at[kind] = time.time()
                self._keep(kind, listed)
            self._loaded[kind] = listed
            known = {market["symbol"]: market for part in [*self._loaded.values(), listed] for market in part}
            self._desk.exchange.set_markets(list(known.values()))

    def _age(self, kind: str) -> float:
        """Seconds since the list of a kind, or the one that holds it, was asked for."""
        known = [self._at[name] for name in (kind, _ALL) if name in self._at]
        return time.time() - max(known) if known else float("inf")

    def _asked(self, kind: str, patience: Patience) -> list[Any]:
        options = self._desk.exchange.options

        def fetch(_: Any) -> list[Any]:
            return [market for market in self._desk.exchange.fetch_markets() if isinstance(market, dict)]

        with _narrowed(options, self._narrowed(kind)):
            return self._desk.ask(fetch, patience, lambda: f"{self._desk.name}, its list of markets")

    def _narrowed(self, kind: str) -> Any:
        """The ``types`` of ``fetchMarkets`` for a kind, None for all."""
        wanted = _PARTS.get(kind)
        if wanted is None or self._parts is None:
            return None
        if isinstance(self._parts, Mapping):
            chosen: Any = {name: value and name in wanted for name, value in self._parts.items()}
            return chosen if any(chosen.values()) else None
        return [name for name in self._parts if name in wanted] or None

    # ── keeping ──────────────────────────────────────────────────────────────────────────────────────

    def _path(self, kind: str) -> Path:
        from platformdirs import user_cache_path

        return user_cache_path("cracktrader") / "ccxt" / "markets" / f"{self._name}-{kind or 'all'}.json"

    def _kept(self, kind: str) -> list[Any] | None:
        try:
            kept = json.loads(self._path(kind).read_bytes())
            age = time.time() - kept["at"]
            markets = kept["markets"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        if not (0 <= age < self._ttl and isinstance(markets, list) and kept.get("ccxt") == _version()):
            return None
        self._at[kind] = kept["at"]
        return markets

    def _keep(self, kind: str, markets: list[Any]) -> None:
        path = self._path(kind)
        with contextlib.suppress(OSError, TypeError, ValueError):  # then they are asked for again
            path.parent.mkdir(parents=True, exist_ok=True)
            written = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
            written.write_text(json.dumps({"at": time.time(), "ccxt": _version(), "markets": markets}))
            written.replace(path)


def _parts(options: Any) -> Any:
    """The types that a list of markets is asked for by, where the exchange has several lists."""
    types = options.get("types") if isinstance(options, Mapping) else None
    if isinstance(types, list) and all(isinstance(name, str) for name in types) and len(types) > 1:
        return types
    return types if isinstance(types, Mapping) and all(isinstance(value, bool) for value in types.values()) else None


@contextlib.contextmanager
def _narrowed(options: dict[str, Any], types: Any) -> Iterator[None]:
    if types is None:
        yield
        return
    before = options["fetchMarkets"]
    options["fetchMarkets"] = {**before, "types": types}
    try:
        yield
    finally:
        options["fetchMarkets"] = before


def _kind_meant(symbol: str) -> str:
    """The kind of market that a unified symbol is of: ``BTC/USDT``, ``BTC/USDT:USDT``, ``BTC/USD:BTC``, ``…-240628-70000-C``."""
    pair, _, settled = symbol.partition(":")
    if not settled:
        return "spot"
    if settled.endswith(("-C", "-P")):
        return "option"
    return "linear" if settled.partition("-")[0] == pair.partition("/")[2] else "inverse"


def _version() -> str:
    import ccxt

    return str(ccxt.__version__)
