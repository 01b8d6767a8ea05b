"""Unmodified ccxt.binance against the simulator: every endpoint, and the truth of what it says."""

from __future__ import annotations

import asyncio

import ccxt.async_support
import pytest
import requests
from simulated import DAY, MAY, MINUTE, NOW, records

import ccxt
import cracktrader as ct
from cracktrader_ccxt.simulator import Simulator


def test_markets_tell_ticks_lots_and_kinds(client) -> None:
    markets = client().load_markets()
    assert list(markets) == ["BTC/USDT", "ETH/USDT", "SOL/USDT", "DOGE/USDT", "XMR/BTC", "BTC/USDT:USDT", "ETH/USDT:USDT"]
    assert markets["BTC/USDT"]["precision"]["price"] == 0.01
    assert markets["BTC/USDT"]["precision"]["amount"] == 0.00001
    assert markets["BTC/USDT:USDT"]["linear"]
    assert markets["BTC/USDT:USDT"]["id"] == markets["BTC/USDT"]["id"] == "BTCUSDT"
    assert all(market["active"] for market in markets.values())


def test_a_symbol_is_not_there_before_its_listing(exchange, client) -> None:
    exchange.clock.set("2020-08-11T05:59")
    assert "SOL/USDT" not in client().load_markets()
    exchange.clock.set("2020-08-11T06:01")
    binance = client()
    assert "SOL/USDT" in binance.load_markets()
    assert binance.fetch_ohlcv("SOL/USDT", "1m", since=0)[0][0] == ct.times.parse_time("2020-08-11T06:00")


@pytest.mark.parametrize("symbol", ["BTC/USDT", "XMR/BTC", "BTC/USDT:USDT"])
@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h", "1d", "1w", "1M"])
def test_candles_are_the_truth(exchange, client, symbol, timeframe) -> None:
    rows = client().fetch_ohlcv(symbol, timeframe, since=MAY - 200 * DAY, limit=300)
    truth = exchange.truth(symbol, timeframe, MAY - 200 * DAY, rows[-1][0] + 1)
    closed = [row for row in records(rows) if ct.Timeframe(timeframe).next(row[0]) <= NOW]
    assert closed == records(truth.to_records())
    assert len(closed) > 5


def test_seconds_are_there_on_spot_only(exchange, client) -> None:
    binance = client()
    rows = binance.fetch_ohlcv("BTC/USDT", "1s", since=NOW - 30_000)
    truth = exchange.truth("BTC/USDT", "1s", NOW - 30_000, NOW)
    assert records(rows)[: len(truth)] == records(truth.to_records())
    with pytest.raises(ccxt.BadRequest, match="-1120"):
        binance.fetch_ohlcv("BTC/USDT:USDT", "1s")


def test_longer_bars_are_exact_aggregates_of_the_minutes(exchange) -> None:
    minutes = exchange.truth("ETH/USDT", "1m", MAY, MAY + 7 * DAY)
    for timeframe in ("3m", "15m", "1h", "4h", "1d"):
        whole = minutes.resample(timeframe)
        assert records(exchange.truth("ETH/USDT", timeframe, MAY, MAY + 7 * DAY).to_records()) == records(whole.to_records())


@pytest.mark.parametrize("symbol", ["BTC/USDT", "SOL/USDT", "XMR/BTC", "ETH/USDT:USDT"])
def test_trades_aggregate_exactly_to_the_candles(exchange, client, symbol) -> None:
    binance, stop, trades = client(), MAY + 10 * MINUTE, []
    page = binance.fetch_trades(symbol, since=MAY, limit=1000)
    while page and page[0]["timestamp"] < stop:
        trades += page
        page = binance.fetch_trades(symbol, limit=1000, params={"fromId": int(page[-1]["id"]) + 1})
    trades = [trade for trade in trades if trade["timestamp"] < stop]
    made = ct.Bars.from_trades(trades, symbol=symbol, timeframe="1m")
    assert records(made.to_records()) == records(exchange.truth(symbol, "1m", MAY, stop).to_records())
    assert len({trade["id"] for trade in trades}) == len(trades) > 5


