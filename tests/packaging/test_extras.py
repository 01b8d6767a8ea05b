"""What each environment offers: run with the core alone, with each extra alone, and with everything."""

import importlib.util
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidOption, PluginNotFound

EXTRAS = ("ccxt", "csv", "http", "sql")


def is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture
def bars() -> ct.Bars:
    price = np.linspace(100, 110, 48)
    return ct.Bars(3_600_000 * np.arange(48), price, price + 1, price - 1, price, price, symbol="BTC/USDT", timeframe="1h")


def test_exactly_the_installed_plugins_are_listed() -> None:
    listed = {entry.name for entry in ct.default_registry().entries()} & {*EXTRAS, "memory"}
    assert listed == {"memory", *(name for name in EXTRAS if is_installed(f"cracktrader-{name}"))}
    assert all(problem is None for _, problem in ct.default_registry().check())


@pytest.mark.parametrize("name", EXTRAS)
def test_a_source_that_is_not_installed_says_how_to_get_it(name: str) -> None:
    if is_installed(f"cracktrader-{name}"):
        with pytest.raises(CracktraderError) as caught:
            ct.load(name, symbol="BTC/USDT", timeframe="1h")
        assert not isinstance(caught.value, PluginNotFound)
    else:
        with pytest.raises(PluginNotFound) as caught_missing:
            ct.load(name, symbol="BTC/USDT", timeframe="1h")
        assert f'pip install "cracktrader-core[{name}]"' in str(caught_missing.value)


def test_the_core_alone_loads_checks_and_feeds_backtrader(bars: ct.Bars) -> None:
    cerebro = ct.Cerebro()
    cerebro.addfeed("memory", bars=bars, symbol="BTC/USDT", timeframe="1h")
    assert len(cerebro.run()[0].data) == 48


def test_charts_need_matplotlib_and_say_so(bars: ct.Bars, tmp_path: Path) -> None:
    cerebro = ct.Cerebro()
    cerebro.adddata(bars)
    cerebro.run()
    if importlib.util.find_spec("matplotlib"):
        assert cerebro.save_plot(tmp_path / "chart.png", dpi=30).exists()
    else:
        with pytest.raises(InvalidOption) as caught:
            cerebro.save_plot(tmp_path / "chart.png")
        assert 'pip install "cracktrader-core[plot]"' in str(caught.value)


def test_csv_files_are_written_by_the_core_and_read_by_the_plugin(bars: ct.Bars, tmp_path: Path) -> None:
    path = bars.to_csv(tmp_path / "bars.csv")
    if is_installed("cracktrader-csv"):
        assert ct.load("csv", path=path, symbol="BTC/USDT", timeframe="1h") == bars
    else:
        with pytest.raises(PluginNotFound):
            ct.load("csv", path=path, symbol="BTC/USDT", timeframe="1h")
