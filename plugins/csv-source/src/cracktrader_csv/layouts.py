"""The layouts of files that are known: who writes them, how to tell them, and what their columns mean."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from cracktrader.bars import PRICES
from cracktrader.columns import TIME_NAMES, find_columns

__all__ = ["LAYOUTS", "Roles", "Sample", "numeric_columns", "plain", "recognise"]

#: Every known layout, and what it is.
LAYOUTS: Final[Mapping[str, str]] = MappingProxyType({
    "cracktrader": "what Bars.to_csv writes",
    "binance": "klines of Binance's public archive, spot and futures, with or without a header",
    "kraken": "OHLCVT archives of Kraken",
    "cryptodatadownload": "files of CryptoDataDownload, old and new",
    "yahoo": "downloads of Yahoo Finance",
    "yfinance": "what yfinance's frames write, with their three lines of header",
    "metatrader5": "bars exported by MetaTrader 5",
    "metatrader4": "history exported by MetaTrader 4",
    "tradingview": "charts exported by TradingView",
    "backtrader": "what backtrader's BacktraderCSVData reads",
    "positional": "no header: time (or a date and a clock), open, high, low, close and perhaps volume, in this order",
    "named": "a header that names the columns",
})  # fmt: skip

_SYMBOL_NAMES: Final = ("symbol", "ticker", "pair", "instrument", "market", "symbolname", "tic", "coin", "asset", "product")
_DATE_NAMES: Final = ("date", "day", "tradedate", "datestr")
# Columns of numbers that say nothing about a bar which its other columns don't.
_NEVER_EXTRA: Final = frozenset({"", "flags", "closetime", "endtime", "index", "ignore", "unnamed0", *TIME_NAMES})
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp][Mm])?|\d{1,6}")
_BROKER_TIME: Final = (
    "The times of {name} have no zone and were taken as UTC; MetaTrader writes the time of the broker's server"
    " (tz='…' says which that is)."
)
_BACKTRADER_STAMPS: Final = (
    "backtrader takes the time of a bar as its end, here it was taken as its opening; if {name} was written for backtrader,"
    " stamp='close' is right."
)


@dataclass(frozen=True)
class Sample:
    """The first lines of a file: the header's names (None without a header) and cells of some rows."""

    header: tuple[str, ...] | None
    rows: Sequence[Sequence[str]]

    @property
    def width(self) -> int:
        return len(self.header) if self.header is not None else len(self.rows[0]) if self.rows else 0

    def column(self, index: int, rows: int = 100) -> list[str]:
        """The cells of one column, of the first rows, that hold something; without blanks around them."""
        return [row[index].strip() for row in self.rows[:rows] if row[index].strip()]

    def all_match(self, index: int, pattern: str) -> bool:
        """Whether most cells match, at least one: a damaged line must not hide a layout."""
        cells = self.column(index) or self.column(index, len(self.rows))
        return bool(cells) and 2 * sum(re.fullmatch(pattern, cell) is not None for cell in cells) > len(cells)


@dataclass(frozen=True)
class Roles:
    """What the columns of a file are, by position; ``extra`` is None where every further number comes along."""

    layout: str
    time: tuple[int, ...] = ()
    columns: Mapping[str, int] = field(default_factory=dict)
    symbol: int | None = None
    extra: Mapping[str, int] | None = None
    volume: str = ""
    notes: tuple[str, ...] = ()


def plain(name: str) -> str:
    """A name without case, blanks and signs, for comparing."""
    return "".join(c for c in name.lower() if c.isalnum())


def recognise(sample: Sample, layout: str | None = None) -> Roles | None:
    """The layout of a file and what its columns are; the one named, or the first that fits."""
    for name, fit in _FITS.items():
        if layout in (None, name) and (roles := fit(sample)) is not None:
            return roles
    return None


# ── one function a layout ────────────────────────────────────────────────────────────────────────────


