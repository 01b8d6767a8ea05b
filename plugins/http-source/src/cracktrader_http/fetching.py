"""From a request for bars to the pages of an API, and back to bars."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urljoin

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption, MalformedData, NotSupported, UnknownSymbol, UnsupportedTimeframe
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, parse_time
from cracktrader_http.answers import Page, Reader
from cracktrader_http.config import HttpConfig
from cracktrader_http.pages import follow, in_turn, latest, windows
from cracktrader_http.templates import fields_of, fill, fill_url
from cracktrader_http.transport import Transport, Wanted

__all__ = ["Fetch", "read_bars"]


def read_bars(
    config: HttpConfig, transport: Transport, request: BarRequest, given_up: threading.Event | None = None
) -> Iterator[Bars]:
    """The bars of a request, page by page, oldest first; ``given_up`` ends what waits for its turn."""
    fetch = Fetch(config, transport, request, threading.Event() if given_up is None else given_up)
    try:
        if request.start is None and (oldest := fetch.oldest) is not None:
            yield Bars.empty(request.symbol, request.timeframe, provenance={"kept_from": isoformat(oldest)})
        for bars in fetch.by_time() if config.paging == "time" else fetch.by_turn():
            inside = request.contains(bars.time)
            if len(bars := bars if inside.all() else bars[inside]):
                yield bars
    finally:
        if given_up is None:
            fetch.stopped.set()  # given up half-way: what still waits for its turn goes home


class Fetch:
    """One request, from its first page to its last; ``stopped`` ends what waits for its turn."""

    def __init__(self, config: HttpConfig, transport: Transport, request: BarRequest, stopped: threading.Event) -> None:
        self.stopped = stopped
        self._config, self._transport, self._request = config, transport, request
        self._reader = Reader(config, transport, request)
        self._pages = 0
        self._proven: set[str] = set()  # of what the API does with a range
        self._refuse_what_is_gone()
        base, _, quote = request.symbol.partition("/")
        self._values: dict[str, Any] = {
            "base": base or None,
            "quote": quote.partition(":")[0] or None,
            "timeframe": self._timeframe(),
            "limit": config.page_size,
            "api_key": transport.api_key,
        }
        self._values["symbol"] = self._symbol()

    # ── by time ──────────────────────────────────────────────────────────────────────────────────────

    def by_time(self) -> Iterator[Bars]:
        """Range after range; side by side where that is allowed."""
        request = self._request
        start, end = self._bounds()
        if start is not None and start >= end:
            return iter(())
        if request.start is None and request.limit is not None:
            return latest(self._range, request.timeframe, end, request.limit, start)
        return self._range(start, end)

    def _bounds(self) -> tuple[int | None, int]:
        """The range, from the earliest bar that the API has, where that is known, to the one that is still open."""
        request, frame, earliest = self._request, self._request.timeframe, self._config.earliest
        start = request.start
        if start is None and earliest is not None:
            start = int(frame.ceil(parse_time(earliest)))
        return start, int(frame.next(frame.floor(self._transport.clock()))) if request.end is None else request.end

    def _range(self, start: int | None, end: int) -> Iterator[Bars]:
        """The bars of a range, in windows where there is more than one way to go."""
        config, frame = self._config, self._request.timeframe
        size = min(config.window or config.page_size, config.page_size) if config.window or config.concurrency > 1 else None
        if size is None or start is None:
            yield from follow(self._ask_range, start, end, config.newest_first)
            return

        def window(span: tuple[int, int]) -> list[Bars]:
            return list(follow(self._ask_range, *span, config.newest_first))

        for parts in self._side_by_side(window, windows(frame, start, end, size)):
            yield from parts

    def _side_by_side(self, work: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
        """The results in the order of the items, some of which are worked on ahead."""
        width = self._config.concurrency
        if width == 1:
            yield from map(work, items)
            return
        ahead: deque[Future[Any]] = deque()
        with self._pool(width) as pool:
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) >= 2 * width:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()

    @contextmanager
    def _pool(self, width: int) -> Iterator[ThreadPoolExecutor]:
        pool = ThreadPoolExecutor(width, thread_name_prefix="cracktrader-http")
        try:
            yield pool
        except BaseException:
            self.stopped.set()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _ask_range(self, start: int | None, end: int) -> Bars:
        bars = self._ask(self.wanted(start, end)).bars
        inside = bars.between(start, end, unit="ms")
        if len(bars) and not len(inside):
            self._refuse_to_be_ignored(bars, start, end)
        if len(inside):
            self._doubt(bars, inside, start, end)
        return inside

    def _doubt(self, bars: Bars, inside: Bars, start: int | None, end: int) -> None:
        """Raise where bars would be missing because the API takes the range otherwise than it is asked for.

        Where a page looks so, one more request tells; each question is asked until it is answered, then no more.
        """
        first, after = int(inside.time[0]), int(inside.timeframe.next(int(inside.time[-1])))
        if start == first:
            self._proven |= {"keeps the start", "looks at the start"}
        elif start is not None:
            self._doubt_start(bars, start, first, end)
        said = self._config.newest_first
        left = None if said is None else (after, end) if said else None if start is None else (start, first)
        if left and left[0] < left[1] and "sides" not in self._proven:
            self._proven.add("sides")
            if len(self._peek(*left).between(*left, unit="ms")):
                raise MalformedData(
                    f"The API was asked for bars from {isoformat(left[0])} to {isoformat(left[1])} once more, because"
                    f" it left them out, and sent some: so newest_first={said} isn't right.",
                    hint=f"Say newest_first={not said}, or leave it out: then it is found out.",
                )

    def _doubt_start(self, bars: Bars, start: int, first: int, end: int) -> None:
        used, frame, latest = self._config.placeholders, bars.timeframe, int(bars.time[-1])
        if (
            "keeps the start" not in self._proven
            and "start" in used
            and first == frame.next(start)
            and start in self._peek(int(frame.previous(start)), first).time
            and start not in self._peek(start, first).time
        ):
            raise MalformedData(
                f"The API leaves out the start of a range: asked for bars from {isoformat(start)}, it begins a bar later,"
                " and that bar is there.",
                hint="Ask with {before} instead of {start}: params={'since': '{before}'}.",
            )
        if "looks at the start" not in self._proven and used & {"start", "before"} and not used & {"end", "last"}:
            if latest - int(bars.time[0]) > self._tolerance(frame, end) and len(again := self._peek(latest, end)):
                self._refuse_to_be_ignored(again, latest, end)
            self._proven.add("looks at the start")

    def _peek(self, start: int, end: int) -> Bars:
        return self._ask(self.wanted(start, end)).bars

    def _tolerance(self, frame: Timeframe, end: int) -> int:
        """How far outside a range bars may lie, in milliseconds."""
        return self._config.coarseness or 2 * (int(frame.next(end)) - end)

    def _refuse_to_be_ignored(self, bars: Bars, start: int | None, end: int) -> None:
        """Raise where an API sends nothing but bars from far outside: it would look as if there were none in the range."""
        used = self._config.placeholders
        tolerance = self._tolerance(bars.timeframe, end)
        early = start is not None and used & {"start", "before"} and bars.time[0] < start - tolerance
        late = used & {"end", "last"} and bars.time[-1] >= end + tolerance
        if early or late:
            asked = f"{'the first bar' if start is None else isoformat(start)} to {isoformat(end)}"
            sent = f"{isoformat(bars.time[0])} to {isoformat(bars.time[-1])}"
            raise MalformedData(
                f"The API was asked for bars from {asked}, and sent those from {sent} instead.",
                hint="Does it know the parameters of the range by other names, or in another form or unit, such as {start:s}?"
                " If it sends everything whatever it is asked for, say pagination='none'.",
            )

    # ── page after page ──────────────────────────────────────────────────────────────────────────────

    def by_turn(self) -> Iterator[Bars]:
        """The pages as the API goes through them."""
        request, config = self._request, self._config
        start, bound = self._bounds()
        if (
            request.start is None
            and request.limit is not None
            and config.paging != "none"
            and config.placeholders & {"start", "before"}
        ):
            return latest(self._turns, request.timeframe, bound, request.limit, start)
        return self._turns(start, bound if fields_of(config.url) & {"end", "last"} else request.end)

    def _turns(self, start: int | None, end: int | None) -> Iterator[Bars]:
        for bars in in_turn(self._pages_in_turn(start, end), start, end, self._config.newest_first):
            yield bars.between(start, end, unit="ms")

    def _pages_in_turn(self, start: int | None, end: int | None) -> Iterator[Bars]:
        config = self._config
        kind = config.paging
        turn: dict[str, Any] = {"page": config.first_page, "offset": 0, "cursor": None}
        wanted = self.wanted(start, end, **turn)
        seen: set[Any] = set()
        lacking = frozenset({"next", "stop"})
        while True:
            page = self._ask(wanted)
            yield page.bars
            lacking &= page.lacking if page.rows else lacking
            if kind == "none" or page.last or (kind in ("page", "offset") and not page.rows):
                self._refuse_to_end(page.last and page.rows and lacking & {"stop"})
                if kind == "none" and config.pagination is None and page.more:
                    raise _more_is_left(page.more)
                return
            if kind in ("cursor", "next", "link"):
                if page.next is None or page.next in ("", False, 0, "0"):
                    self._refuse_to_end(page.rows and lacking & {"next"})
                    if page.more:
                        raise _more_is_left(page.more)
                    return
                if str(page.next) in seen:
                    shown = self._transport.secrets.hide_url(str(page.next))
                    raise MalformedData(
                        f"The API leads back to a page that it sent already: {shown!r}.",
                        hint="Is `next` right? If the API ends like this, say how the last page is known: stop='…'.",
                    )
                seen.add(str(page.next))
            if kind in ("next", "link"):
                wanted = Wanted("GET", urljoin(wanted.url, str(page.next)), headers=wanted.headers)
                continue
            turn["page"] += 1
            turn["offset"] += page.rows
            turn["cursor"] = page.next
            wanted = self.wanted(start, end, **turn)

    def _refuse_to_end(self, lacking: Any) -> None:
        """Raise where the last page was told by a key that no page had: the option is misspelt, and pages are missing."""
        for name in lacking or ():
            path = getattr(self._config, name)
            besides = {"next": f"{path} || ''", "stop": "!(has_more || `false`)"}[name]
            raise MalformedData(
                f"No answer of the API has the keys of {name}={path!r}, so it is not known whether there are more pages.",
                hint=f"Is it spelled right? If the API leaves them out in the last page, say so: {name}={besides!r}.",
            )

    # ── of a stream ──────────────────────────────────────────────────────────────────────────────────

    def page(self, cursor: Any) -> Page:
        """What an API answers that waits until there is something new since the request's start, or the cursor."""
        return self._ask(self.wanted(self._request.start, None, cursor=cursor))

    def event(self, data: bytes, closed: str | None) -> tuple[Bars, bool]:
        """The bars of one event, and whether it says by the JMESPath ``closed`` that they will not change any more."""
        return self._reader.event(data, closed)

    # ── one page ─────────────────────────────────────────────────────────────────────────────────────

    def _ask(self, wanted: Wanted) -> Page:
        self._pages += 1
        if self._pages > self._config.max_pages:
            raise MalformedData(
                f"The API still has pages after {self._config.max_pages:,} of them.",
                hint="If that can be, raise max_pages. Otherwise say how the last page is known: stop='…'.",
            )
        return self._transport.ask(wanted, self._reader.read, self.stopped)

    def wanted(self, start: int | None, end: int | None, **turn: Any) -> Wanted:
        """The request for ``[start, end)``, epoch milliseconds, each None where open."""
        frame, config = self._request.timeframe, self._config
        last = None if end is None else int(frame.previous(end))
        if end is not None and config.stamp == "close":  # the API knows bars by their ends
            last, end = end, int(frame.next(end))
        before = None if start is None else start - 1
        values = self._values | turn | {"start": start, "end": end, "before": before, "last": last}
        return Wanted(
            method=config.method or ("POST" if config.body is not None else "GET"),
            url=fill_url(config.url, values),
            params={name: _text(value) for name, value in fill(config.params, values).items()},
            headers={name: str(value) for name, value in fill(config.headers, values).items()},
            body=fill(config.body, values),
            form=config.body_format == "form",
        )

    # ── the API's spelling ───────────────────────────────────────────────────────────────────────────

    def _symbol(self) -> str | None:
        symbol, config = self._request.symbol, self._config
        if symbol in config.symbols:
            return config.symbols[symbol]
        if not symbol:
            if config.placeholders & {"symbol", "base", "quote"}:
                raise InvalidOption("The API must be asked for a symbol, and none was given.", hint="Say it: symbol='BTC/USDT'.")
            return None
        if config.symbol_format is not None:
            return _spelled(config.symbol_format, self._values | {"symbol": symbol}, symbol)
        if config.symbols:
            known = ", ".join(list(config.symbols)[:20])
            raise UnknownSymbol(
                f"It is not known how the API spells {symbol!r}. Known are: {known}.",
                hint=f"Say it: symbols={{{symbol!r}: '…'}}; for all others at once symbol_format='{{base}}{{quote}}'.",
                symbol=symbol,
            )
        return symbol

    def _timeframe(self) -> str:
        frame, known = str(self._request.timeframe), self._config.timeframes
        if known and frame not in known:
            raise UnsupportedTimeframe(
                f"The API has no bars of {frame}. It has: {', '.join(known)}.",
                hint="Choose one of them, or add the API's spelling: timeframes={…}.",
                timeframe=frame,
            )
        return known.get(frame, frame)

    @property
    def oldest(self) -> int | None:
        """When the oldest bar opens that an API has which keeps only so many; None for others."""
        frame, keeps = self._request.timeframe, self._config.keeps
        return None if keeps is None else int(frame.opening(frame.ordinal(self._transport.clock()) - keeps + 1))

    def _refuse_what_is_gone(self) -> None:
        request, frame, oldest = self._request, self._request.timeframe, self.oldest
        if oldest is not None and request.start is not None and request.start < oldest:
            raise NotSupported(
                f"The API keeps the last {self._config.keeps} bars of a timeframe: of {frame} those from {isoformat(oldest)} on.",
                hint="Start there or later, or take a longer timeframe. A catalog keeps what was fetched in time.",
                earliest=isoformat(oldest),
            )


def _more_is_left(more: str) -> MalformedData:
    return MalformedData(
        f"The API says that there are more pages ({more}), and no option says how they are asked for.",
        hint="Say it: pagination='link', or next='…', a JMESPath to the next cursor or address. If this is all, say"
        " pagination='none', or how the last page is known: stop='…'.",
    )


def _spelled(template: str, values: dict[str, Any], symbol: str) -> str:
    spelled = fill(template, values)
    if spelled is None:
        raise UnknownSymbol(
            f"The API needs a symbol of two parts, such as 'BTC/USDT', not {symbol!r}.",
            hint=f"Or say how it spells this one: symbols={{{symbol!r}: '…'}}.",
            symbol=symbol,
        )
    return str(spelled)


def _text(value: Any) -> Any:
    return str(value).lower() if isinstance(value, bool) else value
