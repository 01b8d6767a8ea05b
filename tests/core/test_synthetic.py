"""The synthetic market: the same whatever is asked, consistent with itself, like a market; and the faults put into it."""

import hashlib
import pickle
import tracemalloc
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import InvalidOption, InvalidRange, UnknownSymbol
from cracktrader.synthetic import FAULTS, LISTINGS, Fault, Listing, Market, Trades, dirty
from cracktrader.synthetic.listing import decimal_step
from cracktrader.synthetic.noise import bits, exp, key_of, normal, uniform
from cracktrader.times import parse_time

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
SYMBOLS = ("BTC/USDT", "DOGE/USDT", "XMR/BTC")
WIDE = (parse_time("2022-03-02T22:00"), parse_time("2022-03-07T03:00"))
MARKET = Market(5)
OUTAGES = MARKET.outages("2022-01-01", "2023-01-01")


def columns_of(trades: Trades) -> list[np.ndarray]:
    return [trades.time, trades.price, trades.amount, trades.side, trades.id]


def decimals(symbol: str) -> int:
    return len(str(decimal_step(LISTINGS[symbol].lot)[1])) - 1


# ── the same, whatever is asked ──────────────────────────────────────────────────────────────────────


def test_bars_and_trades_are_these_very_bits():
    """The promise across platforms, numpy versions and releases: whoever changes this breaks everybody's fixtures."""
    digest = hashlib.blake2b(digest_size=12)
    for symbol in LISTINGS:
        bars = MARKET.bars(symbol, "1m", "2022-03-01", "2022-03-03")
        trades = MARKET.trades(symbol, "2022-03-01T12:00", "2022-03-01T13:00")
        for column in [bars.time, bars.open, bars.high, bars.low, bars.close, bars.volume, *columns_of(trades)]:
            digest.update(column.astype(column.dtype.newbyteorder("<")).tobytes())
    assert digest.hexdigest() == "b6eb414180f21e97eaf16658"


@settings(deadline=None, max_examples=60)
@given(
    symbol=st.sampled_from(SYMBOLS),
    timeframe=st.sampled_from(["1m", "5m", "90m", "4h", "1d", "30s", "7s", "90s"]),
    start=st.integers(*WIDE),
    length=st.integers(0, 5 * HOUR),
)
def test_any_range_is_a_part_of_any_wider_one(symbol, timeframe, start, length):
    frame = ct.Timeframe(timeframe)
    part = MARKET.bars(symbol, timeframe, start, start + length)
    wide = MARKET.bars(symbol, timeframe, start - 3 * HOUR, start + length + 2 * HOUR)
    assert part == wide.between(frame.ceil(start), frame.ceil(start + length))


@settings(deadline=None, max_examples=40)
@given(
    symbol=st.sampled_from(SYMBOLS), start=st.integers(*WIDE), lengths=st.lists(st.integers(0, 2 * HOUR), min_size=1, max_size=5)
)
def test_trades_in_chunks_are_the_trades_at_once(symbol, start, lengths):
    edges = start + np.cumsum([0, *lengths])
    chunks = [MARKET.trades(symbol, int(a), int(b)) for a, b in pairwise(edges)]
    whole = MARKET.trades(symbol, int(edges[0]), int(edges[-1]))
    for at_once, parts in zip(columns_of(whole), zip(*map(columns_of, chunks), strict=True), strict=True):
        assert np.array_equal(at_once, np.concatenate(parts))


def test_what_was_asked_before_makes_no_difference():
    asked = Market(3)
    for month in range(1, 13):
        asked.bars("ETH/USDT", "1h", f"2021-{month:02}-01", f"2021-{month:02}-03")
    assert asked.bars("ETH/USDT", "1m", "2021-05-03", "2021-05-05") == Market(3).bars(
        "ETH/USDT", "1m", "2021-05-03", "2021-05-05"
    )


