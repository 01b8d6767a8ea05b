"""The report: counts by name, plain JSON, text, a terminal table, notes; it pickles and fails helpfully."""

import copy
import dataclasses
import json
import pickle

import numpy as np
import pytest
from rich.console import Console

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption, QualityError
from cracktrader.quality import CHECKS, CustomCheck, Finding, Gap, QualityReport, Quarantine, Validation
from cracktrader.quality.report import SAMPLES, finding_details

START = 1_704_067_200_000


@pytest.fixture(scope="module")
def dirty(clean, spoil, check) -> Bars:
    """Checked bars in which each kind of thing was found."""
    bars = spoil(clean(200), close={3: np.nan, 80: 200.0}, volume={5: -1.0, 6: np.inf}, low={9: -1.0}, high={12: 50.0})
    return check(bars[[*range(100), *range(104, 200)]], request={"symbol": "BTC/USDT", "start": "2023-12-31T00:00:00Z"})


def plain_json(report: QualityReport) -> dict:
    return json.loads(report.to_json(), parse_constant=pytest.fail)


# ── by name ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_check_is_asked_for_by_name(dirty):
    report = dirty.report
    assert report["gap"].count == 6
    assert report["negative_volume"].count == 1
    assert report["off_grid"].count == 0
    assert isinstance(report["gap"], Finding)


@pytest.mark.parametrize(
    ("name", "said"), [("gaps", "Did you mean 'gap'?"), ("volume", "Checks that ran: not_finite"), ("zzz", "gap.")]
)
def test_a_name_that_is_no_check_is_a_key_error_with_what_there_is(dirty, name, said):
    with pytest.raises(KeyError) as caught:
        dirty.report[name]
    assert f"No finding of {name!r}" in str(caught.value)
    assert said in str(caught.value)


def test_a_check_that_did_not_run_has_no_finding(clean, check):
    with pytest.raises(KeyError, match="Checks that ran: none"):
        check(clean(5), "off").report["gap"]
    with pytest.raises(KeyError, match="No finding of 'gap'"):
        check(clean(5), Validation(gap="ignore")).report["gap"]


def test_iterating_gives_what_was_found_and_errors_are_those_of_that_severity(dirty, clean, check):
    report = dirty.report
    assert list(report) == list(report.found)
    assert {finding.check for finding in report} == {
        "not_finite", "negative_volume", "non_positive_price", "ohlc_order", "extreme_move", "spike", "wick", "gap",
    } - ({"spike", "wick"} - {finding.check for finding in report})  # fmt: skip
    assert {finding.check for finding in report.errors} == {"not_finite", "negative_volume", "non_positive_price", "ohlc_order"}
    assert not report.ok
    assert check(clean(10)).report.ok
    assert check(clean(20)[[0, *range(2, 20)]]).report.ok  # a gap is a warning


def test_a_finding_knows_when_it_was_first(dirty):
    assert dirty.report["negative_volume"].first == "2024-01-01T00:05:00Z"
    assert dirty.report["gap"].first == "2024-01-01T00:03:00Z"
    assert dirty.report["off_grid"].first == ""


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────


def test_json_says_everything_without_nan(dirty):
    plain = plain_json(dirty.report)
    assert plain["source"] == "here"
    assert (plain["symbol"], plain["timeframe"], plain["preset"]) == ("BTC/USDT", "1m", "repair")
    assert (plain["rows_in"], plain["rows_out"], plain["ok"], plain["quarantined"]) == (196, 200, False, 2)
    assert plain["request"] == {"symbol": "BTC/USDT", "start": "2023-12-31T00:00:00Z"}
    assert (plain["first"], plain["last"]) == ("2024-01-01T00:00:00Z", "2024-01-01T03:19:00Z")
    assert plain["flags"]["filled"] == 6
    assert plain["flags"]["repaired"] == 4
    assert set(plain["flags"]) == {"filled", "repaired", "revised", "suspect"}
    findings = {finding["check"]: finding for finding in plain["findings"]}
    assert set(findings) == set(CHECKS)
    assert findings["not_finite"]["samples"][0]["close"] == "nan"
    assert findings["not_finite"]["samples"][1]["volume"] == "inf"
    assert findings["not_finite"]["samples"][1]["now"] == {"volume": 0.0}
    assert findings["gap"]["gaps"][-1] == {"start": "2024-01-01T01:40:00Z", "end": "2024-01-01T01:44:00Z", "missing": 4,
                                           "class": "no_trades", "evidence": findings["gap"]["gaps"][-1]["evidence"],
                                           "filled": True}  # fmt: skip
    assert findings["gap"]["limit"] == 60.0
    assert "gaps" not in findings["off_grid"]


