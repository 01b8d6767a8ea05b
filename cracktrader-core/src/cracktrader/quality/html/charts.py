"""Charts as inline SVG: candles, volume, gaps and marks, of fluid width and fixed height.

A chart is an ``svg`` without a view box. Its candles are in an inner one that is stretched to the width; marks and
text are outside of that, placed by percent, so that they keep their shape on a phone and on paper. Colours come
from the page's style sheet, light or dark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cracktrader.quality.html.scales import Axis, Floats, esc, moment, number, place, price_axis, time_ticks
from cracktrader.quality.html.series import WIDTH, Band, Candles, Coverage, Overview, Zoom

__all__ = ["BAND_WORDS", "SHAPES", "Ghost", "Mark", "coverage_strip", "mark_symbol", "overview_chart", "symbols", "zoom_chart"]

#: Shapes of marks, drawn around the origin.
SHAPES: Final = (
    "M0-5.5L5-.5 0 4.5-5-.5Z", "M0-5.5L5 3.5H-5Z", "M-4.5-4.5H4.5V4.5H-4.5Z", "M0 5.5L5-3.5H-5Z",
    "M0-5A5 5 0 1 1-.01-5Z", "M-5-2H-2V-5H2V-2H5V2H2V5H-2V2H-5Z",
    "M0-6L1.6-2 5.7-1.9 2.5.8 3.6 4.9 0 2.5-3.6 4.9-2.5.8-5.7-1.9-1.6-2Z", "M-5-5L0-2 5-5V5L0 2-5 5Z",
)  # fmt: skip
COLOURS: Final = 7
BAND_WORDS: Final = {"filled": "filled", "open": "left open", "closed": "market closed"}


class Mark(NamedTuple):
    """A mark of the ``style``-th finding at a time, above ``price``, which may be no number."""

    style: int
    time: int
    price: float
    label: str


class Ghost(NamedTuple):
    """A candle that is not in the bars any more: taken out, or as it was before it was repaired."""

    time: int
    open: float
    high: float
    low: float
    close: float
    label: str


def symbols() -> str:
    """The shapes and patterns that all charts of the page use."""
    shapes = "".join(f'<path id="s{n}" d="{shape}"/>' for n, shape in enumerate(SHAPES))
    hatch = '<pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
    return (
        f'<svg class="defs" aria-hidden="true"><defs>{shapes}<path id="edge" d="M0-4L4 3H-4Z"/>'
        f'{hatch}<rect width="6" height="6" class="b-open"/><path d="M0 0V6" class="hatch"/></pattern></defs></svg>'
    )


def mark_symbol(style: int) -> str:
    """The mark of a finding for use in text."""
    return f'<svg class="key" width="14" height="14" viewBox="-7 -7 14 14" aria-hidden="true">{_use(style)}</svg>'


def _use(style: int, where: str = "", label: str = "") -> str:
    title = f"<title>{esc(label)}</title>" if label else ""
    return f'<use href="#s{style % len(SHAPES)}" class="m m{style % COLOURS}" {where}>{title}</use>'


# ── the two charts ───────────────────────────────────────────────────────────────────────────────────


def overview_chart(view: Overview, shaded: Sequence[Band], marks: Sequence[Mark], label: str) -> str:
    """The whole series with its volume, the gaps as bands, the findings as marks."""
    candles = view.candles
    axis = price_axis(candles.low, candles.high, 22.0, 300.0, reach=1.0, steep=5)
    ticks = [(view.x(time), text) for time, text in time_ticks(view.start, view.end, 8)]
    hits = _hits(candles, 376.0, [
        f"{moment(t)}, {view.frame}\n{_prices(o, h, low, c, v)}\n{rows:,} row{'s' if rows != 1 else ''}"
        + (f", {filled:,} filled" if filled else "")
        for t, o, h, low, c, v, rows, filled in _rows(candles)
    ])  # fmt: skip
    placed: dict[tuple[int, int], tuple[float, float, Mark]] = {}
    for mark in marks:
        x, row = view.x(mark.time), view.candle_at(mark.time)
        slot = round(x / 12)
        if 0 <= x <= WIDTH and (slot, mark.style) not in placed:  # one of a kind says enough
            above = sum(near == slot for near, _ in placed)
            y = max(8.0, axis.y(float(np.fmax(mark.price, candles.high[row]))) - 10 - 12 * above)
            placed[slot, mark.style] = x, y, mark
    clipped = _clipped((candles.left + candles.right) / 2, candles.low, candles.high, axis)
    gaps = "".join(_band(band, 376) for band in shaded)
    return _chart(376, axis, ticks, candles, label, (312.0, 372.0), gaps, hits, clipped + _marks(placed.values()))


def zoom_chart(view: Zoom, marks: Sequence[Mark], ghosts: Sequence[Ghost], label: str) -> str:
    """The bars around one place; ``ghosts`` in outline."""
    candles = view.candles
    low = np.append(candles.low, [ghost.low for ghost in ghosts])
    high = np.append(candles.high, [ghost.high for ghost in ghosts])
    axis = price_axis(low, high, 20.0, 168.0, reach=4.0, steep=20)
    start, end = int(view.times[0]), int(view.times[-1])
    ticks = [(view.x(time), text) for time, text in time_ticks(start, end, 7)]
    hits = _hits(candles, 206.0, [
        f"{moment(t)}\n{_prices(o, h, low, c, v)}" + ("\nfilled" if filled else "")
        for t, o, h, low, c, v, _, filled in _rows(candles)
    ])  # fmt: skip
    places = [view.x(mark.time) + view.width / 2 for mark in marks]
    heights = [max(8.0, axis.y(mark.price) - 9) if np.isfinite(mark.price) else 160.0 for mark in marks]
    middle = np.append((candles.left + candles.right) / 2, [view.x(ghost.time) + view.width / 2 for ghost in ghosts])
    above = _clipped(middle, low, high, axis) + _marks(zip(places, heights, marks, strict=True))
    gaps = "".join(_band(band, 206) for band in view.bands)
    return _chart(206, axis, ticks, candles, label, (174.0, 204.0), gaps, hits + _ghosts(view, axis, ghosts), above)


def _chart(
    height: int, axis: Axis, ticks: Iterable[tuple[float, str]], candles: Candles, label: str, volume: tuple[float, float],
    below: str, inside: str, above: str,
) -> str:  # fmt: skip
    """Grid, axes and candles; with what goes ``below`` them, what is stretched with them, and what goes ``above``."""
    grid, prices, times, last = "", "", "", -WIDTH
    for value, text in axis.ticks():
        y = axis.y(value)
        grid += f'<line x2="100%" y1="{place(y)}" y2="{place(y)}"/>'
        prices += f'<text x="100%" dx="6" y="{place(y + 4)}">{text}</text>'
    prices += '<text x="100%" dx="6" y="10">log scale</text>' if axis.log else ""
    for n, (x, text) in enumerate(tick for tick in ticks if 0 <= tick[0] <= WIDTH):
        if x - last > 70:
            style = "alt" if n % 2 else "first" if x < 25 else ""
            grid += f'<line x1="{_percent(x)}" x2="{_percent(x)}" y2="{height}"/>'
            times += f'<text class="{style}" x="{_percent(x)}" y="{height + 15}">{text}</text>'
            last = x
    stretched = (
        f'<svg class="in" width="100%" height="{height}" viewBox="0 0 {WIDTH:g} {height}" preserveAspectRatio="none">'
        f"{_bodies(candles, axis)}{_volume(candles, *volume)}{inside}</svg>"
    )
    return (
        f'<div class="chart"><svg role="img" aria-label="{esc(label)}" width="100%" height="{height + 20}">'
        f'<g class="grid">{grid}</g>{below}{stretched}{above}'
        f'<g class="prices">{prices}</g><g class="times">{times}</g></svg></div>'
    )


# ── their parts ──────────────────────────────────────────────────────────────────────────────────────


def _percent(x: float) -> str:
    return f"{x / WIDTH * 100:.2f}%"


def _prices(open: float, high: float, low: float, close: float, volume: float) -> str:
    return f"O {number(open)}  H {number(high)}  L {number(low)}  C {number(close)}  V {number(volume)}"


def _rows(candles: Candles) -> Iterable[tuple[int, float, float, float, float, float, int, int]]:
    c = candles
    columns = (c.time, c.open, c.high, c.low, c.close, c.volume, c.rows, c.filled)
    return zip(*(column.tolist() for column in columns), strict=True)


def _hits(candles: Candles, height: float, labels: Sequence[str]) -> str:
    """Invisible columns that carry the tooltips."""
    columns = zip(candles.left.tolist(), (candles.right - candles.left).tolist(), labels, strict=True)
    rects = (
        f'<rect x="{place(x)}" width="{place(w)}" height="{height:g}"><title>{esc(text)}</title></rect>' for x, w, text in columns
    )
    return f'<g class="hit">{"".join(rects)}</g>'


def _boxes(left: Floats, right: Floats, top: Floats, bottom: Floats) -> str:
    """Rectangles as the data of one path."""
    edges = zip(left.tolist(), right.tolist(), top.tolist(), bottom.tolist(), strict=True)
    return "".join(f"M{place(a)} {place(t)}H{place(b)}V{place(e)}H{place(a)}z" for a, b, t, e in edges)


def _bodies(candles: Candles, axis: Axis) -> str:
    """All candles, as one path for each kind: up, down, and made by filling."""
    top, bottom = axis.y(candles.high), axis.y(candles.low)
    first, last = axis.y(candles.open), axis.y(candles.close)
    upper, lower = np.minimum(first, last), np.maximum(first, last)
    thin = np.maximum(0.0, 1.2 - (lower - upper)) / 2  # a body without height is a dash
    middle = (candles.left + candles.right) / 2
    half = np.minimum((candles.right - candles.left) * 0.68, 24.0) / 2
    kind = np.where(candles.filled >= candles.rows, 2, np.where(candles.close < candles.open, 1, 0))
    made = ""
    for nth, name in enumerate(("up", "down", "fill")):
        rows = np.flatnonzero(kind == nth)
        if len(rows):
            wicked = rows[(bottom - top > lower - upper + 0.05)[rows]]
            lines = zip(middle[wicked].tolist(), top[wicked].tolist(), bottom[wicked].tolist(), strict=True)
            wicks = "".join(f"M{place(x)} {place(t)}V{place(b)}" for x, t, b in lines)
            bodies = _boxes((middle - half)[rows], (middle + half)[rows], (upper - thin)[rows], (lower + thin)[rows])
            made += f'<path class="w-{name}" d="{wicks}"/><path class="c-{name}" d="{bodies}"/>'
    return made


def _volume(candles: Candles, top: float, bottom: float) -> str:
    most = float(candles.volume.max(initial=0.0))
    if not most > 0:
        return ""
    space = (candles.right - candles.left) * 0.16
    height = candles.volume / most * (bottom - top)
    rows = np.flatnonzero(height >= 0.05)
    boxes = _boxes((candles.left + space)[rows], (candles.right - space)[rows], bottom - height[rows], np.full(len(rows), bottom))
    return f'<path class="volume" d="{boxes}"/>'


def _band(band: Band, height: int) -> str:
    """A gap, with words in it where there is room."""
    what = f"{band.missing:,} bar{'s' if band.missing != 1 else ''} missing, {BAND_WORDS[band.kind]}"
    if band.gaps > 1:
        what = f"{band.gaps:,} gaps: {what}"
    label = f"{moment(band.start)} to {moment(band.end)}: {what}"
    faint = f' opacity="{max(0.3, band.share):.2f}"' if band.share < 0.95 else ""  # where only some of it is missing
    where = f'x="{_percent(band.left)}" width="{_percent(band.right - band.left)}" height="{height}"'
    rect = f'<rect class="b-{band.kind}" {where}{faint}><title>{esc(label)}</title></rect>'
    if band.right - band.left < 110 or band.kind == "closed" or band.gaps > 1:
        return rect
    x = _percent((band.left + band.right) / 2)
    return f'{rect}<text class="inband" x="{x}" y="{height // 2 - 6}">{band.missing:,} missing</text>'


def _marks(placed: Iterable[tuple[float, float, Mark]]) -> str:
    return "".join(_use(mark.style, f'x="{_percent(x)}" y="{place(y)}"', mark.label) for x, y, mark in placed)


def _clipped(middle: Floats, low: Floats, high: Floats, axis: Axis) -> str:
    """Arrows at the edge for what reaches beyond it, with the values where they are few."""
    made = ""
    for column, beyond, y, turn in ((high, high > axis.high, axis.top - 6, ""), (low, low < axis.low, axis.bottom + 5, "flip")):
        rows = np.flatnonzero(beyond)[:40].tolist()
        for row in rows:
            x, value = _percent(float(middle[row])), number(float(column[row]))
            title = f"<title>reaches {value}</title>"
            made += f'<use href="#edge" class="edge {turn}" x="{x}" y="{-y if turn else y:g}">{title}</use>'
            if len(rows) < 4:
                made += f'<text class="edge" x="{x}" dx="8" y="{y + 4:g}">{value}</text>'
    return made


def _ghosts(view: Zoom, axis: Axis, ghosts: Sequence[Ghost]) -> str:
    made = ""
    for ghost in ghosts:
        four = axis.y(np.array([ghost.open, ghost.high, ghost.low, ghost.close]))
        first, top, bottom, last = four.tolist()
        upper, height = min(first, last), max(abs(first - last), 2.0)
        left, w = view.x(ghost.time) + view.width * 0.1, view.width * 0.8
        made += (
            f'<path class="ghost" d="M{place(left)} {place(upper)}h{place(w)}v{place(height)}h-{place(w)}z'
            f'M{place(left + w / 2)} {place(top)}V{place(upper)}M{place(left + w / 2)} {place(upper + height)}V{place(bottom)}">'
            f"<title>{esc(ghost.label)}</title></path>"
        )
    return made


# ── coverage ─────────────────────────────────────────────────────────────────────────────────────────


def coverage_strip(cover: Coverage, flagged: Mapping[str, NDArray[np.bool_]], candles: Candles) -> str:
    """What there is of each stretch, from the bottom up: bars, filled bars, closed market, nothing; then a lane for each flag."""
    height = 26.0
    there = cover.expected > 0
    upper = np.zeros(len(there))
    paths = ""
    for name, count in (("none", cover.missing), ("shut", cover.closed), ("fill", cover.filled), ("have", cover.present)):
        share = count / np.maximum(cover.expected, 1) * height
        lower = np.where(count > 0, np.minimum(upper + np.maximum(share, 2.0), height), upper)  # the least can be seen too
        lower = np.where((count > 0) & (name == "have"), height, lower)
        rows = there & (lower > upper)
        paths += f'<path class="v-{name}" d="{_boxes(cover.left[rows], cover.right[rows], upper[rows], lower[rows])}"/>'
        upper = lower
    labels, y = "", height
    for name, marked in flagged.items():
        y += 13
        left = candles.left[marked]
        right = np.maximum(candles.right[marked], left + 2)
        paths += f'<path class="v-{name}" d="{_boxes(left, right, np.full(len(left), y - 8), np.full(len(left), y))}"/>'
        labels += f'<text x="100%" dx="6" y="{y:g}">{name}</text>'
    lacking = [row for row in zip(*(column.tolist() for column in cover), strict=True) if row[3] > row[4]]
    paths += f'<g class="hit">{"".join(_part(row, height) for row in lacking)}</g>'
    labels = f'<g class="prices"><text x="100%" dx="6" y="17">coverage</text>{labels}</g>'
    return (
        f'<div class="chart strip"><svg role="img" aria-label="Coverage over time" width="100%" height="{y + 2:g}">'
        f'<svg class="in" width="100%" height="{y:g}" viewBox="0 0 {WIDTH:g} {y:g}" preserveAspectRatio="none">{paths}</svg>'
        f"{labels}</svg></div>"
    )


def _part(row: tuple[float, float, int, int, int, int, int], height: float) -> str:
    """The tooltip of a part of the coverage strip that lacks something."""
    left, right, time, expected, present, filled, closed = row
    gone = expected - present - filled - closed
    words = [f"{present:,} of {expected:,} bars"]
    words += [f"{count:,} {what}" for count, what in ((filled, "filled"), (closed, "closed"), (gone, "missing")) if count]
    title = f"<title>{moment(time)}: {', '.join(words)}</title>"
    return f'<rect x="{place(left)}" width="{place(right - left)}" height="{height:g}">{title}</rect>'
