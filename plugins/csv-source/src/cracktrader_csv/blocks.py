"""Cutting texts into blocks of whole lines: forwards, backwards, or only where a range of times lies."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from cracktrader.errors import MalformedData
from cracktrader_csv.parsing import Block
from cracktrader_csv.sniffing import MAX_LINE

__all__ = ["backward_blocks", "forward_blocks", "line_number", "line_too_long", "time_bounds"]

_STEP = 1 << 16


def forward_blocks(
    stream: BinaryIO, name: str, size: int, offset: int, line: int | None, stop: int | None = None
) -> Iterator[Block]:
    """The rest of a stream, which is at ``offset``, up to the offset ``stop``, in blocks of about ``size`` bytes."""
    kept: list[bytes] = []
    begin = offset
    while data := stream.read(size if stop is None else min(size, stop - offset)):
        offset += len(data)
        cut = data.rfind(b"\n") + 1
        if not cut:
            kept.append(data)
            if offset - begin > MAX_LINE:
                raise line_too_long(name, line)
            continue
        block = _block(b"".join((*kept, memoryview(data)[:cut])), begin, line)
        yield block
        begin += len(block.data)
        line = None if line is None else line + block.lines
        kept = [data[cut:]] if cut < len(data) else []
    if kept:
        yield _block(b"".join(kept), begin, line)


def backward_blocks(stream: BinaryIO, name: str, size: int, start: int, stop: int) -> Iterator[Block]:
    """A stream's lines from ``stop`` back to ``start``: the last block first, each block in the order of the file."""
    rest = b""
    while stop > start:
        begin = max(start, stop - size)
        stream.seek(begin)
        data = _read_all(stream, stop - begin)
        stop = begin
        cut = 0 if begin == start else data.find(b"\n") + 1
        if begin != start and not cut:
            rest = data + rest
            if len(rest) > MAX_LINE:
                raise line_too_long(name, None)
            continue
        whole = data[cut:] + rest
        if whole:
            yield _block(whole, begin + cut, None)
        rest = data[:cut]


def time_bounds(
    stream: BinaryIO, begin: int, end: int, first_time: Callable[[bytes], int | None], low: int | None, high: int | None, *,
    descending: bool,
) -> tuple[int, int]:  # fmt: skip
    """The part of an ordered text that holds the times in ``[low, high)``, found by bisection; whole lines.

    ``first_time`` gives the time of the first of some lines, None where it has none that can be read.
    """
    early: Callable[[int], bool]
    late: Callable[[int], bool]
    if descending:
        early, late = (lambda time: high is not None and time >= high), (lambda time: low is not None and time < low)
    else:
        early, late = (lambda time: low is not None and time < low), (lambda time: high is not None and time >= high)
    first, _ = _bisect(stream, begin, end, first_time, early)
    _, stop = _bisect(stream, first, end, first_time, lambda time: not late(time))
    return first, stop


def line_number(stream: BinaryIO, offset: int) -> int:
    """The number, from 1, of the line that begins at ``offset``."""
    lines, left = 1, offset
    while left and (data := stream.read(min(left, 1 << 20))):
        lines += data.count(b"\n")
        left -= len(data)
    return lines


def _bisect(
    stream: BinaryIO, begin: int, end: int, first_time: Callable[[bytes], int | None], before: Callable[[int], bool]
) -> tuple[int, int]:
    """Two beginnings of lines, not far apart, between which times stop being ``before``."""
    low, high, high_line = begin, end, end
    while high - low > _STEP:
        middle = (low + high) // 2
        stream.seek(middle)
        data = _read_all(stream, min(_STEP, end - middle))
        cut = data.find(b"\n") + 1
        time = first_time(data[cut : data.rfind(b"\n") + 1]) if cut else None
        if time is None:
            break  # no line to go by: what is certain so far must do
        if before(time):
            low = middle + cut
        else:
            high, high_line = middle, middle + cut
    return low, high_line


def _block(data: bytes, offset: int, line: int | None) -> Block:
    newlines = int(np.count_nonzero(np.frombuffer(data, np.uint8) == 10))
    return Block(data, offset, newlines + (not data.endswith(b"\n")), line)


def _read_all(stream: BinaryIO, size: int) -> bytes:
    parts = []
    while size and (data := stream.read(size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def line_too_long(name: str, line: int | None) -> MalformedData:
    """What is said of a line that has no end: it is no CSV, or was cut off and went on with something else."""
    place = f"{name}, line {line}" if line is not None else name
    return MalformedData(f"{place}: the line does not end within {MAX_LINE:,} bytes.", hint="Is it a CSV file, and whole?")
