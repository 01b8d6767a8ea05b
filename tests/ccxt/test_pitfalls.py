"""What goes wrong with exchanges, one test or more for each pitfall, 1 to 18: real ccxt against an exchange that does it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from venues import HOUR, MINUTE, START, Venue

import cracktrader as ct
from cracktrader.errors import (
    InvalidOption,
    NotSupported,
    PermanentSourceError,
    TemporarySourceError,
    UnknownSymbol,
    UnsupportedTimeframe,
)
from cracktrader_ccxt.candles import columns_of, page_of
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator import faults as F

Load = Callable[..., ct.Bars]
JANUARY = {"start": "2024-01-01", "end": "2024-02-01"}


def same(bars: ct.Bars, truth: ct.Bars) -> None:
    """The same bars, value for value; where they came from doesn't matter."""
    assert bars.time.tolist() == truth.time.tolist()
    assert bars.but(flags=truth.flags, source=truth.source) == truth


# ── 1: since is ignored ──────────────────────────────────────────────────────────────────────────────


def test_01_kraken_keeps_720_candles_and_says_which_and_what_else_to_do() -> None:
    with Venue("kraken", hours=2000) as venue:
        with pytest.raises(NotSupported, match="keeps the last 720 candles") as caught:
            venue.load(start=START, end=START + 100 * HOUR)
        assert caught.value.context["earliest"] == venue.iso(2000 - 719)
        assert "from_trades=True" in caught.value.hint
        assert not venue.asked("OHLC"), "It was asked although the answer was known."
        same(venue.load(start=START + 1290 * HOUR, end=START + 1400 * HOUR), venue.truth(1290, 1400))
        same(venue.load(limit=10), venue.truth(1990, 2000))
        same(venue.load(), venue.truth(1281, 2000))
    with Venue("kraken", hours=500) as venue:
        for first, stop in ((-100, 50), (-100, -20), (-1, 1)):
            same(venue.load(start=START + first * HOUR, end=START + stop * HOUR), venue.truth(first, stop))


