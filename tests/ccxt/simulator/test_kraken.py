"""Unmodified ccxt.kraken against the simulator: it behaves unlike Binance."""

from __future__ import annotations

from itertools import pairwise

import pytest
from simulated import MAY, MINUTE, NOW

import ccxt
import cracktrader as ct
from cracktrader_ccxt.simulator.faults import Maintenance


@pytest.fixture
def kraken(client):
    return client("kraken")


def test_only_the_last_720_bars_are_given_whatever_is_asked_for(kraken) -> None:
    rows = kraken.fetch_ohlcv("BTC/USDT", "1m", since=MAY)
    assert len(rows) == 720
    assert rows[-1][0] == NOW - NOW % MINUTE, "the open bar comes last"
    assert rows[0][0] == rows[-1][0] - 719 * MINUTE


def test_since_is_exclusive(kraken) -> None:
    newest = NOW - NOW % MINUTE
    raw = kraken.publicGetOHLC({"pair": "XBTUSDT", "interval": 1, "since": (newest - 3 * MINUTE) // 1000})["result"]
    assert [int(row[0]) for row in raw["XBTUSDT"]] == [(newest - n * MINUTE) // 1000 for n in (2, 1, 0)]
    assert int(raw["last"]) == newest // 1000 - 60, "the last that is committed"


def test_candles_are_the_truth_and_flat_where_nothing_was_traded(exchange, kraken) -> None:
    rows = kraken.fetch_ohlcv("XMR/BTC", "1m")
    truth = {row[0]: row for row in exchange.truth("XMR/BTC", "1m", rows[0][0], rows[-1][0]).to_records()}
    flat = 0
    for before, row in pairwise(rows[:-1]):
        if row[0] in truth:
            assert tuple(row) == truth[row[0]]
        else:
            assert row[1:] == [before[4]] * 4 + [0]
            flat += 1
    assert flat > 100


@pytest.mark.parametrize("timeframe", ["5m", "1h", "1d", "1w"])
def test_longer_bars_are_the_truth(exchange, kraken, timeframe) -> None:
    rows = kraken.fetch_ohlcv("BTC/USDT", timeframe)
    truth = exchange.truth("BTC/USDT", timeframe, rows[0][0], NOW)
    assert [tuple(row) for row in rows[:-1]] == truth.to_records()


def test_the_cursor_walks_over_all_trades_once(exchange, kraken) -> None:
    cursor, trades = str(MAY * 1_000_000 - 1), []
    kraken.load_markets()
    while not trades or trades[-1]["timestamp"] < MAY + 30 * MINUTE:
        answer = kraken.publicGetTrades({"pair": "XBTUSDT", "since": cursor})["result"]
        trades += kraken.parse_trades(answer["XBTUSDT"])
        cursor = answer["last"]
    trades = [trade for trade in trades if trade["timestamp"] < MAY + 30 * MINUTE]
    made = ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="1m")
    assert made.to_records() == exchange.truth("BTC/USDT", "1m", MAY, MAY + 30 * MINUTE).to_records()
    assert len({trade["id"] for trade in trades}) == len(trades) > 1500
    assert kraken.fetch_trades("BTC/USDT", since=MAY)[0]["id"] == trades[0]["id"]


def test_markets_assets_time_ticker_and_book(exchange, kraken) -> None:
    markets = kraken.load_markets()
    assert {symbol: market["id"] for symbol, market in markets.items()} == {
        "BTC/USDT": "XBTUSDT", "ETH/USDT": "ETHUSDT", "SOL/USDT": "SOLUSDT", "DOGE/USDT": "XDGUSDT", "XMR/BTC": "XXMRXXBT",
    }  # fmt: skip
    assert {"amount": 0.00001, "price": 0.01}.items() <= markets["BTC/USDT"]["precision"].items()
    assert {"BTC", "DOGE", "XMR"} <= set(kraken.currencies)
    assert kraken.fetch_time() == NOW // 1000 * 1000
    ticker, book = kraken.fetch_ticker("BTC/USDT"), kraken.fetch_order_book("BTC/USDT", 10)
    assert (ticker["bid"], ticker["ask"]) == (book["bids"][0][0], book["asks"][0][0])
    assert len(book["bids"]) == 10
    assert set(kraken.fetch_tickers()) == set(markets)


def test_errors_have_the_exchanges_shape(exchange, kraken) -> None:
    with pytest.raises(ccxt.ExchangeError, match="EQuery:Unknown asset pair"):
        kraken.publicGetOHLC({"pair": "NOPE"})
    with pytest.raises(ccxt.BadRequest, match="EGeneral:Invalid arguments"):
        kraken.publicGetOHLC({"pair": "XBTUSDT", "interval": 7})


def test_maintenance_is_told_by_the_status(exchange, kraken) -> None:
    assert kraken.fetch_status()["status"] == "ok"
    exchange.faults.add(Maintenance())
    assert kraken.fetch_status()["status"] == "maintenance"
    with pytest.raises(ccxt.ExchangeNotAvailable, match="EService:Unavailable"):
        kraken.publicGetTime()
