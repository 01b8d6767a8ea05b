"""Kraken's dialect over REST, which is little like Binance's, as unmodified ``ccxt.kraken`` asks.

Only the last 720 bars, whatever ``since`` says, which is exclusive besides; the bar that is open comes last; where nothing was
traded, the bar is flat and of volume 0. Trades go by a cursor in nanoseconds.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracktrader.synthetic import Candles
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader_ccxt.simulator.answers import Answer, Page, Question, Refused
from cracktrader_ccxt.simulator.book import book, day
from cracktrader_ccxt.simulator.pages import decimals, encoded, number_writers
from cracktrader_ccxt.simulator.venue import IDS, MINUTE_MS, Steps, Trades, Venue

__all__ = ["Kraken"]

#: Bars in an answer, and trades.
_BARS, _TRADES = 720, 1000
_INTERVALS: Final = {1: "1m", 5: "5m", 15: "15m", 30: "30m", 60: "1h", 240: "4h", 1440: "1d", 10080: "1w", 21600: "15d"}
#: Kraken's own names of assets, and the longer ones that it gave to the first.
_NAMES: Final = {"BTC": "XBT", "DOGE": "XDG"}
_LONG: Final = {
    "XBT": "XXBT",
    "ETH": "XETH",
    "XMR": "XXMR",
    "XDG": "XXDG",
    "LTC": "XLTC",
    "XRP": "XXRP",
    "USD": "ZUSD",
    "EUR": "ZEUR",
}
_NS: Final = 1_000_000
_EVER: Final = 1 << 47


class Kraken:
    """The spot side."""

    name = "kraken"
    limit = 0

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.markets = {_pair(symbol)[0]: symbol for symbol in venue.symbols if ":" not in symbol}
        self.known = {name: symbol for symbol in self.markets.values() for name in _pair(symbol)}
        self._routes: dict[str, Callable[[Question], Answer | Page]] = {
            "Time": self._time,
            "SystemStatus": lambda question: _result({"status": "online", "timestamp": isoformat(question.says)}),
            "Assets": self._assets,
            "AssetPairs": self._pairs,
            "Ticker": self._ticker,
            "OHLC": self._candles,
            "Depth": self._depth,
            "Trades": self._trades,
        }

    def concerns(self, path: str) -> bool:
        return path.startswith("/0/")

    def weight(self, question: Question) -> int:  # noqa: ARG002  # the exchange tells nobody
        return 0

    def headers(self, used: int) -> dict[str, str]:  # noqa: ARG002
        return {}

    def symbol(self, question: Question) -> str | None:
        return self.known.get(question.query.get("pair", ""))

    def forget(self) -> None:
        """Nothing is kept."""

    def answer(self, question: Question) -> Answer | Page:
        route = self._routes.get(question.path.removeprefix("/0/public/"))
        if route is None:
            raise _refused("EGeneral:Unknown method")
        return route(question)

    def refusal(self, status: int, until: int) -> Answer:  # noqa: ARG002
        errors = {418: "EAPI:Rate limit exceeded", 429: "EAPI:Rate limit exceeded", 451: "EGeneral:Permission denied",
                  503: "EService:Unavailable"}  # fmt: skip
        return _error(errors.get(status, "EGeneral:Internal error"), status)

    def maintenance(self, question: Question) -> Answer:
        if question.path == "/0/public/SystemStatus":
            return _result({"status": "maintenance", "timestamp": isoformat(question.says)})
        return _error("EService:Unavailable")  # with status 200, as the exchange has it

    # ── the endpoints ────────────────────────────────────────────────────────────────────────────────

    def _time(self, question: Question) -> Answer:
        seconds = question.says // 1000
        return _result({"unixtime": seconds, "rfc1123": time.strftime("%a, %d %b %y %H:%M:%S +0000", time.gmtime(seconds))})

    def _assets(self, _: Question) -> Answer:
        names = dict.fromkeys(_name(part) for symbol in self.markets.values() for part in symbol.split("/"))
        about = {"aclass": "currency", "decimals": 10, "display_decimals": 5, "status": "enabled"}
        return _result({_LONG.get(name, name): about | {"altname": name} for name in names})

    def _pairs(self, question: Question) -> Answer:
        listed = {}
        for name, symbol in self.markets.items():
            if self.venue.since(symbol) > question.now:
                continue
            base, quote = (_name(part) for part in symbol.split("/"))
            steps, item = self.venue.steps[symbol], self.venue.listings[symbol]
            listed[name] = {
                "altname": base + quote, "wsname": f"{base}/{quote}", "aclass_base": "currency", "base": _LONG.get(base, base),
                "aclass_quote": "currency", "quote": _LONG.get(quote, quote), "lot": "unit", "pair_decimals": steps.tick_digits,
                "lot_decimals": steps.lot_digits, "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
                "fees": [[0, 0.4]], "fees_maker": [[0, 0.25]], "fee_volume_currency": "ZUSD", "ordermin": item.lot,
                "tick_size": item.tick, "status": "online" if self.venue.listed(symbol, question.now) else "cancel_only",
            }  # fmt: skip
        return _result(listed)

    def _candles(self, question: Question) -> Page:
        name, symbol = self._asked(question.query)
        minutes, since = _whole(question.query.get("interval"), 1), _whole(question.query.get("since"), 0)
        if minutes not in _INTERVALS:
            raise _refused("EGeneral:Invalid arguments")
        frame = Timeframe(_INTERVALS[minutes])
        now = min(question.bars_at(frame), self.venue.until(symbol) - 1)
        newest = frame.ordinal(now)
        first, stop = frame.opening(newest - _BARS + 1), frame.opening(newest + 1)
        made = _filled(self.venue.candles(symbol, frame, first, stop, now), frame, stop)
        committed = int(made.time[-2]) // 1000 if len(made.time) > 1 else 0
        made = made.at(made.time > since * 1000)
        rows = encoded(_encode_candles(made, self.venue.steps[symbol]), made.time)
        return Page([rows], f'{{"error":[],"result":{{"{name}":['.encode(), f'],"last":{committed}}}}}'.encode())

    def _trades(self, question: Question) -> Page:
        name, symbol = self._asked(question.query)
        most = min(max(_whole(question.query.get("count"), _TRADES), 1), _TRADES)
        since = _cursor(question.query.get("since"))
        if since is None:
            trades = self.venue.trades_until(symbol, _EVER, most, question.now)
        else:
            trades = self.venue.trades_from(symbol, since // _NS // MINUTE_MS * IDS, most + IDS, question.now)
            trades = trades.at(_cursors(trades) > since).at(slice(most))
        last = int(_cursors(trades)[-1]) if len(trades.time) else since or 0
        rows = encoded(_encode_trades(trades, self.venue.steps[symbol]), trades.time)
        return Page([rows], f'{{"error":[],"result":{{"{name}":['.encode(), f'],"last":"{last}"}}}}'.encode())

    def _depth(self, question: Question) -> Answer:
        name, symbol = self._asked(question.query)
        most = min(max(_whole(question.query.get("count"), 100), 1), 500)
        found = book(self.venue, symbol, self.venue.last_trade(symbol, question.now))
        price, amount = number_writers(self.venue.steps[symbol])
        sides = {
            side: [[price(ticks), amount(lots), found.time // 1000] for ticks, lots in levels[:most].tolist()]
            for side, levels in (("asks", found.asks), ("bids", found.bids))
        }
        return _result({name: sides})

    def _ticker(self, question: Question) -> Answer:
        names = [self._asked({"pair": name})[0] for name in question.query.get("pair", "").split(",") if name] or list(
            self.markets
        )
        return _result({name: about for name in names if (about := self._day(self.markets[name], question.now))})

    def _day(self, symbol: str, now: int) -> dict[str, Any] | None:
        found = day(self.venue, symbol, now)
        if found is None:
            return None
        levels = book(self.venue, symbol, found.last)
        price, amount = number_writers(self.venue.steps[symbol])
        (bid, bid_lots), (ask, ask_lots) = levels.bids[0].tolist(), levels.asks[0].tolist()
        mean, volume = price(round(found.value / found.lots)), amount(found.lots)
        return {
            "a": [price(ask), "1", amount(ask_lots)], "b": [price(bid), "1", amount(bid_lots)],
            "c": [price(found.close), amount(int(found.last.lots[0]))], "v": [volume, volume], "p": [mean, mean],
            "t": [found.trades, found.trades], "l": [price(found.low)] * 2, "h": [price(found.high)] * 2, "o": price(found.open),
        }  # fmt: skip

    def _asked(self, query: Mapping[str, str]) -> tuple[str, str]:
        """Kraken's name of the pair asked for, and its symbol."""
        symbol = self.known.get(query.get("pair", ""))
        if symbol is None:
            raise _refused("EQuery:Unknown asset pair" if "pair" in query else "EGeneral:Invalid arguments")
        return _pair(symbol)[0], symbol


