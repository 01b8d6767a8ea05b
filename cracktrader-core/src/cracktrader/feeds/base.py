"""Feed: Bars as a backtrader data feed.

Where backtrader would ask for one bar after another and every answer is known beforehand, the feed fills
each line's buffer in one go. Wherever backtrader's own way means something else (filters, resampling,
replay, bounded memory, bindings, a subclass that overrides the loading), it is left as it is.
"""

from __future__ import annotations

import array
import datetime as dt
import difflib
import keyword
import math
import re
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any, ClassVar, Final

import backtrader as bt
import numpy as np

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import InvalidOption, InvalidRange, NoData, UnsupportedMode
from cracktrader.feeds.stamps import backtrader_dates, check_stamp
from cracktrader.feeds.zones import backtrader_zone
from cracktrader.interchange import to_bars
from cracktrader.timeframe import Timeframe

if TYPE_CHECKING:
    from cracktrader.quality import QualityReport

__all__ = ["Feed"]

#: Rows that are made into Python floats at once where backtrader asks bar by bar.
_CHUNK: Final = 8_192


class MetaFeed(type(bt.feed.DataBase)):  # type: ignore[misc]
    """Makes feeds whose extra columns are lines, and settles the timeframe before backtrader looks at it."""

    def doprenew(cls, *args: Any, **kwargs: Any) -> Any:
        bars = kwargs.get("dataname")
        names = map(line_name, bars.extra) if isinstance(bars, Bars) else ()
        wider = _with_lines(cls, tuple(name for name in names if name not in cls.lines.getlinealiases()))
        return wider, args, kwargs

    def dopreinit(cls, feed: Any, *args: Any, **kwargs: Any) -> Any:
        feed, args, kwargs = super().dopreinit(feed, *args, **kwargs)
        feed._settle_params()
        return feed, args, kwargs


