"""LiveLine: one symbol and timeframe of a source, followed in the hub and read from elsewhere.

The thinking is done by :class:`~cracktrader.live.line.CandleLine`; here are the stream, the fetches, the timer and the clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from cracktrader.bars import Bars
from cracktrader.catalog import Catalog
from cracktrader.errors import CracktraderError, NotSupported, SourceError, UnsupportedTimeframe
from cracktrader.events import OHLCVCandle, Trade
from cracktrader.live.building import CandleBuilder
from cracktrader.live.clock import SourceClock
from cracktrader.live.handover import Bell, Handover
from cracktrader.live.hub import HUB, Job, in_thread
from cracktrader.live.keeping import Keeper
from cracktrader.live.line import CandleLine, Deliver, Ended, Fetch, Note, Output, Restart, State, StateChange
from cracktrader.live.recording import Recorder, recorder
from cracktrader.live.settings import Counts, LiveSettings
from cracktrader.live.streams import Shared, backoff, events, is_final, streams_of
from cracktrader.loading import fetch_raw
from cracktrader.plugins.source import Source
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe

__all__ = ["Failed", "Item", "LiveLine", "Said"]

logger: Final = logging.getLogger("cracktrader.live")
#: A fetch that takes longer, in seconds, has failed; so many may hang before no other is begun.
_FETCH_SECONDS: Final = 30.0
_HANGING: Final = 3
#: The source's clock is asked again after so many seconds.
_CLOCK_SECONDS: Final = 60.0
#: A candle that is called closed may be so many milliseconds ahead of what its source's clock is believed to show. Sources tell
#: a time at which bars are settled, a few seconds behind: a candle that is closed is settled.
_AHEAD: Final = 5_000
#: Live bars are written to the catalog so often; at the end that may take so long.
_KEEP_SECONDS: Final = 300.0
_LAST_WRITE_SECONDS: Final = 4.0


@dataclass(frozen=True, slots=True)
class Said:
    """Something to tell the user: the line's state changed, or something happened that changes none (then it is None)."""

    state: State | None
    text: str


@dataclass(frozen=True, slots=True)
class Failed:
    """The line can't go on; ``refused`` where it never was live."""

    error: Exception
    refused: bool


Item: TypeAlias = "Deliver | Said | Failed | Ended"


