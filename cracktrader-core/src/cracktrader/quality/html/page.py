"""The page: what a reader should see first, first; then every finding with its rows and charts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import numpy as np

from cracktrader.bars import Bars, Flag
from cracktrader.quality.html.charts import BAND_WORDS, Mark, coverage_strip, mark_symbol, overview_chart, symbols
from cracktrader.quality.html.findings import finding_section
from cracktrader.quality.html.parts import VALUES, count_of, row_cells, sample_line, table_of, timed
from cracktrader.quality.html.scales import esc, moment
from cracktrader.quality.html.series import Overview, bands, coverage, overview
from cracktrader.quality.html.style import STYLE
from cracktrader.quality.report import Finding, QualityReport

__all__ = ["render"]

_QUARANTINED: Final = 50
_NOTES: Final = 30
_RANK: Final = {"error": 0, "warning": 1, "info": 2}
_ICONS: Final = {"good": "M3 8.5L6.5 12 13 4.5", "warning": "M8 3V9M8 12V12.6", "error": "M4 4L12 12M12 4L4 12"}


def render(report: QualityReport) -> str:
    """The report as one HTML page, complete in itself: no script, no file or address it refers to.

    With ``report.bars`` it has charts, without them (the report of a failed load) the tables alone. Whatever
    comes from outside, such as symbols, notes and provenance, is escaped.
    """
    found = sorted(report.found, key=lambda finding: _RANK[finding.severity])
    styles = {finding.check: n for n, finding in enumerate(finding for finding in found if not finding.gaps)}
    bars = None if report.bars is None else report.bars.in_order()
    title = f"{report.symbol or 'Bars'} {report.timeframe}: data quality"
    parts = [
        _heading(report, bars),
        _notes(report.notes),
        _overview(report, bars, found, styles),
        _findings(report, found),
        *(finding_section(report, bars, finding, nth, styles) for nth, finding in enumerate(found)),
        _quarantine(report),
        _origin(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">'
        '<meta name="referrer" content="no-referrer"><link rel="icon" href="data:,">'
        f"<title>{esc(title)}</title><style>{STYLE}</style></head><body>{symbols()}<main>{''.join(parts)}"
        "<footer>Made by cracktrader. All times are UTC; a bar's time is when it opens.</footer></main></body></html>\n"
    )


# ── the whole ────────────────────────────────────────────────────────────────────────────────────────


def _heading(report: QualityReport, bars: Bars | None) -> str:
    warnings = [finding for finding in report.found if finding.severity == "warning"]
    if report.errors:
        state, words = "error", count_of(len(report.errors), "check") + " found errors"
    elif warnings:
        state, words = "warning", "No errors, " + count_of(len(warnings), "warning")
    elif not report.findings:
        state, words = "warning", "Nothing was checked"
    else:
        state, words = "good", "Nothing wrong was found"
    icon = (
        f'<svg width="16" height="16" viewBox="0 0 16 16" aria-hidden="true"><path d="{_ICONS[state]}" fill="none" '
        'stroke="currentColor" stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></svg>'
    )
    facts = [("Source", esc(report.source or "not named")), *_range(report, bars)]
    rows = f"{report.rows_in:,}" + (f" → {report.rows_out:,} after checks" if report.rows_in != report.rows_out else ", all kept")
    facts += [("Rows", rows if report.rows_in else "none"), ("Preset", esc(report.preset))]
    if bars is not None:
        marked = {flag.name.lower(): int(np.count_nonzero(bars.flags & flag)) for flag in Flag if flag.name}
        if any(marked.values()):
            facts.append(("Flagged rows", ", ".join(f"{count:,} {name}" for name, count in marked.items() if count)))
    if len(report.quarantine):
        facts.append(("Quarantined", f"{len(report.quarantine):,}"))
    return (
        f"<header><h1>{esc(report.symbol or 'Bars')}<small>{esc(report.timeframe)}</small></h1>"
        f'<div class="verdict {state}">{icon}{words}</div></header>'
        f'<dl class="facts">{"".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in facts)}</dl>'
    )


def _range(report: QualityReport, bars: Bars | None) -> list[tuple[str, str]]:
    if bars is not None and len(bars):
        return [
            (
                "First and last bar",
                f"{moment(int(bars.time[0]), report.timeframe)} to {moment(int(bars.time[-1]), report.timeframe)}",
            )
        ]
    start, end = report.request.get("start"), report.request.get("end")
    if start or end:
        return [("Asked for", f"{esc(start or 'the first bar')} to {esc(end or 'now')}")]
    return []


def _notes(notes: Sequence[str]) -> str:
    if not notes:
        return ""
    items = [f"<li>{esc(note)}</li>" for note in notes[:_NOTES]]
    if len(notes) > _NOTES:
        items.append(f"<li>… and {len(notes) - _NOTES:,} more notes</li>")
    return f'<ul class="notes">{"".join(items)}</ul>'


def _overview(report: QualityReport, bars: Bars | None, found: Sequence[Finding], styles: Mapping[str, int]) -> str:
    if bars is None:
        return (
            '<section><p class="soft">There are no charts: the load failed, so this report came without its bars.</p></section>'
        )
    view = overview(bars) if len(bars) else None
    if view is None:
        why = "no bar has prices" if len(bars) else "there are no bars"
        return f'<section><p class="soft">There are no charts: {why}.</p></section>'
    gaps = report.findings["gap"].gaps if "gap" in report.findings else ()
    shaded = bands(gaps, view)
    marks = [
        Mark(styles[finding.check], time, float(sample["high"]), f"{finding.check}\n{sample_line(sample)}")
        for finding in found if finding.check in styles
        for time, sample in timed(finding)
    ]  # fmt: skip
    each = f"each candle is {view.frame}" if view.frame != bars.timeframe else "each candle is a bar"
    first, last = moment(view.start, view.frame), moment(view.end, view.frame)
    label = f"Candlestick chart of {report.symbol or 'the bars'} from {first} to {last}, {each}"
    left_out = [
        f"{count_of(view.remote, 'row')} too far from all others in time can't be drawn" if view.remote else "",
        f"{count_of(view.unpriced, 'row')} without finite prices can't be drawn" if view.unpriced else "",
    ]
    omitted = "".join(f'<p class="passed">{text}.</p>' for text in left_out if text)
    cover = coverage(bars, view, gaps)
    strip = coverage_strip(cover, view.flagged, view.candles) if cover is not None else ""
    return (
        f'<section><h2>The whole range <small class="soft">{each}</small></h2>{overview_chart(view, shaded, marks, label)}{strip}'
        f"{_legend(view, [band.kind for band in shaded], found, styles)}{omitted}</section>"
    )


def _legend(view: Overview, kinds: Iterable[str], found: Sequence[Finding], styles: Mapping[str, int]) -> str:
    filled = (view.candles.filled >= view.candles.rows).any()
    entries = ['<i class="swatch s-up"></i>up', '<i class="swatch s-down"></i>down']
    entries += ['<i class="swatch s-fill"></i>filled bars'] if filled else []
    there = set(kinds)
    entries += [f'<i class="swatch s-{kind}"></i>gap, {words}' for kind, words in BAND_WORDS.items() if kind in there]
    for finding in found:
        if finding.check in styles:
            few = f", the first {len(finding.samples)} of {finding.count:,}" if finding.count > len(finding.samples) else ""
            entries.append(f"{mark_symbol(styles[finding.check])}{esc(finding.check)}{few}")
    return f'<ul class="legend">{"".join(f"<li>{entry}</li>" for entry in entries)}</ul>'


def _findings(report: QualityReport, found: Sequence[Finding]) -> str:
    if not report.findings:
        return '<section><h2>Findings</h2><p class="soft">No check ran.</p></section>'
    passed = [esc(finding.check) for finding in report.findings.values() if not finding.count]
    silent = f'<p class="passed">{count_of(len(passed), "check")} found nothing: {", ".join(passed)}.</p>' if passed else ""
    if not found:
        return f"<section><h2>Findings</h2>{silent}</section>"
    rows = "".join(
        f'<tr><td><span class="pill {finding.severity}">{finding.severity}</span></td>'
        f'<td><a href="#f{n}">{esc(finding.check)}</a></td><td class="n">{finding.count:,}</td><td>{esc(finding.doc)}</td>'
        f'<td data-label="policy:">{esc(finding.policy)}</td><td data-label="done:">{esc(finding.action)}</td></tr>'
        for n, finding in enumerate(found)
    )
    return (
        '<section><h2>Findings</h2><table class="found"><thead><tr><th>Severity</th><th>Check</th><th class="n">Count</th>'
        f"<th>What it means</th><th>Policy</th><th>What was done</th></tr></thead><tbody>{rows}</tbody></table>{silent}</section>"
    )


# ── what was taken out, and where from ───────────────────────────────────────────────────────────────


def _quarantine(report: QualityReport) -> str:
    rows = report.quarantine.bars
    if rows is None or not len(report.quarantine):
        return ""
    lines = ""
    for row in range(min(len(report.quarantine), _QUARANTINED)):
        sample = {name: float(rows[name][row]) for name in VALUES}
        time = moment(int(rows.time[row]), report.timeframe)
        lines += f'<tr><td class="t">{time}</td><td>{esc(report.quarantine.reasons[row])}</td>{row_cells(sample)}</tr>'
    rest = len(report.quarantine) - _QUARANTINED
    more = f'<p class="passed">… and {rest:,} more.</p>' if rest > 0 else ""
    return (
        f'<section><h2>Quarantine</h2><p class="soft">{count_of(len(report.quarantine), "row")} taken out of the bars '
        f"and kept here, with the check that took each.</p>{table_of(('time', 'reason', *VALUES), lines)}{more}</section>"
    )


def _origin(report: QualityReport) -> str:
    known = {name: value for name, value in (("request", report.request), ("provenance", report.provenance)) if value}
    if not known:
        return ""
    text = json.dumps(known, indent=2, default=str, ensure_ascii=False)
    return f"<section><details><summary>Request and provenance</summary><pre>{esc(text, 40_000)}</pre></details></section>"
