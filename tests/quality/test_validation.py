"""Validation: presets, overrides, limits, checks of one's own, and what is refused."""

import pickle

import numpy as np
import pydantic
import pytest

from cracktrader.errors import ConfigurationError, InvalidOption, PluginBroken, QualityError
from cracktrader.quality import CHECKS, Check, CustomCheck, Validation
from cracktrader.quality import check as custom

#: What each preset does about each check; a change here changes what users' data looks like.
POLICIES = {  #            repair        strict
    "not_finite": ("repair", "raise"),
    "non_positive_price": ("quarantine", "raise"),
    "negative_volume": ("repair", "raise"),
    "ohlc_order": ("repair", "raise"),
    "unordered": ("repair", "repair"),
    "duplicate_time": ("repair", "raise"),
    "off_grid": ("quarantine", "raise"),
    "wrong_timeframe": ("raise", "raise"),
    "future": ("quarantine", "raise"),
    "unclosed": ("drop", "drop"),
    "extreme_move": ("warn", "warn"),
    "spike": ("warn", "warn"),
    "wick": ("warn", "warn"),
    "flatline": ("warn", "warn"),
    "zero_volume_run": ("warn", "warn"),
    "gap": ("repair", "raise"),
}
LIMITS = {"extreme_move": 0.2, "spike": 20, "wick": 40, "flatline": 10, "zero_volume_run": 60, "gap": 60}


@custom("rising", severity="info")
def rising(bars):
    """The close is above the open.

    More about it.
    """
    return bars.close > bars.open


# ── presets and overrides ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", CHECKS)
def test_each_preset_has_its_policy_for_each_check(name):
    repair, strict = POLICIES[name]
    assert Validation().policy(name) == Validation(preset="repair").policy(name) == repair
    assert Validation(preset="strict").policy(name) == strict
    assert Validation(preset="report").policy(name) == "warn"
    assert Validation(preset="off").policy(name) == "ignore"


def test_the_checks_and_their_limits_are_those_of_the_design():
    assert list(CHECKS) == list(POLICIES)
    assert {name: info.limit for name, info in CHECKS.items() if info.limit is not None} == LIMITS
    assert all(info.limit_doc for name, info in CHECKS.items() if name in LIMITS)
    assert all((info.default == "repair") <= bool(info.repair) for info in CHECKS.values())
    assert {info.severity for info in CHECKS.values()} == {"error", "warning", "info"}


@pytest.mark.parametrize("preset", ["repair", "strict", "report", "off"])
@pytest.mark.parametrize("policy", ["ignore", "warn", "repair", "raise"])
def test_a_policy_overrides_the_preset_for_its_check_alone(preset, policy):
    rules = Validation(preset=preset, gap=policy)
    assert rules.policy("gap") == policy
    assert all(rules.policy(name) == Validation(preset=preset).policy(name) for name in CHECKS if name != "gap")


def test_a_check_overrides_policy_or_limit_or_both():
    assert Validation(gap=Check(limit=5)).policy("gap") == "repair"
    assert Validation(gap=Check(limit=5)).limit("gap") == 5
    assert Validation(gap=Check(policy="warn")).limit("gap") == 60
    both = Validation(preset="strict", extreme_move=Check(policy="raise", limit=0.3))
    assert (both.policy("extreme_move"), both.limit("extreme_move")) == ("raise", 0.3)
    assert Validation(gap={"policy": "warn", "limit": 3}).limit("gap") == 3


def test_true_and_false_leave_a_check_to_the_preset_or_turn_it_off():
    assert Validation(gap=False).policy("gap") == "ignore"
    assert Validation(gap=True).policy("gap") == "repair"
    assert Validation(preset="off", gap=True).policy("gap") == "ignore"


@pytest.mark.parametrize(
    ("value", "preset"),
    [(None, "repair"), (True, "repair"), (False, "off"), ("strict", "strict"), ("report", "report"), ("off", "off")],
)
def test_of_reads_presets_and_plain_yes_and_no(value, preset):
    assert Validation.of(value) == Validation(preset=preset)
    rules = Validation(gap="warn")
    assert Validation.of(rules) is rules


