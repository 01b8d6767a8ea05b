"""The contract, run for the ccxt source: real ccxt against an exchange on loopback, by two ways of reading its answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

import cracktrader as ct
from cracktrader.testing import SECRET, SourceContract

pytest.importorskip("cracktrader_ccxt", reason="cracktrader-ccxt is not installed")

from cracktrader_ccxt.simulator import Simulator

OUTAGE = ("2024-05-29T10:00", "2024-05-29T13:00")


@pytest.fixture(scope="module")
def exchange() -> Iterator[Simulator]:
    with Simulator(
        ["BTC/USDT", "ETH/USDT"], now="2024-06-01T00:30", start="2024-05-20", weight_limit=0, outages=[OUTAGE]
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def own_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


class CcxtContract(SourceContract):
    name = "ccxt"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-05-28", "2024-05-30T06:00"
    other_symbol = "ETH/USDT"
    unknown_timeframe = "7m"
    chunk_option, chunk_values = "batch_size", (1, 7, 1000)
    secret_options: ClassVar = {"config": {"apiKey": SECRET, "secret": SECRET, "httpProxy": f"http://me:{SECRET}@127.0.0.1:9"}}
    options: ClassVar[dict[str, Any]] = {}

    @pytest.fixture
    def make_source(self, exchange: Simulator) -> Callable[..., ct.Source]:
        def make(**options: Any) -> ct.Source:
            own = options.pop("config", {})
            config = own if not isinstance(own, dict) else exchange.config("binance", enableRateLimit=False) | own
            return ct.source("ccxt", **{"exchange": "binance", "config": config, "backoff": 0.01, "retries": 1, **self.options,
                                        **options})  # fmt: skip

        return make

    def test_the_bars_are_those_of_the_exchange(self, source: ct.Source, whole: ct.Bars, exchange: Simulator) -> None:
        truth = exchange.truth(self.symbol, self.timeframe, self.start, self.end)
        self.assert_same(whole, truth.but(source=whole.source), "What came over the wire")


class TestSideBySide(CcxtContract):
    pass


class TestOneByOneAndParsedByCcxt(CcxtContract):
    options: ClassVar = {"concurrency": 1, "batch_size": 9}

    @pytest.fixture(autouse=True)
    def _parsed_by_ccxt(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("cracktrader_ccxt.candles.READERS", {})
