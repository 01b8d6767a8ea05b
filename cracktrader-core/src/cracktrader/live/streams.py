"""A source's streams as the hub reads them: whatever a plugin yields or raises, here it is an event or an error of ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakKeyDictionary

from cracktrader.errors import (
    ConfigurationError,
    CracktraderError,
    NotSupported,
    PermanentSourceError,
    PluginBroken,
    PluginError,
    SourceError,
    UnknownSymbol,
    UnsupportedTimeframe,
)
from cracktrader.events import Event, OHLCVCandle, OrderBook, Ticker, Trade
from cracktrader.live.clock import SourceClock, machine_ms
from cracktrader.live.hub import in_thread
from cracktrader.plugins.options import hide_secrets

if TYPE_CHECKING:
    from cracktrader.plugins.source import Source

__all__ = ["backoff", "events", "is_final", "streams_of"]

_KINDS: Final[dict[str, type[Event]]] = {
    "stream_candles": OHLCVCandle,
    "stream_trades": Trade,
    "stream_ticker": Ticker,
    "stream_order_book": OrderBook,
}
#: Errors that trying again won't mend.
_FINAL: Final = (PermanentSourceError, UnknownSymbol, UnsupportedTimeframe, NotSupported, ConfigurationError, PluginError)

#: So many fetches of one source are under way at once: the bars of two hundred symbols end in the same moment.
_FETCHES: Final = 8
#: The source's clock is asked so often at first; an answer that takes longer than so many seconds is none.
_CLOCK_SAMPLES: Final = 3
_CLOCK_SECONDS: Final = 30.0

logger: Final = logging.getLogger("cracktrader.live")


class Shared:
    """What the streams of one source share, in the hub: its clock, and how many fetches are under way."""

    def __init__(self, source: Source) -> None:
        self.users = 0
        self.fetches = asyncio.Semaphore(_FETCHES)
        self.clock = SourceClock(pace=float(getattr(source.plugin, "pace", 1.0)))
        self._source = weakref.ref(source)
        self._asking = asyncio.Lock()
        self._asked = -math.inf

    async def ask_the_time(self, older_than: float) -> None:
        """Ask the source for its clock, unless that was done in the last ``older_than`` seconds.

        Raises what the source raises where trying again won't help; otherwise the clock stays what it was.
        """
        async with self._asking:
            source = self._source()
            if source is None or not source.offers("server_time") or time.monotonic() - self._asked < older_than:
                return
            for _ in range(_CLOCK_SAMPLES if self._asked == -math.inf else 1):
                self._asked, asked = time.monotonic(), machine_ms()
                try:
                    there, came = await asyncio.wait_for(in_thread(lambda: (source.now(), machine_ms())), _CLOCK_SECONDS)
                except (SourceError, TimeoutError) as error:
                    if is_final(error):
                        raise
                    logger.info("The clock of %s could not be asked: %s", source.name, error)
                    return
                self.clock.measured(asked, there, came)


#: Only the hub's thread looks here.
_OPEN: Final[WeakKeyDictionary[Source, Shared]] = WeakKeyDictionary()


def is_final(error: BaseException) -> bool:
    """Whether trying again won't help."""
    return isinstance(error, _FINAL)


def backoff(attempt: int, random: float, *, first: float = 0.2, most: float = 30.0) -> float:
    """How many seconds to wait before an attempt; ``random`` in [0, 1) spreads those of many."""
    return min(first * 2.0 ** min(attempt, 16), most) * (0.5 + random)


async def events(source: Source, hook: str, **arguments: Any) -> AsyncGenerator[Any, None]:
    """The events of one stream; raises a :class:`CracktraderError`, whatever the plugin raised."""
    kind = _KINDS[hook]
    frame = arguments.get("timeframe")
    stream: AsyncIterator[Any] = source.call(hook, **arguments)
    if not hasattr(stream, "__aiter__"):
        raise PluginBroken(
            f"The source {source.name!r} answered {hook} with {type(stream).__name__}, which is no stream.",
            hint=source.origin.blame("a stream hook is an async generator: `async def` with `yield`"), source=source.name,
        )  # fmt: skip
    try:
        async for event in stream:
            if not isinstance(event, kind) or (frame is not None and getattr(event, "timeframe", frame) != frame):
                raise PluginBroken(
                    f"The source {source.name!r} was asked for {hook} of {arguments}, and yielded {event!r:.120}.",
                    hint=source.origin.blame(f"it must yield {kind.__name__} of what was asked for"), source=source.name,
                )  # fmt: skip
            yield event
    except (CracktraderError, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:
        raise SourceError(
            f"The stream of {source.name!r} failed: {type(error).__name__}: {hide_secrets(str(error), source.config)}",
            hint=f"This is a fault in {source.origin}, or in something that it relies on; the cause is above.",
            source=source.name,
        ) from error
    finally:
        if isinstance(stream, AsyncGenerator):
            with contextlib.suppress(Exception):  # it is over; what mattered was raised above
                await stream.aclose()


@contextlib.asynccontextmanager
async def streams_of(source: Source) -> AsyncIterator[Shared]:
    """Around the use of a source's streams: after the last one, the source gives back what they held."""
    shared = _OPEN.get(source) or _OPEN.setdefault(source, Shared(source))
    shared.users += 1
    try:
        yield shared
    finally:
        shared.users -= 1
        if not shared.users:
            del _OPEN[source]
            if source.offers("close_streams"):
                with contextlib.suppress(Exception):
                    await source.call("close_streams")
