"""One text that is open: how it is to be read, and its blocks."""

from __future__ import annotations

import codecs
import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from cracktrader.errors import MalformedData
from cracktrader_csv.blocks import backward_blocks, forward_blocks, line_number, line_too_long, time_bounds
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.parsing import Block, Filter, Parser
from cracktrader_csv.sniffing import MAX_LINE, Plan, sniff
from cracktrader_csv.unpacking import Member, Recoded, looks_like, tell_encoding

__all__ = ["TextFile", "opened"]

_HEAD: Final = 1 << 16
_HEAD_LINES: Final = 40  # a preamble, a header and rows, however wide


@contextlib.contextmanager
def opened(text: Member, config: CsvConfig) -> Iterator[TextFile]:
    """A text with its plan, closed when the block ends."""
    with text.open() as stream:
        yield TextFile(text, stream, config)


class TextFile:
    """A text that is open, and how it is to be read; offsets are those of its UTF-8, after the mark at its beginning.

    ``plan`` is None where there is no row. Raises :class:`MalformedData` for what is no table of bars.
    """

    def __init__(self, text: Member, stream: BinaryIO, config: CsvConfig) -> None:
        self.text, self.config, self._raw = text, config, stream
        head, whole = _head(stream, text.name)
        encoding = config.encoding or _encoding(head, text.name)
        self._utf8 = encoding in ("utf-8", "utf-8-sig", "ascii") and (b"\n" in head or b"\r" not in head)
        if self._utf8:
            self._skip = 3 if head.startswith(codecs.BOM_UTF8) else 0
            head = head[self._skip :]
            self._rest: Any = _Again(head, stream)
        else:
            recoded = Recoded(_Again(head, stream), encoding)
            head, whole = _head(recoded, text.name)
            self._rest = _Again(head, recoded)
        self.plan: Plan | None = sniff(text.name, head, whole, encoding.removesuffix("-sig"), config)

    @property
    def seekable(self) -> bool:
        """Whether any part can be read by itself."""
        return self.text.plain and self._utf8

    def held(self, plan: Plan) -> bool:
        """Whether the rows must be kept until the last is read, because that is the oldest."""
        return plan.descending and not self.seekable

    def forward(self) -> Iterator[Block]:
        """All rows, from the first."""
        plan = cast("Plan", self.plan)
        left = plan.body
        while left:
            left -= len(self._rest.read(left))
        yield from forward_blocks(self._rest, plan.name, self.config.chunk_bytes, plan.body, plan.body_line)

    def blocks(self, parser: Parser) -> Iterator[Block]:
        """The rows that may be wanted, oldest block first where that can be had."""
        plan, wanted = parser.plan, parser.wanted
        bounded = self.config.ordered and (wanted.start is not None or wanted.end is not None)
        if not self.seekable or not (bounded or plan.descending):
            for block in self.forward():
                if bounded and not plan.descending and wanted.end is not None:
                    time = _first_time(parser, block.data[: block.data.find(b"\n") + 1])
                    if time is not None and time >= wanted.end:
                        return
                yield block
            return
        stream = cast("BinaryIO", _Shifted(self._raw, self._skip))
        first, stop = plan.body, stream.seek(0, io.SEEK_END)
        if bounded:
            first, stop = time_bounds(stream, first, stop, lambda data: _first_time(parser, data), wanted.start, wanted.end,
                                      descending=plan.descending)  # fmt: skip
        if plan.descending:
            yield from backward_blocks(stream, plan.name, self.config.chunk_bytes, first, stop)
        else:
            stream.seek(first)
            yield from forward_blocks(stream, plan.name, self.config.chunk_bytes, first, None, stop)

    def line_at(self, offset: int) -> int:
        """The number of the line at an offset of a seekable text: counted only when something has to be said about it."""
        with self.text.open() as stream:
            stream.read(self._skip)
            return line_number(stream, offset)


def _first_time(parser: Parser, data: bytes) -> int | None:
    """The time of the first of some lines that can be read."""
    plan = parser.plan
    sample = Parser(plan, Filter(), True, lambda _: 0)
    for line in data.splitlines(keepends=True)[:100]:
        with contextlib.suppress(MalformedData):
            rows = sample.parse(Block(line, 0, 1, 1))
            if len(rows.time):
                return int(rows.time[0])
    return None


def _head(stream: Any, name: str) -> tuple[bytes, bool]:
    """The first bytes, enough lines to tell everything by; and whether that is all there is."""
    head = b""
    while len(head) < _HEAD or (head.count(b"\n") < _HEAD_LINES and len(head) < MAX_LINE):
        if not (data := stream.read(_HEAD)):
            return head, True
        head += data
    if b"\n" not in head and b"\r" not in head:
        raise line_too_long(name, 1)
    return head, False


def _encoding(head: bytes, name: str) -> str:
    if what := looks_like(head):
        raise MalformedData(f"{name} is not CSV: it looks like {what}.", hint="Name the CSV file.", path=name)
    if not (encoding := tell_encoding(head)):
        raise MalformedData(
            f"{name} is not CSV: it holds binary data.", hint="If it is text, say its encoding: encoding='…'.", path=name
        )
    return encoding


class _Again:
    """A stream from whose beginning something was read already."""

    def __init__(self, head: bytes, stream: Any) -> None:
        self._head, self._stream = head, stream

    def read(self, size: int = -1) -> bytes:
        if self._head:
            data, self._head = (self._head[:size], self._head[size:]) if size >= 0 else (self._head, b"")
            return data
        return bytes(self._stream.read(size))


class _Shifted:
    """A stream without its first few bytes, the mark of its encoding."""

    def __init__(self, stream: BinaryIO, skip: int) -> None:
        self._stream, self._skip = stream, skip
        self.read = stream.read

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset + (self._skip if whence == io.SEEK_SET else 0), whence) - self._skip
