"""Bars to and from what others use: pandas, Arrow, records, CSV and Parquet files.

A source may return ``Bars``, a pandas frame, anything with ``__arrow_c_stream__`` (Arrow, polars, duckdb),
or an iterator of those; :func:`iter_bars` makes Bars of all of them. Columns are found by name, whatever
their case; times may be a datetime index or column, or epoch numbers in any unit.
"""

from __future__ import annotations

import contextlib
import csv
import importlib
import io
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars
from cracktrader.columns import (
    arrow_to_ms,
    find_columns,
    floats,
    is_frame,
    named_once,
    numbers,
    objects_to_ms,
    record_columns,
    series_to_ms,
    series_values,
)  # fmt: skip
from cracktrader.errors import DataError, InvalidOption, MalformedData, PluginDependencyMissing, SourceNotFound
from cracktrader.events import OHLCVCandle
from cracktrader.timeframe import Timeframe

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["atomic_path", "from_parquet", "from_records", "iter_bars", "to_arrow",
           "to_bars", "to_csv", "to_pandas", "to_parquet", "to_sql"]  # fmt: skip

_METADATA_KEY: Final = b"cracktrader"


def iter_bars(data: Any, *, symbol: str, timeframe: str, source: str = "") -> Iterator[Bars]:
    """Whatever a source returned, as chunks of Bars; raises :class:`DataError` for what can't be bars."""
    if data is None:
        return
    if isinstance(data, Bars) or is_frame(data) or hasattr(data, "__arrow_c_stream__"):
        yield to_bars(data, symbol=symbol, timeframe=timeframe, source=source)
    elif isinstance(data, Iterable) and not isinstance(data, (str, bytes, Mapping)):
        for chunk in data:
            yield to_bars(chunk, symbol=symbol, timeframe=timeframe, source=source)
    else:
        raise _not_bars(data, source)


def to_bars(data: Any, *, symbol: str | None = None, timeframe: str | None = None, source: str = "", **attributes: Any) -> Bars:
    """Bars of one pandas frame, one object with ``__arrow_c_stream__``, or Bars themselves.

    ``symbol`` and ``timeframe`` may be left out where ``data`` knows its own. A missing volume is 0, with a
    note in the provenance; columns of numbers that are none of ours become extra columns. A frame's columns are
    copied, because its owner may go on writing to it.

    Raises :class:`DataError` for anything else and for bars of another timeframe, and :class:`MalformedData` for
    missing or unreadable columns.
    """
    if isinstance(data, Bars):
        _same_timeframe(data.timeframe, timeframe)
        changes = {"symbol": symbol, "source": source} | attributes
        wrong = {k: v for k, v in changes.items() if v and v != getattr(data, k)}
        return data.but(**wrong) if wrong else data
    if is_frame(data):
        return _from_frame(data, symbol=symbol, timeframe=timeframe, source=source, **attributes)
    if hasattr(data, "__arrow_c_stream__"):
        return _from_stream(data, symbol=symbol, timeframe=timeframe, source=source, **attributes)
    raise _not_bars(data, source)


def _not_bars(data: Any, source: str) -> DataError:
    origin = f"The source {source!r} returned" if source else "This is"
    return DataError(
        f"{origin} {type(data).__name__}: {str(data)[:60]!r}, which can't be read as bars.",
        hint="Give Bars, a pandas frame or anything with __arrow_c_stream__ (Arrow, polars, duckdb);"
        " ct.Bars.from_records makes Bars of rows.",
    )


def _same_timeframe(known: str | None, wanted: str | None) -> None:
    if known and wanted and Timeframe(known) != Timeframe(wanted):
        raise DataError(
            f"These are bars of {known}, not of {wanted}.", hint=f"Make longer bars of them with bars.resample({wanted!r})."
        )


