"""Live feeds in backtrader: the strategy sees live what it would see in a backtest over the same bars, and nothing is left."""

import _thread
import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import backtrader as bt
import numpy as np
import pytest
from venue import START, Venue, market

import cracktrader as ct
from cracktrader.errors import (
    InvalidOption,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnknownSymbol,
    UnsupportedMode,
)
from cracktrader.times import isoformat

BTC = market(150, missing=(105, 106, 120))
ETH = market(150, seed=2, symbol="ETH/USDT", missing=(105, 111))
END = isoformat(START + 140 * 60_000)
#: So many times as fast: a minute lasts 20 ms.
SPEED = 3_000


class Recorder(bt.Strategy):
    """Writes down everything that it sees and is told, and trades."""

    def __init__(self) -> None:
        fast, slow = bt.indicators.SMA(self.data.close, period=3), bt.indicators.SMA(self.data.close, period=8)
        self.cross = bt.indicators.CrossOver(fast, slow)
        self.seen: list[Any] = []
        self.trades: list[Any] = []
        self.told: list[Any] = []

    def prenext(self) -> None:
        self.note()

    def note(self) -> None:
        names = ("datetime", "open", "high", "low", "close", "volume")
        self.seen.append([(len(data), *(getattr(data, name)[0] for name in names)) for data in self.datas if len(data)])

    def next(self) -> None:
        self.note()
        if self.cross > 0:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()

    def notify_trade(self, trade: Any) -> None:
        self.trades.append((trade.status, trade.size, trade.price, trade.pnl, trade.dtopen, trade.dtclose))

    def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
        self.told.append((data._name, data._getstatusname(status), len(data)))

    def notify_store(self, message: str, *args: Any, **kwargs: Any) -> None:
        self.told.append(message)


def run(setup: Callable[[bt.Cerebro], Any], cls: type[bt.Cerebro] = ct.Cerebro, strategy: Any = Recorder, **options: Any) -> Any:
    cerebro = cls(**options)
    setup(cerebro)
    cerebro.addstrategy(strategy)
    return cerebro.run()[0]


def replay(**options: Any) -> ct.Source:
    return ct.source(
        "replay", **{"bars": (BTC, ETH), "speed": SPEED, "begin": isoformat(START + 100 * 60_000 + 20_000)} | options
    )


def live(source: Any, symbol: str = "BTC/USDT", **options: Any) -> Any:
    # at this speed a machine that is busy elsewhere for 10 ms leaves a stream silent for half a minute
    unhurried = {"silence": 36_000, "patience": 36_000}
    return ct.feed(source, symbol=symbol, timeframe="1m", live=True, **{"end": END} | unhurried | options)


def past(symbol: str = "BTC/USDT", **options: Any) -> Any:
    return ct.feed("memory", bars=(BTC, ETH), symbol=symbol, timeframe="1m", end=END, **options)


SETUPS: dict[str, Callable[[bt.Cerebro, Any], Any]] = {
    "one": lambda cerebro, make: cerebro.adddata(make()),
    "two": lambda cerebro, make: [cerebro.adddata(make(symbol)) for symbol in ("BTC/USDT", "ETH/USDT")],
    "two_timeframes": lambda cerebro, make: [cerebro.adddata(make()), cerebro.adddata(make(compression=5, name="longer"))],
    "resampled": lambda cerebro, make: cerebro.resampledata(make(), timeframe=bt.TimeFrame.Minutes, compression=5),
    "resampled_beside": lambda cerebro, make: [
        cerebro.adddata(data := make()), cerebro.resampledata(data, timeframe=bt.TimeFrame.Minutes, compression=5)
    ],
    "another_resampled_beside": lambda cerebro, make: [
        cerebro.adddata(make()), cerebro.resampledata(make("ETH/USDT"), timeframe=bt.TimeFrame.Minutes, compression=5)
    ],
    "replayed": lambda cerebro, make: cerebro.replaydata(make(), timeframe=bt.TimeFrame.Minutes, compression=5),
}  # fmt: skip


@pytest.mark.parametrize("stamp", ["last", "close"])
@pytest.mark.parametrize("setup", SETUPS)
def test_the_order_of_next_what_it_sees_and_the_trades_are_those_of_a_backtest(setup, stamp) -> None:
    def lived(cerebro: bt.Cerebro) -> None:
        SETUPS[setup](cerebro, lambda symbol="BTC/USDT", **options: live(source, symbol, stamp=stamp, **options))

    def tested(cerebro: bt.Cerebro) -> None:
        SETUPS[setup](cerebro, lambda symbol="BTC/USDT", **options: past(symbol, stamp=stamp, **options))

    expected = run(tested, preload=False)
    for _ in range(3):  # on a busy machine, a bar that comes too late has a step of its own in one run of a hundred
        with replay() as source:
            was = run(lived)
        if was.seen == expected.seen:
            break
    assert was.seen == expected.seen
    assert was.trades == expected.trades
    assert setup != "one" or len(was.trades) > 4
    assert set(was.told) >= {("BTC/USDT", "DELAYED", 0)}
    statuses = [status for name, status, _ in (told for told in was.told if isinstance(told, tuple)) if name == "BTC/USDT"]
    # at this speed a machine that is busy elsewhere for a moment is late by minutes, and says so
    assert (statuses[0], statuses[-1]) == ("DELAYED", "DISCONNECTED")