def _name(part: str) -> str:
    return _NAMES.get(part, part)


def _pair(symbol: str) -> tuple[str, str, str]:
    """Kraken's names of a pair: its id, the short one, the one of streams."""
    base, quote = (_name(part) for part in symbol.partition(":")[0].split("/"))
    long = base in _LONG and quote in _LONG
    return (_LONG[base] + _LONG[quote] if long else base + quote), base + quote, f"{base}/{quote}"


def _filled(made: Candles, frame: Timeframe, stop: int) -> Candles:
    """With flat bars of volume 0 where there are none, from the first one on."""
    if not len(made.time):
        return made
    grid = frame.openings(int(made.time[0]), stop)
    rows = np.searchsorted(made.time, grid, side="right") - 1
    filled, absent = made.at(rows), made.time[rows] != grid
    close, nothing = filled.close, np.zeros_like(grid)
    return Candles(
        grid, *(np.where(absent, close, column) for column in filled[1:5]),
        *(np.where(absent, nothing, column) for column in filled[5:]),
    )  # fmt: skip


def _encode_candles(made: Candles, steps: Steps) -> pa.StringArray:
    prices = [decimals(column * steps.tick_units, steps.tick_digits) for column in made[1:5]]
    mean = decimals((made.open + made.high + made.low + made.close) // 4 * steps.tick_units, steps.tick_digits)
    mean_or_none = [pc.if_else(pa.array(made.lots > 0), pc.binary_join_element_wise(*mean, ""), "0.0")]
    opens, trades = (pa.array(column).cast(pa.string()) for column in (made.time // 1000, made.trades))
    parts = [part for price in (*prices, mean_or_none) for part in (*price, '","')]
    lots = decimals(made.lots * steps.lot_units, steps.lot_digits)
    return pc.binary_join_element_wise("[", opens, ',"', *parts, *lots, '",', trades, "],", "")


def _encode_trades(trades: Trades, steps: Steps) -> pa.StringArray:
    price, amount = (
        decimals(trades.ticks * steps.tick_units, steps.tick_digits),
        decimals(trades.lots * steps.lot_units, steps.lot_digits),
    )
    number = pa.array(trades.id).cast(pa.string())
    seconds = decimals(trades.time * 1000 + trades.id % IDS, 6)
    side = pc.if_else(pa.array(trades.side > 0), "b", "s")
    return pc.binary_join_element_wise('["', *price, '","', *amount, '",', *seconds, ',"', side, '","m","",', number, "],", "")


def _cursors(trades: Trades) -> np.ndarray[Any, np.dtype[np.int64]]:
    """When trades happened, in nanoseconds, no two at once."""
    return trades.time * _NS + trades.id % IDS * 1000


def _cursor(text: str | None) -> int | None:
    """``since`` in nanoseconds; smaller numbers are seconds."""
    if text is None:
        return None
    try:
        value = int(text) if text.isdigit() else float(text)
    except ValueError:
        raise _refused("EGeneral:Invalid arguments") from None
    return int(value * 1_000_000_000) if value < 1e11 else int(value)


def _whole(text: str | None, default: int) -> int:
    try:
        return default if text is None else int(float(text))
    except ValueError:
        raise _refused("EGeneral:Invalid arguments") from None


def _result(value: Any) -> Answer:
    return Answer(json.dumps({"error": [], "result": value}, separators=(",", ":")).encode())


def _error(text: str, status: int = 200) -> Answer:
    return Answer(json.dumps({"error": [text]}).encode(), status)


def _refused(text: str) -> Refused:
    return Refused(_error(text))
