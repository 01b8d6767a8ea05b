"""The ledger of one series: which intervals were fetched, what each fetch brought, and which files hold the bars.

A ledger never changes; each change makes a new one, which replaces the old as one file. Files are never written to again
either, and named by their content, so that a ledger and the files that it names always belong together: whatever is
interrupted leaves the old ledger with the old files, and at most a file that nobody names.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from typing import Any, Final

from cracktrader.catalog.intervals import BEGINNING, Interval, Intervals, intersect, merge, subtract
from cracktrader.errors import CatalogDamaged, CatalogTooNew
from cracktrader.timeframe import Timeframe

__all__ = ["REPAIR", "SCHEMA", "SETTLING", "Fetch", "File", "Ledger", "SeriesKey", "too_new"]

#: The version of everything in a catalog: layout, ledger and files. A newer one is not touched.
SCHEMA: Final = 1
#: A bar may still be corrected by the source for so long after its end, in milliseconds.
SETTLING: Final = 3_600_000
#: What to do about a ledger that is damaged or lost.
REPAIR: Final = "Run: cracktrader catalog repair. It makes a new one from the data files."
_FORMAT: Final = "cracktrader.catalog"
#: More records than this are joined where neighbours agree in all but when.
_MOST_FETCHES: Final = 400


@dataclass(frozen=True, eq=False)
class SeriesKey:
    """Which series: a source by name, what it was told to read, the symbol and the timeframe."""

    source: str
    identity: Mapping[str, Any]
    symbol: str
    timeframe: Timeframe

    def __str__(self) -> str:
        told = ", ".join(f"{name}={value}" for name, value in self.identity.items())
        return f"{self.symbol or 'no symbol'} {self.timeframe} from {self.source}" + (f" ({told})" if told else "")

    def __eq__(self, other: object) -> bool:
        """Equal as JSON: a tuple is a list there."""
        return self._json() == other._json() if isinstance(other, SeriesKey) else NotImplemented

    def __hash__(self) -> int:
        return hash((self.source, self.symbol, self.timeframe))

    def _json(self) -> str:
        return json.dumps(self.to_dict(), sort_keys=True)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"source": self.source, "identity": dict(self.identity), "symbol": self.symbol, "timeframe": str(self.timeframe)}

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> SeriesKey:
        """The inverse of :meth:`to_dict`."""
        return cls(said["source"], said["identity"], said["symbol"], Timeframe(said["timeframe"]))


@dataclass(frozen=True, slots=True)
class File:
    """A data file: ``rows`` bars of one period, the first and last of which open at ``first`` and ``last``."""

    name: str
    period: str
    first: int
    last: int
    rows: int
    bytes: int
    digest: str


@dataclass(frozen=True, slots=True)
class Fetch:
    """What one fetch brought of ``[start, end)``: ``rows`` bars with this digest; times in epoch milliseconds UTC.

    ``at`` is when, by the source's clock; bars from ``settled`` on were so fresh then that the source may still correct
    them. ``complete`` is False where the fetch broke off at ``end``. ``fetches`` counts those that were joined.
    """

    start: int
    end: int
    rows: int
    digest: str
    at: int
    settled: int
    plugin: str = ""
    version: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    fetches: int = 1

    @property
    def interval(self) -> Interval:
        """``[start, end)``."""
        return self.start, self.end


@dataclass(frozen=True)
class Ledger:
    """What is known of one series."""

    key: SeriesKey
    files: tuple[File, ...] = ()
    fetches: tuple[Fetch, ...] = ()
    #: Files of rows that a later fetch replaced.
    revisions: tuple[File, ...] = ()
    #: What was found damaged, and what was done.
    incidents: tuple[Mapping[str, Any], ...] = ()
    #: What the source says of its bars, such as the unit of volume.
    provenance: Mapping[str, Any] = field(default_factory=dict)

    # ── coverage ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def coverage(self) -> Intervals:
        """The intervals that were fetched, whether or not there were bars."""
        return merge(fetch.interval for fetch in self.fetches)

    def provisional(self, older_than: int | None = None) -> Intervals:
        """What was fetched so freshly that the source may have corrected it since; of fetches before ``older_than`` only."""
        fresh = (fetch for fetch in self.fetches if older_than is None or fetch.at <= older_than)
        return merge((max(fetch.start, fetch.settled), fetch.end) for fetch in fresh)

    def believed(self, *, now: int, ttl: float) -> Intervals:
        """What need not be fetched again: the coverage without what has been provisional for ``ttl`` ms."""
        return subtract(self.coverage, self.provisional(now - int(ttl)))

    def needs(self, wanted: Interval, *, now: int, ttl: float) -> Intervals:
        """What must be fetched to answer for ``wanted``. Whoever goes to the source asks for all that is provisional, too."""
        missing = subtract([wanted], self.believed(now=now, ttl=ttl))
        return merge(missing, intersect([wanted], self.provisional())) if missing else ()

    @property
    def rows(self) -> int:
        """How many bars are held."""
        return sum(file.rows for file in self.files)

    @property
    def size(self) -> int:
        """The size of all data files, in bytes."""
        return sum(file.bytes for file in (*self.files, *self.revisions))

    @property
    def first(self) -> int | None:
        """When the first bar opens."""
        return min((file.first for file in self.files), default=None)

    @property
    def last(self) -> int | None:
        """When the last bar opens."""
        return max((file.last for file in self.files), default=None)

    def files_in(self, start: int | None, end: int | None) -> list[File]:
        """The files that may hold bars of ``[start, end)``, in order."""
        return [file for file in self.files if (end is None or file.first < end) and (start is None or file.last >= start)]

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────

    def with_fetch(self, fetch: Fetch) -> Ledger:
        """The ledger after a fetch; what earlier ones say of its interval does not hold any more."""
        if fetch.start >= fetch.end:
            return self
        fetches = sorted((*self.without([fetch.interval]).fetches, fetch), key=lambda one: one.start)
        return replace(self, fetches=_joined(fetches) if len(fetches) > _MOST_FETCHES else tuple(fetches))

    def without(self, lost: Iterable[Interval]) -> Ledger:
        """The ledger after the intervals were lost: they count as never fetched."""
        gone = merge(lost)
        kept = (replace(old, start=start, end=end) for old in self.fetches for start, end in subtract([old.interval], gone))
        return replace(self, fetches=tuple(kept))

    def compacted(self) -> Ledger:
        """The same coverage in as few records as what they say allows."""
        return replace(self, fetches=_joined(self.fetches))

    # ── as a file ────────────────────────────────────────────────────────────────────────────────────

    def to_json(self) -> bytes:
        """The ledger as a file, with its own digest."""
        said = {
            "files": [asdict(file) for file in self.files],
            "fetches": [asdict(fetch) | {"start": None if fetch.start == BEGINNING else fetch.start} for fetch in self.fetches],
            "revisions": [asdict(file) for file in self.revisions],
            "incidents": [dict(incident) for incident in self.incidents],
            "provenance": dict(self.provenance),
        }
        head = {"format": _FORMAT, "schema": SCHEMA, "series": self.key.to_dict()}
        return json.dumps(head | {"digest": _digest(head, said)} | said, indent=0, separators=(",", ":")).encode()

    @classmethod
    def from_json(cls, data: bytes | memoryview, where: str) -> Ledger:
        """The inverse of :meth:`to_json`.

        Raises :class:`CatalogTooNew`, and :class:`CatalogDamaged` for what is no ledger, or was changed since.
        """
        try:
            read = json.loads(bytes(data))
            if read["format"] != _FORMAT:
                raise KeyError("format")
            if read["schema"] > SCHEMA:
                raise too_new(where, read["schema"])
            if read["schema"] != SCHEMA:
                raise ValueError(f"its schema is {read['schema']!r}")
            head = {name: read[name] for name in ("format", "schema", "series")}
            said = {name: read[name] for name in ("files", "fetches", "revisions", "incidents", "provenance")}
            if read["digest"] != _digest(head, said):
                raise ValueError("its digest does not fit")
            fetches = (fetch | {"start": BEGINNING if fetch["start"] is None else fetch["start"]} for fetch in said["fetches"])
            return cls(
                SeriesKey.from_dict(read["series"]),
                tuple(File(**file) for file in said["files"]),
                tuple(Fetch(**fetch) for fetch in fetches),
                tuple(File(**file) for file in said["revisions"]),
                tuple(said["incidents"]),
                said["provenance"],
            )
        except CatalogTooNew:
            raise
        except (LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            raise CatalogDamaged(
                f"{where} can't be read: {type(error).__name__}: {error}.",
                hint=REPAIR,
            ) from error


def too_new(where: str, schema: object) -> CatalogTooNew:
    """The error for what is better left alone."""
    return CatalogTooNew(
        f"{where} was written by a newer version of cracktrader (schema {schema}; this one knows {SCHEMA}).",
        hint="Run: pip install --upgrade cracktrader-core",
    )


def _digest(head: Mapping[str, Any], said: Mapping[str, Any]) -> str:
    return blake2b(json.dumps([head, said], sort_keys=True).encode(), digest_size=16).hexdigest()


def _joined(fetches: Iterable[Fetch]) -> tuple[Fetch, ...]:
    """Neighbours that agree in all but when and what, as one."""
    joined: list[Fetch] = []
    for fetch in fetches:
        before = joined[-1] if joined else None
        if (
            before is not None
            and before.end == fetch.start
            and before.settled >= before.end
            and before.complete
            and fetch.complete
            and (before.plugin, before.version) == (fetch.plugin, fetch.version)
        ):
            both = blake2b(f"{before.digest}{fetch.digest}".encode(), digest_size=16).hexdigest()
            joined[-1] = replace(
                fetch, start=before.start, rows=before.rows + fetch.rows, digest=both, fetches=before.fetches + fetch.fetches
            )
        else:
            joined.append(fetch)
    return tuple(joined)
