"""The plugin for ccxt installs and registers, and says honestly that it can't read anything yet."""

from importlib import metadata

import pytest

import cracktrader as ct
from cracktrader.errors import NotSupported


def test_it_is_found_by_name_and_says_what_it_cannot_do() -> None:
    version = metadata.version("cracktrader-ccxt")
    with pytest.raises(NotSupported, match=f"cracktrader-ccxt {version} can't read bars yet") as caught:
        ct.load("ccxt", symbol="BTC/USDT", timeframe="1h", url="anything", whatever=1)
    assert "pip install" in caught.value.hint


def test_its_hooks_fit_the_plugin_api() -> None:
    assert {entry.name: problem for entry, problem in ct.default_registry().check()}["ccxt"] is None
