"""Telling from a file's first lines how it is to be read."""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from cracktrader.bars import PRICES
from cracktrader.errors import InvalidOption, InvalidTime, MalformedData
from cracktrader_csv.clocks import Clock, tell_clock
from cracktrader_csv.config import Column, CsvConfig
from cracktrader_csv.layouts import LAYOUTS, Roles, Sample, numeric_columns, plain, recognise

__all__ = ["MAX_LINE", "NULLS", "Plan", "cells_of", "is_open", "quoted", "sniff"]

#: The longest line that is read, in bytes.
MAX_LINE: Final = 1 << 20
#: How a missing number may be written.
NULLS: Final = ("", "null", "NULL", "nan", "NaN", "None", "none", "NA", "N/A", "n/a", "#N/A", "<NA>")

_LINES: Final = 300
_PREAMBLE: Final = 20
_DELIMITERS: Final = (",", ";", "\t", "|")
_THOUSANDS: Final = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")  # may be, or a decimal comma
_OURS: Final = frozenset({"time", "timestamp", *PRICES, "volume", "flags"})


@dataclass(frozen=True)
class Plan:
    """How one text is to be read: where its rows begin, and what its columns are, by position."""

    name: str
    layout: str
    encoding: str
    delimiter: str
    decimal: str
    names: tuple[str, ...]
    has_header: bool
    body: int
    body_line: int
    time: tuple[int, ...]
    columns: dict[str, int]
    extra: dict[str, int]
    symbol: int | None
    clock: Clock
    descending: bool
    volume: str
    notes: tuple[str, ...]

    def describe(self) -> dict[str, Any]:
        """What was told, as plain JSON values."""
        told: dict[str, Any] = {
            "name": self.name, "layout": self.layout, "encoding": self.encoding, "delimiter": self.delimiter,
            "decimal": self.decimal, "header": self.has_header, "times": self.clock.describe(),
        }  # fmt: skip
        if not self.clock.zoned:
            told["zone"] = str(self.clock.zone)
        if self.body_line - self.has_header > 1:
            told["lines_before"] = self.body_line - 1 - self.has_header
        if self.descending:
            told["order"] = "newest first"
        used = {"time": " and ".join(self.names[i] for i in self.time), **{k: self.names[i] for k, i in self.columns.items()}}
        return told | {"columns": used}


def cells_of(line: str, delimiter: str) -> list[str]:
    """The cells of one line; one line is one row, whatever quotes say."""
    return _cells(line, delimiter)[0]


def is_open(line: str, delimiter: str) -> bool:
    """Whether a line ends within quotes."""
    return _cells(line, delimiter)[1]


def _cells(line: str, delimiter: str) -> tuple[list[str], bool]:
    if '"' not in line:
        return line.split(delimiter), False
    try:
        reader = csv.reader([line, ""], delimiter=delimiter)
        return next(reader), reader.line_num > 1
    except csv.Error:  # a carriage return in the middle, a cell of more than 128 KB
        return line.split(delimiter), False


def quoted(text: str) -> str:
    """Text of a file as it may stand in a message: one short line."""
    return repr(text if len(text) <= 60 else text[:57] + "…")


def sniff(name: str, head: bytes, whole: bool, encoding: str, config: CsvConfig) -> Plan | None:
    """The plan for a text that begins with ``head``, all of it if ``whole``; None where no row follows its header.

    Raises :class:`MalformedData` for what is no table of bars, :class:`InvalidOption` for options that don't fit it.
    """
    return _Sniffer(name, config).plan(head, whole, encoding)


@dataclass(frozen=True)
class _Line:
    number: int
    offset: int
    text: str


