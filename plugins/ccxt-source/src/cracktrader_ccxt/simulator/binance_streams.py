"""Binance's streams: their names, and the messages that trades make on them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from cracktrader.synthetic import Candles
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator.binance import INTERVALS, market_id
from cracktrader_ccxt.simulator.binance_data import Writer
from cracktrader_ccxt.simulator.book import Book, book, day
from cracktrader_ccxt.simulator.venue import Event, Trades, Venue

__all__ = ["Channel", "Message", "channel"]

_KINDS: Final = re.compile(
    r"(?P<kline>kline_(?P<interval>\w+))|(?P<trade>trade|aggTrade)|(?P<best>bookTicker)|(?P<day>ticker|miniTicker)"
    r"|depth(?P<levels>5|10|20)?(@(?P<rate>\d+)ms)?"
)
_SECOND: Final = 1000


class Message:
    """A message of a stream; ``opens`` is when its candle opens, and ``closes`` says that it closes it."""

    __slots__ = ("closes", "opens", "text")

    def __init__(self, text: str, opens: int = 0, closes: bool = False) -> None:
        self.text, self.opens, self.closes = text, opens, closes


class Channel:
    """One stream of one symbol. ``every`` milliseconds lie between two messages at least; 0 where each trade makes one.

    ``trade`` hears of each trade, and returns the messages to be sent at once; ``flush`` those that were waited with.
    """

    every = 0
    #: Where candles close by the clock.
    frame: Timeframe | None = None

    def __init__(self, venue: Venue, symbol: str, name: str) -> None:
        self.venue, self.symbol, self.name = venue, symbol, name
        self.writer = Writer(market_id(symbol), venue.steps[symbol])
        self.futures = ":" in symbol

    def begin(self, now: int) -> None:
        """Somebody listens from now on."""

    def trade(self, event: Event) -> Iterator[Message]:  # noqa: ARG002
        yield from ()

    def flush(self, now: int) -> Iterator[Message]:  # noqa: ARG002
        yield from ()

    def close(self, now: int) -> Iterator[Message]:  # noqa: ARG002
        """A candle's time is over."""
        yield from ()


class TradeChannel(Channel):
    """``trade`` and ``aggTrade``."""

    def trade(self, event: Event) -> Iterator[Message]:
        number, kind = event.id, "aggTrade" if self.name.endswith("aggTrade") else "trade"
        ids = (f'"a":{number}', f'"f":{number},"l":{number},') if kind == "aggTrade" else (f'"t":{number}', "")
        maker = "true" if event.side < 0 else "false"
        yield Message(
            f'{{"e":"{kind}","E":{event.at},"s":"{self.writer.name}",{ids[0]},"p":"{self.writer.price(event.ticks)}",'
            f'"q":"{self.writer.amount(event.lots)}",{ids[1]}"T":{event.time},"m":{maker},"M":true}}'
        )


class CandleChannel(Channel):
    """``kline_1m`` and the others."""

    def __init__(self, venue: Venue, symbol: str, name: str, interval: str, every: int) -> None:
        super().__init__(venue, symbol, name)
        self.interval, self.frame, self.every = interval, Timeframe(interval), every
        self.open_time = -1
        self.prices = [0, 0, 0, 0]  # open, high, low, close
        self.lots = self.trades = self.first = self.last = 0
        self.value = self.bought = self.spent = 0.0

    def begin(self, now: int) -> None:
        frame = self.frame
        assert frame is not None  # noqa: S101  # for the type checker
        opens = frame.floor(now)
        self._be(self.venue.candles(self.symbol, frame, opens, frame.next(now), now), now)

    def _be(self, made: Candles, now: int) -> None:
        self.open_time = -1
        if not len(made.time):
            return
        self.open_time, *self.prices, self.lots, self.trades = (int(column[-1]) for column in made)
        self.value = sum(self.prices) / 4 * self.lots
        self.bought, self.spent = self.lots / 2, self.value / 2
        last = self.venue.last_trade(self.symbol, now)
        self.last = int(last.id[0])
        self.first = max(self.last - self.trades + 1, 0)

    def trade(self, event: Event) -> Iterator[Message]:
        opens = self.frame.floor(event.time)  # type: ignore[union-attr]
        if opens < self.open_time or event.at > event.time:  # a late one: the bar is made anew, if it is still this one
            if opens == self.open_time:
                self.begin(event.at)
            return
        price = event.ticks
        if opens != self.open_time:
            self.open_time, self.prices, self.first = opens, [price, price, price, price], event.id
            self.lots = self.trades = 0
            self.value = self.bought = self.spent = 0.0
        prices = self.prices
        prices[1], prices[2], prices[3] = max(prices[1], price), min(prices[2], price), price
        value = price * event.lots
        self.lots, self.trades, self.last, self.value = self.lots + event.lots, self.trades + 1, event.id, self.value + value
        if event.side > 0:
            self.bought, self.spent = self.bought + event.lots, self.spent + value
        if not self.every:
            yield self._message(event.at, closes=False)

    def flush(self, now: int) -> Iterator[Message]:
        if self.open_time >= 0:
            yield self._message(now, closes=False)

    def close(self, now: int) -> Iterator[Message]:
        if self.open_time >= 0:
            yield self._message(now, closes=True)
        self.open_time = -1

    def _message(self, now: int, *, closes: bool) -> Message:
        write = self.writer
        open, high, low, close = (write.price(price) for price in self.prices)
        ends = self.frame.next(self.open_time) - 1  # type: ignore[union-attr]
        text = (
            f'{{"e":"kline","E":{now},"s":"{write.name}","k":{{"t":{self.open_time},"T":{ends},"s":"{write.name}",'
            f'"i":"{self.interval}","f":{self.first},"L":{self.last},"o":"{open}","c":"{close}","h":"{high}","l":"{low}",'
            f'"v":"{write.amount(self.lots)}","n":{self.trades},"x":{"true" if closes else "false"},'
            f'"q":"{write.value(self.value)}",'
            f'"V":"{write.amount(int(self.bought))}","Q":"{write.value(self.spent)}","B":"0"}}}}'
        )
        return Message(text, self.open_time, closes)


