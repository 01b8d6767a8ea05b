"""Pages of rows as bytes: made in chunks by whole columns, kept, and cut to what is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cracktrader.synthetic import Candles
from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator.venue import Steps, Venue

__all__ = ["Encoder", "Pages", "Rows", "decimals", "encoded", "number_writers", "scaled"]

#: Bars in a chunk: as many as fit into this time, within bounds.
_SPAN_MS: Final = 256 * 86_400_000
_FEWEST, _MOST_BARS = 16, 8192
#: Bytes that chunks may take in memory.
_MEMORY: Final = 256_000_000

#: Bars, the steps of their symbol and their timeframe, as text of one row each, a comma at the end.
Encoder = Callable[[Candles, Steps, Timeframe], pa.StringArray]


class Rows(NamedTuple):
    """Rows as bytes, one after the other: row i is ``blob[offsets[i]:offsets[i + 1]]``, its comma with it."""

    time: NDArray[np.int64]
    blob: memoryview
    offsets: NDArray[np.int32]

    def cut(self, first: int, stop: int) -> Rows:
        return Rows(self.time[first:stop], self.blob, self.offsets[first : stop + 1])

    def joined(self) -> bytes:
        return bytes(self.blob[self.offsets[0] : self.offsets[-1]]) if len(self.time) else b""

    def apart(self) -> list[bytes]:
        """Each row by itself."""
        return [bytes(self.blob[a:b]) for a, b in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True)]


class Pages:
    """The bars of a venue in one dialect's rows, asked for as exchanges are."""

    def __init__(self, venue: Venue, encode: Encoder) -> None:
        self.venue, self.encode = venue, encode
        self._chunks: OrderedDict[tuple[str, str, int], Rows] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def forget(self) -> None:
        """What was kept is no longer true."""
        with self._lock:
            self._chunks.clear()
            self._bytes = 0

    def from_first(self, symbol: str, frame: Timeframe, first: int, stop: int, most: int, now: int) -> list[Rows]:
        """The first ``most`` bars that open in ``[first, stop)``, as they stand at ``now``; parts, oldest first."""
        parts, left = [], most
        for chunk in self._chunk_numbers(symbol, frame, first, stop, now):
            rows = self._between(symbol, frame, chunk, first, stop, now)
            rows = rows.cut(0, left)
            parts.append(rows)
            left -= len(rows.time)
            if left <= 0:
                break
        return parts

    def to_last(self, symbol: str, frame: Timeframe, first: int, stop: int, most: int, now: int) -> list[Rows]:
        """The last ``most`` of them instead."""
        parts, left = [], most
        for chunk in reversed(self._chunk_numbers(symbol, frame, first, stop, now)):
            rows = self._between(symbol, frame, chunk, first, stop, now)
            rows = rows.cut(max(0, len(rows.time) - left), len(rows.time))
            parts.append(rows)
            left -= len(rows.time)
            if left <= 0:
                break
        return parts[::-1]

    def _chunk_numbers(self, symbol: str, frame: Timeframe, first: int, stop: int, now: int) -> range:
        size = _bars_in_chunk(frame)
        first, stop = max(first, frame.floor(self.venue.since(symbol))), min(stop, frame.next(now))
        return range(frame.ordinal(first) // size, frame.ordinal(stop - 1) // size + 1) if first < stop else range(0)

    def _between(self, symbol: str, frame: Timeframe, chunk: int, first: int, stop: int, now: int) -> Rows:
        """The rows of a chunk in ``[first, stop)``, as they stand at ``now``."""
        size = _bars_in_chunk(frame)
        begin, end = frame.opening(chunk * size), frame.opening((chunk + 1) * size)
        first, stop = max(frame.ceil(first), begin), min(frame.ceil(stop), end, frame.next(now))
        if first >= stop:
            return encoded(pa.array([], pa.string()), np.empty(0, np.int64))
        if stop > frame.floor(now + 1) or self.venue.held_back(symbol, first, stop, now):
            closed = min(stop, frame.floor(now + 1))
            if self.venue.held_back(symbol, first, stop, now) or closed <= first:
                return self._encoded(symbol, frame, self.venue.candles(symbol, frame, first, stop, now))
            old = self._between(symbol, frame, chunk, first, closed, now)
            new = self._encoded(symbol, frame, self.venue.candles(symbol, frame, closed, stop, now))
            return _both(old, new)
        rows = self._chunk(symbol, frame, chunk, begin, end)
        return rows.cut(*np.searchsorted(rows.time, (first, stop)).tolist())

    def _chunk(self, symbol: str, frame: Timeframe, chunk: int, begin: int, end: int) -> Rows:
        key = (symbol, str(frame), chunk)
        with self._lock:
            if key in self._chunks:
                self._chunks.move_to_end(key)
                return self._chunks[key]
        rows = self._encoded(symbol, frame, self.venue.settled(symbol, frame, begin, end))
        with self._lock:
            self._chunks[key] = rows
            self._bytes += rows.blob.nbytes
            while self._bytes > _MEMORY and len(self._chunks) > 1:
                self._bytes -= self._chunks.popitem(last=False)[1].blob.nbytes
        return rows

    def _encoded(self, symbol: str, frame: Timeframe, candles: Candles) -> Rows:
        return encoded(self.encode(candles, self.venue.steps[symbol], frame), candles.time)


def encoded(rows: pa.StringArray, time: NDArray[np.int64]) -> Rows:
    """The buffers of an Arrow array of text."""
    if not len(rows):
        return Rows(time, memoryview(b""), np.zeros(1, np.int32))
    _, offsets, data = rows.buffers()
    return Rows(time, memoryview(data), np.frombuffer(offsets, np.int32)[: len(rows) + 1])


def _both(one: Rows, other: Rows) -> Rows:
    blob = one.joined() + other.joined()
    lengths = np.concatenate([np.diff(one.offsets), np.diff(other.offsets)])
    return Rows(np.concatenate([one.time, other.time]), memoryview(blob), np.append(0, np.cumsum(lengths)).astype(np.int32))


def _bars_in_chunk(frame: Timeframe) -> int:
    step = frame.step or 31 * 86_400_000
    return max(_FEWEST, min(_MOST_BARS, _SPAN_MS // step))


# ── numbers as text, by whole columns ────────────────────────────────────────────────────────────────


def scaled(steps: NDArray[np.int64], units: int, digits: int, wanted: int) -> NDArray[np.int64]:
    """Whole ticks or lots in units of the last of ``wanted`` decimals; ``wanted`` is at least ``digits``."""
    return steps * np.int64(units * 10 ** (wanted - digits))


def decimals(values: NDArray[np.int64], digits: int) -> list[Any]:
    """Numbers in units of the last of ``digits`` decimals, not negative, as the parts of their text."""
    if not digits:
        return [pa.array(values).cast(pa.string())]
    whole, rest = np.divmod(values, 10**digits)
    return [pa.array(whole).cast(pa.string()), ".", pc.utf8_lpad(pa.array(rest).cast(pa.string()), digits, "0")]


def number_writers(steps: Steps) -> tuple[Callable[[int], str], Callable[[int], str]]:
    """What writes a price in ticks, and an amount in lots, with as many decimals as they have."""

    def writer(units: int, digits: int) -> Callable[[int], str]:
        def write(value: int) -> str:
            whole, rest = divmod(value * units, 10**digits)
            return f"{whole}.{rest:0{digits}d}" if digits else str(whole)

        return write

    return writer(steps.tick_units, steps.tick_digits), writer(steps.lot_units, steps.lot_digits)