def test_01_more_bars_than_kraken_keeps_are_an_error_and_not_fewer_bars() -> None:
    with Venue("kraken", hours=2000) as venue:
        for wanted in ({"limit": 720}, {"limit": 10, "end": venue.iso(1285)}, {"limit": 10, "end": venue.iso(5)}):
            with pytest.raises(NotSupported, match=rf"and the last {wanted['limit']} bars before .* were asked for") as caught:
                venue.load(**wanted)
            assert caught.value.context["earliest"] == venue.iso(1281)
        bars = venue.load(limit=719)
        same(bars, venue.truth(1281, 2000))
        assert bars.provenance["kept_from"] == venue.load().provenance["kept_from"] == venue.iso(1281)
        assert "kept_from" not in venue.load(start=venue.iso(1990)).provenance
        with ct.CCXTStore(exchange="kraken", config=venue.config(), cache_enabled=False) as store:
            same(ct.CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h").bars, venue.truth(1281, 2000))
            with pytest.raises(NotSupported):
                ct.CCXTDataFeed(store=store, symbol="BTC/USDT", timeframe="1h", historical_limit=1000).bars  # noqa: B018
    with Venue("kraken", hours=500) as venue:
        same(venue.load(limit=1000), venue.truth(0, 500))


def test_01_an_exchange_that_is_not_known_to_ignore_since_is_found_out() -> None:
    with Venue("whitebit", hours=3000, ignores_since=500) as venue:
        with pytest.raises(NotSupported, match="gave its latest") as caught:
            venue.load(start=START + HOUR, end=START + 100 * HOUR)
        assert caught.value.context["earliest"] == venue.iso(2501)
        with pytest.raises(NotSupported):
            venue.load(start=START + 2400 * HOUR, end=START + 2600 * HOUR)
        same(venue.load(start=START + 2600 * HOUR, end=START + 2700 * HOUR), venue.truth(2600, 2700))


@pytest.mark.parametrize(("hours", "kept"), [(480, 50), (240, 10), (52, 50)])
def test_01_it_is_found_out_of_a_market_that_is_younger_than_a_month_too(hours: int, kept: int) -> None:
    with Venue("whitebit", hours=hours, ignores_since=kept) as venue:
        for wanted in ({"start": START, "end": START + hours * HOUR}, {"start": START, "limit": 20}):
            with pytest.raises(NotSupported, match="gave its latest"):
                venue.load(**wanted)


@pytest.mark.parametrize("hours", [3, 30, 300, 3000])
def test_01_a_market_that_is_younger_than_the_range_is_no_fault(hours: int) -> None:
    with Venue("whitebit", hours=hours) as venue:
        same(venue.load(start=START - 5000 * HOUR), venue.truth(0, hours))
        same(venue.load(), venue.truth(0, hours))


# ── 2: since is exclusive or rounded ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("since", ["exclusive", "rounded up", "rounded down"])
def test_02_the_first_bar_comes_however_since_is_understood(since: str) -> None:
    with Venue("whitebit", hours=3000, since=since) as venue:
        for first, stop in ((100, 101), (100, 1000), (7, 2999)):
            same(venue.load(start=START + first * HOUR, end=START + stop * HOUR), venue.truth(first, stop))


def test_02_what_is_asked_for_lies_on_the_grid(load: Load, exchange: Simulator) -> None:
    bars = load(start="2024-01-01T00:20", end="2024-01-02T00:20")
    assert bars.time[0] == ct.BarRequest("", "1h", "2024-01-01T01:00").start
    assert bars.time[-1] == ct.BarRequest("", "1h", "2024-01-02T00:00").start
    assert all(int(asked.query["startTime"]) % HOUR == 0 for asked in exchange.requests.of("*/klines"))


# ── 3: an empty page is not the end ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["coinbaseexchange", "whitebit"])
def test_03_windows_without_bars_are_passed(name: str) -> None:
    gone = range(600, 2500)
    with Venue(name, hours=3000, gone=gone) as venue:
        same(venue.load(start=START - 400 * HOUR, end=START + 2900 * HOUR), venue.truth(0, 2900))
        same(venue.load(start=START + 700 * HOUR, end=START + 900 * HOUR), venue.truth(0, 0))


def test_03_binance_skips_to_the_next_bar_and_pages_are_not_repeated(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.Outage(start="2024-01-05", end="2024-01-25"))
    bars = load(timeframe="1m", **JANUARY)
    same(bars, exchange.truth("BTC/USDT", "1m", *JANUARY.values()))
    assert len(bars) == 11 * 1440
    assert len(exchange.requests.of("*/klines")) < 45


def test_03_an_empty_page_that_should_not_be_is_asked_for_again(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.EmptyPages(path="*/klines", skip=2, times=1))
    same(load(timeframe="1m", concurrency=1, **JANUARY), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))


def test_03_an_exchange_that_contradicts_itself_is_not_believed(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.EmptyPages(path="*/klines", skip=2, times=2))
    with pytest.raises(TemporarySourceError, match="said twice that there are no bars from 2024-01-02T09:20"):
        load(timeframe="1m", concurrency=1, **JANUARY)


@pytest.mark.parametrize("concurrency", [1, 4])
def test_03_an_empty_page_is_asked_for_again_on_every_exchange(load: Load, exchange: Simulator, concurrency: int) -> None:
    exchange.faults.add(F.EmptyPages(path="*/candles", skip=2, times=1))
    config = exchange.config("coinbaseexchange", enableRateLimit=False)
    bars = load(exchange="coinbaseexchange", config=config, timeframe="1m", start="2024-04-01", end="2024-04-03",
                concurrency=concurrency)  # fmt: skip
    same(bars, exchange.truth("BTC/USDT", "1m", "2024-04-01", "2024-04-03"))


