"""Loading: from a source through the checks to Bars."""

from __future__ import annotations

import os
from collections.abc import Callable
from operator import attrgetter
from typing import Any, TypeVar

from cracktrader.bars import Bars
from cracktrader.catalog import Catalog, Ledger, take_catalog
from cracktrader.errors import InvalidOption, NotSupported, UnsupportedTimeframe
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.plugins.source import DataSource, Source
from cracktrader.quality import Validation, validate
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe
from cracktrader.times import TimeLike, isoformat, now_ms, parse_time

__all__ = ["divisor", "fetch", "fetch_raw", "keep", "known_timeframes", "load", "source"]

Got = TypeVar("Got")


def source(name: str | type[DataSource] | DataSource, /, *, registry: Registry | None = None, **options: Any) -> Source:
    """A configured source, to be shared by many loads; see :func:`load` for what ``name`` may be.

    Raises :class:`PluginError` where the plugin can't be used, :class:`InvalidOption` for its options.
    """
    return (registry or default_registry()).source(name, **options)


def load(
    source: str | type[DataSource] | DataSource | Source,
    /,
    *,
    symbol: str | None = None,
    timeframe: str | None = None,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    limit: int | None = None,
    compression: int = 1,
    validation: Validation | str | None = None,
    catalog: Catalog | str | os.PathLike[str] | bool | None = None,
    progress: Callable[[int], None] | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> Bars:
    """Bars from a source, checked and repaired; what was seen and done is in ``bars.report``.

    ``source`` is the name of an installed source (``"csv"``, or ``"dist-name:csv"`` where two have it), what
    :func:`source` returned, or a ``DataSource`` class or instance. Bars that open in ``[start, end)`` are
    loaded, at most ``limit`` of them: the first where ``start`` is given, else the last. ``compression`` makes
    bars that many times as long of them, on the calendar grid; range and limit count those. ``validation`` is
    the name of a preset (``repair``, the default, ``strict``, ``report``, ``off``) or a
    :class:`~cracktrader.quality.Validation`. Where the source lacks a timeframe but has one that divides it, the bars
    are made of those.

    ``catalog`` is a :class:`~cracktrader.catalog.Catalog`, a folder or URL for one, or True for the usual one: what it
    holds is not fetched again. Sources that read over a network use the usual one unless told ``catalog=False``. Bars
    that are not over yet are not among what a catalog answers. ``progress`` is called in this thread with the number of
    rows of each chunk that a source delivers; what it raises ends the load. The options ``cache_enabled``, ``cache_ttl``,
    ``cache_path``, ``local_storage`` and ``storage_path`` are other names for the catalog.

    All other options are the source's own; ``cracktrader schema NAME`` lists them. A source that is made here is closed
    here; an object that was passed stays open, for whoever made it to use again and to close.

    Raises :class:`ConfigurationError`, :class:`PluginError`, :class:`SourceError` or :class:`DataError`,
    by who has to act; see :mod:`cracktrader.errors`.
    """
    chosen = registry or default_registry()
    catalog = take_catalog(options, catalog)
    opened = chosen.source(source, **options)
    try:
        request = BarRequest(symbol, timeframe, start, end, limit)  # type: ignore[arg-type]  # None is refused with a hint
        store = Catalog.of(opened.plugin.remote if catalog is None else catalog)
        return fetch(opened, request, Validation.of(validation), chosen, compression, store, progress)
    finally:
        if not isinstance(source, (Source, DataSource)):
            opened.close()


def fetch(
    opened: Source,
    request: BarRequest,
    rules: Validation,
    registry: Registry,
    compression: int = 1,
    catalog: Catalog | None = None,
    progress: Callable[[int], None] | None = None,
) -> Bars:
    """The bars of one request from an open source, or from its catalog, checked; tells the plugins of it."""
    target = request.timeframe * compression
    wanted, (raw, now) = _asked(opened, request, target, lambda parts: _raw(opened, parts, catalog, progress))
    checks = [check for checks in registry.notify("quality_checks") for check in checks]
    bars = validate(raw, rules, now=now, checks=checks, request=wanted.to_dict())
    if catalog is not None and bars.report is not None and (taken := bars.report.quarantine).bars is not None:
        catalog.quarantine(opened, taken.bars, taken.reasons)
    if wanted.timeframe != target:
        bars = _whole(bars.resample(target), request.but(timeframe=target), now)
    registry.notify("bars_loaded", request=request, bars=bars, report=bars.report)
    return bars


def fetch_raw(opened: Source, request: BarRequest) -> Bars:
    """The bars of a request as the source has them at this moment, past every catalog and check, in the source's order.

    Where it lacks the timeframe they are made of a shorter one; what is not over yet may be among them.
    """

    def ask(parts: BarRequest) -> Bars:
        chunks = list(opened.bars(parts))
        return Bars.concat(chunks) if chunks else Bars.empty(request.symbol, parts.timeframe, source=opened.name)

    return _asked(opened, request, request.timeframe, ask)[1].in_order().resample(request.timeframe)


def keep(
    source: str | type[DataSource] | DataSource | Source,
    /,
    *,
    symbol: str | None,
    timeframe: str,
    start: TimeLike | None = None,
    end: TimeLike | None = None,
    catalog: Catalog | str | os.PathLike[str] | bool = True,
    progress: Callable[[int], None] | None = None,
    registry: Registry | None = None,
    **options: Any,
) -> Ledger:
    """Bring a series of the catalog up to date, as :func:`load` would, and read nothing; what is then known of it.

    Raises what :func:`load` raises of sources and catalogs.
    """
    opened = (registry or default_registry()).source(source, **options)
    store = Catalog.of(catalog)
    if store is None:
        raise InvalidOption("Nothing can be kept without a catalog.", hint="Leave catalog=False out, or name a folder.")
    try:
        request = BarRequest(symbol, timeframe, start, end)
        return _asked(opened, request, request.timeframe, lambda parts: store.bring(opened, parts, progress))[1]
    finally:
        if not isinstance(source, (Source, DataSource)):
            opened.close()


def _asked(opened: Source, request: BarRequest, target: Timeframe, ask: Callable[[BarRequest], Got]) -> tuple[BarRequest, Got]:
    """What ``ask`` gets for what bars of ``target`` are made of, of a shorter timeframe where the source lacks the one that
    is asked for; and what was asked.
    """
    wanted = request if request.timeframe == target else _parts_of(request, target)
    try:
        return wanted, ask(wanted)
    except UnsupportedTimeframe as error:
        if (shorter := divisor(opened, request.timeframe)) is None:
            raise
        parts = _parts_of(request.but(timeframe=shorter), target)
        try:
            return parts, ask(parts)
        except UnsupportedTimeframe:  # it is another symbol's
            raise error from None


def _raw(
    opened: Source, request: BarRequest, catalog: Catalog | None, progress: Callable[[int], None] | None
) -> tuple[Bars, int]:
    """The bars as the source sent them, and the time by which they are to be judged."""
    if catalog is not None:
        bars = catalog.bars(opened, request, progress)
        # What a catalog holds was over by the source's clock when it came, whatever this machine's says.
        fetched = parse_time(bars.provenance.get("fetched_at", now_ms()), unit="ms")
        now = max(fetched, request.timeframe.next(int(bars.time[-1]))) if len(bars) else fetched
        return bars.but(provenance=_provenance(opened, bars)), now
    chunks: list[Bars] = []
    for chunk in opened.bars(request):
        chunks.append(chunk)
        if progress is not None:
            progress(len(chunk))
    bars = Bars.concat(chunks) if chunks else Bars.empty(request.symbol, request.timeframe, source=opened.name)
    return bars.but(provenance=_provenance(opened, bars)), opened.now()


def known_timeframes(opened: Source) -> list[Timeframe]:
    """The timeframes that the source has; none where it can't say."""
    if not opened.offers("list_timeframes"):
        return []
    try:
        return [Timeframe(text) for text in opened.timeframes()]
    except NotSupported:
        return []


def divisor(opened: Source, target: Timeframe) -> Timeframe | None:
    """The longest timeframe that the source has of those that ``target`` is made of."""
    parts = (frame for frame in known_timeframes(opened) if frame != target and frame.divides(target))
    return max(parts, key=attrgetter("shortest"), default=None)


def _parts_of(request: BarRequest, target: Timeframe) -> BarRequest:
    """The request for everything that the bars of ``target`` in its range are made of."""
    whole = request.but(timeframe=target)  # its bounds are on the longer grid
    if request.limit is None:
        return whole.but(timeframe=request.timeframe)
    longest = max(target.amount * 31 * 86_400_000, 1) if target.step is None else target.step
    parts = -(-longest // request.timeframe.shortest)
    return whole.but(timeframe=request.timeframe, limit=(request.limit + 1) * parts)


def _whole(bars: Bars, request: BarRequest, now: int) -> Bars:
    """Resampled bars without one that is still open, and no more than the limit."""
    closed = bars.timeframe.next(bars.time) <= now
    report = bars.report
    bars = bars if closed.all() else bars[closed]
    if request.limit is not None:
        bars = bars[: request.limit] if request.start is not None else bars[-request.limit :]
    return bars.but(report=report)


def _provenance(opened: Source, bars: Bars) -> dict[str, Any]:
    """Which plugin and version delivered, when, and whatever the bars say; what they say of an earlier load hides nothing."""
    known = opened.provenance | {"loaded_at": isoformat(now_ms())}
    return {**known, **bars.provenance, **known}