def test_json_of_a_report_without_its_bars_lacks_only_what_they_tell(dirty):
    alone = dataclasses.replace(dirty.report, bars=None)
    assert set(plain_json(dirty.report)) - set(plain_json(alone)) == {"first", "last", "flags"}


def test_json_takes_whatever_a_plugin_put_into_the_provenance(clean, check):
    odd = {"nan": float("nan"), "inf": [np.inf, {"a": -np.inf}], "numpy": np.float64("nan"), "int": np.int64(3), 5: "five",
           "time": np.datetime64("2024-01-01"), "set": {1}, "bytes": b"x", "none": None, "tuple": (1, 2)}  # fmt: skip
    plain = plain_json(check(clean(3).but(provenance=odd)).report)["provenance"]
    assert plain["nan"] == plain["numpy"] == "nan"
    assert plain["inf"] == ["inf", {"a": "-inf"}]
    assert (plain["none"], plain["tuple"], plain["5"], plain["int"]) == (None, [1, 2], "five", "3")


def test_json_is_written_whole_where_it_is_told_to(dirty, tmp_path):
    path = tmp_path / "report.json"
    assert dirty.report.to_json(path) == path.read_text(encoding="utf-8")
    with pytest.raises(InvalidOption, match="There is no folder"):
        dirty.report.to_json(tmp_path / "none" / "report.json")
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.json"]


# ── text and terminal ────────────────────────────────────────────────────────────────────────────────


def test_text_has_a_headline_a_line_for_each_finding_and_its_first_rows(dirty):
    lines = dirty.report.to_text().splitlines()
    assert lines[0] == "BTC/USDT 1m from here: 196 rows, 200 after checks"
    assert str(dirty.report) == dirty.report.to_text()
    at = next(row for row, line in enumerate(lines) if "negative_volume" in line)
    assert lines[at].split(maxsplit=3) == ["error", "negative_volume", "1", "the volume is negative: repaired"]
    assert lines[at + 1].split()[0] == "2024-01-01T00:05:00Z"
    assert lines[at + 1].endswith("v=-1  (volume -> 0)")
    assert any("2024-01-01T01:40:00Z to 2024-01-01T01:44:00Z: 4 missing, no_trades, filled" in line for line in lines)
    passed = sum(not finding.count for finding in dirty.report.findings.values())
    assert f"  {passed} checks found nothing." in lines
    assert lines[-1].startswith("  note: Asked for bars from 2023-12-31T00:00:00Z; the first is of 2024-01-01T00:00:00Z")


def test_text_of_nothing_found_and_nothing_checked(clean, check):
    assert check(clean(3)).report.to_text() == "BTC/USDT 1m from here: 3 rows\n  16 checks found nothing."
    assert check(clean(3), "off").report.to_text() == "BTC/USDT 1m from here: 3 rows\n  Nothing was checked."
    one = Validation(preset="off", gap="warn")
    assert check(clean(3).but(symbol="", source=""), one).report.to_text() == "bars 1m: 3 rows\n  1 check found nothing."


def test_long_findings_show_the_first_rows_and_say_how_many_more(clean, spoil, check):
    finding = check(spoil(clean(100), volume=dict.fromkeys(range(40), -1.0))).report["negative_volume"]
    assert len(finding.samples) == SAMPLES
    details = finding_details(finding)
    assert len(details) == 6
    assert details[-1] == "… and 35 more"
    assert finding_details(finding, 3)[-1] == "… and 37 more"


def test_gaps_are_shown_longest_first_without_those_of_closed_hours():
    gaps = tuple(Gap(START + 60_000 * at, START + 60_000 * (at + n), n, kind, "") for at, n, kind in
                 [(1, 1, "no_trades"), (5, 3, "outage"), (9, 900, "closed"), (2000, 2, "no_trades")])  # fmt: skip
    finding = Finding("gap", "warning", "warn", "bars are missing", 6, gaps=gaps)
    assert [line.split(": ")[1] for line in finding_details(finding)] == [
        "3 missing, outage", "2 missing, no_trades", "1 missing, no_trades",
    ]  # fmt: skip
    assert finding_details(finding, 1) == [finding_details(finding)[0], "… and 2 more"]


