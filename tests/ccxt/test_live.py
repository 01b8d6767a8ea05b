"""Closed bars in order, none missing and none twice, whatever the exchange and the network do: real ccxt.pro, no mocks.

After each fault, what was delivered equals what the exchange has, to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from followed import follow

from cracktrader.errors import PermanentSourceError
from cracktrader.live.line import State
from cracktrader.times import now_ms
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator.faults import (
    ClosedFlagLost,
    ClosingLost,
    Delisted,
    Frozen,
    Held,
    Maintenance,
    NoStreams,
    OldCandle,
    Repeated,
    Revision,
    Silence,
    Status,
    StreamFault,
    SubscribeRefused,
    Swapped,
)


@pytest.fixture
def exchange() -> Iterator[Simulator]:
    with Simulator(["BTC/USDT", "ETH/USDT"], now="2024-06-01T00:00:10", start="2024-05-31", weight_limit=0) as running:
        yield running


def test_bars_that_the_stream_calls_closed_need_no_request(exchange: Simulator) -> None:
    with follow(exchange, silence=36_000) as line:
        line.more(2)
        asked = len(exchange.requests.of("*/klines"))
        line.more(5)
        assert len(exchange.requests.of("*/klines")) == asked
    line.check()


# ── connections ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("clean", [True, False])
def test_a_connection_that_is_closed_or_reset(exchange: Simulator, clean: bool) -> None:
    with follow(exchange) as line:
        for _ in range(3):
            line.more(2)
            line.until(lambda: exchange.disconnect(clean=clean) == 1)  # it may be coming back from the last time
        line.more(3)
        assert line.line.stats["reconnects"] >= 3
    line.check()


def test_a_dead_connection_that_looks_alive(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(2)
        silence = exchange.faults.add(Silence())
        line.until(lambda: "says nothing" in line.texts)
        exchange.faults.remove(silence)
        line.more(3)
        assert line.line.stats["reconnects"] >= 1
    line.check()
    assert len([asked for asked in exchange.requests if asked.method == "WS" and asked.status == 101]) >= 2


def test_a_server_that_is_started_again(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(2)
        exchange.restart(down=0.4)
        line.more(4)
    line.check()


def test_a_stream_that_is_frozen_on_a_connection_that_lives(exchange: Simulator) -> None:
    with follow(exchange, "BTC/USDT", "ETH/USDT") as (line, other):
        line.more(2)
        frozen = exchange.faults.add(Frozen(stream="btcusdt@kline_1m"))
        line.until(lambda: "says nothing" in line.texts)
        exchange.faults.remove(frozen)
        line.more(3)
        other.take()
        assert other.line.stats["reconnects"] == 0
    line.check()
    other.check()


def test_maintenance_for_minutes(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(2)
        faults = exchange.faults.add(Maintenance(), NoStreams())
        exchange.disconnect()
        over = exchange.clock.now + 5 * 60_000
        line.until(lambda: exchange.clock.now > over)
        assert State.BROKEN in line.states
        exchange.faults.remove(*faults)
        line.past(over)
        line.until(lambda: line.states[-1] is State.LIVE)
    line.check()


def test_rest_is_down_while_the_stream_lives(exchange: Simulator) -> None:
    with follow(exchange, silence=36_000) as line:
        line.more(1)
        exchange.faults.add(Maintenance())
        line.more(6)
    line.check()


def test_the_stream_is_down_while_rest_lives(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(1)
        exchange.faults.add(NoStreams())
        exchange.disconnect()
        line.more(6)
        assert State.BROKEN in line.states
    line.check()


def test_too_many_requests_while_history_is_fetched(exchange: Simulator) -> None:
    fault = exchange.faults.add(Status(status=429, retry_after=1, times=1, path="*/klines"))
    begin = exchange.clock.now // 60_000 * 60_000 - 300 * 60_000
    with follow(exchange, begin=begin) as line:
        line.past(exchange.clock.now)
    line.check()
    assert exchange.faults.fired(fault) == 1
    assert line.bars[0].time == begin
    times = [asked.at for asked in exchange.requests.of("*/klines")]
    assert times[1] - times[0] >= 1


# ── what the stream says ─────────────────────────────────────────────────────────────────────────────

SPOILT = {
    "the closed flag is lost": ClosedFlagLost(),
    "the last update is lost": ClosingLost(),
    "updates are merged, and late": Held(by=5_000, merged=True),
    "updates come a minute late": Held(by=65_000),
    "an old state comes again": OldCandle(),
    "everything comes twice": Repeated(),
    "messages change places": Swapped(),
}


@pytest.mark.parametrize("fault", SPOILT.values(), ids=SPOILT)
def test_a_stream_that_says_it_badly(exchange: Simulator, fault: StreamFault) -> None:
    with follow(exchange) as line:
        line.more(1)
        exchange.faults.add(fault)
        line.more(4)
        exchange.faults.clear()
        line.more(1)
    line.check()
    assert exchange.faults.fired(fault)


def test_a_bar_that_is_revised_after_it_went_out(exchange: Simulator) -> None:
    minute = exchange.clock.now // 60_000 * 60_000 + 3 * 60_000
    exchange.faults.add(Revision(symbol="BTC/USDT", start=minute, end=minute + 90_000))
    with follow(exchange, silence=36_000) as line:
        line.past(minute)
        exchange.faults.add(ClosedFlagLost())  # bars are fetched, and those before them as well
        line.more(3)
    line.check(but={minute})
    assert line.line.stats["revised"] == 1
    assert "has revised the bar of 2024-06-01T00:03:00Z" in line.texts


def test_the_candles_of_trades_that_come_in_any_order_and_twice(exchange: Simulator) -> None:
    exchange.faults.add(Swapped(stream="*@trade"), Repeated(stream="*@trade"))
    with follow(exchange, from_trades=True) as line:
        line.more(6)
    line.check()


def test_trades_are_lost_with_the_connection(exchange: Simulator) -> None:
    with follow(exchange, from_trades=True) as line:
        for _ in range(2):
            line.more(2)
            exchange.disconnect(clean=False)
        line.more(3)
    line.check()


# ── the clock ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("skew", [-30_000, 30_000])
def test_a_machine_whose_clock_is_wrong(skew: int) -> None:
    now = now_ms() + skew
    with (
        Simulator(["BTC/USDT"], now=now, start=now - 7_200_000, weight_limit=0) as exchange,
        follow(exchange) as line,
    ):
        exchange.faults.add(ClosedFlagLost())
        line.more(4)
    line.check()


# ── symbols ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_symbol_that_is_delisted_while_it_is_followed(exchange: Simulator) -> None:
    end = exchange.clock.now // 60_000 * 60_000 + 4 * 60_000
    exchange.faults.add(Delisted(symbol="BTC/USDT", start=end))
    with follow(exchange) as line:
        line.until(lambda: line.bars and line.bars[-1].time == end - 60_000)
        line.until(lambda: line.failed is not None or exchange.clock.now > end + 8 * 60_000)
        assert line.bars[-1].time == end - 60_000
    line.failed = None
    line.check()


def test_a_subscription_that_is_refused(exchange: Simulator) -> None:
    exchange.faults.add(SubscribeRefused())
    with follow(exchange) as line:
        line.until(lambda: line.failed)
        assert isinstance(line.failed, PermanentSourceError)
        assert "Invalid request" in str(line.failed)


def test_a_subscription_that_is_refused_once_it_had_worked(exchange: Simulator) -> None:
    with follow(exchange) as line:
        line.more(2)
        fault = exchange.faults.add(SubscribeRefused(times=2))
        exchange.disconnect()
        line.until(lambda: exchange.faults.fired(fault) == 2)
        line.more(3)
    line.check()


def test_two_hundred_symbols_at_once() -> None:
    symbols = [f"C{number}/USDT" for number in range(200)]
    with (
        Simulator(symbols, now="2024-06-01T00:00:10", start="2024-05-31T23:00", weight_limit=0, candles_every=10_000) as exchange,
        follow(exchange, *symbols, speed=30, silence=36_000) as lines,
    ):
        for line in lines:
            line.until(lambda line=line: len(line.bars) >= 2, 60)
        connections = [asked for asked in exchange.requests if asked.method == "WS" and asked.status == 101]
        subscribed = [asked for asked in exchange.requests if asked.query.get("method") == "SUBSCRIBE"]
    for line in lines:
        line.check()
    assert len(connections) == 1
    assert len(subscribed) < 20  # many at once
