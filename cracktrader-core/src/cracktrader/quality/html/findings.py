"""One finding: what it means, its first rows, the bars around the first few places."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from cracktrader.bars import PRICES, Bars
from cracktrader.quality.gaps import Gap
from cracktrader.quality.html.charts import Ghost, Mark, mark_symbol, zoom_chart
from cracktrader.quality.html.parts import VALUES, count_of, row_cells, sample_line, sample_time, table_of, timed
from cracktrader.quality.html.scales import esc, moment, number
from cracktrader.quality.html.series import LARGEST, Zoom, zoom
from cracktrader.quality.report import Finding, QualityReport
from cracktrader.quality.validation import CHECKS
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat

__all__ = ["finding_section"]

_ZOOMS: Final = 3  # charts of a finding
_LONGEST: Final = 10  # gaps in the table


def finding_section(report: QualityReport, bars: Bars | None, finding: Finding, nth: int, styles: Mapping[str, int]) -> str:
    """The ``nth`` finding as a section of the page; ``bars`` are the report's in order, or None."""
    key = mark_symbol(styles[finding.check]) if finding.check in styles else ""
    about = esc(finding.doc[:1].upper() + finding.doc[1:])
    if finding.limit is not None and finding.check in CHECKS:
        about += f" (limit {number(finding.limit)}: {esc(CHECKS[finding.check].limit_doc)})"
    done = f" Policy {esc(finding.policy)}: {esc(finding.action)}." if finding.action else ""
    body = _gaps(bars, finding, report.timeframe) if finding.gaps else _rows(report, bars, finding, styles.get(finding.check, 0))
    return (
        f'<section class="finding" id="f{nth}"><header>{key}<h3>{esc(finding.check)}</h3>'
        f'<span class="pill {finding.severity}">{finding.count:,}</span></header><p>{about}.{done}</p>{body}</section>'
    )


def _rows(report: QualityReport, bars: Bars | None, finding: Finding, style: int) -> str:
    """The first rows as a table, and the bars around the first few places."""
    rows = "".join(
        f'<tr><td class="t">{sample_time(sample, report.timeframe)}</td>{row_cells(sample)}</tr>' for sample in finding.samples
    )
    rest = finding.count - len(finding.samples)
    table = (
        table_of(("time", *VALUES), rows) + (f'<p class="passed">… and {rest:,} more.</p>' if rest > 0 else "") if rows else ""
    )
    if bars is None:
        return table
    places = timed(finding)
    views: list[Zoom] = []
    figures, ghostly = "", False
    for time, _ in places:
        if len(views) == _ZOOMS or any(view.times[0] <= time < view.times[-1] for view in views):
            continue
        if (view := zoom(bars, time, bars.timeframe.next(time))) is not None:
            views.append(view)
            inside = [(at, sample) for at, sample in places if view.times[0] <= at < view.times[-1]]
            marks = [Mark(style, at, float(sample["high"]), f"{finding.check}\n{sample_line(sample)}") for at, sample in inside]
            ghosts = _ghosts(report, view, inside)
            ghostly = ghostly or bool(ghosts)
            words = f"The bars around {moment(time, report.timeframe)}"
            figures += f"<figure><figcaption>{words}</figcaption>{zoom_chart(view, marks, ghosts, words)}</figure>"
    return table + _zooms(figures, ghostly)


def _zooms(figures: str, ghostly: bool = False) -> str:
    if not figures:
        return ""
    note = '<p class="passed"><i class="swatch s-ghost"></i> Dashed: taken out, or as it came before it was repaired.</p>'
    return f'<div class="zooms">{figures}</div>{note if ghostly else ""}'


def _ghosts(report: QualityReport, view: Zoom, samples: Iterable[tuple[int, Mapping[str, Any]]]) -> list[Ghost]:
    """Rows that were taken out around a place, and those of ``samples`` as they were before they were repaired."""
    ghosts = [
        Ghost(time, *_four(sample), f"as it came\n{sample_line(sample)}")
        for time, sample in samples
        if not set(PRICES).isdisjoint(sample.get("now", ()))
    ]
    if (rows := report.quarantine.bars) is not None:
        near = np.flatnonzero((rows.time >= view.times[0]) & (rows.time < view.times[-1]))[:200]
        for row in near.tolist():
            sample = {"time": isoformat(rows.time[row])} | {name: float(rows[name][row]) for name in VALUES}
            why = f"taken out: {report.quarantine.reasons[row]}"
            ghosts.append(Ghost(int(rows.time[row]), *_four(sample), f"{why}\n{sample_line(sample)}"))
    return [ghost for ghost in ghosts if all(price == 0 or 1 / LARGEST < abs(price) < LARGEST for price in ghost[1:5])]


def _four(sample: Mapping[str, Any]) -> tuple[float, float, float, float]:
    return float(sample["open"]), float(sample["high"]), float(sample["low"]), float(sample["close"])


def _gaps(bars: Bars | None, finding: Finding, frame: Timeframe) -> str:
    """The longest gaps as a table, and the bars around the first of them."""
    missed = [gap for gap in finding.gaps if gap.kind != "closed"]
    longest = heapq.nlargest(_LONGEST, missed, key=lambda gap: (gap.missing, -gap.start))
    rows = figures = ""
    for nth, gap in enumerate(longest):
        start, end, done = moment(gap.start, frame), moment(gap.end, frame), "filled" if gap.filled else "left open"
        rows += f'<tr><td class="t">{start}</td><td class="t">{end}</td><td class="n">{gap.missing:,}</td>'
        rows += f'<td class="t">{gap.kind.replace("_", " ")}</td><td class="t">{done}</td>'
        rows += f'<td class="long">{esc(gap.evidence)}</td></tr>'
        if bars is not None and nth < _ZOOMS and (view := zoom(bars, gap.start, gap.end)) is not None:
            words = f"{start}: {gap.missing:,} missing, {done}"
            figures += f"<figure><figcaption>{words}</figcaption>{zoom_chart(view, (), (), words)}</figure>"
    words = f'<p class="soft">{_classes(finding.gaps)}{" The longest:" if len(missed) > len(longest) else ""}</p>'
    return words + table_of(("from", "to", "missing", "class", "done", "evidence"), rows) + _zooms(figures)


def _classes(gaps: Sequence[Gap]) -> str:
    """How many gaps of each class, and how many bars are missing in them."""
    words = []
    for kind, one in (("outage", "outage"), ("no_trades", "stretch without trades"), ("closed", "stretch of closed market")):
        lost = [gap.missing for gap in gaps if gap.kind == kind]
        if lost:
            many = one.replace("stretch", "stretches") if "stretch" in one else f"{one}s"
            words.append(f"{len(lost):,} {one if len(lost) == 1 else many} ({count_of(sum(lost), 'bar')})")
    return ", ".join(words) + "."