def test_threads_get_the_same():
    market, days = Market(9), [(f"2022-05-{day:02}", f"2022-05-{day + 1:02}") for day in range(1, 25)]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda day: market.bars("SOL/USDT", "1m", *day), days))
    assert together == [Market(9).bars("SOL/USDT", "1m", *day) for day in days]


def test_a_pickled_market_is_the_same_market():
    assert pickle.loads(pickle.dumps(MARKET)).bars("BTC/USDT", "1h", *WIDE) == MARKET.bars("BTC/USDT", "1h", *WIDE)


def test_seeds_and_symbols_differ():
    days = ("2022-03-01", "2022-03-02")
    closes = [Market(seed).bars(symbol, "1h", *days).close / LISTINGS[symbol].price for seed in (1, 2) for symbol in SYMBOLS]
    assert len({float(close[-1]) for close in closes}) == len(closes)


def test_a_symbol_does_not_depend_on_the_others_listed():
    alone = Market(5, ["DOGE/USDT"]).bars("DOGE/USDT", "15m", *WIDE)
    assert alone == MARKET.bars("DOGE/USDT", "15m", *WIDE)


# ── consistent with itself ───────────────────────────────────────────────────────────────────────────


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), symbol=st.sampled_from(SYMBOLS), hour=st.integers(0, 20_000))
def test_trades_of_a_minute_aggregate_exactly_to_its_bar(seed, symbol, hour):
    market = Market(seed, [symbol])
    start = parse_time("2021-01-01") + hour * HOUR
    bars, trades = market.bars(symbol, "1m", start, start + HOUR), market.trades(symbol, start, start + HOUR)
    minute = trades.time // MINUTE * MINUTE
    first = np.flatnonzero(np.diff(minute, prepend=-1))
    assert np.array_equal(bars.time, minute[first])
    if not len(bars):
        return
    assert np.array_equal(bars.open, trades.price[first])
    assert np.array_equal(bars.close, trades.price[np.append(first[1:], len(trades)) - 1])
    assert np.array_equal(bars.high, np.maximum.reduceat(trades.price, first))
    assert np.array_equal(bars.low, np.minimum.reduceat(trades.price, first))
    assert np.array_equal(bars.volume, np.round(np.add.reduceat(trades.amount, first), decimals(symbol)))


def test_volume_is_exact_in_decimal_arithmetic():
    bars, trades = MARKET.bars("BTC/USDT", "1m", *WIDE), MARKET.trades("BTC/USDT", WIDE[0], WIDE[0] + 5 * MINUTE)
    for row in range(5):
        inside = trades.time // MINUTE * MINUTE == bars.time[row]
        assert sum(Decimal(repr(amount)) for amount in trades.amount[inside].tolist()) == Decimal(repr(float(bars.volume[row])))


def test_trades_are_in_order_positive_and_numbered():
    trades = MARKET.trades("ETH/USDT", *WIDE)
    assert (np.diff(trades.time) >= 0).all()
    assert (np.diff(trades.id) > 0).all()
    assert trades.amount.min() >= 0.0001
    assert set(trades.side.tolist()) == {-1, 1}
    assert [column.dtype.str[1:] for column in columns_of(trades)] == ["i8", "f8", "f8", "i1", "i8"]
    event = next(iter(trades))
    assert (event.symbol, event.time, event.side) == ("ETH/USDT", trades.time[0], "buy" if trades.side[0] > 0 else "sell")


@pytest.mark.parametrize("symbol", SYMBOLS)
@pytest.mark.parametrize("timeframe", ["3m", "15m", "4h", "1d", "3d", "1w", "1M"])
def test_longer_bars_are_aggregates_of_minutes(symbol, timeframe):
    minutes = MARKET.bars(symbol, "1m", "2022-01-31", "2022-05-02")
    direct = MARKET.bars(symbol, timeframe, "2022-02-01", "2022-05-01")
    made = minutes.resample(timeframe).between(direct.time[0], direct.time[-1] + 1)
    for name in ("time", "open", "high", "low", "close"):
        assert np.array_equal(made[name], direct[name]), name
    assert np.array_equal(np.round(made.volume, decimals(symbol)), direct.volume)
    assert not direct.flags.any()