def test_the_last_row_is_the_open_bar_made_of_its_trades_so_far(exchange, client) -> None:
    binance = client()
    last = binance.fetch_ohlcv("BTC/USDT", "1m")[-1]
    assert last[0] == NOW - NOW % MINUTE
    trades = [t for t in binance.fetch_trades("BTC/USDT", limit=500) if t["timestamp"] >= last[0]]
    assert records(ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="1m").to_records()) == records([last])
    exchange.clock.advance(2_000)
    newer = binance.fetch_ohlcv("BTC/USDT", "1m")[-1]
    assert newer[0] == last[0]
    assert newer[5] > last[5]
    exchange.clock.advance("1m")
    closed = binance.fetch_ohlcv("BTC/USDT", "1m")[-2]
    assert records([closed]) == records(exchange.truth("BTC/USDT", "1m", last[0], last[0] + 1).to_records())


def test_more_than_a_thousand_is_cut_without_a_word_on_spot_and_1500_on_futures(exchange) -> None:
    for path, most in (("/api/v3/klines", 1000), ("/fapi/v1/klines", 1500)):
        asked = {"symbol": "BTCUSDT", "interval": "1m", "startTime": MAY, "limit": 5000}
        assert len(requests.get(exchange.url + path, params=asked, timeout=5).json()) == most


def test_a_range_without_bars_is_skipped_to_the_first_after_it(exchange, client) -> None:
    rows = client().fetch_ohlcv("SOL/USDT", "1d", since=ct.times.parse_time("2020-01-01"), limit=3)
    assert rows[0][0] == ct.times.parse_time("2020-08-11")


def test_end_time_is_inclusive_and_without_start_the_last_ones_come(exchange) -> None:
    asked = {"symbol": "BTCUSDT", "interval": "1m", "endTime": MAY, "limit": 3}
    rows = requests.get(exchange.url + "/api/v3/klines", params=asked, timeout=5).json()
    assert [row[0] for row in rows] == [MAY - 2 * MINUTE, MAY - MINUTE, MAY]


def test_errors_have_the_exchanges_shape(exchange, client) -> None:
    binance = client(apiKey="key", secret="secret")
    binance.load_markets()
    with pytest.raises(ccxt.BadSymbol, match="-1121"):
        binance.publicGetKlines({"symbol": "NOPE", "interval": "1m"})
    with pytest.raises(ccxt.BadRequest, match="-1120"):
        binance.fetch_ohlcv("BTC/USDT", "7m")
    with pytest.raises(ccxt.ExchangeError, match="-1102"):
        binance.publicGetKlines({"interval": "1m"})
    with pytest.raises(ccxt.InvalidNonce, match="-1021"):
        binance.privateGetAccount()
    binance.load_time_difference()
    assert binance.privateGetAccount()["balances"] == []
    with pytest.raises(ccxt.ExchangeNotAvailable, match="404"):
        binance.publicGetAvgPrice({"symbol": "BTCUSDT"})


def test_trades_page_by_id_by_time_and_from_the_end(exchange, client) -> None:
    binance = client(apiKey="key", secret="secret")
    newest = binance.fetch_trades("BTC/USDT", limit=20)
    assert newest[-1]["timestamp"] <= NOW
    old = binance.fetch_trades(
        "BTC/USDT", limit=7, params={"fetchTradesMethod": "publicGetHistoricalTrades", "fromId": newest[3]["id"]}
    )
    assert [t["id"] for t in old] == [t["id"] for t in newest[3:10]]
    recent = binance.fetch_trades("BTC/USDT", limit=20, params={"fetchTradesMethod": "publicGetTrades"})
    assert [(t["id"], t["price"], t["amount"], t["side"]) for t in recent] == [
        (t["id"], t["price"], t["amount"], t["side"]) for t in newest
    ]
    window = binance.fetch_trades("BTC/USDT", since=newest[0]["timestamp"], params={"until": newest[5]["timestamp"]})
    assert {t["id"] for t in newest[:5]} <= {t["id"] for t in window} <= {t["id"] for t in newest[:7]}


