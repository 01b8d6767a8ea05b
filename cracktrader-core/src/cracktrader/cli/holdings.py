"""What a catalog holds, as tables and as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cracktrader.catalog import Ledger, SeriesStore
from cracktrader.catalog.intervals import BEGINNING, Interval, Intervals, intersect
from cracktrader.errors import CatalogError
from cracktrader.quality.gaps import Gap
from cracktrader.times import isoformat

__all__ = ["details_table", "gaps_table", "in_detail", "in_short", "series_table"]

_WIDTH: Final = 24
#: A cell of the bar of coverage: nothing, some, all.
_BLOCKS: Final = "·▒█"
_PLAIN: Final = ".+#"
#: So many of the gaps of one series are shown, the longest.
_MOST: Final = 20


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────


def in_short(series: SeriesStore) -> dict[str, Any]:
    """A series in a line; what is wrong with its ledger under ``problem``."""
    said = series.key.to_dict() | {"folder": str(series), "problem": None}
    try:
        ledger = series.ledger()
    except CatalogError as error:
        ledger, said["problem"] = Ledger(series.key), error.message
    spans = [[None if start == BEGINNING else isoformat(start), isoformat(end)] for start, end in ledger.coverage]
    return said | {
        "first": None if ledger.first is None else isoformat(ledger.first),
        "last": None if ledger.last is None else isoformat(ledger.last),
        "bars": ledger.rows,
        "bytes": ledger.size,
        "coverage": spans,
    }


def in_detail(series: SeriesStore) -> dict[str, Any]:
    """All that is known of a series. Raises :class:`CatalogError`."""
    ledger = series.ledger()
    whole = json.loads(ledger.to_json())
    kept = ("files", "fetches", "revisions", "incidents", "provenance")
    return in_short(series) | {name: whole[name] for name in kept} | {"quarantine": series.quarantine()}


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────


def series_table(series: Sequence[SeriesStore], *, blocks: bool) -> RenderableType:
    """A line for each series, with a bar of its coverage; all bars are of the same time."""
    shown = [in_short(one) for one in series]
    ledgers = [one.ledger() if said["problem"] is None else Ledger(one.key) for one, said in zip(series, shown, strict=True)]
    span = _span(ledgers)
    title = f"coverage from {isoformat(span[0])[:10]} to {isoformat(span[1])[:10]}" if span[0] < span[1] else ""
    table = Table(box=box.SIMPLE_HEAD, caption=title, caption_justify="right")
    for name in ("source", "symbol", "timeframe", "first", "last"):
        table.add_column(name, no_wrap=name in ("first", "last"), overflow="fold")
    for name in ("bars", "size"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("coverage", no_wrap=True, min_width=_WIDTH)
    for said, ledger in zip(shown, ledgers, strict=True):
        drawn = _drawn(ledger.coverage, span, _BLOCKS if blocks else _PLAIN) if said["problem"] is None else "damaged"
        cells = (_source(said), said["symbol"], said["timeframe"], _day(said["first"]), _day(said["last"]))
        table.add_row(*map(Text, (*cells, f"{said['bars']:,}", _size(said["bytes"]), drawn)))
    problems = [Text(said["problem"], "red") for said in shown if said["problem"]]
    total = f"{len(shown):,} series, {sum(said['bars'] for said in shown):,} bars, {_size(sum(said['bytes'] for said in shown))}"
    return Group(table, Text(total), *problems)


def details_table(series: SeriesStore) -> RenderableType:
    """All that is known of a series. Raises :class:`CatalogError`."""
    said = in_detail(series)
    about = Table(box=None, show_header=False)
    about.add_column(no_wrap=True)
    about.add_column(overflow="fold")
    rows = {
        "folder": said["folder"],
        "bars": f"{said['bars']:,} in {_size(said['bytes'])}",
        "first, last": f"{said['first'] or ''}, {said['last'] or ''}",
        "covered": "; ".join(f"{start or 'the beginning'} to {end}" for start, end in said["coverage"]),
        "revised": f"{sum(file['rows'] for file in said['revisions']):,} bars",
        "quarantine": f"{len(said['quarantine']):,} rows",
        **{f"{name} (provenance)": str(value) for name, value in said["provenance"].items()},
    }
    for name, value in rows.items():
        about.add_row(Text(name, "dim"), Text(value))
    parts: list[RenderableType] = [Text(str(series.key), "bold"), about]
    files = [
        (one["name"], isoformat(one["first"]), isoformat(one["last"]), f"{one['rows']:,}", _size(one["bytes"]))
        for one in said["files"]
    ]
    parts.append(_table("file", "first", "last", "bars", "size", rows=files))
    fetches = [
        ("the beginning" if one["start"] is None else isoformat(one["start"]), isoformat(one["end"]), f"{one['rows']:,}",
         isoformat(one["at"]), f"{one['plugin']} {one['version']}".strip() + ("" if one["complete"] else ", broken off"))
        for one in said["fetches"][-_MOST:]
    ]  # fmt: skip
    parts.append(_table("fetched from", "to", "bars", "at", "by", rows=fetches))
    left = f"the last {_MOST} of {len(said['fetches']):,} records of fetches; --json has all"
    parts += [Text(left, "dim")] if len(said["fetches"]) > _MOST else []
    incidents = [(one["at"], one["file"], one["reason"]) for one in said["incidents"]]
    parts += [_table("damage", "file", "what", rows=incidents)] if incidents else []
    rows_out = [tuple(line.split(",", 6)[0::6]) for line in said["quarantine"][-_MOST:]]
    parts += [_table("in quarantine", "why", rows=rows_out)] if rows_out else []
    return Group(*parts)


def gaps_table(series: SeriesStore, gaps: Sequence[Gap]) -> RenderableType:
    """The longest gaps of a series, and how many there are of each class."""
    counts: dict[str, list[int]] = {}
    for gap in gaps:
        counts.setdefault(gap.kind, []).append(gap.missing)
    summary = ", ".join(f"{len(missing):,} {kind} ({sum(missing):,} bars)" for kind, missing in sorted(counts.items()))
    shown = sorted(sorted(gaps, key=lambda gap: -gap.missing)[:_MOST], key=lambda gap: gap.start)
    rows = [(isoformat(gap.start), isoformat(gap.end), f"{gap.missing:,}", gap.kind, gap.evidence) for gap in shown]
    left = f"the {_MOST} longest of {len(gaps):,}; --json has all" if len(gaps) > _MOST else ""
    parts = [_table("from", "to", "missing", "class", "evidence", rows=rows)] if rows else []
    return Group(Text(f"{series.key}: {summary or 'no gaps'}", "bold"), *parts, *([Text(left, "dim")] if left else []))


def _table(*columns: str, rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    for name in columns:
        numbers = name in ("bars", "size", "missing")
        table.add_column(name, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _source(said: Mapping[str, Any]) -> str:
    return " ".join([said["source"], *(f"{name}={value}" for name, value in said["identity"].items())])


def _day(time: str | None) -> str:
    return "" if time is None else time.partition("T")[0]


def _size(count: int) -> str:
    size, units = float(count), ["B", "kB", "MB", "GB", "TB"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


# ── the bar ──────────────────────────────────────────────────────────────────────────────────────────


def _span(ledgers: Sequence[Ledger]) -> Interval:
    """The time from the first to the last that is known of any series."""
    times = [time for ledger in ledgers for span in ledger.coverage for time in span if time != BEGINNING]
    times += [ledger.first for ledger in ledgers if ledger.first is not None]
    return (min(times), max(times)) if times else (0, 0)


def _drawn(coverage: Intervals, span: Interval, cells: str) -> str:
    edges = [span[0] + (span[1] - span[0]) * at // _WIDTH for at in range(_WIDTH + 1)]
    drawn = ""
    for start, end in pairwise(edges):
        covered = sum(stop - begin for begin, stop in intersect([(start, end)], coverage))
        drawn += cells[2 if covered == end - start else 1 if covered else 0]
    return drawn
