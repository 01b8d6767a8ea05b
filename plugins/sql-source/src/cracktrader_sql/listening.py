"""When to ask the database again: after a while, or as soon as PostgreSQL says that something was written."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

from cracktrader.errors import InvalidOption, PluginDependencyMissing
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import Database

__all__ = ["Bell"]

_log = logging.getLogger(__name__)


class Bell:
    """Rings when there may be something new. While nobody listens for notifications, that is every ``poll_seconds``."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._rung = asyncio.Event()
        #: Whether a connection hears of what is written.
        self.listens = False

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, database: Database, config: SqlConfig) -> AsyncIterator[Bell]:
        """The bell of a configuration; what listens for it ends with the block."""
        bell = cls(config.poll_seconds)
        if config.notify is None:
            yield bell
            return
        _refuse_others(database)
        listener = asyncio.create_task(bell._listen(database, config.notify))
        try:
            yield bell
        finally:
            listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await listener

    async def wait(self, latest: float) -> None:
        """Until the bell rings; where it hears of news, no longer than ``latest`` seconds."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._rung.wait(), latest if self.listens else self._seconds)
        self._rung.clear()

    async def _listen(self, database: Database, channel: str) -> None:
        """Listen for ever, by one connection after the other."""
        import psycopg
        from psycopg import sql

        news = True  # to be told of once, not every time
        while True:
            try:
                async with await psycopg.AsyncConnection.connect(**_arguments(database), autocommit=True) as connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
                    self.listens = news = True
                    self._rung.set()  # for what was written before
                    async for _ in connection.notifies():
                        self._rung.set()
            except (psycopg.Error, OSError) as error:
                said = str(error).replace(database.hidden or "\0", "**********")
                if news:
                    _log.warning("%s: nobody listens on %r, asking every %g s: %s", database.label, channel, self._seconds, said)
                news = False
            finally:
                self.listens = False
                self._rung.set()
            await asyncio.sleep(self._seconds)


def _refuse_others(database: Database) -> None:
    if database.url.get_backend_name() != "postgresql":
        raise InvalidOption(
            f"{database.label} sends no notifications.",
            hint="The option `notify` is for PostgreSQL; leave it out, and the database is asked every poll_seconds.",
            option="notify",
        )
    try:
        import psycopg  # noqa: F401
    except ModuleNotFoundError:
        raise PluginDependencyMissing(
            "To listen for notifications needs psycopg 3, which is not installed.",
            hint='Run: pip install "cracktrader-sql[postgresql]"',
            source="sql",
        ) from None


def _arguments(database: Database) -> dict[str, Any]:
    """How psycopg connects to where the URL leads, by whichever driver that reads."""
    url = database.url
    known = url.translate_connect_args(username="user", database="dbname")
    return {**known, "connect_timeout": max(2, round(database.config.connect_timeout)), **url.query}
