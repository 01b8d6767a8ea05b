"""The options of the ``sql`` source."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, SecretStr, WithJsonSchema, field_validator, model_validator

from cracktrader.plugins import SourceConfig
from cracktrader.timeframe import Timeframe
from cracktrader.times import EpochUnit

__all__ = ["SqlConfig"]

#: The first word of a statement, behind comments and parentheses.
_FIRST_WORD = re.compile(r"(?:\s|\(|--[^\n]*\n|/\*.*?\*/)*(\w+)", re.DOTALL)
_Engine = Annotated[Any, WithJsonSchema({"type": "null"})]
_Query = Annotated[Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})]


class SqlConfig(SourceConfig):
    """Which database, what of it, and what its columns mean, where that should not be told from the data itself."""

    url: SecretStr | None = Field(
        default=None, description="The database as a SQLAlchemy URL: 'postgresql://user:password@host/name', 'sqlite:///file.db'."
    )
    db_path: str | Path | None = Field(default=None, description="An SQLite file: short for url='sqlite:///…'.")
    engine: _Engine = Field(default=None, repr=False, description="A SQLAlchemy Engine that you made; it stays yours to close.")
    table: str | None = Field(
        default=None,
        validation_alias=AliasChoices("table", "table_name"),
        description="A table or view, 'schema.table' where it is not in the usual schema; with '{symbol}' and '{timeframe}' in it"
        " where each series has a table of its own. Without table and query: 'ohlcv'.",
    )
    query: _Query = Field(
        default=None,
        description="A SELECT in place of a table: text, in which :symbol, :start and :end are bound, or a SQLAlchemy Select.",
    )
    bind_times: EpochUnit | Literal["datetime", "text"] | None = Field(
        default=None, description="What :start and :end of a query are: epoch numbers of a unit, datetimes, or ISO-8601 text."
    )
    symbol_filter: str | None = Field(
        default=None,
        validation_alias=AliasChoices("symbol_filter", "filter_symbol"),
        description="The symbol to read, spelled as in the database; None: the symbol that is asked for.",
    )
    where: dict[str, str | int] = Field(
        default_factory=dict, description="Values that further columns must have, such as {'exchange': 'binance'}."
    )
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="Which columns are time, open, high, low, close, volume, flags, symbol and timeframe (of trades: time, price,"
        " amount, side, id and symbol). What is not said is told from the names.",
    )
    extra_columns: tuple[str, ...] | None = Field(
        default=None, description="Further columns to read along; None: all that hold numbers but 'id', empty: none."
    )
    time_unit: EpochUnit | None = Field(default=None, description="The unit of epoch times; None: told from their magnitude.")
    table_timeframe: str | None = Field(
        default=None, description="The timeframe of the bars in the table; None: told from a column, or from their times."
    )
    trades: bool = Field(default=False, description="Whether the rows are trades, of which bars are made.")
    aggregate: Literal["auto", "database", "local"] = Field(
        default="auto",
        description="Where bars are put together: of trades in the database if that gives the same, of shorter bars here,"
        " after they were checked; or always in the database, or never.",
    )
    fast: Literal["auto", "yes", "no"] = Field(
        default="auto", description="Whether rows come as Arrow, or packed: where it can be and pays, always or never."
    )
    chunk_size: int = Field(default=65_536, ge=1, le=10_000_000, description="How many rows are handed over at once.")
    connect_timeout: float = Field(default=10, gt=0, description="How many seconds a connection, or a lock in SQLite, may take.")
    timeout: float | None = Field(
        default=None, gt=0, description="How many seconds the database may spend on a statement (PostgreSQL, MariaDB, MySQL)."
    )
    poll_seconds: float = Field(default=1, gt=0, description="How often a stream of candles looks for new bars.")
    settle_seconds: float = Field(
        default=1, ge=0, description="How long after its end a bar is taken for final, where none that is newer is there yet."
    )
    notify: str | None = Field(
        default=None,
        min_length=1,
        max_length=63,
        description="A channel of PostgreSQL that is notified of new bars: a stream of candles looks for them then, and every"
        " poll_seconds only while it can't listen.",
    )

    @field_validator("url", mode="before")
    @classmethod
    def _text_of_url(cls, value: Any) -> Any:
        return value.render_as_string(hide_password=False) if hasattr(value, "render_as_string") else value

    @field_validator("query")
    @classmethod
    def _something_to_select(cls, value: Any) -> Any:
        if value is None or hasattr(value, "subquery"):
            return value
        if isinstance(value, str) and (begins := _FIRST_WORD.match(value)):
            if begins[1].lower() not in ("select", "with", "values", "table", "from"):
                raise ValueError(f"it must be a SELECT, and it begins with {begins[1]!r}")
            return value.strip().rstrip(";")
        raise ValueError(f"{type(value).__name__} is neither the text of a SELECT nor a SQLAlchemy Select")

    @field_validator("engine")
    @classmethod
    def _an_engine(cls, value: Any) -> Any:
        if value is not None and not (hasattr(value, "connect") and hasattr(value, "dialect")):
            raise ValueError(f"{type(value).__name__} is no SQLAlchemy Engine; give the address of a database as url")
        if hasattr(value, "sync_engine"):
            raise ValueError("this is an AsyncEngine; give the Engine in it: engine.sync_engine needs a driver that is not async")
        return value

    @field_validator("table_timeframe")
    @classmethod
    def _a_timeframe(cls, value: str | None) -> str | None:
        return None if value is None else Timeframe(value)

    @model_validator(mode="after")
    def _one_of_each(self) -> SqlConfig:
        given = [name for name in ("url", "db_path", "engine") if getattr(self, name) is not None]
        if len(given) != 1:
            said = f"{' and '.join(given)} name it more than once" if given else "no database is named"
            raise ValueError(f"{said}: say url='…', db_path='…' or engine=…")
        if self.table is not None and self.query is not None:
            raise ValueError("either a table or a query is read, not both")
        if self.bind_times is not None and not isinstance(self.query, str):
            raise ValueError("bind_times is for :start and :end in the text of a query")
        return self