class _Sniffer:
    def __init__(self, name: str, config: CsvConfig) -> None:
        self.name, self.config = name, config

    def plan(self, head: bytes, whole: bool, encoding: str) -> Plan | None:
        lines = self._lines(head, whole)
        delimiter = self.config.delimiter or self._delimiter(lines)
        table = [cells_of(line.text, delimiter) for line in lines]
        skipped = self._preamble(table)
        lines, table = lines[skipped:], table[skipped:]
        layout = self.config.layout
        flat = layout != "yfinance" and not _is_yfinance(table)
        names = tuple(table[0]) if not flat or self._has_header(table) else None
        header_lines = 0 if names is None else 1 if flat else 3
        if not flat:
            names = ("Date", *table[0][1:])
            layout = None
        rows = [row for row in table[header_lines:] if row]
        width = Counter(map(len, rows)).most_common(1)[0][0] if rows else len(names or ())
        if names is not None:
            names = self._fitted(names, [row for row in rows if len(row) == width])
        sample = Sample(names, [row for row in rows if len(row) == width])
        roles = self._roles(sample, layout, delimiter)
        if not sample.rows:
            return None
        if names is None:
            self._look_plausible(sample, roles)
        clock, descending = self._clock(sample, roles)
        body = lines[header_lines]
        labels = names or tuple(f"column {i}" for i in range(width))
        return Plan(
            self.name, roles.layout if flat else "yfinance", encoding, delimiter, self._decimal(sample, roles), labels,
            names is not None, body.offset, body.number, roles.time, dict(roles.columns), dict(roles.extra or {}), roles.symbol,
            clock, descending, roles.volume, self._notes(roles, clock),
        )  # fmt: skip

    # ── lines and cells ──────────────────────────────────────────────────────────────────────────────

    def _lines(self, head: bytes, whole: bool) -> list[_Line]:
        pieces = head.split(b"\n")
        if not whole:
            pieces.pop()
        lines: list[_Line] = []
        offset = 0
        for number, piece in enumerate(pieces, 1):
            text = piece.decode("utf-8", "replace").rstrip("\r")
            if lines and len(lines) < _PREAMBLE and lines[-1].text.count('"') % 2:  # a header may hold a line break
                lines[-1] = _Line(lines[-1].number, lines[-1].offset, f"{lines[-1].text}\n{text}")
            elif text.strip():
                lines.append(_Line(number, offset, text))
            offset += len(piece) + 1
            if len(lines) >= _LINES:
                break
        if not lines:
            raise MalformedData(f"{self.name} is empty.", hint="Was it written completely?", path=self.name)
        return lines

    def _delimiter(self, lines: Sequence[_Line]) -> str:
        def agreement(delimiter: str) -> tuple[bool, int, bool, int]:
            widths = Counter(len(cells_of(line.text, delimiter)) for line in lines[:100])
            width, count = max(widths.items(), key=lambda item: (item[0] > 1, item[1]))
            return width >= 5, count if width > 1 else 0, delimiter != ",", width

        best = max(_DELIMITERS, key=agreement)
        if not agreement(best)[1]:
            raise MalformedData(
                f"{self.name} does not look like CSV: its first line is {quoted(lines[0].text)}.",
                hint="If it is, say what stands between the columns: delimiter=' '.", path=self.name, line=lines[0].number,
            )  # fmt: skip
        return best

    def _preamble(self, table: Sequence[Sequence[str]]) -> int:
        """How many lines stand before the table: a URL, a title, comments."""
        widths = Counter(map(len, table))
        usual = max(widths, key=lambda width: (width > 1, widths[width]))
        skipped = 0
        for row in table[:_PREAMBLE]:
            if len(row) > 1 and (len(row) == usual or (len(row) >= 5 and not row[0].startswith("#"))):
                break
            skipped += 1
        return skipped if skipped < min(len(table), _PREAMBLE) else 0

    def _has_header(self, table: Sequence[Sequence[str]]) -> bool:
        if self.config.header is not None:
            return self.config.header
        first = [cell.strip() for cell in table[0]]
        return not any(re.match(r"[+-]?[.,]?\d", cell) for cell in first) or sum(plain(cell) in _OURS for cell in first) >= 2

    def _fitted(self, names: tuple[str, ...], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
        """The names for as many columns as the rows have; the ends of lines may hold a delimiter too many."""
        width = len(rows[0]) if rows else len(names)
        kept = names[:width]
        if any(name.strip() for name in names[width:]) or any(cell.strip() for row in rows for cell in row[len(names) :]):
            raise MalformedData(
                f"The header of {self.name} names {len(names)} columns, but its rows have {width}.",
                hint="Is the delimiter right, and does the header belong to these rows?", path=self.name,
            )  # fmt: skip
        return kept + ("",) * (width - len(kept))

    # ── columns ──────────────────────────────────────────────────────────────────────────────────────

    def _roles(self, sample: Sample, layout: str | None, delimiter: str) -> Roles:
        config = self.config
        roles = recognise(sample, layout)
        if roles is None and layout is not None:
            raise InvalidOption(
                f"{self.name} is not of the layout {layout!r} ({LAYOUTS[layout]}): its first row is"
                f" {quoted(delimiter.join(sample.rows[0] if sample.rows else sample.header or ()))}.",
                hint="Leave `layout` out to have it told.",
            )
        roles = roles or Roles("columns as told")
        said = dict(config.columns or {})
        symbol_said = _several(said.pop("symbol"))[0] if "symbol" in said else None
        time = config.datetime_col if config.datetime_col is not None else said.pop("time", None)
        times = roles.time if time is None else tuple(self._find(one, sample) for one in _several(time))
        columns, extra = dict(roles.columns), dict[str, int]()
        for name, where in said.items():
            index = self._find(_several(where)[0], sample)
            (columns if name in _OURS else extra)[name] = index
        told_symbol = config.symbol_col if config.symbol_col is not None else symbol_said
        symbol = roles.symbol if told_symbol is None else self._find(told_symbol, sample)
        if config.filter_symbol and symbol is None:
            raise InvalidOption(
                f"{self.name} has no column of symbols, so filter_symbol={config.filter_symbol!r} has nothing to choose from.",
                hint=f"Name it: symbol_col='…'. {self._has(sample)}",
            )
        if missing := [name for name in PRICES if name not in columns] + (["time"] if not times else []):
            raise MalformedData(
                f"{self.name} has no column for {', '.join(missing)}.",
                hint=f"{self._has(sample)} Say where they are: columns={{{missing[0]!r}: …}}.", path=self.name, missing=missing,
            )  # fmt: skip
        self._refuse_twins(sample, {name: i for name, i in columns.items() if name not in said})
        volume = roles.volume if "volume" in columns else "the file has none; 0 stands in its place"
        used = {*times, *columns.values(), symbol}
        extra = self._further(sample, roles, used) | extra
        return Roles(roles.layout, times, columns, symbol, extra, volume, roles.notes)

    def _refuse_twins(self, sample: Sample, told: Mapping[str, int]) -> None:
        """Raise where a column that was told by its name is not the only one of that name."""
        known = [plain(name) for name in sample.header or ()]
        for name, i in told.items():
            if known and known[i] and known.count(known[i]) > 1:
                raise MalformedData(
                    f"{self.name} has more than one column {known[i]!r}.",
                    hint=f"Say which one is meant, by its position counted from 0: columns={{{name!r}: {i}}}.", path=self.name,
                )  # fmt: skip

    def _further(self, sample: Sample, roles: Roles, used: set[int | None]) -> dict[str, int]:
        if self.config.extra_columns is not None:
            wanted = [self._find(one, sample) for one in self.config.extra_columns]
            known = {index: name for name, index in (roles.extra or {}).items()}
            return {known.get(i) or (sample.header[i].strip() if sample.header else f"column {i}"): i for i in wanted}
        if roles.extra is not None:
            return {name: i for name, i in roles.extra.items() if i not in used}
        return {name: i for name, i in numeric_columns(sample).items() if i not in used and name not in _OURS}

    def _find(self, column: Column, sample: Sample) -> int:
        if isinstance(column, int):
            if -sample.width <= column < sample.width:
                return column % sample.width
            raise InvalidOption(f"{self.name} has no column {column}: it has {sample.width}, counted from 0.")
        names = sample.header or ()
        for same in (lambda name: name == column, lambda name: plain(name) == plain(column)):
            for i, name in enumerate(names):
                if same(name):
                    return i
        if column.isdigit() and sample.header is None:
            return self._find(int(column), sample)
        raise InvalidOption(f"{self.name} has no column {column!r}.", hint=self._has(sample), column=column)

    def _has(self, sample: Sample) -> str:
        if sample.header is None:
            return f"It has no header and {sample.width} columns, counted from 0."
        return f"It has: {', '.join(sample.header)}."

    # ── numbers and times ────────────────────────────────────────────────────────────────────────────

    def _decimal(self, sample: Sample, roles: Roles) -> str:
        if self.config.decimal:
            return self.config.decimal
        cells = [cell for name in PRICES for cell in sample.column(roles.columns[name])]
        commas = [cell for cell in cells if re.fullmatch(r"[+-]?\d*,\d+", cell)]
        if 2 * len(commas) <= len(cells):
            return "."
        numbers = [cell for i in range(sample.width) if i not in roles.time for cell in sample.column(i)]
        if not any(re.fullmatch(r"[+-]?\d*,\d+", cell) and not _THOUSANDS.fullmatch(cell) for cell in numbers):
            raise MalformedData(
                f"Prices of {self.name} such as {commas[0]!r} may have a decimal comma or a comma for thousands.",
                hint="Say decimal=','. Numbers with a sign for thousands can't be read.", path=self.name,
            )  # fmt: skip
        return ","

    def _look_plausible(self, sample: Sample, roles: Roles) -> None:
        """Without a header nothing but the numbers say that the columns are what they are taken for."""
        if self.config.columns:
            return
        fits = []
        for row in sample.rows:
            try:
                opened, high, low, close = (float(row[roles.columns[name]].replace(",", ".")) for name in PRICES)
            except ValueError:
                continue
            fits.append(low <= min(opened, close) and high >= max(opened, close))
        if fits and 2 * sum(fits) <= len(fits):
            first = roles.columns["open"]
            raise MalformedData(
                f"{self.name} has no header, and columns {first} to {first + 3} can't be open, high, low and close:"
                f" in its first row they are {', '.join(sample.rows[0][first : first + 4])}.",
                hint="Say where they are: columns={'time': 0, 'open': 1, 'high': 2, 'low': 3, 'close': 4}.", path=self.name,
            )  # fmt: skip

    def _clock(self, sample: Sample, roles: Roles) -> tuple[Clock, bool]:
        texts = [" ".join(row[i].strip() for i in roles.time) for row in sample.rows]
        texts = [text for text in texts if text.strip()] or [""]
        try:
            clock = tell_clock(texts, self.config, joined=len(roles.time) > 1)
        except InvalidTime as error:
            raise InvalidTime(
                f"The times of {self.name} are ambiguous: {error.message}.", hint=error.hint, path=self.name
            ) from None
        if clock is None:
            raise MalformedData(
                f"The times of {self.name} can't be told: the first is {quoted(texts[0])}.",
                hint="Say how they are written: time_format='%d/%m/%Y %H:%M', or which column they are in: datetime_col='…'.",
                path=self.name,
            )
        if clock.clock_digits:
            texts = [f"{date} {time.zfill(clock.clock_digits)}" for date, time in (text.split(" ", 1) for text in texts)]
        times, bad = clock.parse(pa.array(texts))
        steps = np.diff(times[~bad])
        return clock, bool(len(steps) and steps.min() < 0 and 2 * np.count_nonzero(steps > 0) < np.count_nonzero(steps < 0))

    def _notes(self, roles: Roles, clock: Clock) -> tuple[str, ...]:
        """The layout's notes, without those that what the user said has answered."""
        answered = {"tz=": clock.zoned or self.config.tz is not None, "stamp=": "stamp" in self.config.model_fields_set}
        notes = (note for note in roles.notes if not any(option in note and known for option, known in answered.items()))
        return tuple(note.format(name=self.name) for note in notes)


def _several(columns: Column | tuple[Column, ...]) -> tuple[Column, ...]:
    return columns if isinstance(columns, tuple) else (columns,)


def _is_yfinance(table: Sequence[Sequence[str]]) -> bool:
    firsts = [row[0] if row else "" for row in table[:3]]
    return firsts[:2] == ["Price", "Ticker"] and firsts[2:] in (["Date"], ["Datetime"])
