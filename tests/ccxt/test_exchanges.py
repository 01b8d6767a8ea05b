"""Every exchange that ccxt knows can be configured, and what is offered is said without a network."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import Any

import pytest

import ccxt
import cracktrader as ct
from cracktrader.errors import InvalidOption
from cracktrader_ccxt.facts import FACTS, facts_of
from cracktrader_ccxt.listing import exchange_ids
from cracktrader_ccxt.source import CcxtSource
from cracktrader_ccxt.tuned import tuned


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError("A network was asked.")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_the_names_are_ccxts() -> None:
    assert list(exchange_ids()) == sorted(ccxt.exchanges)


def test_every_exchange_can_be_configured_and_tuned(no_network: None) -> None:
    for name in ccxt.exchanges:
        source = ct.source("ccxt", exchange=name)
        assert dict(source.identity) == {"exchange": name}
        exchange = tuned(name, source.config.ccxt_config)
        assert isinstance(exchange, getattr(ccxt, name))
        assert exchange.host_of("public").count(".") >= 1
        (limit,) = facts_of(exchange, "spot").limit.values()
        assert 1 <= limit <= 50_000


def test_what_every_exchange_offers_is_listed_without_asking_any(no_network: None) -> None:
    offered = {one["exchange"]: one for one in CcxtSource.exchanges()}
    assert set(offered) == set(ccxt.exchanges)
    assert json.dumps(offered)
    binance = offered["binance"]
    assert binance["candles"]
    assert binance["trades"]
    assert binance["sandbox"]
    assert "candles" in binance["streams"]
    assert [binance["at_once"], offered["kraken"]["keeps"]] == [1000, 720]
    assert not offered["bitflyer"]["candles"]


def test_the_command_lists_them() -> None:
    done = subprocess.run([sys.executable, "-m", "cracktrader", "sources", "ccxt", "--exchanges"], capture_output=True, text=True,
                          timeout=60, check=True)  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == len(ccxt.exchanges) + 2
    assert lines[0].split()[:2] == ["exchange", "markets"]
    assert lines[-1] == f"{len(ccxt.exchanges)} exchanges"


def test_the_facts_are_of_exchanges_that_there_are() -> None:
    assert set(FACTS) <= set(ccxt.exchanges)


def test_a_wrong_name_brings_near_ones_to_mind() -> None:
    with pytest.raises(InvalidOption, match="Did you mean 'binance'"):
        ct.source("ccxt", exchange="binanse")
    assert ct.source("ccxt", exchange_id=" Binance ").config.exchange == "binance"


@pytest.mark.parametrize(
    "wrong", [{"sandbx": 1}, {"exchange": "binance", "batch_size": 0}, {"exchange": "binance", "market_type": "swop"}]
)
def test_wrong_options_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidOption):
        ct.source("ccxt", **wrong)


def test_importing_the_plugin_imports_no_ccxt() -> None:
    heavy = {"ccxt", "aiohttp", "requests", "backtrader", "pandas"}
    code = f"import sys, cracktrader_ccxt; print(sorted({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_both_ways_of_reading_candles_give_the_same_bits() -> None:
    import random

    from cracktrader_ccxt.candles import columns_of, parse_klines

    rng, exchange = random.Random(4), ccxt.binance()
    texts = ["0.00000001", "123456789.12345678", "1e-7", "0.1", "70000", "3.3333333333333335", "99999999999.99999999"]
    rows = [[1_700_000_000_000 + 60_000 * row, *(rng.choice([f"{rng.uniform(0, 9e4):.8f}", *texts]) for _ in range(11))]
            for row in range(500)]  # fmt: skip
    for inverse in (False, True):
        market = {"inverse": inverse, "symbol": "BTC/USDT"}
        by_ccxt = columns_of(exchange.parse_ohlcvs(rows, market, "1m"))
        ours = parse_klines(json.dumps(rows), market)
        assert [column.tobytes() for column in ours] == [column.tobytes() for column in by_ccxt]
