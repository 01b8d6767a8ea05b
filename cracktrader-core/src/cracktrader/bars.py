"""Bars: columnar OHLCV, the one currency between the rooms of cracktrader."""

from __future__ import annotations

import copy
import enum
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cracktrader.errors import DataError, InvalidOption
from cracktrader.events import OHLCVCandle
from cracktrader.timeframe import Timeframe
from cracktrader.times import EpochUnit, TimeLike, isoformat, parse_time

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from cracktrader.quality import QualityReport

__all__ = ["PRICES", "Bars", "Flag"]

#: The names of the price columns, in their usual order.
PRICES: Final = ("open", "high", "low", "close")
_COLUMNS: Final = ("time", *PRICES, "volume", "flags")
#: What no extra column may be called: elsewhere the times go by ``timestamp``.
_RESERVED: Final = {*_COLUMNS, "timestamp"}


class Flag(enum.IntFlag):
    """What was done to a bar; bits of ``Bars.flags``."""

    FILLED = 1  #: not in the source: a gap filled with the previous close and no volume
    REPAIRED = 2  #: at least one value differs from what the source delivered
    REVISED = 4  #: the source itself corrected the bar after it was first fetched
    SUSPECT = 8  #: a check found it doubtful; its values are the source's own


class Bars:
    """OHLCV bars of one symbol and timeframe, as columns; immutable.

    Columns are C-contiguous read-only arrays of shape (n,): ``time`` int64, the opening of each bar in epoch
    milliseconds UTC; ``open``, ``high``, ``low``, ``close`` and ``volume`` float64, volume in the base
    currency unless ``provenance`` says otherwise; ``flags`` uint8 bits of :class:`Flag`; and in ``extra`` any
    further float64 columns by name (quote volume, number of trades, funding). An array of the right dtype is
    taken as it stands, without a copy: whoever passes one in must not write to it any more. Another dtype is
    converted where that loses nothing: times and flags must be whole numbers, ``datetime64`` is cut off to
    milliseconds.

    ``source`` names where the bars came from and ``provenance`` says how, as plain JSON values. ``report``
    is the :class:`~cracktrader.quality.QualityReport` of the load that made them, or None.

    Bars that were loaded are ordered and free of duplicates; bars straight from a source may be anything.
    ``bars[3]`` is one :class:`~cracktrader.events.OHLCVCandle`; a slice, mask or index array gives ``Bars``,
    a slice of step one without copying; ``bars["close"]`` is a column.

    Raises :class:`~cracktrader.errors.DataError` for columns of different lengths or dimensions, or that can't
    be converted.

    >>> bars = Bars([0, 60_000], [1, 2], [2, 2], [1, 1], [2, 1], [10, 5], symbol="BTC/USDT", timeframe="1m")
    >>> len(bars), bars.close.tolist(), bars[-1].volume
    (2, [2.0, 1.0], 5.0)
    """

    __slots__ = (
        "__weakref__", "_report", "close", "extra", "flags", "high", "low", "open", "provenance", "source", "symbol",
        "time", "timeframe", "volume",
    )  # fmt: skip

    time: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.float64]
    flags: NDArray[np.uint8]
    extra: Mapping[str, NDArray[np.float64]]
    symbol: str
    timeframe: Timeframe
    source: str
    provenance: Mapping[str, Any]
    _report: QualityReport | None

    def __init__(
        self,
        time: ArrayLike,
        open: ArrayLike,
        high: ArrayLike,
        low: ArrayLike,
        close: ArrayLike,
        volume: ArrayLike,
        *,
        symbol: str,
        timeframe: str,
        flags: ArrayLike | None = None,
        extra: Mapping[str, ArrayLike] | None = None,
        source: str = "",
        provenance: Mapping[str, Any] | None = None,
        report: QualityReport | None = None,
    ) -> None:
        fix = object.__setattr__
        times = _column("time", time, np.int64)
        rows = len(times)
        fix(self, "time", times)
        for name, values in zip((*PRICES, "volume"), (open, high, low, close, volume), strict=True):
            fix(self, name, _column(name, values, np.float64, rows))
        fix(self, "flags", _column("flags", np.zeros(rows, np.uint8) if flags is None else flags, np.uint8, rows))
        columns = {str(name): _column(str(name), values, np.float64, rows) for name, values in (extra or {}).items()}
        if clash := _RESERVED & set(columns):
            raise DataError(f"An extra column can't be called {min(clash)!r}: all bars have a column of that name.")
        fix(self, "extra", MappingProxyType(columns))
        fix(self, "symbol", symbol)
        fix(self, "timeframe", Timeframe(timeframe))
        fix(self, "source", source)
        # A proxy is another Bars' own; anything else may be written to by whoever passed it.
        shared = provenance if isinstance(provenance, MappingProxyType) else copy.deepcopy(dict(provenance or {}))
        fix(self, "provenance", MappingProxyType(shared))
        fix(self, "_report", report)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"Bars are immutable: can't set {name!r}. Make changed bars with bars.but({name}=…).")

    def __delattr__(self, name: str) -> None:
        self.__setattr__(name, None)

    # ── rows and columns ─────────────────────────────────────────────────────────────────────────────

    def __len__(self) -> int:
        return len(self.time)

    @overload
    def __getitem__(self, key: int) -> OHLCVCandle: ...
    @overload
    def __getitem__(self, key: str) -> NDArray[Any]: ...
    @overload
    def __getitem__(self, key: slice | NDArray[Any] | list[int]) -> Bars: ...
    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, str):
            if key in self.extra:
                return self.extra[key]
            if key in _COLUMNS:
                return getattr(self, key)
            raise KeyError(f"No column {key!r}; there are: {', '.join(self.columns)}.")
        if isinstance(key, (int, np.integer)):
            return OHLCVCandle(
                self.symbol, self.timeframe, int(self.time[key]), float(self.open[key]), float(self.high[key]),
                float(self.low[key]), float(self.close[key]), float(self.volume[key]), flags=int(self.flags[key]),
            )  # fmt: skip
        return self.but(
            **{name: self[name][key] for name in _COLUMNS},
            extra={name: values[key] for name, values in self.extra.items()},
        )

    def __iter__(self) -> Iterator[OHLCVCandle]:
        for time, open, high, low, close, volume, flags in zip(*(self[name].tolist() for name in _COLUMNS), strict=True):
            yield OHLCVCandle(self.symbol, self.timeframe, time, open, high, low, close, volume, flags=flags)

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of all columns: time, prices, volume, flags, then the extra ones."""
        return (*_COLUMNS, *self.extra)

    @property
    def report(self) -> QualityReport | None:
        """What the checks of the load found and did, or None where nothing was checked."""
        # The stored report does not hold the bars: a cycle would keep large arrays alive until the collector runs.
        return self._report and self._report.bound_to(self)

    @property
    def nbytes(self) -> int:
        """The memory that the columns take, in bytes."""
        return sum(self[name].nbytes for name in self.columns)

    def between(self, start: TimeLike | None = None, end: TimeLike | None = None, *, unit: EpochUnit | None = None) -> Bars:
        """The bars that open in ``[start, end)``, without copying; the bars must be in order.

        ``unit`` is that of bounds that are numbers. Without it the magnitude tells: milliseconds of 1966 to 1973
        would pass for seconds.
        """
        first = 0 if start is None else int(np.searchsorted(self.time, parse_time(start, unit=unit)))
        stop = len(self) if end is None else int(np.searchsorted(self.time, parse_time(end, unit=unit)))
        return self[first:stop]

    def in_order(self) -> Bars:
        """The bars by time, rows of one time as they stand; these ones themselves where they are in order."""
        ordered = bool((self.time[1:] >= self.time[:-1]).all())
        return self if ordered else self[np.argsort(self.time, kind="stable")]

    def but(self, **changes: Any) -> Bars:
        """The same bars with some columns or attributes replaced; the rest is shared, not copied.

        The report is kept only where the rows are: new columns need ``report=`` to have one.
        """
        kept = {name: getattr(self, name) for name in (*_COLUMNS, "extra", "symbol", "timeframe", "source", "provenance")}
        if not set(changes) & {*_COLUMNS, "extra"}:
            kept["report"] = self._report
        return Bars(**kept | changes)

    @classmethod
    def empty(cls, symbol: str, timeframe: str, **attributes: Any) -> Bars:
        """No bars."""
        return cls([], [], [], [], [], [], symbol=symbol, timeframe=timeframe, **attributes)

    @classmethod
    def concat(cls, parts: Sequence[Bars]) -> Bars:
        """The rows of all parts, in the order given; at least one part, all of one symbol and timeframe.

        A column that only some parts have is NaN in the others. Of their provenance the last part's values count,
        lists are joined; other attributes are the first part's.
        """
        if not parts:
            raise InvalidOption("Nothing to join: Bars.concat needs at least one part.")
        first = parts[0]
        if len(parts) == 1:
            return first
        for part in parts[1:]:
            if (part.symbol, part.timeframe) != (first.symbol, first.timeframe):
                raise DataError(
                    f"Bars of {part.symbol} {part.timeframe} can't be joined to bars of {first.symbol} {first.timeframe}."
                )
        extra = {
            name: np.concatenate([part.extra.get(name, np.full(len(part), np.nan)) for part in parts])
            for name in dict.fromkeys(name for part in parts for name in part.extra)
        }
        columns = {name: np.concatenate([part[name] for part in parts]) for name in _COLUMNS}
        return first.but(**columns, extra=extra, provenance=_joined([part.provenance for part in parts]))

    def resample(self, timeframe: str) -> Bars:
        """These bars as bars of a longer timeframe; see :func:`cracktrader.resampling.resample`."""
        from cracktrader.resampling import resample

        return resample(self, timeframe)

    # ── comparing and showing ────────────────────────────────────────────────────────────────────────

    def __eq__(self, other: object) -> bool:
        """Same symbol, timeframe and columns, value for value (NaN equals NaN); where from doesn't matter."""
        if not isinstance(other, Bars):
            return NotImplemented
        return (
            (self.symbol, self.timeframe, self.columns) == (other.symbol, other.timeframe, other.columns)
            and len(self) == len(other)
            and all(np.array_equal(self[name], other[name], equal_nan=name not in ("time", "flags")) for name in self.columns)
        )

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        label = f"{self.symbol or 'no symbol'} {self.timeframe}" + (f" from {self.source}" if self.source else "")
        if not len(self):
            return f"<Bars {label}: none>"
        flagged = f", {int(np.count_nonzero(self.flags))} flagged" if self.flags.any() else ""
        return f"<Bars {label}: {len(self):,}, {isoformat(self.time[0])} to {isoformat(self.time[-1])}{flagged}>"

    def __reduce__(self) -> tuple[Any, ...]:
        state = {name: getattr(self, name) for name in (*_COLUMNS, "symbol", "timeframe", "source")}
        state |= {"extra": dict(self.extra), "provenance": dict(self.provenance), "report": self._report}
        return _restore, (state,)

    # ── other libraries and files; the work is done in cracktrader.interchange ───────────────────────

    def to_pandas(self) -> pd.DataFrame:
        """A frame indexed by ``timestamp`` (UTC, millisecond resolution) with every other column."""
        from cracktrader.interchange import to_pandas

        return to_pandas(self)

    @classmethod
    def from_pandas(cls, frame: pd.DataFrame, *, symbol: str, timeframe: str, **attributes: Any) -> Bars:
        """Bars of a frame; see :func:`cracktrader.interchange.to_bars`."""
        from cracktrader.interchange import to_bars

        return to_bars(frame, symbol=symbol, timeframe=timeframe, **attributes)

    def to_arrow(self) -> pa.Table:
        """A table: ``timestamp[ms, UTC]``, the float64 columns, ``flags`` uint8; attributes as metadata."""
        from cracktrader.interchange import to_arrow

        return to_arrow(self)

    @classmethod
    def from_arrow(cls, table: Any, *, symbol: str | None = None, timeframe: str | None = None, **attributes: Any) -> Bars:
        """Bars of anything with ``__arrow_c_stream__``; what :meth:`to_arrow` noted is the default."""
        from cracktrader.interchange import to_bars

        return to_bars(table, symbol=symbol, timeframe=timeframe, **attributes)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.to_arrow().__arrow_c_stream__(requested_schema)

    def to_records(self) -> list[tuple[int, float, float, float, float, float]]:
        """``(time, open, high, low, close, volume)`` tuples of plain Python numbers."""
        return list(zip(*(self[name].tolist() for name in ("time", *PRICES, "volume")), strict=True))

    @classmethod
    def from_records(cls, records: Any, *, symbol: str, timeframe: str, **attributes: Any) -> Bars:
        """Bars of ``(time, open, high, low, close, volume)`` rows, of mappings, or of candles."""
        from cracktrader.interchange import from_records

        return from_records(records, symbol=symbol, timeframe=timeframe, **attributes)

    @classmethod
    def from_trades(
        cls, trades: Any, *, symbol: str, timeframe: str, start: TimeLike | None = None, end: TimeLike | None = None,
        **attributes: Any,
    ) -> Bars:  # fmt: skip
        """Bars made from trades; see :func:`cracktrader.trades.bars_of_trades`."""
        from cracktrader.trades import bars_of_trades

        return bars_of_trades(trades, symbol=symbol, timeframe=timeframe, start=start, end=end, **attributes)

    def to_csv(self, path: str | Path) -> Path:
        """Write a CSV file, whole or not at all; loading it with the ``csv`` source gives equal bars."""
        from cracktrader.interchange import to_csv

        return to_csv(self, path)

    def to_parquet(self, path: str | Path) -> Path:
        """Write a Parquet file, whole or not at all; :meth:`from_parquet` gives equal bars."""
        from cracktrader.interchange import to_parquet

        return to_parquet(self, path)

    def to_sql(self, url: Any, table: str = "ohlcv") -> int:
        """Write into a table of a database, given as a SQLAlchemy URL or Engine; bars that are there are replaced.

        The table is made where there is none. Needs the plugin for SQL. Returns the number of rows.
        """
        from cracktrader.interchange import to_sql

        return to_sql(self, url, table)

    @classmethod
    def from_parquet(cls, path: str | Path, *, symbol: str | None = None, timeframe: str | None = None) -> Bars:
        """Bars of a Parquet file; one that :meth:`to_parquet` wrote knows its symbol and timeframe."""
        from cracktrader.interchange import from_parquet

        return from_parquet(path, symbol=symbol, timeframe=timeframe)


