"""The pipeline: from bars as a source sent them to bars that were checked, with the report of what was seen.

First every row by itself and its time, then the rows in their order, then the checks of users and plugins,
then the gaps. Bars in which nothing is found come back as they were, uncopied.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import PluginBroken, QualityError
from cracktrader.quality.checks import (
    CONFIRM,
    ROW_CHECKS,
    SEQUENCE_CHECKS,
    Context,
    Mask,
    Rows,
    Window,
    finer_bars,
    robust_scale,
    windows,
)
from cracktrader.quality.gaps import Gap, coarser_bars, fill, find_gaps
from cracktrader.quality.report import SAMPLES, Finding, QualityReport, Quarantine
from cracktrader.quality.validation import CHECKS, CustomCheck, Policy, Validation
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, now_ms

__all__ = ["validate"]

_DONE: Final = {"warn": "flagged", "raise": "flagged", "repair": "repaired", "drop": "dropped", "quarantine": "quarantined"}


def validate(
    bars: Bars,
    validation: Validation | str | None = None,
    *,
    now: int | None = None,
    checks: Sequence[CustomCheck] = (),
    request: Mapping[str, Any] | None = None,
) -> Bars:
    """``bars`` checked and repaired as ``validation`` says; the report is in ``.report``.

    ``now`` is the source's clock in epoch milliseconds, the machine's if left out; ``checks`` are further
    checks, of plugins; ``request`` is what was asked for, for the report.

    Raises :class:`~cracktrader.errors.QualityError` where a check whose policy is ``raise`` found something,
    or too much would be lost; it carries the whole report.
    """
    rules = Validation.of(validation)
    rules = rules.with_checks(checks)
    names = [*CHECKS, *(custom.id for custom in rules.checks)]
    rules.refuse_unknown(tuple(names[len(CHECKS) :]))
    run = _Run(bars, rules, now_ms() if now is None else now)
    if any(rules.policy(name) != "ignore" for name in names):
        run.check_rows()
        run.check_order()
        run.check_sequence(rules.checks)
        run.check_gaps()
    return run.finish(request or {})


@dataclass
class _Run:
    """One load on its way through the pipeline: the bars as they are by now, and what was found so far."""

    bars: Bars
    rules: Validation
    now: int
    findings: dict[str, Finding] = field(default_factory=dict)
    removed: list[tuple[Bars, str]] = field(default_factory=list)
    rows_in: int = field(init=False)
    #: The bars before values were mended, while rows still have the same numbers.
    unmended: Bars | None = None
    #: Whether rows may be out of order, or times may occur twice.
    disordered: bool = False
    repeated: bool = False
    #: What the timeframe seems to be, where the bars stand at another step than theirs.
    seems: Timeframe | None = None

    def __post_init__(self) -> None:
        self.rows_in = len(self.bars)

    # ── the stages ───────────────────────────────────────────────────────────────────────────────────

    def check_rows(self) -> None:
        """Every row by itself, and its time against the grid, the clock and the row before."""
        context = Context(self.bars, self.now, {})
        wanted = {name for name in CHECKS if self._wanted(name)} | ({"off_grid"} if self._wanted("wrong_timeframe") else set())
        found = self._look(self.bars, {name: f for name, f in ROW_CHECKS.items() if name in wanted}, context)
        if self._wanted("wrong_timeframe"):
            found["wrong_timeframe"], self.seems = finer_bars(self.bars, found["off_grid"])
        if not self._wanted("off_grid"):
            found.pop("off_grid", None)
        self.disordered = bool(len(found.pop("unordered", ()))) or not self._wanted("unordered")
        self.repeated = bool(len(found.pop("duplicate_time", ()))) or not self._wanted("duplicate_time")
        self._repair_values(found)
        for name, rows in found.items():
            self._note(name, rows)
        self._remove(found)
        self.unmended = None

    def check_order(self) -> None:
        """Sort, and leave one row of each time; both only where the cheap look at neighbours found a reason."""
        none = np.empty(0, np.int64)
        if self._wanted("unordered"):
            time = self.bars.time
            late = np.flatnonzero(time < np.maximum.accumulate(time)) if self.disordered else none
            self._note("unordered", late)
            self._remove({"unordered": late})
            if len(late) and self._policy("unordered") == "repair":
                self.bars = self.bars[np.argsort(time, kind="stable")]
        if self._wanted("duplicate_time"):
            superseded = _superseded(self.bars.time) if self.disordered or self.repeated else none
            self._note("duplicate_time", superseded)
            self._remove({"duplicate_time": superseded})
            if len(superseded) and self._policy("duplicate_time") == "repair":
                self._keep_latest(superseded)

    def check_sequence(self, own: Sequence[CustomCheck]) -> None:
        """What only shows between rows. Rows that were left out of order are looked at in order.

        Bars that an earlier load filled in are not looked at, so that checking again finds what was found before.
        """
        order = self._from_the_source(self._order())
        bars = self.bars if order is None else self.bars[order]
        limits = {name: self.rules.limit(name) for name in SEQUENCE_CHECKS}
        scaled = self._wanted("spike") or self._wanted("wick")
        silent = not (bars.volume[:1].any() or bars.volume.any())
        context = Context(bars, self.now, limits, robust_scale(bars.close) if scaled else 0.0, silent)
        found = self._look(bars, {name: f for name, f in SEQUENCE_CHECKS.items() if self._wanted(name)}, context)
        with np.errstate(all="ignore"):
            found = {name: CONFIRM[name](rows, context) if name in CONFIRM else rows for name, rows in found.items()}
        for custom in own:
            if self._wanted(custom.id):
                found[custom.id] = _ask(custom, bars)
        if silent and len(found.get("zero_volume_run", ())):
            del found["zero_volume_run"]
            row = 0 if order is None else int(order[0])
            self._add("zero_volume_run", 1, action="no bar has a volume, so none is flagged", samples=(self._sample(row),))
        if order is not None:
            found = {name: np.sort(order[rows]) for name, rows in found.items()}
        for name, rows in found.items():
            self._note(name, rows, next((custom for custom in own if custom.id == name), None))
        self._remove(found)

    def check_gaps(self) -> None:
        """Missing bars: found, classified, and filled where the policy is to repair."""
        order = self._order()
        bars = self.bars if order is None else self.bars[order]
        longer = coarser_bars(bars)
        if longer is not None and self._wanted("wrong_timeframe") and self.seems is None:
            self.seems = longer
            self._note("wrong_timeframe", np.arange(len(self.bars)))
        if not self._wanted("gap"):
            return
        repair = self._policy("gap") == "repair" and order is None
        gaps, added = find_gaps(bars, self.rules.limit("gap"), may_fill=repair)
        if len(added):
            self.bars = fill(bars, added)
        open_market = [gap for gap in gaps if gap.kind != "closed"]
        filled = sum(gap.missing for gap in gaps if gap.filled)
        count = sum(gap.missing for gap in open_market)
        action = f"{filled:,} filled, {count - filled:,} left open" if filled else "left open" if count else ""
        self._add("gap", count, action=action, gaps=tuple(gaps))

    def finish(self, request: Mapping[str, Any]) -> Bars:
        """The bars with their report; raises where the policies say so."""
        report = QualityReport(
            source=self.bars.source,
            symbol=self.bars.symbol,
            timeframe=self.bars.timeframe,
            preset=self.rules.preset,
            rows_in=self.rows_in,
            rows_out=len(self.bars),
            findings=self.findings,
            quarantine=Quarantine.of([(rows, name) for rows, name in self.removed if self._policy(name) != "drop"]),
            request=request,
            provenance=self.bars.provenance,
        )
        self._raise_where_told(report)
        return self.bars.but(report=report)

    # ── their tools ──────────────────────────────────────────────────────────────────────────────────

    def _policy(self, name: str) -> Policy:
        return self.rules.policy(name)

    def _wanted(self, name: str) -> bool:
        return self._policy(name) != "ignore"

    @staticmethod
    def _look(bars: Bars, checks: Mapping[str, Callable[[Window, Context], Mask | None]], context: Context) -> dict[str, Rows]:
        """Each check's rows, in one walk over the windows."""
        seen: dict[str, list[Rows]] = {name: [] for name in checks}
        with np.errstate(all="ignore"):  # NaN and infinity are what is looked for
            for window in windows(bars):
                for name, look in checks.items():
                    mask = look(window, context)
                    if mask is not None and mask.any():
                        seen[name].append(np.flatnonzero(mask) + window.start)
        return {name: np.concatenate(rows) if rows else np.empty(0, np.int64) for name, rows in seen.items()}

    def _repair_values(self, found: dict[str, Rows]) -> None:
        """Mend what the row checks may mend; notes each value as it was."""
        changes: dict[str, NDArray[Any]] = {}

        def column(name: str) -> NDArray[Any]:
            return changes.setdefault(name, self.bars[name].copy())

        none = np.empty(0, np.int64)
        touched: list[Rows] = []
        if len(rows := found.get("not_finite", none)) and self._policy("not_finite") == "repair":
            unknown = rows[~np.isfinite(self.bars.volume[rows])]
            column("volume")[unknown] = 0.0
            touched.append(unknown)
        if len(rows := found.get("negative_volume", none)) and self._policy("negative_volume") == "repair":
            column("volume")[rows] = 0.0
            touched.append(rows)
        if len(rows := found.get("ohlc_order", none)) and self._policy("ohlc_order") == "repair":
            four = np.stack([self.bars[name][rows] for name in PRICES])
            column("high")[rows], column("low")[rows] = np.fmax.reduce(four), np.fmin.reduce(four)
            touched.append(rows)
        if touched:
            column("flags")[np.concatenate(touched)] |= np.uint8(Flag.REPAIRED)
            self.unmended, self.bars = self.bars, self.bars.but(**changes)

    def _keep_latest(self, superseded: Rows) -> None:
        """Take out the superseded rows; flag the survivors whose values differ from what they replaced."""
        keep = np.ones(len(self.bars), np.bool_)
        keep[superseded] = False
        latest = self.bars[keep]
        order = np.argsort(latest.time, kind="stable")
        survivor = order[np.searchsorted(latest.time[order], self.bars.time[superseded])]
        differs = np.zeros(len(superseded), np.bool_)
        for name in (*PRICES, "volume", *self.bars.extra):
            differs |= _differ(latest[name][survivor], self.bars[name][superseded])
        flags = latest.flags.copy()
        flags[survivor[differs]] |= np.uint8(Flag.REPAIRED)
        self.removed.append((self.bars[superseded[differs]], "duplicate_time"))
        self.bars = latest.but(flags=flags)

    def _remove(self, found: Mapping[str, Rows]) -> None:
        """Take out the rows of checks that drop or quarantine, as the source sent them; flag those of checks that warn."""
        sent = self.bars if self.unmended is None else self.unmended
        gone = np.zeros(len(self.bars), np.bool_)
        suspect = []
        for name, rows in found.items():
            policy = self._policy(name)
            if policy in ("warn", "raise"):
                suspect.append(rows)
            if policy in ("drop", "quarantine"):
                fresh = rows[~gone[rows]]
            elif policy == "repair" and name == "not_finite":  # a price can't be made up
                fresh = rows[self._unknown_price(rows)]
            else:
                continue
            if len(fresh):
                self.removed.append((sent[fresh], name))
                gone[fresh] = True
        if any(map(len, suspect)):
            flags = self.bars.flags.copy()
            flags[np.concatenate(suspect)] |= np.uint8(Flag.SUSPECT)
            self.bars = self.bars.but(flags=flags)
        if gone.any():
            self.bars = self.bars[~gone]

    def _order(self) -> Rows | None:
        """The ordered rows of bars that a policy left out of order or with duplicates, None where they are in order."""
        if not (self.disordered or self.repeated):
            return None
        time = self.bars.time
        if (np.diff(time) > 0).all():
            return None
        order = np.argsort(time, kind="stable")
        latest: Rows = order[np.append(np.diff(time[order]) > 0, True)]
        return latest

    def _from_the_source(self, order: Rows | None) -> Rows | None:
        """``order`` without the bars that were filled in; None where those are all bars in their order."""
        filled = (self.bars.flags & np.uint8(Flag.FILLED)).astype(np.bool_)
        if not filled.any():
            return order
        return np.flatnonzero(~filled) if order is None else order[~filled[order]]

    def _unknown_price(self, rows: Rows) -> Mask:
        """Which of ``rows`` came with a price that is not finite."""
        sent = self.bars if self.unmended is None else self.unmended
        known: Mask = np.logical_and.reduce(np.isfinite([sent[price][rows] for price in PRICES]))
        return ~known

    def _note(self, name: str, rows: Rows, custom: CustomCheck | None = None) -> None:
        """Add the finding of a check whose rows are indices into the bars as they are by now."""
        policy = self._policy(name)
        samples = tuple(self._sample(int(row)) for row in rows[:SAMPLES])
        action = _DONE[policy]
        if name == "not_finite" and policy == "repair" and (lost := int(np.count_nonzero(self._unknown_price(rows)))):
            action = f"{len(rows) - lost:,} repaired, {lost:,} quarantined" if lost < len(rows) else "quarantined"
        if name == "wrong_timeframe":
            action += f": {self._looks}"
        self._add(name, len(rows), action=action if len(rows) else "", samples=samples, custom=custom)

    @property
    def _looks(self) -> str:
        """What the timeframe seems to be."""
        return f"these look like bars of {self.seems}, not {self.bars.timeframe}"

    def _sample(self, row: int) -> dict[str, Any]:
        """One row as the source sent it and, where it differs, as it is now."""
        now = {name: float(self.bars[name][row]) for name in (*PRICES, "volume")}
        was = now if self.unmended is None else {name: float(self.unmended[name][row]) for name in now}
        sample: dict[str, Any] = {"time": isoformat(self.bars.time[row]), **was}
        changed = {name: value for name, value in now.items() if _differ(value, was[name])}
        return sample | ({"now": changed} if changed else {})

    def _add(self, name: str, count: int, *, action: str, samples: tuple[dict[str, Any], ...] = (),
             gaps: tuple[Gap, ...] = (), custom: CustomCheck | None = None) -> None:  # fmt: skip
        about = custom or CHECKS[name]
        limit = None if custom or CHECKS[name].limit is None else self.rules.limit(name)
        self.findings[name] = Finding(name, about.severity, self._policy(name), about.doc, count, action, limit, samples, gaps)

    def _raise_where_told(self, report: QualityReport) -> None:
        told = [f for f in self.findings.values() if f.policy == "raise" and f.count]
        lost = Counter({name: len(rows) for rows, name in self.removed if name != "unclosed"})
        label = f"{report.symbol or 'the bars'} {report.timeframe}" + (f" from {report.source!r}" if report.source else "")
        if self.seems is not None and any(f.check == "wrong_timeframe" for f in told):
            raise QualityError(
                f"The timeframe of {label} is wrong: {self._looks}.",
                hint=_how_to_load(self.seems, report.timeframe),
                report=report,
            )
        if told:
            what = "; ".join(f"{f.check}: {f.count:,} ({f.doc}), first at {f.first}" for f in told)
            raise QualityError(
                f"The checks of {label} found what may not be: {what}.",
                hint="See error.report; or let it be mended with validation='repair', or change the policy of these checks.",
                report=report,
            )
        if lost.total() > self.rules.max_loss * self.rows_in:
            worst = self.findings[lost.most_common(1)[0][0]]
            raise QualityError(
                f"The checks of {label} would take out {lost.total():,} of {self.rows_in:,} rows, most of them for"
                f" {worst.check} ({worst.doc}), first at {worst.first}.{_guess(worst.check, self)}",
                hint="Then it isn't the rows that are wrong, but the timeframe, the unit of the times, or the columns.",
                report=report,
            )


