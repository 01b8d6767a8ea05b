"""A venue in virtual time whose stream and answers go wrong in every way that venues know, and what it really traded.

A pure :class:`~cracktrader.live.line.CandleLine` is driven against it event by event; hours pass in a second.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from cracktrader.events import OHLCVCandle
from cracktrader.live.clock import SourceClock
from cracktrader.live.line import CandleLine, Deliver, Ended, Fetch, Note, Restart, State, StateChange
from cracktrader.live.settings import LiveSettings
from cracktrader.timeframe import Timeframe

START = 1_704_067_200_000


@dataclass(frozen=True)
class Faults:
    """How likely each fault is, per message unless said otherwise."""

    lost: float = 0.05
    late: float = 0.05
    twice: float = 0.03
    older: float = 0.03
    no_flag: float = 0.2  # of the last updates, arrive without saying closed
    empty: float = 0.1  # of the bars, no trades
    breaks: float = 1 / 40  # per bar: the stream is lost, for some seconds up to minutes
    holes: float = 1 / 40  # per bar: nothing arrives for a while, and nobody is told
    frozen: float = 1 / 120  # per bar: nothing arrives any more until it is opened again
    outages: float = 1 / 60  # per bar: fetching fails for a while
    fetch_fails: float = 0.05  # per fetch
    rest_lag: int = 700  # what fetches show is up to so many milliseconds old
    skew: float = 30_000.0  # of this machine's clock


CLEAN = Faults(0, 0, 0, 0, 0, 0.1, 0, 0, 0, 0, 0, 0, 0)


@dataclass
class World:
    """The venue, its network, and the line on this side of it."""

    seed: int
    frame: Timeframe = field(default_factory=lambda: Timeframe("1m"))
    bars: int = 240
    faults: Faults = field(default_factory=Faults)
    flags: bool = True  # the venue says which update is the last
    settings: LiveSettings = field(default_factory=LiveSettings)
    fill: bool = True
    begin_late: int = 5  # the line begins so many bars after the first one wanted: the rest is stitched on

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.time = float(START)
        self.queue: list[tuple[float, int, Callable[[], None]]] = []
        self.number = itertools.count()
        self.states: dict[int, list[tuple[int, OHLCVCandle]]] = {}
        self.truth: dict[int, OHLCVCandle] = {}
        self.down = self.frozen = False
        self.silent_until = self.rest_fails_until = 0.0
        self.calm = START + (self.bars - 10) * self.frame.step  # no faults at the end: it has to get well
        skew = self.random.uniform(-self.faults.skew, self.faults.skew)
        self.clock = SourceClock(lambda: self.time + skew)
        self.delivered: list[OHLCVCandle] = []
        self.delays: list[int] = []
        self.log: list[Any] = []
        self._make_market()
        self.line: CandleLine | None = None
        self._timer = -1.0

    # ── the market ───────────────────────────────────────────────────────────────────────────────────

    def _make_market(self) -> None:
        price, random = 100.0, self.random
        for number in range(self.bars):
            opens = START + number * self.frame.step
            if random.random() < self.faults.empty:
                continue
            moments = sorted(random.sample(range(self.frame.step), random.randint(1, 12)))
            states, volume = [], 0.0
            first = high = low = price
            for place, moment in enumerate(moments):
                price = round(price * (1 + random.gauss(0, 0.001)), 2)
                first = price if place == 0 else first
                high, low = (price, price) if place == 0 else (max(high, price), min(low, price))
                volume = round(volume + random.random(), 4)
                candle = OHLCVCandle("BTC/USDT", self.frame, opens, first, high, low, price, volume, closed=False)
                states.append((opens + moment, candle))
            self.states[opens] = states
            self.truth[opens] = replace(states[-1][1], closed=True)

    def shown_at(self, opens: int, time: float) -> OHLCVCandle | None:
        """The candle as the venue has it at some time; None before its first trade."""
        known = [candle for moment, candle in self.states.get(opens, ()) if moment <= time]
        return known[-1] if known else None

    def _messages(self) -> Iterator[tuple[float, OHLCVCandle]]:
        for opens, states in self.states.items():
            yield from states
            if self.flags:
                yield opens + self.frame.step, replace(states[-1][1], closed=self.random.random() >= self.faults.no_flag)

    # ── the network ──────────────────────────────────────────────────────────────────────────────────

    def at(self, time: float, action: Callable[[], None]) -> None:
        heapq.heappush(self.queue, (time, next(self.number), action))

    def _send(self, candle: OHLCVCandle) -> None:
        if self.down or self.frozen or self.time < self.silent_until:
            return
        faults, random = (CLEAN, self.random) if self.time > self.calm else (self.faults, self.random)
        if random.random() < faults.lost:
            return
        delay = random.uniform(1, 30) if random.random() >= faults.late else random.uniform(100, 8000)
        self.at(self.time + delay, lambda: self._arrive(candle))
        if random.random() < faults.twice:
            self.at(self.time + random.uniform(1, 90_000), lambda: self._arrive(candle))
        if random.random() < faults.older and (old := self.truth.get(candle.time - random.randint(1, 4) * self.frame.step)):
            self.at(self.time + delay, lambda: self._arrive(replace(old, closed=False)))

    def _arrive(self, candle: OHLCVCandle) -> None:
        if not self.down and self.line is not None:
            self.clock.shown(candle.time)
            if candle.closed and self.clock.now() >= candle.end - 1000:
                self.clock.shown(candle.end)
            self.line.on_candle(candle, self.clock.now())
            self.act()

    def _trouble(self) -> None:
        """Once per bar: does something begin to go wrong?"""
        faults, random = self.faults, self.random
        if self.time > self.calm:
            return
        if not self.down and random.random() < faults.breaks:
            self._lose(random.choice((200.0, 2_000.0, 20_000.0, 400_000.0)))
        if random.random() < faults.holes:
            self.silent_until = self.time + random.uniform(1_000, 300_000)
        if random.random() < faults.frozen:
            self.frozen = True
        if random.random() < faults.outages:
            self.rest_fails_until = self.time + random.uniform(1_000, 240_000)

    def _lose(self, duration: float) -> None:
        assert self.line is not None
        self.down, self.frozen, self.silent_until = True, False, 0.0
        self.line.on_down("reset by peer", self.clock.now())
        self.act()
        self.at(self.time + duration, self._open)

    def _open(self) -> None:
        assert self.line is not None
        self.down = self.frozen = False
        self.line.on_up(self.clock.now())
        self.act()

    def _answer(self, fetch: Fetch) -> None:
        latency = self.random.uniform(5, 1500)
        served = self.time + latency / 2
        if served < self.calm and (served < self.rest_fails_until or self.random.random() < self.faults.fetch_fails):
            self.at(self.time + latency, lambda: self._tell(lambda line: line.on_fetch_failed(fetch, "503", self.clock.now())))
            return
        lag = self.random.uniform(0, self.faults.rest_lag)
        opens = range(self.frame.floor(fetch.start), fetch.end, self.frame.step)
        rows = [row for row in (self.shown_at(time, served - lag) for time in opens) if row is not None]
        self.random.shuffle(rows)
        self.at(self.time + latency, lambda: self._tell(lambda line: line.on_fetched(fetch, rows, self.clock.now())))

    def _tell(self, tell: Callable[[CandleLine], None]) -> None:
        assert self.line is not None
        tell(self.line)
        self.act()

    # ── the run ──────────────────────────────────────────────────────────────────────────────────────

    def act(self) -> None:
        """Do what the line says."""
        line = self.line
        assert line is not None
        for output in line.take():
            self.log.append((self.time, output))
            match output:
                case Deliver(candle):
                    self.delivered.append(candle)
                    self.delays.append(int(self.time - self.frame.next(candle.time)))
                case Fetch():
                    self._answer(output)
                case Restart():
                    self.down = True
                    self.at(self.time + 300, self._open)
                case StateChange() | Note() | Ended():
                    pass
        if line.wake_at is not None:
            wanted = self.time + self.clock.seconds_until(line.wake_at) * 1000 + 0.001
            if self._timer < self.time or wanted < self._timer:
                self._timer = wanted
                self.at(wanted, self._wake)

    def _wake(self) -> None:
        if self._timer <= self.time:
            self._timer = -1.0
            self._tell(lambda line: line.on_time(self.clock.now()))

    def _measure(self) -> None:
        asked, rtt = self.clock._machine(), self.random.choice((50, 300, 6_000)) * self.random.random() + 2
        there = self.time + self.random.uniform(0, rtt)
        self.at(self.time + rtt, lambda: self.clock.measured(asked, there, self.clock._machine()))

    def run(self) -> World:
        """Let all of it happen; a little longer than the market, so that the last bars come out."""
        begin = START + self.begin_late * self.frame.step
        self.time = begin
        self._measure()
        while self.queue:
            self.time, _, action = heapq.heappop(self.queue)
            action()
        now = self.clock.now()
        self.line = CandleLine(
            self.frame, self.settings, cursor=START, now=now, fill=self.fill, fill_limit=10_000, seed=self.seed,
            until=START + self.bars * self.frame.step,
        )  # fmt: skip
        for moment, candle in self._messages():
            if moment > self.time:
                self.at(moment, lambda candle=candle: self._send(candle))
        for number in range(self.begin_late + 1, self.bars):
            self.at(START + number * self.frame.step - self.random.uniform(0, self.frame.step), self._trouble)
        for moment in range(int(self.time), int(self.time) + self.bars * self.frame.step, 60_000):
            self.at(moment, self._measure)
        self.at(self.time + 50, self._open)
        end = START + (self.bars + 3) * self.frame.step + 120_000
        while self.queue and self.queue[0][0] < end and self.line.state is not State.ENDED:
            self.time, _, action = heapq.heappop(self.queue)
            action()
        return self

    @property
    def expected(self) -> list[tuple[Any, ...]]:
        """What a perfect line delivers: every bar as it was in the end; intervals without trades filled, or not there."""
        rows: list[tuple[Any, ...]] = []
        last: OHLCVCandle | None = None
        for number in range(self.bars):
            opens = START + number * self.frame.step
            if (bar := self.truth.get(opens)) is not None:
                last = bar
                rows.append(row_of(bar))
            elif self.fill and last is not None:
                rows.append((opens, *[last.close] * 4, 0.0, 1))
        return rows


def row_of(candle: OHLCVCandle) -> tuple[Any, ...]:
    return (candle.time, candle.open, candle.high, candle.low, candle.close, candle.volume, candle.flags)