@pytest.mark.parametrize("timeframe", ["1s", "10s", "30s"])
def test_shorter_bars_make_the_minutes(timeframe):
    start, end = "2022-03-04T09:00", "2022-03-04T11:00"
    made = MARKET.bars("SOL/USDT", timeframe, start, end).resample("1m")
    minutes = MARKET.bars("SOL/USDT", "1m", start, end)
    for name in ("time", "open", "high", "low", "close"):
        assert np.array_equal(made[name], minutes[name]), name
    assert np.array_equal(np.round(made.volume, 2), minutes.volume)


@pytest.mark.parametrize("symbol", LISTINGS)
def test_prices_are_whole_ticks_and_volumes_whole_lots(symbol):
    bars = MARKET.bars(symbol, "1m", "2022-03-01", "2022-03-02")
    for name, step in [("high", LISTINGS[symbol].tick), ("volume", LISTINGS[symbol].lot)]:
        for value in bars[name][:200].tolist():
            assert Decimal(repr(value)) % Decimal(step) == 0


def test_steps_that_are_no_power_of_ten():
    market = Market(1, [Listing("A/B", 120.0, tick="0.05", lot="25", amount=9000.0)])
    bars = market.bars("A/B", "1m", "2021-01-01", "2021-01-02")
    assert all(Decimal(repr(price)) % Decimal("0.05") == 0 for price in bars.close.tolist())
    assert not (bars.volume % 25).any()


# ── its calendar ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_happens_before_the_listing_or_the_start():
    listed = parse_time(LISTINGS["SOL/USDT"].since)
    assert MARKET.bars("SOL/USDT", "1m", listed - DAY, listed + HOUR).time[0] == listed
    assert MARKET.trades("SOL/USDT", listed - DAY, listed + HOUR).time[0] >= listed
    assert MARKET.bars("SOL/USDT", "1d", listed - 10 * DAY, listed + DAY).time[0] == listed // DAY * DAY
    assert MARKET.bars("BTC/USDT", "1h", "2019-12-30", "2020-01-01T02:00").time.tolist() == [MARKET.start, MARKET.start + HOUR]
    assert not len(MARKET.bars("BTC/USDT", "1s", "2019-12-30", "2020-01-01"))
    assert not len(MARKET.trades("BTC/USDT", "1999-01-01", "2020-01-01"))


def test_an_outage_leaves_no_bar_of_any_symbol():
    assert 2 < len(OUTAGES) < 20
    for start, end in OUTAGES:
        for symbol in ("BTC/USDT", "ETH/USDT"):
            times = MARKET.bars(symbol, "1m", start - 5 * MINUTE, end + 5 * MINUTE).time
            assert ((times < start) | (times >= end)).all()
            assert {start - MINUTE, end} <= set(times.tolist())
        assert not len(MARKET.trades("BTC/USDT", start, end))


def test_outages_can_be_told():
    start, end = parse_time("2022-03-04T10:00"), parse_time("2022-03-06T12:30")
    market = Market(5, outages=[(start, end)])
    assert market.outages("2022-01-01", "2023-01-01") == [(start, end)]
    times = market.bars("BTC/USDT", "1m", start - HOUR, end + HOUR).time
    assert len(times) == 120
    assert len(Market(5, outages=[]).bars("BTC/USDT", "1m", start, end)) == (end - start) // MINUTE
    assert market.bars("BTC/USDT", "1m", end, end + DAY) == MARKET.bars("BTC/USDT", "1m", end, end + DAY)