def _cracktrader(sample: Sample) -> Roles | None:
    names = sample.header or ()
    if names[:6] != ("timestamp", *PRICES, "volume") or (sample.rows and not sample.all_match(0, r"-?\d+|-?\d{4,}-.*Z")):
        return None
    if any(not sample.all_match(i, _NUMBER) for i in range(6, len(names)) if sample.column(i)):
        return None
    columns = _in_order(1)
    if names[-1] == "flags":
        columns["flags"] = len(names) - 1
    return Roles("cracktrader", (0,), columns, extra={names[i]: i for i in range(6, len(names) - ("flags" in columns))})


def _binance(sample: Sample) -> Roles | None:
    if sample.width != 12:
        return None
    if sample.header is None:
        if not all(sample.all_match(i, r"\d{13,16}") for i in (0, 6)):
            return None
    elif (plain(sample.header[0]), plain(sample.header[6])) != ("opentime", "closetime"):
        return None
    extra = {"quote_volume": 7, "trades": 8, "taker_buy_volume": 9, "taker_buy_quote_volume": 10}
    return Roles("binance", (0,), _in_order(1), extra=extra)


def _kraken(sample: Sample) -> Roles | None:
    if sample.header is not None or sample.width != 7 or not sample.all_match(0, r"\d{9,10}") or not sample.all_match(6, r"\d+"):
        return None
    return Roles("kraken", (0,), _in_order(1), extra={"trades": 6})


def _cryptodatadownload(sample: Sample) -> Roles | None:
    names = sample.header or ()
    known = {plain(name): i for i, name in reversed(list(enumerate(names)))}
    volumes = [i for i, name in enumerate(names) if re.fullmatch(r"volume[ _]\w+", name.strip(), re.IGNORECASE)]
    if not {"date", "symbol", *PRICES} <= set(known) or not volumes:
        return None
    symbols = sample.column(known["symbol"])
    traded = plain(symbols[0]) if symbols else ""
    base = max(volumes, key=lambda i: len(_currency(names[i])) if traded.startswith(_currency(names[i])) else 0)
    extra = {f"volume_{_currency(names[i])}" if len(volumes) > 2 else "quote_volume": i for i in volumes if i != base}
    if trades := next((known[name] for name in ("tradecount", "trades") if name in known), None):
        extra["trades"] = trades
    columns = {name: known[name] for name in PRICES} | {"volume": base}
    # Not `unix`: within one file it changes from seconds to milliseconds, `date` is always the same UTC.
    return Roles("cryptodatadownload", (known["date"],), columns, known["symbol"], extra)


def _currency(name: str) -> str:
    return plain(re.split(r"[ _]", name.strip(), maxsplit=1)[-1])


def _yahoo(sample: Sample) -> Roles | None:
    known = [plain(name) for name in sample.header or ()]
    return _renamed("yahoo", sample, {"adj_close": "adjclose"}) if {"date", "adjclose"} <= set(known) else None


def _metatrader5(sample: Sample) -> Roles | None:
    names = sample.header or ()
    known = [plain(name) for name in names]
    if not {"date", "open", "tickvol"} <= set(known) or not names[0].strip().startswith("<"):
        return None
    time = tuple(known.index(name) for name in ("date", "time") if name in known)
    columns = {name: known.index(name) for name in PRICES} | {"volume": known.index("tickvol")}
    extra = {name: known.index(theirs) for name, theirs in (("real_volume", "vol"), ("spread", "spread")) if theirs in known}
    return Roles("metatrader5", time, columns, extra=extra, volume="number of ticks", notes=(_BROKER_TIME,))


def _metatrader4(sample: Sample) -> Roles | None:
    if sample.header is not None or sample.width != 7:
        return None
    if not sample.all_match(0, r"\d{4}\.\d{2}\.\d{2}") or not sample.all_match(1, r"\d{2}:\d{2}"):
        return None
    return Roles("metatrader4", (0, 1), _in_order(2), extra={}, volume="number of ticks", notes=(_BROKER_TIME,))


def _tradingview(sample: Sample) -> Roles | None:
    names = sample.header or ()
    return _renamed("tradingview", sample) if names[:5] == ("time", *PRICES) and "volume" not in names else None


