"""A live line over an exchange on loopback whose clock runs fast: what it delivered, and what it should have."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import cracktrader as ct
from cracktrader.events import OHLCVCandle
from cracktrader.live.following import Failed, LiveLine, Said
from cracktrader.live.handover import Bell
from cracktrader.live.line import Deliver, State
from cracktrader.live.settings import LiveSettings
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator import Simulator

__all__ = ["SPEED", "Followed", "follow", "source_of"]

#: Four minutes of the exchange in a second.
SPEED = 240


def source_of(
    exchange: Simulator, venue: str = "binance", *, speed: float = SPEED, config: Any = (), **options: Any
) -> ct.Source:
    """A source that asks the exchange as fast as it can."""
    usual = {"backoff": 0.01, "retries": 1, "pace": speed}
    config = exchange.config(venue, enableRateLimit=False) | dict(config)
    return ct.source("ccxt", **{"exchange": venue, "config": config, **usual, **options})


class Followed:
    """A line that is followed, and all that came of it."""

    def __init__(self, exchange: Simulator, line: LiveLine) -> None:
        self.exchange, self.line = exchange, line
        self.bars: list[OHLCVCandle] = []
        self.said: list[Said] = []
        self.failed: Exception | None = None

    @property
    def states(self) -> list[State]:
        return [said.state for said in self.said if said.state is not None]

    @property
    def texts(self) -> str:
        return "\n".join(said.text for said in self.said)

    def take(self) -> None:
        while (item := self.line.take()) is not None:
            if isinstance(item, Deliver):
                self.bars.append(item.candle)
            elif isinstance(item, Said):
                self.said.append(item)
            elif isinstance(item, Failed):
                self.failed = item.error

    def until(self, done: Callable[[], object], seconds: float = 15) -> None:
        """Take what comes until it is done."""
        late = time.monotonic() + seconds
        while True:
            heard = self.line.bell.rings
            self.take()
            if done():
                return
            assert time.monotonic() < late, f"{len(self.bars)} bars, {self.failed!r}, {self.texts}, {self.line.stats}"
            self.line.bell.wait(heard, 0.05)

    def more(self, bars: int) -> None:
        """Wait for so many more bars."""
        wanted = len(self.bars) + bars
        self.until(lambda: len(self.bars) >= wanted)

    def past(self, when: int) -> None:
        """Wait until a bar was delivered that opens later."""
        self.until(lambda: self.bars and self.bars[-1].time > when)

    def check(self, but: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        """What was delivered is what the exchange has, from the first bar to the last, to the last bit; ``but`` are left out."""
        assert self.failed is None, self.failed
        assert self.bars
        line = self.line
        truth = self.exchange.truth(line.symbol, str(line.frame), self.bars[0].time, self.bars[-1].end).to_records()
        given, wanted = [row_of(bar) for bar in self.bars if bar.time not in but], [row for row in truth if row[0] not in but]
        assert [row for row in given if row not in wanted] == [row for row in wanted if row not in given], self.texts
        assert given == wanted
        assert not any(bar.flags for bar in self.bars)


def row_of(bar: OHLCVCandle) -> tuple[Any, ...]:
    return (bar.time, bar.open, bar.high, bar.low, bar.close, bar.volume)


@contextmanager
def follow(
    exchange: Simulator,
    *symbols: str,
    timeframe: str = "1m",
    speed: float = SPEED,
    source: ct.Source | None = None,
    venue: str = "binance",
    begin: int | None = None,
    config: Any = (),
    **settings: Any,
) -> Iterator[Any]:
    """Follow one symbol, or several, while the exchange's clock runs; afterwards nothing is left."""
    bell, opened = Bell(), source or source_of(exchange, venue, speed=speed, config=config)
    frame = Timeframe(timeframe)
    settings = {"silence": 120} | settings  # half a second, as the machine's clock goes
    lines = [
        LiveLine(opened, symbol, frame, LiveSettings(**settings), begin=begin, bell=bell, fill=False)
        for symbol in symbols or ("BTC/USDT",)
    ]
    importlib.import_module("cracktrader_ccxt.pro")  # ccxt takes seconds, and the exchange's clock would run meanwhile
    importlib.import_module("ccxt.pro")
    opened.now()
    followed = [Followed(exchange, line) for line in lines]
    exchange.clock.run(speed)
    try:
        for line in lines:
            line.start()
        yield followed[0] if len(followed) == 1 else followed
    finally:
        for line in lines:
            line.stop()
        opened.close()
        exchange.clock.pause()
