"""The desk of one exchange: the one ccxt object that all loads of a process share, asked with patience, and its clock."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, ClassVar, Final, TypeVar

from cracktrader.errors import (
    CracktraderError,
    InvalidOption,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnknownSymbol,
)
from cracktrader.plugins.hosts import HostBudget, http_date
from cracktrader.times import isoformat, now_ms
from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.failures import Act, Failure, judge
from cracktrader_ccxt.hiding import Secrets
from cracktrader_ccxt.markets import Markets
from cracktrader_ccxt.patience import OutOfTime, Patience
from cracktrader_ccxt.streaming import Streams
from cracktrader_ccxt.tuned import Call, tuned

__all__ = ["Desk", "ccxt_object"]

Result = TypeVar("Result")
#: Desks that nobody uses are kept for the next load, so many of them.
_IDLE: Final = 8
#: The exchange's clock is asked again after so many seconds.
_CLOCK_FRESH: Final = 5.0


class Desk:
    """One exchange under one set of options; get it with :meth:`of`, give it back with :meth:`release`."""

    _all: ClassVar[OrderedDict[str, Desk]] = OrderedDict()
    _all_lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, config: CcxtConfig) -> None:
        self.secrets = Secrets(config.config, config.params, config.api_key, config.secret, config.password)
        self.exchange = _made(config, self.secrets)
        self.markets = Markets(self, config)
        self.clock = Clock(self, config.pace)
        #: What streams; used in the hub's loop only.
        self.streams = Streams(self, config)
        self.exchange.onclock, self.exchange.onmarkets = self.clock.note_date, self.markets.load_all
        self._users = 0

    @classmethod
    def of(cls, config: CcxtConfig) -> Desk:
        """The desk for these options; everybody in this process gets the same for the same."""
        key = _key(config)
        with cls._all_lock:
            desk = cls._all.get(key)
            if desk is None:
                desk = cls._all[key] = cls(config)
            desk._users += 1
            cls._all.move_to_end(key)
            idle = [name for name, one in cls._all.items() if not one._users]
            for name in idle[: max(0, len(idle) - _IDLE)]:
                del cls._all[name]
            return desk

    def release(self) -> None:
        """Give it back; the last one to do so closes its connections, its markets are kept."""
        with self._all_lock:
            self._users -= 1
            if not self._users and self.exchange.session is not None:
                self.exchange.session.close()

    @property
    def name(self) -> str:
        """The exchange's name in ccxt."""
        return str(self.exchange.id)

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def ask(
        self, question: Callable[[Call], Result], patience: Patience, told: Callable[[], str], *, raw: bool = False
    ) -> Result:
        """What ``question`` returns, tried again while that makes sense; ``told`` says in an error what was asked.

        Raises :class:`TemporarySourceError`, :class:`PermanentSourceError`, :class:`UnknownSymbol` or :class:`NotSupported`.
        """
        import ccxt

        resynced = False
        while True:
            patience.tries += 1
            with self.exchange.asking(patience, raw=raw) as call:
                try:
                    return question(call)
                except CracktraderError:
                    raise
                except OutOfTime as late:
                    raise self._too_long(call.host, late, told) from None
                except ccxt.BaseError as error:
                    failure = judge(error, call.answer)
                except (TypeError, KeyError, IndexError, AttributeError, ValueError) as error:  # ccxt over an odd answer
                    failure = self._misread(error, call)
            if failure.act is Act.RESYNC and not resynced and self._resync():
                resynced = True
                continue
            wait = self._wait_for(failure, call, patience)
            if wait is None:
                raise self._given_up(failure, patience, told)
            try:
                patience.sleep(wait)
            except OutOfTime as late:
                if failure.act is Act.STOP:
                    raise self._too_long(call.host, late, told, failure) from None
                raise self._given_up(failure, patience, told) from None

    def _wait_for(self, failure: Failure, call: Call, patience: Patience) -> float | None:
        """The seconds to wait before another try, None where there is no sense in one."""
        if failure.act is Act.STOP:
            longer = 2.0 ** (patience.tries - 1) if "retry-after" not in call.answer.headers else 1.0
            HostBudget.of(call.host).stop((failure.wait or 0.0) * longer)
        if failure.act not in (Act.AGAIN, Act.STOP) or patience.tries > patience.retries:
            return None
        if failure.act is Act.STOP:
            return HostBudget.of(call.host).stopped() + patience.pause() / 4  # not everybody at the same moment
        return max(failure.wait or 0.0, patience.pause())

    def _misread(self, error: Exception, call: Call) -> Failure:
        """ccxt's code failed over an answer: worth another try where the answer is no JSON, else its fault or ours."""
        said = f"ccxt can't read the answer: {type(error).__name__}: {error}"
        body = call.answer.body.strip()
        if call.answer.status and not _is_json(body):
            return Failure(
                Act.AGAIN, f"the answer is no JSON: {body[:100]!r}", "Is something between this machine and the exchange?"
            )
        return Failure(Act.GIVE_UP, said, "Is ccxt up to date? pip install --upgrade ccxt")

    def _resync(self) -> bool:
        """Let ccxt measure how far this machine's clock is off; whether it could."""
        import ccxt

        if not self.exchange.has.get("fetchTime"):
            return False
        try:
            self.exchange.load_time_difference()
        except (ccxt.BaseError, OutOfTime, TypeError):
            return False
        self.exchange.options["adjustForTimeDifference"] = True
        return True

    def _too_long(
        self, host: str, late: OutOfTime, told: Callable[[], str], failure: Failure | None = None
    ) -> TemporarySourceError:
        until = isoformat(now_ms() + int(late.wait * 1000))
        stopped = HostBudget.of(host).stopped()
        why = "its limit of requests is used up" if not stopped else "it told this machine to stop"
        said = f" ({self.secrets.hide(failure.said)})" if failure else ""
        return TemporarySourceError(
            f"{told()}: {host} is not asked before {until}: {why}{said}.",
            hint="Try again then. Asking earlier makes bans longer; a larger budget=… waits by itself.",
            until=until,
            wait=late.wait,
        )

    def _given_up(self, failure: Failure, patience: Patience, told: Callable[[], str]) -> CracktraderError:
        said = self.secrets.hide(failure.said)
        if failure.act is Act.UNKNOWN_SYMBOL:
            return UnknownSymbol(f"{told()}: {said}.", hint="Is it still listed? list_symbols says what there is.")
        if failure.act is Act.NOT_OFFERED:
            return NotSupported(f"{told()}: {said}.", hint="`cracktrader sources ccxt --exchanges` says what each exchange has.")
        if failure.act in (Act.AGAIN, Act.STOP):
            tried = f"tried {patience.tries} time{'s' if patience.tries > 1 else ''} in {patience.spent:.1f} s"
            hint = failure.hint or "Try again later. The options retries, backoff and budget say how long to go on."
            return TemporarySourceError(f"{told()}: {said} ({tried}).", hint=hint, tries=patience.tries)
        return PermanentSourceError(f"{told()}: {said}.", hint=failure.hint or "See the documentation of the exchange.")


