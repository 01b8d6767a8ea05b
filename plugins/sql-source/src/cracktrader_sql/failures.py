"""What databases raise, in our words: who has to act, and what to do."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import sqlalchemy as sa

from cracktrader.errors import (
    CracktraderError,
    InvalidOption,
    MalformedData,
    NotSupported,
    PermanentSourceError,
    PluginDependencyMissing,
    SourceError,
    SourceNotFound,
    TemporarySourceError,
)

__all__ = ["told"]

_KINDS: Final = ("sqlite", "postgresql", "mysql", "mariadb", "duckdb", "mssql", "oracle")
_AGAIN: Final = "It may work in a moment: try again."
_ACCESS: Final = "Check the user, the password and what they may read."
_MISSING: Final = "Check the spelling, and that the database is the right one."
_DATA: Final = "Repair the rows, or read them through a query that converts them."
_QUERY: Final = "Check the query, and the columns that it and the options name."

#: SQLSTATEs of PostgreSQL by their beginning, and what they mean.
_STATES: Final[dict[str, tuple[type[SourceError | MalformedData], str]]] = {
    "08": (TemporarySourceError, _AGAIN),
    "22": (MalformedData, _DATA),
    "25006": (PermanentSourceError, "cracktrader only reads: a query must be a SELECT."),
    "28": (PermanentSourceError, _ACCESS),
    "3D": (SourceNotFound, _MISSING),
    "3F": (SourceNotFound, _MISSING),
    "40": (TemporarySourceError, _AGAIN),
    "42501": (PermanentSourceError, _ACCESS),
    "42P01": (SourceNotFound, _MISSING),
    "53": (TemporarySourceError, _AGAIN),
    "55P03": (TemporarySourceError, _AGAIN),
    "57014": (
        TemporarySourceError,
        "It took longer than it may: raise `timeout`, or ask for less. An index on symbol and time helps.",
    ),
    "57P": (TemporarySourceError, _AGAIN),
    "58": (TemporarySourceError, _AGAIN),
}
#: Error numbers of MariaDB and MySQL.
_NUMBERS: Final[dict[int, tuple[type[SourceError | MalformedData], str]]] = {
    **dict.fromkeys((1044, 1045, 1142, 1143, 1370, 1698), (PermanentSourceError, _ACCESS)),
    **dict.fromkeys((1049, 1146), (SourceNotFound, _MISSING)),
    **dict.fromkeys(
        (1040, 1053, 1203, 1205, 1213, 1317, 1412, 1927, 2002, 2003, 2006, 2013, 2055), (TemporarySourceError, _AGAIN)
    ),
    1267: (PermanentSourceError, "Texts of two encodings are compared: does the symbol have letters that its column can't hold?"),
    **dict.fromkeys((1969, 3024), _STATES["57014"]),
    **dict.fromkeys((1290, 1792), _STATES["25006"]),
}
#: What SQLite, DuckDB and the drivers themselves say in words only.
_WORDS: Final[tuple[tuple[str, type[SourceError | MalformedData], str], ...]] = (
    (r"invalid input syntax|out of range|division by zero", MalformedData, _DATA),  # as Arrow, it comes without a state
    (r"resolve host|translate host name|name or service not known", TemporarySourceError,
     "The host can't be found: is its name right, and the network up?"),
    (r"readonly database|read.only", PermanentSourceError, _STATES["25006"][1]),
    (r"different configuration", PermanentSourceError, "This process has it open for writing: give that engine, engine=…"),
    (r'authentication failed|password|access denied|role "[^"]*" does not exist', PermanentSourceError, _ACCESS),
    (r"locked|lock on file|busy", TemporarySourceError, "Somebody else is writing to it. " + _AGAIN),
    (r"no such table|does not exist", SourceNotFound, _MISSING),
    (r"unable to open", SourceNotFound, "Does the file exist, and may it be read?"),
    (r"not a database|malformed|not a valid duckdb", MalformedData, "Is it the right file, and whole?"),
    (r"decode|utf-?8", MalformedData, "The text is of another encoding: convert it, or say the encoding in the URL."),
    (r"refused|timed? ?out|timeout|reset by peer|closed|could not translate|terminat|lost connection|gone away",
     TemporarySourceError, "Is the server running, and are host and port right? " + _AGAIN),
)  # fmt: skip


@contextmanager
def told(label: str, hidden: str | None = None) -> Iterator[None]:
    """Run the block; what a driver raises is told of the database ``label``, without the text ``hidden``."""
    try:
        yield
    except CracktraderError:
        raise
    except Exception as error:
        if (known := _told(error, label, hidden)) is None:
            raise
        raise known from (None if hidden and hidden in str(error) else error)


def _told(error: Exception, label: str, hidden: str | None) -> CracktraderError | None:
    if isinstance(error, ModuleNotFoundError):
        return PluginDependencyMissing(
            f"The driver of {label} needs {error.name!r}, which is not installed.", hint=f"Run: pip install {error.name}"
        )
    if isinstance(error, sa.exc.NoSuchModuleError):
        kind = str(error).rpartition(":")[2]
        if near := difflib.get_close_matches(kind, _KINDS, n=1, cutoff=0.75):
            return InvalidOption(f"{kind!r} is no kind of database here.", hint=f"Write {near[0]}://…", option="url")
        return PluginDependencyMissing(
            f"SQLAlchemy has no dialect for {label}.",
            hint="Is the beginning of the URL spelled right? If it is, install the package that brings the dialect.",
        )
    if isinstance(error, NotImplementedError):
        return NotSupported(f"{label} can't do that: {_said(error, hidden)}")
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) and error.orig is not None else error
    if not isinstance(error, sa.exc.SQLAlchemyError) and not _is_of_a_driver(origin):
        return None
    cls, hint = _meaning(origin, lost=bool(getattr(error, "connection_invalidated", False)))
    known: CracktraderError = cls(f"{label}: {_said(origin, hidden)}", hint=hint)
    return known


def _is_of_a_driver(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0].strip("_") in {
        "sqlite3", "psycopg", "psycopg2", "pymysql", "MySQLdb", "duckdb", "adbc_driver_manager",
    } or isinstance(error, (OSError, UnicodeError))  # fmt: skip


def _meaning(error: BaseException, *, lost: bool) -> tuple[type[Any], str]:
    if error.args and isinstance(error.args[0], int) and error.args[0] in _NUMBERS:
        return _NUMBERS[error.args[0]]
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    for length in (5, 3, 2):
        if state and state[:length] in _STATES:
            return _STATES[state[:length]]
    if state and state != "00000":
        return PermanentSourceError, _QUERY
    if lost:
        return TemporarySourceError, _AGAIN
    for words, cls, hint in _WORDS:
        if re.search(words, str(error), re.IGNORECASE):
            return cls, hint
    return PermanentSourceError, _QUERY


def _said(error: BaseException, hidden: str | None) -> str:
    """What a driver said, on one line, without what must not be shown."""
    text = str(error.args[1]) if len(error.args) == 2 and isinstance(error.args[0], int) else str(error)
    if hidden:
        text = text.replace(hidden, "**********")
    return f"{' '.join(text.split())[:400].rstrip('.')}."
