"""The options of the ``csv`` source."""

from __future__ import annotations

import codecs
import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, WithJsonSchema, field_validator, model_validator

from cracktrader.plugins import SourceConfig
from cracktrader.times import EpochUnit, parse_zone
from cracktrader_csv.formats import directives
from cracktrader_csv.layouts import LAYOUTS
from cracktrader_csv.urls import redact

__all__ = ["Column", "CsvConfig"]

#: A column of a file: its name in the header, or its position, counted from 0.
Column = str | int

# No list here: pydantic's would read a file object, which is iterable, to its end.
_Path = Annotated[
    str | Path | Any, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
]
_Zone = Annotated[str | dt.tzinfo | None, WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "null"}]})]


class CsvConfig(SourceConfig):
    """Which files to read, and how, where that should not be told from the file itself."""

    path: _Path = Field(
        validation_alias=AliasChoices("path", "csv_file"),
        description="A file, a directory, a pattern such as 'data/BTC-*.csv', a URL of any kind that fsspec opens, a file-like"
        " object, or a list of those. Compressed files and archives (gz, bz2, xz, zst, zip) are read as they are.",
    )
    symbol_col: Column | None = Field(default=None, description="The column of symbols; None: told from the header.")
    filter_symbol: str | None = Field(
        default=None, description="The symbol to read, spelled as in the file; None: the symbol that is asked for."
    )
    columns: dict[str, Column | tuple[Column, ...]] | None = Field(
        default=None,
        description="Where columns are: time, open, high, low, close, volume, flags or any other name to a name or a"
        " position in the file. What is not said is told from the file. `time` may be two columns, date and clock.",
    )
    extra_columns: tuple[Column, ...] | None = Field(
        default=None, description="Further columns to read along; None: all that hold numbers, empty: none."
    )
    datetime_col: Column | tuple[Column, ...] | None = Field(
        default=None, description="The column of times: short for columns={'time': …}."
    )
    time_format: str | None = Field(
        default=None,
        description="How times are written, in the directives of strptime ('%d/%m/%Y %H:%M'); a date and a clock from two"
        " columns are joined by a blank.",
    )
    time_unit: EpochUnit | None = Field(default=None, description="The unit of epoch times; None: told from their magnitude.")
    tz: _Zone = Field(
        default=None,
        validation_alias=AliasChoices("tz", "tzinput"),
        description="The time zone of times that have none of their own, such as 'Europe/Berlin'; None: UTC.",
    )
    stamp: Literal["open", "close"] = Field(
        default="open", description="Whether the file stamps bars with their opening, or with their end."
    )
    layout: str | None = Field(default=None, description=f"The layout, where it is known: {', '.join(LAYOUTS)}; None: detect.")
    header: bool | None = Field(default=None, description="Whether the first line holds the names of the columns; None: detect.")
    delimiter: str | None = Field(default=None, description="What stands between columns, one character; None: detect.")
    decimal: Literal[".", ","] | None = Field(default=None, description="The decimal sign; None: detect.")
    encoding: str | None = Field(default=None, description="The encoding of the text; None: detect.")
    bad_lines: Literal["raise", "skip"] = Field(
        default="raise", description="What to do about lines that can't be read: stop, or leave them out and count them."
    )
    ordered: bool = Field(
        default=False,
        description="Promise that each file is ordered by time: only the part that holds the range is then read.",
    )
    chunk_bytes: int = Field(
        default=2 << 20, ge=1, le=1 << 30, description="How many bytes of text are parsed at once: the measure of memory."
    )
    max_bytes: int = Field(
        default=64 << 30, ge=1, description="The most that a compressed file may unpack to, in bytes: a guard against bombs."
    )
    max_ratio: float = Field(
        default=250, gt=1, description="The most that a compressed file may grow when unpacked: a guard against bombs."
    )
    storage_options: dict[str, Any] = Field(
        default_factory=dict, repr=False, description="Options for fsspec, for a path that is a URL: keys, tokens, endpoints."
    )

    @property
    def by_column(self) -> bool:
        """Whether a column of symbols was told, so that names of files need not say whose they are."""
        return self.symbol_col is not None or self.filter_symbol is not None or "symbol" in (self.columns or {})

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            yield name, redact(value) if name == "path" else value

    @field_validator("path", mode="before")
    @classmethod
    def _something_to_read(cls, value: Any) -> Any:
        several = list(value) if isinstance(value, (list, tuple, set, frozenset)) else [value]
        if not several:
            raise ValueError("an empty list names no file")
        for one in several:
            if isinstance(one, str) and not one:
                raise ValueError("it is empty, and names no file")
            if not isinstance(one, (str, os.PathLike)) and not hasattr(one, "read"):
                raise ValueError(f"{type(one).__name__} is neither a path, a URL nor a file object with a read method")
        return several if isinstance(value, (list, tuple, set, frozenset)) else value

    @field_validator("columns", mode="before")
    @classmethod
    def _lists_are_tuples(cls, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {name: tuple(where) if isinstance(where, list) else where for name, where in value.items()}
        return value

    @field_validator("tz")
    @classmethod
    def _known_zone(cls, value: Any) -> dt.tzinfo | None:
        return None if value is None else parse_zone(value)

    @field_validator("time_format")
    @classmethod
    def _known_directives(cls, value: str | None) -> str | None:
        if value is not None:
            directives(value)
        return value

    @field_validator("layout")
    @classmethod
    def _known_layout(cls, value: str | None) -> str | None:
        if value is not None and value not in LAYOUTS:
            raise ValueError(f"there is no layout {value!r}; known are {', '.join(LAYOUTS)}")
        return value

    @field_validator("delimiter")
    @classmethod
    def _one_character(cls, value: str | None) -> str | None:
        value = {"tab": "\t", "\\t": "\t"}.get(value or "", value)
        if value is not None and (len(value) != 1 or not value.isascii() or value in '"\r\n'):
            raise ValueError("it must be one character, such as ',' or ';' or '\\t'")
        return value

    @field_validator("encoding")
    @classmethod
    def _known_encoding(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return codecs.lookup(value).name
        except LookupError:
            raise ValueError(f"there is no encoding {value!r}") from None

    @model_validator(mode="after")
    def _nothing_said_twice(self) -> CsvConfig:
        if self.time_format and self.time_unit:
            raise ValueError("times are either written in a time_format or epoch numbers of a time_unit, not both")
        if self.datetime_col is not None and self.columns and "time" in self.columns:
            raise ValueError("the column of times is given twice, in columns and in datetime_col")
        return self