@pytest.mark.parametrize("value", ["stric", "", 5, ["strict"], {"gap": "warn"}])
def test_what_is_no_preset_is_quoted_and_refused(value):
    with pytest.raises(InvalidOption, match="is not a preset") as caught:
        Validation.of(value)
    assert repr(value) in caught.value.message
    assert "'strict', 'repair', 'report' or 'off'" in caught.value.hint


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"gap": "fill"}, "validation: gap: policy: Input should be 'ignore', 'warn'"),
        ({"gap": 5}, "validation: gap: "),
        ({"gap": {"polcy": "warn"}}, "validation: gap: polcy: Extra inputs are not permitted"),
        ({"gap": Check(policy="drop")}, "'gap' has no rows to drop: choose ignore, warn, repair or raise"),
        ({"gap": "quarantine"}, "'gap' has no rows to quarantine"),
        ({"unordered": "drop"}, "'unordered' has no rows to drop"),
        ({"spike": "repair"}, "nothing can repair 'spike': choose ignore, warn, drop, quarantine or raise"),
        ({"off_grid": "repair"}, "nothing can repair 'off_grid'"),
        ({"my_own": "repair"}, "nothing can repair 'my_own'"),
        ({"not_finite": {"limit": 3}}, "'not_finite' has no limit: give it a policy alone"),
        ({"my_own": {"limit": 3}}, "'my_own' has no limit"),
        ({"gap": {"limit": 0}}, "validation: gap: limit: Input should be greater than 0"),
        ({"gap": {"limit": -1}}, "greater than 0"),
        ({"gap": {"limit": float("nan")}}, "greater than 0"),
        ({"max_loss": 1.5}, "validation: max_loss: Input should be less than or equal to 1"),
        ({"max_loss": -0.1}, "max_loss"),
        ({"preset": "stric"}, "validation: preset: Input should be 'strict', 'repair', 'report' or 'off'"),
        ({"checks": 5}, "checks: 0: Input should be an instance of CustomCheck"),
        ({"checks": [lambda bars: bars.close > 0]}, "Input should be an instance of CustomCheck"),
    ],
)
def test_rules_that_make_no_sense_are_refused_with_what_there_is(options, said):
    with pytest.raises(InvalidOption) as caught:
        Validation(**options)
    assert said in caught.value.message
    assert "Policies: ignore, warn, repair, drop, quarantine, raise." in caught.value.hint
    assert all(name in caught.value.hint for name in CHECKS)
    assert isinstance(caught.value, ConfigurationError)


@pytest.mark.parametrize("name", CHECKS)
def test_repair_is_for_what_can_be_repaired(name):
    if CHECKS[name].repair:
        assert Validation(**{name: "repair"}).policy(name) == "repair"
    else:
        with pytest.raises(InvalidOption, match=f"nothing can repair '{name}'"):
            Validation(**{name: "repair"})


def test_unknown_checks_are_refused_when_all_checks_are_known(clean, check):
    with pytest.raises(InvalidOption, match=r"There is no check 'gaps'\. Did you mean 'gap'\?") as caught:
        check(clean(5), Validation(gaps="ignore"))
    assert "flatline" in caught.value.hint
    with pytest.raises(InvalidOption, match=r"There is no check 'risin'\. Did you mean 'rising'\?") as caught:
        check(clean(5), Validation(risin="ignore"), checks=[rising])
    assert "rising" in caught.value.hint
    with pytest.raises(InvalidOption, match="There is no check 'zzz'"):
        check(clean(0), Validation(preset="off", zzz="warn"))


def test_rules_are_frozen_and_pickle():
    rules = Validation(preset="strict", gap=Check(limit=3), checks=[rising], max_loss=0.1)
    with pytest.raises(pydantic.ValidationError):
        rules.preset = "off"
    assert pickle.loads(pickle.dumps(Validation(preset="strict", gap=Check(limit=3)))) == Validation(
        preset="strict", gap=Check(limit=3)
    )


# ── checks of one's own ──────────────────────────────────────────────────────────────────────────────


def test_the_decorator_makes_a_check_with_the_first_line_of_its_docstring():
    assert rising == CustomCheck("rising", rising.find, "info", "warn", "The close is above the open")
    assert custom("some_check")(lambda bars: None).doc == "some check"


