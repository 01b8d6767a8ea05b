"""The catalog: what was fetched is kept, and only what never was is fetched."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeVar

from cracktrader.bars import Bars
from cracktrader.catalog.answering import Answer, BarSource
from cracktrader.catalog.ledger import Ledger, SeriesKey
from cracktrader.catalog.series import LEDGER, DamagedFile, SeriesStore, read_ledger
from cracktrader.catalog.store import open_store
from cracktrader.errors import CatalogDamaged, CatalogError, CatalogUnwritable, ConfigurationError
from cracktrader.request import BarRequest
from cracktrader.times import isoformat

__all__ = ["Catalog", "CatalogWarning"]

#: A series that turns out damaged is mended and asked again, at most so often.
_ATTEMPTS: Final = 1_000


Answered = TypeVar("Answered")


class CatalogWarning(UserWarning):
    """Something in the catalog was damaged, and what was done about it."""


class Catalog:
    """A local store of bars, in front of any source.

    ::

        ct.load("ccxt", exchange="binance", symbol="BTC/USDT", timeframe="1h", start="2024-01-01", catalog="./bars")

    ``root`` is a folder, or the URL of an object store (``s3://bucket/bars``); left out, it is the one that the variable
    ``CRACKTRADER_CATALOG`` names, else a folder among the user's data. Bars of the last hour, which a source may still
    correct, are fetched again once they were fetched ``ttl`` seconds ago; older ones never, unless ``recheck`` says how many
    of the last closed bars of each request to ask for again. ``options`` are those of the object store.

    Only closed bars are kept, as the source sent them: checks and repairs happen on reading. Safe between threads and
    processes: one fetches a series, the others wait and then read.

    Raises :class:`ConfigurationError`. Reading and fetching raise :class:`CatalogError`.
    """

    def __init__(
        self, root: str | os.PathLike[str] | None = None, *, ttl: float = 60.0, recheck: int = 0, **options: Any
    ) -> None:
        if not ttl >= 0:
            raise ConfigurationError(f"ttl={ttl!r} is no time to keep recent bars for.", hint="Give seconds, 0 or more.")
        if isinstance(recheck, bool) or not isinstance(recheck, int) or recheck < 0:
            raise ConfigurationError(f"recheck={recheck!r} is not a number of bars.", hint="Give a whole number, 0 or more.")
        self.ttl = float(ttl)
        self.recheck = recheck
        self._told = (os.fspath(root) if root is not None else _default_root(), options)
        self.store = open_store(self._told[0], **options)

    @classmethod
    def of(cls, catalog: Catalog | str | os.PathLike[str] | bool | None, **settings: Any) -> Catalog | None:
        """A catalog as users give it: one, its root, True for the usual one; None and False are none."""
        if isinstance(catalog, Catalog):
            return catalog.but(**settings) if settings else catalog
        if catalog is None or catalog is False:
            return None
        return cls(None if catalog is True else catalog, **settings)

    def but(self, *, ttl: float | None = None, recheck: int | None = None) -> Catalog:
        """The same catalog, with other habits."""
        root, options = self._told
        return Catalog(
            root, ttl=self.ttl if ttl is None else ttl, recheck=self.recheck if recheck is None else recheck, **options
        )

    @property
    def root(self) -> str:
        """The folder, or the URL without secrets."""
        return self.store.root

    def __repr__(self) -> str:
        return f"<Catalog {self.root!r}>"

    def __reduce__(self) -> tuple[Any, ...]:
        root, options = self._told
        return _restore, (root, self.ttl, self.recheck, options)

    # ── series ───────────────────────────────────────────────────────────────────────────────────────

    def series(self, key: SeriesKey) -> SeriesStore:
        """One series, whether or not anything is held of it."""
        return SeriesStore(self.store, key)

    def all(self) -> Iterator[SeriesStore]:
        """Every series that something is held of, by folder; one whose ledger can't be read is warned about."""
        for folder in self.store.find(LEDGER):
            try:
                ledger = read_ledger(self.store, folder)
            except CatalogError as error:
                warnings.warn(f"{error} This series was left out.", CatalogWarning, stacklevel=2)
                continue
            yield SeriesStore(self.store, ledger.key, folder)

    # ── the answer to a request ──────────────────────────────────────────────────────────────────────

    def bars(self, source: BarSource, request: BarRequest, progress: Callable[[int], None] | None = None) -> Bars:
        """The closed bars of a request, unchecked: those held, and those that ``source`` is asked for first.

        ``progress`` hears how many rows each chunk brings; what it raises ends the fetch. What had come by then is kept.

        Raises :class:`CatalogError`, and whatever the source raises.
        """

        def whole(answer: Answer) -> Bars:
            ledger = answer.bring()
            return answer.read(ledger).but(provenance=self._provenance(ledger))

        return self._answered(source, request, progress, whole)

    def bring(self, source: BarSource, request: BarRequest, progress: Callable[[int], None] | None = None) -> Ledger:
        """Fetch what lacks for a request, as :meth:`bars` does, and read nothing; the series' ledger."""
        return self._answered(source, request, progress, Answer.bring)

    def _answered(
        self,
        source: BarSource,
        request: BarRequest,
        progress: Callable[[int], None] | None,
        ask: Callable[[Answer], Answered],
    ) -> Answered:
        """What ``ask`` gets, once what it finds damaged was set aside."""
        series = self.series(SeriesKey(source.name, source.identity, request.symbol, request.timeframe))
        for _ in range(_ATTEMPTS):
            try:
                return ask(Answer(series, source, request, ttl=self.ttl, recheck=self.recheck, progress=progress))
            except DamagedFile as damage:
                self._mend(series, damage)
            except CatalogDamaged as damage:
                self._rebuild(series, damage)
        raise CatalogDamaged(f"{series} is damaged again and again.", hint="Is its disk whole? Do several machines write to it?")

    def _mend(self, series: SeriesStore, damage: DamagedFile) -> None:
        with contextlib.suppress(CatalogDamaged):  # so is the ledger: the next attempt will see
            if damage.file not in series.ledger().files:
                return  # a writer has replaced it meanwhile: there is a newer one
            if not self._set_aside(series, damage):
                return
            warnings.warn(
                f"The catalog's file {damage.file.name} of {series.key} was damaged: {damage.reason}. What there was of it is in"
                f" {series}/damaged; its {damage.file.rows:,} bars count as never fetched.",
                CatalogWarning,
                stacklevel=5,
            )

    def _set_aside(self, series: SeriesStore, damage: DamagedFile) -> bool:
        try:
            return series.set_aside(damage)
        except CatalogUnwritable as error:
            raise CatalogUnwritable(
                f"The catalog's file {damage.file.name} of {series.key} is damaged: {damage.reason}. {error.message}",
                hint="Without the right to write it can't be fetched again. Load with catalog=False, or give the right.",
                **error.context,
            ) from error

    def _rebuild(self, series: SeriesStore, damage: CatalogDamaged) -> None:
        rebuilt = series.rebuild(damage.message)
        if rebuilt is None:
            return  # someone else did
        warnings.warn(
            f"{damage.message} A new one was made of the data files, with {rebuilt.rows:,} bars.", CatalogWarning, stacklevel=5
        )

    def _provenance(self, ledger: Ledger) -> dict[str, Any]:
        said = dict(ledger.provenance) | {"catalog": self.root}
        if ledger.fetches:
            said["fetched_at"] = isoformat(max(fetch.at for fetch in ledger.fetches))
        return said

    # ── what the checks took out ─────────────────────────────────────────────────────────────────────

    def quarantine(self, source: BarSource, bars: Bars, reasons: Sequence[str]) -> None:
        """Note rows that the checks took out, with the reasons, beside the series; those that are noted are not again."""
        series = self.series(SeriesKey(source.name, source.identity, bars.symbol, bars.timeframe))
        with contextlib.suppress(CatalogUnwritable):  # the bars were read; what was taken out is in their report as well
            series.note_quarantine(bars, reasons)


def _default_root() -> str:
    if named := os.environ.get("CRACKTRADER_CATALOG"):
        return named
    from platformdirs import user_data_path

    return str(user_data_path("cracktrader", appauthor=False) / "catalog")


def _restore(root: str, ttl: float, recheck: int, options: Mapping[str, Any]) -> Catalog:
    return Catalog(root, ttl=ttl, recheck=recheck, **options)
