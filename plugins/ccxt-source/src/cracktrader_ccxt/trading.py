"""Bars made of an exchange's trades: for exchanges that keep too few candles, or have none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cracktrader.bars import Bars
from cracktrader.errors import InvalidRange, MalformedData, NotSupported
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat
from cracktrader_ccxt.config import CcxtConfig
from cracktrader_ccxt.desk import Desk
from cracktrader_ccxt.fetching import Load

__all__ = ["TradeFetch"]

Trades = list[Mapping[str, Any]]
#: Trades are made into bars of the first of these that the wanted ones are made of: so few are held at once.
_PARTS: Final = tuple(map(Timeframe, ("1h", "30m", "15m", "5m", "1m", "1s")))


class TradeFetch(Load):
    """One request for bars, made of trades, from its first page to its last; holds the trades of an hour and a page at most.

    Exchanges are asked by id where :mod:`cracktrader_ccxt.facts` knows how, and by time elsewhere. What is of the last moment of
    a page may have been cut off there: it is left, and asked for again with the page after.
    """

    def __init__(self, config: CcxtConfig, desk: Desk, request: BarRequest) -> None:
        if not desk.exchange.has.get("fetchTrades"):
            raise NotSupported(f"{desk.name} has no trades to make bars of.", hint="Leave out from_trades.")
        if request.start is None:
            raise InvalidRange(
                "Bars made of trades need a start: an exchange's first trade may be years back.",
                hint="Say it: start='2024-01-01'.",
            )
        super().__init__(config, desk, request)
        self._start = request.start
        self._limit = min(config.batch_size or self._facts.trades_limit, self._facts.trades_limit)
        self._provenance["volume_unit"] = "base"

    def _chunks(self) -> Iterator[Bars]:
        """The bars, put together of shorter ones where they are long."""
        part = next((one for one in _PARTS if one.divides(self._frame)), self._frame)
        if self._frame.shortest <= part.shortest:
            part = self._frame
        if part == self._frame:
            yield from self._short_bars(part)
            return
        held: list[Bars] = []
        for bars in self._short_bars(part):
            held.append(bars)
            border = int(self._frame.floor(int(bars.time[-1])))
            if int(held[0].time[0]) < border:
                whole = Bars.concat(held)
                yield whole[whole.time < border].resample(self._frame)
                held = [whole[whole.time >= border]]
        if held:
            yield Bars.concat(held).resample(self._frame)

    def _short_bars(self, frame: Timeframe) -> Iterator[Bars]:
        """Bars of a timeframe, as soon as a later trade says that they are over."""
        held: Trades = []
        for trades in self._pages():
            held += trades
            border = int(frame.floor(held[-1]["timestamp"]))
            if held[0]["timestamp"] < border:
                over = next(place for place, trade in enumerate(held) if trade["timestamp"] >= border)
                yield self._bars(held[:over], frame)
                held = held[over:]
        if held:
            yield self._bars(held, frame)

    def _bars(self, trades: Trades, frame: Timeframe) -> Bars:
        columns: dict[str, Any] = {
            "timestamp": np.array([trade["timestamp"] for trade in trades], "datetime64[ms]"),
            "price": np.array([trade["price"] for trade in trades], np.float64),
            "amount": np.array([trade["amount"] for trade in trades], np.float64),
        }
        if all(trade.get("side") in ("buy", "sell") for trade in trades):
            columns["side"] = [trade["side"] for trade in trades]
        first, last = (int(frame.floor(trade["timestamp"])) for trade in (trades[0], trades[-1]))
        return Bars.from_trades(columns, symbol=self._request.symbol, timeframe=frame, start=first, end=int(frame.next(last)),
                                provenance=self._provenance)  # fmt: skip

    # ── pages ────────────────────────────────────────────────────────────────────────────────────────

    def _pages(self) -> Iterator[Trades]:
        """The trades of the range, each once, in order; no page is empty."""
        if self._start >= self._end:
            return
        for trades in self._by_id() if self._facts.trades == "id" else self._by_time():
            inside = [trade for trade in trades if self._start <= trade["timestamp"] < self._end]
            if inside:
                yield inside
            if trades and trades[-1]["timestamp"] >= self._end:
                return

    def _by_id(self) -> Iterator[Trades]:
        """From the first trade of the range on, by ids that count up."""
        following = self._first_id()
        while following is not None:
            page = self._page_of_ids(following)
            if page and int(page[0]["id"]) > following:
                page = self._page_of_ids(following)  # something went wrong, or the exchange left numbers out
            if not page:
                return
            if int(page[0]["id"]) > following:
                self._note(f"Trades {following} to {int(page[0]['id']) - 1} were not among those that {self._desk.name} sent.")
            yield page
            following = int(page[-1]["id"]) + 1

    def _page_of_ids(self, following: int) -> Trades:
        """The trades from an id on, each once, in order."""
        # The limit goes around ccxt, which would cut a longer answer at the wrong end.
        sent = self._ask(None, {self._facts.trades_from: following, "limit": self._limit}, limit=None)
        known = {int(trade["id"]): trade for trade in sent}
        return [known[number] for number in sorted(known) if number >= following]

    def _first_id(self) -> int | None:
        """The id of the first trade of the range, looked for stretch by stretch."""
        since, span = self._start, self._facts.trades_span or self._end - self._start
        while since < self._end:
            page = self._ask(since, {})
            ids = [int(trade["id"]) for trade in page if trade["timestamp"] >= since]
            if ids:
                return min(ids)
            since += span
        return None

    def _by_time(self) -> Iterator[Trades]:
        """From a moment on; a page's last moment is asked for again, because the page may end in the middle of it."""
        cursor, early = self._start, self._facts.trades_early
        while cursor < self._end:
            sent = self._ask(max(0, cursor - early), {})
            page = sorted((trade for trade in sent if trade["timestamp"] >= cursor), key=_by_time_and_id)
            full = len(sent) >= self._limit
            if not page or page[-1]["timestamp"] == cursor:
                if full:
                    raise MalformedData(
                        f"{self._desk.name} has {len(sent):,} trades or more at {isoformat(cursor)}; it gives no others.",
                        hint="Bars of this stretch can't be made of trades. Load around it, or take candles.",
                    )
                if not page:
                    return
                yield page
                cursor += 1
                continue
            if cursor == self._start and self._facts.trades is None:
                self._refuse_to_be_ignored(page)
            last = page[-1]["timestamp"]
            yield [trade for trade in page if trade["timestamp"] < last]
            cursor = last

    def _refuse_to_be_ignored(self, page: Trades) -> None:
        """Raise where an exchange that is not known to hear ``since`` begins later than it should."""
        first = page[0]["timestamp"]
        if first >= self._frame.next(self._start):
            raise NotSupported(
                f"{self._desk.name} sent trades from {isoformat(first)} on, and those from {isoformat(self._start)} on were"
                " asked for: it may not give older ones.",
                hint="Start there or later.",
                earliest=isoformat(first),
            )

    def _ask(self, since: int | None, params: Mapping[str, Any], limit: int | None = 0) -> Sequence[Mapping[str, Any]]:
        self._check_deadline()
        limit = self._limit if limit == 0 else limit
        exchange, symbol = self._desk.exchange, self._market["symbol"]

        def question(_: Any) -> list[Any]:
            trades = exchange.fetch_trades(symbol, since, limit, {**self._config.params, **params})
            return [trade for trade in trades if trade.get("timestamp") is not None]

        told = f"{self._desk.name}, trades of {symbol} {params or isoformat(since or 0)}"
        return self._desk.ask(question, self._patience(), lambda: told)

    def _note(self, text: str) -> None:
        self._provenance["notes"] = [*self._provenance.get("notes", []), text]


def _by_time_and_id(trade: Mapping[str, Any]) -> tuple[int, int]:
    name = str(trade.get("id") or "")
    return trade["timestamp"], int(name) if name.isdecimal() else 0
