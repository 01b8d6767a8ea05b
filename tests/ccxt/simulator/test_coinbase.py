"""Unmodified ccxt.coinbaseexchange against the simulator: 300 bars, newest first, and empty pages."""

from __future__ import annotations

import pytest
import requests
from simulated import DAY, MAY, MINUTE, NOW, records

import ccxt
import cracktrader as ct
from cracktrader_ccxt.simulator.faults import Maintenance, Outage


@pytest.fixture
def coinbase(client):
    return client("coinbaseexchange")


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d"])
def test_candles_are_the_truth(exchange, coinbase, timeframe) -> None:
    step = ct.Timeframe(timeframe).step
    rows = coinbase.fetch_ohlcv("ETH/USDT", timeframe, since=MAY - 100 * step)
    truth = exchange.truth("ETH/USDT", timeframe, MAY - 100 * step, MAY + 200 * step)
    assert records(rows)[: len(truth)] == records(truth.to_records())
    assert len(truth) > 100


def test_pages_come_newest_first_with_the_open_bar_and_are_refused_when_too_long(exchange) -> None:
    url = f"{exchange.url}/coinbase/products/BTC-USDT/candles?granularity=60"
    rows = requests.get(url, timeout=5).json()
    assert [row[0] for row in rows] == [(NOW - NOW % MINUTE) // 1000 - 60 * n for n in range(300)]
    asked = f"{url}&start=2024-05-01T00:00:00Z&end="
    assert len(requests.get(asked + "2024-05-01T04:59:00Z", timeout=5).json()) == 300
    refused = requests.get(asked + "2024-05-01T06:00:00Z", timeout=5)
    assert (refused.status_code, "exceeds 300" in refused.json()["message"]) == (400, True)


def test_a_page_in_an_outage_or_before_the_listing_is_empty(exchange, coinbase) -> None:
    exchange.faults.add(Outage(start=MAY, end=MAY + DAY))
    assert coinbase.fetch_ohlcv("BTC/USDT", "1m", since=MAY + 60 * MINUTE) == []
    assert coinbase.fetch_ohlcv("SOL/USDT", "1m", since=ct.times.parse_time("2020-03-01")) == []


def test_trades_go_back_by_the_cursor(exchange, coinbase) -> None:
    coinbase.load_markets()
    trades, after = [], {}
    for _ in range(4):
        page = coinbase.publicGetProductsIdTrades({"id": "BTC-USDT", "limit": 100, **after})
        trades += coinbase.parse_trades(page, coinbase.market("BTC/USDT"))[::-1]
        after = {"after": coinbase.last_response_headers["CB-AFTER"]}
    ids = [int(trade["id"]) for trade in trades]
    assert ids == sorted(set(ids), reverse=True)
    exact = exchange.venue.trades_until("BTC/USDT", NOW + 1, 400, NOW)
    assert ids[::-1] == exact.id.tolist()
    assert [trade["side"] for trade in trades][::-1] == ["buy" if side > 0 else "sell" for side in exact.side]


def test_markets_time_ticker_book_and_errors(exchange, coinbase) -> None:
    assert set(coinbase.load_markets()) == {symbol for symbol in exchange.symbols if ":" not in symbol}
    assert coinbase.fetch_time() == NOW
    ticker, book = coinbase.fetch_ticker("BTC/USDT"), coinbase.fetch_order_book("BTC/USDT")
    assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
    with pytest.raises(ccxt.ExchangeError, match="Unsupported granularity"):
        coinbase.fetch_ohlcv("BTC/USDT", "7m")
    with pytest.raises(ccxt.ExchangeError, match="NotFound"):
        coinbase.publicGetProductsIdTicker({"id": "NO-PE"})
    exchange.faults.add(Maintenance())
    with pytest.raises(ccxt.ExchangeNotAvailable):
        coinbase.fetch_time()