def test_liquid_symbols_trade_each_minute_and_others_do_not():
    market, days = Market(5, outages=()), ("2022-03-01", "2022-03-15")
    assert len(market.bars("BTC/USDT", "1m", *days)) == 14 * 1440
    assert 0.5 < len(market.bars("XMR/BTC", "1m", *days)) / (14 * 1440) < 0.95


# ── like a market ────────────────────────────────────────────────────────────────────────────────────

YEAR = Market(12, outages=()).bars("BTC/USDT", "1m", "2022-01-01", "2023-01-01")
ETH = Market(12, outages=()).bars("ETH/USDT", "1m", "2022-01-01", "2023-01-01")
MOVES = np.diff(np.log(YEAR.close))


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


def test_returns_have_fat_tails():
    assert 6 < (MOVES**4).mean() / (MOVES**2).mean() ** 2 < 60
    days = np.diff(np.log(MARKET.bars("BTC/USDT", "1d", "2020-01-01", "2026-01-01").close))
    assert 3.2 < (days**4).mean() / (days**2).mean() ** 2 < 12


def test_volatility_comes_in_clusters_and_direction_does_not():
    size = np.abs(MOVES)
    assert correlation(size[1:], size[:-1]) > 0.2
    assert correlation(size[60:], size[:-60]) > 0.08
    assert abs(correlation(MOVES[1:], MOVES[:-1])) < 0.02


def test_a_year_moves_by_its_volatility():
    days = [np.diff(np.log(Market(seed).bars("BTC/USDT", "1d", "2021-01-01", "2023-01-01").close)) for seed in range(4)]
    assert 0.4 < float(np.mean([day.std() for day in days])) * 365**0.5 < 0.9


def test_nights_and_weekends_are_quiet():
    hour, weekday = YEAR.time // HOUR % 24, (YEAR.time // DAY + 3) % 7
    assert YEAR.volume[hour == 5].mean() < 0.6 * YEAR.volume[hour == 15].mean()
    assert YEAR.volume[weekday >= 5].mean() < 0.75 * YEAR.volume[weekday < 5].mean()
    assert np.abs(MOVES[hour[1:] == 5]).mean() < 0.75 * np.abs(MOVES[hour[1:] == 15]).mean()


def test_volume_comes_with_movement():
    assert correlation(np.abs(MOVES), YEAR.volume[1:]) > 0.35


def test_others_move_with_bitcoin_and_a_little_after_it():
    others = np.diff(np.log(ETH.close))
    assert correlation(MOVES, others) > 0.6
    assert correlation(MOVES[:-1], others[1:]) > correlation(others[:-1], MOVES[1:]) + 0.02


def test_a_price_that_has_gone_far_turns_back():
    closes = Market(1, volatility=3).bars("BTC/USDT", "1M", "2020-01-01", "2024-01-01").close / 7200
    assert closes.min() > 1 / 13
    assert closes.max() < 13
    assert closes.max() > 20 * closes.min()  # it had far to go


@pytest.mark.parametrize("symbol", LISTINGS)
@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
def test_the_checks_find_no_error_in_clean_bars(symbol, timeframe):
    days = {"1m": 30, "1h": 300, "1d": 1500}[timeframe]
    start = parse_time("2021-01-01")
    report = ct.validate(MARKET.bars(symbol, timeframe, start, start + days * DAY)).report
    assert report.ok
    assert {finding.check for finding in report.found} <= {"gap", "extreme_move"}
    assert timeframe == "1d" or "extreme_move" not in {finding.check for finding in report.found}


def test_a_long_request_takes_memory_for_its_answer_not_for_the_minutes_under_it():
    Market(1).bars("BTC/USDT", "1d", "2021-01-01", "2021-02-01")
    market = Market(1)
    tracemalloc.start()
    bars = market.bars("BTC/USDT", "1d", "2021-01-01", "2024-01-01")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(bars) == 1095
    assert peak < 40e6


