"""Coinbase's dialect over REST, as unmodified ``ccxt.coinbaseexchange`` asks.

At most 300 bars between ``start`` and ``end``, both inclusive, newest first; an empty page where there are none. Trades come
newest first too, older ones by a cursor in a header. There is no stream of candles.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from cracktrader.errors import CracktraderError
from cracktrader.synthetic import Candles
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, parse_time
from cracktrader_ccxt.simulator.answers import Answer, Page, Question, Refused
from cracktrader_ccxt.simulator.book import book, day
from cracktrader_ccxt.simulator.pages import decimals, encoded, number_writers
from cracktrader_ccxt.simulator.venue import IDS, MINUTE_MS, Steps, Trades, Venue

__all__ = ["Coinbase"]

_ROOT: Final = "/coinbase"
_BARS: Final = 300
_GRANULARITIES: Final = {60: "1m", 300: "5m", 900: "15m", 3600: "1h", 21600: "6h", 86400: "1d"}
_PRODUCT: Final = re.compile(_ROOT + r"/products/([A-Z0-9]+-[A-Z0-9]+)(?:/(\w+))?")
_EVER: Final = 1 << 47


class Coinbase:
    """The spot side."""

    name = "coinbase"
    limit = 0

    def __init__(self, venue: Venue) -> None:
        self.venue = venue
        self.products = {symbol.replace("/", "-"): symbol for symbol in venue.symbols if ":" not in symbol}
        self._routes: dict[str | None, Callable[[str, Question], Answer | Page]] = {
            None: lambda symbol, question: _json(self._product(symbol, question.now)),
            "candles": self._candles,
            "trades": self._trades,
            "book": self._book,
            "ticker": self._ticker,
            "stats": self._statistics,
        }

    def concerns(self, path: str) -> bool:
        return path.startswith(_ROOT + "/")

    def weight(self, question: Question) -> int:  # noqa: ARG002  # the exchange tells nobody
        return 0

    def headers(self, used: int) -> dict[str, str]:  # noqa: ARG002
        return {}

    def symbol(self, question: Question) -> str | None:
        match = _PRODUCT.fullmatch(question.path)
        return self.products.get(match[1]) if match else None

    def forget(self) -> None:
        """Nothing is kept."""

    def answer(self, question: Question) -> Answer | Page:
        what = question.path.removeprefix(_ROOT)
        if what == "/time":
            return _json({"iso": isoformat(question.says), "epoch": question.says / 1000})
        if what == "/currencies":
            names = dict.fromkeys(part for symbol in self.products.values() for part in symbol.split("/"))
            return _json([{"id": name, "name": name, "status": "online", "max_precision": "0.00000001"} for name in names])
        if what == "/products":
            return _json([self._product(symbol, question.now) for symbol in self.products.values()
                          if self.venue.since(symbol) <= question.now])  # fmt: skip
        match, symbol = _PRODUCT.fullmatch(question.path), self.symbol(question)
        if match is None or symbol is None or match[2] not in self._routes:
            raise _refused("NotFound", 404)
        return self._routes[match[2]](symbol, question)

    def refusal(self, status: int, until: int) -> Answer:  # noqa: ARG002
        words = {429: "Public rate limit exceeded", 451: "Unavailable For Legal Reasons", 503: "Service Unavailable"}
        return _json({"message": words.get(status, "Internal server error")}, status)

    def maintenance(self, question: Question) -> Answer:
        return self.refusal(503, question.now)

    # ── the endpoints ────────────────────────────────────────────────────────────────────────────────

    def _product(self, symbol: str, now: int) -> dict[str, Any]:
        item, (base, quote) = self.venue.listings[symbol], symbol.split("/")
        trading = self.venue.listed(symbol, now)
        return {
            "id": f"{base}-{quote}", "base_currency": base, "quote_currency": quote, "quote_increment": item.tick,
            "base_increment": item.lot, "display_name": symbol, "min_market_funds": "1", "margin_enabled": False,
            "status": "online" if trading else "delisted", "status_message": "", "trading_disabled": not trading,
            "cancel_only": False, "post_only": False, "limit_only": False, "auction_mode": False,
        }  # fmt: skip

    def _candles(self, symbol: str, question: Question) -> Page:
        query = question.query
        step = int(text) if (text := query.get("granularity", "60")).isdigit() else 0
        if step not in _GRANULARITIES:
            raise _refused("Unsupported granularity")
        frame, start, end = Timeframe(_GRANULARITIES[step]), _time(query, "start"), _time(query, "end")
        now = question.bars_at(frame)
        if start is None or end is None:  # as the exchange does: only both together count
            first, stop = frame.opening(frame.ordinal(now) - _BARS + 1), frame.next(now)
        else:
            first, stop = frame.ceil(start), frame.floor(end) + step * 1000
            if (end - start) // (step * 1000) > _BARS:
                raise _refused("granularity too small for the requested time range. Count of aggregations requested exceeds 300")
        made = self.venue.candles(symbol, frame, first, max(first, stop), now).at(slice(None, None, -1))
        return Page([encoded(_encode_candles(made, self.venue.steps[symbol]), made.time)])

    def _trades(self, symbol: str, question: Question) -> Page:
        query = question.query
        most = min(max(_whole(query, "limit", 1000), 1), 1000)
        if "after" in query:  # older than that one
            before = _whole(query, "after", 0)
            stop = before // IDS * MINUTE_MS + MINUTE_MS
            trades = self.venue.trades_until(symbol, stop, most + IDS, question.now)
            trades = trades.at(trades.id < before)
            trades = trades.at(slice(max(0, len(trades.time) - most), None))
        else:
            trades = self.venue.trades_until(symbol, _EVER, most, question.now)
        trades = trades.at(slice(None, None, -1))
        page = Page([encoded(_encode_trades(trades, self.venue.steps[symbol]), trades.time)])
        if len(trades.time):
            page.headers = {"CB-BEFORE": str(trades.id[0]), "CB-AFTER": str(trades.id[-1])}
        return page

    def _book(self, symbol: str, question: Question) -> Answer:
        found = book(self.venue, symbol, self.venue.last_trade(symbol, question.now))
        price, amount = number_writers(self.venue.steps[symbol])
        most = 1 if question.query.get("level", "1") == "1" else 50
        sides = {
            side: [[price(ticks), amount(lots), 1] for ticks, lots in levels[:most].tolist()]
            for side, levels in (("bids", found.bids), ("asks", found.asks))
        }
        return _json({"sequence": found.id, **sides, "time": isoformat(found.time)})

    def _ticker(self, symbol: str, question: Question) -> Answer:
        found = day(self.venue, symbol, question.now)
        if found is None:
            raise _refused("NotFound", 404)
        levels = book(self.venue, symbol, found.last)
        price, amount = number_writers(self.venue.steps[symbol])
        return _json({
            "trade_id": int(found.last.id[0]), "price": price(found.close), "size": amount(int(found.last.lots[0])),
            "time": isoformat(int(found.last.time[0])), "bid": price(int(levels.bids[0, 0])),
            "ask": price(int(levels.asks[0, 0])), "volume": amount(found.lots),
        })  # fmt: skip

    def _statistics(self, symbol: str, question: Question) -> Answer:
        found = day(self.venue, symbol, question.now)
        if found is None:
            raise _refused("NotFound", 404)
        price, amount = number_writers(self.venue.steps[symbol])
        return _json({"open": price(found.open), "high": price(found.high), "low": price(found.low), "last": price(found.close),
                      "volume": amount(found.lots)})  # fmt: skip


def _encode_candles(made: Candles, steps: Steps) -> pa.StringArray:
    order = (made.low, made.high, made.open, made.close)
    parts = [part for column in order for part in (*decimals(column * steps.tick_units, steps.tick_digits), ",")]
    lots = decimals(made.lots * steps.lot_units, steps.lot_digits)
    return pc.binary_join_element_wise("[", pa.array(made.time // 1000).cast(pa.string()), ",", *parts, *lots, "],", "")


def _encode_trades(trades: Trades, steps: Steps) -> pa.StringArray:
    """``side`` is the maker's, as the exchange has it."""
    price = decimals(trades.ticks * steps.tick_units, steps.tick_digits)
    amount = decimals(trades.lots * steps.lot_units, steps.lot_digits)
    side = pc.if_else(pa.array(trades.side > 0), "sell", "buy")
    time = pc.strftime(pa.array(trades.time, pa.timestamp("ms")), format="%Y-%m-%dT%H:%M:%SZ")
    number = pa.array(trades.id).cast(pa.string())
    return pc.binary_join_element_wise('{"trade_id":', number, ',"side":"', side, '","size":"', *amount, '","price":"', *price,
                                       '","time":"', time, '"},', "")  # fmt: skip


def _time(query: Mapping[str, str], name: str) -> int | None:
    try:
        return parse_time(query[name]) if query.get(name) else None
    except CracktraderError:
        raise _refused(f"{name} is not a valid time") from None


def _whole(query: Mapping[str, str], name: str, default: int) -> int:
    text = query.get(name, str(default))
    if not text.isdigit():
        raise _refused(f"Invalid {name}")
    return int(text)


def _json(value: Any, status: int = 200) -> Answer:
    return Answer(json.dumps(value, separators=(",", ":")).encode(), status)


def _refused(message: str, status: int = 400) -> Refused:
    return Refused(_json({"message": message}, status))
