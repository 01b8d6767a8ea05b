"""Binance's dialect over REST: spot (``/api/v3``) and linear futures (``/fapi/v1``), as unmodified ``ccxt.binance`` asks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cracktrader.synthetic import Candles
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator.answers import Answer, Page, Question, Refused
from cracktrader_ccxt.simulator.binance_data import DIGITS, Writer, encode_aggregates, encode_trades
from cracktrader_ccxt.simulator.book import book, day
from cracktrader_ccxt.simulator.pages import Pages, decimals, encoded, scaled
from cracktrader_ccxt.simulator.venue import IDS, Steps, Trades, Venue

__all__ = ["INTERVALS", "Binance", "encode_klines", "market_id"]

INTERVALS: Final = ("1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M")
_EVER: Final = 1 << 47
#: What ccxt asks for besides, when it has credentials or is told to load all kinds of markets.
_ELSEWHERE: Final = {
    "/sapi/v1/system/status": b'{"status":0,"msg":"normal"}',
    "/sapi/v1/capital/config/getall": b"[]",
    "/sapi/v1/margin/allPairs": b"[]",
    "/sapi/v1/margin/isolated/allPairs": b"[]",
    "/dapi/v1/exchangeInfo": b'{"symbols":[]}',
    "/eapi/v1/exchangeInfo": b'{"optionSymbols":[]}',
}
_SPOT_ONLY: Final = ("prevClosePrice", "bidPrice", "bidQty", "askPrice", "askQty")
_ERRORS: Final = {
    418: "Way too much request weight used; IP banned until {until}. Please use WebSocket Streams for"
    " live updates to avoid bans.",
    429: "Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket Streams for"
    " live updates to avoid polling the API.",
    451: "Service unavailable from a restricted location according to 'b. Eligibility' in the terms of use.",
    503: "System is under maintenance.",
}


def market_id(symbol: str) -> str:
    """``BTC/USDT`` and ``BTC/USDT:USDT`` are both ``BTCUSDT``, on spot and on futures."""
    return symbol.partition(":")[0].replace("/", "")


class Binance:
    """One side of the exchange: ``spot`` or ``futures``."""

    def __init__(self, venue: Venue, side: str, limit: int) -> None:
        self.name = f"binance-{side}"
        self.limit = limit
        self.spot = side == "spot"
        self.venue = venue
        self.pages = Pages(venue, encode_klines)
        self.root = "/api/v3/" if self.spot else "/fapi/v1/"
        self.writers = {symbol: Writer(market_id(symbol), venue.steps[symbol]) for symbol in venue.symbols}
        self.symbols = {market_id(symbol): symbol for symbol in venue.symbols if (":" not in symbol) == self.spot}
        self._routes: dict[str, Callable[[Question], Answer | Page]] = {
            "ping": lambda _: Answer(b"{}"),
            "time": lambda question: _json({"serverTime": question.says}),
            "exchangeInfo": self._exchange_info,
            "klines": self._klines,
            "aggTrades": self._aggregates,
            "trades": self._trades,
            "historicalTrades": self._old_trades,
            "depth": self._depth,
            "ticker/24hr": self._tickers,
            "ticker/price": self._tickers,
            "ticker/bookTicker": self._tickers,
            "account": self._account,
        }

    def concerns(self, path: str) -> bool:
        return path.startswith(self.root) or (self.spot and path.startswith(("/sapi/", "/dapi/", "/eapi/")))

    def forget(self) -> None:
        self.pages.forget()

    def symbol(self, question: Question) -> str | None:
        return self.symbols.get(question.query.get("symbol", ""))

    def weight(self, question: Question) -> int:
        limit = _whole(question.query.get("limit"), 500)
        single = "symbol" in question.query
        match question.path.removeprefix(self.root):
            case "klines":
                return 2 if self.spot else 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10
            case "depth" if self.spot:
                return 5 if limit <= 100 else 25 if limit <= 500 else 50 if limit <= 1000 else 250
            case "depth":
                return 2 if limit <= 50 else 5 if limit <= 100 else 10 if limit <= 500 else 20
            case "aggTrades":
                return 4 if self.spot else 20
            case "trades" | "historicalTrades":
                return 25 if self.spot else 5
            case "ticker/24hr":
                return (2 if self.spot else 1) if single else 80 if self.spot else 40
            case "ticker/bookTicker" | "ticker/price":
                return 2 if single else 4
            case "exchangeInfo":
                return 20 if self.spot else 1
        return 1

    def headers(self, used: int) -> dict[str, str]:
        return {"X-MBX-USED-WEIGHT": str(used), "X-MBX-USED-WEIGHT-1M": str(used)}

    def answer(self, question: Question) -> Answer | Page:
        route = self._routes.get(question.path.removeprefix(self.root))
        if question.path in _ELSEWHERE:
            return Answer(_ELSEWHERE[question.path])
        if route is None:
            raise Refused(Answer(b"<html><body><h2>404 Not found</h2></body></html>", 404, content_type="text/html"))
        return route(question)

    def refusal(self, status: int, until: int) -> Answer:
        message = _ERRORS.get(status, "Internal error; unable to process your request. Please try again.")
        code = -1003 if status in (418, 429) else 0 if status == 451 else 1 if status == 503 else -1001
        return _error(code, message.format(until=until, limit=self.limit), status)

    def maintenance(self, question: Question) -> Answer:
        if question.path == "/sapi/v1/system/status":
            return _json({"status": 1, "msg": "system_maintenance"})
        return self.refusal(503, question.now)

    # ── the endpoints ────────────────────────────────────────────────────────────────────────────────

    def _exchange_info(self, question: Question) -> Answer:
        wanted = question.query.get("symbol")
        if wanted is not None and wanted not in self.symbols:
            raise _refused(-1121, "Invalid symbol.")
        listed = [self._market(name, symbol, question.now) for name, symbol in self.symbols.items()
                  if self.venue.since(symbol) <= question.now and wanted in (None, name)]  # fmt: skip
        limits = [{"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": self.limit or 1_000_000}]
        about = {"timezone": "UTC", "serverTime": question.says, "rateLimits": limits, "exchangeFilters": []}
        return _json(about | {"symbols": listed})

    def _market(self, name: str, symbol: str, now: int) -> dict[str, Any]:
        item = self.venue.listings[symbol]
        base, quote = symbol.partition(":")[0].split("/")
        trading = self.venue.listed(symbol, now)
        filters = [
            {"filterType": "PRICE_FILTER", "minPrice": item.tick, "maxPrice": "1000000.00000000", "tickSize": item.tick},
            {"filterType": "LOT_SIZE", "minQty": item.lot, "maxQty": "9000000.00000000", "stepSize": item.lot},
            {"filterType": "MARKET_LOT_SIZE", "minQty": "0.00000000", "maxQty": "100000.00000000", "stepSize": "0.00000000"},
        ]
        about: dict[str, Any] = {"symbol": name, "baseAsset": base, "quoteAsset": quote, "baseAssetPrecision": DIGITS,
                                 "quotePrecision": DIGITS, "orderTypes": ["LIMIT", "MARKET"]}  # fmt: skip
        if self.spot:
            return about | {
                "status": "TRADING" if trading else "BREAK", "quoteAssetPrecision": DIGITS, "icebergAllowed": True,
                "ocoAllowed": True, "isSpotTradingAllowed": True, "isMarginTradingAllowed": False, "permissions": ["SPOT"],
                "filters": [*filters, {"filterType": "NOTIONAL", "minNotional": "5.00000000", "maxNotional": "9000000.00000000"}],
            }  # fmt: skip
        steps = self.venue.steps[symbol]
        return about | {
            "pair": name, "contractType": "PERPETUAL", "deliveryDate": 4133404800000, "onboardDate": self.venue.since(symbol),
            "status": "TRADING" if trading else "SETTLING", "marginAsset": symbol.partition(":")[2], "underlyingType": "COIN",
            "pricePrecision": steps.tick_digits, "quantityPrecision": steps.lot_digits, "timeInForce": ["GTC"],
            "filters": [*filters, {"filterType": "MIN_NOTIONAL", "notional": "5"}],
        }  # fmt: skip

    def _klines(self, question: Question) -> Page:
        query = question.query
        symbol = self.asked(query)
        interval = query.get("interval")
        if interval is None:
            raise _refused(-1102, "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.")
        if interval not in INTERVALS or (interval == "1s" and not self.spot):
            raise _refused(-1120, "Invalid interval.")
        frame, most = Timeframe(interval), self.limited(query, 1000 if self.spot else 1500)
        start, end = self.time(query, "startTime"), self.time(query, "endTime")
        stop = _EVER if end is None else end + 1
        now = question.bars_at(frame)
        if start is None:
            return Page(self.pages.to_last(symbol, frame, 0, stop, most, min(now, self.venue.until(symbol))))
        return Page(self.pages.from_first(symbol, frame, start, stop, most, now))

    def _aggregates(self, question: Question) -> Page:
        query, now = question.query, question.now
        symbol, most = self.asked(query), self.limited(query, 1000)
        number, start, end = (self.time(query, name) for name in ("fromId", "startTime", "endTime"))
        if number is not None and (start is not None or end is not None):
            raise _refused(-1128, "Combination of optional parameters invalid.")
        if start is None and number is None:
            trades = self.venue.trades_until(symbol, _EVER if end is None else end + 1, most, now)
        else:
            first = start // 60_000 * IDS if start is not None else number or 0
            trades = self.venue.trades_from(symbol, first, most + IDS, now if end is None else min(now, end))
            trades = trades.at(trades.time >= (start or 0)).at(slice(most))
        return self._page_of(trades, symbol, encode_aggregates)

    def _trades(self, question: Question) -> Page:
        symbol, most = self.asked(question.query), self.limited(question.query, 1000)
        return self._page_of(self.venue.trades_until(symbol, _EVER, most, question.now), symbol, encode_trades)

    def _old_trades(self, question: Question) -> Page:
        if not question.headers.get("X-MBX-APIKEY"):
            raise _refused(-2014, "API-key format invalid.", 401)
        number = self.time(question.query, "fromId")
        if number is None:
            return self._trades(question)
        symbol, most = self.asked(question.query), self.limited(question.query, 1000)
        return self._page_of(self.venue.trades_from(symbol, number, most, question.now), symbol, encode_trades)

    def _page_of(self, trades: Trades, symbol: str, encode: Callable[[Trades, Steps], pa.StringArray]) -> Page:
        return Page([encoded(encode(trades, self.venue.steps[symbol]), trades.time)])

    def _depth(self, question: Question) -> Answer:
        symbol, writer = self.asked(question.query), self.writers[self.asked(question.query)]
        now, most = question.now, min(_whole(question.query.get("limit"), 100), 5000)
        found = book(self.venue, symbol, self.venue.last_trade(symbol, now))
        about = {} if self.spot else {"E": now, "T": found.time}
        bids, asks = writer.levels(found.bids[:most]), writer.levels(found.asks[:most])
        return _json({"lastUpdateId": found.id} | about | {"bids": bids, "asks": asks})

    def _tickers(self, question: Question) -> Answer:
        query, now = question.query, question.now
        kind = question.path.rpartition("/")[2]
        if "symbol" in query:
            symbol = self.asked(query)
            return _json(self._ticker(kind, symbol, now) or self.writers[symbol].nothing())
        try:
            wanted = [str(name) for name in json.loads(query["symbols"])] if "symbols" in query else list(self.symbols)
        except (ValueError, TypeError):
            raise _refused(-1100, "Illegal characters found in parameter 'symbols'.") from None
        found = (self._ticker(kind, self.asked({"symbol": name}), now) for name in wanted)
        return _json([ticker for ticker in found if ticker])

    def _ticker(self, kind: str, symbol: str, now: int) -> dict[str, Any] | None:
        writer, last = self.writers[symbol], self.venue.last_trade(symbol, now)
        if not len(last.time):
            return None
        if kind == "price":
            return {"symbol": writer.name, "price": writer.price(int(last.ticks[0]))}
        found = book(self.venue, symbol, last)
        if kind == "24hr":
            statistics = day(self.venue, symbol, now)
            if statistics is None:
                return None
            about = writer.day(statistics, found, now)
            return about if self.spot else {name: value for name, value in about.items() if name not in _SPOT_ONLY}
        bid, bid_amount, ask, ask_amount = writer.best(found)
        about = {"symbol": writer.name, "bidPrice": bid, "bidQty": bid_amount, "askPrice": ask, "askQty": ask_amount}
        return about if self.spot else about | {"time": found.time, "lastUpdateId": found.id}

    def _account(self, question: Question) -> Answer:
        """An empty account: what is signed is checked for its time, as the exchange does, not for who signed it."""
        if not question.headers.get("X-MBX-APIKEY"):
            raise _refused(-2014, "API-key format invalid.", 401)
        sent, window = _whole(question.query.get("timestamp"), 0), _whole(question.query.get("recvWindow"), 5000)
        if sent > question.says + 1000:
            raise _refused(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if sent < question.says - window:
            raise _refused(-1021, "Timestamp for this request is outside of the recvWindow.")
        return _json({"canTrade": False, "accountType": "SPOT", "balances": [], "permissions": ["SPOT"]})

    # ── what is asked for ────────────────────────────────────────────────────────────────────────────

    def asked(self, query: Mapping[str, str]) -> str:
        """The unified symbol asked for."""
        name = query.get("symbol")
        if not name:
            raise _refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
        if name not in self.symbols:
            raise _refused(-1121, "Invalid symbol.")
        return self.symbols[name]

    def limited(self, query: Mapping[str, str], most: int) -> int:
        """How many rows: more than the exchange gives is cut without a word."""
        limit = _whole(query.get("limit"), 500)
        if limit < 1:
            raise _refused(-1130, "Data sent for parameter 'limit' is not valid.")
        return min(limit, most)

    def time(self, query: Mapping[str, str], name: str) -> int | None:
        text = query.get(name)
        if text is None:
            return None
        if not text.lstrip("-").isdigit():
            raise _refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        if int(text) < 0:
            raise _refused(-1100, f"Illegal characters found in parameter '{name}'; legal range is '^[0-9]{{1,20}}$'.")
        return min(int(text), _EVER)


def encode_klines(candles: Candles, steps: Steps, frame: Timeframe) -> pa.StringArray:
    """Klines; the quote volume is the volume at the mean of the four prices, the takers' share depends on the body."""
    tick, lot = (steps.tick_units, steps.tick_digits, DIGITS), (steps.lot_units, steps.lot_digits, DIGITS)
    open, high, low, close = (decimals(scaled(column, *tick), DIGITS) for column in candles[1:5])
    mean = (candles.open + candles.high + candles.low + candles.close) / 4
    quote = np.rint(mean * candles.lots * _value(steps)).astype(np.int64)
    share = 128 + 96 * (candles.close - candles.open) // np.maximum(candles.high - candles.low, 1)
    bought, spent = candles.lots * share // 256, quote // 256 * share
    ends = frame.next(candles.time) - 1 if len(candles.time) else candles.time
    volume, taken = (decimals(scaled(column, *lot), DIGITS) for column in (candles.lots, bought))
    comma = '","'
    return pc.binary_join_element_wise(
        "[", _text(candles.time), ',"', *open, comma, *high, comma, *low, comma, *close, comma, *volume, '",', _text(ends), ',"',
        *decimals(quote, DIGITS), '",', _text(candles.trades), ',"', *taken, comma, *decimals(spent, DIGITS), '","0"],', "",
    )  # fmt: skip


def _value(steps: Steps) -> float:
    """A tick times a lot, in hundred-millionths."""
    return float(steps.tick_units * steps.lot_units) * 10.0 ** (DIGITS - steps.tick_digits - steps.lot_digits)


def _text(values: Any) -> Any:
    return pa.array(values).cast(pa.string())


def _json(value: Any) -> Answer:
    return Answer(json.dumps(value, separators=(",", ":")).encode())


def _error(code: int, message: str, status: int = 400) -> Answer:
    answer = _json({"code": code, "msg": message})
    answer.status = status
    return answer


def _refused(code: int, message: str, status: int = 400) -> Refused:
    return Refused(_error(code, message, status))


def _whole(text: str | None, default: int) -> int:
    if text is None:
        return default
    if not text.lstrip("-").isdigit():
        raise _refused(-1100, "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.")
    return int(text)
