"""The pipeline as a whole, on bars with any mixture of faults: what must hold whatever comes in."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import QualityError
from cracktrader.quality import CHECKS, Check, Validation, checks, gaps, validate
from cracktrader.timeframe import Timeframe

MINUTE = 60_000
START = 1_704_067_200_000
NOW = 4_000_000_000_000
WINDOW = 16_384
COLUMNS = ("time", *PRICES, "volume", "flags")

good = st.sampled_from([99.0, 100.0, 100.5, 101.0])
prices = good | good | good | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -1.0, 50.0, 150.0, 1e300])
volumes = st.sampled_from([1.0, 2.0, 2.0, 0.0, -1.0, np.nan])


@st.composite
def raw_bars(draw, steps=(1, 1, 1, 1, 2, 3, 0, -1, 70, 1500), offsets=(0, 0, 0, 0, 0, 0, 1), timeframes=("1m", "1h", "1d", "1M")):
    """Bars as no source should send them: any fault, any mixture of them; each row has a number of its own."""
    frame = Timeframe(draw(st.sampled_from(timeframes)))
    rows = draw(st.integers(0, 40))
    ordinals = np.cumsum(draw(st.lists(st.sampled_from(steps), min_size=rows, max_size=rows)), dtype=np.int64)
    times = frame.opening(frame.ordinal(START) + ordinals) + draw(
        st.lists(st.sampled_from(offsets), min_size=rows, max_size=rows)
    )
    columns = [draw(st.lists(prices, min_size=rows, max_size=rows)) for _ in PRICES]
    volume = draw(st.lists(volumes, min_size=rows, max_size=rows))
    return Bars(np.asarray(times, np.int64), *columns, volume, extra={"id": np.arange(rows)}, symbol="X", timeframe=frame)


@st.composite
def any_rules(draw, **fixed):
    """Any policy for any check."""
    options = {}
    for name, info in CHECKS.items():
        policies = [
            "ignore",
            "warn",
            *(["repair"] if info.repair else []),
            *(["drop", "quarantine"] if name not in ("gap", "unordered") else []),
        ]
        if draw(st.booleans()):
            options[name] = draw(st.sampled_from(policies))
    return Validation(**{"preset": draw(st.sampled_from(["repair", "report", "off"])), "max_loss": 1} | options | fixed)


def same(one: Bars, two: Bars) -> None:
    assert one == two
    assert one.report.to_json() == two.report.to_json()
    assert one.report.quarantine.reasons == two.report.quarantine.reasons
    assert one.report.quarantine.bars == two.report.quarantine.bars


# ── whatever comes in ────────────────────────────────────────────────────────────────────────────────


@given(raw_bars(), any_rules(), st.integers(1, 7))
@settings(max_examples=100)
def test_the_outcome_does_not_depend_on_the_size_of_windows(bars, rules, window):
    usual = validate(bars, rules, now=NOW)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "WINDOW", window)
        patch.setattr(gaps, "WINDOW", window)
        same(validate(bars, rules, now=NOW), usual)


@given(raw_bars(), any_rules())
@settings(max_examples=100)
def test_the_arrays_of_the_caller_are_never_written_to(bars, rules):
    arrays = {name: bars[name].copy() for name in bars.columns}
    copies = {name: array.copy() for name, array in arrays.items()}
    validate(bars.but(**{name: arrays[name] for name in COLUMNS}, extra={"id": arrays["id"]}), rules, now=NOW)
    for name, array in arrays.items():
        assert array.flags.writeable
        np.testing.assert_array_equal(array, copies[name])


@given(raw_bars())
@settings(max_examples=100)
def test_by_default_what_comes_out_can_be_traded_on(bars):
    checked = validate(bars, Validation(max_loss=1), now=NOW)
    frame = bars.timeframe
    assert (np.diff(checked.time) > 0).all()
    assert (checked.time == frame.floor(checked.time)).all()
    assert (frame.next(checked.time) <= NOW).all()
    for name in (*PRICES, "volume"):
        assert np.isfinite(checked[name]).all()
    assert (checked.low > 0).all()
    assert (checked.volume >= 0).all()
    for name in PRICES:
        assert (checked.low <= checked[name]).all()
        assert (checked.high >= checked[name]).all()


@given(raw_bars(), st.sampled_from(["repair", "report"]))
@settings(max_examples=100)
def test_checking_what_was_checked_changes_nothing(bars, preset):
    once = validate(bars, Validation(preset=preset, max_loss=1), now=NOW)
    twice = validate(once, Validation(preset=preset, max_loss=1), now=NOW)
    assert twice == once
    if preset == "repair":
        flagging = {"extreme_move", "spike", "wick", "flatline", "zero_volume_run"}
        found = {finding.check: finding.count for finding in once.report if finding.check in flagging}
        again = {finding.check: finding.count for finding in twice.report}
        open_gaps = sum(gap.missing for gap in once.report["gap"].gaps if not gap.filled and gap.kind != "closed")
        assert again == found | ({"gap": open_gaps} if open_gaps else {})


@given(raw_bars(), any_rules(unclosed="quarantine"))
@settings(max_examples=100)
def test_no_row_is_lost_without_being_counted(bars, rules):
    rules = Validation(**{name: "quarantine" for name in CHECKS if rules.policy(name) == "drop"} | {
        name: rules.policy(name) for name in CHECKS if rules.policy(name) != "drop"}, max_loss=1)  # fmt: skip
    checked = validate(bars, rules, now=NOW)
    report = checked.report
    filled = checked.flags & Flag.FILLED > 0
    kept = checked["id"][~filled].astype(int).tolist()
    taken = [] if report.quarantine.bars is None else report.quarantine.bars["id"].astype(int).tolist()
    assert sorted(kept + taken) == list(range(len(bars)))
    assert report.rows_in == len(bars)
    assert report.rows_out == len(checked)
    assert report.rows_in == report.rows_out - filled.sum() + len(report.quarantine)
    assert np.isnan(checked["id"][filled]).all()
    if report.quarantine.bars is not None:  # as they came
        for reason, row in zip(report.quarantine.reasons, taken, strict=True):
            at = taken.index(row)
            if reason not in ("duplicate_time", "extreme_move", "spike", "wick", "flatline", "zero_volume_run"):
                assert all(str(report.quarantine.bars[name][at]) == str(bars[name][row]) for name in COLUMNS)


@given(raw_bars(), any_rules(gap="ignore", unclosed="drop"))
def test_dropped_rows_are_those_that_are_counted_and_gone(bars, rules):
    checked = validate(bars, rules, now=NOW)
    assert set(checked["id"].tolist()) <= set(range(len(bars)))
    gone = len(bars) - len(checked)
    removals = [finding for finding in checked.report.findings.values() if finding.policy in ("drop", "quarantine", "repair")]
    assert gone <= sum(finding.count for finding in removals)
    assert gone >= len(checked.report.quarantine)


@given(raw_bars(), any_rules())
@settings(max_examples=100)
def test_values_change_only_where_a_flag_says_so(bars, rules):
    checked = validate(bars, rules, now=NOW)
    for row in range(len(checked)):
        if checked.flags[row] & (Flag.FILLED | Flag.REPAIRED):
            continue
        origin = int(checked["id"][row])
        assert all(str(checked[name][row]) == str(bars[name][origin]) for name in ("time", *PRICES, "volume"))


@given(raw_bars(steps=(1, 1, 1, 2, 5, 70, 1500)), st.integers(0, 40), any_rules() | st.just(Validation(max_loss=1)))
@settings(max_examples=100)
def test_no_value_depends_on_what_comes_later(bars, cut, rules):
    """A prefix gives the same values for the bars that both have: a backtest sees no future.

    SUSPECT may differ, because whether a jump comes back, how long a run is and how wild the market is shows
    later; and where a policy takes such rows out, so may whether a bar is there. FILLED and REPAIRED may not.
    """
    whole, prefix = validate(bars, rules, now=NOW), validate(bars[:cut], rules, now=NOW)
    _, in_whole, in_prefix = np.intersect1d(whole.time, prefix.time, return_indices=True)
    removing = {name for name in ("spike", "wick", "flatline", "zero_volume_run") if rules.policy(name) in ("drop", "quarantine")}
    for at, other in zip(in_whole.tolist(), in_prefix.tolist(), strict=True):
        filled = (whole.flags[at] | prefix.flags[other]) & Flag.FILLED
        if removing and filled:
            continue  # a hole that only one of them has
        for name in (*PRICES, "volume", "id"):
            assert str(whole[name][at]) == str(prefix[name][other])
        assert whole.flags[at] & ~Flag.SUSPECT == prefix.flags[other] & ~Flag.SUSPECT
    if not removing:  # the same rows are left, although a hole may be filled only once it has two ends
        stay = [set(checked.time[checked.flags & Flag.FILLED == 0].tolist()) for checked in (whole, prefix)]
        assert stay[0] & set(bars[:cut].time.tolist()) == stay[1]


@given(raw_bars(), any_rules())
def test_the_report_is_json_and_text_whatever_was_found(bars, rules):
    report = validate(bars, rules, now=NOW).report
    json.loads(report.to_json(), parse_constant=pytest.fail)  # NaN and Infinity are no JSON
    assert report.to_text().startswith("X ")


# ── clean bars cost nothing ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("preset", ["repair", "strict", "report", "off"])
@pytest.mark.parametrize("rows", [0, 1, 2, 100, WINDOW, WINDOW + 1])
def test_clean_bars_come_back_uncopied(clean, check, preset, rows):
    bars = clean(rows)
    checked = check(bars, preset)
    assert all(checked[name] is bars[name] for name in bars.columns)
    assert checked.report.found == ()
    assert len(checked.report.findings) == (0 if preset == "off" else len(CHECKS))


def test_no_bars_are_checked_too_and_every_check_answers_zero(clean, check):
    report = check(clean(0)).report
    assert {name: report[name].count for name in CHECKS} == dict.fromkeys(CHECKS, 0)
    assert (report.rows_in, report.rows_out, report.ok) == (0, 0, True)


def test_all_rows_may_be_lost(clean, spoil, check):
    bars = spoil(clean(3), close=dict.fromkeys(range(3), np.nan))
    checked = check(bars, Validation(max_loss=1))
    assert len(checked) == 0
    assert checked.report.quarantine.bars == bars
    assert checked.report["gap"].count == 0


def test_off_with_one_check_turned_on_runs_that_one_alone(clean, spoil, check):
    bars = spoil(clean(20), close={3: np.nan}, volume={5: -1.0})
    checked = check(bars, Validation(preset="off", negative_volume="repair"))
    assert list(checked.report.findings) == ["negative_volume"]
    assert checked.volume[5] == 0
    assert np.isnan(checked.close[3])


# ── faults together ──────────────────────────────────────────────────────────────────────────────────


def test_disorder_duplicates_dirt_and_gaps_at_once(clean, spoil, check):
    bars = clean(20)
    revised = spoil(bars, close={8: bars.close[8] * 1.0001})
    raw = Bars.concat([
        bars[10:15], bars[:3], spoil(bars, high={3: 90.0})[3:4], spoil(bars, close={5: np.nan})[5:6], bars[6:9], revised[8:9],
        spoil(bars, volume={9: -3.0})[9:10], bars[11:12], bars[17:],
    ])  # fmt: skip
    checked = check(raw)
    report = checked.report
    assert checked.time.tolist() == bars.time.tolist()
    assert {finding.check: finding.count for finding in report} == {
        "not_finite": 1, "negative_volume": 1, "ohlc_order": 1, "unordered": 10, "duplicate_time": 2, "gap": 4, "wick": 1,
    }  # fmt: skip
    flags = {
        3: Flag.REPAIRED | Flag.SUSPECT,
        4: Flag.FILLED,
        5: Flag.FILLED,
        8: Flag.REPAIRED,
        9: Flag.REPAIRED,
        15: Flag.FILLED,
        16: Flag.FILLED,
    }
    assert checked.flags.tolist() == [int(flags.get(row, 0)) for row in range(20)]
    assert checked.close[8] == revised.close[8]
    assert checked.volume[9] == 0
    assert report.quarantine.reasons == ("not_finite", "duplicate_time")
    assert report.quarantine.bars["id"].tolist() == [5, 8]
    assert (report.rows_in, report.rows_out) == (19, 20)


def test_a_dirty_row_that_is_also_a_duplicate_leaves_the_clean_one(clean, spoil, check):
    bars = clean(5)
    for order in ([0, 1, 2], [0, 2, 1]):
        dirty = spoil(bars, close={2: np.nan})[2:3]
        pair = Bars.concat([bars[2:3], dirty] if order[1] == 1 else [dirty, bars[2:3]])
        checked = check(Bars.concat([bars[:2], pair, bars[3:]]))
        assert checked == bars
        assert checked.report.quarantine.reasons == ("not_finite",)


def test_a_mended_row_may_still_be_superseded(clean, spoil, check):
    bars = clean(5)
    first = spoil(bars, volume={2: -1.0})[2:3]
    checked = check(Bars.concat([bars[:2], first, bars[2:]]))
    assert checked.but(flags=bars.flags) == bars
    assert checked.flags.tolist() == [0, 0, Flag.REPAIRED, 0, 0]
    assert checked.report.quarantine.reasons == ("duplicate_time",)
    assert checked.report["negative_volume"].count == checked.report["duplicate_time"].count == 1


def test_flags_add_up(clean, spoil, check):
    bars = spoil(clean(300), close={150: 200.0}, volume={150: -1.0}, flags={150: 4})
    assert check(bars).flags[150] == Flag.REVISED | Flag.REPAIRED | Flag.SUSPECT


def test_a_sample_shows_the_row_before_and_after(clean, spoil, check):
    bars = spoil(clean(20), volume={5: -1.0}, high={5: 90.0})
    report = check(bars).report
    expected = {"time": "2024-01-01T00:05:00Z", **{name: float(bars[name][5]) for name in (*PRICES, "volume")}}
    now = {"high": max(bars.open[5], bars.close[5]), "low": 90.0, "volume": 0.0}
    assert report["negative_volume"].samples == ({**expected, "now": now},)
    assert report["ohlc_order"].samples == ({**expected, "now": now},)


def test_only_the_first_rows_are_shown_but_all_are_counted(clean, spoil, check):
    bars = spoil(clean(100), volume=dict.fromkeys(range(10, 60), -1.0))
    finding = check(bars).report["negative_volume"]
    assert finding.count == 50
    assert [sample["time"][14:16] for sample in finding.samples] == [f"{minute}" for minute in range(10, 20)]


def test_raise_tells_of_every_check_that_was_told_to(clean, spoil, check):
    bars = spoil(clean(20), close={3: np.nan}, volume={5: -1.0})
    with pytest.raises(QualityError) as caught:
        check(bars[[*range(10), *range(12, 20)]], "strict")
    error = caught.value
    assert error.message == (
        "The checks of BTC/USDT 1m from 'here' found what may not be:"
        " not_finite: 1 (a price or volume is NaN or infinite), first at 2024-01-01T00:03:00Z;"
        " negative_volume: 1 (the volume is negative), first at 2024-01-01T00:05:00Z;"
        " gap: 2 (bars are missing; counts the missing bars), first at 2024-01-01T00:10:00Z."
    )
    assert "validation='repair'" in error.hint
    assert {finding.check for finding in error.report} == {"not_finite", "negative_volume", "gap"}


def test_limits_reach_their_checks(clean, check):
    bars = clean(50)
    jump = bars.but(**{name: np.where(np.arange(50) >= 25, bars[name] * 1.25, bars[name]) for name in PRICES})
    assert check(jump).report["extreme_move"].count == 1
    assert check(jump).report["extreme_move"].limit == 0.2
    lenient = check(jump, Validation(extreme_move=Check(limit=0.3)))
    assert (lenient.report["extreme_move"].count, lenient.report["extreme_move"].limit) == (0, 0.3)
    with pytest.raises(QualityError, match="extreme_move: 1"):
        check(jump, Validation(extreme_move=Check(policy="raise", limit=0.22)))


def test_what_an_earlier_load_filled_in_is_not_found_suspicious(clean, check):
    bars = clean(400)
    hole = bars[np.setdiff1d(np.arange(400), np.arange(100, 160))]
    once = check(hole)
    assert (once.flags & Flag.FILLED).sum() == 60
    assert check(once).report.found == ()
    assert check(once) == once


def test_attributes_survive(clean, check):
    bars = clean(5).but(provenance={"file": "x"})
    checked = check(bars[[1, 0, 2, 3, 4]])
    assert (checked.symbol, checked.timeframe, checked.source, dict(checked.provenance)) == (
        "BTC/USDT",
        "1m",
        "here",
        {"file": "x"},
    )
