"""The report of a load: what each check saw, what was done, before and after."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from cracktrader.bars import Bars, Flag
from cracktrader.errors import did_you_mean
from cracktrader.times import isoformat

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cracktrader.quality.gaps import Gap
    from cracktrader.quality.validation import Policy, Severity
    from cracktrader.timeframe import Timeframe

__all__ = ["SAMPLES", "Finding", "QualityReport", "Quarantine"]

#: How many rows a finding shows.
SAMPLES: Final = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check saw: ``count`` rows, or missing bars, and what was done about them.

    ``samples`` are the first rows as the source sent them: ``time`` as ISO-8601 text, prices, ``volume``,
    and under ``now`` what became of changed values. ``gaps`` holds every gap, those of a closed market too,
    which ``count`` leaves out.
    """

    check: str
    severity: Severity
    policy: Policy
    doc: str
    count: int
    action: str = ""
    limit: float | None = None
    samples: tuple[Mapping[str, Any], ...] = ()
    gaps: tuple[Gap, ...] = ()

    @property
    def first(self) -> str:
        """When the first of it was, as ISO-8601 text; empty where there is none."""
        if self.samples:
            return str(self.samples[0]["time"])
        return next((isoformat(gap.start) for gap in self.gaps if gap.kind != "closed"), "")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        plain: dict[str, Any] = {"check": self.check, "severity": self.severity, "policy": self.policy, "doc": self.doc,
                                 "count": self.count, "action": self.action, "limit": self.limit,
                                 "samples": [dict(sample) for sample in self.samples]}  # fmt: skip
        return plain | ({"gaps": [gap.to_dict() for gap in self.gaps]} if self.gaps else {})


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Rows that were taken out, and for each the check that took it."""

    bars: Bars | None = None
    reasons: tuple[str, ...] = ()

    @classmethod
    def of(cls, removed: Sequence[tuple[Bars, str]]) -> Quarantine:
        """Put together from the rows of each check."""
        parts = [(rows, name) for rows, name in removed if len(rows)]
        if not parts:
            return cls()
        return cls(Bars.concat([rows for rows, _ in parts]), tuple(name for rows, name in parts for _ in range(len(rows))))

    def __len__(self) -> int:
        return len(self.reasons)


@dataclass(frozen=True)
class QualityReport:
    """What the checks of one load found and did.

    ``report["gap"].count`` is a finding's count, 0 where the check found nothing; a check that did not run
    has no finding. ``quarantine`` keeps the rows that were taken out. ``bars`` are the bars of the load
    where the report was reached through them.
    """

    source: str
    symbol: str
    timeframe: Timeframe
    preset: str
    rows_in: int
    rows_out: int
    findings: Mapping[str, Finding]
    quarantine: Quarantine = field(default_factory=Quarantine)
    request: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    bars: Bars | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "findings", dict(self.findings))
        object.__setattr__(self, "request", dict(self.request))
        object.__setattr__(self, "provenance", dict(self.provenance))

    def __getitem__(self, check: str) -> Finding:
        try:
            return self.findings[check]
        except KeyError:
            raise KeyError(
                f"No finding of {check!r}.{did_you_mean(check, self.findings)}"
                f" Checks that ran: {', '.join(self.findings) or 'none'}."
            ) from None

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.found)

    @property
    def found(self) -> tuple[Finding, ...]:
        """The findings that found something."""
        return tuple(finding for finding in self.findings.values() if finding.count)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Those of severity ``error``."""
        return tuple(finding for finding in self.found if finding.severity == "error")

    @property
    def ok(self) -> bool:
        """Whether nothing of severity ``error`` was found."""
        return not self.errors

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader should know besides the findings."""
        notes = []
        asked = self.request.get("start")
        if self.bars is not None and len(self.bars) and asked and isoformat(self.bars.time[0]) > asked:
            notes.append(
                f"Asked for bars from {asked}; the first is of {isoformat(self.bars.time[0])}: the source has none before."
            )
        gap = self.findings.get("gap")
        if gap and (shut := [g for g in gap.gaps if g.kind == "closed"]):
            notes.append(
                f"{sum(g.missing for g in shut):,} bars in {len(shut):,} stretches are hours at which this market is closed."
            )
        said = self.provenance.get("notes", ())
        notes += [said] if isinstance(said, str) else [str(note) for note in said]
        return tuple(notes)

    # ── as text, JSON and HTML ───────────────────────────────────────────────────────────────────────

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain JSON values."""
        plain: dict[str, Any] = {
            "source": self.source,
            "symbol": self.symbol,
            "timeframe": str(self.timeframe),
            "preset": self.preset,
            "request": dict(self.request),
            "rows_in": self.rows_in,
            "rows_out": self.rows_out,
            "ok": self.ok,
            "findings": [finding.to_dict() for finding in self.findings.values()],
            "quarantined": len(self.quarantine),
            "notes": list(self.notes),
            "provenance": dict(self.provenance),
        }
        if self.bars is not None and len(self.bars):
            plain |= {"first": isoformat(self.bars.time[0]), "last": isoformat(self.bars.time[-1])}
            plain["flags"] = {flag.name.lower(): int(np.count_nonzero(self.bars.flags & flag)) for flag in Flag if flag.name}
        return plain

    def to_json(self, path: str | Path | None = None) -> str:
        """The report as JSON text, also written to ``path`` where one is given."""
        text = json.dumps(_plain(self.to_dict()), indent=2, default=str, allow_nan=False)
        return _written(text, path)

    def to_html(self, path: str | Path | None = None) -> str:
        """The report as one self-contained HTML page with charts, also written to ``path`` where one is given."""
        from cracktrader.quality.html import render

        return _written(render(self), path)

    def to_text(self) -> str:
        """The report as lines of text."""
        lines = [self.headline]
        for finding in self.found:
            lines.append(f"  {finding.severity:<8} {finding.check:<20} {finding.count:>9,}  {finding.doc}: {finding.action}")
            lines += [f"           {line}" for line in finding_details(finding)]
        passed = len(self.findings) - len(self.found)
        lines.append(
            f"  {passed} check{'s' if passed != 1 else ''} found nothing." if self.findings else "  Nothing was checked."
        )
        return "\n".join([*lines, *(f"  note: {note}" for note in self.notes)])

    @property
    def headline(self) -> str:
        """One line: what, how many rows before and after."""
        rows = f"{self.rows_in:,} rows" + (f", {self.rows_out:,} after checks" if self.rows_out != self.rows_in else "")
        return f"{self.symbol or 'bars'} {self.timeframe}" + (f" from {self.source}" if self.source else "") + f": {rows}"

    def __str__(self) -> str:
        return self.to_text()

    def __rich__(self) -> RenderableType:
        from rich import box
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        # As Text, because symbols and checks of users may hold what reads as markup.
        table = Table(box=box.SIMPLE_HEAD, title=Text(self.headline), title_justify="left")
        for name in ("severity", "check", "count", "what", "done"):
            table.add_column(name, justify="right" if name == "count" else "left")
        colour = {"error": "red", "warning": "yellow", "info": "blue"}
        for f in self.found:
            what = "\n".join([f.doc, *finding_details(f, 3)])
            table.add_row(Text(f.severity, colour[f.severity]), Text(f.check), f"{f.count:,}", Text(what), Text(f.action))
        passed = len(self.findings) - len(self.found)
        return Group(table, Text(f"  {passed} of {len(self.findings)} checks found nothing.", "green"),
                     *(Text(f"  {note}", "dim") for note in self.notes))  # fmt: skip

    def bound_to(self, bars: Bars) -> QualityReport:
        """The same report, with the bars that it is about."""
        return replace(self, bars=bars)