# ── how it is asked ──────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_symbol_is_named_with_its_neighbour():
    with pytest.raises(UnknownSymbol, match="Did you mean 'BTC/USDT'"):
        MARKET.bars("BTC/USD", "1m", *WIDE)
    with pytest.raises(UnknownSymbol, match="There are: none"):
        Market(1, []).trades("BTC/USD", *WIDE)


def test_a_range_that_is_none_is_refused_and_an_empty_one_is_empty():
    with pytest.raises(InvalidRange):
        MARKET.bars("BTC/USDT", "1m", "2022-02-01", "2022-01-01")
    with pytest.raises(InvalidRange):
        MARKET.trades("BTC/USDT", "2022-02-01", "2022-01-01")
    assert not len(MARKET.bars("BTC/USDT", "1h", "2022-01-01", "2022-01-01"))
    assert not len(MARKET.trades("BTC/USDT", "2022-01-01", "2022-01-01"))


def test_any_text_can_be_a_symbol():
    market = Market(1, ["FOO/BAR", 'a"<b>'])
    assert market.symbols == ("FOO/BAR", 'a"<b>')
    assert len(market.bars('a"<b>', "1h", "2022-01-01", "2022-01-02"))
    assert "FOO/BAR" in repr(market)


@pytest.mark.parametrize(
    "wrong",
    [
        {"price": 0},
        {"tick": "abc"},
        {"tick": "-1"},
        {"lot": "NaN"},
        {"trades": -1},
        {"lag": 2},
        {"spread": 0.5},
        {"volatility": 99},
    ],
)
def test_a_listing_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidOption):
        Listing("A/B", **{"price": 1.0} | wrong)


@pytest.mark.parametrize("wrong", [{"symbols": "BTC/USDT"}, {"start": "1960-01-01"}, {"volatility": 0}])
def test_a_market_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(InvalidOption):
        Market(1, **wrong)


# ── its noise ────────────────────────────────────────────────────────────────────────────────────────


def test_noise_is_uniform_and_normal_and_independent():
    key, counter = key_of("test"), np.arange(200_000)
    flat, bell = uniform(bits(key, counter)), normal(key, counter)
    assert np.histogram(flat, 16, (0, 1))[0].std() < 250
    assert abs(bell.mean()) < 0.01
    assert abs(bell.std() - 1) < 0.01
    assert abs(correlation(bell[1:], bell[:-1])) < 0.01
    assert abs(correlation(bell, normal(key_of("other"), counter))) < 0.01


def test_the_exponential_is_right():
    x = np.linspace(-20, 20, 10_001)
    np.testing.assert_allclose(exp(x), np.exp(x), rtol=2e-14)


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────

CLEAN = Market(12, outages=()).bars("ETH/USDT", "1m", "2022-03-01", "2022-03-04")
HOURS = Market(12, outages=()).bars("ETH/USDT", "1h", "2022-01-01", "2022-07-01")


@pytest.mark.parametrize("clean", [CLEAN, HOURS], ids=["1m", "1h"])
@pytest.mark.parametrize("seed", range(5))
def test_the_report_finds_exactly_what_was_put_in(clean, seed):
    spoilt, faults = dirty(clean, seed=seed)
    report = ct.validate(spoilt).report
    put_in = Counter[str]()
    for fault in faults:
        put_in[fault.check] += fault.count
    put_in["gap"] += sum(reason in ("not_finite", "non_positive_price") for reason in report.quarantine.reasons)
    assert {finding.check: finding.count for finding in report.found} == dict(put_in)
    assert set(put_in) == set(FAULTS)


@pytest.mark.parametrize("seed", range(5))
def test_the_record_holds_the_moves_that_gaps_and_frozen_feeds_make(seed):
    """After months without bars a price is elsewhere: an extreme move, that nobody put in as one."""
    clean = Market(seed, outages=()).bars("BTC/USDT", "1d", "2020-01-01", "2024-01-01")
    before = ct.validate(clean, "report").report["extreme_move"].count
    spoilt, faults = dirty(clean, seed=seed, checks=["gap", "flatline"], each=4)
    moved = [fault for fault in faults if fault.check == "extreme_move"]
    assert ct.validate(spoilt, "report").report["extreme_move"].count == before + sum(fault.count for fault in moved)


