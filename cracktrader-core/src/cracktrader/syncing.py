"""sync(): a declared set of series, brought up to date in the catalog."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final

from cracktrader.declarations import Declaration, Table, read_tables
from cracktrader.errors import CracktraderError, UnknownSymbol
from cracktrader.loading import keep
from cracktrader.many import job_of
from cracktrader.plugins.registry import Registry, default_registry
from cracktrader.plugins.source import Source
from cracktrader.progress import Watch, display
from cracktrader.running import PER_HOST, Job, Tick, run, stays_here

__all__ = ["Synced", "sync"]

#: What a table may say besides the options of its source.
_KEYS: Final = frozenset({"source", "symbol", "symbols", "timeframe", "timeframes", "start", "end", "catalog"})


@dataclass(frozen=True, slots=True)
class Synced:
    """One series after a sync: how many rows were ``fetched`` now, how many the catalog holds (``held``), or the ``error``."""

    table: str
    source: str
    symbol: str
    timeframe: str
    fetched: int = 0
    held: int = 0
    error: Exception | None = None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        told = {name: getattr(self, name) for name in ("table", "source", "symbol", "timeframe", "fetched", "held")}
        error = self.error
        code = getattr(error, "code", None)
        return {**told, "error": None if error is None else str(error), "code": code if isinstance(code, str) else None}


def sync(
    declaration: Declaration,
    /,
    *,
    max_workers: int | None = None,
    per_host: int = PER_HOST,
    executor: Executor | None = None,
    progress: bool | Watch | None = None,
    registry: Registry | None = None,
) -> list[Synced]:
    """Bring the declared series up to date in the catalog, side by side; one that fails stops no other.

    ::

        [defaults]
        source = "ccxt"
        start = 2023-01-01
        catalog = "bars"                    # a folder beside this file, or a URL; the usual one if left out

        [series.binance]
        exchange = "binance"
        symbols = ["BTC/EUR", "*/USDT"]     # patterns are looked up in the source's own list
        timeframes = ["1m", "1h"]

    Only what the catalog lacks is fetched, and it is kept as it comes: after an interruption, the next run goes on there.
    Arguments are those of :func:`cracktrader.load_many`.

    Raises :class:`InvalidOption` for a declaration that is wrong, with its place, before anything is fetched.
    """
    chosen = registry or default_registry()
    tables, folder = read_tables(declaration, "series")
    plans = [_plan(table, chosen).beside(folder, table.options_of_source(chosen)) for table in tables]
    with ExitStack() as stack:
        planned = [(table, each) for table in plans for each in _series(table, chosen, executor, stack)]
        jobs = [each for _, each in planned if isinstance(each, Job)]
        with display(progress) as watch:
            run(
                _bring,
                jobs,
                executor=executor,
                max_workers=max_workers,
                per_host=per_host,
                watch=watch,
                rows=lambda done: done[0],
            )
    return [_synced(table, each) if isinstance(each, Job) else each for table, each in planned]


def _plan(table: Table, registry: Registry) -> Table:
    """The table, once it is found to be sound."""
    options = table.options_of_source(registry)
    for key in ("limit", "compression", "validation"):
        if key in table.settings:
            raise table.wrong(f"has {key!r}, which a sync does not take.", "It keeps what the source sends, all of it, as it is.")
    if options is not None:
        table.refuse_unknown({*options, *_KEYS})
    if table.settings.get("catalog") is False:
        raise table.wrong("has catalog = false, but a sync is for the catalog.", "Leave it out for the usual one.")
    for text in _symbols(table):
        if not isinstance(text, str):
            raise table.wrong(f"has {text!r} among its symbols, which is no text.", 'Write symbols = ["BTC/USDT", "*/EUR"].')
    table.timeframes()
    return table


def _series(table: Table, registry: Registry, executor: Executor | None, stack: ExitStack) -> Iterator[Job | Synced]:
    """What there is to load for a table, and what can't be loaded because the source does not know of it."""
    settings = table.settings
    options = {key: value for key, value in settings.items() if key not in _KEYS}
    shared = {"catalog": True} | {key: settings[key] for key in ("start", "end", "catalog") if key in settings}
    try:
        opened = registry.source(settings["source"], **options)
    except CracktraderError as error:
        yield _failed(table, ", ".join(_symbols(table)), error)
        return
    if opened is not settings["source"]:
        stack.callback(opened.close)
    asked = {"source": opened} if stays_here(executor) else {"source": settings["source"], **options}
    symbols: dict[str, None] = {}
    for text in _symbols(table):
        try:
            symbols |= dict.fromkeys(_matching(text, opened))
        except CracktraderError as error:
            yield _failed(table, text, error)
    for symbol in symbols:
        for timeframe in table.timeframes():
            yield job_of({**asked, **shared, "symbol": symbol, "timeframe": str(timeframe)}, table.where, executor)


def _failed(table: Table, symbol: str, error: Exception) -> Synced:
    return Synced(table.name, _name(table.settings["source"]), symbol, ", ".join(table.timeframes()), error=error)


def _symbols(table: Table) -> list[str]:
    told = table.settings.get("symbols", table.settings.get("symbol", ""))
    return [told] if isinstance(told, str) else list(told)


def _matching(text: str, opened: Source) -> list[str]:
    """The symbols that a symbol or pattern means."""
    if "*" not in text and "?" not in text:
        return [text]
    listed = opened.symbols()
    found = [symbol for symbol in listed if fnmatch.fnmatchcase(symbol, text.replace("[", "[[]"))]
    if not found:
        raise UnknownSymbol(
            f"None of the {len(listed)} symbols of the source {opened.name!r} looks like {text!r}.",
            hint=f"There are, for instance: {', '.join(listed[:5])}." if listed else "It lists none at all.",
            symbol=text,
        )
    return found


def _bring(asked: Mapping[str, Any], tick: Tick) -> tuple[int, int]:
    """Bring a series of the catalog up to date; how many rows were fetched, and how many there are."""
    fetched = 0

    def count(rows: int) -> None:
        nonlocal fetched
        tick(rows)
        fetched += rows

    options = dict(asked)
    ledger = keep(options.pop("source"), progress=count, **options)
    return fetched, ledger.rows


def _synced(table: Table, job: Job) -> Synced:
    fetched, held = job.result or (job.rows, 0)
    return Synced(
        table.name, _name(table.settings["source"]), job.asked["symbol"], job.asked["timeframe"], fetched, held, job.error
    )


def _name(source: Any) -> str:
    return source if isinstance(source, str) else str(getattr(source, "name", None) or getattr(source, "__name__", "source"))
