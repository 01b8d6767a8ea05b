"""Live feeds whose candles are made of trades: where a venue has no others, by choice, and of any length."""

import random
from typing import Any

import numpy as np
import pytest
from test_feed import Recorder, Until, in_background, run
from venue import START, Venue

import cracktrader as ct
from cracktrader.errors import TemporarySourceError, UnsupportedTimeframe
from cracktrader.trades import bars_of_trades


def trades(seconds: int, seed: int = 3) -> list[ct.Trade]:
    rng = random.Random(seed)
    made, moment, price = [], START + 100, 100.0
    while moment < START + seconds * 1000:
        price = round(price + rng.gauss(0, 0.1), 2)
        made.append(ct.Trade("X", moment, price, rng.randint(1, 10**7) / 1e6, "buy", str(500 + len(made))))
        moment += rng.choice((0, 5, 300, 900, 1400))
    return made


TRADES = trades(400)


def rows(strategy: Any) -> np.ndarray:
    return np.array([row[0][2:] for row in strategy.seen])


@pytest.mark.parametrize(("timeframe", "compression"), [("1s", 1), ("7s", 1), ("1m", 1), ("5s", 6)])
def test_history_and_live_bars_of_trades_are_those_of_all_trades_at_once(timeframe, compression) -> None:
    """The stream of candles is refused, so trades are taken; what is missing at the stitch is fetched."""
    begin, end = START + 120_000, START + 360_000
    with ct.source("replay", trades=tuple(TRADES), speed=200, begin=begin) as source:
        feed = ct.feed(source, symbol="X", timeframe=timeframe, compression=compression, live=True, end=end, empty="fill",
                       fill_limit=1000, start=START)  # fmt: skip
        was = run(lambda cerebro: cerebro.adddata(feed))
    truth = bars_of_trades(TRADES, symbol="X", timeframe=timeframe).but(extra={})
    truth = ct.validate(truth, ct.Validation(gap=ct.Check(policy="repair", limit=1000))).resample(
        ct.Timeframe(timeframe) * compression
    )
    truth = truth.between(START, end)
    expected = np.column_stack([truth[name] for name in ("open", "high", "low", "close", "volume")])
    assert np.array_equal(rows(was), expected)
    assert feed.stats["uncertain"] == feed.stats["lost"] == 0


class TradesOnly(Venue):
    """A venue that has trades and nothing else: no candle can be fetched."""

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.refuses = {hook: UnsupportedTimeframe("no such candles") for hook in ("stream_candles", "fetch_bars")}


def test_where_nothing_can_be_fetched_bars_begin_with_the_first_whole_one_and_doubt_is_flagged() -> None:
    venue = TradesOnly()
    feed = ct.feed(venue, symbol="X", timeframe="1s", live=True, limit=0, grace=0.3, qcheck=0.1, validation="off")

    def play() -> None:
        venue.wait_for_streams(1)
        for number in range(40):
            now = venue.clock()
            venue.push(ct.Trade("X", now, 100.0 + number, 1.0, None, str(number + (number > 15))))  # one is missing
            if number == 15:
                venue.push(TemporarySourceError("reset"))
                venue.sleep_until(now + 300)
                venue.wait_for_streams(1)
            venue.sleep_until(now + 250)

    flags: list[int] = []

    class Noter(Until):
        def note(self) -> None:
            super().note()
            flags.append(feed._line.last.flags)

    player = in_background(play)
    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Noter, bars=6)
    was = cerebro.run()[0]
    player.join()
    assert len(was.seen) == 6
    assert flags[0] == 0
    assert ct.Flag.SUSPECT in flags, (was.seen, was.told, feed.stats)
    assert feed.stats["uncertain"] >= 1


def test_trades_are_taken_where_they_are_asked_for() -> None:
    begin = START + 120_000
    with ct.source("replay", trades=tuple(TRADES), speed=400, begin=begin) as source:
        feed = ct.feed(source, symbol="X", timeframe="10s", live=True, from_trades=True, end=START + 200_000)
        assert len(run(lambda cerebro: cerebro.adddata(feed), strategy=Recorder).seen) == 20
        assert feed._line._hook == "stream_trades"
        with pytest.raises(UnsupportedTimeframe):
            run(lambda cerebro: cerebro.adddata(ct.feed(source, symbol="X", timeframe="10s", live=True, from_trades=False)))
