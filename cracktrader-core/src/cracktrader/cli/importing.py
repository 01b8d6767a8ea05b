"""``cracktrader catalog import``: which files hold bars, and under which series they are kept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from cracktrader import __version__
from cracktrader.bars import Bars
from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.catalog.transfer import SERIES, FreqtradeFile, keep, read_file
from cracktrader.errors import InvalidOption, MalformedData
from cracktrader.loading import load, source
from cracktrader.quality.gaps import coarser_by

__all__ = ["Importer", "files_in"]

_CSV: Final = re.compile(r"(?i)\.(csv|tsv|txt)(\.(gz|bz2|xz|zst|zip))?$")


def files_in(path: Path) -> list[Path]:
    """A file, or those in a folder that may hold bars: freqtrade's, by their names, and Parquet files."""
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.rglob("*")) if file.is_file() and (file.suffix == ".parquet" or FreqtradeFile.of(file))]
    if not found:
        raise InvalidOption(
            f"There are no bars to import in {str(path)!r}.",
            hint="In folders, Parquet files are found, and files named as freqtrade names them (BTC_USDT-1h.feather)."
            " Give a CSV file by its own name.",
        )
    return found


class Importer:
    """Reads files, and keeps their bars as if ``whose`` source had been asked for them.

    Without a source, files say themselves which series they are: those that a catalog exported, and freqtrade's, whose
    folder names the exchange.
    """

    def __init__(self, catalog: Catalog, whose: str | None, options: Mapping[str, Any], *, overwrite: bool) -> None:
        self._catalog = catalog
        self._whose = whose
        self._options = options
        self._overwrite = overwrite
        self._identities: dict[str, Mapping[str, Any]] = {}

    def take(
        self, file: Path, symbol: str | None = None, timeframe: str | None = None, csv: Mapping[str, Any] | None = None
    ) -> tuple[SeriesKey, int, int]:
        """Import a file; its series, how many bars it holds, and how many of them were kept."""
        named = FreqtradeFile.of(file)
        if named is not None:
            symbol, timeframe = symbol or named.symbol, timeframe or named.timeframe
        is_csv = _CSV.search(file.name) is not None
        bars = _read_csv(file, symbol, timeframe, csv or {}) if is_csv else read_file(file, symbol, timeframe)
        _refuse_other_length(file, bars)
        key = self._key(file, bars, named)
        kept = keep(self._catalog, key, bars, origin=file.name, version=__version__, overwrite=self._overwrite)
        return key, len(bars), kept

    def _key(self, file: Path, bars: Bars, named: FreqtradeFile | None) -> SeriesKey:
        if self._whose is None and SERIES in bars.provenance:
            return SeriesKey.from_dict(bars.provenance[SERIES])
        if not bars.symbol:
            raise _unknown_symbol(file)
        if self._whose is not None:
            whose, options = self._whose, self._options
        elif named is not None:
            whose, options = "ccxt", {"exchange": named.exchange}
        else:
            raise InvalidOption(
                f"{file.name!r} does not say which source its bars are from.",
                hint="Say for which loads they shall be the answer: --as ccxt exchange=binance",
            )
        return SeriesKey(whose, self._identity(whose, options), bars.symbol, bars.timeframe)

    def _identity(self, whose: str, options: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a source with these options is known by in a catalog: only the source itself can say."""
        known = f"{whose} {sorted(options.items())}"
        if known not in self._identities:
            with source(whose, **options) as opened:
                self._identities[known] = opened.identity
        return self._identities[known]


def _read_csv(file: Path, symbol: str | None, timeframe: str | None, options: Mapping[str, Any]) -> Bars:
    if symbol is None:  # the source would guess it from the file's name
        raise _unknown_symbol(file)
    return load("csv", path=str(file), symbol=symbol, timeframe=timeframe, validation="off", catalog=False, **options)


def _unknown_symbol(file: Path) -> InvalidOption:
    return InvalidOption(f"{file.name!r} does not say of which symbol it is.", hint="Say it: --symbol BTC/USDT")


def _refuse_other_length(file: Path, bars: Bars) -> None:
    """Bars under the wrong timeframe would count as all that there is of it."""
    frame, time = bars.timeframe, bars.time
    ordinals = np.unique(frame.ordinal(time))
    missing = np.diff(ordinals) - 1
    by = coarser_by(bars[: len(ordinals)], missing[missing > 0])
    finer = len(time) > 1 and np.count_nonzero(frame.floor(time) != time) > len(time) / 2
    if by > 1 or finer:
        real = f"bars of {frame * by}" if by > 1 else "shorter bars"
        raise MalformedData(f"{file.name!r} holds {real}, not bars of {frame}.", hint="Say the timeframe that they have.")
