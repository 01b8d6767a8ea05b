"""The weight that an address has used in the minute, and what it is told when that is too much."""

from __future__ import annotations

import time
from typing import Final

from cracktrader_ccxt.simulator.answers import Dialect, Refused

__all__ = ["Weights"]

#: So many refusals in one minute lead to a ban.
_PATIENCE: Final = 10
_MINUTE: Final = 60.0
_LONGEST_BAN: Final = 3 * 86_400.0


class Weights:
    """Counts by the minute of real time, whatever the exchange's clock shows: clients throttle in real time.

    Above a dialect's limit requests get 429 with Retry-After up to the next minute. Who goes on regardless is banned: 418 for two
    minutes, twice as long each time, up to three days.
    """

    def __init__(self) -> None:
        self._used: dict[tuple[str, str], list[float]] = {}  # minute, weight, refusals
        self._bans: dict[tuple[str, str], tuple[float, int]] = {}  # until when, how many

    def use(self, dialect: Dialect, address: str, weight: int) -> tuple[int, dict[str, str]]:
        """Count a request; what is used with it, and the headers that say so. Raises :class:`Refused`."""
        key, now = (dialect.name, address), time.time()
        until, bans = self._bans.get(key, (0.0, 0))
        if now < until:
            raise _refused(dialect, 418, until, now)
        counted = self._used.setdefault(key, [0.0, 0, 0])
        if counted[0] != now // _MINUTE:
            counted[:] = [now // _MINUTE, 0, 0]
        counted[1] += weight
        headers = dialect.headers(int(counted[1]))
        if dialect.limit and counted[1] > dialect.limit:
            counted[2] += 1
            if counted[2] > _PATIENCE:
                until = now + min(_LONGEST_BAN, 120.0 * 2**bans)
                self._bans[key] = (until, bans + 1)
                raise _refused(dialect, 418, until, now)
            refused = _refused(dialect, 429, (now // _MINUTE + 1) * _MINUTE, now)
            refused.answer.headers |= headers
            raise refused
        return int(counted[1]), headers


def _refused(dialect: Dialect, status: int, until: float, now: float) -> Refused:
    answer = dialect.refusal(status, int(until * 1000))
    answer.headers["Retry-After"] = str(int(until - now) + 1)
    return Refused(answer)