def _assemble(columns: Mapping[str, Any], times: NDArray[np.int64], *, symbol: str | None, timeframe: str | None,
              provenance: Mapping[str, Any] | None = None, **attributes: Any) -> Bars:  # fmt: skip
    """Bars of named columns of any case, and times that are already milliseconds."""
    if timeframe is None:
        raise InvalidOption("The timeframe of these bars is not known.", hint="Say it: timeframe='1h'.")
    found = find_columns(columns)
    missing = [name for name in PRICES if name not in found]
    if missing:
        raise MalformedData(
            f"There is no column for {', '.join(missing)}; found: {', '.join(columns) or 'no columns at all'}.",
            hint="Rename the columns to open, high, low, close and volume.",
            missing=missing,
        )
    noted = dict(provenance or {})
    open, high, low, close = (floats(found[name], columns[found[name]]) for name in PRICES)
    if "volume" in found:
        volume = floats(found["volume"], columns[found["volume"]])
    else:
        volume = np.zeros(len(times))
        noted["volume"] = "the source has none; 0 stands in its place"
    ours = {found[name] for name in (*PRICES, "volume", "flags") if name in found} | {"time", "timestamp"}
    extra = {
        name: np.asarray(column, dtype=np.float64)
        for name, column in columns.items()
        if name not in ours and getattr(getattr(column, "dtype", None), "kind", "") in "iuf"
    }
    flags = columns[found["flags"]] if "flags" in found else None
    return Bars(
        times, open, high, low, close, volume,
        flags=flags, extra=extra, symbol=symbol or "", timeframe=timeframe, provenance=noted, **attributes,
    )  # fmt: skip


def _from_frame(frame: pd.DataFrame, *, source: str = "", **attributes: Any) -> Bars:
    import pandas as pd

    columns: dict[str, Any] = dict(zip(named_once(frame.columns), (series for _, series in frame.items()), strict=True))
    if isinstance(frame.index, pd.DatetimeIndex):
        index: Any = frame.index
    else:
        name = find_columns(columns).get("time")
        if name is None:
            raise MalformedData(
                f"The frame has neither a DatetimeIndex nor a column of times; found: {', '.join(columns) or 'no columns'}.",
                hint="Set the index: frame.set_index(pd.to_datetime(frame['…'])).",
            )
        index = columns.pop(name)
    # Copied: whoever has the frame may go on writing to it, and it would show here.
    values = {name: np.array(series_values(series)) for name, series in columns.items()}
    return _assemble(values, np.array(series_to_ms(index)), source=source, **attributes)


def _from_stream(data: Any, *, symbol: str | None, timeframe: str | None, source: str = "",
                 provenance: Mapping[str, Any] | None = None, **attributes: Any) -> Bars:  # fmt: skip
    import pyarrow as pa

    try:
        stream = data if isinstance(data, pa.Table) else pa.RecordBatchReader.from_stream(data)
    except pa.ArrowInvalid as error:  # a stream of one column
        raise _not_bars(data, source) from error
    table = stream if isinstance(stream, pa.Table) else stream.read_all()
    known = json.loads((table.schema.metadata or {}).get(_METADATA_KEY, b"{}"))
    _same_timeframe(known.get("timeframe"), timeframe)
    names = named_once(table.column_names)
    found = find_columns(names)
    if "time" not in found:
        raise MalformedData(
            f"There is no column of times; found: {', '.join(names) or 'no columns'}.", hint="Name it 'timestamp'."
        )
    wanted = {found[name] for name in (*PRICES, "volume", "flags") if name in found}
    columns = {}
    for name in names:
        kind = table.schema.field(name).type
        number = pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)
        if name != found["time"] and (number or name in wanted):
            # by way of text, because Arrow's own cast of a decimal is not always the nearest float
            values = table[name].cast(pa.string()).cast(pa.float64()) if pa.types.is_decimal(kind) else table[name]
            columns[name] = values.to_numpy()
    return _assemble(
        columns, arrow_to_ms(table[found["time"]]), symbol=symbol or known.get("symbol"),
        timeframe=timeframe or known.get("timeframe"), source=source or known.get("source", ""),
        provenance=provenance or known.get("provenance"), **attributes,
    )  # fmt: skip


def from_records(records: Iterable[Any], *, symbol: str, timeframe: str, **attributes: Any) -> Bars:
    """Bars of rows ``(time, open, high, low, close[, volume])``, of mappings with those names, or of candles.

    Further numbers in mappings become extra columns. Raises :class:`MalformedData`.
    """
    rows = list(records)
    if not rows:
        return Bars.empty(symbol, timeframe, **attributes)
    if all(isinstance(row, OHLCVCandle) for row in rows):
        for row in rows:
            _same_timeframe(row.timeframe, timeframe)
        columns: dict[str, Any] = {name: [row[name] for row in rows] for name in ("time", *PRICES, "volume", "flags")}
        times = np.array(columns.pop("time"), dtype=np.int64)  # milliseconds, whatever their magnitude
    else:
        columns = record_columns(rows)
        name = find_columns(columns).get("time")
        if name is None:
            raise MalformedData(f"There is no time in the rows; found: {', '.join(columns)}.")
        times = objects_to_ms(columns.pop(name))
    return _assemble(
        {name: numbers(values) for name, values in columns.items()}, times, symbol=symbol, timeframe=timeframe, **attributes
    )


