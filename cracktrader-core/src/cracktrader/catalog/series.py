"""One series in a store: its ledger, its files, and how both change together."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from cracktrader.bars import Bars, Flag
from cracktrader.catalog import files
from cracktrader.catalog.files import in_threads
from cracktrader.catalog.intervals import BEGINNING, Interval, Intervals, intersect
from cracktrader.catalog.ledger import REPAIR, SCHEMA, SETTLING, Fetch, File, Ledger, SeriesKey, too_new
from cracktrader.catalog.naming import identity_name, name_of, period_of, periods, timeframe_name
from cracktrader.catalog.store import FolderStore, Store
from cracktrader.errors import CatalogDamaged, CatalogError, CatalogTooNew, CatalogUnwritable
from cracktrader.times import isoformat, now_ms

__all__ = ["LEDGER", "QUARANTINE", "DamagedFile", "SeriesStore", "named", "read_ledger"]

LEDGER: Final = "ledger.json"
_DAMAGED: Final = "damaged"
#: The names that files get: whatever else lies in the folder is not ours to delete.
_NAMED: Final = 16  # so much of their digest
_DATA: Final = re.compile(rf"[0-9a-z-]+\.[0-9a-f]{{{_NAMED}}}\.parquet")
_TEMPORARY: Final = re.compile(r"\.[0-9a-f]{12}\.tmp")
QUARANTINE: Final = "quarantine.csv"
#: The period of the files that hold what a later fetch replaced.
_REVISED: Final = "revised"
_HEADER: Final = "time,open,high,low,close,volume,reason"


class DamagedFile(Exception):  # noqa: N818 - never leaves this room
    """A data file is not what its ledger says."""

    def __init__(self, file: File, reason: str) -> None:
        super().__init__(reason)
        self.file = file
        self.reason = reason


class SeriesStore:
    """The folder of one series. Reading takes no lock; whoever changes something holds :meth:`lock`."""

    def __init__(self, store: Store, key: SeriesKey, folder: str = "") -> None:
        self.store = store
        self.key = key
        market = (name_of(key.source, "source"), identity_name(key.identity))
        self.folder = folder or "/".join((*market, name_of(key.symbol, "symbol"), timeframe_name(key.timeframe)))

    def __str__(self) -> str:
        return f"{self.store.root}/{self.folder}"

    def lock(self) -> AbstractContextManager[object]:
        """Held while the series changes, and while it is fetched."""
        return self.store.lock(self.folder)

    def path(self, name: str) -> str:
        """A file of this series, relative to the root."""
        return f"{self.folder}/{name}"

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────

    def ledger(self) -> Ledger:
        """What is known of the series; raises :class:`CatalogDamaged`, :class:`CatalogTooNew`."""
        found = self._ledger()
        if found is None and self._has_data():
            # The first ledger comes before the first file: where there is none now either, it was lost.
            found = self._ledger()
            if found is None:
                raise CatalogDamaged(f"{self}/{LEDGER} is not there, though data files are.", hint=REPAIR)
        return Ledger(self.key) if found is None else found

    def _ledger(self) -> Ledger | None:
        try:
            found = read_ledger(self.store, self.folder)
        except FileNotFoundError:
            return None
        if found.key != self.key:
            raise CatalogDamaged(f"{self}/{LEDGER} is that of another series, {found.key}.", hint="Was the folder moved by hand?")
        return found

    def _has_data(self) -> bool:
        return any(_DATA.fullmatch(name) for name, _ in self.store.files(self.folder))

    def read(self, ledger: Ledger, start: int | None = None, end: int | None = None) -> Bars:
        """The bars that open in ``[start, end)``, as the source sent them; raises :class:`DamagedFile`."""
        wanted = ledger.files_in(start, end)
        try:
            return self._read(wanted, start, end, ledger)
        except DamagedFile:
            raise
        except Exception:
            for file in wanted:  # which one is it?
                self.check(file)
            raise

    def head(self, ledger: Ledger, start: int | None, end: int | None, limit: int) -> Bars:
        """The first bars of ``[start, end)``, at most ``limit``; reads no more files than that takes."""
        return self._some(ledger, ledger.files_in(start, end), start, end, limit)[:limit]

    def tail(self, ledger: Ledger, start: int | None, end: int | None, limit: int) -> Bars:
        """The last bars of ``[start, end)``, at most ``limit``."""
        return self._some(ledger, ledger.files_in(start, end)[::-1], start, end, limit)[-limit:]

    def _some(self, ledger: Ledger, wanted: list[File], start: int | None, end: int | None, limit: int) -> Bars:
        taken, rows = 0, 0
        while taken < len(wanted) and rows < limit:
            file = wanted[taken]
            whole = (start is None or start <= file.first) and (end is None or file.last < end)
            rows += file.rows if whole else len(self.read(replace(ledger, files=(file,)), start, end))
            taken += 1
        chosen = tuple(sorted(wanted[:taken], key=lambda file: file.first))
        return self.read(replace(ledger, files=chosen), start, end)

    def _read(self, wanted: Iterable[File], start: int | None, end: int | None, ledger: Ledger) -> Bars:
        key = self.key
        return files.read(
            [partial(self._bytes, file) for file in wanted], start, end,
            symbol=key.symbol, timeframe=key.timeframe, source=key.source, provenance=ledger.provenance,
        )  # fmt: skip

    def _bytes(self, file: File) -> bytes | memoryview:
        """What a file holds, found to be what was written: no less may be parsed, since a damaged footer can end the process."""
        try:
            data = self.store.read(self.path(file.name))
        except FileNotFoundError:
            raise DamagedFile(file, "it is not there") from None
        if len(data) != file.bytes:
            raise DamagedFile(file, f"it has {len(data):,} bytes instead of {file.bytes:,}")
        if files.digest(data) != file.digest:
            raise DamagedFile(file, "its digest is not the one that was written down")
        return data

    def check(self, file: File) -> None:
        """Read a file whole; raises :class:`DamagedFile`."""
        data = self._bytes(file)
        try:
            rows = len(files.read([lambda: data], None, None, symbol="", timeframe=self.key.timeframe))
        except Exception as error:
            raise DamagedFile(file, f"{type(error).__name__}: {str(error).partition(chr(10))[0]}") from error
        if rows != file.rows:
            raise DamagedFile(file, f"it holds {rows:,} rows instead of {file.rows:,}")

    # ── changing, under the lock ─────────────────────────────────────────────────────────────────────

    def commit(self, ledger: Ledger, bars: Bars, fetch: Fetch) -> Ledger:
        """Keep what a fetch brought, and that it did; ``bars`` are ordered, and replace those of its interval.

        A bar that differs from the one held is flagged REVISED, and the old one kept in the log of revisions. One that
        the source does not deliver any more is kept, and flagged SUSPECT. Files come first, the ledger last.
        """
        try:
            return self._commit(ledger, bars, fetch)
        except CatalogUnwritable:
            with suppress(CatalogError):  # what was written has no ledger, and takes the room that lacks
                self._sweep(self.ledger())
            raise

    def _commit(self, ledger: Ledger, bars: Bars, fetch: Fetch) -> Ledger:
        if not ledger.fetches and self._ledger() is None:
            self.save(ledger)
        inside = ledger.files_in(fetch.start, fetch.end)
        covered = ledger.with_fetch(fetch)
        oldest = min([*(file.first for file in ledger.files), *bars.time[:1].tolist()], default=0)
        kept = [file for file in ledger.files if file not in inside]
        added: list[File] = []
        replaced: list[Bars] = []
        to_write: list[tuple[str, Bars]] = []
        for period, rows in self._periods(inside, bars):
            present = next((file for file in ledger.files if file.period == period), None)
            if present is None:
                to_write.append((period, rows))
                continue
            old = self.read(replace(ledger, files=(present,)))
            new, gone = _merged(old, rows, fetch.interval)
            replaced += [gone] if len(gone) else []
            kept = [file for file in kept if file is not present]
            if new == old:
                added.append(present)
            else:
                to_write.append((period, new))
        added += in_threads(lambda one: self._write(*one, covered, oldest), to_write)
        changed = replace(covered, files=tuple(sorted((*kept, *added), key=lambda file: file.first)))
        if replaced:
            changed = replace(changed, revisions=(*changed.revisions, self._write(_REVISED, Bars.concat(replaced), None)))
        self.save(changed)
        self._sweep(changed)
        return changed

    def _sweep(self, ledger: Ledger) -> None:
        if isinstance(self.store, FolderStore):  # elsewhere another machine may still read what was replaced
            self.sweep(ledger)

    def _periods(self, inside: Iterable[File], bars: Bars) -> list[tuple[str, Bars]]:
        """The periods that a commit touches, each with its new rows."""
        frame = self.key.timeframe
        touched = {file.period: bars[:0] for file in inside}
        if len(bars):
            numbers = period_of(frame).ordinal(bars.time)
            starts = np.flatnonzero(np.diff(numbers, prepend=numbers[0] - 1))
            for start, stop in zip(starts, [*starts[1:], len(bars)], strict=True):
                touched[periods(frame, int(bars.time[start]))] = bars[int(start) : int(stop)]
        return sorted(touched.items(), key=lambda one: one[0])

    def _write(self, period: str, rows: Bars, ledger: Ledger | None, oldest: int = 0) -> File:
        """Write a file of its own; in its metadata is all that a lost ledger could be made of again."""
        first, last = int(rows.time[0]), int(rows.time[-1])
        said: dict[str, Any] = {"schema": SCHEMA, "series": self.key.to_dict(), "period": period, "written": time.time_ns()}
        if ledger is not None:
            lies_in = period_of(self.key.timeframe)
            said["coverage"] = _coverage_of(ledger, (lies_in.floor(first), lies_in.next(last)), holds_oldest=first <= oldest)
            said["provenance"] = dict(ledger.provenance)
        data = files.encode(rows, said)
        digest = files.digest(data)
        name = f"{period}.{digest[:_NAMED]}.parquet"
        self.store.write(self.path(name), data)
        return File(name, period, first, last, len(rows), len(data), digest)

    def save(self, ledger: Ledger) -> None:
        """Make this the ledger."""
        self.store.write(self.path(LEDGER), ledger.to_json())

    def sweep(self, ledger: Ledger) -> int:
        """Delete the files that were replaced, and what interrupted writers left behind; how many that were."""
        named = {file.name for file in (*ledger.files, *ledger.revisions)}
        names = (name for name, _ in self.store.files(self.folder) if name not in named)
        left = [name for name in names if _DATA.fullmatch(name) or _TEMPORARY.fullmatch(name)]
        for name in left:
            self.store.delete(self.path(name))
        return len(left)

    # ── what the checks took out ─────────────────────────────────────────────────────────────────────

    def note_quarantine(self, bars: Bars, reasons: Sequence[str]) -> None:
        """Add rows and reasons to the list of this series; those that are in it already are not added again."""
        numbers = (bars[name].tolist() for name in ("open", "high", "low", "close", "volume"))
        rows = zip(bars.time.tolist(), *numbers, reasons, strict=True)
        lines = [",".join([isoformat(time), *map(repr, values), reason]) for time, *values, reason in rows]
        if not set(lines) <= set(self.quarantine()):
            with self.lock():
                known = self.quarantine()
                every = sorted({*known, *lines})
                self.store.write(self.path(QUARANTINE), "\n".join([_HEADER, *every, ""]).encode())

    def quarantine(self) -> list[str]:
        """The rows that checks took out: lines of CSV, ``time,open,high,low,close,volume,reason``."""
        try:
            return bytes(self.store.read(self.path(QUARANTINE))).decode().splitlines()[1:]
        except FileNotFoundError:
            return []

    # ── damage ───────────────────────────────────────────────────────────────────────────────────────

    def set_aside(self, damage: DamagedFile) -> bool:
        """Take a damaged file out of use: its interval counts as never fetched. False where someone else did already."""
        file = damage.file
        with self.lock():
            ledger = self.ledger()
            if file not in (*ledger.files, *ledger.revisions):
                return False
            lies_in = period_of(self.key.timeframe)
            lost = intersect(ledger.coverage, [(lies_in.floor(file.first), lies_in.next(file.last))] * (file in ledger.files))
            left = tuple(one for one in ledger.files if one != file)
            revisions = tuple(one for one in ledger.revisions if one != file)
            incidents = (*ledger.incidents, _incident(file.name, damage.reason, file.rows, lost))
            self.save(replace(ledger.without(lost), files=left, revisions=revisions, incidents=incidents))
            self._keep(file.name)
        return True

    def rebuild(self, reason: str) -> Ledger | None:
        """Make a new ledger from what the data files say of themselves, in place of a damaged one, or of none.

        None where the ledger is well by now.
        """
        with self.lock():
            with suppress(CatalogDamaged):
                self.ledger()
                return None
            with suppress(FileNotFoundError):  # a copy: at no time is there none
                self.store.write(self._aside(LEDGER), self.store.read(self.path(LEDGER)))
            best: dict[str, tuple[int, File, Mapping[str, Any]]] = {}
            for name, size in self.store.files(self.folder):
                if name.endswith(".parquet"):
                    self._examine(name, size, best)
            rebuilt = Ledger(self.key)
            for _, file, said in sorted(best.values(), key=lambda one: one[1].first):
                if file.period == _REVISED:
                    rebuilt = replace(rebuilt, revisions=(*rebuilt.revisions, file))
                    continue
                rebuilt = replace(rebuilt, provenance=said["provenance"], files=(*rebuilt.files, file))
                for start, end in said["coverage"]:
                    begin, written = BEGINNING if start is None else start, said["written"] // 1_000_000
                    settled = min(end, max(begin, self.key.timeframe.floor(written - SETTLING)))
                    rebuilt = rebuilt.with_fetch(Fetch(begin, end, 0, "", written, settled, plugin="rebuilt"))
            rebuilt = replace(rebuilt, incidents=(_incident(LEDGER, reason, rebuilt.rows),))
            self.save(rebuilt)
            return rebuilt

    def _examine(self, name: str, size: int, best: dict[str, tuple[int, File, Mapping[str, Any]]]) -> None:
        """Note a data file, if it is whole, and the newest of its period; of revisions, each."""
        data = self.store.read(self.path(name))
        try:
            said = files.about(named(name, data))
            if said["schema"] > SCHEMA:
                raise too_new(f"{self}/{name}", said["schema"])
            bars = files.read([lambda: data], None, None, symbol="", timeframe=self.key.timeframe)
            if SeriesKey.from_dict(said["series"]) != self.key:
                raise ValueError("it belongs to another series")
            found = File(name, said["period"], int(bars.time[0]), int(bars.time[-1]), len(bars), size, files.digest(data))
        except CatalogTooNew:
            raise
        except Exception:  # whatever it is, it is no data file of ours
            self._keep(name)
            return
        place = name if found.period == _REVISED else found.period
        if said["written"] > best.get(place, (0,))[0]:
            best[place] = said["written"], found, said

    def _keep(self, name: str) -> None:
        """Move a file to where nobody reads it."""
        with suppress(FileNotFoundError):
            self.store.move(self.path(name), self._aside(name))

    def _aside(self, name: str) -> str:
        return self.path(f"{_DAMAGED}/{time.time_ns()}.{name}")


def read_ledger(store: Store, folder: str) -> Ledger:
    """The ledger in a folder; raises ``FileNotFoundError``, and :class:`CatalogDamaged` for one that reads the same twice.

    An object store tells the size first and gives so many bytes then: an object that was replaced in between comes cut off.
    """
    path = f"{folder}/{LEDGER}"
    data: bytes | None = None
    while True:
        before, data = data, bytes(store.read(path))
        try:
            return Ledger.from_json(data, f"{store.root}/{path}")
        except CatalogDamaged:
            if data == before:
                raise


def named(name: str, data: bytes | memoryview) -> bytes | memoryview:
    """The bytes of a data file that no ledger tells of, if they are those that got this name; raises ``ValueError``."""
    if not name.endswith(f".{files.digest(data)[:_NAMED]}.parquet"):
        raise ValueError("it is not what was written under this name")
    return data


def _incident(file: str, reason: str, rows: int, lost: Intervals = ()) -> dict[str, Any]:
    at = isoformat(now_ms())
    return {"at": at, "file": file, "reason": reason, "rows": rows, "lost": [list(span) for span in lost]}


def _coverage_of(ledger: Ledger, period: Interval, *, holds_oldest: bool) -> list[tuple[int | None, int]]:
    """The coverage that touches a period, for its file's metadata.

    None is before the first bar; only the file that holds it says so: the others don't speak for what lies before them.
    """
    inside = [list(one) for one in intersect(ledger.coverage, [period])]
    if holds_oldest and inside and any(start == BEGINNING and end >= period[0] for start, end in ledger.coverage):
        inside[0][0] = BEGINNING
    return [(None if start == BEGINNING else start, end) for start, end in inside]


def _merged(old: Bars, new: Bars, interval: Interval) -> tuple[Bars, Bars]:
    """The rows of a file after a fetch of ``interval``, and those of the old that differ from what came."""
    inside = (old.time >= interval[0]) & (old.time < interval[1])
    if not inside.any():
        return _in_order([old, new]), old[:0]
    held, outside = old[inside], old[~inside]
    # Where a time occurs more than once, the last row counts: hence from the end.
    _, i, j = np.intersect1d(held.time[::-1], new.time[::-1], return_indices=True)
    i, j = len(held) - 1 - i, len(new) - 1 - j
    differs = np.zeros(len(i), np.bool_)
    for name in ("open", "high", "low", "close", "volume", *(set(held.extra) & set(new.extra))):
        was, now = held[name][i], new[name][j]
        differs |= (was != now) & ~(np.isnan(was) & np.isnan(now))
    flags = new.flags.copy()
    flags[j] |= held.flags[i] & np.uint8(Flag.REVISED)
    flags[j[differs]] |= np.uint8(Flag.REVISED)
    vanished = ~np.isin(held.time, new.time)
    lost = held[vanished]
    lost = lost.but(flags=lost.flags | np.uint8(Flag.SUSPECT))
    return _in_order([outside, new.but(flags=flags), lost]), held[np.sort(i[differs])]


def _in_order(parts: Sequence[Bars]) -> Bars:
    return Bars.concat([part for part in parts if len(part)] or parts[:1]).in_order()
