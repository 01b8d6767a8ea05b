"""From a block of whole lines to columns: quickly by Arrow, or line by line where that fails."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
from numpy.typing import NDArray

from cracktrader.errors import MalformedData
from cracktrader_csv.clocks import Unreadable
from cracktrader_csv.converting import convert_each
from cracktrader_csv.layouts import plain
from cracktrader_csv.sniffing import NULLS, Plan, cells_of, is_open, quoted

__all__ = ["BadLine", "Block", "Filter", "Parser", "Rows"]

_NO_NUMBER: Final = "is not a number"


@dataclass(frozen=True)
class Block:
    """``lines`` whole lines of a text, and where they are in it; ``line`` is the number of the first, None if not known yet."""

    data: bytes
    offset: int
    lines: int
    line: int | None


@dataclass(frozen=True)
class BadLine:
    """A line that can't be read: its number, the column (empty for the whole line), the text, and what is wrong with it."""

    line: int
    column: str
    text: str
    complaint: str
    hint: str = ""

    def error(self, name: str) -> MalformedData:
        """The error that says so."""
        place = f"{name}, line {self.line}" + (f", column {self.column!r}" if self.column else "")
        hint = self.hint or "Repair the line, or leave out what can't be read with bad_lines='skip'."
        if self.complaint == _NO_NUMBER and not self.hint and re.search(r"\d[.,']\d", self.text):
            hint = "If it has a decimal comma, say decimal=','. Numbers with a sign for thousands can't be read."
        return MalformedData(
            f"{place}: {quoted(self.text)} {self.complaint}.",
            hint=hint, path=name, line=self.line, column=self.column or None, text=self.text,
        )  # fmt: skip


@dataclass(frozen=True)
class Filter:
    """Which rows are wanted: of one symbol (by a test on its spelling in the file), and of times in ``[start, end)``.

    Times are those of the file before they are put into UTC or onto the opening, so the bounds are wide enough for both.
    """

    symbol: Callable[[str], bool] | None = None
    start: int | None = None
    end: int | None = None

    @property
    def idle(self) -> bool:
        return self.symbol is None and self.start is None and self.end is None

    def wanted(self, times: NDArray[np.int64], symbols: tuple[NDArray[np.int32], list[str]] | None) -> NDArray[np.bool_]:
        """The rows that pass; symbols are codes and what they stand for."""
        keep = np.ones(len(times), np.bool_)
        if self.start is not None:
            keep &= times >= self.start
        if self.end is not None:
            keep &= times < self.end
        if self.symbol is not None and symbols is not None:
            codes, values = symbols
            keep &= np.array([self.symbol(value) for value in values], np.bool_)[codes] if values else False
        return keep


@dataclass(frozen=True)
class Rows:
    """The wanted rows of one block, in its order: times as the file has them, columns, and which symbols were met."""

    time: NDArray[np.int64]
    columns: dict[str, NDArray[Any]]
    symbols: tuple[str, ...] = ()
    bad: tuple[BadLine, ...] = ()
    read: int = 0  #: how many lines could be read, wanted or not

    def reversed(self) -> Rows:
        """The same rows, last first."""
        columns = {name: values[::-1] for name, values in self.columns.items()}
        return Rows(self.time[::-1], columns, self.symbols, self.bad, self.read)


