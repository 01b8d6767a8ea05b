"""The contract of a data source: tests that a plugin's author runs on their own source, by deriving one class.

::

    from cracktrader.testing import SourceContract

    class TestTickDb(SourceContract):
        name = "tickdb"
        symbol, timeframe = "BTC/USDT", "1h"
        start, end = "2024-01-01", "2024-01-03"

See :class:`SourceContract` for what can be said besides. This package needs pytest:
``pip install "cracktrader-core[testing]"``.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cracktrader.testing.base import SECRET
    from cracktrader.testing.contract import SourceContract

__all__ = ["SECRET", "SourceContract"]

if find_spec("pytest") is None:
    from cracktrader.errors import PluginDependencyMissing

    raise PluginDependencyMissing(
        "cracktrader.testing is for the tests of plugins, and needs pytest, which is not installed.",
        hint='Run: pip install "cracktrader-core[testing]"',
        missing="pytest",
    )


def __getattr__(name: str) -> Any:
    # Not at the top: the processes that the contract starts have no use for pytest.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest

    parts = [f"{__name__}.{part}" for part in ("base", "configuration", "life", "packaging", "ranges")]
    pytest.register_assert_rewrite(*(part for part in parts if part not in sys.modules))
    from cracktrader.testing import base, contract

    globals().update(SECRET=base.SECRET, SourceContract=contract.SourceContract)
    return globals()[name]
