"""The hub: one background thread with one event loop, in which every stream of the process runs.

It starts with the first job and ends with the last one's :meth:`Job.stop`, or when Python exits. After a fork the child has
none, and starts its own.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, Final, TypeVar

__all__ = ["HUB", "Hub", "Job", "in_thread"]

#: How long a job may take to clean up after itself, in seconds; what hangs for longer is left behind.
PATIENCE: Final = 5.0

Answer = TypeVar("Answer")


class Job:
    """A coroutine that runs in the hub; :meth:`stop` cancels it and waits until it has cleaned up."""

    def __init__(self, hub: Hub, name: str) -> None:
        self._hub = hub
        self.name = name
        self.task: asyncio.Task[Any] | None = None
        self.done: Future[Any] = Future()

    def stop(self) -> None:
        """End the job, and the hub with the last one; harmless the second time, and from within the hub."""
        self._hub._stop(self)

    def call(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Run a function in the loop soon; not at all where the hub has ended."""
        self._hub._call(function, *arguments)


class Hub:
    """One thread with one event loop, started when it is needed."""

    def __init__(self) -> None:
        self._forget()

    def _forget(self) -> None:
        """As new; after a fork, where the thread is not in the child."""
        self._lock = threading.RLock()
        self._jobs: set[Job] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether the thread is there."""
        return self._thread is not None

    def run(self, make: Callable[[Job], Coroutine[Any, Any, Any]], name: str) -> Job:
        """Start a coroutine as a job; the hub stays until it is stopped, also when it has ended by itself."""
        job = Job(self, name)
        with self._lock:
            loop = self._started()
            self._jobs.add(job)
            loop.call_soon_threadsafe(self._begin, job, make)
        return job

    def _begin(self, job: Job, make: Callable[[Job], Coroutine[Any, Any, Any]]) -> None:
        if job not in self._jobs:  # stopped before it began
            job.done.cancel()
            return
        job.task = asyncio.get_running_loop().create_task(make(job), name=f"cracktrader {job.name}")
        job.task.add_done_callback(lambda task: _tell(task, job.done))

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_turn, args=(self._loop,), name="cracktrader-hub", daemon=True)
            self._thread.start()
        return self._loop

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(function, *arguments)

    def _stop(self, job: Job) -> None:
        within = threading.current_thread() is self._thread
        with self._lock:
            if job not in self._jobs:
                return
            self._jobs.discard(job)
            if self._loop is not None:
                self._loop.call_soon_threadsafe(_cancel, job)
        if within:  # nobody waits for itself: the thread ends when the job has
            if job.task is not None:
                job.task.add_done_callback(lambda _: self._leave())
            return
        with contextlib.suppress(BaseException):  # what the job raised was told where it happened
            job.done.result(PATIENCE)
        with self._lock:
            if not self._jobs:
                self._end()

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(PATIENCE)

    def _leave(self) -> None:
        """End from within."""
        with self._lock:
            if not self._jobs and self._loop is not None:
                self._loop.stop()
                self._loop = self._thread = None

    def shutdown(self) -> None:
        """Stop every job; when Python exits."""
        for job in list(self._jobs):
            job.stop()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left, timeout=PATIENCE))
        loop.run_until_complete(loop.shutdown_asyncgens())
    finally:
        asyncio.set_event_loop(None)
        loop.close()


def _cancel(job: Job) -> None:
    if job.task is None:
        job.done.cancel()
    else:
        job.task.cancel()


def _tell(task: asyncio.Task[Any], done: Future[Any]) -> None:
    if task.cancelled():
        done.cancel()
    elif (error := task.exception()) is not None:
        done.set_exception(error)
    else:
        done.set_result(task.result())


async def in_thread(function: Callable[[], Answer]) -> Answer:
    """What a function that blocks returns; it runs in a thread of its own, which keeps nobody from exiting if it hangs."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[Answer] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if answer.done():
            return
        if error is not None:
            answer.set_exception(error)
        else:
            answer.set_result(result)

    def work() -> None:
        result, error = None, None
        try:
            result = function()
        except BaseException as raised:  # it belongs to whoever waits
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=work, name="cracktrader-fetch", daemon=True).start()
    return await answer


#: The process's one hub.
HUB: Final = Hub()
atexit.register(HUB.shutdown)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=HUB._forget)