def test_03_a_page_of_another_place_is_asked_for_again_and_then_an_error(load: Load, exchange: Simulator) -> None:
    week = {"timeframe": "1m", "start": "2024-04-01", "end": "2024-04-08", "concurrency": 1}
    truth = exchange.truth("BTC/USDT", "1m", "2024-04-01", "2024-04-08")
    asked = "/api/v3/klines?symbol=BTCUSDT&interval=1m&limit=1000"
    pages = [urllib.request.urlopen(exchange.url + asked + more).read().decode() for more in ("", f"&startTime={truth.time[0]}")]
    for body in (*pages, f"[[{truth.time[0]}]]"):  # the latest rows, as if since had got lost; an older page
        fault = exchange.faults.add(F.Status(path="*/klines", status=200, body=body, times=1, skip=2))
        same(load(**week), truth)
        exchange.faults.remove(fault)
    for body in pages[1:]:
        fault = exchange.faults.add(F.Status(path="*/klines", status=200, body=body, skip=2))
        with pytest.raises(TemporarySourceError, match="not asked for") as caught:
            load(**week)
        assert caught.value.context["missing_start"] == "2024-04-02T09:20:00Z"
        exchange.faults.remove(fault)


# ── 4: cursors ───────────────────────────────────────────────────────────────────────────────────────


def test_04_gaps_do_not_make_pages_drift_or_repeat(load: Load, exchange: Simulator) -> None:
    for day in range(2, 30):
        exchange.faults.add(
            F.Gap(symbol="BTC/USDT", start=f"2024-01-{day:02}T07:03", end=f"2024-01-{day:02}T{7 + day % 9:02}:41")
        )
    bars = load(timeframe="1m", batch_size=77, **JANUARY)
    same(bars, exchange.truth("BTC/USDT", "1m", *JANUARY.values()))
    assert len(exchange.requests.of("*/klines")) < 2 * 31 * 1440 / 77


# ── 5: pages that are cut without a word ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("cap", [1, 299, 300, 999])
def test_05_a_smaller_page_than_was_promised_loses_nothing_and_is_learned(load: Load, exchange: Simulator, cap: int) -> None:
    exchange.faults.add(F.PageCap(path="*/klines", rows=cap))
    hours = min(1440, cap * 40)
    end = ct.BarRequest("", "1m", START + hours * MINUTE).start
    same(load(timeframe="1m", start=START, end=end), exchange.truth("BTC/USDT", "1m", START, end))
    same(load(timeframe="1h", concurrency=1, start=START, end=START + 40 * HOUR),
         exchange.truth("BTC/USDT", "1h", START, START + 40 * HOUR))  # fmt: skip
    if cap == 300:
        exchange.requests.clear()
        load(timeframe="1m", concurrency=1, **JANUARY)
        asked = [int(asked.query["limit"]) for asked in exchange.requests.of("*/klines")]
        assert asked[0] == 1000
        assert max(asked[10:]) == 300
        assert len(asked) < 31 * 1440 / 300 + 10


def test_05_batch_size_is_how_many_are_asked_for_and_never_more_than_the_exchange_gives(load: Load, exchange: Simulator) -> None:
    load(batch_size=100, **JANUARY)
    assert {asked.query["limit"] for asked in exchange.requests.of("*/klines")} <= {"100", "44"}
    exchange.requests.clear()
    load(timeframe="1m", batch_size=5000, **JANUARY)
    assert max(int(asked.query["limit"]) for asked in exchange.requests.of("*/klines")) == 1000


# ── 6: ccxt's own paging ─────────────────────────────────────────────────────────────────────────────


def test_06_ccxts_paging_is_refused_and_50_000_minutes_are_50_000_bars(load: Load, exchange: Simulator) -> None:
    with pytest.raises(InvalidOption, match="paginate"):
        load(params={"paginate": True})
    bars = load(timeframe="1m", limit=50_000)
    assert len(bars) == 50_000
    assert (np.diff(bars.time) == MINUTE).all()
    assert bars.time[-1] == exchange.clock.now // MINUTE * MINUTE - MINUTE
    assert not [asked for asked in exchange.requests if "paginate" in asked.query]


# ── 7: the bar that is still open ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1w", "1M"])
def test_07_only_bars_that_are_over_by_the_exchanges_clock(load: Load, exchange: Simulator, timeframe: str) -> None:
    frame = ct.Timeframe(timeframe)
    exchange.clock.set("2024-05-15T12:30:30")
    bars = load(timeframe=timeframe, end="2030-01-01", limit=3)
    assert frame.next(int(bars.time[-1])) == frame.floor(exchange.clock.now)


