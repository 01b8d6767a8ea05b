"""SourceContract: the whole contract of a data source in one class to derive from."""

from __future__ import annotations

from cracktrader.testing.configuration import ConfigurationContract
from cracktrader.testing.life import LifeContract
from cracktrader.testing.packaging import PackagingContract
from cracktrader.testing.ranges import RangeContract

__all__ = ["SourceContract"]


class SourceContract(ConfigurationContract, RangeContract, LifeContract, PackagingContract):
    """What every user of a data source relies on, as tests; derive a class whose name begins with ``Test``.

    Say what the source has::

        class TestTickDb(SourceContract):
            name = "tickdb"                             # its entry point
            symbol, timeframe = "BTC/USDT", "1h"
            start, end = "2024-01-01", "2024-01-03"     # at least eight bars, all closed

    A source that needs options gets them from a fixture, which may use any other::

            @pytest.fixture
            def make_source(self, server):
                return lambda **options: ct.source("tickdb", **{"url": server.url, **options})

    Everything else that can be said has a default, and is described in
    :class:`~cracktrader.testing.base.ContractBase`: ``expected``, ``unknown_symbol``, ``other_symbol``,
    ``unknown_timeframe``, ``open_ends``, ``chunk_option`` and ``chunk_values``, ``secret_options``,
    ``not_secret``, ``import_budget_ms``, ``heavy_modules``. A test that does not apply is skipped with its
    reason. The data must be clean: what is wrong with dirty data is the business of the quality checks.

    Not demanded, because no user should rely on it: any optional hook, any speed, where chunks end, that the
    plugin keeps the limit by itself, that symbols are listed in an order.
    """