@pytest.mark.parametrize("policy", ["ignore", "warn", "drop", "quarantine", "raise"])
@pytest.mark.parametrize("by", ["decorator", "override", "plugin", "plugin override"])
def test_a_check_of_ones_own_has_every_policy_from_wherever_it_comes(clean, check, policy, by):
    bars = clean(50)
    found = bars.close > bars.open
    mine = CustomCheck(
        "rising", lambda bars: bars.close > bars.open, "error", policy if by in ("decorator", "plugin") else "warn", "up"
    )
    override = {"rising": policy} if "override" in by else {}
    rules, plugins = (
        (Validation(max_loss=1, **override), [mine]) if "plugin" in by else (Validation(checks=mine, max_loss=1, **override), [])
    )
    if policy == "raise":
        with pytest.raises(QualityError, match=rf"rising: {found.sum()} \(up\), first at 2024-01-01T00:0") as caught:
            check(bars, rules, checks=plugins)
        assert caught.value.report["rising"].count == found.sum()
        return
    checked = check(bars, rules, checks=plugins)
    if policy == "ignore":
        assert "rising" not in checked.report.findings
        assert checked == bars
        return
    finding = checked.report["rising"]
    assert (finding.count, finding.severity, finding.policy, finding.doc, finding.limit) == (
        found.sum(),
        "error",
        policy,
        "up",
        None,
    )
    assert not checked.report.ok
    if policy == "warn":
        assert checked.flags.tolist() == (found * 8).tolist()
    else:
        kept = checked[checked.flags == 0]  # the holes are filled
        assert kept == bars[~found]
        quarantine = checked.report.quarantine
        assert (quarantine.bars == bars[found]) if policy == "quarantine" else len(quarantine) == 0
        assert set(quarantine.reasons) == ({"rising"} if policy == "quarantine" else set())


def test_the_presets_report_and_off_hold_for_checks_of_ones_own_too(clean, check):
    strict = CustomCheck("mine", lambda bars: bars.close > 0, policy="raise")
    assert check(clean(5), Validation(preset="report", checks=strict)).report["mine"].policy == "warn"
    assert "mine" not in check(clean(5), Validation(preset="off", checks=strict)).report.findings
    with pytest.raises(QualityError, match="mine: 5"):
        check(clean(5), Validation(preset="strict", checks=strict))


def test_it_sees_ordered_bars_without_bad_prices_before_gaps_are_filled(clean, spoil, check):
    seen = []
    look = CustomCheck("look", lambda bars: seen.append(bars) or np.zeros(len(bars), bool))
    raw = spoil(clean(20), close={3: np.nan}, low={5: -1}, volume={7: np.inf})[[9, *range(9), *range(9, 20)]]
    check(raw, Validation(checks=look))
    bars = seen[0]
    assert bars["id"].tolist() == [row for row in range(20) if row not in (3, 5)]
    assert bars.volume[5] == 0


def test_it_sees_ordered_bars_where_order_is_left_as_it_is(clean, check):
    seen = []
    look = CustomCheck("look", lambda bars: seen.append(bars["id"].tolist()) or bars["id"] == 3)
    checked = check(clean(6)[[3, 0, 4, 4, 5, 1]], Validation(preset="report", checks=look))
    assert seen == [[0, 1, 3, 4, 5]]
    assert checked["id"][checked.flags & 8 > 0].tolist() == [3, 0, 4, 1]  # the check's own, unordered, duplicate
    assert checked.report["look"].samples[0]["time"] == "2024-01-01T00:03:00Z"


def test_it_is_not_asked_about_no_bars(check, clean):
    never = CustomCheck("never", lambda bars: 1 / 0)
    assert check(clean(0), Validation(checks=never)).report["never"].count == 0


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda bars: 1 / 0, "The check 'mine' failed: ZeroDivisionError: division by zero"),
        (lambda bars: bars.close, r"The check 'mine' returned float64 of shape \(5,\)"),
        (lambda bars: np.zeros(4, bool), r"The check 'mine' returned bool of shape \(4,\)"),
        (lambda bars: None, r"The check 'mine' returned object of shape \(\)"),
        (lambda bars: bars.close.__setitem__(0, 1), "The check 'mine' failed: ValueError: assignment destination is read-only"),
    ],
)
def test_a_check_that_fails_or_answers_nonsense_is_named(clean, check, answer, said):
    with pytest.raises(PluginBroken, match=said):
        check(clean(5), Validation(checks=CustomCheck("mine", answer)))


def test_a_list_of_truths_is_a_mask(clean, check):
    assert check(clean(3), Validation(checks=CustomCheck("mine", lambda bars: [True, False, True]))).flags.tolist() == [8, 0, 8]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"id": "gap"}, "There is a built-in check 'gap' already"),
        ({"id": "mine", "policy": "repair"}, "can't have the policy 'repair'"),
        ({"id": "mine", "policy": "explode"}, "can't have the policy 'explode'"),
        ({"id": "mine", "severity": "fatal"}, "There is no severity 'fatal'"),
    ],
)
def test_a_check_that_could_not_work_is_refused_where_it_is_made(options, said):
    with pytest.raises(InvalidOption, match=said):
        custom(**options)(lambda bars: bars.close > 0)
    with pytest.raises(InvalidOption, match=said):
        CustomCheck(find=lambda bars: bars.close > 0, **options)