# ── columns out ──────────────────────────────────────────────────────────────────────────────────────


def to_pandas(bars: Bars) -> pd.DataFrame:
    """See :meth:`Bars.to_pandas`."""
    import pandas as pd

    index = pd.DatetimeIndex(bars.time.view("datetime64[ms]"), name="timestamp").tz_localize("UTC")
    return pd.DataFrame({name: bars[name] for name in _data_columns(bars)}, index=index)


def to_arrow(bars: Bars) -> pa.Table:
    """See :meth:`Bars.to_arrow`."""
    import pyarrow as pa

    known = {"symbol": bars.symbol, "timeframe": str(bars.timeframe), "source": bars.source, "provenance": dict(bars.provenance)}
    columns = {"timestamp": pa.array(bars.time).view(pa.timestamp("ms", "UTC"))}
    columns |= {name: pa.array(bars[name]) for name in _data_columns(bars)}
    return pa.table(columns).replace_schema_metadata({_METADATA_KEY: json.dumps(known, default=str)})


def _data_columns(bars: Bars) -> tuple[str, ...]:
    return (*PRICES, "volume", *bars.extra, "flags")


def to_csv(bars: Bars, path: str | Path) -> Path:
    """See :meth:`Bars.to_csv`: epoch milliseconds, shortest exact decimals, a header, flags where there are any.

    Where milliseconds would pass for seconds (1966 to 1973), times are ISO-8601 text instead.
    """
    import pyarrow as pa
    import pyarrow.csv

    names = [name for name in _data_columns(bars) if name != "flags" or bars.flags.any()]
    times = pa.array(bars.time)
    if len(bars) and np.abs(bars.time).min() < 100_000_000_000:
        times = times.view(pa.timestamp("ms", "UTC"))
    table = pa.table({"timestamp": times, **{name: bars[name] for name in names}})
    with atomic_path(path) as temporary, Path(temporary).open("wb") as file:
        header = io.StringIO()
        csv.writer(header, lineterminator="\n").writerow(table.column_names)  # Arrow would quote every name
        file.write(header.getvalue().encode())
        pyarrow.csv.write_csv(table, file, pyarrow.csv.WriteOptions(include_header=False))
    return Path(path)


def to_parquet(bars: Bars, path: str | Path) -> Path:
    """See :meth:`Bars.to_parquet`: zstd, times packed as differences."""
    import pyarrow.parquet

    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(
            to_arrow(bars), temporary, compression="zstd", use_dictionary=[*PRICES, "flags"],
            column_encoding={"timestamp": "DELTA_BINARY_PACKED"},
        )  # fmt: skip
    return Path(path)


def from_parquet(path: str | Path, *, symbol: str | None = None, timeframe: str | None = None) -> Bars:
    """See :meth:`Bars.from_parquet`."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:  # read_table would take a folder named year=2024 for a column
            table = file.read()
    except FileNotFoundError as error:
        raise SourceNotFound(f"There is no file {str(path)!r}.", path=str(path)) from error
    except (pa.ArrowException, OSError) as error:
        raise MalformedData(f"{path} can't be read as Parquet: {error}", hint="Is it whole, and a Parquet file?") from error
    return to_bars(table, symbol=symbol, timeframe=timeframe)


def to_sql(bars: Bars, url: Any, table: str = "ohlcv") -> int:
    """See :meth:`Bars.to_sql`; the plugin for SQL does it."""
    try:
        plugin = importlib.import_module("cracktrader_sql.writing")
    except ModuleNotFoundError as error:
        raise PluginDependencyMissing(
            f"Writing to a database needs {error.name!r}, which is not installed.",
            hint='Run: pip install "cracktrader-core[sql]"',
        ) from error
    written: int = plugin.write_bars(bars, url, table)
    return written


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[str]:
    """A temporary path beside ``path`` that takes its place when the block ends, and is removed if it fails."""
    target = Path(path)
    if not target.parent.is_dir():
        raise InvalidOption(f"There is no folder {str(target.parent)!r} to write {target.name!r} into.", hint="Make it first.")
    if target.is_dir():
        raise InvalidOption(f"{str(target)!r} is a folder, not a file to write.", hint="Name a file in it.")
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}{target.suffix}")
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o666
    try:
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise InvalidOption(f"{str(target)!r} can't be written: {error.strerror}.", hint="Is the folder writable?") from error
    try:
        yield str(temporary)
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
