"""Which data a configuration reads, without saying who may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from cracktrader.plugins.identity import identity_of as plain_identity_of
from cracktrader_sql.config import SqlConfig
from cracktrader_sql.database import address

__all__ = ["identity_of"]

#: Options that only say how to read.
_HOW: Final = {"aggregate", "fast", "chunk_size", "connect_timeout", "timeout", "poll_seconds", "settle_seconds", "notify"}
_WHERE: Final = {"url", "db_path", "engine"}


def identity_of(config: SqlConfig) -> Mapping[str, Any]:
    """The server, the database and what is read of it; neither user, password nor other options of the connection.

    A ``Select`` is told by its text and parameters. Raises :class:`~cracktrader.errors.InvalidOption`.
    """
    identity: dict[str, Any] = {"database": _place(config)}
    query = config.query
    if query is not None and not isinstance(query, str):
        compiled = query.compile()
        identity |= {"query": str(compiled), "parameters": {name: str(value) for name, value in compiled.params.items()}}
    hidden = dict.fromkeys(_WHERE | ({"query"} if "parameters" in identity else set()))
    rest = plain_identity_of(config.model_copy(update=hidden))
    return identity | {name: value for name, value in rest.items() if name not in _HOW | _WHERE}


def _place(config: SqlConfig) -> str:
    url = address(config)
    database = url.database or ""
    if url.get_backend_name() in ("sqlite", "duckdb") and database not in ("", ":memory:"):
        database = str(Path(database).resolve())  # one file is one, from wherever it is looked at
    host = f"{url.host or ''}{f':{url.port}' if url.port else ''}"
    return f"{url.get_backend_name()}://{host}/{database}"
