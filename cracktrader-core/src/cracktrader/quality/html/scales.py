"""From values to places and labels: escaped text, numbers, times, price axes and their ticks."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, overload

import numpy as np
from numpy.typing import NDArray

from cracktrader.timeframe import Timeframe

__all__ = ["Axis", "esc", "moment", "number", "place", "price_axis", "time_ticks"]

Floats = NDArray[np.float64]

_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_MS: Final = 2_629_800_000
_TICKS: Final = ("1s", "5s", "15s", "30s", "1m", "2m", "5m", "10m", "15m", "30m", "1h", "2h", "3h", "6h", "12h", "1d", "2d",
                 "1w", "2w", "1M", "2M", "3M", "6M", "12M", "24M", "60M", "120M", "240M", "600M", "1200M")  # fmt: skip


def esc(value: object, most: int = 2_000) -> str:
    """Text that can stand anywhere in the page: escaped, in valid Unicode, at most so long."""
    text = str(value)
    text = text if len(text) <= most else text[: most - 1] + "…"
    clean = "".join(c if c >= " " or c in "\n\t" else "\ufffd" for c in text)
    return html.escape(clean.encode("utf-8", "replace").decode("utf-8"), quote=True)


def number(value: float) -> str:
    """A price or volume to ten digits, as the text report writes it."""
    if math.isfinite(value):
        return f"{value:.10g}"
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "-∞"


def place(value: float) -> str:
    """A coordinate, to a tenth."""
    return f"{value:.1f}".removesuffix(".0")


def moment(time: int, frame: Timeframe | None = None) -> str:
    """A time as people read it, UTC, without seconds that are zero, or hours where bars of ``frame`` are days or more."""
    text = str(np.datetime64(int(time), "ms")).replace("T", " ").removesuffix(".000").removesuffix(":00")
    return text.removesuffix(" 00:00") if frame is not None and frame.unit in "dwM" else text


# ── prices ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Axis:
    """Prices from ``low`` to ``high`` on a height of ``bottom`` - ``top`` pixels, by their logarithm or not."""

    low: float
    high: float
    top: float
    bottom: float
    log: bool = False

    @overload
    def y(self, values: float) -> float: ...
    @overload
    def y(self, values: Floats) -> Floats: ...
    def y(self, values: float | Floats) -> float | Floats:
        """Where values lie; those out of range at its edge."""
        inside = np.clip(np.asarray(values, np.float64), self.low, self.high)
        if self.log:
            share = np.log(inside / self.low) / math.log(self.high / self.low)
        else:
            share = (inside - self.low) / (self.high - self.low)
        places = self.bottom - share * (self.bottom - self.top)
        return places if isinstance(values, np.ndarray) else float(places)

    def ticks(self) -> list[tuple[float, str]]:
        """Round values inside, each with its label."""
        if self.log and len(decades := _decades(self.low, self.high)) > 2:
            return [(value, _label(value, value)) for value in decades]
        values = _round_values(self.low, self.high, max(5, int((self.bottom - self.top) / 45)))
        step = min((b - a for a, b in pairwise(values)), default=abs(self.high))
        return [(value, _label(value, step)) for value in values]


def price_axis(low: Floats, high: Floats, top: float, bottom: float, *, reach: float, steep: float) -> Axis:
    """An axis for candles of these lows and highs: finite, and such that their squares are.

    It shows all of them, but for a few that are further from the rest than ``reach`` times the rest's range: one
    wrong price must not flatten all others. It is logarithmic where the usual prices differ by more than ``steep`` times.
    """
    if not len(low):
        return Axis(0.0, 1.0, top, bottom)
    least, most = float(min(low.min(), high.min())), float(max(high.max(), low.max()))
    usual_low = float(np.quantile(low, 0.03, method="higher"))
    usual_high = float(np.quantile(high, 0.97, method="lower"))
    if usual_low > 0 and usual_high > steep * usual_low:
        ratio = usual_high / usual_low
        away = ratio ** min(reach, 0.4)
        air = ratio**0.03
        return Axis(max(least, usual_low / away) / air, min(most, usual_high * away) * air, top, bottom, log=True)
    spread = usual_high - usual_low
    if spread > 0:
        least, most = max(least, usual_low - reach * spread), min(most, usual_high + reach * spread)
    air = (most - least) * 0.06
    if not most + air > most:
        air = abs(most) * 0.01 or 1.0  # all prices are the same
    return Axis(least - air, most + air, top, bottom)


def _round_values(low: float, high: float, about: int) -> list[float]:
    raw = (high - low) / about
    if not (math.isfinite(raw) and raw > 0):
        return []
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((factor * power for factor in (1, 2, 2.5, 5) if factor * power >= raw), 10 * power)
    first, last = math.ceil(low / step), math.floor(high / step)
    return [n * step for n in range(first, last + 1)] if last - first < 50 else []


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1,)):
        values = [
            float(f"{factor}e{power}") for power in powers for factor in factors if low <= float(f"{factor}e{power}") <= high
        ]
        if len(values) <= 10:
            return values
    return values[:: math.ceil(len(values) / 8)]


def _label(value: float, step: float) -> str:
    if abs(value) >= 1e9 or (0 < abs(value) < 1e-7) or step < 1e-9:
        return f"{value:.6g}"
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if round(step * 10**decimals, 6) % 1:
        decimals += 1  # a step of 2.5
    return f"{value:,.{decimals}f}"


# ── times ────────────────────────────────────────────────────────────────────────────────────────────


def time_ticks(start: int, end: int, most: int) -> list[tuple[int, str]]:
    """At most so many round times in ``[start, end)``, each with its label."""
    for text in _TICKS:
        frame = Timeframe(text)
        length = frame.step or frame.amount * _MONTH_MS
        if (end - start) / length <= most:
            return [(time, _time_label(time, frame)) for time in frame.openings(start, end).tolist()]
    return []


def _time_label(time: int, frame: Timeframe) -> str:
    date, clock = str(np.datetime64(time, "ms")).split("T")
    year, month, day = date.rsplit("-", 2)
    name = _MONTHS[int(month) - 1]
    if frame.unit == "M":
        return year if month == "01" else name
    if frame.unit in "dw" or clock.startswith("00:00:00"):
        return f"{int(day)} {name}"
    return clock[:8] if frame.unit == "s" else clock[:5]
