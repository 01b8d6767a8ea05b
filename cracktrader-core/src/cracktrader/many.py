"""load_many(): many loads side by side, in threads, in processes or on a cluster."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption
from cracktrader.loading import load
from cracktrader.plugins.source import DataSource, Source
from cracktrader.progress import Watch, display
from cracktrader.running import PER_HOST, Job, Tick, run, stays_here

__all__ = ["Outcome", "Outcomes", "job_of", "load_many", "raise_all"]

#: The options that say where a source asks, whatever the source: loads that agree in it share a limit.
_PLACES: Final = ("exchange", "url", "path")
_HOST: Final = re.compile(r"[A-Za-z][\w+.-]*://(?:[^/?#]*@)?([^/?#]*)")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: its bars, or its error. ``request`` is what was asked for."""

    label: str
    request: Mapping[str, Any] = field(repr=False)  # may hold secrets
    bars: Bars | None = None
    error: Exception | None = None

    @property
    def ok(self) -> bool:
        """Whether there are bars."""
        return self.error is None

    def unwrap(self) -> Bars:
        """The bars; raises the error where there is one."""
        if self.bars is None:
            raise self.error or AssertionError(self)
        return self.bars


class Outcomes(list[Outcome]):
    """What became of many requests, in the order in which they were given."""

    @property
    def failed(self) -> list[Outcome]:
        """Those that have an error."""
        return [outcome for outcome in self if not outcome.ok]

    def unwrap(self) -> list[Bars]:
        """The bars of all; raises the first error where there is one, with a note about every other."""
        raise_all([(outcome.label, outcome.error) for outcome in self if outcome.error is not None], len(self))
        return [outcome.unwrap() for outcome in self]


def load_many(
    requests: Iterable[Mapping[str, Any]],
    *,
    max_workers: int | None = None,
    per_host: int = PER_HOST,
    executor: Executor | None = None,
    progress: bool | Watch | None = None,
    **shared: Any,
) -> Outcomes:
    """Load many series side by side; one that fails does not lose the others.

    ::

        outcomes = ct.load_many(
            [{"symbol": "BTC/USDT"}, {"symbol": "ETH/USDT"}],
            source="ccxt", exchange="binance", timeframe="1h", start="2024-01-01",
        )
        btc, eth = outcomes.unwrap()

    A request is a mapping of the arguments of :func:`cracktrader.load`, ``source`` among them; ``shared`` are those
    that all have in common. There are 16 threads unless ``max_workers`` says otherwise; of one exchange, server or
    file (whatever ``exchange``, ``url`` or ``path`` say, else of one source) no more than ``per_host`` are loaded at
    once. ``executor`` is any :class:`concurrent.futures.Executor` to load with instead: a pool of processes, or
    ``dask.distributed``'s ``Client.get_executor()``. It stays open. Requests are pickled for it, and sources made
    anew on the worker; an open source can only be shared by threads.

    ``progress=True`` shows series, rows a second and the time left on standard error; a function is told the same,
    as a :class:`~cracktrader.progress.Progress`, and what it raises ends everything. Ctrl-C cancels what has
    not begun, ends what runs at its next chunk, and goes on to the caller; a cluster ends the series that it has begun.

    Raises :class:`InvalidOption` before anything is loaded where a request can't be one.
    """
    jobs = [
        job_of({**shared, **_mapping(request, f"Request {number}")}, f"Request {number}", executor)
        for number, request in enumerate(requests, 1)
    ]
    with display(progress) as watch:
        run(_load, jobs, executor=executor, max_workers=max_workers, per_host=per_host, watch=watch)
    return Outcomes(Outcome(job.label, job.asked, job.result, job.error) for job in jobs)


def job_of(asked: Mapping[str, Any], where: str, executor: Executor | None) -> Job:
    """The job that a request is; raises :class:`InvalidOption`, about ``where`` it stands, where it can't be one."""
    source = asked.get("source")
    if source is None:
        raise InvalidOption(
            f"{where} does not say which source to load from.",
            hint="Add source=, the name of one, to the request, or to all with load_many(…, source=…).",
        )
    if not stays_here(executor) and isinstance(source, (Source, DataSource)):
        raise InvalidOption(
            f"{where} has an open source, which can't be sent to another process: {source!r}.",
            hint="Give the source's name and its options, so that it is made anew there, or load with threads.",
        )
    name = source if isinstance(source, str) else getattr(source, "name", None) or getattr(source, "__name__", repr(source))
    label = " ".join(str(part) for part in (name, asked.get("symbol"), asked.get("timeframe")) if part)
    return Job(label, asked, (name, _place(asked)))


def raise_all(failures: Iterable[tuple[str, Exception]], total: int) -> None:
    """Raise the first of some errors, if any, with a note that tells all of them by name."""
    errors = list(failures)
    if not errors:
        return
    (label, first), *others = errors
    note = f"{len(errors)} of {total} series failed. This is {label}; the others are:" if others else f"This is {label}."
    note = "\n".join([note, *(f"- {other}: {type(error).__name__}: {_first_line(error)}" for other, error in others)])
    if note not in getattr(first, "__notes__", ()):
        first.add_note(note)
    raise first


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


def _load(asked: Mapping[str, Any], tick: Tick) -> Bars:
    options = dict(asked)
    return load(options.pop("source"), progress=tick, **options)


def _mapping(request: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(request, Mapping):
        raise InvalidOption(
            f"{where} is no mapping but {type(request).__name__}.",
            hint='Write each as {"source": "csv", "path": "btc.csv", "symbol": "BTC/USDT", "timeframe": "1h"}.',
        )
    return request


def _place(asked: Mapping[str, Any]) -> Hashable:
    """Where a request is answered: an exchange, a host, or a file."""
    config = getattr(asked["source"], "config", None)
    for option in _PLACES:
        value = asked.get(option, getattr(config, option, None))
        if value is not None:
            url = _HOST.match(str(value))
            return url[1] if url else str(value)
    return None
