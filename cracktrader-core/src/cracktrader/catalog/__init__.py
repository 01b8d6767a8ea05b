"""The catalog: a local store of bars that is asked first, and fetches only what it lacks.

``catalog`` answers requests, ``answering`` finds and fetches what lacks, ``ledger`` knows what was fetched, ``series`` keeps
ledger and files of one series together, ``files`` packs bars, ``store`` is a folder or an object store, ``intervals`` is the
arithmetic.
"""

from cracktrader.catalog.catalog import Catalog, CatalogWarning
from cracktrader.catalog.ledger import Fetch, File, Ledger, SeriesKey
from cracktrader.catalog.series import SeriesStore
from cracktrader.catalog.settings import take_catalog

__all__ = ["Catalog", "CatalogWarning", "Fetch", "File", "Ledger", "SeriesKey", "SeriesStore", "take_catalog"]
