"""Upkeep: finding every series in whatever state, verifying, mending, compacting, removing and copying them."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase

from cracktrader.bars import Bars
from cracktrader.catalog import files
from cracktrader.catalog.catalog import Catalog, CatalogWarning
from cracktrader.catalog.ledger import File, Ledger, SeriesKey
from cracktrader.catalog.series import LEDGER, QUARANTINE, DamagedFile, SeriesStore, named
from cracktrader.errors import CatalogDamaged, ConfigurationError

__all__ = ["Damage", "compact", "copy", "damaged", "mend", "remove", "select", "verify", "whole"]


@dataclass(frozen=True)
class Damage:
    """What is wrong with a file of a series; ``file`` is None where it is the ledger."""

    name: str
    reason: str
    file: File | None = None


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────


def select(catalog: Catalog, source: str = "*", symbol: str = "*", timeframe: str = "*") -> list[SeriesStore]:
    """The series whose names fit the patterns, by source, symbol and length of bar.

    Those with a damaged or lost ledger are among them: :meth:`SeriesStore.ledger` then raises. A folder that does not
    tell its series any more is warned about.
    """
    found = [
        series
        for series in _every(catalog)
        if all(map(fnmatchcase, (series.key.source, series.key.symbol, series.key.timeframe), (source, symbol, timeframe)))
    ]
    return sorted(found, key=lambda one: (one.key.source, str(one.key.identity), one.key.symbol, one.key.timeframe.shortest))


def _every(catalog: Catalog) -> Iterator[SeriesStore]:
    holding_data = (folder for folder in catalog.store.find("*.parquet") if not folder.endswith("/damaged"))
    for folder in sorted({*catalog.store.find(LEDGER), *holding_data}):
        keys = _keys_told(catalog, folder)
        series = next((found for key in keys if (found := catalog.series(key)).folder == folder), None)
        if series is not None:
            yield series
        else:
            warnings.warn(
                f"{catalog.root}/{folder} does not tell which series it is: it was left out. Was it moved by hand?",
                CatalogWarning,
                stacklevel=4,
            )


def _keys_told(catalog: Catalog, folder: str) -> Iterator[SeriesKey]:
    """Which series a folder is, by its ledger, then by its data files."""
    with suppress(FileNotFoundError, KeyError, TypeError, ValueError):
        yield SeriesKey.from_dict(json.loads(bytes(catalog.store.read(f"{folder}/{LEDGER}")))["series"])
    for name, _ in catalog.store.files(folder):
        if name.endswith(".parquet"):
            with suppress(Exception):  # whatever it is, it tells nothing
                yield SeriesKey.from_dict(files.about(named(name, catalog.store.read(f"{folder}/{name}")))["series"])


# ── verifying and mending ────────────────────────────────────────────────────────────────────────────


def verify(series: SeriesStore) -> list[Damage]:
    """Read every file of a series whole, and say what is not as it was written; changes nothing.

    Raises :class:`CatalogTooNew`.
    """
    try:
        ledger = series.ledger()
    except CatalogDamaged as damage:
        return [Damage(LEDGER, damage.message)]
    found = [Damage(file.name, reason, file) for file in (*ledger.files, *ledger.revisions) if (reason := _fault(series, file))]
    if found:  # by whoever writes to the series meanwhile, files are replaced
        ledger = series.ledger()
    return [damage for damage in found if damage.file in (*ledger.files, *ledger.revisions)]


def whole(series: SeriesStore) -> tuple[Ledger, Bars]:
    """The ledger of a series and all its bars, which fit together whoever writes to it meanwhile.

    Raises :class:`CatalogDamaged`, :class:`CatalogTooNew`.
    """
    ledger = series.ledger()
    while True:
        try:
            return ledger, series.read(ledger)
        except DamagedFile as damage:
            before, ledger = ledger, series.ledger()
            if ledger == before:
                raise damaged(series, damage) from damage


def damaged(series: SeriesStore, damage: DamagedFile) -> CatalogDamaged:
    """The error of a damaged file, for users."""
    return CatalogDamaged(
        f"{series}/{damage.file.name} is damaged: {damage.reason}.",
        hint="Run: cracktrader catalog repair. It sets the file aside, and fetches what it held again.",
    )


def mend(series: SeriesStore) -> list[Damage]:
    """Set damaged files aside, and make a lost ledger again of the data files; what was found.

    What the files held then counts as never fetched; the files are kept in the folder ``damaged``.
    """
    found = verify(series)
    if [damage for damage in found if damage.file is None]:
        series.rebuild(found[0].reason)
        found += verify(series)
    for damage in found:
        if damage.file is not None:
            series.set_aside(DamagedFile(damage.file, damage.reason))
    return found


def _fault(series: SeriesStore, file: File) -> str:
    try:
        series.check(file)
    except DamagedFile as damage:
        return damage.reason
    return ""


# ── compacting, removing and copying ─────────────────────────────────────────────────────────────────


def compact(series: SeriesStore) -> tuple[int, int]:
    """Join records of fetches that touch, and delete the files that interrupted writers left behind.

    Returns how many records became fewer, and how many files were deleted. Bars, coverage and revisions stay.
    """
    with series.lock():
        ledger = series.ledger()
        compacted = ledger.compacted()
        if compacted != ledger:
            series.save(compacted)
        return len(ledger.fetches) - len(compacted.fetches), series.sweep(compacted)


def remove(series: SeriesStore) -> None:
    """Delete a series with all that was kept of it.

    An empty ledger comes first, so that whatever is interrupted leaves no half of a series that looks like one.
    """
    with series.lock():
        series.save(Ledger(series.key))
        for name, _ in series.store.files(series.folder):
            if name not in (LEDGER, ".lock"):
                series.store.delete(series.path(name))
        series.store.delete(series.path("damaged"))
        series.store.delete(series.path(LEDGER))


def copy(series: SeriesStore, to: Catalog) -> bool:
    """Copy a series into another catalog, the ledger last; False where that one holds the series already.

    Raises :class:`CatalogDamaged` where a file is not as it was written, and then leaves an empty series.
    """
    target, empty = to.series(series.key), Ledger(series.key)
    if str(target) == str(series):
        raise ConfigurationError(f"{series} can't be copied to itself.", hint="Name another root.")
    with series.lock(), target.lock():
        if target.ledger() != empty:
            return False
        ledger = series.ledger()
        target.save(empty)
        for file in (*ledger.files, *ledger.revisions):
            if reason := _fault(series, file):
                raise damaged(series, DamagedFile(file, reason))
            target.store.write(target.path(file.name), series.store.read(series.path(file.name)))
        with suppress(FileNotFoundError):
            target.store.write(target.path(QUARANTINE), series.store.read(series.path(QUARANTINE)))
        target.save(ledger)
    return True
