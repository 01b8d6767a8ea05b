"""Gaps: counted, filled by the convention, explained by evidence; nothing is made up that was never there."""

import csv
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import QualityError
from cracktrader.quality import Check, Validation
from cracktrader.quality.gaps import coarser_bars, fill, find_gaps
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, parse_time

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_704_067_200_000  # a Monday
WINDOW = 16_384

timeframes = st.sampled_from(["1s", "1m", "7m", "1h", "4h", "1d", "3d", "1w", "1M", "3M"])
#: Steps from bar to bar; the ones keep the bars from looking like those of a longer timeframe.
steps = st.lists(st.sampled_from([1, 1, 1, 2, 3, 5, 30, 61, 62, 200, 2000]), max_size=30)


def at(clean, steps, timeframe="1m") -> Bars:
    """Clean bars whose ordinals are so many apart."""
    frame = Timeframe(timeframe)
    return clean(len(steps) + 1, timeframe).but(time=frame.opening(frame.ordinal(START) + np.cumsum([0, *steps])))


def without(bars: Bars, *rows: range) -> Bars:
    return bars[np.setdiff1d(np.arange(len(bars)), np.concatenate(rows))]


def gaps_of(bars, check, **options):
    return check(bars, Validation(**options)).report["gap"].gaps


# ── counting ─────────────────────────────────────────────────────────────────────────────────────────


@given(timeframes, steps)
def test_the_count_is_of_the_openings_between_first_and_last_that_have_no_bar(clean, check, timeframe, steps):
    bars, frame = at(clean, steps, timeframe), Timeframe(timeframe)
    grid = set(frame.openings(int(bars.time[0]), int(bars.time[-1]) + 1).tolist())
    missing = sorted(grid - set(bars.time.tolist()))
    report = check(bars, Validation(preset="off", gap="warn"), now=10**15).report
    closed = sum(gap.missing for gap in report["gap"].gaps if gap.kind == "closed")
    assert report["gap"].count == len(missing) - closed
    covered = [time for gap in report["gap"].gaps for time in frame.openings(gap.start, gap.end).tolist()]
    assert covered == missing
    assert all(gap.missing == len(frame.openings(gap.start, gap.end)) for gap in report["gap"].gaps)


@pytest.mark.parametrize("policy", ["ignore", "warn", "repair", "raise"])
def test_each_policy_about_missing_bars(clean, check, policy):
    bars = without(clean(20), range(5, 8))
    if policy == "raise":
        with pytest.raises(QualityError, match=r"gap: 3 \(bars are missing.*first at 2024-01-01T00:05:00Z") as caught:
            check(bars, Validation(gap=policy))
        assert caught.value.report["gap"].count == 3
        return
    checked = check(bars, Validation(gap=policy))
    if policy == "ignore":
        assert "gap" not in checked.report.findings
        assert checked == bars
        return
    finding = checked.report["gap"]
    assert (finding.count, finding.severity, finding.limit, finding.first) == (3, "warning", 60, "2024-01-01T00:05:00Z")
    assert finding.action == ("3 filled, 0 left open" if policy == "repair" else "left open")
    assert finding.gaps[0].filled == (policy == "repair")
    if policy == "warn":
        assert checked == bars
        assert not checked.flags.any()
    else:
        assert len(checked) == 20


def test_the_presets_report_and_strict_fill_nothing(clean, check):
    bars = without(clean(20), range(5, 8))
    assert check(bars, "report") == bars
    with pytest.raises(QualityError, match="gap: 3"):
        check(bars, "strict")


