"""Trades, books and tickers as Binance writes them, over REST and on streams."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cracktrader_ccxt.simulator.book import Book, Day
from cracktrader_ccxt.simulator.pages import decimals, scaled
from cracktrader_ccxt.simulator.venue import Steps, Trades

__all__ = ["DIGITS", "Writer", "encode_aggregates", "encode_trades", "fixed"]

#: Everything is written with this many decimals, as the exchange does.
DIGITS: Final = 8


def fixed(value: int, digits: int = DIGITS) -> str:
    """A number in units of the last of ``digits`` decimals, as text.

    >>> fixed(123456789), fixed(-5)
    ('1.23456789', '-0.00000005')
    """
    whole, rest = divmod(abs(value), 10**digits)
    return f"{'-' if value < 0 else ''}{whole}.{rest:0{digits}d}"


class Writer:
    """Writes one symbol's ticks and lots."""

    def __init__(self, name: str, steps: Steps) -> None:
        self.name = name
        self.tick = steps.tick_units * 10 ** (DIGITS - steps.tick_digits)
        self.lot = steps.lot_units * 10 ** (DIGITS - steps.lot_digits)

    def price(self, ticks: int) -> str:
        return fixed(ticks * self.tick)

    def amount(self, lots: int) -> str:
        return fixed(lots * self.lot)

    def value(self, product: float) -> str:
        """A sum of ticks times lots."""
        return fixed(round(product * self.tick * self.lot / 10**DIGITS))

    def levels(self, side: Any) -> list[list[str]]:
        return [[self.price(ticks), self.amount(lots)] for ticks, lots in side.tolist()]

    def best(self, book: Book) -> tuple[str, str, str, str]:
        """Best bid, its amount, best ask, its amount."""
        (bid, bid_lots), (ask, ask_lots) = book.bids[0].tolist(), book.asks[0].tolist()
        return self.price(bid), self.amount(bid_lots), self.price(ask), self.amount(ask_lots)

    def nothing(self) -> dict[str, Any]:
        """The statistics where nothing was traded."""
        prices = ("priceChange", "weightedAvgPrice", "lastPrice", "openPrice", "highPrice", "lowPrice", "volume", "quoteVolume")
        return {"symbol": self.name, "price": fixed(0), "priceChangePercent": "0.000", "count": 0} | dict.fromkeys(
            prices, fixed(0)
        )

    def day(self, day: Day, book: Book, now: int) -> dict[str, Any]:
        """The statistics of 24 hours."""
        change, mean = day.close - day.open, day.value / day.lots
        bid, bid_amount, ask, ask_amount = self.best(book)
        return {
            "symbol": self.name, "priceChange": self.price(change), "priceChangePercent": f"{100 * change / day.open:.3f}",
            "weightedAvgPrice": self.price(round(mean)), "prevClosePrice": self.price(day.open),
            "lastPrice": self.price(day.close), "lastQty": self.amount(int(day.last.lots[0])),
            "bidPrice": bid, "bidQty": bid_amount, "askPrice": ask, "askQty": ask_amount,
            "openPrice": self.price(day.open), "highPrice": self.price(day.high), "lowPrice": self.price(day.low),
            "volume": self.amount(day.lots), "quoteVolume": self.value(day.value), "openTime": now - 86_400_000, "closeTime": now,
            "firstId": int(day.last.id[0]) - day.trades + 1, "lastId": int(day.last.id[0]), "count": day.trades,
        }  # fmt: skip


def _columns(trades: Trades, steps: Steps) -> tuple[Any, ...]:
    price = decimals(scaled(trades.ticks, steps.tick_units, steps.tick_digits, DIGITS), DIGITS)
    amount = decimals(scaled(trades.lots, steps.lot_units, steps.lot_digits, DIGITS), DIGITS)
    time, number = (pa.array(column).cast(pa.string()) for column in (trades.time, trades.id))
    return number, price, amount, time, pc.if_else(pa.array(trades.side < 0), "true", "false")


def encode_aggregates(trades: Trades, steps: Steps) -> pa.StringArray:
    """Rows of ``aggTrades``: each trade by itself."""
    number, price, amount, time, maker = _columns(trades, steps)
    return pc.binary_join_element_wise('{"a":', number, ',"p":"', *price, '","q":"', *amount, '","f":', number, ',"l":', number,
                                       ',"T":', time, ',"m":', maker, ',"M":true},', "")  # fmt: skip


def encode_trades(trades: Trades, steps: Steps) -> pa.StringArray:
    """Rows of ``trades`` and ``historicalTrades``."""
    number, price, amount, time, maker = _columns(trades, steps)
    units = steps.tick_units * steps.lot_units * 10.0 ** (DIGITS - steps.tick_digits - steps.lot_digits)
    spent = decimals((trades.ticks * trades.lots * units).round().astype("int64"), DIGITS)
    return pc.binary_join_element_wise('{"id":', number, ',"price":"', *price, '","qty":"', *amount, '","quoteQty":"', *spent,
                                       '","time":', time, ',"isBuyerMaker":', maker, ',"isBestMatch":true},', "")  # fmt: skip
