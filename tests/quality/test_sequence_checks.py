"""Checks of rows in their order: extreme_move, spike, wick, flatline, zero_volume_run; and the scale of moves."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Flag
from cracktrader.errors import QualityError
from cracktrader.quality import Check, Validation
from cracktrader.quality.checks import LEAST, SAMPLE, robust_scale

WINDOW = 16_384
EDGES = [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 2 * WINDOW]


def only(policy_of, **options) -> Validation:
    return Validation(preset="off", max_loss=1, **policy_of, **options)


def found(bars, name: str, check, **rules) -> list[int]:
    """The rows that one check flags, which are as many as it counts."""
    checked = check(bars, only({name: Check(policy="warn", **rules)}))
    rows = np.flatnonzero(checked.flags == Flag.SUSPECT).tolist()
    assert checked.report[name].count == len(rows)
    assert checked.report[name].severity == "warning"
    assert checked.but(flags=bars.flags) == bars
    return rows


def step_to(bars, row: int, factor: float):
    """The bars with all prices from ``row`` on moved by a factor."""
    return bars.but(**{name: np.where(np.arange(len(bars)) >= row, bars[name] * factor, bars[name]) for name in PRICES})


def flat(bars, rows, price=100.0, volume=5.0):
    """The bars with some rows standing still."""
    where = np.isin(np.arange(len(bars)), rows)
    return bars.but(**{name: np.where(where, price, bars[name]) for name in PRICES}, volume=np.where(where, volume, bars.volume))


@pytest.mark.parametrize("rows", [0, 1, 2, 3, 5, 1000, 40_000])
def test_in_clean_bars_nothing_is_found(clean, check, rows):
    assert check(clean(rows)).report.found == ()
    assert len(check(clean(rows)).report.findings) == 16


# ── extreme_move ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("factor", "extreme"),
    [(1.3, True), (0.7, True), (1.21, True), (0.82, True), (1.19, False), (0.84, False), (100, True), (0.01, True)],
)
def test_a_move_of_more_than_a_fifth_is_extreme(clean, check, factor, extreme):
    assert found(step_to(clean(20), 10, factor), "extreme_move", check) == ([10] if extreme else [])


def test_exactly_the_limit_is_not_over_it(clean, spoil, check):
    flat_close = clean(4).but(close=[100.0, 120.0, 100.0, 83.0])
    assert found(flat_close, "extreme_move", check) == [3]
    assert found(flat_close, "extreme_move", check, limit=0.19) == [1, 2, 3]
    assert found(flat_close, "extreme_move", check, limit=0.3) == []


@pytest.mark.parametrize("row", EDGES)
def test_an_extreme_move_is_found_at_the_edges_of_windows(clean, check, row):
    assert found(step_to(clean(2 * WINDOW + 1), row, 1.5), "extreme_move", check) == [row]


@given(st.lists(st.floats(1, 1000), min_size=1, max_size=30), st.floats(0.01, 2))
def test_an_extreme_move_is_one_from_close_to_close(clean, check, closes, limit):
    bars = clean(len(closes)).but(close=closes)
    moves = [max(after / before, before / after) - 1 for before, after in pairwise(closes)]
    rows = found(bars, "extreme_move", check, limit=limit)
    sure = [at + 1 for at, move in enumerate(moves) if move > limit * (1 + 1e-9)]
    maybe = [at + 1 for at, move in enumerate(moves) if move > limit * (1 - 1e-9)]
    assert set(sure) <= set(rows) <= set(maybe)


@pytest.mark.parametrize("limit", [0.2, 1, 9])
def test_a_move_down_is_as_far_as_the_move_that_makes_it_good(clean, check, limit):
    closes = [100.0, 100 / (1.01 + limit), 100.0, 100 / (0.99 + limit), 100.0]
    assert found(clean(5).but(close=closes), "extreme_move", check, limit=limit) == [1, 2]


# ── spike ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("factor", [1.1, 0.9, 2.0, 0.5, 10.0])
@pytest.mark.parametrize("row", [1, 150, 298])
def test_a_close_that_jumps_away_and_straight_back_is_a_spike(clean, spoil, check, factor, row):
    bars = clean(300)
    assert found(spoil(bars, close={row: bars.close[row] * factor}), "spike", check) == [row]


def test_a_jump_that_stays_is_no_spike(clean, check):
    assert found(step_to(clean(300), 150, 1.5), "spike", check) == []


def test_a_jump_that_comes_only_half_way_back_is_no_spike(clean, spoil, check):
    bars = step_to(clean(300), 151, 1.06)
    assert found(spoil(bars, close={150: bars.close[149] * 1.1}), "spike", check) == []


@pytest.mark.parametrize("row", [0, 299])
def test_the_first_and_the_last_bar_can_not_be_known_to_be_spikes(clean, spoil, check, row):
    bars = clean(300)
    assert found(spoil(bars, close={row: bars.close[row] * 1.5}), "spike", check) == []


@pytest.mark.parametrize("row", EDGES)
def test_a_spike_is_found_at_the_edges_of_windows(clean, spoil, check, row):
    bars = clean(2 * WINDOW + 2)
    assert found(spoil(bars, close={row: bars.close[row] * 1.2}), "spike", check) == [row]


def test_a_spike_is_told_by_the_scale_of_the_market_and_never_below_one_percent(clean, spoil, check):
    calm = clean(300)  # moves of about 0.1 %, so that 20 deviations are 2 %
    assert found(spoil(calm, close={150: calm.close[150] * 1.015}), "spike", check) == []
    assert found(spoil(calm, close={150: calm.close[150] * 1.015}), "spike", check, limit=10) == [150]
    calmer = calm.but(**{name: 100 * (calm[name] / 100) ** 0.01 for name in PRICES})
    for factor, rows in ((1.009, []), (1.02, [150])):
        assert found(spoil(calmer, close={150: calmer.close[150] * factor}), "spike", check) == rows
    wild = calm.but(close=100 * (calm.close / 100) ** 30)
    assert found(spoil(wild, close={150: wild.close[150] * 1.2}), "spike", check) == []


@pytest.mark.parametrize("factor", [3, 1 / 3, 20, 1 / 20])
def test_a_limit_that_no_price_can_lose_as_a_fraction_is_exceeded_downwards_too(clean, spoil, check, factor):
    wild = clean(300)
    wild = wild.but(**{name: 100 * (wild[name] / 100) ** 30 for name in PRICES})
    assert 1.1 < 40 * robust_scale(wild.close) < 1.3
    side = "high" if factor > 1 else "low"
    for name, column in (("spike", "close"), ("wick", side)):
        for times, rows in ((factor, [150]), (factor**0.2, [])):
            assert found(spoil(wild, **{column: {150: wild[column][150] * times}}), name, check, limit=40) == rows


@pytest.mark.parametrize("side", [1, -1])
def test_a_spike_comes_back_by_ratio(clean, spoil, check, side):
    bars = step_to(clean(300), 151, 5.0**side)
    assert found(spoil(bars, close={150: 100 * 10.0**side}), "spike", check) == []
    assert found(spoil(bars, close={150: 100 * 40.0**side}), "spike", check) == [150]


def test_the_way_back_has_to_be_a_jump_too(clean, spoil, check):
    calm = flat(clean(100), range(100), volume=1.0).but(close=100 + 0.001 * (np.arange(100) % 2))
    up, half = spoil(calm, close={50: 101.5}), np.where(np.arange(100) > 50, 0.6, 0)
    assert found(up, "spike", check) == [50]
    assert found(up.but(close=up.close + half), "spike", check) == []


def test_two_spikes_do_not_hide_each_other(clean, spoil, check):
    bars = clean(300)
    assert found(spoil(bars, close={100: 200.0, 103: 50.0}), "spike", check) == [100, 103]


# ── wick ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("side", ["high", "low"])
@pytest.mark.parametrize("row", [0, 1, 150, 299])
def test_a_high_or_low_that_nothing_confirms_is_a_wick(clean, spoil, check, side, row):
    bars = clean(300)
    factor = {"high": 1.2, "low": 0.8}[side]
    assert found(spoil(bars, **{side: {row: bars[side][row] * factor}}), "wick", check) == [row]


@pytest.mark.parametrize("neighbour", [149, 151])
def test_a_wick_that_a_neighbour_reaches_too_is_confirmed(clean, spoil, check, neighbour):
    bars = clean(300)
    assert found(spoil(bars, high={150: 120.0, neighbour: 119.0}), "wick", check) == []
    assert found(spoil(bars, low={150: 80.0, neighbour: 80.5}), "wick", check) == []


def test_a_high_that_the_bars_own_close_reaches_is_no_wick(clean, spoil, check):
    assert found(spoil(clean(300), high={150: 120.0}, close={150: 119.0}), "wick", check) == []


@pytest.mark.parametrize("row", [0, *EDGES])
def test_a_wick_is_found_at_the_edges_of_windows(clean, spoil, check, row):
    assert found(spoil(clean(2 * WINDOW + 1), low={row: 50.0}), "wick", check) == [row]


def test_a_wick_needs_as_many_deviations_as_its_limit_says(clean, spoil, check):
    bars = clean(300)
    wide = spoil(bars, high={150: bars.high[150] * 1.025})
    assert found(wide, "wick", check) == []
    assert found(wide, "wick", check, limit=15) == [150]


def test_one_broken_price_does_not_switch_spikes_and_wicks_off(clean, spoil, check):
    bars = clean(300)
    for broken in (np.nan, np.inf, 0.0, -1.0):
        spoilt = spoil(bars, close={10: broken, 150: 200.0}, high={200: 150.0})
        report = check(spoilt, "report").report
        assert "2024-01-01T02:30:00Z" in [sample["time"] for sample in report["spike"].samples]
        assert "2024-01-01T03:20:00Z" in [sample["time"] for sample in report["wick"].samples]


# ── flatline ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("length", "seen"), [(1, 0), (9, 0), (10, 9), (11, 10), (40, 39)])
@pytest.mark.parametrize("first", [0, 1, 30])
def test_ten_equal_bars_in_a_row_are_a_frozen_feed(clean, check, length, seen, first):
    bars = flat(clean(100), range(first, first + length))
    assert found(bars, "flatline", check) == list(range(first + 1, first + length))[: seen or 0]


def test_to_the_last_bar(clean, check):
    assert found(flat(clean(100), range(85, 100)), "flatline", check) == list(range(86, 100))


def test_the_limit_says_how_many(clean, check):
    bars = flat(clean(100), range(30, 35))
    assert found(bars, "flatline", check, limit=5) == [31, 32, 33, 34]
    assert found(bars, "flatline", check, limit=6) == []


@pytest.mark.parametrize(
    "change", [{"volume": {35: 5.5}}, {"close": {35: 100.5}, "high": {35: 100.5}}, {"high": {35: 100.5}}, {"low": {35: 99.5}}]
)
def test_whatever_changes_ends_the_run(clean, spoil, check, change):
    assert found(spoil(flat(clean(100), range(30, 41)), **change), "flatline", check) == []


def test_a_market_without_trades_is_not_frozen(clean, check):
    assert found(flat(clean(100), range(30, 60), volume=0.0), "flatline", check) == []


@pytest.mark.parametrize("first", [WINDOW - 12, WINDOW - 5, WINDOW - 1, WINDOW, WINDOW + 1])
def test_a_flatline_is_found_across_windows(clean, check, first):
    assert found(flat(clean(WINDOW + 100), range(first, first + 12)), "flatline", check) == list(range(first + 1, first + 12))


# ── zero_volume_run ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("first", [0, 30, 140])
@pytest.mark.parametrize(("length", "seen"), [(59, False), (60, True)])
def test_an_hour_without_volume_is_a_run(clean, spoil, check, first, length, seen):
    bars = spoil(clean(200), volume=dict.fromkeys(range(first, first + length), 0.0))
    assert found(bars, "zero_volume_run", check) == (list(range(first, first + length)) if seen else [])


def test_runs_are_counted_apart(clean, spoil, check):
    bars = spoil(clean(300), volume=dict.fromkeys([*range(50), *range(51, 100), *range(150, 215)], 0.0))
    assert found(bars, "zero_volume_run", check) == list(range(150, 215))
    assert found(bars, "zero_volume_run", check, limit=50) == [*range(50), *range(150, 215)]


@pytest.mark.parametrize("first", [WINDOW - 60, WINDOW - 30, WINDOW - 1, WINDOW])
def test_a_run_is_found_across_windows(clean, spoil, check, first):
    bars = spoil(clean(WINDOW + 100), volume=dict.fromkeys(range(first, first + 60), 0.0))
    assert found(bars, "zero_volume_run", check) == list(range(first, first + 60))


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 8))
def test_runs_are_those_of_the_definition(clean, check, silent, shortest):
    bars = clean(len(silent)).but(volume=[0.0 if no else 1.0 for no in silent])
    expected, run = [], []
    for row, no in enumerate([*silent, False]):
        if no:
            run.append(row)
        else:
            expected += run if len(run) >= shortest else []
            run = []
    if all(silent):
        report = check(bars, only({"zero_volume_run": Check(policy="warn", limit=shortest)})).report
        assert report["zero_volume_run"].count == bool(expected)
        return
    assert found(bars, "zero_volume_run", check, limit=shortest) == expected


@pytest.mark.parametrize("policy", ["warn", "drop", "quarantine", "raise"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_a_series_without_any_volume_counts_once_and_no_row_is_flagged(clean, check, policy, shuffled):
    bars = clean(200).but(volume=np.zeros(200))
    if shuffled:
        bars = bars[np.random.default_rng(3).permutation(200)]
    if policy == "raise":
        with pytest.raises(QualityError, match=r"zero_volume_run: 1 .*first at 2024-01-01T00:00:00Z"):
            check(bars, only({"zero_volume_run": policy}))
        return
    checked = check(bars, only({"zero_volume_run": policy}))
    assert checked == bars
    finding = checked.report["zero_volume_run"]
    assert (finding.count, finding.action) == (1, "no bar has a volume, so none is flagged")
    assert finding.samples[0]["time"] == "2024-01-01T00:00:00Z"


def test_a_frozen_feed_is_seen_in_a_series_without_any_volume(clean, check):
    bars = clean(300).but(volume=np.zeros(300))
    assert found(bars, "flatline", check) == []
    assert found(flat(bars, range(140, 151), volume=0.0), "flatline", check) == list(range(141, 151))
    assert found(flat(clean(300), range(140, 151), volume=0.0), "flatline", check) == []  # nobody traded


# ── policies ─────────────────────────────────────────────────────────────────────────────────────────

CASES = {
    "extreme_move": lambda clean, spoil: step_to(clean(300), 150, 1.5),
    "spike": lambda clean, spoil: spoil(clean(300), close={150: 200.0}),
    "wick": lambda clean, spoil: spoil(clean(300), high={150: 200.0}),
    "flatline": lambda clean, spoil: flat(clean(300), range(140, 151)),
    "zero_volume_run": lambda clean, spoil: spoil(clean(300), volume=dict.fromkeys(range(91, 151), 0.0)),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("policy", ["ignore", "warn", "drop", "quarantine", "raise"])
def test_each_policy_of_each_check(clean, spoil, check, name, policy):
    bars = CASES[name](clean, spoil)
    rows = found(bars, name, check)
    assert rows[-1] == 150
    if policy == "raise":
        with pytest.raises(QualityError, match=f"{name}: {len(rows)} ") as caught:
            check(bars, only({name: policy}))
        assert caught.value.report[name].count == len(rows)
        return
    checked = check(bars, only({name: policy}))
    kept = [row for row in range(300) if row not in rows or policy in ("ignore", "warn")]
    assert checked["id"].tolist() == kept
    assert checked.flags.tolist() == [8 * (row in rows and policy == "warn") for row in kept]
    quarantined = checked.report.quarantine
    assert quarantined.reasons == ((name,) * len(rows) if policy == "quarantine" else ())
    if policy == "quarantine":
        assert quarantined.bars == bars[rows]


def test_by_default_what_is_only_doubtful_is_flagged_and_nothing_else(clean, spoil, check):
    for name, make in CASES.items():
        bars = make(clean, spoil)
        report = check(bars).report
        others = {"extreme_move", "wick"} if name == "spike" else set()
        others |= {"ohlc_order"} if name == "spike" else set()
        assert {finding.check for finding in report.found} - others == {name}
        assert report.rows_out == 300


# ── the scale of moves ───────────────────────────────────────────────────────────────────────────────


def test_the_scale_is_the_standard_deviation_of_normal_moves():
    moves = np.random.default_rng(0).normal(0, 0.01, 50_000)
    assert robust_scale(100 * np.cumprod(1 + moves)) == pytest.approx(0.01, rel=0.02)


def test_outliers_do_not_move_the_scale():
    close = 100 * np.cumprod(1 + np.random.default_rng(0).normal(0, 0.01, 10_000))
    wild = close.copy()
    wild[::100] *= 5
    assert robust_scale(wild) == pytest.approx(robust_scale(close), rel=0.05)


def test_moves_that_are_not_finite_are_left_out():
    close = 100 * np.cumprod(1 + np.random.default_rng(0).normal(0, 0.01, 1000))
    for broken in (np.nan, np.inf, -np.inf, 0.0):
        spoilt = close.copy()
        spoilt[500] = broken
        assert robust_scale(spoilt) == pytest.approx(robust_scale(close), rel=0.05)
    assert robust_scale(np.full(10, np.nan)) == 0.0
    assert robust_scale(np.zeros(10)) == 0.0


def test_where_most_moves_are_zero_their_mean_takes_over_and_where_all_are_nothing_moves():
    assert robust_scale(np.full(100, 5.0)) == 0.0
    seldom = np.full(100, 100.0)
    seldom[50:] = 101.0
    assert robust_scale(seldom) == pytest.approx(1.2533 * 0.01 / 99)
    assert robust_scale(np.array([1.0, 2.0])) == 0.0
    assert robust_scale(np.array([])) == 0.0


def test_the_scale_of_a_long_series_is_that_of_moves_all_over_it():
    rows = 3 * SAMPLE
    moves = np.random.default_rng(0).normal(0, 0.01, rows) * np.linspace(1, 3, rows)
    close = np.exp(np.cumsum(moves))
    every = 1.4826 * np.median(np.abs(moves - np.median(moves)))
    assert robust_scale(close) == pytest.approx(every, rel=0.02)


def test_nothing_stands_out_where_nothing_moves(clean, spoil, check):
    still = flat(clean(100), range(100), volume=0.0)
    assert {finding.check: finding.count for finding in check(still).report.found} == {"flatline": 99, "zero_volume_run": 1}
    assert LEAST == 0.01