class Feed(bt.feed.DataBase, metaclass=MetaFeed):  # type: ignore[misc]
    """A backtrader data feed of bars: ``Feed(dataname=bars)``; :func:`cracktrader.feed` makes one of anything.

    ``stamp`` says which moment of a bar backtrader is told: ``last`` (its last millisecond, the default),
    ``close`` or ``open``; see :mod:`cracktrader.feeds.stamps`. The timeframe is the bars'; a longer one, or a
    ``compression``, makes longer bars of them on the calendar grid. Every extra column is a line of its own
    name. ``fromdate``, ``todate``, ``sessionstart``, ``sessionend``, ``filters``, ``tz``, ``tzinput``,
    ``calendar`` and ``name`` mean what they mean in backtrader; zones may be names or any ``tzinfo``.

    ``bars`` are the bars that are delivered, ``report`` the report of their load, ``symbol`` and
    ``timeframe`` (as text, before compression) what they are of.

    Raises :class:`~cracktrader.errors.NoData` for no bars at all, :class:`~cracktrader.errors.InvalidRange` for a
    ``todate`` before ``fromdate``, and
    :class:`~cracktrader.errors.UnsupportedMode` where backtrader would crash or go wrong.
    """

    params: Any = (
        ("timeframe", None),
        ("compression", 1),
        ("symbol", None),
        ("stamp", "last"),
    )

    #: The names of extra lines, in the order of the lines; empty in the class that users see.
    extra_lines: ClassVar[tuple[str, ...]] = ()

    symbol: str
    timeframe: str
    _target: Timeframe

    def __init__(self, *args: Any, **options: Any) -> None:
        """Refuse what no parameter took: backtrader would ignore it without a word."""
        if args:
            raise InvalidOption(
                f"{type(self).__name__} takes every option by name.", hint="Write dataname=bars, or ct.feed(bars)."
            )
        refuse_unknown(options, feed_options(type(self)), type(self).__name__)
        super().__init__()

    # ── what backtrader is told about the feed ───────────────────────────────────────────────────────

    def _settle_params(self) -> None:
        """Give the parameters the types that backtrader expects; called before ``__init__``."""
        p = self.p
        bars = p.dataname if isinstance(p.dataname, Bars) else None
        self._bars: Bars | None = None
        self.symbol = p.symbol or (bars.symbol if bars is not None else "")
        base, self._target = _timeframes(p.timeframe, p.compression, bars)
        self.timeframe = str(base)
        p.timeframe, p.compression = self._target.to_backtrader()
        for name in ("fromdate", "todate"):
            value = getattr(p, name)
            if isinstance(value, str):
                setattr(p, name, _read(name, value, dt.datetime.fromisoformat))
        if isinstance(p.fromdate, dt.date) and isinstance(p.todate, dt.date) and _moment(p.todate) < _moment(p.fromdate):
            raise InvalidRange(
                f"todate={p.todate} lies before fromdate={p.fromdate}: not a bar would be delivered.", hint="Swap them."
            )
        for name in ("sessionstart", "sessionend"):
            value = getattr(p, name)
            if isinstance(value, str):
                setattr(p, name, _read(name, value, dt.time.fromisoformat))
        check_stamp(p.stamp)
        p.tz, p.tzinput = backtrader_zone(p.tz), backtrader_zone(p.tzinput)
        self._name = p.name or self.symbol
        if not isinstance(p.dataname, str):
            self._dataname = self._name

    def _gettz(self) -> Any:
        return self.p.tz

    def _gettzinput(self) -> Any:
        return self.p.tzinput

    # ── the bars ─────────────────────────────────────────────────────────────────────────────────────

    @property
    def bars(self) -> Bars:
        """The bars that this feed delivers."""
        if self._bars is None:
            bars = self._get_bars()
            if bars.timeframe != self._target:
                bars = bars.resample(self._target)
            if not len(bars):
                raise NoData(
                    f"There are no bars of {self.symbol or self._name or 'this feed'} {self._target} to deliver.",
                    hint="Is the symbol right, and does the range hold data? ct.load(…).report says what was left out.",
                    symbol=self.symbol,
                )
            self._bars = bars
        return self._bars

    @property
    def report(self) -> QualityReport | None:
        """What the checks of the load found and did."""
        return self.bars.report

    def _get_bars(self) -> Bars:
        """The bars before they are brought to the feed's own timeframe."""
        return to_bars(self.p.dataname, symbol=self.symbol, timeframe=self.timeframe)

    # ── loading, all at once or bar by bar ───────────────────────────────────────────────────────────

    def start(self) -> None:
        super().start()
        self._dates = backtrader_dates(self.bars, self.p.stamp)
        _refuse_what_crashes(self)
        self._next_row = 0
        self._chunk: list[Any] = []

    def preload(self) -> None:
        """Fill the lines; at once where nothing asks for backtrader's own way."""
        if self._may_fill_at_once():
            self._fill()
            self.home()
        else:
            super().preload()

    def _may_fill_at_once(self) -> bool:
        return (
            type(self).load is bt.feed.AbstractDataBase.load
            and not self._loads_by_itself()
            and not (self._filters or self._barstack or self._barstash or self._tzinput)
            and all(line.mode == line.UnBounded and not line.bindings and not len(line) for line in self.lines)
        )

    def _loads_by_itself(self) -> bool:
        """Whether a subclass has a way of its own to load bar by bar."""
        return type(self)._load is not Feed._load

    def haslivedata(self) -> bool:
        """Whether a bar can be had without waiting; beside a live feed, backtrader asks."""
        return len(self) < self.buflen() or self._next_row < len(self._dates)

    def _fill(self) -> None:
        first = int(np.searchsorted(self._dates, self.fromdate, side="left"))
        stop = int(np.searchsorted(self._dates, self.todate, side="right"))
        rows = slice(first, max(first, stop))
        for name, line in zip(self.lines.getlinealiases(), self.lines, strict=False):
            column = self._column(name)
            ahead = line.array[: line.extension]  # room for values of the future, which backtrader keeps at the end
            if column is None:
                values = array.array("d", [math.nan]) * (rows.stop - rows.start)
            else:
                values = array.array("d")
                values.frombytes(column[rows].view(np.uint8))
            values.extend(ahead)
            line.array = values
        self._next_row = len(self._dates)

    def _load(self) -> bool:
        """The next bar, as backtrader asks for it when it doesn't preload."""
        at = self._next_row % _CHUNK
        if self._next_row >= len(self._dates):
            return False
        if at == 0 or not self._chunk:
            rows = slice(self._next_row - at, self._next_row - at + _CHUNK)
            columns = ((line, self._column(name)) for name, line in zip(self.lines.getlinealiases(), self.lines, strict=False))
            # Python's own floats: users would meet numpy's in the buffers of exactbars.
            self._chunk = [(line, column[rows].tolist()) for line, column in columns if column is not None]
        for line, values in self._chunk:
            line[0] = values[at]
        self._next_row += 1
        return True

    def _column(self, name: str) -> Any:
        """The values of a line, or None where the bars have none: those stay NaN, as backtrader leaves them."""
        if name == "datetime":
            return self._dates
        bars = self.bars
        if name in (*PRICES, "volume"):
            return bars[name]
        return next((values for column, values in bars.extra.items() if line_name(column) == name), None)

    # ── pickling, for optimising in several processes ────────────────────────────────────────────────

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_chunk"} | {"_chunk": []}

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        cls = type(self)
        base = cls.__mro__[1] if cls.extra_lines else cls
        return _blank, (base, cls.extra_lines), self.__getstate__()


