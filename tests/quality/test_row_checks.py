"""Checks of single rows: not_finite, non_positive_price, negative_volume, ohlc_order; each on bars with that fault alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Flag
from cracktrader.errors import QualityError
from cracktrader.quality import CHECKS, Validation

nan, inf = np.nan, np.inf
WINDOW = 16_384
#: One fault that no other check of rows sees: the check, what is written into a row, and what repair makes of it.
ALONE = [
    ("not_finite", {"volume": nan}, {"volume": 0.0}),
    ("not_finite", {"volume": inf}, {"volume": 0.0}),
    *(("not_finite", {price: nan}, None) for price in PRICES),
    ("not_finite", {"high": inf}, None),
    ("not_finite", dict.fromkeys((*PRICES, "volume"), nan), None),
    ("non_positive_price", {"low": 0.0}, None),
    ("non_positive_price", {"low": -5e-324}, None),
    ("non_positive_price", dict.fromkeys(PRICES, 0.0), None),
    ("non_positive_price", {"open": 1.0, "high": 2.0, "low": -1.0, "close": 1.5}, None),
    ("negative_volume", {"volume": -1.0}, {"volume": 0.0}),
    ("negative_volume", {"volume": -5e-324}, {"volume": 0.0}),
    ("ohlc_order", {"open": 101.0, "high": 100.0, "low": 99.0, "close": 99.5}, {"high": 101.0}),
    ("ohlc_order", {"open": 99.5, "high": 100.0, "low": 99.0, "close": 101.0}, {"high": 101.0}),
    ("ohlc_order", {"open": 98.0, "high": 100.0, "low": 99.0, "close": 99.5}, {"low": 98.0}),
    ("ohlc_order", {"open": 99.5, "high": 100.0, "low": 99.0, "close": 98.0}, {"low": 98.0}),
    ("ohlc_order", {"open": 100.0, "high": 99.0, "low": 101.0, "close": 100.0}, {"high": 101.0, "low": 99.0}),
    ("ohlc_order", {"open": 100.0, "high": np.nextafter(100.0, 0), "low": 99.0, "close": 99.0}, {"high": 100.0}),
]
alone = pytest.mark.parametrize(("name", "fault", "mended"), ALONE, ids=str)


def only(name: str, policy: str, **options) -> Validation:
    return Validation(preset="off", max_loss=1, **{name: policy}, **options)


def spoilt(clean, spoil, fault, rows=(3,), length=10):
    return spoil(clean(length), **{column: dict.fromkeys(rows, value) for column, value in fault.items()})


@alone
def test_a_fault_alone_is_found_by_its_check_and_by_no_other(clean, spoil, check, name, fault, mended):
    bars = spoilt(clean, spoil, fault, rows=(150,), length=300)
    report = check(bars, "report").report
    rows_and_times = list(CHECKS)[: list(CHECKS).index("unclosed") + 1]
    assert {each: report[each].count for each in rows_and_times} == dict.fromkeys(rows_and_times, 0) | {name: 1}


@alone
def test_ignore_neither_looks_nor_touches(clean, spoil, check, name, fault, mended):
    bars = spoilt(clean, spoil, fault)
    checked = check(bars, only(name, "ignore"))
    assert checked == bars
    assert name not in checked.report.findings


@alone
@pytest.mark.parametrize("policy", ["warn", "raise"])
def test_warn_and_raise_flag_the_row_and_leave_its_values(clean, spoil, check, name, fault, mended, policy):
    bars = spoilt(clean, spoil, fault, rows=(3, 7))
    if policy == "raise":
        with pytest.raises(
            QualityError, match=rf"found what may not be: {name}: 2 \(.*\), first at 2024-01-01T00:03:00Z"
        ) as caught:
            check(bars, only(name, policy))
        report = caught.value.report
        assert report.rows_out == 10
    else:
        checked = check(bars, only(name, policy))
        report = checked.report
        assert checked.flags.tolist() == [0, 0, 0, 8, 0, 0, 0, 8, 0, 0]
        assert checked.but(flags=bars.flags) == bars
    finding = report[name]
    assert (finding.count, finding.policy, finding.action, finding.severity) == (2, policy, "flagged", "error")
    assert [sample["time"] for sample in finding.samples] == ["2024-01-01T00:03:00Z", "2024-01-01T00:07:00Z"]
    assert all("now" not in sample for sample in finding.samples)
    np.testing.assert_array_equal([finding.samples[0][column] for column in fault], list(fault.values()))


@alone
@pytest.mark.parametrize("policy", ["drop", "quarantine"])
def test_drop_and_quarantine_take_the_row_out_as_it_came(clean, spoil, check, name, fault, mended, policy):
    bars = spoilt(clean, spoil, fault, rows=(0, 3, 9))
    checked = check(bars, only(name, policy))
    assert checked == bars[[1, 2, 4, 5, 6, 7, 8]]
    report = checked.report
    assert (report.rows_in, report.rows_out, report[name].count) == (10, 7, 3)
    assert report[name].action == {"drop": "dropped", "quarantine": "quarantined"}[policy]
    if policy == "drop":
        assert len(report.quarantine) == 0
        assert report.quarantine.bars is None
    else:
        assert report.quarantine.bars == bars[[0, 3, 9]]
        assert report.quarantine.reasons == (name,) * 3


@alone
def test_repair_mends_what_is_known_and_takes_out_what_is_not(clean, spoil, check, name, fault, mended):
    if not CHECKS[name].repair:
        return
    bars = spoilt(clean, spoil, fault)
    checked = check(bars, only(name, "repair"))
    finding = checked.report[name]
    assert finding.count == 1
    if mended is None:
        assert checked == bars[[0, 1, 2, 4, 5, 6, 7, 8, 9]]
        assert checked.report.quarantine.bars == bars[[3]]
        assert checked.report.quarantine.reasons == (name,)
        assert finding.action == "quarantined"
    else:
        assert checked == spoil(bars, flags={3: Flag.REPAIRED}, **{column: {3: value} for column, value in mended.items()})
        assert finding.action == "repaired"
        assert finding.samples[0]["now"] == mended
        np.testing.assert_array_equal([finding.samples[0][column] for column in mended], [fault[column] for column in mended])
        assert len(checked.report.quarantine) == 0


@alone
@pytest.mark.parametrize("row", [0, WINDOW - 1, WINDOW, 2 * WINDOW - 1, 2 * WINDOW, 2 * WINDOW + 4])
def test_a_fault_is_found_at_the_edges_of_windows_and_of_the_series(clean, spoil, check, name, fault, mended, row):
    bars = spoilt(clean, spoil, fault, rows=(row,), length=2 * WINDOW + 5)
    checked = check(bars, only(name, "warn"))
    assert np.flatnonzero(checked.flags).tolist() == [row]


def test_mended_and_lost_rows_of_one_check_are_counted_apart(clean, spoil, check):
    bars = spoil(clean(10), volume={1: nan, 2: nan, 5: nan}, close={5: inf, 8: nan})
    checked = check(bars, only("not_finite", "repair"))
    assert checked.report["not_finite"].action == "2 repaired, 2 quarantined"
    assert checked["id"].tolist() == [0, 1, 2, 3, 4, 6, 7, 9]
    assert checked.volume[[1, 2]].tolist() == [0, 0]
    np.testing.assert_array_equal(checked.report.quarantine.bars.volume, bars.volume[[5, 8]])


def test_a_sample_says_of_nan_only_that_it_is_nan(clean, spoil, check):
    report = check(spoil(clean(10), close={3: nan}, volume={3: -1.0})).report
    (sample,) = report["not_finite"].samples
    assert np.isnan(sample["close"])
    assert sample["now"] == {"volume": 0.0}


def test_a_row_that_goes_to_quarantine_is_kept_as_the_source_sent_it(clean, spoil, check):
    bars = spoil(clean(10), close={3: nan}, volume={3: -1.0}, low={4: -2.0}, high={4: 1.0}, flags={3: 4})
    quarantine = check(bars).report.quarantine
    assert quarantine.bars == bars[[3, 4]]
    assert quarantine.reasons == ("not_finite", "non_positive_price")


def test_a_price_that_is_not_finite_is_never_mended_into_one(clean, spoil, check):
    bars = spoil(clean(10), high={3: -inf}, low={5: inf})
    checked = check(bars, Validation(gap="ignore"))
    assert checked["id"].tolist() == [0, 1, 2, 4, 6, 7, 8, 9]
    assert checked.report.quarantine.bars == bars[[3, 5]]
    assert checked.report.quarantine.reasons == ("not_finite", "not_finite")


def test_order_is_mended_without_spreading_nan_where_nan_may_stay(clean, spoil, check):
    bars = spoil(clean(10), open={3: nan}, high={3: 98.0}, low={3: 102.0}, close={3: 100.0})
    checked = check(bars, Validation(not_finite="warn"))
    assert (checked.high[3], checked.low[3], checked.close[3]) == (102.0, 98.0, 100.0)
    assert np.isnan(checked.open[3])
    assert checked.flags[3] == Flag.REPAIRED | Flag.SUSPECT


def test_huge_and_tiny_prices_are_prices(clean, check):
    for factor in (1e300, 1e-300):
        bars = clean(100)
        bars = bars.but(**{name: bars[name] * factor for name in (*PRICES, "volume")})
        assert check(bars).report.found == ()
    largest = np.finfo(float).max
    most = clean(3).but(**{name: [largest] * 3 for name in (*PRICES, "volume")})
    assert check(most, "report").report["not_finite"].count == 0


def test_zero_volume_is_no_negative_volume(clean, spoil, check):
    assert check(spoil(clean(10), volume={3: 0.0, 4: -0.0})).report["negative_volume"].count == 0


def test_one_row_may_have_several_faults_and_is_taken_out_once(clean, spoil, check):
    bars = spoil(clean(10), open={3: nan}, low={3: -1.0}, high={3: 1.0}, volume={3: -1.0})
    report = check(bars, Validation(gap="ignore")).report
    counts = {finding.check: finding.count for finding in report.found}
    assert counts == {"not_finite": 1, "negative_volume": 1} | {
        k: v for k, v in counts.items() if k in ("non_positive_price", "ohlc_order")
    }
    assert (report.rows_out, len(report.quarantine)) == (9, 1)


values = st.sampled_from([nan, inf, -inf, 0.0, -1.0, 1.0, 99.0, 100.0, 101.0])


@given(st.lists(st.tuples(values, values, values, values, values), min_size=1, max_size=30))
def test_the_four_checks_agree_with_their_definitions_row_by_row(clean, check, rows):
    columns = dict(zip((*PRICES, "volume"), map(np.array, zip(*rows, strict=True)), strict=True))
    report = check(clean(len(rows)).but(**columns), "report").report
    bad = [not all(map(np.isfinite, row)) for row in rows]
    assert report["not_finite"].count == sum(bad)
    assert report["negative_volume"].count == sum(volume < 0 for *_, volume in rows)
    finite = [row for row, is_bad in zip(rows, bad, strict=True) if not is_bad]
    late = check(clean(len(finite)).but(**dict(zip(columns, np.array(finite).T.reshape(5, -1), strict=True))), "report").report
    assert late["non_positive_price"].count == sum(min(row[:4]) <= 0 for row in finite)
    assert late["ohlc_order"].count == sum(row[1] < max(row[:4]) or row[2] > min(row[:4]) for row in finite)
