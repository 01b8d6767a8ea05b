"""Small parts of the page: counts, tables of rows, times of samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from cracktrader.bars import PRICES
from cracktrader.errors import InvalidTime
from cracktrader.quality.html.scales import esc, moment, number
from cracktrader.quality.report import Finding
from cracktrader.timeframe import Timeframe
from cracktrader.times import parse_time

__all__ = ["VALUES", "count_of", "row_cells", "sample_line", "sample_time", "table_of", "timed"]

VALUES: Final = (*PRICES, "volume")


def count_of(many: int, what: str) -> str:
    """``1 row``, ``2 rows``."""
    return f"{many:,} {what}{'s' if many != 1 else ''}"


def _head(*names: str) -> str:
    cells = ('<th class="n">' + name if name in (*VALUES, "missing") else f"<th>{name}" for name in names)
    return f"<thead><tr>{'</th>'.join(cells)}</th></tr></thead>"


def table_of(names: Sequence[str], rows: str) -> str:
    """A table that scrolls sideways where it is too wide; ``rows`` are HTML."""
    return f'<div class="scroll"><table class="rows">{_head(*names)}<tbody>{rows}</tbody></table></div>'


def row_cells(sample: Mapping[str, Any]) -> str:
    """The values of a row, with what became of them."""
    return "".join(_cell(sample, name) for name in VALUES)


def _cell(sample: Mapping[str, Any], name: str) -> str:
    was = float(sample[name])
    odd = ' class="n odd"' if not np.isfinite(was) or was < 0 or (was == 0 and name != "volume") else ' class="n"'
    now = sample.get("now", {})
    if name in now and np.isfinite([was, now[name]]).any():
        return f'<td class="n"><s>{number(was)}</s> → <b>{number(float(now[name]))}</b></td>'
    return f"<td{odd}>{number(was)}</td>"


def sample_time(sample: Mapping[str, Any], frame: Timeframe | None = None) -> str:
    """When a sample is, as text for the page."""
    time = _time_of(sample)
    return esc(sample["time"]) if time is None else moment(time, frame)


def _time_of(sample: Mapping[str, Any]) -> int | None:
    try:
        return parse_time(str(sample["time"]))
    except InvalidTime:  # beyond the year 9999
        return None


def timed(finding: Finding) -> list[tuple[int, Mapping[str, Any]]]:
    """The samples of a finding with their times, those that a time can be told of."""
    return [(time, sample) for sample in finding.samples if (time := _time_of(sample)) is not None]


def sample_line(sample: Mapping[str, Any]) -> str:
    """A row on one line, not escaped."""
    return f"{sample_time(sample)}  " + " ".join(f"{name[0].upper()} {number(float(sample[name]))}" for name in VALUES)
