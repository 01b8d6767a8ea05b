"""Files of bars: Parquet, compressed, with checksums on every page.

Prices and volumes are decimals on the exchange's side, and whole numbers of ticks and lots: kept as such (Parquet's
DECIMAL, delta-packed) they take a third of the room of floats, and come back as the same floats, bit for bit. A column
for which that does not hold is kept as floats.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars

__all__ = ["about", "digest", "encode", "in_threads", "read", "rows_digest"]

#: Rows that are packed together, and can be read without the others: a week and a half of minutes.
_ROW_GROUP: Final = 16_384
_METADATA_KEY: Final = b"cracktrader.catalog"
_NUMBERS: Final = (*PRICES, "volume")
#: Exchanges count in at most eight decimals, and a float holds whole numbers exactly up to 2**53.
_MOST_DECIMALS: Final = 8
_EXACT: Final = 2.0**53
#: So many files are read or written at once.
_AT_ONCE: Final = 4
Given = TypeVar("Given")
Made = TypeVar("Made")


def in_threads(function: Callable[[Given], Made], each: Sequence[Given]) -> list[Made]:
    """What ``function`` makes of each, in order; of several, some at once."""
    if len(each) < 2:
        return [function(one) for one in each]
    with ThreadPoolExecutor(min(_AT_ONCE, len(each)), thread_name_prefix="cracktrader-catalog") as pool:
        return list(pool.map(function, each))


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────


def encode(bars: Bars, said: Mapping[str, Any]) -> memoryview:
    """The bytes of a file of ``bars``, which are in order; ``said`` is kept in its metadata."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {"time": pa.array(bars.time, pa.timestamp("ms", tz="UTC"))}
    columns |= {name: _packed(bars[name]) for name in (*_NUMBERS, *bars.extra)}
    if bars.flags.any():
        columns["flags"] = pa.array(bars.flags)
    table = pa.table(columns, metadata={_METADATA_KEY: json.dumps(said).encode()})
    deltas = [field.name for field in table.schema if not (pa.types.is_floating(field.type) or field.name == "flags")]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table, sink, compression="zstd", compression_level=1, row_group_size=_ROW_GROUP, use_dictionary=False,
        column_encoding=dict.fromkeys(deltas, "DELTA_BINARY_PACKED"), store_decimal_as_integer=True, write_page_checksum=True,
        write_statistics=["time"],
    )  # fmt: skip
    return memoryview(sink.getvalue())


def _packed(values: NDArray[np.float64]) -> Any:
    """A column as decimals, where every value is one of at most eight places, else as floats."""
    import pyarrow as pa

    for places in _places_to_try(values):
        with np.errstate(all="ignore"):
            units = np.rint(values * 10.0**places)
        if not len(units) or (units.min() > -_EXACT and units.max() < _EXACT):  # neither is true of NaN
            wide = np.empty((len(values), 2), np.int64)
            wide[:, 0] = units
            # Compared as bits, so that -0.0 is not taken for 0.
            if np.array_equal((wide[:, 0] / 10.0**places).view(np.int64), values.view(np.int64)):
                wide[:, 1] = wide[:, 0] >> 63
                return pa.Array.from_buffers(pa.decimal128(18, places), len(values), [None, pa.py_buffer(wide)])
    return pa.array(values)