# ── classes with extra lines ─────────────────────────────────────────────────────────────────────────

_CLASSES: dict[tuple[type, tuple[str, ...]], type] = {}


def _with_lines(cls: type, names: tuple[str, ...]) -> type:
    """``cls`` with further lines; the same class for the same names."""
    if not names:
        return cls
    if (cls, names) not in _CLASSES:
        body = {"lines": names, "extra_lines": names, "__module__": cls.__module__, "__doc__": cls.__doc__}
        _CLASSES[cls, names] = MetaFeed(f"{cls.__name__}_{'_'.join(names)}", (cls,), body)
    return _CLASSES[cls, names]


def _blank(base: type, names: tuple[str, ...]) -> Any:
    """A feed without state, for pickle to fill; makes the class with its lines where it isn't known yet."""
    return object.__new__(_with_lines(base, names))


def line_name(column: str) -> str:
    """The name of the line of an extra column: an identifier that hides nothing that a feed has."""
    name = re.sub(r"\W", "_", column, flags=re.ASCII)
    if name.lower().replace("_", "") == "openinterest":
        return "openinterest"
    if not name or name[0].isdigit() or keyword.iskeyword(name):
        name = f"_{name}"
    return f"{name}_" if hasattr(bt.feed.DataBase, name) or name in ("bars", "report", "symbol", "timeframe") else name


# ── parameters ───────────────────────────────────────────────────────────────────────────────────────


def _timeframes(given: Any, compression: Any, bars: Bars | None) -> tuple[Timeframe, Timeframe]:
    """The timeframe of the bars as they come, and the one to deliver."""
    if not isinstance(compression, int) or isinstance(compression, bool) or compression < 1:
        raise InvalidOption(f"compression={compression!r} is no number of bars.", hint="Give a whole number, at least 1.")
    if given is None:
        if bars is None:
            raise InvalidOption("The feed's timeframe is not known.", hint="Say how long a bar lasts: timeframe='1h'.")
        return bars.timeframe, bars.timeframe * compression
    if not isinstance(given, str):  # backtrader's own way: the compression describes the bars
        described = Timeframe.from_backtrader(given, compression)
        return (bars.timeframe if bars is not None else described), described
    base = Timeframe(given)
    return (bars.timeframe if bars is not None else base), base * compression


def feed_options(cls: type[Feed]) -> set[str]:
    """What a feed of this class takes: its own parameters, and those of its drawing."""
    return {*cls.params._getkeys(), *cls.plotinfo._getkeys()}


def refuse_unknown(options: Iterable[str], known: Collection[str], whose: str, *, also: Collection[str] = ()) -> None:
    """Raise :class:`InvalidOption` for the first option that is not known; ``also`` are those that are taken elsewhere."""
    for option in options:
        if option not in known:
            takes = sorted({*known, *also})
            near = difflib.get_close_matches(option, takes, n=1)
            raise InvalidOption(f"{whose} has no option {option!r}.{f' Did you mean {near[0]!r}?' if near else ''}",
                                hint=f"It takes: {', '.join(takes)}.", option=option)  # fmt: skip


def _moment(date: dt.date) -> dt.datetime:
    """A date or datetime to compare with another of any kind; backtrader itself drops the zone."""
    whole = date if isinstance(date, dt.datetime) else dt.datetime.combine(date, dt.time())
    return whole.replace(tzinfo=None)


def _read(name: str, value: str, reader: Any) -> Any:
    try:
        return reader(value)
    except ValueError:
        raise InvalidOption(f"{name}={value!r} can't be read.", hint="Give ISO-8601 text, or a datetime object.") from None


def _refuse_what_crashes(feed: Feed) -> None:
    """Raise where exactbars=1 would make one feed wait for another.

    backtrader then keeps too little of each feed to hold back the one that is ahead: it crashes, and with more
    room it would show bars before their time. Feeds whose bars all have the same times never wait.
    """
    cerebro = feed.getenvironment()
    if getattr(cerebro, "_exactbars", 0) < 1:
        return
    side_by_side = [data.data if data._clone else data for data in cerebro.datas if not (data.resampling or data.replaying)]
    started = [data for data in side_by_side if isinstance(data, Feed) and hasattr(data, "_dates")]
    in_step = all(np.array_equal(data._dates, feed._dates) for data in started)
    if len(side_by_side) > 1 and not (in_step and all(isinstance(data, Feed) for data in side_by_side)):
        raise UnsupportedMode(
            f"exactbars={cerebro._exactbars} can't run with {len(side_by_side)} feeds whose bars have different times:"
            " backtrader keeps too little of each to hold back the one that is ahead, and crashes.",
            hint="Use exactbars=False, -1 or -2; or one feed, with resampledata for the others.",
        )
