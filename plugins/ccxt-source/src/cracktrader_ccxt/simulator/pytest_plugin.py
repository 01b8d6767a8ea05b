"""A fixture for those who test their own strategies and sources against an exchange.

Put ``pytest_plugins = ["cracktrader_ccxt.simulator.pytest_plugin"]`` into the topmost ``conftest.py``::

    @pytest.mark.simulated(now="2024-06-01T12:00", symbols=["BTC/USDT"])
    def test_my_strategy(simulated_exchange):
        client = ccxt.binance(simulated_exchange.config("binance"))
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from cracktrader_ccxt.simulator.server import Simulator

__all__ = ["simulated_exchange"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "simulated(**options): options of the Simulator behind the fixture simulated_exchange.")


@pytest.fixture
def simulated_exchange(request: pytest.FixtureRequest) -> Iterator[Simulator]:
    """A running :class:`~cracktrader_ccxt.simulator.Simulator`; its options are those of the mark ``simulated``."""
    from cracktrader_ccxt.simulator.server import Simulator

    mark = request.node.get_closest_marker("simulated")
    with Simulator(*(mark.args if mark else ()), **(mark.kwargs if mark else {})) as exchange:
        yield exchange