@pytest.mark.parametrize("stamp", ["last", "close"])
@pytest.mark.parametrize("way", ["resampledata", "replaydata"])
def test_days_are_whole_over_midnight(way, stamp) -> None:
    bars = market(150).but(time=BTC.time[0] + 60_000 * (np.arange(150) - 100))
    end = isoformat(int(bars.time[140]))

    def setup(cerebro: bt.Cerebro, feed: Any) -> None:
        getattr(cerebro, way)(feed, timeframe=bt.TimeFrame.Days)

    with ct.source("replay", bars=bars, speed=SPEED, begin=isoformat(int(bars.time[60]) + 20_000)) as source:
        was = run(lambda cerebro: setup(cerebro, live(source, end=end, stamp=stamp)))
    expected = run(lambda cerebro: setup(cerebro, ct.feed(bars.between(None, end), stamp=stamp)), preload=False)
    assert was.seen == expected.seen
    assert was.trades == expected.trades


def test_backtraders_own_cerebro_runs_it_too_and_a_history_beside_it_steps_in_time() -> None:
    def lived(cerebro: bt.Cerebro) -> None:
        cerebro.adddata(live(source))
        cerebro.adddata(past("ETH/USDT"))
        cerebro.adddata(bt.feeds.PandasData(dataname=ETH.to_pandas()[:40].tz_localize(None), timeframe=bt.TimeFrame.Minutes))

    with replay() as source:
        was = run(lived, bt.Cerebro)
        store = was.env.stores[0]
    assert len(was.datas[0]) == 140
    assert len(was.datas[1]) == 140
    assert store.round < 1_000  # no running in circles while the history is over and the next bar is not there yet


def test_without_history_it_begins_with_the_bar_that_forms() -> None:
    with replay() as source:
        was = run(lambda cerebro: cerebro.adddata(live(source, limit=0)))
    assert was.seen[0][0][1:] == pytest.approx(run(lambda cerebro: cerebro.adddata(past())).seen[100][0][1:])
    assert len(was.seen) == 40


def test_filters_and_bounded_memory_take_backtraders_own_way() -> None:
    seen = []
    with replay() as source:
        was = run(lambda cerebro: cerebro.adddata(live(source, filters=[lambda data: seen.append(len(data))])), exactbars=1)
    assert len(seen) == 140
    assert [row[0][1] for row in was.seen] == [row[0][1] for row in run(lambda cerebro: cerebro.adddata(past())).seen]


# ── a venue under control ────────────────────────────────────────────────────────────────────────────


def candle(number: int, base: int, *, closed: bool = True, close: float = 100.0, volume: float = 1.0) -> ct.OHLCVCandle:
    return ct.OHLCVCandle("X", ct.Timeframe("1s"), base + 1000 * number, close, close, close, close, volume, closed=closed)


def in_background(work: Callable[[], Any]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


class Until(Recorder):
    """Stops once it has seen so many bars."""

    params = (("bars", 3),)

    def note(self) -> None:
        super().note()
        if len(self.data) >= self.p.bars:
            self.env.runstop()


@pytest.fixture
def venue() -> Venue:
    return Venue()


def seconds(venue: Any, **options: Any) -> Any:
    return ct.feed(venue, symbol="X", timeframe="1s", live=True, limit=0, **{"grace": 0.3, "qcheck": 0.2} | options)


def test_a_bar_that_closes_is_there_at_once_and_duplicates_and_older_ones_are_only_counted(venue) -> None:
    feed = seconds(venue)

    def play() -> None:
        venue.wait_for_streams()
        base = feed._line.frontier
        for number in range(4):
            bar = candle(number, base, close=100.0 + number)
            venue.sleep_until(bar.end)
            venue.push(candle(number, base, closed=False, volume=0.5), bar, bar, candle(number - 1, base, closed=False))

    player = in_background(play)
    was = run(lambda cerebro: cerebro.adddata(feed), strategy=Until)
    player.join()
    assert [row[0][5] for row in was.seen] == [100.0, 101.0, 102.0]
    assert feed.stats["late"] >= 4
    assert feed.stats["bars"] >= 3
    assert (venue.opened, venue.closed, venue.given_back) == (1, 1, 1)


def test_a_reconnect_with_a_hole_is_healed_before_the_next_bar(venue) -> None:
    feed = seconds(venue, silence=60)

    def play() -> None:
        venue.wait_for_streams()
        base = feed._line.frontier
        bars = [candle(number, base, close=100.0 + number) for number in range(4)]
        venue.sleep_until(bars[0].end)
        venue.push(bars[0], TemporarySourceError("reset by peer"))
        venue.rows = {bar.time: bar for bar in bars[:3]}
        venue.sleep_until(bars[3].end)
        venue.wait_for_streams()
        venue.push(bars[3])

    player = in_background(play)
    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Until, bars=4)
    was = cerebro.run()[0]
    player.join()
    assert [row[0][5] for row in was.seen] == [100.0, 101.0, 102.0, 103.0]
    assert feed.stats["healed"] == 2
    assert feed.stats["reconnects"] == 1
    assert any("reset by peer" in told for told in was.told if isinstance(told, str))