def rendered(report: QualityReport, width: int = 160) -> str:
    console = Console(width=width, file=None, record=True, quiet=False, force_terminal=False)
    with console.capture() as capture:
        console.print(report)
    return capture.get()


def test_a_terminal_shows_a_table(dirty):
    text = rendered(dirty.report)
    assert "BTC/USDT 1m from here: 196 rows, 200 after checks" in text
    for finding in dirty.report:
        assert finding.check in text
        assert finding.action.split(",")[0] in text
    assert "of 16 checks found nothing." in text
    assert "Asked for bars from" in text
    assert rendered(dirty.report, 40)


def test_brackets_are_no_markup(clean, check):
    odd = CustomCheck("[red]x", lambda bars: bars.close > 0, doc="a [bold]doc[/bold] with [/nonsense]")
    bars = clean(3).but(symbol="X[/Y]", source="[/file]", provenance={"notes": ["a [/note]"]})
    text = rendered(check(bars, Validation(checks=odd)).report)
    for literal in ("X[/Y] 1m from [/file]: 3 rows", "[red]x", "a [bold]doc[/bold] with [/nonsense]", "a [/note]"):
        assert literal in text


def test_every_severity_has_a_colour(clean, check):
    for severity in ("info", "warning", "error"):
        report = check(clean(3), Validation(checks=CustomCheck("mine", lambda bars: bars.close > 0, severity))).report
        assert severity in rendered(report)


# ── notes ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_start_before_the_first_bar_is_noted_and_another_is_not(clean, check):
    bars = clean(5)
    assert check(bars, request={"start": "2023-12-31T00:00:00Z"}).report.notes == (
        "Asked for bars from 2023-12-31T00:00:00Z; the first is of 2024-01-01T00:00:00Z: the source has none before.",
    )
    for request in ({"start": "2024-01-01T00:00:00Z"}, {"start": None}, {}):
        assert check(bars, request=request).report.notes == ()
    assert check(clean(0), request={"start": "2023-12-31T00:00:00Z"}).report.notes == ()


@pytest.mark.parametrize(("notes", "expected"), [(["a", "b"], ("a", "b")), ("one note", ("one note",)), ((), ()), ([5], ("5",))])
def test_what_the_source_notes_is_told(clean, check, notes, expected):
    assert check(clean(5).but(provenance={"notes": notes})).report.notes == expected


# ── a value ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_report_pickles_with_everything_it_shows(dirty):
    report = dirty.report
    for same in (pickle.loads(pickle.dumps(report)), copy.deepcopy(report)):
        assert type(same) is QualityReport
        assert same.to_json() == report.to_json()
        assert same.to_text() == report.to_text()
        assert same.quarantine.bars == report.quarantine.bars
        assert same.bars == dirty
    assert pickle.loads(pickle.dumps(dirty)).report.to_json() == report.to_json()


def test_the_report_of_an_error_pickles(clean, spoil, check):
    with pytest.raises(QualityError) as caught:
        check(spoil(clean(10), close={3: np.nan}), "strict")
    same = pickle.loads(pickle.dumps(caught.value))
    assert str(same) == str(caught.value)
    assert same.report.to_json() == caught.value.report.to_json()


def test_a_report_can_not_be_changed_and_shares_nothing_that_can(clean, check):
    request = {"start": "2023-12-31T00:00:00Z"}
    report = check(clean(5), request=request).report
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.rows_in = 5
    request["start"] = "changed"
    assert report.request == {"start": "2023-12-31T00:00:00Z"}


def test_a_quarantine_of_nothing_is_empty(clean):
    assert len(Quarantine()) == len(Quarantine.of([])) == len(Quarantine.of([(clean(0), "gap")])) == 0
    kept = Quarantine.of([(clean(2), "a"), (clean(0), "b"), (clean(1), "c")])
    assert (len(kept), kept.reasons, len(kept.bars)) == (3, ("a", "a", "c"), 3)