@pytest.mark.parametrize("row", [1, WINDOW - 1, WINDOW, WINDOW + 1, 2 * WINDOW - 1, 2 * WINDOW])
@pytest.mark.parametrize("timeframe", ["1m", "1M"])
def test_gaps_are_found_at_the_edges_of_windows(clean, check, row, timeframe):
    if timeframe == "1M":
        row = max(1, row // 8)  # months of 2,730 years are too many
    bars = without(clean(2 * WINDOW + 2 if timeframe == "1m" else 4200, timeframe, start=0), range(row, row + 1))
    finding = check(bars, "report", now=10**16).report["gap"]
    assert (finding.count, len(finding.gaps)) == (1, 1)


def test_before_the_first_and_after_the_last_bar_nothing_is_missing(clean, check):
    assert check(clean(1)).report["gap"].count == 0
    assert check(clean(0)).report["gap"].count == 0
    bars = check(clean(20)[5:10], request={"start": isoformat(START)})
    assert bars["id"].tolist() == [5, 6, 7, 8, 9]


def test_rows_that_were_taken_out_leave_gaps(clean, spoil, check):
    checked = check(spoil(clean(20), close={7: np.nan}))
    assert checked.report["gap"].count == 1
    assert checked.flags.tolist() == [1 if row == 7 else 0 for row in range(20)]
    assert checked.close[7] == checked.close[6]


# ── filling ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_convention_is_flat_at_the_previous_close_without_volume_and_flagged(clean, check):
    bars = without(clean(20).but(flags=[0] * 4 + [4] + [0] * 15), range(5, 8), range(11, 12))
    checked = check(bars)
    assert checked.time.tolist() == clean(20).time.tolist()
    made = np.flatnonzero(checked.flags == Flag.FILLED)
    assert made.tolist() == [5, 6, 7, 11]
    for row in made:
        before = 4 if row < 8 else 10
        assert [checked[name][row] for name in PRICES] == [clean(20).close[before]] * 4
        assert checked.volume[row] == 0
        assert np.isnan(checked["id"][row])
    assert checked[checked.flags != Flag.FILLED] == bars
    assert checked.flags[4] == 4


@given(timeframes, steps)
def test_what_is_filled_is_what_may_be_and_all_of_it(clean, check, timeframe, steps):
    bars, frame = at(clean, steps, timeframe), Timeframe(timeframe)
    checked = check(bars, Validation(wrong_timeframe="ignore"), now=10**15)
    filled = checked.flags == Flag.FILLED
    assert checked[~filled] == bars
    assert (np.diff(checked.time) > 0).all()
    assert (checked.time == frame.floor(checked.time)).all()
    expected = set()
    if coarser_bars(bars) is None:
        for before, after in zip(bars.time.tolist(), bars.time[1:].tolist(), strict=False):
            hole = frame.openings(before + 1, after)
            if len(hole) <= 60 and after - frame.next(before) <= DAY:
                expected |= set(hole.tolist())
    closed = [gap for gap in checked.report["gap"].gaps if gap.kind == "closed"]
    expected -= {time for gap in closed for time in frame.openings(gap.start, gap.end).tolist()}
    assert set(checked.time[filled].tolist()) == expected
    close = dict(zip(checked.time.tolist(), checked.close.tolist(), strict=True))
    for row in np.flatnonzero(filled):
        previous = close[int(checked.time[row - 1])]
        assert [checked[name][row] for name in PRICES] == [previous] * 4


@pytest.mark.parametrize(
    ("timeframe", "missing", "filled"),
    [("1m", 60, True), ("1m", 61, False), ("1h", 24, True), ("1h", 25, False), ("1s", 60, True), ("1s", 61, False),
     ("1d", 1, True), ("1d", 2, False), ("3d", 1, False), ("1w", 1, False), ("1M", 1, False)],
)  # fmt: skip
def test_never_over_a_stretch_longer_than_the_limit_nor_than_a_day(clean, check, timeframe, missing, filled):
    bars = at(clean, [1, missing + 1, 1], timeframe)
    checked = check(bars, now=10**15)
    assert len(checked) == 4 + missing * filled
    finding = checked.report["gap"]
    assert (finding.count, finding.gaps[0].filled) == (missing, filled)
    assert finding.action == (f"{missing} filled, 0 left open" if filled else "left open")


def test_the_limit_is_the_users_but_a_day_is_a_day(clean, check):
    bars = at(clean, [1, 4, 1, 11, 1])
    assert len(check(bars, Validation(gap=Check(limit=2)))) == 6
    assert len(check(bars, Validation(gap=Check(limit=3)))) == 9
    assert check(bars, Validation(gap=Check(limit=3))).report["gap"].action == "3 filled, 10 left open"
    hours = at(clean, [1, 26, 1], "1h")
    assert len(check(hours, Validation(gap=Check(limit=1000)))) == 4


def test_bars_beside_the_grid_are_filled_beside_it_too(clean, check):
    bars = without(clean(10, "1h"), range(4, 6))
    late = bars.but(time=bars.time + HOUR // 2)
    checked = check(late, Validation(off_grid="ignore"))
    assert checked.time.tolist() == (START + HOUR // 2 + HOUR * np.arange(10)).tolist()


def test_months_are_filled_on_the_calendar(clean):
    months = clean(5, "1M")
    added = np.array([0, 2, 0])
    assert fill(months[[0, 1, 4]], added).time.tolist() == months.time.tolist()


def test_nothing_is_filled_where_rows_were_left_out_of_order(clean, check):
    raw = without(clean(20), range(5, 8))[[1, 0, *range(2, 17)]]
    checked = check(raw, Validation(unordered="warn"))
    assert len(checked) == 17
    assert (checked.report["gap"].count, checked.report["gap"].action) == (3, "left open")


def test_find_gaps_fills_nothing_where_it_may_not(clean):
    bars = without(clean(20), range(5, 8))
    assert find_gaps(bars, 60, may_fill=False)[1].tolist() == []
    assert find_gaps(bars, 60, may_fill=True)[1].tolist() == [0] * 4 + [3] + [0] * 12
    assert find_gaps(clean(20), 60, may_fill=True)[0] == []


# ── bars of a longer timeframe than was said ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(("real", "asked"), [("1h", "1m"), ("5m", "1m"), ("1d", "1h"), ("1w", "1d"), ("3M", "1M")])
def test_longer_bars_are_not_filled_up_to_the_timeframe_that_was_said(clean, check, real, asked):
    bars = without(clean(60, real), range(10, 12)).but(timeframe=asked)
    with pytest.raises(QualityError, match=f"these look like bars of {real}, not {asked}") as caught:
        check(bars, now=10**15)
    assert f"Load timeframe='{real}'" in caught.value.hint
    told = check(bars, "report", now=10**15).report["wrong_timeframe"]
    assert (told.count, told.action) == (len(bars), f"flagged: these look like bars of {real}, not {asked}")
    checked = check(bars, Validation(wrong_timeframe="ignore"), now=10**15)
    assert checked == bars
    finding = checked.report["gap"]
    frame = Timeframe(asked)
    assert finding.count == frame.ordinal(int(bars.time[-1])) - frame.ordinal(int(bars.time[0])) + 1 - len(bars)
    assert finding.action == "left open"
    assert {gap.filled for gap in finding.gaps} == {False}


def test_one_pair_of_neighbours_proves_the_timeframe_right(clean, check):
    bars = at(clean, [60] * 40 + [1] + [60] * 40)
    assert len(check(bars)) == 81 * 60 - 60 + 2
    assert not check(bars).report["wrong_timeframe"].count


@pytest.mark.parametrize(
    ("real", "asked", "rows"),
    [("1d", "1h", 3), ("1h", "1m", 3), ("1d", "1m", 3), ("1M", "1d", 3), ("1M", "1h", 3), ("15m", "1m", 4), ("1w", "1d", 5),
     ("5m", "1m", 6), ("4h", "1h", 7), ("1h", "30m", 14)],
)  # fmt: skip
def test_a_few_bars_on_the_grid_of_a_longer_timeframe_are_bars_of_it(clean, check, real, asked, rows):
    """As many as would all lie there by chance once in ten thousand times."""
    for count in (rows, 19):
        with pytest.raises(QualityError, match=f"these look like bars of {real}, not {asked}"):
            check(clean(count, real).but(timeframe=asked), now=10**15)
    assert not check(clean(rows - 1, real).but(timeframe=asked), now=10**15).report["wrong_timeframe"].count


def test_a_few_bars_may_lack_some_and_still_are_longer_ones(clean, check):
    with pytest.raises(QualityError, match="these look like bars of 1d, not 1h"):
        check(clean(19, "1d")[[0, 3, 4, 11]].but(timeframe="1h"))


def test_few_bars_beside_every_longer_grid_prove_nothing(clean, check):
    late = at(clean, [7, *[5] * 19])[1:]
    assert len(check(late)) == 96
    with pytest.raises(QualityError, match="look like bars of 5m"):
        check(at(clean, [7, *[5] * 20])[1:])


@pytest.mark.parametrize("timeframe", ["1m", "1h", "1d"])
def test_a_quiet_market_is_no_longer_timeframe(clean, check, timeframe):
    """Bars come by chance, so rarely that hardly two follow each other; many such series, of a few bars each."""
    random = np.random.default_rng(3)
    for _ in range(300):
        steps = random.geometric(random.uniform(0.01, 0.3), random.integers(1, 19)).tolist()
        bars = at(clean, [int(random.integers(0, 1440)), *steps], timeframe)[1:]
        assert not check(bars, now=10**15).report["wrong_timeframe"].count, (timeframe, steps)


# ── what happened there ──────────────────────────────────────────────────────────────────────────────


def test_short_gaps_among_short_gaps_are_quiet_and_a_long_one_is_an_outage(clean, check):
    random = np.random.default_rng(0)
    quiet = random.random(3000) < 0.3
    quiet[1500:1530] = False
    bars = clean(3000)[~quiet]
    bars = without(bars, np.flatnonzero((bars.time >= START + 1500 * MINUTE) & (bars.time < START + 1530 * MINUTE)))
    kinds = Counter(gap.kind for gap in gaps_of(bars, check))
    assert kinds["outage"] == 1
    assert kinds["no_trades"] > 500
    (outage,) = [gap for gap in gaps_of(bars, check) if gap.kind == "outage"]
    assert outage.start <= START + 1500 * MINUTE < START + 1530 * MINUTE <= outage.end
    assert f"{outage.missing} bars in a row" in outage.evidence


def test_a_gap_has_its_evidence_in_words_and_as_json(clean, check):
    (gap,) = gaps_of(without(clean(200), range(100, 150)), check)
    assert gap.to_dict() == {"start": "2024-01-01T01:40:00Z", "end": "2024-01-01T02:30:00Z", "missing": 50, "class": "outage",
                             "evidence": gap.evidence, "filled": True}  # fmt: skip
    assert gap.evidence == "50 bars in a row; gaps here usually last 1, and quiet ones hardly over 8"


def stocks(clean, timeframe: str, weeks: int = 30, holidays: tuple[str, ...] = ()) -> Bars:
    """Bars as a stock exchange has them: Monday to Friday, 14:00 to 21:00 UTC, an hour earlier in summer."""
    frame = Timeframe(timeframe)
    bars = clean(weeks * 7 * DAY // frame.step, timeframe)
    day = ((bars.time // DAY) + 3) % 7
    summer = (bars.time >= parse_time("2024-03-10")) & (bars.time < parse_time("2024-11-03"))
    hour = bars.time % DAY // HOUR + summer
    keep = (day < 5) & ((hour >= 14) & (hour < 21) | (frame.step == DAY))
    for holiday in holidays:
        keep &= (bars.time < parse_time(holiday)) | (bars.time >= parse_time(holiday) + DAY)
    return bars[keep]


@pytest.mark.parametrize("timeframe", ["5m", "1h", "1d"])
def test_nights_weekends_and_holidays_of_a_stock_exchange_are_closed_and_not_filled(clean, check, timeframe):
    bars = stocks(clean, timeframe, holidays=("2024-01-15", "2024-02-19", "2024-03-29", "2024-05-27"))
    checked = check(bars)
    assert checked == bars
    finding = checked.report["gap"]
    assert (finding.count, finding.action) == (0, "")
    assert {gap.kind for gap in finding.gaps} == {"closed"}
    assert "gap" not in {each.check for each in checked.report}
    missing = sum(gap.missing for gap in finding.gaps)
    assert checked.report.notes == (
        f"{missing:,} bars in {len(finding.gaps)} stretches are hours at which this market is closed.",
    )
    assert len(check(bars, "strict")) == len(bars)


def test_holidays_have_their_own_evidence(clean, check):
    gaps = gaps_of(stocks(clean, "1d", holidays=("2024-01-17",)), check)
    (holiday,) = [gap for gap in gaps if gap.start == parse_time("2024-01-17")]
    assert "taken for holidays" in holiday.evidence
    assert all("most weeks" in gap.evidence for gap in gaps if gap is not holiday)


@pytest.mark.parametrize("timeframe", ["1h", "1d"])
@pytest.mark.parametrize("days", [14, 70])
def test_weeks_that_are_missing_are_no_holidays(clean, check, timeframe, days):
    bars = stocks(clean, timeframe)
    first = parse_time("2024-02-05")
    hole = bars[(bars.time < first) | (bars.time >= first + days * DAY)]
    finding = check(hole).report["gap"]
    (outage,) = [gap for gap in finding.gaps if gap.kind != "closed"]
    assert outage.kind == "outage"
    assert finding.count == outage.missing >= (days - 3) * DAY // Timeframe(timeframe).step


def test_an_hour_that_is_missing_in_open_hours_is_missing(clean, check):
    bars = stocks(clean, "5m")
    first = parse_time("2024-02-06T16:00")
    finding = check(bars[(bars.time < first) | (bars.time >= first + HOUR)]).report["gap"]
    (gap,) = [gap for gap in finding.gaps if gap.kind != "closed"]
    assert (gap.start, gap.end, gap.missing, gap.filled) == (first, first + HOUR, 12, True)


def test_in_a_market_that_never_closes_a_missing_day_is_missing(clean, check):
    bars = clean(24 * 60, "1h")
    finding = check(without(bars, range(480, 504))).report["gap"]
    assert (finding.count, finding.gaps[0].kind) == (24, "outage")


@pytest.mark.parametrize("share", [0.02, 0.05, 0.1, 0.5])
def test_thin_trading_is_no_closing_time(clean, check, share):
    bars = clean(60 * 24 * 28)
    thin = bars[np.random.default_rng(1).random(len(bars)) < share]
    finding = check(thin, "report").report["gap"]
    assert finding.count == (thin.time[-1] - thin.time[0]) // MINUTE + 1 - len(thin)
    assert "closed" not in {gap.kind for gap in finding.gaps}


def test_hours_that_do_hold_a_bar_now_and_then_are_not_closed(clean, check):
    bars = clean(24 * 7 * 20, "1h")
    night = bars.time % DAY // HOUR < 12
    week, hour = np.divmod((bars.time - START) // HOUR, 24 * 7)
    traded = bars[~night | ((hour + week) % 10 == 0)]  # each hour of a night in two weeks of twenty
    finding = check(traded, "report").report["gap"]
    assert finding.count == (traded.time[-1] - traded.time[0]) // HOUR + 1 - len(traded)


def test_a_few_bars_a_week_are_no_opening_hours(clean, check):
    finding = check(at(clean, [2000, 2000, 2000], "7m"), "report").report["gap"]
    assert (finding.count, {gap.kind for gap in finding.gaps} & {"closed"}) == (5997, set())


def test_a_market_with_a_short_pause_has_no_holidays(clean, check):
    bars = clean(24 * 7 * 20, "1h")
    pause = ((bars.time // DAY + 3) % 7 == 5) & (bars.time % DAY // HOUR < 2)
    first = parse_time("2024-02-06")
    finding = check(bars[~pause & ((bars.time < first) | (bars.time >= first + DAY))]).report["gap"]
    assert finding.count == 24
    assert [gap.start for gap in finding.gaps if gap.kind != "closed"] == [first]


def test_less_than_three_weeks_tell_no_closing_times(clean, check):
    bars = stocks(clean, "1h", weeks=2)
    assert "closed" not in {gap.kind for gap in gaps_of(bars, check)}


def test_a_weekly_pause_of_a_market_that_is_else_open_is_closed_time(clean, check):
    bars = clean(24 * 7 * 20, "1h")
    saturday = (bars.time // DAY + 3) % 7 == 5
    kept = bars[~(saturday & (bars.time % DAY // HOUR < 2))]
    finding = check(kept).report["gap"]
    assert (finding.count, len(finding.gaps), {gap.kind for gap in finding.gaps}) == (0, 20, {"closed"})


# ── real gaps ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pair", ["BTC-USD", "ETH-USD", "LTC-USD", "BTC-EUR"])
def test_the_outage_of_april_2018_is_one_in_every_pair(shared_data, check, pair):
    with open(shared_data / f"coinbase_{pair}_1m_2018-04-04_05.csv", newline="") as file:
        rows = list(csv.reader(file))[1:]
    columns = ([float(row[column]) for row in rows] for column in range(1, 6))
    bars = Bars([int(row[0]) for row in rows], *columns, symbol=pair, timeframe="1m")
    checked = check(bars)
    finding = checked.report["gap"]
    longest = max(finding.gaps, key=lambda gap: gap.missing)
    assert parse_time("2018-04-04T16:47") <= longest.start <= parse_time("2018-04-04T16:53")
    assert longest.end == parse_time("2018-04-05")
    assert (longest.kind, longest.filled) == ("outage", False)
    assert [gap.kind for gap in finding.gaps].count("outage") == 1
    assert {gap.kind for gap in finding.gaps if gap is not longest} <= {"no_trades"}
    assert all(gap.filled for gap in finding.gaps if gap is not longest)
    assert finding.count == (bars.time[-1] - bars.time[0]) // MINUTE + 1 - len(bars)
    if pair == "BTC-EUR":
        assert len(finding.gaps) > 20