class BestChannel(Channel):
    """``bookTicker``."""

    def trade(self, event: Event) -> Iterator[Message]:
        found = book(self.venue, self.symbol, _one(event))
        bid, bid_amount, ask, ask_amount = self.writer.best(found)
        head = f'"e":"bookTicker","E":{event.at},"T":{event.time},' if self.futures else ""
        yield Message(
            f'{{{head}"u":{event.id},"s":"{self.writer.name}","b":"{bid}","B":"{bid_amount}","a":"{ask}","A":"{ask_amount}"}}'
        )


class DayChannel(Channel):
    """``ticker`` and ``miniTicker``, once a second."""

    every = _SECOND

    def flush(self, now: int) -> Iterator[Message]:
        if about := self.about(now):
            yield Message(json.dumps(about, separators=(",", ":")))

    def about(self, now: int) -> dict[str, Any] | None:
        found = day(self.venue, self.symbol, now)
        if found is None:
            return None
        full = self.writer.day(found, book(self.venue, self.symbol, found.last), now)
        short = {"e": "24hrMiniTicker", "E": now, "s": self.writer.name, "c": full["lastPrice"], "o": full["openPrice"],
                 "h": full["highPrice"], "l": full["lowPrice"], "v": full["volume"], "q": full["quoteVolume"]}  # fmt: skip
        if self.name.endswith("miniTicker"):
            return short
        more = {"e": "24hrTicker", "p": full["priceChange"], "P": full["priceChangePercent"], "w": full["weightedAvgPrice"],
                "Q": full["lastQty"], "O": full["openTime"], "C": full["closeTime"], "F": full["firstId"], "L": full["lastId"],
                "n": full["count"]}  # fmt: skip
        best = {
            "x": full["prevClosePrice"],
            "b": full["bidPrice"],
            "B": full["bidQty"],
            "a": full["askPrice"],
            "A": full["askQty"],
        }
        return short | more | ({} if self.futures else best)


class DepthChannel(Channel):
    """``depth``: what has changed in the book since the last message; ``depth5`` and so on: the best levels as they are."""

    def __init__(self, venue: Venue, symbol: str, name: str, levels: int, every: int) -> None:
        super().__init__(venue, symbol, name)
        self.levels, self.every = levels, every
        self.sent = 0
        self.book: Book | None = None
        self.sides: list[dict[int, int]] = [{}, {}]
        self.touched: list[set[int]] = [set(), set()]

    def begin(self, now: int) -> None:
        self._see(book(self.venue, self.symbol, self.venue.last_trade(self.symbol, now)))
        self.sent = self.book.id if self.book else 0
        self.touched = [set(), set()]

    def _see(self, found: Book) -> None:
        self.book = found
        for place, side in enumerate((found.bids, found.asks)):
            new, old = dict(side.tolist()), self.sides[place]
            self.touched[place] |= {price for price, _ in new.items() ^ old.items()}
            self.sides[place] = new

    def trade(self, event: Event) -> Iterator[Message]:
        if event.at == event.time:  # a late trade moves no price
            self._see(book(self.venue, self.symbol, _one(event)))
        yield from ()

    def flush(self, now: int) -> Iterator[Message]:
        found = self.book
        if found is None or found.id == self.sent:
            return
        write = self.writer
        if self.levels:
            bids, asks = write.levels(found.bids[: self.levels]), write.levels(found.asks[: self.levels])
            about: dict[str, Any] = {"lastUpdateId": found.id, "bids": bids, "asks": asks}
            if self.futures:
                about = {"e": "depthUpdate", "E": now, "T": found.time, "s": write.name, "U": found.id, "u": found.id,
                         "pu": self.sent, "b": bids, "a": asks}  # fmt: skip
        else:
            bids, asks = (
                [[write.price(price), write.amount(side.get(price, 0))] for price in sorted(touched)]
                for side, touched in zip(self.sides, self.touched, strict=True)
            )
            about = {"e": "depthUpdate", "E": now, "s": write.name, "U": self.sent + 1, "u": found.id}
            about |= {"T": found.time, "pu": self.sent} if self.futures else {}
            about |= {"b": bids, "a": asks}
        self.sent, self.touched = found.id, [set(), set()]
        yield Message(json.dumps(about, separators=(",", ":")))


def channel(venue: Venue, symbols: dict[str, str], stream: str, candles_every: int) -> Channel | None:
    """The channel of a stream's name, such as ``btcusdt@kline_1m``; None where there is none. ``symbols`` are by market id."""
    name, _, kind = stream.partition("@")
    symbol = symbols.get(name.upper())
    match = _KINDS.fullmatch(kind)
    if symbol is None or match is None:
        return None
    if match["kline"]:
        interval = match["interval"]
        return CandleChannel(venue, symbol, stream, interval, candles_every) if interval in INTERVALS else None
    if match["trade"]:
        return TradeChannel(venue, symbol, stream)
    if match["best"]:
        return BestChannel(venue, symbol, stream)
    if match["day"]:
        return DayChannel(venue, symbol, stream)
    return DepthChannel(
        venue, symbol, stream, int(match["levels"] or 0), int(match["rate"] or (250 if ":" in symbol else _SECOND))
    )


def _one(event: Event) -> Trades:
    return Trades(*(np.array([value], np.int64) for value in event[1:]))