def test_what_stays_down_is_told_and_so_is_its_coming_back(venue) -> None:
    feed = seconds(venue, patience=0.6)
    statuses: list[str] = []

    class Watcher(Recorder):
        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            statuses.append(data._getstatusname(status))
            if statuses.count("LIVE") == 1 and status == data.LIVE:
                venue.refuses = {hook: TemporarySourceError("maintenance") for hook in ("stream_candles", "fetch_bars")}
                venue.push(TemporarySourceError("maintenance"))
            elif status == data.CONNBROKEN:
                base = feed._line.frontier
                venue.rows = {base + 1000 * number: candle(number, base) for number in range(60)}
                venue.refuses = {}
            elif statuses.count("LIVE") == 2:
                self.env.runstop()

    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Watcher)
    was = cerebro.run()[0]
    assert [status for status in statuses if status != "DELAYED"] == ["LIVE", "CONNBROKEN", "LIVE"]
    assert len(was.data) >= 1


@pytest.mark.parametrize("skew", [-30_000, 30_000])
def test_a_venue_whose_clock_is_another_one_closes_bars_by_its_own(venue, skew) -> None:
    venue.ahead = skew
    feed = seconds(venue)

    def play() -> None:
        venue.wait_for_streams()
        base = feed._line.frontier
        assert abs(base - venue.clock()) < 3_000
        for number in range(3):
            bar = candle(number, base)
            venue.sleep_until(bar.end)
            venue.push(bar)

    player = in_background(play)
    run(lambda cerebro: cerebro.adddata(feed), strategy=Until)
    player.join()
    assert feed.stats["clock_offset_ms"] == pytest.approx(skew + 3 * (time.time() * 1000 - venue.began), abs=2_000)
    assert feed.stats["filled"] == 0


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("hook", ["stream_candles", "fetch_bars"])
def test_a_symbol_that_is_refused_is_told_and_raised(venue, hook) -> None:
    venue.refuses = {hook: UnknownSymbol("There is no X here.", hint="Take Y.")}
    told: list[Any] = []

    class Hearer(Recorder):
        def notify_data(self, data: Any, status: int, *args: Any, **kwargs: Any) -> None:
            told.append(data._getstatusname(status))

        def notify_store(self, message: str, *args: Any, error: Any = None, **kwargs: Any) -> None:
            told.append((message, error))

    with pytest.raises(UnknownSymbol, match="There is no X here"):
        run(lambda cerebro: cerebro.adddata(seconds(venue)), strategy=Hearer)
    assert {"NOTSUBSCRIBED", "DISCONNECTED"} & set(told)
    assert hook == "fetch_bars" or "NOTSUBSCRIBED" in told
    assert any("There is no X here." in message for message, error in (one for one in told if isinstance(one, tuple)) if error)
    assert venue.given_back == 1


def test_a_fault_of_the_plugin_is_told_as_one(venue) -> None:
    player = in_background(lambda: (venue.wait_for_streams(), venue.push("no candle")))
    with pytest.raises(ct.CracktraderError, match="yielded 'no candle'"):
        run(lambda cerebro: cerebro.adddata(seconds(venue)))
    player.join()


def test_a_source_without_streams_says_so_where_the_feed_is_made() -> None:
    with pytest.raises(NotSupported, match="neither candles nor trades"):
        run(lambda cerebro: cerebro.adddata(ct.feed("memory", bars=BTC, symbol="BTC/USDT", timeframe="1m", live=True)))


def test_options_are_checked() -> None:
    with pytest.raises(InvalidOption, match="grace"):
        live("replay", bars=BTC, grace=-1)
    with pytest.raises(InvalidOption, match="can't go on live"):
        ct.feed(BTC, live=True, timeframe="1m")
    with pytest.raises(InvalidOption, match="colour"):
        live("replay", bars=BTC, colour="red")


