"""Ending a request that waits for its answer in another thread: its connection is shut down under it."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from typing import Any

import requests.adapters
import urllib3.connection
import urllib3.connectionpool

from cracktrader_http.retrying import Stopped

__all__ = ["Adapter", "HangUp"]

_here = threading.local()


class HangUp:
    """What ends all that a thread asks of the network within ``with hang_up.heard():``, whenever it is called."""

    def __init__(self) -> None:
        self.stopped = threading.Event()
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def __call__(self) -> None:
        with self._lock:
            self.stopped.set()
            if self._socket is not None:
                with contextlib.suppress(OSError):  # it is closed already
                    self._socket.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def heard(self) -> Iterator[None]:
        """The requests of this thread are those that are ended; they raise :class:`Stopped`, or as broken connections do."""
        _here.hang_up = self
        try:
            yield
        finally:
            _here.hang_up = None

    def waits_for(self, sock: socket.socket | None) -> None:
        """This thread is about to wait for an answer on ``sock``."""
        with self._lock:
            if self.stopped.is_set():
                raise Stopped
            self._socket = sock


def _about_to_wait(sock: socket.socket | None) -> None:
    hang_up: HangUp | None = getattr(_here, "hang_up", None)
    if hang_up is not None:
        hang_up.waits_for(sock)


class _Connection(urllib3.connection.HTTPConnection):
    def getresponse(self) -> Any:
        _about_to_wait(self.sock)
        return super().getresponse()


class _SafeConnection(urllib3.connection.HTTPSConnection):
    def getresponse(self) -> Any:
        _about_to_wait(self.sock)
        return super().getresponse()


class _Pool(urllib3.connectionpool.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SafePool(urllib3.connectionpool.HTTPSConnectionPool):
    ConnectionCls = _SafeConnection


class Adapter(requests.adapters.HTTPAdapter):
    """Connections whose threads can be called away."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        """As requests does it, with our connections."""
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """As requests does it, with our connections."""
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SafePool}
        return manager