def _places_to_try(values: NDArray[np.float64]) -> Iterable[int]:
    """From the fewest decimals that fit a few of the values."""
    few = values[:: max(1, len(values) // 64)]
    with np.errstate(all="ignore"):
        fits = [bool((np.rint(few * 10.0**places) / 10.0**places == few).all()) for places in range(_MOST_DECIMALS + 1)]
    return range(fits.index(True), _MOST_DECIMALS + 1) if any(fits) else ()


def digest(data: bytes | memoryview) -> str:
    """The digest of a file's bytes."""
    return sha256(data).hexdigest()[:32]  # processors have instructions for it


def rows_digest(bars: Bars) -> str:
    """The digest of rows as a source delivered them."""
    state = sha256()
    for name in ("time", *_NUMBERS, *sorted(bars.extra)):
        state.update(name.encode())
        state.update(np.ascontiguousarray(bars[name]).data)
    return state.hexdigest()[:32]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────


def about(data: bytes | memoryview) -> dict[str, Any]:
    """What was said of a file when it was written. Raises ``ValueError``."""
    return _said(_open(data).schema_arrow.metadata)


def read(openers: Sequence[Callable[[], bytes | memoryview]], start: int | None, end: int | None, **attributes: Any) -> Bars:
    """The rows of several files that open in ``[start, end)``, in the order of the files.

    Each of ``openers`` gives a file's bytes, which must be those that were written: pyarrow may end the process over others.
    """

    def part(opener: Callable[[], bytes | memoryview]) -> _Part:
        return _Part(opener(), start, end)

    return _joined(in_threads(part, openers), attributes)


class _Part:
    """The rows of one file that lie in a range, not yet unpacked."""

    def __init__(self, data: bytes | memoryview, start: int | None, end: int | None) -> None:
        file = _open(data)
        groups = [i for i in range(file.metadata.num_row_groups) if _overlaps(file.metadata.row_group(i), start, end)]
        self.table = file.read_row_groups(groups, use_threads=False).combine_chunks()
        time = self.table.column("time")
        self.time = np.concatenate([chunk.view("int64").to_numpy() for chunk in time.chunks]) if len(time) else _NONE
        first = 0 if start is None else int(np.searchsorted(self.time, start))
        stop = len(self.time) if end is None else int(np.searchsorted(self.time, end))
        self.rows = slice(first, max(first, stop))

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    @property
    def numbers(self) -> list[str]:
        return [name for name in self.table.column_names if name not in ("time", "flags")]

    def fill(self, columns: Mapping[str, NDArray[Any]], at: int) -> None:
        """Write the rows into the columns of the whole, from row ``at`` on."""
        into = slice(at, at + len(self))
        columns["time"][into] = self.time[self.rows]
        for name, whole in columns.items():
            if name != "time":
                self._unpack(name, whole[into])

    def _unpack(self, name: str, out: NDArray[Any]) -> None:
        if name not in self.table.column_names:
            out.fill(0 if name == "flags" else np.nan)
            return
        done = 0
        for chunk in self.table.column(name).slice(self.rows.start, len(self)).chunks:
            values = out[done : done + len(chunk)]
            if hasattr(chunk.type, "scale"):
                wide = np.frombuffer(chunk.buffers()[1], np.int64)
                units = wide[2 * chunk.offset : 2 * (chunk.offset + len(chunk)) : 2]
                np.divide(units, 10.0**chunk.type.scale, out=values)
            else:
                values[:] = chunk.to_numpy()
            done += len(chunk)


_NONE: Final = np.empty(0, np.int64)


def _joined(parts: Sequence[_Part], attributes: Mapping[str, Any]) -> Bars:
    starts = np.cumsum([0, *map(len, parts)])
    extra = dict.fromkeys(name for part in parts for name in part.numbers if name not in _NUMBERS)
    columns: dict[str, NDArray[Any]] = {"time": np.empty(starts[-1], np.int64)}
    columns |= {name: np.empty(starts[-1]) for name in (*_NUMBERS, *extra)}
    if any("flags" in part.table.column_names for part in parts):
        columns["flags"] = np.empty(starts[-1], np.uint8)
    in_threads(lambda one: one[0].fill(columns, int(one[1])), list(zip(parts, starts, strict=False)))
    more = {name: columns.pop(name) for name in extra}
    made: Bars = Bars(**{**attributes, **columns}, extra=more)
    return made


def _open(data: bytes | memoryview) -> Any:
    """Bytes whose digest was found right: pages have checksums for other readers, the footer has none."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    return pq.ParquetFile(pa.BufferReader(data))


def _overlaps(group: Any, start: int | None, end: int | None) -> bool:
    """Whether a row group may hold a bar of the range; ``time`` is the first column of every file."""
    known = group.column(0).statistics
    if known is None or not known.has_min_max:
        return True
    first, last = (int(np.datetime64(bound.replace(tzinfo=None), "ms").astype(np.int64)) for bound in (known.min, known.max))
    return (end is None or first < end) and (start is None or last >= start)


def _said(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    found = json.loads((metadata or {})[_METADATA_KEY])
    if not isinstance(found, dict):
        raise ValueError("not a file of a catalog")
    return found
