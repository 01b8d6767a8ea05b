"""The simulator: an exchange on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from aiohttp import web

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption
from cracktrader.synthetic import Listing
from cracktrader.times import TimeLike
from cracktrader_ccxt.simulator import faults as kinds
from cracktrader_ccxt.simulator.answers import Answer, Dialect, Question, Refused
from cracktrader_ccxt.simulator.binance import Binance
from cracktrader_ccxt.simulator.clock import Clock
from cracktrader_ccxt.simulator.coinbase import Coinbase
from cracktrader_ccxt.simulator.kraken import Kraken
from cracktrader_ccxt.simulator.loopback import Loopback
from cracktrader_ccxt.simulator.pointing import config
from cracktrader_ccxt.simulator.record import Asked, Record
from cracktrader_ccxt.simulator.replay import Recorder
from cracktrader_ccxt.simulator.spoiling import instead, send, spoilt
from cracktrader_ccxt.simulator.streams import Streams
from cracktrader_ccxt.simulator.venue import SYMBOLS, Venue
from cracktrader_ccxt.simulator.weights import Weights

__all__ = ["Simulator"]


class Simulator(Loopback):
    """An exchange on 127.0.0.1 that unmodified ccxt and ccxt.pro talk to.

    ``symbols`` are unified symbols (``"BTC/USDT"``, ``"BTC/USDT:USDT"`` for a linear future) or listings; the market is
    :class:`cracktrader.synthetic.Market` of that ``seed``, which begins at ``start``. The clock begins at ``now`` and stands,
    or runs at ``speed``. ``port`` 0 takes a free one. ``weight_limit`` is the weight that requests may use in a minute (None: as
    the exchange has it; 0: no limit). ``outages`` are ``(start, end)`` ranges without bars for anyone; None lets the seed decide.
    Streams send a candle every ``candles_every`` milliseconds at most; 0 for each trade. ``recording`` is a file that the traffic
    is written to while it runs, for :class:`~cracktrader_ccxt.simulator.Replay`.

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
        recording: str | Path | None = None,
    ) -> None:
        if isinstance(symbols, str):
            raise InvalidOption(f"symbols={symbols!r} is text.", hint="Give a list of symbols.")
        super().__init__(port)
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
        limits = {"spot": 6000, "futures": 2400} if weight_limit is None else {"spot": weight_limit, "futures": weight_limit}
        self._dialects: list[Dialect] = [
            *(Binance(self.venue, side, limits[side]) for side in limits),
            Kraken(self.venue),
            Coinbase(self.venue),
        ]
        self.weights = Weights()
        #: Who listens to what; made when the simulator starts.
        self.streams: Streams | None = None
        self._candles_every = candles_every
        self._recording = recording
        self._recorder: Recorder | None = None
        self.faults.on_market = self._forget
        self.faults.on_change = self._changed
        self.clock.on_change = self._moved

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Self:
        """Begin to answer; raises :class:`~cracktrader.CracktraderError` where the port is taken."""
        super().start()
        if self._speed:
            self.clock.run(self._speed)
        return self

    async def begin(self) -> None:
        if self._recording is not None:
            self._recorder = Recorder(self._recording)
        self.streams = Streams(self.venue, self.clock, self.faults, self.requests, self._candles_every, self._recorder)
        self.streams.changed()  # faults that were given from the start
        self._pump = asyncio.ensure_future(self.streams.run())

    async def end(self) -> None:
        if self.streams is not None:
            await self.streams.leave(clean=True)
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)
        if self._recorder is not None:
            self._recorder.close()

    def go_down(self, *, clean: bool = False) -> None:
        """The server goes away: connections are reset, or closed if ``clean``, and new ones are refused."""

        async def leave() -> None:
            if self.streams is not None:
                await self.streams.leave(clean=clean)
            await self.unlisten()

        self.call(leave())

    def come_up(self) -> None:
        """It is back, on the same port; clock, market and faults are as they were, subscriptions are gone."""
        self.call(self.listen())

    def restart(self, down: float = 0.0, *, clean: bool = False) -> None:
        """Go down for that many real seconds."""
        self.go_down(clean=clean)
        time.sleep(down)
        self.come_up()

    def disconnect(self, *, clean: bool = True, stream: str = "*", symbol: str | None = None) -> int:
        """Close the connections that listen to such a stream, now; returns how many. Not ``clean``: by a reset."""

        async def disconnect() -> int:
            return self.streams.disconnect(clean=clean, stream=stream, symbol=symbol) if self.streams is not None else 0

        return self.call(disconnect()) or 0

    # ── what users ask it ────────────────────────────────────────────────────────────────────────────

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
        return f"<Simulator {self.url if self.running else 'not started'}, {self.clock!r}>"

    # ── answering ────────────────────────────────────────────────────────────────────────────────────

    def _forget(self) -> None:
        for dialect in self._dialects:
            dialect.forget()

    def _changed(self) -> None:
        """Faults were added or lifted."""
        if self.streams is not None:
            self.call(self._renew())

    async def _renew(self) -> None:
        if self.streams is not None:
            self.streams.changed()

    def _moved(self, wait: bool, patience: float) -> None:
        """The clock was moved: what happened on the way is sent."""
        if self.streams is not None:
            self.call(self.streams.reach(), wait=wait, patience=patience)

    def _dialect(self, path: str) -> Dialect:
        return next((dialect for dialect in self._dialects if dialect.concerns(path)), self._dialects[0])

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
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
        weight, used = 0, 0
        headers: dict[str, str] = {}
        try:
            weight = dialect.weight(question)
            used, headers = self.weights.use(dialect, request.remote or "", weight)
            answer = self._faulty_answer(dialect, question, struck)
        except Refused as refused:
            answer = refused.answer
        answer.headers = headers | answer.headers
        met = tuple(type(fault).__name__ for fault in struck)
        reset = any(isinstance(fault, kinds.Reset) for fault in struck)
        self.requests.add(Asked(time.monotonic(), now, request.method, request.path, query, dict(request.headers),
                                0 if reset else answer.status, weight, used, met, dialect.name))  # fmt: skip
        if self._recorder is not None:
            self._recorder.rest(request.method, request.path, query, answer.status,
                                answer.headers | {"Content-Type": answer.content_type}, answer.body)  # fmt: skip
        if seconds := sum(fault.seconds for fault in struck if isinstance(fault, kinds.Latency)):
            await asyncio.sleep(seconds)
        return await send(request, answer, struck)

    def _faulty_answer(self, dialect: Dialect, question: Question, struck: list[kinds.RequestFault]) -> Answer:
        for fault in struck:
            if answer := instead(dialect, fault, question):
                return answer
        made = dialect.answer(question)
        return made if isinstance(made, Answer) else Answer(spoilt(made, struck), headers=made.headers)