def test_07_a_bar_that_ended_a_moment_ago_is_left_for_later(load: Load, exchange: Simulator) -> None:
    exchange.clock.set("2024-05-15T12:00:01")
    assert load(limit=1).time[-1] == ct.BarRequest("", "1h", "2024-05-15T10:00").start
    exchange.clock.set("2024-05-15T12:00:03")
    time.sleep(0.01)
    assert load(limit=1, timeout=29).time[-1] == ct.BarRequest("", "1h", "2024-05-15T11:00").start


def test_07_a_bar_that_comes_late_is_fetched_when_it_is_there(load: Load, exchange: Simulator, own_machine: Path) -> None:
    late = exchange.faults.add(F.LateBars(path="*/klines", by=600_000))
    kept = {"timeframe": "1m", "start": "2024-05-31T23:00", "end": "2024-06-01T00:00", "catalog": own_machine / "kept"}
    assert len(load(**kept)) == 50
    exchange.faults.remove(late)
    assert len(load(**kept)) == 60


# ── 8: missing bars ──────────────────────────────────────────────────────────────────────────────────


def test_08_minutes_without_trades_are_missing_and_said_to_be(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.Gap(symbol="BTC/USDT", start="2024-01-10T03:00", end="2024-01-10T05:00"))
    bars = load(timeframe="1m", validation="report", start="2024-01-10", end="2024-01-11")
    assert len(bars) == 1440 - 120
    assert bars.report["gap"].count == 120


def test_08_a_failed_page_leaves_no_lasting_hole(load: Load, exchange: Simulator, own_machine: Path) -> None:
    broken = exchange.faults.add(F.HtmlError(path="*/klines", skip=3, times=4))
    kept = {"timeframe": "1m", "catalog": own_machine / "kept", "concurrency": 1, "retries": 1, **JANUARY}
    for _ in range(2):
        with pytest.raises(TemporarySourceError):
            load(**kept)
    exchange.faults.remove(broken)
    same(load(**kept), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))


# ── 9: where bars open ───────────────────────────────────────────────────────────────────────────────