def _backtrader(sample: Sample) -> Roles | None:
    names = [plain(name) for name in sample.header or ()]
    if sample.header is not None:
        clock = names[1:2] == ["time"]
        if names[:1] != ["date"] or "openinterest" not in names or names[1 + clock : 6 + clock] != [*PRICES, "volume"]:
            return None
    else:
        clock = _is_clock(sample, 1)
        if sample.width != 7 + clock or not sample.all_match(0, r"\d{4}-\d{2}-\d{2}.*"):
            return None
    time = (0, 1) if clock else (0,)
    extra = {"openinterest": names.index("openinterest") if names else sample.width - 1}
    intraday = clock or sample.all_match(0, r".*:.*")
    return Roles("backtrader", time, _in_order(1 + clock), extra=extra, notes=(_BACKTRADER_STAMPS,) if intraday else ())


def _positional(sample: Sample) -> Roles | None:
    clock = _is_clock(sample, 1)
    if sample.header is not None or sample.width - clock not in (5, 6):
        return None
    volume = sample.width - clock == 6
    return Roles("positional", (0, 1) if clock else (0,), _in_order(1 + clock, volume=volume), extra={})


def _named(sample: Sample) -> Roles | None:
    return None if sample.header is None else _renamed("named", sample)


_FITS: Final[Mapping[str, Callable[[Sample], Roles | None]]] = {
    "cracktrader": _cracktrader,
    "binance": _binance,
    "kraken": _kraken,
    "cryptodatadownload": _cryptodatadownload,
    "yahoo": _yahoo,
    "yfinance": lambda _: None,  # the reader turns its header into a plain one
    "metatrader5": _metatrader5,
    "metatrader4": _metatrader4,
    "backtrader": _backtrader,
    "tradingview": _tradingview,
    "positional": _positional,
    "named": _named,
}  # fmt: skip

# ── what the layouts share ───────────────────────────────────────────────────────────────────────────

_NUMBER: Final = r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?|[+-]?(nan|inf|infinity)|(?i:null|nan|none|n/a|na|#n/a|<na>)"


def _is_clock(sample: Sample, index: int) -> bool:
    """Whether a column holds clocks with colons: without a header, bare digits may be prices."""
    return sample.width > index and sample.all_match(index, r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?(\s*[AaPp][Mm])?")


def _in_order(first: int, *, volume: bool = True) -> dict[str, int]:
    names = (*PRICES, "volume") if volume else PRICES
    return {name: first + i for i, name in enumerate(names)}


def _renamed(layout: str, sample: Sample, extra: Mapping[str, str] | None = None) -> Roles:
    """Columns found by the names in the header, with the further ones under names of our own."""
    names = sample.header or ()
    found = {role: names.index(name) for role, name in find_columns(names).items()}
    time = found.pop("time", None)
    known = [plain(name) for name in names]
    symbol = next((known.index(name) for name in _SYMBOL_NAMES if name in known), None)
    if symbol is not None and known[symbol] not in _SYMBOL_NAMES[:2] and sample.all_match(symbol, _NUMBER):
        symbol = None  # a number called "market" or "asset"; but tickers may be numbers
    further = None if extra is None else {ours: known.index(theirs) for ours, theirs in extra.items() if theirs in known}
    return Roles(layout, _time_columns(sample, time, known), found, symbol, further)


def _time_columns(sample: Sample, time: int | None, known: Sequence[str]) -> tuple[int, ...]:
    """The column of times, or a column of dates and one of clocks."""
    if time is None:
        return ()
    dates = [known.index(name) for name in _DATE_NAMES if name in known]
    if dates and dates[0] != time and sample.all_match(time, _CLOCK.pattern):
        return dates[0], time
    return (time,)


def numeric_columns(sample: Sample) -> dict[str, int]:
    """The columns that hold numbers and have a usable name: what may come along as extra columns."""
    numeric: dict[str, int] = {}
    for i, name in enumerate(sample.header or ()):
        if plain(name) not in _NEVER_EXTRA and sample.all_match(i, _NUMBER):
            numeric.setdefault(name.strip(), i)
    return numeric
