"""Putting faults into bars, with a record of what was put where: what checks are tried on."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import InvalidOption
from cracktrader.synthetic.noise import bits, key_of, uniform
from cracktrader.times import isoformat

__all__ = ["FAULTS", "Fault", "dirty"]

_EXTREME: Final = 0.2  # the usual limit of the check extreme_move
_MARGIN: Final = 4  # untouched rows before and after each fault, so that no fault hides or doubles another


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the ``check`` that finds it, and how many rows or missing bars it counts there.

    It lies in ``[start, end)``, the openings of the bars concerned, epoch milliseconds.
    """

    check: str
    start: int
    end: int
    count: int
    what: str

    def __str__(self) -> str:
        return f"{isoformat(self.start)} {self.check}: {self.what}"


def dirty(bars: Bars, *, seed: int = 0, checks: Iterable[str] | None = None, each: int = 2) -> tuple[Bars, tuple[Fault, ...]]:
    """``bars`` with ``each`` faults of each kind put in at random places, and the record of them by time.

    ``checks`` says which kinds, by the id of the check that finds them: those of ``FAULTS``, all if left out. (A
    bar of the future or one not yet closed depends on the clock, so those aren't among them.) The bars should
    be in order and free of faults; a thousand are enough for all kinds twice. Faults keep clear of each other. Rows
    that the pipeline repairs by default get the prices back that they had; where it takes a row out, that row becomes
    a gap of one bar, which the record doesn't count. A spike is as large as the check needs it, at most twentyfold:
    where bars usually move by more than 3 % (days of a wild market) it may not stand out. Moves that are extreme before any
    fault is put in are not in the record.

    The same bars and seed give the same faults. Raises :class:`~cracktrader.errors.InvalidOption` for an unknown
    kind, and for too few bars.
    """
    kinds = list(FAULTS) if checks is None else list(checks)
    if unknown := set(kinds) - set(FAULTS):
        raise InvalidOption(f"There is no fault for {sorted(unknown)[0]!r}.", hint=f"There are: {', '.join(FAULTS)}.")
    todo = [(FAULTS[kind], nth) for kind in kinds for nth in range(each)]
    order = np.argsort(bits(key_of(seed, "order"), np.arange(len(todo), dtype=np.int64)), kind="stable")
    todo = [todo[place] for place in order]
    needs = [kind.rows_of(len(bars)) + 2 * _MARGIN for kind, _ in todo]
    spare = len(bars) - sum(needs)
    if spare < 0:
        raise InvalidOption(f"{len(bars):,} bars are too few for {len(todo)} faults: {sum(needs):,} are needed.",
                            hint="Give more bars, fewer kinds (checks=…), or fewer of each.")  # fmt: skip
    offsets = np.sort(uniform(bits(key_of(seed, "places"), np.arange(len(todo), dtype=np.int64))) * (spare + 1)).astype(np.int64)
    starts = np.cumsum([0, *needs], dtype=np.int64)[: len(todo)] + offsets + _MARGIN
    sheet = _Sheet(bars)
    for (kind, nth), row, need in zip(todo, starts.tolist(), needs, strict=True):
        kind.put(_Site(sheet, row, need - 2 * _MARGIN, nth))
    return sheet.finish(), tuple(sorted(sheet.faults, key=lambda fault: (fault.start, fault.check)))


