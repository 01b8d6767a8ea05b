"""feed(): a backtrader feed of anything that has bars, in one line."""

from __future__ import annotations

from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.errors import CracktraderError
from cracktrader.feeds.base import Feed, feed_options, refuse_unknown
from cracktrader.interchange import to_bars
from cracktrader.loading import load
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.plugins.source import DataSource, Source, option_names
from cracktrader.quality import Validation, validate
from cracktrader.times import TimeLike

__all__ = ["FEED_OPTIONS", "feed"]

_LOAD_OPTIONS: Final = {"symbol", "timeframe", "start", "end", "limit", "compression", "validation"}
#: The options that go to the feed; all others are those of the load, or of the source.
FEED_OPTIONS: Final = feed_options(Feed) - _LOAD_OPTIONS - {"dataname"}


def feed(
    source: Any,
    /,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    limit: int | None = None,
    compression: int = 1,
    validation: Validation | str | None = None,
    live: bool = False,
    registry: Registry | None = None,
    **options: Any,
) -> Feed:
    """A backtrader data feed: of a source, of Bars, of a frame or of an Arrow stream.

    ::

        ct.feed("csv", path="btc.csv", symbol="BTC/USDT", timeframe="1h", start="2024-01-01")
        ct.feed(bars)
        ct.feed(frame, symbol="BTC/USDT", timeframe="1h")

    The bars are loaded at once, as :func:`cracktrader.load` loads them. ``compression=4`` on ``1h`` makes
    4-hour bars on the calendar grid. Options that :class:`Feed` or backtrader's ``plotinfo`` know (``name``,
    ``stamp``, ``fromdate``, ``todate``, ``sessionstart``, ``sessionend``, ``filters``, ``tz``, ``calendar``, …)
    go to the feed, all others to the source. ``tz`` is the zone in which backtrader shows times; the zone of
    naive times in a file is ``tzinput``.

    With ``live=True`` the feed goes on where its history ends, on any source that can stream: each bar goes out once it has
    closed. ``start``, or ``limit`` (500 unless said, 0 for none), say how much history there is, ``end`` where the feed ends.
    Options of :class:`~cracktrader.live.LiveSettings` (``grace``, ``empty``, ``from_trades``, ``record``, …) may be given.

    Raises what :func:`cracktrader.load` raises, and :class:`NoData` where there are no bars.
    """
    if live:
        from cracktrader.feeds.following import live_feed

        return live_feed(source, symbol=symbol, timeframe=timeframe, start=start, end=end, limit=limit, compression=compression,
                         validation=validation, registry=registry, options=options)  # fmt: skip
    if is_source(source):
        own = take_feed_options(source, options, registry)
        bars = load(
            source, symbol=symbol, timeframe=timeframe, start=start, end=end, limit=limit, compression=compression,
            validation=validation, registry=registry, **options,
        )  # fmt: skip
        made = Feed(dataname=bars, **own)
    else:
        refuse_unknown(options, FEED_OPTIONS, "A feed of bars", also=_LOAD_OPTIONS)
        bars = to_bars(source, symbol=symbol, timeframe=None if isinstance(source, Bars) else timeframe)
        if start is not None or end is not None or limit is not None:
            bars = _cut(bars, start, end, limit)
        if bars.report is None or validation is not None:
            bars = validate(bars, validation)
        made = Feed(dataname=bars, timeframe=timeframe, compression=compression, **options)
    made.bars  # noqa: B018  # no bars at all is an error here, on the line that the user wrote
    return made


def is_source(source: Any) -> bool:
    return isinstance(source, (str, Source, DataSource)) or (isinstance(source, type) and issubclass(source, DataSource))


def take_feed_options(source: Any, options: dict[str, Any], registry: Registry | None) -> dict[str, Any]:
    """Take the options of the feed out of ``options``; what remains is the source's."""
    wanted = FEED_OPTIONS & set(options)
    if "tzinput" in wanted and isinstance(source, (str, type)):
        try:
            cls: type[DataSource] = (registry or default_registry()).load(source) if isinstance(source, str) else source
        except CracktraderError:
            return {}  # load() will say it, with all that it knows
        if "tzinput" in option_names(cls.Config):
            wanted.discard("tzinput")  # better done while reading: two hours of one name differ in UTC
    return {name: options.pop(name) for name in wanted}


def _cut(bars: Bars, start: TimeLike | None, end: TimeLike | None, limit: int | None) -> Bars:
    from cracktrader.request import BarRequest

    request = BarRequest(bars.symbol, bars.timeframe, start, end, limit)
    bars = bars[request.contains(bars.time)]
    if request.limit is None:
        return bars
    return bars[: request.limit] if request.start is not None else bars[-request.limit :]