def _joined(provenances: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for provenance in provenances:
        for name, value in provenance.items():
            if isinstance(value, (list, tuple)) or isinstance(said.get(name), list):
                known = _listed(said.get(name, []))
                said[name] = [*known, *(item for item in _listed(value) if item not in known)]
            else:
                said[name] = value
    return said


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _restore(state: dict[str, Any]) -> Bars:
    return Bars(**state)


def _column(name: str, values: Any, dtype: type[np.generic], rows: int | None = None) -> NDArray[Any]:
    try:
        raw = np.asarray(values)
        column = raw if raw.dtype == dtype else _converted(raw, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        hint = (
            "Times are epoch milliseconds; Bars.from_pandas, from_arrow and from_records read all others."
            if name == "time"
            else ""
        )
        raise DataError(f"The column {name!r} can't be read as {np.dtype(dtype)}: {error}.", hint=hint, column=name) from error
    if column.ndim != 1 or (rows is not None and len(column) != rows):
        wanted = "(n,)" if rows is None else f"({rows},)"
        raise DataError(f"The column {name!r} has shape {column.shape}, not {wanted}.", column=name)
    column = np.ascontiguousarray(column)
    if column.flags.writeable:
        column = column.view()
        column.flags.writeable = False
    return column


def _converted(raw: NDArray[Any], dtype: type[np.generic]) -> NDArray[Any]:
    """``raw`` as ``dtype``; raises where that would change a whole number, or make one of something else."""
    if dtype is np.float64:
        if raw.dtype.kind in "cmMV":
            raise ValueError(f"it holds {raw.dtype}")
        return (raw.astype(object) if raw.dtype.kind == "U" else raw).astype(np.float64)  # objects make clearer errors
    if raw.dtype.kind == "M" and dtype is np.int64:
        if np.isnat(raw).any():
            raise ValueError(f"the time in row {int(np.flatnonzero(np.isnat(raw))[0])} is missing")
        return raw.astype("datetime64[ms]").astype(np.int64)
    if raw.dtype.kind not in "iufO" and raw.size:
        raise ValueError(f"it holds {raw.dtype}")
    with np.errstate(invalid="ignore"):  # NaN and what is too large differ below
        whole = raw.astype(dtype)
    if not (same := whole == raw).all():
        row = int(np.flatnonzero(~same)[0])
        raise ValueError(f"{raw.flat[row]!s} in row {row} is not a whole number{' from 0 to 255' if dtype is np.uint8 else ''}")
    return whole