@pytest.mark.parametrize("check", FAULTS)
def test_a_fault_alone_is_found_by_its_check_and_where_it_is(check):
    spoilt, faults = dirty(CLEAN, seed=3, checks=[check], each=3)
    report = ct.validate(spoilt, "report").report
    assert report[check].count == sum(fault.count for fault in faults if fault.check == check)
    confirmed_by = {"non_positive_price": {"wick"}, "ohlc_order": {"wick"}}.get(check, set())
    assert {finding.check for finding in report.found} - {check} <= confirmed_by
    places = [(fault.start, fault.end) for fault in faults if fault.check == check]
    for sample in report[check].samples:
        assert any(start <= parse_time(sample["time"]) < end for start, end in places)
    if check == "gap":
        assert [(gap.start, gap.end, gap.missing) for gap in report["gap"].gaps] == [(f.start, f.end, f.count) for f in faults]


@pytest.mark.parametrize("seed", range(3))
def test_what_the_pipeline_repairs_is_as_it_was(seed):
    checks = ["negative_volume", "ohlc_order", "duplicate_time", "unordered", "off_grid"]
    spoilt, _ = dirty(CLEAN, seed=seed, checks=checks, each=5)
    assert spoilt != CLEAN
    repaired = ct.validate(spoilt)
    for name in ("time", "open", "high", "low", "close"):
        assert np.array_equal(repaired[name], CLEAN[name]), name


def test_the_same_seed_puts_in_the_same_faults():
    (one, faults), (two, again) = dirty(CLEAN, seed=4), dirty(CLEAN, seed=4)
    assert one == two
    assert faults == again
    assert dirty(CLEAN, seed=5)[1] != faults
    assert list(faults) == sorted(faults, key=lambda fault: (fault.start, fault.check))


def test_the_bars_that_are_spoilt_stay_as_they_were():
    before = pickle.loads(pickle.dumps(CLEAN))
    dirty(CLEAN)
    assert before == CLEAN


def test_rows_that_no_fault_touched_are_untouched():
    spoilt, faults = dirty(CLEAN, seed=8)
    touched = np.zeros(len(CLEAN), np.bool_)
    for fault in faults:
        touched |= (CLEAN.time >= fault.start) & (CLEAN.time < fault.end)
    assert touched.mean() < 0.2
    rows = np.flatnonzero(np.isin(spoilt.time, CLEAN.time[~touched]))
    assert spoilt[rows] == CLEAN[~touched]


def test_a_fault_says_in_words_what_it_is():
    fault = dirty(CLEAN, checks=["flatline"], each=1)[1][0]
    assert isinstance(fault, Fault)
    assert "flatline: the feed is frozen for 15 bars" in str(fault)


def test_too_few_bars_and_unknown_faults_are_refused():
    with pytest.raises(InvalidOption, match="too few"):
        dirty(CLEAN[:50])
    with pytest.raises(InvalidOption, match="unclosed"):
        dirty(CLEAN, checks=["unclosed"])
    assert dirty(CLEAN[:0], checks=[]) == (CLEAN[:0], ())


def test_extra_columns_and_flags_go_with_their_rows():
    bars = CLEAN.but(extra={"trades": np.arange(len(CLEAN), dtype=float)}, flags=np.arange(len(CLEAN)).astype(np.uint8))
    spoilt, _ = dirty(bars, seed=1)
    row = np.searchsorted(CLEAN.time, spoilt.time, side="right") - 1
    assert np.array_equal(spoilt.extra["trades"], row)
    assert np.array_equal(spoilt.flags, row.astype(np.uint8))
