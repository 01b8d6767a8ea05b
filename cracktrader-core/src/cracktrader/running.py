"""Running many jobs side by side on any executor: limits, progress, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import pickle
import threading
import time
import traceback
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeAlias

from cracktrader.errors import CracktraderError, InvalidOption, WorkerLost
from cracktrader.progress import Progress, Watch

__all__ = ["PER_HOST", "Job", "Tick", "Work", "run", "stays_here"]

#: How many threads there are, and how many jobs an executor of the caller's is given at once, unless told otherwise.
_THREADS: Final = 16
_SUBMITTED: Final = 256
#: How many jobs ask the same host at once, unless told otherwise.
PER_HOST: Final = 8
#: Seconds between two looks at progress, and the longest that Ctrl-C waits on systems where it can't interrupt waiting.
_GLANCE: Final = 0.2

#: Told the rows of each chunk; what it raises ends the load.
Tick: TypeAlias = Callable[[int], None]
#: What a job does: ``work(asked, tick)``, a function of a module, so that it pickles.
Work: TypeAlias = Callable[[Mapping[str, Any], Tick], Any]


@dataclass(slots=True, eq=False)
class Job:
    """One thing to do: what is asked, whom it burdens, how many rows came so far, and what became of it."""

    label: str
    asked: Mapping[str, Any] = field(repr=False)  # may hold secrets
    host: Hashable
    rows: int = 0
    result: Any = None
    error: Exception | None = None


class _Stopped(Exception):  # noqa: N818  # nobody sees it
    """Ends a load that nobody waits for any more."""


def stays_here(executor: Executor | None) -> bool:
    """Whether the executor runs in threads of this process, which share its objects."""
    return executor is None or isinstance(executor, ThreadPoolExecutor)


def run(
    work: Work,
    jobs: Sequence[Job],
    *,
    executor: Executor | None = None,
    max_workers: int | None = None,
    per_host: int = PER_HOST,
    watch: Watch | None = None,
    rows: Callable[[Any], int] = len,
) -> None:
    """Do all jobs and note in each what became of it; an error of one is no error of the others.

    No more than ``max_workers`` run at once, ``per_host`` of one host. ``rows`` counts the rows of a result.
    An executor that was passed stays open. Whatever interrupts this, Ctrl-C or an error of ``watch``, goes on to
    the caller once what had not begun is cancelled and what had begun has ended, at its next chunk. Only a cluster
    takes everything for cancelled at once, and goes on to the end of the series that it has begun.
    """
    for name, number in (("max_workers", max_workers), ("per_host", per_host)):
        if number is not None and (isinstance(number, bool) or not isinstance(number, int) or number < 1):
            raise InvalidOption(f"{name}={number!r} is not a number of loads at once.", hint="Give a whole number, at least 1.")
    with contextlib.ExitStack() as stack:
        at_once = max_workers or (_THREADS if executor is None else _SUBMITTED)
        pool = executor or stack.enter_context(ThreadPoolExecutor(min(at_once, len(jobs) or 1), "cracktrader-load"))
        here = stays_here(pool)
        stop = threading.Event() if here else _StopFile(Path(stack.enter_context(TemporaryDirectory(prefix="cracktrader-"))))
        line = _Line(jobs, at_once, per_host)
        board = _Board(jobs, watch)
        finished: SimpleQueue[Future[Any]] = SimpleQueue()
        running: dict[Future[Any], Job] = {}
        try:
            while line or running:
                for job in line.admit():
                    future = _submit(pool, work, job, _Tick(job if here else None, stop))
                    running[future] = job
                    future.add_done_callback(finished.put)
                with contextlib.suppress(Empty):
                    future = finished.get(timeout=_GLANCE)
                    job = running.pop(future)
                    _settle(job, future, rows, here=here)
                    line.leave(job)
                    board.done(job)
                board.show(running.values())
        except BaseException:
            stop.set()
            wait([future for future in running if not future.cancel()])
            raise


@dataclass(frozen=True, slots=True)
class _StopFile:
    """What :class:`threading.Event` is to threads, to the processes of one machine: it is set when the file exists."""

    folder: Path

    def set(self) -> None:
        (self.folder / "stop").touch()

    def is_set(self) -> bool:
        return (self.folder / "stop").exists()


@dataclass(frozen=True, slots=True)
class _Tick:
    """Counts the rows of a job, where it is in this process, and ends it when it should stop."""

    job: Job | None
    stop: threading.Event | _StopFile

    def __call__(self, rows: int) -> None:
        if self.stop.is_set():
            raise _Stopped
        if self.job is not None:
            self.job.rows += rows


def _do(work: Work, asked: Mapping[str, Any], tick: Tick) -> Any:
    tick(0)  # it may have been stopped while it waited
    return work(asked, tick)


def _submit(pool: Executor, work: Work, job: Job, tick: Tick) -> Future[Any]:
    """The job's future; one that has failed already where the executor does not take it."""
    try:
        return pool.submit(_do, work, job.asked, tick)
    except Exception as error:  # it is shut down or broken, or the job does not pickle
        failed: Future[Any] = Future()
        failed.set_exception(error)
        return failed


