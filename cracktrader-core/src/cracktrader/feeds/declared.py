"""feeds(): feeds declared in TOML or a dict, loaded side by side, by name."""

from __future__ import annotations

import inspect
import warnings
from concurrent.futures import Executor
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.declarations import Declaration, Table, read_tables
from cracktrader.feeds.base import Feed
from cracktrader.feeds.making import FEED_OPTIONS
from cracktrader.loading import load
from cracktrader.many import load_many, raise_all
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.progress import Watch
from cracktrader.request import BarRequest
from cracktrader.running import PER_HOST
from cracktrader.timeframe import Timeframe
from cracktrader.times import now_ms

__all__ = ["feeds"]

_OF_LOAD: Final = {
    name for name, parameter in inspect.signature(load).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY
} - {"registry", "progress"}


def feeds(
    declaration: Declaration,
    /,
    *,
    skip_failed: bool = False,
    max_workers: int | None = None,
    per_host: int = PER_HOST,
    executor: Executor | None = None,
    progress: bool | Watch | None = None,
    registry: Registry | None = None,
) -> dict[str, Feed]:
    """Feeds by name, declared in a TOML file, in a dict of the same shape, or in a list; loaded side by side.

    ::

        [defaults]
        source = "csv"
        start = 2024-01-01

        [feeds.btc]
        path = "btc.csv"                    # relative to this file
        symbol = "BTC/USDT"
        timeframes = ["1h", "4h", "1d"]     # three feeds of one load: btc_1h, btc_4h, btc_1d

        [feeds.eth]
        path = "eth.csv"
        symbol = "ETH/USDT"
        timeframe = "1h"

    A table takes what :func:`cracktrader.feed` takes, ``source`` among it. With ``timeframes``, the finest is loaded
    and the others are made of it; ``timeframe`` beside it names a finer one to load. In a list, each has a ``name``,
    else its symbol is its name. How it is loaded, ``max_workers`` and so on, is as in :func:`cracktrader.load_many`.

    Raises :class:`InvalidOption` for a declaration that is wrong, with its place, before anything is loaded, and the
    error of the first feed that can't be made, with a note that names all others; ``skip_failed=True`` warns and leaves
    them out.
    """
    chosen = registry or default_registry()
    tables, folder = read_tables(declaration, "feeds")
    plans = []
    for table in tables:
        options = table.options_of_source(chosen)
        plans.append(_plan(table.beside(folder, options), options))
    shared = {} if registry is None else {"registry": registry}
    outcomes = load_many([plan.request for plan in plans], max_workers=max_workers, per_host=per_host,
                         executor=executor, progress=progress, **shared)  # fmt: skip
    made: dict[str, Feed] = {}
    failures: list[tuple[str, Exception]] = []
    for plan, outcome in zip(plans, outcomes, strict=True):
        try:
            made |= plan.feeds_of(outcome.unwrap())
        except Exception as error:
            failures.append((plan.name, error))
    if not skip_failed:
        raise_all(failures, len(plans))
    for name, failure in failures:
        warnings.warn(f"The feed {name!r} was left out. {type(failure).__name__}: {failure}", stacklevel=2)
    return made


@dataclass(frozen=True, slots=True)
class _Plan:
    """What one table asks for: one load, and the feeds that are made of it."""

    name: str
    request: dict[str, Any]
    options: dict[str, Any]
    timeframes: dict[str, Timeframe | None]

    def feeds_of(self, bars: Bars) -> dict[str, Feed]:
        """The feeds by name, finest first, as backtrader wants them."""
        made = {}
        for name, timeframe in self.timeframes.items():
            feed = Feed(dataname=self._longer(bars, timeframe), **{"name": name, **self.options})
            feed.bars  # noqa: B018  # no bars at all is an error now, not in the middle of a run
            made[name] = feed
        return made

    def _longer(self, bars: Bars, timeframe: Timeframe | None) -> Bars:
        """Bars of a longer timeframe; none that reaches out of the range, or is not over yet."""
        if timeframe is None or timeframe == bars.timeframe:
            return bars
        asked = BarRequest(bars.symbol, bars.timeframe, self.request.get("start"), self.request.get("end"))
        longer = bars.resample(timeframe)
        end = now_ms() if asked.end is None else min(asked.end, now_ms())
        whole = timeframe.next(longer.time) <= end
        if asked.start is not None:
            whole &= longer.time >= asked.start
        return longer if whole.all() else longer[whole].but(report=longer.report)


def _plan(table: Table, options: dict[str, str] | None) -> _Plan:
    known = {*(options or {}), *_OF_LOAD, "source", "timeframes"}
    own = FEED_OPTIONS - ({"tzinput"} & known)  # better done while reading, where the source can
    if options is not None:
        table.refuse_unknown({*known, *own})
    frames = table.timeframes()
    settings = dict(table.settings)
    of_feed = {key: settings.pop(key) for key in own & set(settings)}
    if settings.pop("timeframes", None) is None:
        return _Plan(table.name, settings, of_feed, {table.name: None})
    if "compression" in settings:
        raise table.wrong("has both timeframes and compression.", "Name the timeframes that you want in timeframes alone.")
    base = Timeframe(settings.setdefault("timeframe", frames[0]))
    for frame in frames:
        if frame != base and not base.divides(frame):
            raise table.wrong(
                f"wants bars of {frame}, which can't be made of {base}.",
                f"{base} is what is loaded, because it is the finest; timeframe = … names another to load, such as a finer one.",
            )
    named: dict[str, Timeframe | None] = {f"{table.name}_{frame}": frame for frame in sorted(frames, key=attrgetter("shortest"))}
    return _Plan(table.name, settings, of_feed, named)