def test_book_ticker_and_statistics_fit_the_last_trade(exchange, client) -> None:
    binance = client()
    for symbol in ("BTC/USDT", "BTC/USDT:USDT", "XMR/BTC"):
        last = binance.fetch_trades(symbol, limit=1)[0]
        book = binance.fetch_order_book(symbol, 20)
        bid, ask = book["bids"][0][0], book["asks"][0][0]
        assert bid < ask
        assert last["price"] == (ask if last["side"] == "buy" else bid)
        assert [price for price, _ in book["bids"]] == sorted({price for price, _ in book["bids"]}, reverse=True)
        assert [price for price, _ in book["asks"]] == sorted({price for price, _ in book["asks"]})
        best = binance.fetch_bids_asks([symbol])[symbol]
        assert (best["bid"], best["ask"], best["bidVolume"]) == (bid, ask, book["bids"][0][1])
        ticker = binance.fetch_ticker(symbol)
        assert ticker["last"] == last["price"]
        minutes = binance.fetch_ohlcv(symbol, "1m", since=NOW - DAY, limit=1000)
        minutes += binance.fetch_ohlcv(symbol, "1m", since=minutes[-1][0] + 1, limit=1000)
        assert ticker["high"] == max(row[2] for row in minutes)
        assert ticker["baseVolume"] == pytest.approx(sum(row[5] for row in minutes))
    assert set(binance.fetch_tickers()) == {symbol for symbol in exchange.symbols if ":" not in symbol}
    assert binance.fetch_last_prices(["BTC/USDT"])["BTC/USDT"]["price"] == binance.fetch_ticker("BTC/USDT")["last"]


def test_time_and_status(exchange, client) -> None:
    binance = client()
    assert binance.fetch_time() == NOW
    assert binance.fetch_status()["status"] == "ok"
    assert binance.publicGetPing() == {}
    assert binance.fetch_time({"type": "swap"}) == NOW


def test_the_asynchronous_client_reads_the_same(exchange, client) -> None:
    async def read():
        async with ccxt.async_support.binance(exchange.config("binance", enableRateLimit=False)) as binance:
            pages = [binance.fetch_ohlcv("BTC/USDT", "1m", since=MAY + page * DAY, limit=1000) for page in range(4)]
            await binance.load_markets()
            return await asyncio.gather(*pages)

    binance = client()
    assert asyncio.run(read()) == [binance.fetch_ohlcv("BTC/USDT", "1m", since=MAY + page * DAY, limit=1000) for page in range(4)]


def test_binanceusdm_reads_the_futures(exchange, client) -> None:
    rows = client("binanceusdm").fetch_ohlcv("BTC/USDT:USDT", "1h", since=MAY, limit=5)
    assert records(rows) == records(exchange.truth("BTC/USDT:USDT", "1h", MAY, MAY + 5 * 3_600_000).to_records())
    assert records(rows) != records(exchange.truth("BTC/USDT", "1h", MAY, MAY + 5 * 3_600_000).to_records())


def test_the_same_seed_gives_the_same_bytes_and_another_does_not() -> None:
    def said(seed: int) -> list[bytes]:
        with Simulator(["BTC/USDT"], seed=seed, now=NOW) as exchange:
            paths = ("klines?symbol=BTCUSDT&interval=5m", "aggTrades?symbol=BTCUSDT", "depth?symbol=BTCUSDT", "exchangeInfo",
                     "ticker/24hr")  # fmt: skip
            return [requests.get(f"{exchange.url}/api/v3/{path}", timeout=5).content for path in paths]

    first, again, other = said(1), said(1), said(2)
    assert first == again
    assert first[0] != other[0]


def test_the_order_of_questions_does_not_change_the_answers(exchange, client) -> None:
    binance = client()
    alone = binance.fetch_ohlcv("BTC/USDT", "1m", since=MAY + 100 * MINUTE, limit=10)
    with Simulator(now=NOW, weight_limit=0) as other:
        second = ccxt.binance(other.config("binance", enableRateLimit=False))
        second.fetch_ohlcv("ETH/USDT", "1m", since=MAY)
        second.fetch_ohlcv("BTC/USDT", "1m", since=MAY, limit=1000)
        other.clock.set("2024-05-01T01:45:30")
        other.clock.set(NOW)
        assert second.fetch_ohlcv("BTC/USDT", "1m", since=MAY + 100 * MINUTE, limit=10) == alone
        second.session.close()