def test_an_optimisation_over_a_live_feed_is_refused() -> None:
    cerebro = ct.Cerebro(maxcpus=1)
    with replay() as source:
        cerebro.adddata(live(source))
        cerebro.optstrategy(Until, bars=(1, 2))
        with pytest.raises(UnsupportedMode, match="live"):
            cerebro.run()


# ── however it ends, nothing is left: the fixture in conftest.py looks ───────────────────────────────


class Breaks(Recorder):
    params = (("how", None),)

    def next(self) -> None:
        if len(self) > 105:
            self.p.how(self)


@pytest.mark.parametrize("cls", [bt.Cerebro, ct.Cerebro])
def test_an_exception_in_the_strategy_ends_everything(cls) -> None:
    def fail(_: Any) -> None:
        raise ZeroDivisionError("a fault of the strategy")

    cerebro = cls()
    cerebro.adddata(live("replay", bars=BTC, speed=SPEED, begin=isoformat(START + 100 * 60_000)))
    cerebro.addstrategy(Breaks, how=fail)
    with pytest.raises(ZeroDivisionError):
        cerebro.run()


def test_ctrl_c_while_it_waits_ends_everything(venue) -> None:
    timer = in_background(lambda: (venue.wait_for_streams(), time.sleep(0.2), _thread.interrupt_main()))
    with pytest.raises(KeyboardInterrupt):
        run(lambda cerebro: cerebro.adddata(seconds(venue, qcheck=30)))
    timer.join()
    assert venue.closed == venue.given_back == 1


def test_runstop_ends_everything() -> None:
    cerebro = ct.Cerebro()
    feed = live("replay", bars=BTC, speed=SPEED, begin=isoformat(START + 100 * 60_000), end=None)
    cerebro.adddata(feed)
    cerebro.addstrategy(Breaks, how=lambda strategy: strategy.env.runstop())
    was = cerebro.run()[0]
    assert len(was) == 106
    with pytest.raises(UnsupportedMode, match="closed"):  # the feed made it, so it closed it
        feed.p.source.now()


def test_an_idle_feed_sleeps(venue) -> None:
    """Rounds are counted, not time: each is one look at what else there is to do."""
    feed = seconds(venue, silence=60, empty="skip", grace=500, qcheck=0.25)
    timer = in_background(lambda: (venue.wait_for_streams(), time.sleep(1.0), cerebro.runstop()))
    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Recorder)
    cerebro.run()
    timer.join()
    assert 3 <= feed._store.round <= 16
    assert feed.stats["messages"] == 0


def test_a_permanent_error_while_live_ends_the_feed(venue) -> None:
    def play() -> None:
        venue.wait_for_streams()
        venue.push(PermanentSourceError("delisted"))

    player = in_background(play)
    with pytest.raises(PermanentSourceError, match="delisted"):
        run(lambda cerebro: cerebro.adddata(seconds(venue)))
    player.join()


def test_a_bar_waits_for_those_of_a_feed_that_catches_up_and_sleeps_meanwhile() -> None:
    """However long it takes: time must not run backwards. Rounds are counted, so that it does not run in circles."""

    class Slow(ct.default_registry().load("replay")):
        @ct.hookimpl
        def fetch_bars(self, request: ct.BarRequest) -> Any:
            if request.symbol == "ETH/USDT" and request.start is not None and request.start > START:
                time.sleep(0.8)
            return super().fetch_bars(request)

    begin = isoformat(START + 100 * 60_000 + 20_000)
    with ct.source(Slow, bars=(BTC, ETH), speed=SPEED, begin=begin) as source:
        feeds = [live(source, symbol, align=0.05, patience=1e6) for symbol in ("BTC/USDT", "ETH/USDT")]
        time.sleep(0.1)  # five minutes pass, which have to be fetched
        was = run(lambda cerebro: [cerebro.adddata(feed) for feed in feeds])
    times = [max(row[1] for row in rows) for rows in was.seen]
    assert times == sorted(times)
    assert [len(feed) for feed in feeds] == [140, 140]
    assert feeds[0]._store.round < 2_000


def test_a_stream_that_cancels_itself_is_opened_again_with_pauses(venue) -> None:
    """Client libraries do that where a connection is lost. Each opening is counted: there is no running in circles."""
    feed = seconds(venue)

    def play() -> None:
        for _ in range(3):  # on a busy machine, a bar that comes too late has a step of its own in one run of a hundred
            venue.wait_for_streams()
            opened = venue.opened
            venue.push(asyncio.CancelledError())
            until = time.monotonic() + 5
            while venue.opened == opened and time.monotonic() < until:
                time.sleep(0.01)
        cerebro.runstop()

    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Recorder)
    player = in_background(play)
    cerebro.run()
    player.join()
    assert venue.opened == 4
    assert feed.stats["reconnects"] == 3