def test_two_checks_of_one_name_are_refused_but_the_same_one_twice_is_one(clean, check):
    other = CustomCheck("rising", lambda bars: bars.close > 0)
    for rules, plugins in ((Validation(checks=[rising]), [other]), (Validation(), [rising, other])):
        with pytest.raises(InvalidOption, match="There are two checks called 'rising'"):
            check(clean(5), rules, checks=plugins)
    with pytest.raises(InvalidOption, match="there are two checks called 'rising'"):
        Validation(checks=[rising, other])
    assert check(clean(5), Validation(checks=[rising]), checks=[rising]).report["rising"].count == 2


# ── the safety catch ─────────────────────────────────────────────────────────────────────────────────


def test_a_load_that_would_lose_too_much_fails_with_the_reason(clean, spoil, check):
    bars = spoil(clean(10), low=dict.fromkeys(range(6), -1.0))
    with pytest.raises(QualityError, match="would take out 6 of 10 rows") as caught:
        check(bars)
    assert caught.value.message == (
        "The checks of BTC/USDT 1m from 'here' would take out 6 of 10 rows, most of them for non_positive_price"
        " (a price is zero or negative), first at 2024-01-01T00:00:00Z."
    )
    assert "the timeframe, the unit of the times, or the columns" in caught.value.hint
    assert caught.value.report["non_positive_price"].count == 6
    assert len(caught.value.report.quarantine) == 6


@pytest.mark.parametrize(
    ("lost", "share", "fails"), [(5, 0.5, False), (6, 0.5, True), (1, 0, True), (10, 1, False), (2, 0.1, True)]
)
def test_the_share_that_may_be_lost_is_the_users(clean, spoil, check, lost, share, fails):
    bars = spoil(clean(10), low=dict.fromkeys(range(lost), -1.0))
    if fails:
        with pytest.raises(QualityError, match=f"would take out {lost} of 10 rows"):
            check(bars, Validation(max_loss=share))
    else:
        assert len(check(bars, Validation(max_loss=share))) == 10 - lost


def test_rows_of_other_values_at_the_same_time_are_a_loss(clean, check):
    """As where hourly rows bear only their date, or a file holds several series."""
    hours = clean(120, "1h")
    days = hours.but(time=hours.time // 86_400_000 * 86_400_000, timeframe="1d")
    with pytest.raises(QualityError, match="would take out 115 of 120 rows, most of them for duplicate_time"):
        check(days)
    revised = hours[np.repeat(np.arange(10), 2)]
    revised = revised.but(volume=np.arange(20.0))
    assert check(revised).report["duplicate_time"].count == 10


def test_copies_and_the_unclosed_bar_are_no_loss(clean, check):
    twice = clean(10)[np.repeat(np.arange(10), 10)]
    assert len(check(twice, Validation(max_loss=0))) == 10
    one = clean(1)
    assert len(check(one, Validation(max_loss=0), now=int(one.time[0]))) == 0


@pytest.mark.parametrize(
    ("real", "asked", "guess"),
    [
        ("1m", "1h", "They are usually 60 s apart; 1h was asked for."),
        ("1h", "1d", "They are usually 3600 s apart; 1d was asked for."),
        ("1d", "1w", "They are usually 86400 s apart; 1w was asked for."),
        ("1d", "1M", "They are usually 86400 s apart; 1M was asked for."),
    ],
)
def test_too_great_a_loss_to_a_wrong_timeframe_is_explained(clean, check, real, asked, guess):
    with pytest.raises(QualityError, match="most of them for off_grid") as caught:
        check(clean(200, real).but(timeframe=asked), Validation(wrong_timeframe="ignore"))
    assert caught.value.message.endswith(guess)


@pytest.mark.parametrize(("hours", "timeframe", "late"), [(5, "1d", "5"), (0.5, "1h", "0.5"), (-8, "1d", "16"), (24, "1w", "24")])
def test_a_grid_that_begins_elsewhere_is_told_as_such(clean, check, hours, timeframe, late):
    bars = clean(50, timeframe)
    moved = bars.but(time=bars.time + int(hours * 3_600_000))
    with pytest.raises(QualityError, match=rf"They are {timeframe} apart, but open {late} h after the grid"):
        check(moved)
    assert len(check(moved, Validation(off_grid="ignore"))) == 50
