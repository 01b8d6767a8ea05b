"""Candles built from a stream of trades are those made of the same trades all at once."""

import dataclasses
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.live.building import CandleBuilder, IdRanges
from cracktrader.trades import bars_of_trades

START = 1_704_067_200_000


def market(seed: int, seconds: int = 900, *, ids: bool = True) -> list[ct.Trade]:
    rng = random.Random(seed)
    trades, time, price = [], START + 500, 100.0
    while time < START + seconds * 1000:
        price = round(price + rng.gauss(0, 0.05), 2)
        trades.append(ct.Trade("BTC/USDT", time, price, rng.randint(1, 10**9) / 1e8, rng.choice(("buy", "sell")),
                               str(7_000 + len(trades)) if ids else None))  # fmt: skip
        time += rng.choice((0, 0, 1, 40, 700, 2500, 9000))
    return trades


def candles_of(builder: CandleBuilder, arrivals: list[tuple[int, ct.Trade]], end: int) -> list[ct.OHLCVCandle]:
    candles = []
    builder.on_up(START)
    for now, trade in arrivals:
        while builder.wake_at is not None and builder.wake_at < now:
            builder.on_time(builder.wake_at)
        builder.on_trade(trade, now)
        candles += builder.take()
    builder.on_time(end)
    return candles + builder.take()


@pytest.mark.parametrize("timeframe", ["1s", "7s", "1m", "5m", "13m"])
@pytest.mark.parametrize("seed", range(4))
def test_late_trades_in_any_order_and_twice_make_the_same_candles(seed, timeframe) -> None:
    trades, rng = market(seed), random.Random(seed)
    arrivals = [(trade.time + rng.randint(1, 900), trade) for trade in trades]
    arrivals += [(now + rng.randint(0, 5000), trade) for now, trade in arrivals if rng.random() < 0.1]
    arrivals.sort(key=lambda arrival: arrival[0])
    builder = CandleBuilder("BTC/USDT", ct.Timeframe(timeframe), grace=10_000)
    candles = candles_of(builder, arrivals, START + 10**7)
    truth = bars_of_trades(trades, symbol="BTC/USDT", timeframe=timeframe)
    assert [candle.time for candle in candles] == truth.time.tolist()
    for name in ("open", "high", "low", "close", "volume"):
        assert np.array_equal([getattr(candle, name) for candle in candles], truth[name]), name
    # Nothing is missing, and the ids prove it: all but the first, and the last, whose next trade never came.
    assert {candle.closed for candle in candles[1:-1]} <= {True}
    assert not candles[0].closed
    assert not candles[-1].closed


def test_a_trade_that_is_missing_takes_the_proof_from_its_bar_alone_and_from_the_one_that_it_may_have_been_in() -> None:
    trades = market(5)
    lost = trades[len(trades) // 2]
    arrivals = [(trade.time + 5, trade) for trade in trades if trade is not lost]
    candles = candles_of(CandleBuilder("BTC/USDT", ct.Timeframe("1m"), grace=10_000), arrivals, START + 10**7)
    doubted = [candle.time for candle in candles[1:-1] if not candle.closed]
    assert doubted == [ct.Timeframe("1m").floor(lost.time)]


def test_without_ids_a_candle_is_called_closed_only_on_trust_and_only_where_the_stream_was_there_for_all_of_it() -> None:
    trades = market(6, ids=False)
    arrivals = [(trade.time + 5, trade) for trade in trades]
    frame = ct.Timeframe("1m")
    assert not any(candle.closed for candle in candles_of(CandleBuilder("BTC/USDT", frame, grace=1000), arrivals, START + 10**7))
    builder = CandleBuilder("BTC/USDT", frame, grace=1000, trust=True)
    candles = candles_of(builder, arrivals[: len(arrivals) // 2], 0)
    builder.on_down()
    builder.on_up(arrivals[len(arrivals) // 2][0])
    for now, trade in arrivals[len(arrivals) // 2 :]:
        builder.on_trade(trade, now)
    builder.on_time(START + 10**7)
    candles += builder.take()
    assert [candle.time for candle in candles if not candle.closed] == [frame.floor(trades[len(trades) // 2].time)]


def test_a_trade_after_its_candle_went_out_is_counted_and_changes_nothing() -> None:
    builder = CandleBuilder("BTC/USDT", ct.Timeframe("1m"), grace=1000)
    trade = ct.Trade("BTC/USDT", START + 10, 100.0, 1.0, None, "5")
    builder.on_trade(trade, START + 20)
    builder.on_time(START + 61_000)
    assert len(builder.take()) == 1
    builder.on_trade(dataclasses.replace(trade, id="6"), START + 61_001)
    builder.on_trade(dataclasses.replace(trade, id="7", time=START + 10**6), START + 61_002)  # from the future
    builder.on_trade(dataclasses.replace(trade, id="8", price=float("nan")), START + 61_002)
    assert (builder.take(), builder.late, builder.rejected) == ([], 1, 2)


@given(st.lists(st.integers(0, 60), max_size=80))
def test_id_ranges_know_what_they_have_seen(numbers) -> None:
    ranges, seen = IdRanges(), set()
    for number in numbers:
        assert ranges.add(number) == (number not in seen)
        seen.add(number)
    for first in range(0, 60, 7):
        for last in range(first, 60, 5):
            assert ranges.covers(first, last) == (set(range(first, last + 1)) <= seen)
