"""Bars that no source was asked for into a catalog, and what it holds into files."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.catalog.catalog import Catalog
from cracktrader.catalog.files import rows_digest
from cracktrader.catalog.intervals import subtract
from cracktrader.catalog.ledger import Fetch, SeriesKey
from cracktrader.catalog.series import DamagedFile, SeriesStore
from cracktrader.catalog.upkeep import damaged, whole
from cracktrader.errors import InvalidOption, MalformedData, SourceNotFound
from cracktrader.interchange import to_bars
from cracktrader.times import now_ms

__all__ = ["FREQTRADE", "SERIES", "FreqtradeFile", "export", "freqtrade_files", "keep", "read_file"]

#: Where the provenance of an exported file says which series it is.
SERIES: Final = "catalog_series"
#: How freqtrade names a file of candles; mark and index prices, funding rates and trades are named alike, and are no bars.
FREQTRADE: Final = re.compile(r"(?P<pair>.+)-(?P<frame>\d+[a-zA-Z]+)(?P<futures>-futures)?\.(feather|parquet|json|json\.gz)")


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────


def keep(
    catalog: Catalog, key: SeriesKey, bars: Bars, *, origin: str, version: str = "", overwrite: bool = False
) -> int:  # fmt: skip
    """Keep bars as if their source had been asked for the time from the first to the last of them; how many were kept.

    What the catalog covers already stays as it was fetched, unless told to ``overwrite`` it: bars that differ are then
    flagged REVISED, and the old ones kept in the log. Bars that are not over yet are left out. ``origin`` and ``version``
    are written down as what the bars came from, and what read it.

    Raises :class:`CatalogError`.
    """
    frame, now = key.timeframe, now_ms()
    bars = bars.in_order()
    bars = bars[frame.next(bars.time) <= now].but(symbol=key.symbol, source=key.source)
    if not len(bars):
        return 0
    span = (frame.floor(int(bars.time[0])), frame.next(int(bars.time[-1])))
    series, kept = catalog.series(key), 0
    with series.lock():
        ledger = series.ledger()
        said = {name: value for name, value in bars.provenance.items() if name != SERIES}
        ledger = replace(ledger, provenance={**said, **ledger.provenance})
        for start, end in (span,) if overwrite else subtract([span], ledger.coverage):
            part = bars[(bars.time >= start) & (bars.time < end)]
            fetch = Fetch(start, end, len(part), rows_digest(part), now, end, "import", version, {"file": origin})
            try:
                ledger = series.commit(ledger, part, fetch)
            except DamagedFile as damage:
                raise damaged(series, damage) from damage
            kept += len(part)
    return kept


@dataclass(frozen=True)
class FreqtradeFile:
    """A file of freqtrade's: its exchange is the folder's name, the symbol ccxt's."""

    path: Path
    exchange: str
    symbol: str
    timeframe: str

    @classmethod
    def of(cls, path: Path) -> FreqtradeFile | None:
        """What the name of a file says; None where it is not one of candles."""
        if (named := FREQTRADE.fullmatch(path.name)) is None:
            return None
        folder = path.absolute().parent
        base, _, rest = named["pair"].partition("_")
        symbol = f"{base}/{rest.replace('_', ':', 1)}" if rest else base
        exchange = folder.parent.name if folder.name == "futures" else folder.name
        return cls(path, exchange, symbol, re.sub(r"(?i)mo$", "M", named["frame"]))


def freqtrade_files(folder: Path) -> list[FreqtradeFile]:
    """The candles in a folder of freqtrade's (``user_data``, or any below it)."""
    found = (FreqtradeFile.of(path) for path in sorted(folder.rglob("*")) if path.is_file())
    return [file for file in found if file is not None]


def read_file(path: Path, symbol: str | None = None, timeframe: str | None = None) -> Bars:
    """The bars of a Parquet, Feather (Arrow) or JSON file; files of ours know their symbol and timeframe.

    JSON is a list of ``[time, open, high, low, close, volume]``, or of mappings, and may be gzipped.
    Raises :class:`SourceNotFound`, :class:`MalformedData`, :class:`InvalidOption`.
    """
    if not path.is_file():
        raise SourceNotFound(f"There is no file {str(path)!r}.", path=str(path))
    kind = "".join(path.suffixes[-2:]).lower() if path.suffix.lower() == ".gz" else path.suffix.lower()
    if kind == ".parquet":
        return Bars.from_parquet(path, symbol=symbol, timeframe=timeframe)
    if kind == ".feather":
        return to_bars(_feather(path), symbol=symbol, timeframe=timeframe)
    if kind in (".json", ".json.gz"):
        return Bars.from_records(_json(path), symbol=symbol or "", timeframe=_said(timeframe))
    raise InvalidOption(
        f"{path.name!r} can't be imported.",
        hint="Give a .csv, .parquet, .feather, .json or .json.gz file, or a folder of freqtrade's.",
    )


def _said(timeframe: str | None) -> str:
    if timeframe is None:
        raise InvalidOption("The timeframe of these bars is not known.", hint="Say it: timeframe='1h'.")
    return timeframe


def _feather(path: Path) -> Any:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except (pa.ArrowException, OSError) as error:
        raise MalformedData(f"{path} can't be read as Feather: {error}", hint="Is it whole, and a Feather file?") from error


def _json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        rows = json.loads(gzip.decompress(data) if path.suffix.lower() == ".gz" else data)
    except (OSError, EOFError, ValueError) as error:
        raise MalformedData(f"{path} can't be read as JSON: {error}", hint="Is it whole?") from error
    if not isinstance(rows, list):
        raise MalformedData(f"{path} holds {type(rows).__name__}, not a list of bars.")
    return rows


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────


def export(series: SeriesStore, path: Path) -> int:
    """Write the bars of a series, as the source sent them, to a ``.csv`` or ``.parquet`` file; how many there were.

    The file is whole or not there. A Parquet file says which series it is, so that it can be imported again.

    Raises :class:`CatalogError`, and :class:`InvalidOption` for a path that can't be written.
    """
    _, bars = whole(series)
    told = bars.but(provenance={**bars.provenance, SERIES: series.key.to_dict()})
    if path.suffix.lower() == ".parquet":
        told.to_parquet(path)
    elif path.suffix.lower() == ".csv":
        told.to_csv(path)
    else:
        raise InvalidOption(f"Bars can't be written as {path.name!r}.", hint="Give a file ending in .csv or .parquet.")
    return len(bars)