class LiveLine:
    """The closed bars of one symbol and timeframe as they come, from the one that opens at ``begin`` on.

    :meth:`start` begins to follow, :meth:`stop` ends it and leaves nothing running. In between :meth:`take` gives bars, states
    and errors in order, and ``bell`` rings when there is something to take. Every bar that opens before ``frontier`` has been
    handed over, and every one before ``reached`` has been taken. Without ``begin`` it is the bar that forms now, or that of
    ``grid``, a longer timeframe. ``last`` is the bar before, whose close fills intervals without trades.
    """

    def __init__(
        self,
        source: Source,
        symbol: str,
        timeframe: Timeframe,
        settings: LiveSettings,
        *,
        begin: int | None = None,
        grid: Timeframe | None = None,
        last: OHLCVCandle | None = None,
        until: int | None = None,
        fill: bool = True,
        fill_limit: int = 60,
        bell: Bell | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self.source, self.symbol, self.frame, self.settings = source, symbol, timeframe, settings
        self.bell = bell or Bell()
        self.items: Handover[Item] = Handover(settings.queue, self.bell)
        self.reached = self.frontier = begin or 0
        self.state = State.DELAYED
        self.last: OHLCVCandle | None = None
        self.clock = SourceClock(pace=float(getattr(source.plugin, "pace", 1.0)))
        self._begin_at, self._grid = begin, grid or timeframe
        self._before, self._until, self._fill, self._fill_limit = last, until, fill, fill_limit
        self._catalog = catalog
        self._hook = self._choose()
        self._job: Job | None = None
        self._shared: Shared
        self._line: CandleLine | None = None
        self._builder: CandleBuilder | None = None
        self._recorder: Recorder | None = None
        self._keeper: Keeper | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reading: asyncio.Task[str] | None = None
        self._fetching: set[asyncio.Task[None]] = set()
        self._writing: set[asyncio.Task[None]] = set()
        self._asking: set[object] = set()  # fetches whose thread is still there
        self._delays: deque[float] = deque(maxlen=1_000)
        self._waits: deque[float] = deque(maxlen=1_000)
        self._put: deque[float] = deque()
        self._random = random.Random()  # noqa: S311  # to spread reconnects
        self._starved = self._was_live = self._restarting = False
        self._heard_at: float | None = None
        self._name = f"{source.name} {symbol or 'the only symbol'} {timeframe}"

    def _choose(self) -> str:
        """The hook to make candles of; raises :class:`NotSupported` where there is none."""
        wanted = self.settings.from_trades
        if wanted is not True and self.source.offers("stream_candles"):
            return "stream_candles"
        if wanted is not False and self.source.offers("stream_trades"):
            return "stream_trades"
        what = {True: "trades", False: "candles", None: "neither candles nor trades"}[wanted]
        raise NotSupported(
            f"The source {self.source.name!r} can't go on live: it streams {what if wanted is None else f'no {what}'}.",
            hint="Leave live=True out for its history, or choose another source.",
            source=self.source.name,
        )

    # ── for the reader, in its own thread ────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to follow."""
        if self._job is None:
            self._job = HUB.run(self._run, self._name)

    def stop(self) -> None:
        """End: no task, no thread and no subscription of this line is left."""
        if self._job is not None:
            self._job.stop()

    def take(self) -> Item | None:
        """The next item, None where there is none at present."""
        item = self.items.take()
        if isinstance(item, Deliver):
            self.reached, self.last = item.reached, item.candle
            self._waits.append((time.perf_counter() - self._put.popleft()) * 1000)
        if self._starved and len(self.items) <= self.items.size // 2 and self._job is not None:
            self._starved = False
            self._job.call(self._tick)
        return item

    @property
    def bars_waiting(self) -> int:
        """How many bars have been handed over, but not taken."""
        return len(self._put)

    @property
    def forming(self) -> OHLCVCandle | None:
        """The candle that forms, as the stream showed it last; it will change."""
        return self._builder.forming if self._builder else self._line.forming if self._line else None

    @property
    def stats(self) -> dict[str, Any]:
        """What happened so far: counts, ``state``, ``age`` (seconds since the last message), ``queued``, ``clock_offset_ms``, and
        how many milliseconds after its end a bar was ready (``ready_ms``) and how long it then waited for the reader
        (``waited_ms``), as median and 99th percentile.
        """
        counts = self._line.counts if self._line else Counts()
        age = None if self._heard_at is None else round(time.monotonic() - self._heard_at, 3)
        return counts.to_dict() | {
            "age": age,
            "state": self.state.value,
            "queued": len(self.items),
            "clock_offset_ms": round(self.clock.offset, 1),
            "ready_ms": _percentiles(self._delays),
            "waited_ms": _percentiles(self._waits),
            "late_trades": self._builder.late if self._builder else 0,
        }

    # ── in the hub ───────────────────────────────────────────────────────────────────────────────────

    async def _run(self, job: Job) -> None:
        self._job = job
        try:
            async with streams_of(self.source) as self._shared:
                self.clock = self._shared.clock
                await self._follow()
        except asyncio.CancelledError:
            raise
        except Exception as error:
            self._fail(error)

    async def _follow(self) -> None:
        settings = self.settings
        if settings.record is not None:
            self._recorder = recorder(settings.record)
        helpers = []
        try:
            await self._shared.ask_the_time(_CLOCK_SECONDS)
            self._note("line", source=self.source.name, symbol=self.symbol, timeframe=str(self.frame))
            self._begin()
            helpers = [asyncio.create_task(self._keep_the_time()), asyncio.create_task(self._keep_the_bars())]
            self._tick()
            await self._stream()
        finally:
            if self._timer is not None:
                self._timer.cancel()
            left = [*helpers, *self._fetching]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)
            if self._recorder is not None:
                self._recorder.close()
            if self._keeper is not None:
                await self._write_the_rest(self._keeper)

    def _begin(self) -> None:
        now = self.clock.now()
        cursor = self._grid.floor(now) if self._begin_at is None else self._begin_at
        self._line = CandleLine(
            self.frame, self.settings, cursor=cursor, now=now, last=self._before, until=self._until, fill=self._fill,
            fill_limit=self._fill_limit, seed=self._random.getrandbits(32),
        )  # fmt: skip
        self.reached = self.frontier = cursor
        if self._hook == "stream_trades":
            self._build()
        if self._catalog is not None:
            self._keeper = Keeper(self._catalog, self.source, self.symbol, self.frame, cursor)

    def _build(self) -> None:
        settings = self.settings
        self._builder = CandleBuilder(
            self.symbol, self.frame, grace=int(settings.grace * 1000), trust=not settings.confirm
        )  # fmt: skip

    # ── the stream ───────────────────────────────────────────────────────────────────────────────────

    async def _stream(self) -> None:
        """Read the stream, and open it again whenever it ends; until the line has ended or failed."""
        line = self._checked_line
        attempt = 0
        while not line.finished:
            self._note("up")
            self._take_built(self.clock.now())
            line.on_up(self.clock.now())
            self._act()
            messages = line.counts.messages
            self._reading = asyncio.create_task(self._read())
            try:
                await asyncio.wait({self._reading})
            finally:
                self._reading.cancel()
                await asyncio.wait({self._reading}, timeout=5)
            if self._builder is not None:
                self._builder.on_down()
            if self._restarting:  # the line knows: it said so
                self._restarting = False
                await asyncio.sleep(backoff(0, self._random.random()))
                continue
            error = _error_of(self._reading)
            if error is not None:
                if isinstance(error, UnsupportedTimeframe) and self._builder is None and self._may_build:
                    self._hook = "stream_trades"
                    self._build()
                    continue
                if is_final(error) or not isinstance(error, CracktraderError):
                    raise error
            why = error.message if isinstance(error, CracktraderError) else "it ended."
            attempt = 0 if line.counts.messages > messages else attempt + 1
            self._note("down", why=why)
            self._take_built(self.clock.now())
            line.on_down(why, self.clock.now())
            self._act()
            await asyncio.sleep(backoff(attempt, self._random.random()))

    @property
    def _checked_line(self) -> CandleLine:
        assert self._line is not None  # noqa: S101  # for type checkers: it is made before anything runs
        return self._line

    @property
    def _may_build(self) -> bool:
        return self.settings.from_trades is None and self.source.offers("stream_trades")

    async def _read(self) -> str:
        stream: AsyncGenerator[Any, None]
        if self._builder is None:
            stream = events(self.source, "stream_candles", symbol=self.symbol, timeframe=self.frame)
        else:
            stream = events(self.source, "stream_trades", symbol=self.symbol)
        first = True
        async with contextlib.aclosing(stream):
            async for event in stream:
                if self._recorder is not None:
                    self._recorder.event(event, self.clock)
                if self._builder is None:
                    self._on_candle(event)
                else:
                    self._on_trade(self._builder, event, first)
                first, self._heard_at = False, time.monotonic()
                if self._checked_line.finished:
                    break
        return "it ended"

    def _on_candle(self, candle: OHLCVCandle) -> None:
        clock = self.clock
        clock.shown(candle.time)
        if candle.closed and candle.end - clock.now() <= _AHEAD * clock.pace:
            clock.shown(candle.end)
        line = self._checked_line
        line.room = self.items.room
        line.on_candle(candle, clock.now())
        self._act()

    def _on_trade(self, builder: CandleBuilder, trade: Trade, first: bool) -> None:
        self.clock.shown(trade.time)
        now = self.clock.now()
        if first:
            builder.on_up(now)
        builder.on_trade(trade, now)
        self._checked_line.on_trade(now)
        self._take_built(now)
        self._act()

    # ── doing what the line says ─────────────────────────────────────────────────────────────────────

    def _tick(self) -> None:
        """Some time has passed, or there is room again."""
        if self._line is None or self._line.finished:
            return
        now = self.clock.now()
        self._take_built(now)  # first: the line would do without what is ready
        self._line.room = self.items.room
        self._line.on_time(now)
        self._act()

    def _take_built(self, now: int) -> None:
        """Tell the line what the builder has ready."""
        if self._builder is not None:
            self._builder.on_time(now)
            for candle in self._builder.take():
                self._checked_line.room = self.items.room
                self._checked_line.on_candle(candle, now, forms=False)

    def _act(self) -> None:
        line, builder = self._checked_line, self._builder
        for output in line.take():
            self._do(output)
        if line.cursor != self.frontier:
            self.frontier = line.cursor
            self.bell.ring()  # also where nothing was handed over: others may have waited for that
        self._starved = line.room <= 0
        self._set_timer(line.wake_at, builder.wake_at if builder is not None else None)

    def _do(self, output: Output) -> None:
        match output:
            case Deliver():
                self._deliver(output)
            case Fetch():
                task = asyncio.get_running_loop().create_task(self._fetch(output))
                self._fetching.add(task)
                task.add_done_callback(self._fetching.discard)
            case Restart(why):
                self._say(None, f"The stream is opened again: {why}.")
                if self._reading is not None:
                    self._restarting = True
                    self._reading.cancel()
            case StateChange(state, why):
                self._say(state, why)
            case Note(text):
                self._say(None, text)
            case Ended():
                self.items.put(output)
                if self._reading is not None:
                    self._reading.cancel()

    def _set_timer(self, *times: int | None) -> None:
        wanted = min((time for time in times if time is not None), default=None)
        if wanted is None:
            return
        loop = asyncio.get_running_loop()
        when = loop.time() + self.clock.seconds_until(wanted) + 0.0005
        if self._timer is None or self._timer.cancelled() or not loop.time() < self._timer.when() <= when:
            if self._timer is not None:
                self._timer.cancel()
            self._timer = loop.call_at(when, self._tick)

    def _deliver(self, output: Deliver) -> None:
        self._delays.append((self.clock.now() - self.frame.next(output.candle.time)) / self.clock.pace)
        self._put.append(time.perf_counter())
        self.items.put(output)
        if self._keeper is not None and self._keeper.add(output.candle, output.reached):
            self._write(self._keeper)

    def _say(self, state: State | None, text: str) -> None:
        if state is not None:
            self.state = state
            self._was_live = self._was_live or state is State.LIVE
            logger.info("%s is %s: %s", self._name, state.value, text)
            self._note("state", state=state.value, why=text)
        else:
            logger.info("%s: %s", self._name, text)
        self.items.put(Said(state, text))

    def _fail(self, error: Exception) -> None:
        refused = not self._was_live
        self.state = State.BROKEN
        logger.error("%s has failed: %s", self._name, error)
        self.items.put(Failed(error, refused))

    def _note(self, kind: str, **facts: Any) -> None:
        if self._recorder is not None:
            self._recorder.note(kind, self.clock, **facts)

    # ── fetching ─────────────────────────────────────────────────────────────────────────────────────

    async def _fetch(self, fetch: Fetch) -> None:
        line = self._checked_line
        request = BarRequest(self.symbol, self.frame)  # bounds are exact: as times, a number of 1970 would pass for seconds
        object.__setattr__(request, "start", fetch.start)
        object.__setattr__(request, "end", fetch.end)
        try:
            async with self._shared.fetches:
                bars = await self._in_time(request)
        except (UnsupportedTimeframe, NotSupported):
            self._keeper = None  # what goes out from now on is not known to be all there is
            if self._builder is not None:
                self._builder.trust = True
            self._take_built(self.clock.now())
            line.on_unfetchable(self.clock.now())
        except Exception as error:
            if is_final(error):
                self._fail(error)
                if self._reading is not None:
                    self._reading.cancel()
                line.on_failed()
                return
            why = error.message if isinstance(error, CracktraderError) else f"{type(error).__name__}: {error}"
            self._note("failed", start=fetch.start, end=fetch.end, why=why)
            line.on_fetch_failed(fetch, why, self.clock.now())
        else:
            self._note("bars", start=fetch.start, end=fetch.end, timeframe=str(self.frame), symbol=self.symbol,
                       rows=bars.to_records())  # fmt: skip
            self._take_built(self.clock.now())
            line.room = self.items.room
            line.on_fetched(fetch, list(bars), self.clock.now())
        self._act()

    async def _in_time(self, request: BarRequest) -> Bars:
        if (hanging := len(self._asking)) >= _HANGING:
            raise SourceError(f"{hanging} fetches from {self.source.name!r} hang.", source=self.source.name)

        def work() -> Bars:
            try:
                return fetch_raw(self.source, request)
            finally:
                self._asking.discard(work)

        self._asking.add(work)
        try:
            async with asyncio.timeout(_FETCH_SECONDS):  # wait_for may swallow that it is cancelled
                return await in_thread(work)
        except TimeoutError:
            raise SourceError(
                f"The source {self.source.name!r} has not answered for {_FETCH_SECONDS:.0f} s.", source=self.source.name
            ) from None

    # ── the clock and the catalog ────────────────────────────────────────────────────────────────────

    async def _keep_the_time(self) -> None:
        while True:
            await asyncio.sleep(_CLOCK_SECONDS * (0.9 + self._random.random() / 5))
            await self._shared.ask_the_time(_CLOCK_SECONDS / 2)

    async def _keep_the_bars(self) -> None:
        while self._keeper is not None:
            await asyncio.sleep(_KEEP_SECONDS)
            self._write(self._keeper)

    async def _write_the_rest(self, keeper: Keeper) -> None:
        """At the end, which may be told to hurry up meanwhile."""
        self._write(keeper)
        cancelled, until = False, time.monotonic() + _LAST_WRITE_SECONDS
        while self._writing and time.monotonic() < until:
            try:
                await asyncio.wait(set(self._writing), timeout=until - time.monotonic())
            except asyncio.CancelledError:
                cancelled = True
        if cancelled:
            raise asyncio.CancelledError

    def _write(self, keeper: Keeper) -> None:
        """Write what was collected, in a thread."""
        stretch = keeper.stretch()

        def work() -> None:
            try:
                keeper.write(stretch)
            except Exception as error:
                logger.warning("%s: live bars could not be kept in the catalog: %s", self._name, error)

        task = asyncio.get_running_loop().create_task(in_thread(work))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)


def _error_of(task: asyncio.Task[Any]) -> BaseException | None:
    """Why a task is over, or is to be given up."""
    if not task.done():
        return SourceError("it does not let go.")
    return SourceError("it was cancelled.") if task.cancelled() else task.exception()


def _percentiles(values: deque[float]) -> dict[str, float]:
    ordered = sorted(values)
    if not ordered:
        return {}
    return {
        "median": round(ordered[len(ordered) // 2], 2),
        "p99": round(ordered[min(len(ordered) * 99 // 100, len(ordered) - 1)], 2),
    }