def test_09_weeks_begin_on_monday_and_months_are_those_of_the_calendar(load: Load, exchange: Simulator) -> None:
    weeks, months = load(timeframe="1w", start="2024-01-01"), load(timeframe="1M", start="2024-01-01")
    assert {int(day) for day in (weeks.time // 86_400_000 + 3) % 7} == {0}
    assert [str(np.datetime64(int(one), "ms"))[:10] for one in months.time] == [f"2024-0{month}-01" for month in range(1, 6)]
    same(months, exchange.truth("BTC/USDT", "1M", "2024-01-01", "2024-06-01"))


def test_09_krakens_weeks_begin_on_thursday_and_are_made_of_days_instead() -> None:
    with Venue("kraken", hours=24 * 60) as venue:
        bars = venue.load(timeframe="1w", start=START, end=START + 28 * 24 * HOUR)
        same(bars, venue.truth(0, 28 * 24).resample("1w"))
        assert bars.provenance["resampled_from"] == "1d"
        assert not [path for path in venue.asked("OHLC") if "interval=10080" in path]


def test_09_days_that_open_at_another_hour_are_made_of_hours_instead() -> None:
    with Venue("whitebit", hours=24 * 60, day_opens=16) as venue:
        bars = venue.load(timeframe="1d", start=START + 24 * HOUR, end=START + 240 * HOUR)
        same(bars, venue.truth(24, 240).resample("1d"))
        assert bars.provenance["resampled_from"] in ("12h", "8h", "6h", "4h", "1h")


@pytest.mark.parametrize("name", ["whitebit", "coinbaseexchange"])
@pytest.mark.parametrize("opens", [1, 16])
def test_09_a_single_day_that_opens_at_another_hour_is_made_of_hours_too(name: str, opens: int) -> None:
    with Venue(name, hours=24 * 8, day_opens=opens) as venue:
        for days in (1, 2):
            bars = venue.load(timeframe="1d", start=START + 24 * HOUR, end=START + 24 * (days + 1) * HOUR)
            same(bars, venue.truth(24, 24 * (days + 1)).resample("1d"))
        same(venue.load(timeframe="1d", limit=1), venue.truth(24 * 7, 24 * 8).resample("1d"))


# ── 10: timeframes ───────────────────────────────────────────────────────────────────────────────────


def test_10_a_timeframe_that_the_exchange_lacks_is_not_sent_to_it(options: dict[str, Any], exchange: Simulator) -> None:
    with ct.source("ccxt", **options) as source, pytest.raises(UnsupportedTimeframe, match="has no 7m candles"):
        list(source.bars(ct.BarRequest("BTC/USDT", "7m", START)))
    assert not exchange.requests.of("*/klines")


def test_10_it_is_made_of_one_that_divides_it_and_says_so(load: Load, exchange: Simulator) -> None:
    bars = load(timeframe="10m", **JANUARY)
    same(bars, exchange.truth("BTC/USDT", "5m", *JANUARY.values()).resample("10m"))
    assert bars.provenance["resampled_from"] == "5m"


# ── 11: order, and rows that come twice ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fault", [F.Disorder(), F.Disorder(newest_first=True), F.Duplicates(every=3)])
def test_11_rows_are_put_in_order_once_each(load: Load, exchange: Simulator, fault: F.Fault) -> None:
    exchange.faults.add(fault)
    same(load(timeframe="1m", **JANUARY), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))


@pytest.mark.parametrize("batch_size", [1, 3, None])
@pytest.mark.parametrize("every", [1, 2])
def test_11_rows_that_come_twice_push_no_others_out_of_a_page(
    load: Load, exchange: Simulator, batch_size: int | None, every: int
) -> None:
    exchange.faults.add(F.Duplicates(every=every))
    config = exchange.config("coinbaseexchange", enableRateLimit=False)
    bars = load(exchange="coinbaseexchange", config=config, batch_size=batch_size, timeframe="15m", start="2024-05-30",
                end="2024-05-31")  # fmt: skip
    same(bars, exchange.truth("BTC/USDT", "15m", "2024-05-30", "2024-05-31"))


def test_11_of_two_rows_of_one_time_the_later_one_counts() -> None:
    rows = [[1000, 1, 1, 1, 1, 1], [3000, 3, 3, 3, 3, 3], [2000, 2, 2, 2, 2, 2], [2000, 9, 9, 9, 9, 9]]
    page = page_of(columns_of(rows), 0, 10_000)
    assert [page.columns[0].tolist(), page.columns[5].tolist()] == [[1000, 2000, 3000], [1, 9, 3]]
    assert page_of(columns_of([rows[1], rows[3], rows[2], rows[0]]), 0, 10_000).columns[5].tolist() == [1, 9, 3]


# ── 12: what rows hold ───────────────────────────────────────────────────────────────────────────────


def test_12_none_texts_and_ints_are_numbers() -> None:
    time_, open_, *_, volume = columns_of(
        [[1000, "1.5", 2, None, 1.25, None], ["2000", 1, 1, 1, 1, "7"], None, [None, 1, 1, 1, 1, 1]]
    )
    assert [time_.dtype, open_.dtype] == [np.int64, np.float64]
    assert [time_.tolist(), open_.tolist(), str(volume.tolist())] == [[1000, 2000], [1.5, 1.0], "[nan, 7.0]"]


def test_12_what_volume_counts_is_said(load: Load) -> None:
    assert load(limit=1).provenance["volume_unit"] == "base"
    with Venue("whitebit", hours=50, volume=False) as venue:
        bars = venue.load(limit=5)
        assert bars.volume.tolist() == [0] * 5
        assert bars.provenance["volume_unit"].startswith("the exchange sends none")


# ── 13: symbols ──────────────────────────────────────────────────────────────────────────────────────


def test_13_spot_and_swap_are_different_markets_and_both_names_are_kept() -> None:
    with Simulator(
        ["BTC/USDT", "BTC/USDT:USDT", "ETH/USDT"], now="2024-03-01T00:00:10", start="2024-01-01", weight_limit=0
    ) as exchange:
        usual = {"exchange": "binance", "config": exchange.config("binance", enableRateLimit=False), "timeframe": "1h",
                 "start": "2024-02-01", "catalog": False}  # fmt: skip
        spot, swap = (ct.load("ccxt", symbol=symbol, **usual) for symbol in ("BTC/USDT", "BTC/USDT:USDT"))
        assert spot.but(symbol="") != swap.but(symbol="")
        assert [bars.provenance["market"] for bars in (spot, swap)] == ["BTCUSDT", "BTCUSDT"]
        assert [bars.provenance["market_type"] for bars in (spot, swap)] == ["spot", "swap"]
        with pytest.raises(UnknownSymbol, match="no market 'ETH/USDT:USDT'") as caught:
            ct.load("ccxt", symbol="ETH/USDT:USDT", **usual)
        assert "ETH/USDT (spot)" in caught.value.hint
        with pytest.raises(UnknownSymbol, match="of type swap") as caught:
            ct.load("ccxt", symbol="BTC/USDT", market_type="swap", **usual)
        assert "BTC/USDT:USDT (swap)" in caught.value.hint
        with pytest.raises(UnknownSymbol) as caught:
            ct.load("ccxt", symbol="BTCUSDT", **usual)
        assert "'BTC/USDT'" in caught.value.hint
        with pytest.raises(UnknownSymbol) as caught:
            ct.load("ccxt", symbol="btc-usdt", **usual)
        assert "BTC/USDT" in caught.value.hint
        with ct.source("ccxt", exchange="binance", config=exchange.config("binance")) as source:
            assert source.symbols() == ("BTC/USDT", "BTC/USDT:USDT", "ETH/USDT")
            assert source.plugin.find_symbols(type="swap") == ("BTC/USDT:USDT",)
            assert source.plugin.find_symbols(base="ETH", quote="USDT") == ("ETH/USDT",)


# ── 14: the list of markets ──────────────────────────────────────────────────────────────────────────


def test_14_markets_are_asked_for_once_for_spot_alone_and_kept(exchange: Simulator, own_machine: Path) -> None:
    config = exchange.config("binance", enableRateLimit=False)
    del config["options"]["fetchMarkets"]  # as unconfigured ccxt: three lists
    usual = {"symbol": "BTC/USDT", "timeframe": "1h", "limit": 1, "catalog": False, "exchange": "binance", "config": config}
    for more in ({}, {"timeout": 29}, {"api_key": "k" * 20}):  # the second and third don't share ccxt's object
        ct.load("ccxt", **usual, **more)
    asked = [asked for asked in exchange.requests if asked.path.endswith("exchangeInfo")]
    assert [one.path for one in asked] == ["/api/v3/exchangeInfo"]
    (kept,) = (own_machine / "cache").rglob("markets/*.json")
    assert "k" * 20 not in kept.read_text() + kept.name
    ct.load("ccxt", **usual, markets_ttl=0)
    assert len(exchange.requests.of("*/exchangeInfo")) == 2


# ── 15: which errors may pass ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("fault", "said"), [(F.BannedPlace, "451"), (F.Forbidden, "403")])
def test_15_a_country_that_is_locked_out_is_not_asked_for_again(load: Load, exchange: Simulator, fault: Any, said: str) -> None:
    load(limit=1)
    exchange.requests.clear()
    exchange.faults.add(fault(path="*/klines"))
    with pytest.raises(PermanentSourceError, match=said):
        load(concurrency=1, **JANUARY)
    assert len(exchange.requests.of("*/klines")) == 1


@pytest.mark.parametrize("fault", [F.HtmlError(times=2), F.Maintenance(times=2), F.Reset(times=2), F.Truncated(times=2),
                                   F.Truncated(times=2, honest=True), F.Status(status=504, times=2)])  # fmt: skip
def test_15_what_may_pass_is_tried_again(load: Load, exchange: Simulator, fault: F.Fault) -> None:
    load(limit=1)
    exchange.faults.add(fault)
    same(load(**JANUARY), exchange.truth("BTC/USDT", "1h", *JANUARY.values()))


def test_15_the_tries_end(load: Load, exchange: Simulator) -> None:
    exchange.faults.add(F.HtmlError(path="*/klines"))
    with pytest.raises(TemporarySourceError, match="tried 3 times") as caught:
        load(retries=2, concurrency=1, **JANUARY)
    assert len(exchange.requests.of("*/klines")) == 3
    assert caught.value.hint
    with pytest.raises(TemporarySourceError):
        load(retries=1000, backoff=0.2, budget=0.5, concurrency=1, **JANUARY)
    assert len(exchange.requests.of("*/klines")) < 20


def test_15_a_clock_that_is_off_is_put_right_once(load: Load, exchange: Simulator) -> None:
    off = '{"code":-1021,"msg":"Timestamp for this request is outside of the recvWindow."}'
    fault = exchange.faults.add(F.Status(path="*/klines", status=400, body=off, times=1))
    same(load(**JANUARY), exchange.truth("BTC/USDT", "1h", *JANUARY.values()))
    exchange.faults.remove(fault)
    exchange.requests.clear()
    exchange.faults.add(F.Status(path="*/klines", status=400, body=off))
    with pytest.raises(PermanentSourceError, match="InvalidNonce") as caught:
        load(concurrency=1, **JANUARY)
    assert "clock" in caught.value.hint
    assert len(exchange.requests.of("*/klines")) == 2


# ── 16: the host said stop ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [418, 429])
def test_16_the_host_is_left_alone_until_the_time_that_it_named(load: Load, exchange: Simulator, status: int) -> None:
    load(timeframe="1m", **JANUARY)
    exchange.requests.clear()
    exchange.faults.add(F.Status(path="*/klines", status=status, retry_after=2, times=1))
    same(load(timeframe="1m", **JANUARY), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))
    asked = list(exchange.requests)
    stopped = next(one.at for one in asked if one.status == status)
    early = [one for one in asked if stopped + 0.5 < one.at < stopped + 1.9]
    assert not early, "It was asked meanwhile, and not by requests that were under way."


