"""Checks of times: unordered, duplicate_time, off_grid, wrong_timeframe, future, unclosed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import QualityError
from cracktrader.quality import Validation
from cracktrader.times import isoformat, parse_time

MINUTE, HOUR = 60_000, 3_600_000
START = 1_704_067_200_000
WINDOW = 16_384


def only(policy_of: dict[str, str], **options) -> Validation:
    return Validation(preset="off", max_loss=1, **policy_of, **options)


# ── unordered ────────────────────────────────────────────────────────────────────────────────────────


def test_rows_older_than_one_before_them_are_sorted(clean, check):
    bars = clean(6)
    checked = check(bars[[0, 3, 1, 2, 5, 4]])
    assert checked == bars
    finding = checked.report["unordered"]
    assert (finding.count, finding.action, finding.severity, checked.report.ok) == (3, "repaired", "warning", True)
    assert [sample["time"][14:16] for sample in finding.samples] == ["01", "02", "04"]
    assert {each.check for each in checked.report} == {"unordered"}


def test_sorting_keeps_rows_together(clean, check):
    bars = clean(50)
    order = np.random.default_rng(1).permutation(50)
    assert check(bars[order]) == bars


@given(st.permutations(range(8)))
def test_the_count_is_of_rows_older_than_one_before_them(clean, check, order):
    late = sum(row < max(order[:at], default=-1) for at, row in enumerate(order))
    checked = check(clean(8)[order])
    assert checked.report["unordered"].count == late
    assert checked == clean(8)


@pytest.mark.parametrize("policy", ["ignore", "warn", "raise"])
def test_unordered_rows_may_be_left_as_they_are(clean, check, policy):
    raw = clean(6)[[0, 3, 1, 2, 5, 4]]
    if policy == "raise":
        with pytest.raises(QualityError, match="unordered: 3"):
            check(raw, only({"unordered": policy}))
        return
    checked = check(raw, only({"unordered": policy}))
    assert checked.flags.tolist() == ([0, 0, 8, 8, 0, 8] if policy == "warn" else [0] * 6)
    assert checked.but(flags=raw.flags) == raw


def test_one_row_of_the_far_future_does_not_make_all_others_late(clean, spoil, check):
    raw = spoil(clean(20), time={5: parse_time("2400-01-01")})
    report = check(raw, Validation(gap="ignore")).report
    assert {finding.check: finding.count for finding in report} == {"future": 1}


@pytest.mark.parametrize("row", [1, WINDOW - 1, WINDOW, WINDOW + 1])
def test_order_is_checked_across_windows(clean, check, row):
    bars = clean(WINDOW + 10)
    order = np.arange(len(bars))
    order[[row - 1, row]] = order[[row, row - 1]]
    checked = check(bars[order])
    assert checked.report["unordered"].count == 1
    assert checked == bars


# ── duplicate_time ───────────────────────────────────────────────────────────────────────────────────


def test_of_rows_of_one_time_the_latest_fetched_wins_and_the_others_are_kept_aside(clean, spoil, check):
    bars = clean(6)
    revised = spoil(bars, close={2: 200.0})
    raw = Bars.concat([bars[:3], revised[2:3], bars[3:]])
    checked = check(raw, only({"duplicate_time": "repair"}))
    assert checked == revised.but(flags=[0, 0, Flag.REPAIRED, 0, 0, 0])
    report = checked.report
    assert (report.rows_in, report.rows_out, report["duplicate_time"].count, report["duplicate_time"].action) == (
        7,
        6,
        1,
        "repaired",
    )
    assert report.quarantine.bars == bars[2:3]
    assert report.quarantine.reasons == ("duplicate_time",)
    assert report["duplicate_time"].samples[0]["close"] == bars.close[2]


def test_values_are_never_blended(clean, spoil, check):
    bars = clean(3)
    low, high = (spoil(bars, **{name: {1: price} for name in PRICES})[1:2] for price in (50.0, 150.0))
    checked = check(Bars.concat([bars[:1], high, low, bars[2:]]), only({"duplicate_time": "repair"}))
    assert checked[1].high == checked[1].low == 50.0


def test_a_row_that_is_the_same_again_is_dropped_without_a_flag(clean, check):
    bars = clean(6)
    raw = bars[[0, 1, 1, 1, 2, 3, 4, 5]]
    checked = check(raw)
    assert checked == bars
    assert (checked.report["duplicate_time"].count, len(checked.report.quarantine)) == (2, 0)


def test_rows_that_differ_in_an_extra_column_only_differ(clean, check):
    bars = clean(3)
    again = bars[1:2].but(extra={"id": [99.0]})
    checked = check(Bars.concat([bars[:2], again, bars[2:]]))
    assert checked["id"].tolist() == [0, 99, 2]
    assert checked.flags.tolist() == [0, Flag.REPAIRED, 0]
    assert checked.report.quarantine.bars["id"].tolist() == [1]


def test_nan_in_both_rows_is_no_difference(clean, check):
    bars = clean(3).but(extra={"funding": [np.nan, np.nan, 1.0]})
    checked = check(bars[[0, 1, 1, 2]])
    assert (len(checked.report.quarantine), checked.flags.any()) == (0, np.False_)


def test_a_latest_row_that_is_broken_does_not_win(clean, spoil, check):
    bars = clean(4)
    broken = spoil(bars, close={1: np.nan})[1:2]
    checked = check(Bars.concat([bars[:2], broken, bars[2:]]))
    assert checked == bars
    assert checked.report.quarantine.reasons == ("not_finite",)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=15))
def test_in_any_order_the_last_of_each_time_stays(clean, check, times):
    raw = clean(len(times)).but(time=START + MINUTE * np.array(times))
    checked = check(raw, only({"duplicate_time": "repair", "unordered": "repair"}))
    latest = {time: row for row, time in enumerate(times)}
    assert checked["id"].tolist() == [latest[time] for time in sorted(latest)]
    assert checked.report["duplicate_time"].count == len(times) - len(latest)
    assert sorted(
        [*checked["id"].tolist(), *(checked.report.quarantine.bars["id"].tolist() if checked.report.quarantine else [])]
    ) == list(range(len(times)))
    unsorted = check(raw, only({"duplicate_time": "repair"}))
    assert sorted(unsorted["id"].tolist()) == sorted(checked["id"].tolist())


@pytest.mark.parametrize("policy", ["ignore", "warn", "drop", "quarantine", "raise"])
def test_each_policy_about_superseded_rows(clean, check, policy):
    raw = clean(5).but(time=START + MINUTE * np.array([0, 1, 1, 2, 3]))
    if policy == "raise":
        with pytest.raises(QualityError, match=r"duplicate_time: 1 .*first at 2024-01-01T00:01:00Z"):
            check(raw, only({"duplicate_time": policy}))
        return
    checked = check(raw, only({"duplicate_time": policy}))
    assert checked["id"].tolist() == ([0, 1, 2, 3, 4] if policy in ("ignore", "warn") else [0, 2, 3, 4])
    assert checked.flags.tolist() == ([0, 8, 0, 0, 0] if policy == "warn" else [0] * len(checked))
    assert len(checked.report.quarantine) == (policy == "quarantine")


@pytest.mark.parametrize("row", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW])
def test_duplicates_are_found_across_windows(clean, check, row):
    bars = clean(2 * WINDOW + 3)
    raw = bars[np.insert(np.arange(len(bars)), row, row - 1)]
    checked = check(raw)
    assert checked == bars
    assert {finding.check: finding.count for finding in checked.report} == {"duplicate_time": 1}


# ── off_grid ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("timeframe", "off"),
    [("1m", 1), ("1m", 59_999), ("1h", MINUTE), ("1d", 16 * HOUR), ("1w", 24 * HOUR), ("1M", 24 * HOUR), ("3d", 24 * HOUR)],
)
@pytest.mark.parametrize("row", [0, 4, 9])
def test_a_bar_beside_the_grid_is_quarantined(clean, spoil, check, timeframe, off, row):
    bars = clean(10, timeframe)
    raw = spoil(bars, time={row: bars.time[row] + off})
    checked = check(raw, Validation(gap="ignore"))
    assert checked == bars[[at for at in range(10) if at != row]]
    assert checked.report.quarantine.bars == raw[row : row + 1]
    assert {finding.check: finding.count for finding in checked.report} == {"off_grid": 1}
    assert not checked.report.ok


@pytest.mark.parametrize("timeframe", ["1s", "1m", "7m", "4h", "1d", "3d", "1w", "1M", "3M"])
def test_bars_on_the_calendar_grid_are_on_the_grid(clean, check, timeframe):
    assert check(clean(500, timeframe), Validation(future="ignore", unclosed="ignore")).report["off_grid"].count == 0


def test_weeks_that_begin_on_thursday_are_off_the_grid(clean, check):
    weeks = clean(20, "1w")
    epoch_weeks = weeks.but(time=weeks.time // (7 * 24 * HOUR) * (7 * 24 * HOUR))
    with pytest.raises(QualityError, match="most of them for off_grid"):
        check(epoch_weeks)


@pytest.mark.parametrize("policy", ["ignore", "warn", "drop", "raise"])
def test_each_policy_about_bars_beside_the_grid(clean, spoil, check, policy):
    raw = spoil(clean(5), time={2: START + 2 * MINUTE + 1})
    if policy == "raise":
        with pytest.raises(QualityError, match=r"off_grid: 1 .*first at 2024-01-01T00:02:00.001Z"):
            check(raw, only({"off_grid": policy}))
        return
    checked = check(raw, only({"off_grid": policy}))
    assert checked.time.tolist() == (raw.time.tolist() if policy != "drop" else np.delete(raw.time, 2).tolist())
    assert checked.flags.tolist() == ([0, 0, 8, 0, 0] if policy == "warn" else [0] * len(checked))
    assert len(checked.report.quarantine) == 0


@pytest.mark.parametrize("row", [0, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1])
def test_off_grid_times_are_found_at_the_edges_of_windows(clean, spoil, check, row):
    bars = clean(2 * WINDOW)
    checked = check(spoil(bars, time={row: bars.time[row] + 1}), only({"off_grid": "warn"}))
    assert np.flatnonzero(checked.flags).tolist() == [row]


def test_a_whole_series_beside_the_grid_is_found_although_its_steps_are_right(clean, check):
    bars = clean(100)
    checked = check(bars.but(time=bars.time + 1), only({"off_grid": "warn"}))
    assert (checked.flags == 8).all()


# ── wrong_timeframe ──────────────────────────────────────────────────────────────────────────────────


FINER = [
    ("30m", "1h", "compression=2"),
    ("1h", "4h", "compression=4"),
    ("1m", "5m", "compression=5"),
    ("12h", "1d", "compression=2"),
    ("1w", "2w", "compression=2"),
    ("1d", "1w", "bars.resample('1w')"),
    ("1d", "2M", "bars.resample('2M')"),
    ("45m", "1h", ""),
]  # fmt: skip


@pytest.mark.parametrize(("real", "asked", "how"), FINER)
@pytest.mark.parametrize("rows", [3, 4, 100, WINDOW + 7])
@pytest.mark.parametrize("preset", ["repair", "strict"])
def test_bars_of_a_finer_timeframe_are_refused_whatever_would_be_lost(clean, check, real, asked, how, rows, preset):
    if rows > 100 and asked.endswith(("w", "M")):
        rows = 1000
    with pytest.raises(QualityError) as caught:
        check(clean(rows, real).but(timeframe=asked), Validation(preset=preset, max_loss=1))
    assert (
        caught.value.message
        == f"The timeframe of BTC/USDT {asked} from 'here' is wrong: these look like bars of {real}, not {asked}."
    )
    assert caught.value.hint == f"Load timeframe='{real}'" + (f"; {how} makes bars of {asked} of them." if how else ".")
    assert caught.value.report["wrong_timeframe"].count == rows


@pytest.mark.parametrize("share", [0.1, 0.3, 0.6, 0.95])
@pytest.mark.parametrize("shuffled", [False, True])
def test_bars_of_a_finer_timeframe_are_refused_where_many_are_missing(clean, check, share, shuffled):
    random = np.random.default_rng(7)
    raw = clean(2000, "30m").but(timeframe="1h")[random.random(2000) < share]
    with pytest.raises(QualityError, match="these look like bars of 30m, not 1h"):
        check(raw[random.permutation(len(raw))] if shuffled else raw)


def test_a_stretch_of_finer_bars_is_enough(clean, check):
    raw = Bars.concat([clean(1000, "1h"), clean(20, "30m", start=START + 1000 * HOUR).but(timeframe="1h")])
    with pytest.raises(QualityError, match="these look like bars of 30m, not 1h") as caught:
        check(raw)
    assert caught.value.report["wrong_timeframe"].first == isoformat(START + 999 * HOUR + HOUR)


def test_finer_bars_are_flagged_all_and_told_where_nothing_is_changed(clean, check):
    checked = check(clean(50, "30m").but(timeframe="1h"), "report")
    assert (checked.flags == Flag.SUSPECT).all()
    assert checked.report["wrong_timeframe"].action == "flagged: these look like bars of 30m, not 1h"
    assert not checked.report.ok
    assert len(check(clean(50, "30m").but(timeframe="1h"), "off")) == 50


def test_finer_bars_may_be_taken_as_they_are(clean, check):
    raw = clean(50, "30m").but(timeframe="1h")
    with pytest.raises(QualityError, match="these look like bars of 30m"):
        check(raw, Validation(off_grid="ignore"))
    assert check(raw, Validation(off_grid="ignore", wrong_timeframe="ignore")) == raw


def test_strays_and_sessions_beside_the_grid_are_no_finer_timeframe(clean, check):
    """Rows half an hour late here and there; sessions from half past two, whose first bar is half an hour long."""
    hours = clean(24 * 60, "1h")
    strays = hours[::40].but(time=hours.time[::40] + HOUR // 2)
    checked = check(Bars.concat([hours, strays]))
    assert (checked.report["off_grid"].count, checked.report["wrong_timeframe"].count) == (len(strays), 0)
    of_day = hours.time % (24 * HOUR) // HOUR
    session = hours[(of_day >= 14) & (of_day < 21)]
    late = session.but(time=session.time + np.where(session.time % (24 * HOUR) // HOUR == 14, HOUR // 2, 0))
    assert check(late).report["wrong_timeframe"].count == 0
    summer = hours.but(time=hours.time // (4 * HOUR) * 4 * HOUR + HOUR, timeframe="4h")[::4]  # on a clock an hour off
    both = Bars.concat([clean(400, "4h"), summer.but(time=summer.time + 400 * 4 * HOUR)])
    assert check(both).report["wrong_timeframe"].count == 0


# ── future and unclosed ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d", "1w", "1M"])
@pytest.mark.parametrize("into", [0, 1, 0.5, -1])
def test_a_bar_is_closed_when_its_end_has_passed_by_the_sources_clock(clean, check, timeframe, into):
    bars = clean(10, timeframe)
    opening, end = int(bars.time[6]), int(bars.time[7])
    now = {0: opening, 1: opening + 1, 0.5: (opening + end) // 2, -1: end - 1}[into]
    checked = check(bars, now=now)
    assert checked == bars[:6]
    assert {finding.check: finding.count for finding in checked.report} == {"future": 3, "unclosed": 1}
    assert checked.report["unclosed"].samples[0]["time"] == isoformat(opening)
    assert checked.report["unclosed"].action == "dropped"
    assert checked.report.quarantine.bars == bars[7:]
    assert checked.report.quarantine.reasons == ("future",) * 3


def test_at_the_very_end_of_a_bar_it_is_closed(clean, check):
    bars = clean(10)
    assert check(bars, now=int(bars.time[-1]) + MINUTE).report.found == ()
    assert check(bars, now=int(bars.time[-1]) + MINUTE - 1).report["unclosed"].count == 1


def test_bars_beside_the_grid_are_closed_when_their_own_end_has_passed(clean, check):
    half = clean(10, "1h").but(time=START + HOUR // 2 + HOUR * np.arange(10))
    rules = Validation(off_grid="ignore")
    assert len(check(half, rules, now=int(half.time[-1]) + HOUR)) == 10
    assert len(check(half, rules, now=int(half.time[-1]) + HOUR - 1)) == 9
    assert len(check(half, rules, now=int(half.time[-1]))) == 9
    assert check(half, rules, now=int(half.time[-1]) - 1).report["future"].count == 1


@pytest.mark.parametrize("name", ["future", "unclosed"])
@pytest.mark.parametrize("policy", ["ignore", "warn", "drop", "quarantine", "raise"])
def test_each_policy_about_bars_that_are_not_over(clean, check, name, policy):
    bars = clean(6)
    now = int(bars.time[4]) + 1
    row = {"future": 5, "unclosed": 4}[name]
    if policy == "raise":
        with pytest.raises(QualityError, match=f"{name}: 1 .*first at {isoformat(bars.time[row])}"):
            check(bars, only({name: policy}), now=now)
        return
    checked = check(bars, only({name: policy}), now=now)
    kept = [at for at in range(6) if at != row or policy in ("ignore", "warn")]
    assert checked["id"].tolist() == kept
    assert checked.flags.tolist() == [8 * (at == row and policy == "warn") for at in kept]
    assert checked.report.quarantine.reasons == ((name,) if policy == "quarantine" else ())


def test_the_clock_is_the_machines_where_none_is_given(clean):
    from cracktrader.quality import validate

    bars = clean(5, start=parse_time("2400-01-01"))
    with pytest.raises(QualityError, match="most of them for future"):
        validate(bars)


@pytest.mark.parametrize("length", [WINDOW, WINDOW + 1, 2 * WINDOW])
def test_the_last_bar_of_a_window_may_be_unclosed(clean, check, length):
    bars = clean(length)
    assert check(bars, now=int(bars.time[-1])) == bars[:-1]
