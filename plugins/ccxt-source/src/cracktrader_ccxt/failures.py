"""What a failure of ccxt means: wait for a host, try again, put the clock right, or give up.

Decided by the concrete class and the HTTP status, never by ``NetworkError``: that is what ccxt raises for a country that is
locked out (451) as well as for a broken cable.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from cracktrader.plugins.hosts import retry_after

__all__ = ["Act", "Answer", "Failure", "judge"]


class Act(enum.Enum):
    """What to do about a failure."""

    AGAIN = "try again"
    STOP = "leave the host alone for a while, then try again"
    RESYNC = "put the clock right, then try once more"
    GIVE_UP = "it will not pass by itself"
    UNKNOWN_SYMBOL = "there is no such market"
    NOT_OFFERED = "the exchange does not have it"


@dataclass(slots=True)
class Answer:
    """What came back last: its status (0 where nothing came), headers in lower case, and body."""

    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What to do, for how long to wait first where that was said, in seconds, and what a user should know."""

    act: Act
    said: str
    hint: str = ""
    wait: float | None = None


#: In this order: HTTP statuses, or classes of ccxt, and what they mean. Classes that an older ccxt lacks are passed over.
_RULES: Final[tuple[tuple[tuple[int, ...], tuple[str, ...], Act, str], ...]] = (
    ((418, 429), ("DDoSProtection", "RateLimitExceeded"), Act.STOP, ""),
    (
        (451,), ("RestrictedLocation",), Act.GIVE_UP,
        "The exchange does not serve the place that this machine is in. Another may: `cracktrader sources ccxt --exchanges`.",
    ),
    ((401, 407, 511), ("AuthenticationError",), Act.GIVE_UP, "Check the credentials (api_key, secret), and what they may do."),
    ((403,), (), Act.GIVE_UP, "The exchange, or something before it, refuses this machine. Asking again will not change that."),
    ((), ("InvalidNonce",), Act.RESYNC, "Is the clock of this machine right?"),
    ((), ("BadSymbol",), Act.UNKNOWN_SYMBOL, ""),
    ((), ("NotSupported", "ArgumentsRequired"), Act.NOT_OFFERED, ""),
    ((), ("InvalidProxySettings",), Act.GIVE_UP, "Look at the proxies in `config`."),
    (tuple(range(500, 600)), ("OnMaintenance",), Act.AGAIN, "Something at the exchange is not in order; try again later."),
    (
        (400, 404, 405, 410, 422), ("BadRequest",), Act.GIVE_UP,
        "The exchange does not understand the request. Is ccxt up to date?",
    ),
    ((), ("NetworkError", "OperationFailed"), Act.AGAIN, ""),
    ((), ("ExchangeError",), Act.GIVE_UP, "Look the message up in the documentation of the exchange."),
)  # fmt: skip
#: How long a host is left alone that doesn't say for how long, by status.
_STOPS: Final = {418: 120.0}
_STOP: Final = 10.0
_HOST: Final = re.compile(r"://(?:[^/@\s]*@)?([^/?#\s]+)")


def judge(error: BaseException, answer: Answer) -> Failure:
    """What to do about what ccxt raised, where the last answer was this."""
    import ccxt

    status = answer.status
    said = f"{type(error).__name__}{f', status {status}' if status else ''}: {_short(str(error))}"
    if not status and "refused" in str(error.__cause__ or error.__context__ or error) and (host := _HOST.search(str(error))):
        return Failure(Act.AGAIN, f"{host[1]} refuses connections", "Is it running, and is `urls` in `config` right?")
    wait = retry_after(answer.headers.get("retry-after"))
    for statuses, names, act, hint in _RULES:
        classes = tuple(getattr(ccxt, name) for name in names if hasattr(ccxt, name))
        if status in statuses or isinstance(error, classes):
            if act is Act.STOP and wait is None:
                wait = _STOPS.get(status, _STOP)
            return Failure(act, said, hint, wait)
    return Failure(Act.GIVE_UP, said, "Is ccxt up to date? pip install --upgrade ccxt")


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= 300 else f"{text[:300]}…"