def test_16_a_long_ban_is_an_error_at_once_and_for_every_process(
    load: Load, exchange: Simulator, options: dict[str, Any]
) -> None:
    load(limit=1)
    ban = exchange.faults.add(F.Status(path="*/klines", status=418, retry_after=7200, times=1))
    began = time.monotonic()
    with pytest.raises(TemporarySourceError, match="it told this machine to stop") as caught:
        load(concurrency=1, **JANUARY)
    assert 7100 < caught.value.context["wait"] < 7205
    exchange.faults.remove(ban)
    exchange.requests.clear()
    for other in ({}, {"timeout": 29}, {"symbol": "ETH/USDT"}):
        with pytest.raises(TemporarySourceError, match=r"127\.0\.0\.1.* is not asked before"):
            load(**other, **JANUARY)
    assert time.monotonic() - began < 5
    done = in_another_process(f"ct.load('ccxt', symbol='BTC/USDT', timeframe='1h', limit=5, catalog=False, **{options!r})")
    assert "told this machine to stop" in done.stderr
    assert not list(exchange.requests)


# ── 17: one budget ───────────────────────────────────────────────────────────────────────────────────

SPACING = 0.02  # seconds between two requests for candles: rateLimit 50 ms, of which one costs 0.4


def in_another_process(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", f"import cracktrader as ct\n{code}"], capture_output=True, text=True, timeout=60,
                          check=False)  # fmt: skip