def _settle(job: Job, future: Future[Any], rows: Callable[[Any], int], *, here: bool) -> None:
    """Note what became of a job; KeyboardInterrupt, which processes get as well, goes on to the caller."""
    try:
        job.result = future.result()
        job.rows = rows(job.result)
    except CracktraderError as error:
        job.error = error
    except (Exception, SystemExit) as error:
        job.error = _told(job, error, here=here)
    _forget_frames(job.error)


def _forget_frames(error: BaseException | None) -> None:
    """Let go of what the functions that failed had in hand: chunks of data, for as long as the error is kept."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__


def _told(job: Job, error: BaseException, *, here: bool) -> Exception:
    """What went wrong between the job and its worker, in our words; anything else as it is."""
    if isinstance(error, (BrokenExecutor, CancelledError, SystemExit)) or type(error).__module__.startswith("distributed."):
        lost = WorkerLost(
            f"The worker that should load {job.label} was lost: {type(error).__name__}: {error}".rstrip(": "),
            hint="Was it killed, or out of memory? A pool of processes that lost one can't be used again: make a new one.",
        )
        lost.__cause__ = error
        return lost
    if not here and (option := _unpicklable(job.asked)):
        refused = InvalidOption(
            f"{job.label} can't be sent to another process: {option}={type(job.asked[option]).__name__} does not pickle.",
            hint="Give what can be made anew there, such as a name or a path, or load with threads.",
            option=option,
        )
        refused.__cause__ = error
        return refused
    return error if isinstance(error, Exception) else WorkerLost(str(error))


def _unpicklable(asked: Mapping[str, Any]) -> str:
    for option, value in asked.items():
        try:
            pickle.dumps(value)
        except Exception:
            return option
    return ""


class _Line:
    """Jobs that wait, in order; those of a host that is busy let others pass."""

    def __init__(self, jobs: Sequence[Job], at_once: int, per_host: int) -> None:
        self._next = deque(jobs)
        self._held: defaultdict[Hashable, deque[Job]] = defaultdict(deque)
        self._burden: Counter[Hashable] = Counter()
        self._free = at_once
        self._per_host = per_host

    def __bool__(self) -> bool:
        return bool(self._next)  # one that is held has a running one before it

    def admit(self) -> Iterator[Job]:
        """The jobs that may begin now."""
        while self._next and self._free:
            job = self._next.popleft()
            if self._burden[job.host] < self._per_host:
                self._burden[job.host] += 1
                self._free -= 1
                yield job
            else:
                self._held[job.host].append(job)

    def leave(self, job: Job) -> None:
        """A job is done: the next one of its host may begin."""
        self._free += 1
        self._burden[job.host] -= 1
        if self._held[job.host]:
            self._next.appendleft(self._held[job.host].popleft())


class _Board:
    """Counts what is done, for whoever watches."""

    def __init__(self, jobs: Sequence[Job], watch: Watch | None) -> None:
        self._total, self._done, self._failed, self._rows = len(jobs), 0, 0, 0
        self._began = time.monotonic()
        self._watch = watch

    def done(self, job: Job) -> None:
        self._done += 1
        self._failed += job.error is not None
        self._rows += job.rows

    def show(self, running: Iterable[Job]) -> None:
        if self._watch is not None:
            rows = self._rows + sum(job.rows for job in running)
            self._watch(Progress(self._done, self._total, self._failed, rows, time.monotonic() - self._began))
