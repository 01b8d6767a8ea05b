"""A server on 127.0.0.1 in a thread with its own event loop: what the simulator and the replay are."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from aiohttp import web

from cracktrader.errors import CracktraderError, InvalidOption

__all__ = ["Loopback"]

T = TypeVar("T")


class Loopback:
    """Starts and stops with ``with``, or :meth:`start` and :meth:`close`; ``port`` 0 takes a free one."""

    def __init__(self, port: int = 0) -> None:
        self._wanted_port = port
        self._port = 0
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: web.ServerRunner | None = None

    # ── for those who derive from it; all of this runs on its loop ───────────────────────────────────

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request."""
        return web.Response(status=404, text=f"There is nothing at {request.path}.")

    async def begin(self) -> None:
        """Before the first request."""

    async def end(self) -> None:
        """After the last one: let connections and tasks go."""

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> Self:
        """Begin to answer; raises :class:`~cracktrader.CracktraderError` where the port is taken."""
        if self._thread is not None:
            raise InvalidOption("It runs already.", hint="Make another, or close this one first.")
        ready = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            with asyncio.Runner() as runner:
                self._loop = runner.get_loop()
                try:
                    runner.run(self._open())
                except BaseException as error:  # told to whoever waits for it
                    failure.append(error)
                    return
                finally:
                    ready.set()
                self._loop.run_forever()
                runner.run(self._shut())

        self._thread = threading.Thread(target=run, name="cracktrader-loopback", daemon=True)
        self._thread.start()
        ready.wait()
        if failure:
            self._thread.join()
            self._thread = self._loop = None
            raise CracktraderError(f"Nothing can listen on port {self._wanted_port}: {failure[0]}.",
                                   hint="Choose another port, or 0 for any that is free.") from failure[0]  # fmt: skip
        return self

    def close(self) -> None:
        """Stop: afterwards there is no thread, task or socket of it. May be called again."""
        if self._thread is None or self._loop is None:
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._thread = self._loop = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether it was started and not closed."""
        return self._thread is not None

    @property
    def port(self) -> int:
        """Where it listens; kept from the first start on."""
        return self._port

    @property
    def url(self) -> str:
        """``http://127.0.0.1:PORT``."""
        return f"http://127.0.0.1:{self._port}"

    def call(self, work: Coroutine[Any, Any, T], *, wait: bool = True, patience: float = 60.0) -> T | None:
        """Have work done on the loop; its outcome, or None where it doesn't run or isn't waited for."""
        if self._loop is None or not self._loop.is_running():
            work.close()
            return None
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(patience) if wait and threading.current_thread() is not self._thread else None

    async def _open(self) -> None:
        await self.begin()
        try:
            await self.listen()
        except BaseException:
            await self.end()
            raise

    async def _shut(self) -> None:
        await self.end()
        await self.unlisten()

    async def listen(self) -> None:
        """Take requests, on the same port as before."""
        if self._runner is not None:
            return
        runner = web.ServerRunner(web.Server(self.handle, access_log=None), shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port or self._wanted_port, reuse_address=True, backlog=512)
        try:
            await site.start()
        except BaseException:
            await runner.cleanup()
            raise
        self._runner, self._port = runner, runner.addresses[0][1]

    async def unlisten(self) -> None:
        """Take none any more; those under way are broken off."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
