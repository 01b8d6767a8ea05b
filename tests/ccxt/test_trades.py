"""Bars made of an exchange's trades: by id and by time, exactly those that its candles are."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from venues import START, Venue

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidRange, MalformedData, NotSupported, TemporarySourceError
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator import faults as F

Load = Callable[..., ct.Bars]
HOURS = {"start": "2024-01-01T00:00", "end": "2024-01-01T02:00"}


def plain(bars: ct.Bars) -> ct.Bars:
    """Only what candles have too."""
    return bars.but(extra={}, source="", symbol="BTC/USDT")


@pytest.mark.parametrize("timeframe", ["1m", "5m", "1h"])
def test_trades_by_id_make_the_candles_of_the_exchange(load: Load, exchange: Simulator, timeframe: str) -> None:
    bars = load(timeframe=timeframe, from_trades=True, **HOURS)
    assert plain(bars) == plain(exchange.truth("BTC/USDT", timeframe, *HOURS.values()))
    assert bars.provenance["resampled_from"] == "trades"
    assert set(bars.extra) >= {"quote_volume", "trades"}
    asked = exchange.requests.of("*/aggTrades")
    assert sum("startTime" in one.query for one in asked) == 1
    assert len({one.query["fromId"] for one in asked if "fromId" in one.query}) == len(asked) - 1


def test_long_bars_are_made_of_hours_of_trades(load: Load, exchange: Simulator) -> None:
    bars = load(timeframe="2h", from_trades=True, start="2024-01-01T22:00", end="2024-01-02T02:00")
    assert plain(bars) == plain(exchange.truth("BTC/USDT", "2h", "2024-01-01T22:00", "2024-01-02T02:00"))


def test_quiet_hours_are_passed_and_pages_in_disorder_are_put_in_order(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.Outage(start="2024-01-01T00:30", end="2024-01-01T06:10"))
    exchange.faults.add(F.Duplicates(path="*/aggTrades", every=7))
    exchange.faults.add(F.Disorder(path="*/aggTrades", newest_first=True))
    span = {"start": "2024-01-01T00:40", "end": "2024-01-01T06:30"}
    bars = load(timeframe="1m", from_trades=True, batch_size=100, **span)
    assert plain(bars) == plain(exchange.truth("BTC/USDT", "1m", *span.values()))
    assert len(bars) == 20


def test_the_last_bar_is_over_by_the_exchanges_clock(load: Load, exchange: Simulator) -> None:
    exchange.clock.set("2024-01-01T01:30:30")
    bars = load(timeframe="1m", from_trades=True, start="2024-01-01T01:00")
    assert plain(bars) == plain(exchange.truth("BTC/USDT", "1m", "2024-01-01T01:00", "2024-01-01T01:30"))


def test_a_failure_keeps_the_bars_that_are_whole(load: Load, exchange: Simulator, own_machine: Path) -> None:
    kept = {"timeframe": "1m", "from_trades": True, "catalog": own_machine / "kept", "retries": 0, "batch_size": 200, **HOURS}
    broken = exchange.faults.add(F.HtmlError(path="*/aggTrades", skip=5))
    with pytest.raises(TemporarySourceError, match="are missing"):
        load(**kept)
    exchange.faults.remove(broken)
    assert plain(load(**kept)) == plain(exchange.truth("BTC/USDT", "1m", *HOURS.values()))


@pytest.mark.parametrize("at_once", [7, 50, 1000])
def test_trades_by_time_come_each_once_however_few_a_page_holds(at_once: int) -> None:
    with Venue("kraken", hours=1500, trades=2000, at_once=at_once) as venue:
        bars = venue.load(from_trades=True, timeframe="1m", batch_size=at_once, start=START, end=START + 4 * 3_600_000)
        truth = venue.bars_of_trades("1m", START, START + 4 * 3_600_000)
        assert plain(bars) == plain(truth)
        assert bars.extra["trades"].sum() == truth.extra["trades"].sum() > 100


def test_more_trades_in_a_moment_than_a_page_holds_is_an_error_not_a_hole() -> None:
    with (
        Venue("kraken", hours=1500, trades=2000, at_once=5, bunched=8) as venue,
        pytest.raises(MalformedData, match="5 trades or more"),
    ):
        venue.load(from_trades=True, timeframe="1m", batch_size=5, start=START, end=START + 4 * 3_600_000)


@pytest.mark.parametrize("at_once", [50, 200])
def test_pages_smaller_than_known_that_one_moment_fills_are_an_error(at_once: int) -> None:
    with (
        Venue("kraken", hours=10, trades=3000, at_once=at_once, bunched=300) as venue,
        pytest.raises(MalformedData, match=f"{at_once} trades or more"),
    ):
        venue.load(from_trades=True, timeframe="1m", start=venue.iso(0), end=venue.iso(8))


@pytest.mark.parametrize("at_once", [50, 1000])
def test_pages_smaller_than_known_lose_no_trades(at_once: int) -> None:
    with Venue("kraken", hours=10, trades=2000, at_once=at_once) as venue:
        bars = venue.load(from_trades=True, timeframe="1m", start=venue.iso(0), end=venue.iso(9))
        assert plain(bars) == plain(venue.bars_of_trades("1m", START, START + 9 * 3_600_000))


LATEST = {"timeframe": "5m", "start": "2024-05-31T22:00", "end": "2024-06-01", "from_trades": True}


@pytest.mark.parametrize("skip", [0, 1, 2, 5])
@pytest.mark.parametrize(("name", "path"), [("binance", "*/aggTrades"), ("kraken", "*/Trades")])
def test_one_empty_page_of_trades_loses_none(load: Load, exchange: Simulator, name: str, path: str, skip: int) -> None:
    fault = exchange.faults.add(F.EmptyPages(path=path, skip=skip, times=1))
    bars = load(exchange=name, config=exchange.config(name, enableRateLimit=False), **LATEST)
    assert exchange.faults.fired(fault) == 1
    assert plain(bars) == plain(exchange.truth("BTC/USDT", "5m", LATEST["start"], LATEST["end"]))


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize(("name", "path"), [("binance", "*/aggTrades"), ("kraken", "*/Trades")])
def test_empty_pages_though_there_are_trades_are_an_error(
    load: Load, exchange: Simulator, name: str, path: str, skip: int
) -> None:
    exchange.faults.add(F.EmptyPages(path=path, skip=skip, times=2))
    with pytest.raises(TemporarySourceError, match="Some may be missing"):
        load(exchange=name, config=exchange.config(name, enableRateLimit=False), **LATEST)


@pytest.mark.parametrize(
    ("timeframe", "start"), [("1h", "2024-05-31T23:00"), ("4h", "2024-05-31T20:00"), ("5m", "2024-05-31T23:00")]
)
def test_trades_of_an_exchange_that_ignores_since_are_not_taken_for_all(
    load: Load, exchange: Simulator, timeframe: str, start: str
) -> None:
    config = exchange.config("coinbaseexchange", enableRateLimit=False)
    with pytest.raises(NotSupported, match="may not give older ones"):
        load(exchange="coinbaseexchange", config=config, timeframe=timeframe, start=start, end="2024-06-01", from_trades=True)


def test_trades_of_an_exchange_that_ignores_since_do_where_they_reach_back_far_enough(load: Load, exchange: Simulator) -> None:
    config = exchange.config("coinbaseexchange", enableRateLimit=False)
    bars = load(exchange="coinbaseexchange", config=config, timeframe="1m", start="2024-05-31T23:57", from_trades=True)
    assert plain(bars) == plain(exchange.truth("BTC/USDT", "1m", "2024-05-31T23:57", "2024-06-01"))


def test_an_exchange_without_candles_offers_its_trades() -> None:
    with pytest.raises(NotSupported, match="bitflyer has no candles") as caught:
        ct.load("ccxt", exchange="bitflyer", symbol="BTC/JPY", timeframe="1h", limit=5, catalog=False)
    assert "from_trades=True" in caught.value.hint


def test_they_need_a_start(load: Load) -> None:
    with pytest.raises(InvalidRange, match="need a start"):
        load(from_trades=True, limit=5)


def test_an_exchange_without_trades_says_so() -> None:
    with pytest.raises(CracktraderError, match="has no trades"):
        ct.load("ccxt", exchange="blockchaincom", symbol="BTC/USD", timeframe="1h", start=START, from_trades=True, catalog=False)
