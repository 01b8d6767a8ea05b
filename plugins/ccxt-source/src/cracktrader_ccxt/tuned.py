"""ccxt's exchange classes with three things changed: who waits for whose turn, what is remembered of an answer, and a way
around ccxt's parsing of candles.

ccxt's throttle counts for one object in one thread. Here all threads share one object (its markets take a megabyte and
half a second), so the throttle is replaced by the budget of the host, which counts for the machine; ``enableRateLimit``
and ``rateLimit`` mean what they mean in ccxt. What an answer said is kept for the thread that asked.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlsplit

from cracktrader.plugins.hosts import HostBudget
from cracktrader_ccxt.failures import Answer
from cracktrader_ccxt.patience import Patience

__all__ = ["Call", "host_behind", "tuned"]

_UNHURRIED: Final = {"retries": 0, "backoff": 0.0, "budget": 3600.0}


class Call:
    """One request on its way: how long it may take, whether its body is wanted as it is, what came back, and from where."""

    def __init__(self, patience: Patience, *, raw: bool = False) -> None:
        self.patience, self.raw = patience, raw
        self.answer = Answer()
        self.host = ""


class Tuned:
    """What is changed; :func:`tuned` puts it before a class of ccxt."""

    # Names without underscores: ccxt makes camel case of all others, for everything that an exchange has.
    calls: Any = None
    hosts: Any = None
    onclock: Any = None
    onmarkets: Any = None

    @contextmanager
    def asking(self, patience: Patience, *, raw: bool = False) -> Iterator[Call]:
        """What this thread asks meanwhile is this call."""
        before = getattr(self.calls, "now", None)
        self.calls.now = call = Call(patience, raw=raw)
        try:
            yield call
        finally:
            self.calls.now = before

    def current(self) -> Call:
        """This thread's call; one without hurry where a user asks ccxt directly."""
        return getattr(self.calls, "now", None) or Call(Patience(**_UNHURRIED))  # type: ignore[arg-type]

    def fetch2(self, path: Any, api: Any = "public", method: Any = "GET", params: Any = {}, config: Any = {}) -> Any:  # noqa: B006
        """Note which host is meant, and leave it alone while it is not to be asked."""
        call = self.current()
        call.host = self.host_of(api)
        call.answer = Answer()
        if wait := HostBudget.of(call.host).stopped():
            call.patience.sleep(wait)
        self.calls.turn = call
        return super().fetch2(path, api, method, params, config)  # type: ignore[misc]

    def throttle(self, cost: Any = None) -> None:
        """Wait for a turn at the host: ``rateLimit`` milliseconds for a request that costs 1."""
        call = self.calls.turn
        wait = HostBudget.of(call.host).turn(float(self.rateLimit) * (1 if cost is None else float(cost)) / 1000)  # type: ignore[attr-defined]
        if wait > 0:
            call.patience.sleep(wait)

    def on_rest_response(
        self, code: Any, reason: Any, url: Any, method: Any, response_headers: Any, response_body: Any, *rest: Any
    ) -> Any:
        call = self.current()
        call.answer = Answer(int(code), {str(name).lower(): value for name, value in response_headers.items()}, response_body)
        if self.onclock is not None and "age" not in call.answer.headers:  # else the time is that of a cache's copy
            self.onclock(call.answer.headers.get("date"))
        return super().on_rest_response(code, reason, url, method, response_headers, response_body, *rest)  # type: ignore[misc]

    def parse_json(self, http_response: Any) -> Any:
        """Leave a list of candles as it is where the call wants it so; say so where an answer is no JSON."""
        call = self.current()
        if call.raw and call.answer.status == 200 and http_response.startswith("[["):
            return []
        parsed = super().parse_json(http_response)  # type: ignore[misc]
        if parsed is None and call.answer.status == 200 and getattr(self.calls, "now", None) is not None:
            from ccxt import BadResponse

            raise BadResponse(f"{self.id} answered with what is no JSON: {http_response[:100]!r}")  # type: ignore[attr-defined]
        return parsed

    def load_markets(self, reload: bool = False, params: Mapping[str, Any] = {}) -> Any:
        """All markets, from the list that is kept where it is fresh."""
        if self.onmarkets is None or params:
            return super().load_markets(reload, params)  # type: ignore[misc]
        self.onmarkets(reload)
        return self.markets  # type: ignore[attr-defined]

    def host_of(self, api: Any) -> str:
        """The host behind a part of the exchange's API, such as ``public`` or ``["v1", "public"]``."""
        key = repr(api)
        if key not in self.hosts:
            self.hosts[key] = host_behind(self.urls["api"], api, self.hostname, self.id)  # type: ignore[attr-defined]
        return str(self.hosts[key])


def host_behind(urls: Any, api: Any, hostname: str | None, otherwise: str) -> str:
    """The host behind a part of an exchange's API, such as ``public`` or ``["v1", "public"]``."""
    for name in [api] if isinstance(api, str) else list(api or ()):
        if isinstance(urls, Mapping) and name in urls:
            urls = urls[name]
    while isinstance(urls, Mapping):
        urls = next(iter(urls.values()), "")
    host = urlsplit(str(urls).replace("{hostname}", hostname or "")).netloc
    return host.rpartition("@")[2] or otherwise


_CLASSES: dict[type, type] = {}
_LOCK = threading.Lock()


def tuned(name: str, config: Mapping[str, Any]) -> Any:
    """An exchange of ccxt, tuned; ``config`` is what ccxt's constructor takes."""
    import ccxt

    base = getattr(ccxt, name)
    with _LOCK:
        if base not in _CLASSES:
            _CLASSES[base] = type(base.__name__, (Tuned, base), {"__module__": base.__module__, "__doc__": base.__doc__})
    exchange = _CLASSES[base](dict(config))
    exchange.calls, exchange.hosts = threading.local(), {}
    return exchange