def finding_details(finding: Finding, most: int = 5) -> list[str]:
    """The first rows or gaps of a finding, a line each; the longest gaps first."""
    if finding.gaps:
        gaps = sorted((gap for gap in finding.gaps if gap.kind != "closed"), key=lambda gap: -gap.missing)
        lines = [f"{isoformat(g.start)} to {isoformat(g.end)}: {g.missing:,} missing, {g.kind}{', filled' if g.filled else ''}"
                 for g in gaps]  # fmt: skip
    else:
        lines = [sample_line(sample) for sample in finding.samples]
    more = (len(lines) if finding.gaps else finding.count) - min(most, len(lines))
    return lines[:most] + ([f"… and {more:,} more"] if more > 0 else [])


def sample_line(sample: Mapping[str, Any]) -> str:
    """One row on one line, with what became of it."""
    values = " ".join(f"{name[0]}={sample[name]:.10g}" for name in ("open", "high", "low", "close", "volume"))
    now = ", ".join(f"{name} -> {value:.10g}" for name, value in sample.get("now", {}).items())
    return f"{sample['time']} {values}" + (f"  ({now})" if now else "")


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become text."""
    if isinstance(value, float) and not np.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _written(text: str, path: str | Path | None) -> str:
    if path is not None:
        from cracktrader.interchange import atomic_path

        with atomic_path(path) as temporary:
            Path(temporary).write_text(text, encoding="utf-8")
    return text
