"""One page of candles: asked of ccxt, and made into columns, without ccxt's parsing where the shape of the answer is known."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from cracktrader.timeframe import Timeframe

__all__ = ["Columns", "Page", "columns_of", "parse_klines"]

#: Time (int64, milliseconds), open, high, low, close, volume (float64).
Columns = tuple[NDArray[Any], ...]
_EMPTY: Final[Columns] = (np.empty(0, np.int64), *(np.empty(0) for _ in range(5)))


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one answer that lie in the range that was asked for, each time once, and what else it said.

    ``first`` and ``last`` are the times of all rows that it held, None where it held none: between them it is complete.
    """

    columns: Columns
    rows: int
    first: int | None = None
    last: int | None = None

    def __len__(self) -> int:
        return len(self.columns[0])


def page_of(columns: Columns, start: int, end: int) -> Page:
    """A page of what an answer held: oldest first, of several rows of one time the last, cut to ``[start, end)``."""
    time = columns[0]
    rows = len(time)
    if not rows:
        return Page(_EMPTY, 0)
    if not (time[1:] > time[:-1]).all():
        order = np.argsort(time, kind="stable")
        if time[0] > time[-1] and (time[1:] <= time[:-1]).all():  # newest first: of equal ones the first is the latest
            order = order if (time[1:] < time[:-1]).all() else np.lexsort((-np.arange(rows), time))
        ordered = time[order]
        order = order[np.append(ordered[1:] != ordered[:-1], True)]
        columns = tuple(column[order] for column in columns)
        time = columns[0]
    first, last = int(time[0]), int(time[-1])
    if first < start or last >= end:
        kept = slice(*np.searchsorted(time, (start, end)))
        columns = tuple(column[kept] for column in columns)
    return Page(columns, rows, first, last)


def columns_of(rows: Any) -> Columns:
    """Rows as ccxt has them, which may hold None and texts; raises ValueError or TypeError for what is none."""
    if not isinstance(rows, Sequence) or isinstance(rows, str):
        raise TypeError(f"candles come as {type(rows).__name__}")
    rows = [row for row in rows if row is not None and row[0] is not None]
    if not rows:
        return _EMPTY
    time = np.array([int(row[0]) for row in rows], np.int64)
    prices = [np.array([row[place] for row in rows], np.float64) for place in range(1, 5)]
    volume = np.array([row[5] if len(row) > 5 else None for row in rows], np.float64)
    return time, *prices, volume


def parse_klines(body: str, market: Mapping[str, Any]) -> Columns:
    """Binance's candles, lists of twelve texts, as columns; raises ValueError where it is anything else.

    Lists of lists without anything nested are rows of CSV but for their brackets, which Arrow reads without making an object
    of every value, and while other threads run.
    """
    from pyarrow import BufferReader
    from pyarrow.csv import read_csv

    volume = 7 if market.get("inverse") else 5  # of coin-margined ones the sixth counts contracts
    if not (body.startswith("[[") and body.endswith("]]")):
        raise ValueError("it is no list of lists")
    rows = body[2:-2].replace("],[", "\n").encode()
    table = read_csv(BufferReader(rows), **_klines_as_csv(volume))
    return tuple(column.combine_chunks().to_numpy() for column in table.columns)


@lru_cache(maxsize=2)
def _klines_as_csv(volume: int) -> dict[str, Any]:
    import pyarrow as pa
    from pyarrow.csv import ConvertOptions, ReadOptions

    wanted = [str(place) for place in (0, 1, 2, 3, 4, volume)]
    types = dict.fromkeys(wanted, pa.float64()) | {"0": pa.int64()}
    return {
        "read_options": ReadOptions(column_names=[str(place) for place in range(12)], use_threads=False, block_size=1 << 26),
        "convert_options": ConvertOptions(include_columns=wanted, column_types=types, null_values=[], check_utf8=False),
    }


#: How to read what :attr:`cracktrader_ccxt.facts.Facts.raw` names.
READERS: Final[dict[str, Callable[[str, Mapping[str, Any]], Columns]]] = {"klines": parse_klines}


class Candles:
    """Candles of one market and timeframe of one exchange, as :class:`cracktrader_ccxt.desk.Desk` gets them."""

    def __init__(self, desk: Any, market: Mapping[str, Any], frame: Timeframe, spelled: str, raw: str, params: Any) -> None:
        self._desk, self._market, self._spelled = desk, market, spelled
        self._reader = None if market.get("option") or market.get("subType") == "quanto" else READERS.get(raw)
        self._params = dict(params)
        self.frame = frame

    def ask(self, since: int, limit: int, patience: Any, told: Callable[[], str]) -> Columns:
        """The rows that the exchange sends of those since a time, at most ``limit``; unsorted, with whatever else it sends."""
        exchange, symbol = self._desk.exchange, self._market["symbol"]

        def question(call: Any) -> Columns:
            rows = exchange.fetch_ohlcv(symbol, self._spelled, since, limit, dict(self._params))
            body = call.answer.body
            if self._reader is None or rows or not body.startswith("[["):
                return columns_of(rows)
            try:
                return self._reader(body, self._market)
            except (ValueError, TypeError, IndexError):
                return self._by_ccxt(body)

        return self._desk.ask(question, patience, told, raw=self._reader is not None)  # type: ignore[no-any-return]

    def _by_ccxt(self, body: str) -> Columns:
        """What the reader could not read, read by ccxt; an answer that was cut off is worth another try."""
        import ccxt

        try:
            rows = orjson.loads(body)
        except ValueError:
            raise ccxt.BadResponse(f"{self._desk.name} sent an answer that is cut off, of {len(body):,} characters") from None
        return columns_of(self._desk.exchange.parse_ohlcvs(rows, self._market, self._spelled))