def span_of(exchange: Simulator) -> float:
    """Seconds between the first and the last request for candles, as the exchange saw them."""
    at = sorted(asked.at for asked in exchange.requests.of("*/klines"))
    return at[-1] - at[0]


def test_17_threads_and_sources_share_the_limit(load: Load, exchange: Simulator) -> None:
    for symbol in ("BTC/USDT", "ETH/USDT"):
        load(symbol=symbol, **JANUARY)  # so that the exchange has its candles ready
    exchange.requests.clear()
    config = exchange.config("binance")
    usual = {"exchange": "binance", "config": config, "timeframe": "1h", "catalog": False, "batch_size": 30, "concurrency": 8}
    with ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(ct.load, "ccxt", symbol=symbol, timeout=timeout, **JANUARY, **usual)
                for symbol in ("BTC/USDT", "ETH/USDT") for timeout in (20, 21)]  # fmt: skip
        assert len({job.result().symbol for job in jobs}) == 2
    asked = len(exchange.requests.of("*/klines"))
    assert asked >= 100
    assert span_of(exchange) > asked * SPACING - 0.5  # the first may come late, over new connections


def test_17_two_processes_share_it(load: Load, exchange: Simulator) -> None:
    load(timeframe="1m", start="2024-01-01", end="2024-01-03")  # so that the exchange has its candles ready
    exchange.requests.clear()
    code = (
        "import ccxt, cracktrader as ct, cracktrader_ccxt.fetching, pyarrow.csv\nprint('ready', flush=True)\ninput()\n"
        f"bars = ct.load('ccxt', exchange='binance', config={exchange.config('binance')!r}, symbol='BTC/USDT', timeframe='1m',"
        " batch_size=24, concurrency=4, start='2024-01-01', end='2024-01-03', catalog=False)\nassert len(bars) == 2880"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        for one in both:
            assert one.stdout.readline() == "ready\n"
        for one in both:
            one.stdin.write("go\n")
            one.stdin.flush()
        assert [one.wait(60) for one in both] == [0, 0]
    finally:
        for one in both:
            one.kill()
            one.communicate()
    assert len(exchange.requests.of("*/klines")) == 240
    assert span_of(exchange) > 240 * SPACING - 0.8, "Together they asked as often as each alone may."


def test_17_one_ccxt_object_serves_all_who_ask_for_the_same(options: dict[str, Any]) -> None:
    sources = [ct.source("ccxt", **options) for _ in range(3)] + [ct.source("ccxt", **options, api_key="another")]
    desks = [source.plugin.desk for source in sources]
    assert desks[0] is desks[1] is desks[2]
    assert desks[3] is not desks[0]
    for source in sources:
        source.close()


# ── 18: partial results ──────────────────────────────────────────────────────────────────────────────


def test_18_what_came_is_kept_what_is_missing_is_said_and_only_that_is_fetched(
    load: Load, exchange: Simulator, own_machine: Path
) -> None:
    broken = exchange.faults.add(F.HtmlError(path="*/klines", skip=20))
    kept = {"timeframe": "1m", "catalog": own_machine / "kept", "concurrency": 1, "retries": 0, **JANUARY}
    with pytest.raises(
        TemporarySourceError, match="Bars from 2024-01-14T21:20:00Z to 2024-02-01T00:00:00Z are missing"
    ) as caught:
        load(**kept)
    assert caught.value.context["missing_start"] == "2024-01-14T21:20:00Z"
    exchange.faults.remove(broken)
    exchange.requests.clear()
    same(load(**kept), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))
    first = min(int(asked.query["startTime"]) for asked in exchange.requests.of("*/klines"))
    assert first == START + 20_000 * MINUTE
    exchange.requests.clear()
    load(**kept)
    assert not list(exchange.requests)