class Clock:
    """The exchange's clock: what it says itself, else the date of its answers; between two looks this machine's steady one."""

    def __init__(self, desk: Desk, pace: float = 1.0) -> None:
        self._desk, self._pace = desk, pace
        self._lock = threading.Lock()
        self._known: tuple[float, int] | None = None  # when it was looked at, on the steady clock, and what it said
        self._by_date: tuple[float, int] | None = None

    def now(self, patience: Patience | None = None) -> int:
        """The exchange's time in epoch milliseconds UTC; never later than it is, as far as can be known."""
        if not self._desk.exchange.has.get("fetchTime"):
            return self._from(self._by_date)
        with self._lock:
            known = self._known
            if known is None or time.monotonic() - known[0] > _CLOCK_FRESH:
                self._known = known = self._look(patience)
        return self._from(known)

    def note_date(self, date: str | None) -> None:
        """The ``Date`` of an answer, which tells no more than seconds."""
        moment = http_date(date)
        if moment is not None:
            self._by_date = time.monotonic(), int(moment * 1000)

    def _from(self, known: tuple[float, int] | None) -> int:
        return now_ms() if known is None else known[1] + int((time.monotonic() - known[0]) * 1000 * self._pace)

    def _look(self, patience: Patience | None) -> tuple[float, int] | None:
        patience = patience or Patience(retries=3, backoff=0.5, budget=60)
        said = self._desk.ask(lambda _: self._desk.exchange.fetch_time(), patience, lambda: f"{self._desk.name}, its clock")
        return self._by_date if said is None else (time.monotonic(), int(said))


def _made(config: CcxtConfig, secrets: Secrets) -> Any:
    """The ccxt object that answers questions."""
    exchange = ccxt_object(config, secrets, tuned)
    from requests.adapters import HTTPAdapter

    for scheme in ("http://", "https://"):  # as many connections as there may be threads
        exchange.session.mount(scheme, HTTPAdapter(pool_maxsize=64))
    return exchange


def ccxt_object(config: CcxtConfig, secrets: Secrets, make: Callable[[str, dict[str, Any]], Any]) -> Any:
    """What ``make`` makes of these options, told which markets and which network are meant; None where it makes nothing."""
    given = config.ccxt_config
    try:
        exchange = make(config.exchange, given)
    except Exception as error:  # whatever ccxt's constructor makes of an odd config
        raise InvalidOption(
            f"ccxt can't make {config.exchange} of this config: {type(error).__name__}: {secrets.hide(str(error))}.",
            hint="`config` is what ccxt's constructor takes; see ccxt's manual.",
        ) from None
    if exchange is None:
        return None
    if config.market_type is not None and "defaultType" not in (given.get("options") or {}):
        exchange.options["defaultType"] = config.market_type
    if config.sandbox:
        import ccxt

        try:
            exchange.set_sandbox_mode(True)
        except (ccxt.BaseError, TypeError):  # the latter where it knows no addresses of one
            raise NotSupported(
                f"{config.exchange} has no test network that ccxt knows.",
                hint="Leave out sandbox=True; `cracktrader sources ccxt --exchanges` lists the exchanges that have one.",
            ) from None
    return exchange


def _key(config: CcxtConfig) -> str:
    """What desks are told apart by: a digest, so that no secret is written down."""
    told = [
        config.exchange,
        config.sandbox,
        config.market_type,
        config.markets_ttl,
        config.pace,
        config.ccxt_config,
        config.ccxt_params,
    ]
    return hashlib.sha256(json.dumps(told, sort_keys=True, default=repr).encode()).hexdigest()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