@dataclass
class Parser:
    """Reads blocks of one text. Blocks may be read side by side; no result depends on where they were cut."""

    plan: Plan
    wanted: Filter
    skip_bad: bool
    line_at: Callable[[int], int]
    #: Whether the last block was mostly wanted: then it doesn't pay to look at times and symbols first.
    dense: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        plan = self.plan
        self.keys = [*plan.time, *([] if plan.symbol is None else [plan.symbol])]
        self.values: dict[str, int] = plan.columns | plan.extra
        self._types = {str(i): pa.float64() for i in self.values.values()}
        if "flags" in plan.columns:
            self._types[str(plan.columns["flags"])] = pa.uint8()
        self._types |= {str(i): plan.clock.arrow_type if len(plan.time) == 1 else pa.string() for i in plan.time}
        if plan.symbol is not None:
            self._types[str(plan.symbol)] = pa.dictionary(pa.int32(), pa.string())
        self._shared = set(plan.time) & set(self.values.values())

    def parse(self, block: Block) -> Rows:
        """The wanted rows of a block; raises :class:`MalformedData` unless bad lines are to be skipped."""
        try:
            return self._quickly(block)
        except (pa.ArrowInvalid, pa.ArrowKeyError, Unreadable):
            return self._carefully(block)

    def symbols(self, block: Block) -> tuple[str, ...]:
        """The symbols in a block, in the order of their first rows; lines that can't be read are passed over."""
        where = self.plan.symbol or 0
        try:
            return self._met(_coded(self._table(block.data, [where]).column(0)))
        except pa.ArrowInvalid:
            return tuple(dict.fromkeys(row[where].strip() for row in self._cells(block, 0)[1]))

    # ── quickly ──────────────────────────────────────────────────────────────────────────────────────

    def _quickly(self, block: Block) -> Rows:
        if self._shared:
            raise Unreadable  # one column read as two things
        data = block.data
        sparse = not self.wanted.idle and not self.dense
        values = list(dict.fromkeys(self.values.values()))
        table = self._table(data, self.keys if sparse else [*self.keys, *values])
        if table.num_rows != block.lines or self._ends_open(data):
            raise Unreadable  # empty lines, or quoted text over several: one line is one row
        times, symbols = self._times(table), self._symbols(table)
        keep = None if self.wanted.idle else self.wanted.wanted(times, symbols)
        if sparse and keep is not None:
            if not keep.any():
                return Rows(times[:0], self._none(), self._met(symbols), read=table.num_rows)
            table = self._table(data, values)
        columns = {name: _plain(table.column(str(i))) for name, i in self.values.items()}
        if keep is not None:
            self.dense = bool(2 * np.count_nonzero(keep) > len(keep))
            times, columns = times[keep], {name: column[keep] for name, column in columns.items()}
        return Rows(times, columns, self._met(symbols), read=len(table))

    def _ends_open(self, data: bytes) -> bool:
        """Whether the last line ends within quotes, which Arrow lets pass."""
        last = data[data.rfind(b"\n", 0, -1) + 1 :]
        return b'"' in last and is_open(last.decode("utf-8", "replace"), self.plan.delimiter)

    def _table(self, data: bytes, columns: Sequence[int]) -> pa.Table:
        plan = self.plan
        names = [str(i) for i in columns]
        return pacsv.read_csv(
            pa.BufferReader(data),
            read_options=pacsv.ReadOptions(
                use_threads=False, block_size=len(data) + 1, column_names=[str(i) for i in range(len(plan.names))]
            ),
            parse_options=pacsv.ParseOptions(delimiter=plan.delimiter),
            convert_options=pacsv.ConvertOptions(
                include_columns=names, column_types={name: self._types.get(name, pa.string()) for name in names},
                null_values=NULLS, decimal_point=plan.decimal,
            ),
        )  # fmt: skip

    def _times(self, table: pa.Table) -> NDArray[np.int64]:
        first, *second = [table.column(str(i)) for i in self.plan.time]
        if second:
            texts = self.plan.clock.join(first.combine_chunks(), second[0].combine_chunks())
            return self.plan.clock.checked(*self.plan.clock.parse(texts))
        return self.plan.clock.read(first)

    def _symbols(self, table: pa.Table) -> tuple[NDArray[np.int32], list[str]] | None:
        return None if self.plan.symbol is None else _coded(table.column(str(self.plan.symbol)))

    def _met(self, symbols: tuple[NDArray[np.int32], list[str]] | None) -> tuple[str, ...]:
        return () if symbols is None else tuple(dict.fromkeys(symbols[1]))

    def _none(self) -> dict[str, NDArray[Any]]:
        return {name: np.empty(0, self._types[str(i)].to_pandas_dtype()) for name, i in self.values.items()}

    # ── carefully ────────────────────────────────────────────────────────────────────────────────────

    def _carefully(self, block: Block) -> Rows:
        """The same, knowing each line. What is bad is told of the rows that are wanted: no other value is looked at."""
        first = block.line if block.line is not None else self.line_at(block.offset)
        numbers, cells, bad = self._cells(block, first)
        clock, names = self.plan.clock, self.plan.names
        parts = [pa.array([row[i] for row in cells], pa.string()) for i in self.plan.time]
        texts = parts[0] if len(parts) == 1 else clock.join(parts[0], parts[1])
        times, wrong = clock.parse(texts)
        wrong |= clock.never_shown(times)
        for row in np.flatnonzero(wrong):
            text = texts[int(row)].as_py().strip()
            bad.append(BadLine(numbers[row], " and ".join(names[i] for i in self.plan.time), text, clock.complaint(text)))
        symbols = None
        if self.plan.symbol is not None:
            symbols = _coded(pa.chunked_array([pa.array([row[self.plan.symbol].strip() for row in cells], pa.string())]))
        keep = self.wanted.wanted(times, symbols) & ~wrong
        rows = np.flatnonzero(keep)
        columns, damaged = {}, np.zeros(len(rows), np.bool_)
        for name, i in self.values.items():
            columns[name], failed = self._numbers([cells[row][i] for row in rows], self._types[str(i)])
            for row in rows[failed & ~damaged]:
                hint = (
                    "Leave the column out with extra_columns=[…], or such lines with bad_lines='skip'."
                    if name in self.plan.extra
                    else ""
                )
                bad.append(BadLine(numbers[row], names[i], cells[row][i].strip(), _NO_NUMBER, hint))
            damaged = damaged | failed
        bad.sort(key=lambda one: one.line)
        if bad and not self.skip_bad:
            raise bad[0].error(self.plan.name)
        good = {name: column[~damaged] for name, column in columns.items()}
        return Rows(times[rows[~damaged]], good, self._met(symbols), tuple(bad), len(cells) - int(np.count_nonzero(wrong)))

    def _cells(self, block: Block, first: int) -> tuple[list[int], list[list[str]], list[BadLine]]:
        """The cells of each line that has as many as it should, their line numbers, and the lines that have not."""
        plan = self.plan
        numbers, cells, bad = [], [], []
        known = [plain(name) for name in plan.names]
        for number, line in enumerate(block.data.decode("utf-8", "replace").split("\n"), first):
            text = line.rstrip("\r")
            if not text.strip():
                continue
            row = cells_of(text, plan.delimiter)
            if plan.has_header and (again := [plain(cell) for cell in row]) != known and sorted(again) == sorted(known):
                raise BadLine(number, "", text, "names the columns anew, in another order", "Read the parts one by one.").error(
                    plan.name
                )
            if is_open(text, plan.delimiter):
                bad.append(BadLine(number, "", text, "opens a quote and doesn't close it, but one line must be one row"))
            elif len(row) == len(plan.names):
                numbers.append(number)
                cells.append(row)
            else:
                complaint = f"has {len(row)} column{'s' if len(row) != 1 else ''}, where {len(plan.names)} are expected"
                bad.append(BadLine(number, "", text, complaint))
        return numbers, cells, bad

    def _numbers(self, texts: list[str], kind: pa.DataType) -> tuple[NDArray[Any], NDArray[np.bool_]]:
        array = pc.utf8_trim_whitespace(pa.array(texts, pa.string()))
        if self.plan.decimal == ",":
            # With a decimal comma a point is no decimal sign: Arrow's reader refuses it, and so does this.
            array = pc.replace_substring(pc.replace_substring(array, ".", "?"), ",", ".")
        empty = pc.is_in(array, pa.array(NULLS)).to_numpy(zero_copy_only=False)
        missing = "nan" if pa.types.is_floating(kind) else "0"
        values, failed = convert_each(pc.if_else(pa.array(empty), missing, array), kind)
        return values.astype(kind.to_pandas_dtype()), failed


def _plain(column: pa.ChunkedArray) -> NDArray[Any]:
    return (column.fill_null(0) if pa.types.is_integer(column.type) else column).to_numpy()  # type: ignore[no-any-return]


def _coded(column: pa.ChunkedArray) -> tuple[NDArray[np.int32], list[str]]:
    """A column of symbols as codes, and the symbols that these stand for."""
    array = column.combine_chunks()
    if not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    array = array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, [str(value).strip() for value in array.dictionary.to_pylist()]
