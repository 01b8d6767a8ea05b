"""The ``replay`` source: bars, trades or a recording, played as if they happened now."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, WithJsonSchema, field_validator, model_validator

from cracktrader.bars import Bars
from cracktrader.errors import NotSupported, TemporarySourceError, UnknownSymbol, UnsupportedTimeframe
from cracktrader.events import Event, OHLCVCandle, OrderBook, Ticker, Trade
from cracktrader.live.clock import machine_ms
from cracktrader.live.recording import read_recording
from cracktrader.plugins.hookspec import hookimpl
from cracktrader.plugins.options import SourceConfig
from cracktrader.plugins.source import DataSource
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import parse_time
from cracktrader.trades import bars_of_trades

__all__ = ["ReplayConfig", "ReplaySource"]

_OF_KIND: Final[dict[str, type[Any]]] = {"trade": Trade, "ticker": Ticker, "book": OrderBook}
Timed = TypeVar("Timed")
_AnyBars = Annotated[Bars, WithJsonSchema({"description": "a Bars object"})]
_AnyTrade = Annotated[Trade, WithJsonSchema({"description": "a Trade object"})]


class ReplayConfig(SourceConfig):
    """The options of the ``replay`` source."""

    bars: tuple[_AnyBars, ...] = Field(default=(), description="The bars to play, one series or several.")
    trades: tuple[_AnyTrade, ...] = Field(default=(), description="Trades to play, of one symbol or several, in order.")
    recording: Path | None = Field(default=None, description="A recording of a live feed (record=…) to play.")
    begin: str | int | None = Field(
        default=None, description="Where its clock begins; unless said, with the first bar, trade or event."
    )
    speed: float = Field(default=1.0, gt=0, le=100_000, description="How many times as fast as it was.")
    updates: int = Field(default=4, ge=0, le=1_000, description="How often a bar is shown while it forms.")

    @field_validator("bars", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, Bars) else value

    @model_validator(mode="after")
    def _something(self) -> ReplayConfig:
        if not (self.bars or self.trades or self.recording):
            raise ValueError("there is nothing to play: give bars=, trades= or recording=")
        return self


class ReplaySource(DataSource):
    """What has happened, played once more: its clock begins with the first question, and nobody is shown what lies ahead."""

    api = (1, 0)
    Config = ReplayConfig
    config: ReplayConfig

    def __init__(self, config: ReplayConfig | None = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self._lock = threading.Lock()
        self._began: float | None = None
        self._events: list[tuple[float, str, str, Any]] = []  # of a recording: when, kind, symbol, what
        self._rows: dict[tuple[str, str], dict[int, tuple[Any, ...]]] = {}
        self._read = False
        self._first = 0.0

    @property
    def pace(self) -> float:
        """How fast its time passes."""
        return self.config.speed

    # ── the clock ────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def server_time(self) -> int:
        return int(self._now())

    def _now(self) -> float:
        self._prepare()
        with self._lock:
            if self._began is None:
                self._began = machine_ms()
            return self._begin + (machine_ms() - self._began) * self.config.speed

    async def _until(self, time: float) -> None:
        await asyncio.sleep(max(0.0, (time - self._now()) / self.config.speed / 1000))

    @property
    def _begin(self) -> float:
        config = self.config
        if config.begin is not None:
            return parse_time(config.begin)
        firsts = [int(bars.time[0]) for bars in config.bars if len(bars)] + [trade.time for trade in config.trades[:1]]
        return min(firsts, default=self._first)

    # ── history ──────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        bars = self._series(request.symbol, request.timeframe)
        over = bars.timeframe.next(bars.time) <= self._now()
        bars = bars if over.all() else bars[over]
        yield bars[request.contains(bars.time)]

    @hookimpl
    def list_symbols(self) -> Sequence[str]:
        self._prepare()
        played = [bars.symbol for bars in self.config.bars] + [trade.symbol for trade in self.config.trades]
        return list(dict.fromkeys([*played, *(symbol for symbol, _ in self._rows), *(event[2] for event in self._events)]))

    @hookimpl
    def list_timeframes(self) -> Sequence[str]:
        self._prepare()
        return list(dict.fromkeys([*(str(bars.timeframe) for bars in self.config.bars), *(frame for _, frame in self._rows)]))

    def _series(self, symbol: str, timeframe: str) -> Bars:
        symbol, frame = self._symbol(symbol), Timeframe(timeframe)
        for bars in self.config.bars:
            if (bars.symbol, bars.timeframe) == (symbol, frame):
                return bars
        if rows := self._rows.get((symbol, str(frame))):
            return Bars.from_records([rows[time] for time in sorted(rows)], symbol=symbol, timeframe=frame)
        if self.config.trades:
            over = [
                trade for trade in self.config.trades if trade.symbol == symbol and trade.time < frame.floor(int(self._now()))
            ]
            return bars_of_trades(over, symbol=symbol, timeframe=frame).but(extra={})
        raise UnsupportedTimeframe(
            f"There are no bars of {frame} of {symbol} to play.",
            hint=f"There are: {', '.join(self.list_timeframes())}.",
            symbol=symbol,
        )

    def _symbol(self, symbol: str) -> str:
        known = self.list_symbols()
        if symbol in known or (not symbol and len(known) == 1):
            return symbol or known[0]
        raise UnknownSymbol(f"There is no symbol {symbol!r} to play.", hint=f"There are: {', '.join(known)}.", symbol=symbol)

    # ── streams ──────────────────────────────────────────────────────────────────────────────────────

    @hookimpl
    async def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
        wanted = self._symbol(symbol)
        if any(event[1] == "candle" for event in self._events):
            async for event in self._recorded("candle", wanted, lambda what: what["timeframe"] == str(timeframe)):
                yield event
            return
        if self.config.trades and not any((bars.symbol, bars.timeframe) == (wanted, timeframe) for bars in self.config.bars):
            raise UnsupportedTimeframe(f"There are only trades of {wanted} to play.", hint="Use from_trades=True.", symbol=wanted)
        bars = self._series(symbol, timeframe)
        for candle in bars[bars.timeframe.next(bars.time) > self._now()]:
            for moment, shown in _forming(candle, self.config.updates):
                if moment < self._now() - 1000 * self.config.speed:
                    continue  # it was over before anybody looked
                await self._until(moment)
                yield replace(shown, symbol=symbol)
            await self._until(candle.end)
            yield replace(candle, symbol=symbol, flags=0)
        await asyncio.Event().wait()  # nothing more happens

    @hookimpl
    async def stream_trades(self, symbol: str) -> AsyncIterator[Trade]:
        wanted = self._symbol(symbol)
        if self.config.recording is not None:
            async for event in self._recorded("trade", wanted):
                yield event
            return
        if not self.config.trades:
            raise NotSupported("There are no trades to play.", hint="Give trades=…, or play candles.", symbol=symbol)
        for trade in self.config.trades:
            if trade.symbol == wanted and trade.time >= self._now():
                await self._until(trade.time)
                yield trade
        await asyncio.Event().wait()

    @hookimpl
    async def stream_ticker(self, symbol: str) -> AsyncIterator[Ticker]:
        async for event in self._recorded("ticker", self._symbol(symbol)):
            yield event

    @hookimpl
    async def stream_order_book(self, symbol: str, limit: int) -> AsyncIterator[OrderBook]:
        async for event in self._recorded("book", self._symbol(symbol)):
            yield replace(event, bids=event.bids[:limit], asks=event.asks[:limit])

    async def _recorded(self, kind: str, symbol: str, wanted: Callable[[Any], bool] | None = None) -> AsyncIterator[Any]:
        """The events of a recording from now on, when they came; the stream is lost where it was lost."""
        if not any(event[1] == kind for event in self._events):
            raise NotSupported(f"There is no {kind} of {symbol} to play.", hint="Play a recording that has it.", symbol=symbol)
        begin = self._now()
        for when, of_kind, of_symbol, what in self._events:
            if when < begin or of_symbol != symbol or of_kind not in (kind, "down"):
                continue
            if of_kind == "down":
                if kind in ("candle", "trade"):
                    await self._until(when)
                    raise TemporarySourceError(f"The stream was lost here, too: {what.get('why')}")
            elif wanted is None or wanted(what):
                await self._until(when)
                yield _event(kind, what)
        await asyncio.Event().wait()

    def _prepare(self) -> None:
        """Read the recording, once."""
        with self._lock:
            if not self._read and self.config.recording is not None:
                self._read_recording(self.config.recording)
            self._read = True

    def _read_recording(self, path: Path) -> None:
        symbol = timeframe = ""
        for line in read_recording(path):
            kind, there = line["kind"], float(line["there"])
            self._first = self._first or there
            if kind == "line":
                symbol, timeframe = line["symbol"], line["timeframe"]
            elif kind == "bars":
                rows = self._rows.setdefault((line.get("symbol", symbol), line.get("timeframe", timeframe)), {})
                frame = Timeframe(line.get("timeframe", timeframe))
                rows.update((row[0], tuple(row)) for row in line["rows"] if frame.next(row[0]) <= there)
            elif kind in (*_OF_KIND, "candle", "down"):
                self._events.append((there, kind, line.get("symbol", symbol), line))
                if kind == "candle" and line["closed"]:
                    rows = self._rows.setdefault((line["symbol"], line["timeframe"]), {})
                    rows[line["time"]] = tuple(line[name] for name in ("time", "open", "high", "low", "close", "volume"))


def _event(kind: str, what: dict[str, Any]) -> Event:
    if kind == "candle":
        names = ("symbol", "time", "open", "high", "low", "close", "volume", "closed", "flags")
        return OHLCVCandle(timeframe=Timeframe(what["timeframe"]), **{name: what[name] for name in names})
    facts = {name: value for name, value in what.items() if name not in ("at", "there", "kind")}
    if kind == "book":
        facts |= {side: tuple((price, amount) for price, amount in facts[side]) for side in ("bids", "asks")}
    made: Event = _OF_KIND[kind](**facts)
    return made


def _forming(candle: OHLCVCandle, updates: int) -> Iterator[tuple[float, OHLCVCandle]]:
    """How the candle may have looked on its way, and when: from the open over the extremes to the close."""
    length = candle.end - candle.time
    first, second = (candle.low, candle.high) if candle.close >= candle.open else (candle.high, candle.low)
    path = [candle.open, first, second, candle.close]
    for number in range(updates):
        share = (number + 1) / (updates + 1)
        seen = path[: 1 + int(share * len(path))]
        yield (
            candle.time + length * share,
            replace(candle, high=max(seen), low=min(seen), close=seen[-1], volume=candle.volume * share, closed=False, flags=0),
        )