def _differ(one: Any, other: Any) -> Any:
    """Where two values differ; NaN does not differ from NaN."""
    return (one != other) & ((one == one) | (other == other))  # noqa: PLR0124


def _superseded(time: NDArray[np.int64]) -> Rows:
    """The rows whose time occurs again later in the array: all but the latest fetched of each."""
    order = np.argsort(time, kind="stable")
    ordered = time[order]
    return np.sort(order[:-1][ordered[1:] == ordered[:-1]])


def _guess(check: str, run: _Run) -> str:
    """What the timeframe might really be, where most bars are off its grid."""
    if check != "off_grid":
        return ""
    times = np.concatenate([rows.time for rows, name in run.removed if name == "off_grid"])
    steps = np.diff(np.unique(times))
    if not len(steps):
        return ""
    values, counts = np.unique(steps, return_counts=True)
    usual = int(values[counts.argmax()])
    if usual == run.bars.timeframe.step:
        first = int(times.min())
        late = (first - run.bars.timeframe.floor(first)) / 3_600_000
        return (
            f" They are {run.bars.timeframe} apart, but open {late:g} h after the grid: is their zone another one, or does the"
            " session begin then? off_grid='ignore' takes them as they are."
        )
    return f" They are usually {usual / 1000:g} s apart; {run.bars.timeframe} was asked for."


def _how_to_load(finer: Timeframe, asked: Timeframe) -> str:
    """How to get the bars that were asked for from finer ones, or that they can't be had."""
    if not finer.divides(asked):
        return f"Load timeframe={str(finer)!r}."
    times = (asked.step or 0) // (finer.step or 1)
    how = f"compression={times}" if times and finer * times == asked else f"bars.resample({str(asked)!r})"
    return f"Load timeframe={str(finer)!r}; {how} makes bars of {asked} of them."


def _ask(custom: CustomCheck, bars: Bars) -> Rows:
    """The rows that a check of a user or plugin marks."""
    if not len(bars):
        return np.empty(0, np.int64)
    try:
        mask = np.asarray(custom.find(bars))
    except Exception as error:
        raise PluginBroken(f"The check {custom.id!r} failed: {type(error).__name__}: {error}") from error
    if mask.shape != bars.time.shape or mask.dtype != np.bool_:
        raise PluginBroken(
            f"The check {custom.id!r} returned {mask.dtype} of shape {mask.shape}.",
            hint=f"It must return a mask: bool of shape {bars.time.shape}.",
        )
    return np.flatnonzero(mask)
