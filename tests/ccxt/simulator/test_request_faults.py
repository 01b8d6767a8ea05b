"""Each scripted fault of REST, as real ccxt meets it; and that the faults count what they did."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
import requests
from simulated import HOUR, MAY, MINUTE, NOW, records

import ccxt
from cracktrader.errors import InvalidOption
from cracktrader_ccxt.simulator import Simulator, faults
from cracktrader_ccxt.simulator.faults import (
    BannedPlace,
    Delisted,
    Disorder,
    Duplicates,
    EmptyPages,
    Forbidden,
    Gap,
    HtmlError,
    LateBars,
    Latency,
    Maintenance,
    Outage,
    PageCap,
    RequestFault,
    Reset,
    Revision,
    Slow,
    Status,
    Truncated,
    WrongClock,
)


@pytest.fixture
def binance(client):
    made = client()
    made.load_markets()
    return made


def page(binance, symbol: str = "BTC/USDT", start: int = MAY, rows: int = 10):
    return binance.fetch_ohlcv(symbol, "1m", since=start, limit=rows)


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (Status(status=429, retry_after=7), ccxt.DDoSProtection, "-1003"),
        (Status(status=418, retry_after=120), ccxt.DDoSProtection, "IP banned until 1717245416000"),
        (Status(status=500), ccxt.OperationFailed, "-1001"),
        (Status(status=400, body='{"code":-1000,"msg":"odd"}'), ccxt.OperationFailed, "odd"),
        (BannedPlace(), ccxt.ExchangeNotAvailable, "restricted location"),
        (Forbidden(), ccxt.ExchangeNotAvailable, "403 Forbidden"),
        (HtmlError(), ccxt.ExchangeNotAvailable, "502 Bad Gateway"),
        (Maintenance(), ccxt.OnMaintenance, "maintenance"),
        (Reset(), ccxt.NetworkError, None),
        (Truncated(), ccxt.NetworkError, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, RequestFault) else "",
)
def test_a_failure_is_met_once_and_then_all_is_well(exchange, binance, fault, error, words) -> None:
    clean = page(binance)
    object.__setattr__(fault, "times", 1)
    exchange.faults.add(fault)
    with pytest.raises(error, match=words):
        page(binance)
    if isinstance(fault, Status) and fault.retry_after:
        assert binance.last_response_headers["Retry-After"] == str(fault.retry_after)
    assert page(binance) == clean
    assert exchange.faults.fired(fault) == 1
    met = [asked for asked in exchange.requests.of("*/klines") if asked.faults]
    assert [asked.faults for asked in met] == [(type(fault).__name__,)]


def test_a_shortened_body_may_be_declared_as_whole(exchange) -> None:
    asked = f"{exchange.url}/api/v3/klines?symbol=BTCUSDT&interval=1m&startTime={MAY}"
    whole = requests.get(asked, timeout=5).content
    exchange.faults.add(Truncated(share=0.7, honest=True, times=1))
    assert requests.get(asked, timeout=5).content == whole[: int(len(whole) * 0.7)]


def test_latency_and_a_slow_body_take_their_time(exchange, binance) -> None:
    for fault in (Latency(seconds=0.3, times=1), Slow(seconds=0.3, times=1)):
        exchange.faults.add(fault)
        began = time.perf_counter()
        page(binance)
        assert time.perf_counter() - began > 0.28
    binance.timeout = 100
    exchange.faults.add(Latency(seconds=0.5, times=1))
    with pytest.raises(ccxt.RequestTimeout):
        page(binance)


def test_a_wrong_clock_is_told_but_moves_no_bar(exchange, binance) -> None:
    bars = binance.fetch_ohlcv("BTC/USDT", "1m", limit=3)
    exchange.faults.add(WrongClock(offset=-30_000))
    assert binance.fetch_time() == NOW - 30_000
    assert binance.fetch_ohlcv("BTC/USDT", "1m", limit=3) == bars


def test_pages_are_emptied_capped_doubled_and_mixed_up(exchange, binance) -> None:
    clean = page(binance, rows=50)
    for fault in (EmptyPages(), PageCap(rows=7), Duplicates(every=10), Disorder(), Disorder(newest_first=True)):
        exchange.faults.add(fault)
        raw = requests.get(
            exchange.url + "/api/v3/klines",
            params={"symbol": "BTCUSDT", "interval": "1m", "startTime": MAY, "limit": 50},
            timeout=5,
        ).json()
        rows = [[row[0], *map(float, row[1:6])] for row in raw]
        exchange.faults.clear()
        match fault:
            case EmptyPages():
                assert rows == []
            case PageCap():
                assert rows == clean[:7]
            case Duplicates():
                assert len(rows) == 55
                assert sorted({row[0] for row in rows}) == [row[0] for row in clean]
            case Disorder(newest_first=True):
                assert rows == clean[::-1]
            case Disorder():
                assert rows != clean
                assert sorted(rows) == clean
    assert page(binance, rows=50) == clean


def test_bars_may_come_late(exchange, binance) -> None:
    newest = NOW - NOW % MINUTE
    fault = exchange.faults.add(LateBars(by=90_000))
    assert binance.fetch_ohlcv("BTC/USDT", "1m")[-1][0] == newest - 2 * MINUTE
    exchange.faults.remove(fault)
    assert binance.fetch_ohlcv("BTC/USDT", "1m")[-1][0] == newest
    assert exchange.faults.fired(fault) == 1


def test_a_fault_is_bound_to_path_symbol_number_and_time(exchange, binance) -> None:
    fault = exchange.faults.add(
        Status(status=500, path="*/klines", symbol="ETH/USDT", skip=1, times=2, start=NOW, end=NOW + MINUTE)
    )
    binance.fetch_time()
    page(binance)
    page(binance, "ETH/USDT")  # the one that is skipped
    for _ in range(2):
        with pytest.raises(ccxt.OperationFailed):
            page(binance, "ETH/USDT")
    page(binance, "ETH/USDT")
    assert exchange.faults.fired(fault) == 2
    again = exchange.faults.add(Status(status=500, start=NOW + MINUTE))
    page(binance)
    exchange.clock.advance("1m")
    with pytest.raises(ccxt.OperationFailed):
        page(binance)
    assert exchange.faults.fired(again) == 1


def test_an_outage_leaves_no_bar_to_anyone_and_a_gap_one_symbol_without(exchange, binance) -> None:
    exchange.faults.add(
        Outage(start=MAY + 3 * MINUTE, end=MAY + 5 * MINUTE), Gap(symbol="ETH/USDT", start=MAY + 7 * MINUTE, end=MAY + 8 * MINUTE)
    )
    got = {
        symbol: [(row[0] - MAY) // MINUTE for row in page(binance, symbol)]
        for symbol in ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")
    }
    assert got["BTC/USDT"] == got["BTC/USDT:USDT"] == [0, 1, 2, 5, 6, 7, 8, 9, 10, 11]
    assert got["ETH/USDT"] == [0, 1, 2, 5, 6, 8, 9, 10, 11, 12]
    truth = exchange.truth("ETH/USDT", "1h", MAY, MAY + HOUR)
    hour = binance.fetch_ohlcv("ETH/USDT", "1h", since=MAY, limit=1)
    assert records(hour) == records(truth.to_records())
    assert truth.volume[0] == pytest.approx(exchange.truth("ETH/USDT", "1m", MAY, MAY + HOUR).volume.sum())
    trades = binance.fetch_trades("ETH/USDT", since=MAY + 7 * MINUTE, limit=5)
    assert trades[0]["timestamp"] >= MAY + 8 * MINUTE
    exchange.faults.clear()
    assert [(row[0] - MAY) // MINUTE for row in page(binance)] == list(range(10))


def test_a_bar_is_revised_and_the_truth_is_the_later_one(exchange, binance) -> None:
    truth = records(exchange.truth("BTC/USDT", "1m", MAY, MAY + 10 * MINUTE).to_records())
    exchange.faults.add(Revision(symbol="BTC/USDT", start=MAY + 4 * MINUTE, end=NOW + 10_000, trades=5))
    before = records(page(binance))
    assert [a == b for a, b in zip(before, truth, strict=True)] == [True] * 4 + [False] + [True] * 5
    assert before[4][5] < truth[4][5]
    assert (
        records(binance.fetch_ohlcv("BTC/USDT", "5m", since=MAY, limit=1))[0][5]
        < exchange.truth("BTC/USDT", "5m", MAY, MAY + 1).volume[0]
    )
    assert records(exchange.truth("BTC/USDT", "1m", MAY, MAY + 10 * MINUTE).to_records()) == truth
    exchange.clock.advance(10_000)
    assert records(page(binance)) == truth


def test_a_delisted_symbol_keeps_its_past_and_has_no_more(exchange, binance, client) -> None:
    exchange.faults.add(Delisted(symbol="ETH/USDT", start=MAY + 5 * MINUTE))
    assert [(row[0] - MAY) // MINUTE for row in page(binance, "ETH/USDT")] == [0, 1, 2, 3, 4]
    assert binance.fetch_ohlcv("ETH/USDT", "1m")[-1][0] == MAY + 4 * MINUTE
    assert client().load_markets()["ETH/USDT"]["active"] is False
    assert binance.fetch_trades("ETH/USDT", limit=1)[0]["timestamp"] < MAY + 5 * MINUTE


def test_wrong_faults_are_refused() -> None:
    with pytest.raises(InvalidOption, match="Revision needs"):
        Revision(symbol="BTC/USDT")
    with pytest.raises(ValueError, match="not a time"):
        Outage(start="whenever")


# ── weight ───────────────────────────────────────────────────────────────────────────────────────────


def test_weight_is_told_limited_and_ends_in_a_ban() -> None:
    with Simulator(now=NOW, weight_limit=60) as exchange:
        binance = ccxt.binance(exchange.config("binance", enableRateLimit=False))
        wait_for_room_in_the_minute()
        binance.load_markets()
        used = int(binance.last_response_headers["X-MBX-USED-WEIGHT-1M"])
        assert used == 1, "futures are counted by themselves"
        spent = [int(binance.last_response_headers["X-MBX-USED-WEIGHT-1M"]) for _ in range(20) if page(binance)]
        assert spent == list(range(22, 62, 2))
        for _ in range(10):
            with pytest.raises(ccxt.DDoSProtection, match="429"):
                page(binance)
            assert 0 < int(binance.last_response_headers["Retry-After"]) <= 60
        with pytest.raises(ccxt.DDoSProtection, match="418"):
            page(binance)
        assert int(binance.last_response_headers["Retry-After"]) in (120, 121)
        assert [asked.status for asked in exchange.requests.of("*/api/v3/klines")] == [200] * 20 + [429] * 10 + [418]
        assert exchange.requests.most_weight(dialect="binance-spot") == 20 + 31 * 2
        binance.session.close()


def wait_for_room_in_the_minute(seconds: float = 5.0) -> None:
    left = 60 - time.time() % 60
    if left < seconds:
        time.sleep(left + 0.1)


def test_the_record_answers_what_was_asked(exchange, binance) -> None:
    page(binance, rows=5)
    page(binance, "ETH/USDT")
    (asked,) = exchange.requests.of("*/klines", symbol="ETHUSDT")
    assert (asked.query["limit"], asked.status, asked.weight, asked.clock, asked.method) == ("10", 200, 2, NOW, "GET")
    assert exchange.requests[-1] == asked
    assert len(exchange.requests.of("/api/v3/*")) == 3
    exchange.requests.clear()
    assert len(exchange.requests) == 0
    assert exchange.requests.most_weight() == 0


# ── life ─────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_left_behind() -> None:
    before = set(threading.enumerate())
    exchange = Simulator(now=NOW).start()
    port = exchange.port
    requests.get(exchange.url + "/api/v3/ping", timeout=5)
    exchange.close()
    exchange.close()
    assert set(threading.enumerate()) == before
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://127.0.0.1:{port}/api/v3/ping", timeout=1)


def test_it_can_be_started_again_on_its_port_and_says_when_the_port_is_taken() -> None:
    exchange = Simulator(now=NOW).start()
    port = exchange.port
    with pytest.raises(InvalidOption, match="runs already"):
        exchange.start()
    with pytest.raises(Exception, match="can listen on port"):
        Simulator(port=port).start()
    exchange.close()
    with exchange:
        assert exchange.port == port
        assert requests.get(exchange.url + "/api/v3/time", timeout=5).json() == {"serverTime": NOW}


def test_a_server_that_is_down_refuses_and_comes_back(exchange) -> None:
    exchange.go_down()
    with pytest.raises(requests.ConnectionError):
        requests.get(exchange.url + "/api/v3/ping", timeout=1)
    exchange.come_up()
    assert requests.get(exchange.url + "/api/v3/ping", timeout=5).status_code == 200


def test_every_fault_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "simulator.md").read_text(encoding="utf-8")
    kinds = [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, faults.Fault)]
    bases = {faults.Fault, faults.Happening, faults.RequestFault, faults.StreamFault}
    missing = [kind.__name__ for kind in kinds if kind not in bases and f"`{kind.__name__}(" not in page]
    assert missing == []
    assert len(kinds) > 30
