"""Making live feeds: the history, what follows it, and the options of both."""

from __future__ import annotations

from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.catalog import Catalog, take_catalog
from cracktrader.errors import InvalidOption, InvalidTimeframe
from cracktrader.feeds.live import LiveFeed
from cracktrader.feeds.making import is_source, take_feed_options
from cracktrader.live.settings import LiveSettings
from cracktrader.loading import divisor, known_timeframes, load
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.plugins.source import DataSource, Source, option_names
from cracktrader.quality import Validation
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike

__all__ = ["live_feed"]

#: How many bars of history a live feed begins with, unless something is said.
_HISTORY: Final = 500


def live_feed(
    source: Any,
    *,
    symbol: str | None,
    timeframe: str | None,
    start: TimeLike | None,
    end: TimeLike | None,
    limit: int | None,
    compression: int,
    validation: Validation | str | None,
    registry: Registry | None,
    options: dict[str, Any],
) -> LiveFeed:
    """A feed of a source that goes on live; see :func:`cracktrader.feed`."""
    if not is_source(source):
        raise InvalidOption(
            f"{type(source).__name__} can't go on live: only a source can.",
            hint='Play bars as if they happened now: ct.feed("replay", bars=bars, …, live=True).',
        )
    if timeframe is None:
        raise InvalidTimeframe("No timeframe was given.", hint="Say how long a bar lasts: timeframe='1m'.")
    limit = options.pop("historical_limit", limit)
    chosen = registry or default_registry()
    rules = Validation.of(validation)
    catalog = take_catalog(options, options.pop("catalog", None))
    settings = _take_settings(source, options, chosen)
    own = take_feed_options(source, options, registry) if isinstance(source, (str, type)) else _take(options, set(options))
    opened = chosen.source(source, **({} if isinstance(source, (Source, DataSource)) else options))
    try:
        made = _made(opened, BarRequest(symbol, timeframe), start, end, limit, compression, rules, catalog, settings, own, chosen)
    except BaseException:
        if not isinstance(source, (Source, DataSource)):
            opened.close()
        raise
    made.p.owns_source = not isinstance(source, (Source, DataSource))
    return made


def _made(
    opened: Source,
    request: BarRequest,
    start: TimeLike | None,
    end: TimeLike | None,
    limit: int | None,
    compression: int,
    rules: Validation,
    catalog: Any,
    settings: LiveSettings,
    own: dict[str, Any],
    registry: Registry,
) -> LiveFeed:
    target = request.timeframe * compression
    if limit is None and start is None:
        limit = _HISTORY
    if limit == 0:
        history = Bars.empty(request.symbol, target, source=opened.name)
    else:
        history = load(
            opened, symbol=request.symbol, timeframe=request.timeframe, start=start, end=end, limit=None if start else limit,
            compression=compression, validation=rules, catalog=catalog, registry=registry,
        )  # fmt: skip
    return LiveFeed(
        dataname=history,
        symbol=request.symbol or history.symbol,
        source=opened,
        settings=settings,
        until=None if end is None else BarRequest(request.symbol, target, end=end).end,
        parts=_parts(opened, request.timeframe, settings),
        fill=settings.empty == "fill" if settings.empty else rules.policy("gap") == "repair",
        fill_limit=int(rules.limit("gap")) if settings.fill_limit is None else settings.fill_limit,
        catalog=Catalog.of(opened.plugin.remote if catalog is None else catalog),
        **own,
    )


def _parts(opened: Source, timeframe: Timeframe, settings: LiveSettings) -> Timeframe:
    """What to follow: the timeframe itself, or one that it is made of where candles of it aren't streamed."""
    if settings.from_trades or not opened.offers("stream_candles"):
        return timeframe
    known = known_timeframes(opened)
    if not known or timeframe in known or opened.offers("stream_trades"):
        return timeframe
    return divisor(opened, timeframe) or timeframe


def _take_settings(source: Any, options: dict[str, Any], registry: Registry) -> LiveSettings:
    """The live options; one that the source has, too, stays the source's."""
    wanted = set(LiveSettings.model_fields) & set(options)
    if wanted and isinstance(source, (str, type)):
        cls: type[DataSource] = registry.load(source) if isinstance(source, str) else source
        wanted -= set(option_names(cls.Config))
    return LiveSettings.of(_take(options, wanted))


def _take(options: dict[str, Any], wanted: set[str]) -> dict[str, Any]:
    return {name: options.pop(name) for name in wanted}