def test_18_a_load_that_is_over_its_time_says_so_and_the_next_goes_on(load: Load, exchange: Simulator, own_machine: Path) -> None:
    slow = exchange.faults.add(F.Latency(path="*/klines", seconds=0.1))
    kept = {"timeframe": "1m", "catalog": own_machine / "kept", "concurrency": 1, **JANUARY}
    with pytest.raises(TemporarySourceError, match="time limit of"):
        load(time_limit=0.5, **kept)
    exchange.faults.remove(slow)
    came = len(exchange.requests.of("*/klines"))
    exchange.requests.clear()
    same(load(**kept), exchange.truth("BTC/USDT", "1m", *JANUARY.values()))
    assert len(exchange.requests.of("*/klines")) == 45 - came


def test_18_a_load_that_is_given_up_leaves_no_thread(options: dict[str, Any]) -> None:
    before = threading.active_count()
    with ct.source("ccxt", **options) as source:
        chunks = source.bars(ct.BarRequest("BTC/USDT", "1m", START))
        assert len(next(chunks)) == 1000
        chunks.close()
    assert threading.active_count() == before


def test_the_errors_are_plain_json(load: Load) -> None:
    with pytest.raises(UnknownSymbol) as caught:
        load(symbol="NO/SUCH")
    json.dumps(dict(caught.value.context))
