"""Bars made of an exchange's trades: for exchanges that keep too few candles, or have none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cracktrader.bars import Bars
from cracktrader.errors import InvalidRange, MalformedData, NotSupported, TemporarySourceError
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

#: Milliseconds before a range, of which one after the other must hold a trade: a second, a minute, an hour, a day, a month.
_LEADS: Final = (1_000, 60_000, 3_600_000, 86_400_000, 30 * 86_400_000)


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
            if not page or int(page[0]["id"]) > following:
                page = self._page_of_ids(following)  # something went wrong, or the exchange left numbers out
            if not page:
                self._check_no_id_from(following)
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
            page = self._ask(since, {}) or self._ask(since, {})
            ids = [int(trade["id"]) for trade in page if trade["timestamp"] >= since]
            if ids:
                self._check_first(min(ids))
                return min(ids)
            since += span
        return None

    def _check_first(self, first: int) -> None:
        """Raise where the trades before the one that came first are of the range too."""
        before = max(0, first - self._limit)
        page = self._page_of_ids(before) or self._page_of_ids(before)
        for trade in page:
            if int(trade["id"]) < first and trade["timestamp"] >= self._start:
                where = isoformat(self._start)
                raise self._contradiction(
                    where, f"sent number {first} as the first, and number {trade['id']} is of {_when(trade)}"
                )

    def _check_no_id_from(self, following: int) -> None:
        self._check_over(f"number {following}", lambda trade: int(trade["id"]) >= following)

    def _by_time(self) -> Iterator[Trades]:
        """From a moment on; a page's last moment is asked for again, because the page may end in the middle of it."""
        cursor, seen = (self._start, False) if self._facts.trades == "time" else (self._before_start(), True)
        while cursor < self._end:
            page, sent = self._page_from(cursor, seen)
            last = page[-1]["timestamp"] if page else cursor
            if last == cursor:
                self._check_none_after(cursor, page, sent)
                yield page
                return
            yield [trade for trade in page if trade["timestamp"] < last]
            cursor, seen = last, True

    def _check_none_after(self, cursor: int, page: Trades, sent: int) -> None:
        known = {_identity(trade) for trade in page}
        missed = lambda trade: trade["timestamp"] >= cursor and _identity(trade) not in known  # noqa: E731
        self._check_over(isoformat(cursor), missed, sent)

    def _page_from(self, cursor: int, seen: bool) -> tuple[Trades, int]:
        """The trades of a page from a moment on, and how many it held; asked for twice unless it holds later ones.

        ``seen`` says that there are some of that very moment: a page without them is not the one that was asked for.
        """
        page: Trades = []
        for _ in range(2):
            sent = self._ask(max(0, cursor - self._facts.trades_early), {})
            page = sorted((trade for trade in sent if trade["timestamp"] >= cursor), key=_by_time_and_id)
            whole = bool(page) and (not seen or page[0]["timestamp"] == cursor)
            if whole and page[-1]["timestamp"] > cursor:
                break
        if page and not whole:
            raise self._contradiction(isoformat(cursor), f"sent trades of that moment before, and now begins at {_when(page[0])}")
        return page, len(sent)

    def _before_start(self) -> int:
        """The time of a trade before the range, from which an exchange that is not known to hear ``since`` sends all of them.

        Raises :class:`NotSupported` where it sends none: those that it does send may begin in the middle of the range.
        """
        found: Trades = []
        for lead in _LEADS:
            found = sorted(self._ask(max(0, self._start - lead), {}), key=_by_time_and_id) or found
            if found and found[0]["timestamp"] < self._start:
                return int(found[0]["timestamp"])
        if not found:
            raise NotSupported(
                f"{self._desk.name} sent no trades, asked for those from {isoformat(self._start)} on.",
                hint="Start later, or take candles.",
            )
        earliest = isoformat(int(self._frame.next(found[0]["timestamp"])))
        raise NotSupported(
            f"{self._desk.name} sent trades from {_when(found[0])} on, and all from {isoformat(self._start)} on were asked for:"
            " it may not give older ones.",
            hint=f"Start at {earliest} or later, or take candles.",
            earliest=earliest,
        )

    def _check_over(self, place: str, missed: Callable[[Mapping[str, Any]], bool], sent: int = 0) -> None:
        """Raise where an exchange that sends no later trades has some nevertheless; ``missed`` says which those are."""
        now = self._desk.clock.now(self._patience())
        latest = self._ask(None, {}) or self._ask(None, {})
        if not latest:
            raise self._contradiction(place, "sends no trades at all, not even its latest")
        later = [trade for trade in latest if trade["timestamp"] < now and missed(trade)]
        if later and sent:
            raise MalformedData(
                f"{self._desk.name} has {sent:,} trades or more at {place}: asked for those from there on, it sends no"
                f" others, and there are some of {_when(later[0])}.",
                hint="Bars of this stretch can't be made of trades. Load around it, or take candles.",
            )
        if later:
            raise self._contradiction(place, f"sends none from there on, and one of {_when(later[-1])}")

    def _contradiction(self, place: str, said: str) -> TemporarySourceError:
        return TemporarySourceError(
            f"{self._desk.name}, trades of {self._market['symbol']} from {place} on: it {said}. Some may be missing.",
            hint="Try again: something at the exchange is not in order. Or take candles.",
        )

    def _ask(self, since: int | None, params: Mapping[str, Any], limit: int | None = 0) -> Sequence[Mapping[str, Any]]:
        self._check_deadline()
        limit = self._limit if limit == 0 else limit
        exchange, symbol = self._desk.exchange, self._market["symbol"]

        def question(_: Any) -> list[Any]:
            trades = exchange.fetch_trades(symbol, since, limit, {**self._config.ccxt_params, **params})
            return [trade for trade in trades if trade.get("timestamp") is not None]

        told = f"{self._desk.name}, trades of {symbol} {params or ('latest' if since is None else isoformat(since))}"
        return self._desk.ask(question, self._patience(), lambda: told)

    def _note(self, text: str) -> None:
        self._provenance["notes"] = [*self._provenance.get("notes", []), text]


def _identity(trade: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells a trade from others; not every exchange numbers them."""
    return (trade["id"],) if trade.get("id") else tuple(trade[name] for name in ("timestamp", "price", "amount", "side"))


def _when(trade: Mapping[str, Any]) -> str:
    return isoformat(int(trade["timestamp"]))


def _by_time_and_id(trade: Mapping[str, Any]) -> tuple[int, int]:
    name = str(trade.get("id") or "")
    return trade["timestamp"], int(name) if name.isdecimal() else 0
