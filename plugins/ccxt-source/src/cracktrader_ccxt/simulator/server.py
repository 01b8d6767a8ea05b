"""The simulator: an exchange on loopback, in a thread with its own event loop."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import Any, Final, TypeVar

from aiohttp import web

from cracktrader.bars import Bars
from cracktrader.errors import CracktraderError, InvalidOption
from cracktrader.synthetic import Listing
from cracktrader.times import TimeLike
from cracktrader_ccxt.simulator import faults as kinds
from cracktrader_ccxt.simulator.answers import Answer, Dialect, Page, Question, Refused
from cracktrader_ccxt.simulator.binance import Binance
from cracktrader_ccxt.simulator.clock import Clock
from cracktrader_ccxt.simulator.coinbase import Coinbase
from cracktrader_ccxt.simulator.kraken import Kraken
from cracktrader_ccxt.simulator.pointing import config
from cracktrader_ccxt.simulator.record import Asked, Record
from cracktrader_ccxt.simulator.streams import Streams, break_off
from cracktrader_ccxt.simulator.venue import SYMBOLS, Venue
from cracktrader_ccxt.simulator.weights import Weights

__all__ = ["Simulator"]

T = TypeVar("T")

_HTML: Final = "<html>\r\n<head><title>{0}</title></head>\r\n<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
_REASONS: Final = {
    403: "403 Forbidden",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}


class Simulator:
    """An exchange on 127.0.0.1 that unmodified ccxt and ccxt.pro talk to.

    ``symbols`` are unified symbols (``"BTC/USDT"``, ``"BTC/USDT:USDT"`` for a linear future) or listings; the market is
    :class:`cracktrader.synthetic.Market` of that ``seed``, which begins at ``start``. The clock begins at ``now`` and stands,
    or runs at ``speed``. ``port`` 0 takes a free one. ``weight_limit`` is the weight that requests may use in a minute (None: as
    the exchange has it; 0: no limit). ``outages`` are ``(start, end)`` ranges without bars for anyone; None lets the seed decide.
    Streams send a candle every ``candles_every`` milliseconds at most; 0 for each trade.

    Start and stop it with ``with``, or :meth:`start` and :meth:`close`. Safe between threads.
    """

    def __init__(
        self,
        symbols: Iterable[str | Listing] = SYMBOLS,
        *,
        seed: int = 7,
        now: TimeLike = "2024-06-01",
        start: TimeLike = "2020-01-01",
        speed: float = 0.0,
        port: int = 0,
        weight_limit: int | None = None,
        outages: Sequence[tuple[TimeLike, TimeLike]] | None = (),
        faults: Iterable[kinds.Fault] = (),
        candles_every: int = 250,
    ) -> None:
        if isinstance(symbols, str):
            raise InvalidOption(f"symbols={symbols!r} is text.", hint="Give a list of symbols.")
        #: The exchange's time.
        self.clock = Clock(now)
        #: What goes wrong.
        self.faults = kinds.Faults()
        #: What was asked.
        self.requests = Record()
        self.venue = Venue(seed, symbols, start, outages, self.faults)
        for fault in faults:
            self.faults.add(fault)
        self._speed = speed
        self._wanted_port = port
        self._port = 0
        limits = {"spot": 6000, "futures": 2400} if weight_limit is None else {"spot": weight_limit, "futures": weight_limit}
        self._dialects: list[Dialect] = [
            *(Binance(self.venue, side, limits[side]) for side in limits),
            Kraken(self.venue),
            Coinbase(self.venue),
        ]
        self.weights = Weights()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.ServerRunner | None = None
        #: Who listens to what; made when the simulator starts.
        self.streams: Streams | None = None
        self._candles_every = candles_every
        self.faults.on_market = self._forget
        self.faults.on_change = self._changed
        self.clock.on_change = self._moved

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Simulator:
        """Begin to answer; raises where the port is taken."""
        if self._thread is not None:
            raise InvalidOption("The simulator runs already.", hint="Make another, or close this one first.")
        ready = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                try:
                    runner.run(self._open())
                except BaseException as error:  # told to whoever waits for it
                    failure.append(error)
                    return
                finally:
                    ready.set()
                self._loop.run_forever()
                runner.run(self._shut())

        self._thread = threading.Thread(target=run, name="cracktrader-simulator", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = self._loop = None
            raise CracktraderError(f"The simulator can't listen on port {self._wanted_port}: {failure[0]}.",
                                   hint="Choose another port, or 0 for any that is free.") from failure[0]  # fmt: skip
        if self._speed:
            self.clock.run(self._speed)
        return self

    def close(self) -> None:
        """Stop: afterwards there is no thread, task or socket of it. May be called again."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Simulator:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    async def _open(self) -> None:
        self.streams = Streams(self.venue, self.clock, self.faults, self.requests, self._candles_every)
        self._pump = asyncio.ensure_future(self.streams.run())
        try:
            await self._listen()
        except BaseException:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)
            raise

    async def _listen(self) -> None:
        server = web.Server(self._handle, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self._port or self._wanted_port, reuse_address=True, backlog=512)
        try:
            await site.start()
        except BaseException:
            await self._runner.cleanup()
            raise
        self._port = self._runner.addresses[0][1]

    async def _shut(self) -> None:
        if self.streams is not None:
            await self.streams.leave(clean=True)
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        await self._unlisten()

    async def _unlisten(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def go_down(self, *, clean: bool = False) -> None:
        """The server goes away: connections are reset, or closed if ``clean``, and new ones are refused."""

        async def leave() -> None:
            if self.streams is not None:
                await self.streams.leave(clean=clean)
            await self._unlisten()

        self._call(leave(), wait=True)

    def come_up(self) -> None:
        """It is back, on the same port; clock, market and faults are as they were, subscriptions are gone."""
        if self._runner is None:
            self._call(self._listen(), wait=True)

    def restart(self, down: float = 0.0, *, clean: bool = False) -> None:
        """Go down for that many real seconds."""
        self.go_down(clean=clean)
        time.sleep(down)
        self.come_up()

    def disconnect(self, *, clean: bool = True, stream: str = "*", symbol: str | None = None) -> int:
        """Close the connections that listen to such a stream, now; returns how many. Not ``clean``: by a reset."""

        async def disconnect() -> int:
            return self.streams.disconnect(clean=clean, stream=stream, symbol=symbol) if self.streams is not None else 0

        return self._call(disconnect(), wait=True) or 0

    # ── what users ask it ────────────────────────────────────────────────────────────────────────────

    @property
    def port(self) -> int:
        """Where it listens; kept from the first start on."""
        return self._port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def symbols(self) -> tuple[str, ...]:
        """The unified symbols that are listed, or will be."""
        return self.venue.symbols

    def config(self, exchange: str = "binance", **more: Any) -> dict[str, Any]:
        """What ccxt's constructor needs to find the simulator: ``ccxt.binance(exchange.config("binance"))``."""
        return config(exchange, self.url, self.symbols) | more

    def truth(self, symbol: str, timeframe: str, start: TimeLike, end: TimeLike) -> Bars:
        """The bars in ``[start, end)`` that are closed by now, as the exchange will answer when nothing is amiss."""
        return self.venue.truth(symbol, timeframe, start, end, self.clock.now)

    def __repr__(self) -> str:
        return f"<Simulator {self.url if self._thread else 'not started'}, {self.clock!r}>"

    # ── answering ────────────────────────────────────────────────────────────────────────────────────

    def _forget(self) -> None:
        for dialect in self._dialects:
            dialect.forget()

    def _changed(self) -> None:
        """Faults were added or lifted."""
        if self._loop is not None and self.streams is not None:
            self._call(self._renew(), wait=True)

    async def _renew(self) -> None:
        if self.streams is not None:
            self.streams.changed()

    def _moved(self, wait: bool, patience: float) -> None:
        """The clock was moved: what happened on the way is sent."""
        if self._loop is not None and self.streams is not None:
            self._call(self.streams.reach(), wait=wait, patience=patience)

    def _call(self, work: Coroutine[Any, Any, T], *, wait: bool, patience: float = 60.0) -> T | None:
        """Have work done on the simulator's loop."""
        if self._loop is None or not self._loop.is_running():
            work.close()
            return None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(patience) if wait and threading.current_thread() is not self._thread else None

    def _dialect(self, path: str) -> Dialect:
        return next((dialect for dialect in self._dialects if dialect.concerns(path)), self._dialects[0])

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade", "").lower() == "websocket" and self.streams is not None:
            side = next(
                side for side in self._dialects if isinstance(side, Binance) and side.spot != ("/fstream" in request.path)
            )
            return await self.streams.serve(request, side)
        dialect, query = self._dialect(request.path), dict(request.query)
        now = self.clock.now
        question = Question(request.path, query, request.headers, now, now)
        struck = self.faults.strike(request.path, dialect.symbol(question), now)
        wrong = sum(fault.offset for fault in struck if isinstance(fault, kinds.WrongClock))
        late = max((fault.by for fault in struck if isinstance(fault, kinds.LateBars)), default=None)
        question = replace(question, says=now + wrong, late=late)
        weight, used = dialect.weight(question), 0
        headers: dict[str, str] = {}
        try:
            used, headers = self.weights.use(dialect, request.remote or "", weight)
            answer = self._faulty_answer(dialect, question, struck)
        except Refused as refused:
            answer = refused.answer
        answer.headers = headers | answer.headers
        met = tuple(type(fault).__name__ for fault in struck)
        reset = any(isinstance(fault, kinds.Reset) for fault in struck)
        self.requests.add(Asked(time.monotonic(), now, request.method, request.path, query, dict(request.headers),
                                0 if reset else answer.status, weight, used, met, dialect.name))  # fmt: skip
        if seconds := sum(fault.seconds for fault in struck if isinstance(fault, kinds.Latency)):
            await asyncio.sleep(seconds)
        if reset:
            return _reset(request)
        return await _send(request, answer, struck)

    def _faulty_answer(self, dialect: Dialect, question: Question, struck: list[kinds.RequestFault]) -> Answer:
        for fault in struck:
            if answer := _instead(dialect, fault, question):
                return answer
        made = dialect.answer(question)
        return made if isinstance(made, Answer) else Answer(_spoilt(made, struck), headers=made.headers)


def _instead(dialect: Dialect, fault: kinds.RequestFault, question: Question) -> Answer | None:
    """The answer that a fault gives instead of the true one."""
    match fault:
        case kinds.Status():
            answer = dialect.refusal(fault.status, question.now + 1000 * (fault.retry_after or 0))
            if fault.body is not None:
                answer = Answer(fault.body.encode(), fault.status)
            answer.headers |= fault.headers
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
            return answer
        case kinds.BannedPlace():
            return dialect.refusal(451, question.now)
        case kinds.Maintenance():
            return dialect.maintenance(question)
        case kinds.Forbidden():
            return _html(403)
        case kinds.HtmlError():
            return _html(fault.status)
    return None


def _html(status: int) -> Answer:
    return Answer(_HTML.format(_REASONS.get(status, f"{status} Error")).encode(), status, content_type="text/html")


def _spoilt(page: Page, struck: list[kinds.RequestFault]) -> bytes:
    """The body of a page after the faults that get at its rows."""
    wanted = [fault for fault in struck if isinstance(fault, (kinds.EmptyPages, kinds.PageCap, kinds.Duplicates, kinds.Disorder))]
    if not wanted:
        return page.joined()
    rows = [row for part in page.rows for row in part.apart()]
    for fault in wanted:
        match fault:
            case kinds.EmptyPages():
                rows = []
            case kinds.PageCap():
                rows = rows[: fault.rows]
            case kinds.Duplicates():
                rows = [row for place, row in enumerate(rows) for _ in range(1 + (place % fault.every == fault.every - 1))]
            case kinds.Disorder(newest_first=True):
                rows = rows[::-1]
            case kinds.Disorder():
                random.Random(len(rows)).shuffle(rows)  # noqa: S311  # mixed up the same way each time
    return page.before + b"".join(rows)[:-1] + page.after


def _reset(request: web.BaseRequest) -> web.StreamResponse:
    """Break the connection off, so that the client sees a reset."""
    break_off(request)
    raise asyncio.CancelledError


async def _send(request: web.BaseRequest, answer: Answer, struck: list[kinds.RequestFault]) -> web.StreamResponse:
    slow = sum(fault.seconds for fault in struck if isinstance(fault, kinds.Slow))
    cut = next((fault for fault in struck if isinstance(fault, kinds.Truncated)), None)
    body = answer.body
    kind, _, charset = answer.content_type.partition(";charset=")
    if cut is not None and cut.honest:
        body, cut = body[: int(len(body) * cut.share)], None
    if not slow and cut is None:
        return web.Response(body=body, status=answer.status, headers=answer.headers, content_type=kind, charset=charset or None)
    response = web.StreamResponse(status=answer.status, headers=answer.headers | {"Content-Type": answer.content_type})
    response.content_length = len(body)
    await response.prepare(request)
    kept = body if cut is None else body[: int(len(body) * cut.share)]
    pieces = 20 if slow else 1
    size = -(-len(kept) // pieces) or 1
    for place in range(0, len(kept), size):
        await asyncio.sleep(slow / pieces)
        await response.write(kept[place : place + size])
    if cut is not None and request.transport is not None:
        request.transport.close()
        raise asyncio.CancelledError
    await response.write_eof()
    return response