class _Sheet:
    """The columns as they are being spoilt; ``place`` is where in the order each row goes."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.columns = {name: bars[name].copy() for name in ("time", *PRICES, "volume")}
        self.place = np.arange(len(bars), dtype=np.float64)
        self.kept = np.ones(len(bars), np.bool_)
        self.added: list[tuple[int, float, dict[str, float]]] = []  # a copy of which row, where, with what changed
        self.faults: list[Fault] = []
        moves = np.abs(np.diff(bars.close) / bars.close[:-1])
        #: What a usual move is, as a fraction; by the mean where most bars don't move.
        self.usual = 1.5 * float(np.median(moves) or moves.mean()) if len(moves) else 0.0

    def finish(self) -> Bars:
        rows = np.concatenate([np.flatnonzero(self.kept), np.array([row for row, _, _ in self.added], np.int64)])
        place = np.concatenate([self.place[self.kept], [where for _, where, _ in self.added]])
        columns: dict[str, NDArray[Any]] = {name: column[rows] for name, column in self.columns.items()}
        for at, (_, _, values) in enumerate(self.added, int(self.kept.sum())):
            for name, value in values.items():
                columns[name][at] = value
        columns |= {"flags": self.bars.flags[rows]}
        order = np.argsort(place, kind="stable")
        extra = {name: values[rows][order] for name, values in self.bars.extra.items()}
        return self.bars.but(**{name: column[order] for name, column in columns.items()}, extra=extra)


@dataclass(frozen=True, slots=True)
class _Site:
    """Where one fault goes: ``rows`` rows from ``row`` on; it is the ``nth`` of its kind."""

    sheet: _Sheet
    row: int
    rows: int
    nth: int

    @property
    def odd(self) -> bool:
        return self.nth % 2 == 1

    @property
    def all(self) -> slice:
        return slice(self.row, self.row + self.rows)

    def was(self, name: str, offset: int = 0) -> float:
        return float(self.sheet.bars[name][self.row + offset])

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            self.sheet.columns[name][self.all] = value

    def note(self, check: str, what: str, *, count: int = 1, more: int = 0) -> None:
        frame, time = self.sheet.bars.timeframe, self.sheet.bars.time
        end = frame.next(int(time[self.row + self.rows - 1 + more]))
        self.sheet.faults.append(Fault(check, int(time[self.row]), end, count, what))

    def note_moves(self, what: str, gone: int = 0) -> None:
        """Note the closes here, and the first one after, that moved far: to 1.2 times the one before, or 1 / 1.2 of it.

        Where the first ``gone`` rows are not there any more, only the one after those.
        """
        close = self.sheet.columns["close"][self.row - 1 : self.row + self.rows + 1]
        close = close[[0, 1 + gone]] if gone else close
        if count := int(np.count_nonzero(np.maximum(close[1:] / close[:-1], close[:-1] / close[1:]) > 1 + _EXTREME)):
            self.note("extreme_move", what, count=count, more=1)


# ── the kinds ────────────────────────────────────────────────────────────────────────────────────────


def _not_finite(site: _Site) -> None:
    name, value = (("volume", np.nan), ("close", np.nan), ("high", np.inf))[site.nth % 3]
    site.change(**{name: value})
    site.note("not_finite", f"the {name} is {value}")


def _non_positive_price(site: _Site) -> None:
    site.change(low=-site.was("low") if site.odd else 0.0)
    site.note("non_positive_price", f"the low is {'negative' if site.odd else 'zero'}")


def _negative_volume(site: _Site) -> None:
    site.change(volume=-max(site.was("volume"), 1.0))
    site.note("negative_volume", "the volume is negative")


def _ohlc_order(site: _Site) -> None:
    high, low = site.was("high"), site.was("low")
    site.change(high=low if low < high else low * 0.999, low=high)
    site.note("ohlc_order", "high and low are swapped")


def _duplicate_time(site: _Site) -> None:
    unfinished = {"close": site.was("open"), "volume": site.was("volume") / 2}
    site.sheet.added.append((site.row, site.row - 0.5, unfinished))
    site.note("duplicate_time", "an unfinished copy of the bar comes before it")


def _unordered(site: _Site) -> None:
    site.sheet.place[site.row] += site.rows - 0.5
    site.note("unordered", f"the first of these bars comes {site.rows - 1} rows late")


def _off_grid(site: _Site) -> None:
    time = int(site.was("time"))
    later = time + (site.sheet.bars.timeframe.next(time) - time) // 3
    site.sheet.added.append((site.row, site.row + 0.5, {"time": later}))
    site.note("off_grid", f"a copy of the bar is stamped {isoformat(later)}")


def _extreme_move(site: _Site) -> None:
    factor = max(1.5, 1.3 + 10 * site.sheet.usual)
    site.change(**{name: site.sheet.bars[name][site.all] * factor for name in PRICES})
    site.note_moves(f"all prices times {factor:.3g} for {site.rows} bars")


def _spike(site: _Site) -> None:
    factor = 1 + max(0.05, 28 * site.sheet.usual)
    close = site.was("close") * factor
    site.change(close=close, high=max(close, site.was("high")))
    site.note("spike", f"the close times {factor:.3g} for one bar")
    site.note_moves("the spike's way there and back")


def _wick(site: _Site) -> None:
    factor = 1 + max(0.06, 70 * site.sheet.usual)
    if site.odd:
        site.change(low=site.was("low") / factor)
    else:
        site.change(high=site.was("high") * factor)
    site.note("wick", f"the low is divided by {factor:.3g}" if site.odd else f"the high is multiplied by {factor:.3g}")


def _flatline(site: _Site) -> None:
    volume = max(site.was("volume", -1), 1e-8) * 1.25  # unlike the last real bar's
    site.change(**dict.fromkeys(PRICES, site.was("close", -1)), volume=volume)
    site.note("flatline", f"the feed is frozen for {site.rows} bars", count=site.rows - 1)
    site.note_moves("the price when the feed thaws")


def _zero_volume_run(site: _Site) -> None:
    site.change(volume=0.0)
    site.note("zero_volume_run", f"no volume for {site.rows} bars", count=site.rows)


def _gap(site: _Site) -> None:
    gone = 3 if site.odd else site.rows
    site.sheet.kept[site.row : site.row + gone] = False
    frame, time = site.sheet.bars.timeframe, site.sheet.bars.time
    start, end = frame.next(int(time[site.row - 1])), int(time[site.row + gone])
    missing = frame.ordinal(end) - frame.ordinal(start)  # with what had been missing among them
    site.sheet.faults.append(Fault("gap", start, end, missing, f"{gone} bars are taken out"))
    site.note_moves("the price after the gap", gone)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How a fault is put in, and how many rows it takes: not more than a part of all."""

    put: Callable[[_Site], None]
    rows: int = 1
    part: float = 1.0

    def rows_of(self, total: int) -> int:
        return min(self.rows, max(1, int(total * self.part)))


FAULTS: Final = {
    "not_finite": _Kind(_not_finite),
    "non_positive_price": _Kind(_non_positive_price),
    "negative_volume": _Kind(_negative_volume),
    "ohlc_order": _Kind(_ohlc_order),
    "duplicate_time": _Kind(_duplicate_time),
    "unordered": _Kind(_unordered, 4),
    "off_grid": _Kind(_off_grid),
    "extreme_move": _Kind(_extreme_move, 8),
    "spike": _Kind(_spike),
    "wick": _Kind(_wick),
    "flatline": _Kind(_flatline, 15),
    "zero_volume_run": _Kind(_zero_volume_run, 70),
    "gap": _Kind(_gap, 240, part=0.08),
}
"""The kinds of faults, by the id of the check that finds them."""
