"""A database: its engine, made when it is first needed, and connections that are given back whatever happens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import sqlalchemy as sa
from sqlalchemy.engine import URL, make_url
from sqlalchemy.pool import NullPool

from cracktrader.errors import InvalidOption
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.dialects import Dialect, dialect_of
from cracktrader_sql.failures import told

__all__ = ["Database", "address"]


def address(config: SqlConfig) -> URL:
    """Where the database is, with the password; never to be shown."""
    if config.engine is not None:
        url: URL = config.engine.url
        return url
    if config.db_path is not None:
        return URL.create("sqlite", database=str(config.db_path))
    text = config.url.get_secret_value() if config.url is not None else ""
    try:
        url = make_url(text)
    except (sa.exc.ArgumentError, ValueError):
        raise _unreadable() from None
    if url.host and text.count("@") > 1:
        raise _unreadable("more than one @ stands in it, and what follows the first would be taken for the host")
    return url


def _unreadable(why: str = "") -> InvalidOption:
    """Without a word of the url, which may be a part of the password."""
    return InvalidOption(
        f"The url can't be read as the address of a database{f': {why}' if why else ''}.",
        hint="Write 'sqlite:///file.db' or 'postgresql://user:password@host:5432/name'; in user, password and options,"
        " @, :, / and % are written as %40, %3A, %2F and %25.",
        option="url",
    )


class Database:
    """What a source reads: a pool of connections, or the user's own engine. Threads may share it."""

    def __init__(self, config: SqlConfig) -> None:
        self.config = config
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None

    @cached_property
    def url(self) -> URL:
        """Where it is, with the password."""
        url = address(self.config)
        return url if self.config.engine is not None else self.dialect.with_driver(url)

    @cached_property
    def dialect(self) -> Dialect:
        """What is special about it."""
        return dialect_of(address(self.config).get_backend_name())

    @property
    def label(self) -> str:
        """What messages call it: no user, no password, no options."""
        url = address(self.config)
        host = f" at {url.host}{f':{url.port}' if url.port else ''}" if url.host else ""
        return f"The {url.get_backend_name()} database {url.database or ''!r}{host}"

    @property
    def hidden(self) -> str | None:
        """The password, to be kept out of messages."""
        password = self.url.password
        return str(password) if password else None

    @property
    def engine(self) -> sa.Engine:
        """The engine; the user's, or one that is made now."""
        if self.config.engine is not None:
            engine: sa.Engine = self.config.engine
            return engine
        with self._lock:
            if self._engine is None:
                self._engine = self._make()
            return self._engine

    def _make(self) -> sa.Engine:
        arguments = self.dialect.connect_args(self.url, self.config)
        with told(self.label, self.hidden):
            if self.url.get_backend_name() in ("sqlite", "duckdb"):  # opening a file costs nothing, keeping it open may
                return sa.create_engine(self.url, connect_args=arguments, poolclass=NullPool, hide_parameters=True)
            return sa.create_engine(
                self.url, connect_args=arguments, pool_pre_ping=True, max_overflow=-1, pool_recycle=1800, hide_parameters=True
            )

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A connection for reading; what fails on it is told in our words, and it is given back."""
        with (
            told(self.label, self.hidden),
            self.engine.connect() as connection,
            self.dialect.reading(connection, self.config),
        ):
            yield connection

    def close(self) -> None:
        """Give back all connections; a user's engine stays as it is."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.dispose()
