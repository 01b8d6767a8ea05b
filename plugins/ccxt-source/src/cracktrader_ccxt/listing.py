"""Which exchanges ccxt knows, and what each of them offers; nothing here asks a network."""

from __future__ import annotations

import difflib
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cracktrader.errors import InvalidOption

__all__ = ["check_exchange", "exchange_ids", "offers"]


@lru_cache(maxsize=1)
def exchange_ids() -> tuple[str, ...]:
    """The names of the exchanges, by the files of the installed ccxt: importing all of it takes a second."""
    found = find_spec("ccxt")
    if found is None or found.origin is None:
        raise ModuleNotFoundError("No module named 'ccxt'", name="ccxt")
    return tuple(sorted(path.stem for path in Path(found.origin).parent.glob("*.py") if path.stem != "__init__"))


def check_exchange(name: str) -> str:
    """The name as ccxt writes it; raises :class:`InvalidOption` with near ones."""
    known = exchange_ids()
    if (lower := name.strip().lower()) in known:
        return lower
    near = difflib.get_close_matches(lower, known, n=3)
    guess = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    raise InvalidOption(
        f"ccxt knows no exchange {name!r}.{guess}",
        hint=f"`cracktrader sources ccxt --exchanges` lists the {len(known)} that it knows.",
        option="exchange",
    )


def offers() -> list[dict[str, Any]]:
    """What every exchange offers, as plain values: candles, trades, streams, sandbox, limits."""
    import ccxt
    from ccxt import pro

    return [_offer(getattr(ccxt, name)(), name, getattr(pro, name, None)) for name in ccxt.exchanges]


def _offer(exchange: Any, name: str, streaming: Any) -> dict[str, Any]:
    from cracktrader_ccxt.facts import facts_of

    has = exchange.has
    kinds = [kind for kind in ("spot", "swap", "future", "option") if has.get(kind)]
    candles = bool(has.get("fetchOHLCV"))
    facts = facts_of(exchange, "spot" if "spot" in kinds or not kinds else "linear")
    (limit,) = (facts.limit or {}).values()
    watches = {} if streaming is None else streaming().has
    streams = [word for word, method in (("candles", "watchOHLCV"), ("trades", "watchTrades"), ("ticker", "watchTicker"),
                                         ("book", "watchOrderBook")) if watches.get(method)]  # fmt: skip
    return {
        "exchange": name,
        "markets": kinds,
        "candles": candles,
        "timeframes": list(exchange.timeframes or {}) if candles else [],
        "at_once": limit if candles else None,
        "keeps": facts.depth,
        "trades": bool(has.get("fetchTrades")),
        "streams": streams,
        "sandbox": bool((exchange.urls or {}).get("test")),
        "requests_per_s": round(1000 / exchange.rateLimit, 1) if exchange.rateLimit else None,
    }
