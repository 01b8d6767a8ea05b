"""Which of several files are meant, told from their names.

A folder of BTC-USDT_1m.csv, BTC-USDT_1h.csv and ETH-USDT_1m.csv holds three series, not one in three parts; one of
BTC-2023.csv and BTC-2024.csv holds two parts of one. Where names leave it open, that is an error and not a guess.
"""

from __future__ import annotations

import os
import re
from typing import Final, Generic, Protocol, TypeVar

from cracktrader.errors import InvalidOption
from cracktrader.request import BarRequest
from cracktrader.timeframe import Timeframe

__all__ = ["those_meant", "timeframe_of", "words_of"]

_ENDINGS: Final = re.compile(r"(\.(csv|txt|tsv|gz|bz2|xz|zst|zip))+$", re.IGNORECASE)
# What tells parts of one series apart: numbers, dates, and words for parts and periods.
_PART: Final = re.compile(
    r"\d+(t\d+)?z?|(part|chunk|piece|file|page|batch|block|copy|of|to|from|new|old|rest|more|data|hist|history|update|updates|latest"
    r"|hourly|daily|weekly|monthly|yearly|q|v|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec|january|february|march|april|june"
    r"|july|august|september|october|november|december)\d*"
)
# Files that accompany data, and are none.
_DOCUMENT: Final = re.compile(
    r"(^|[^a-z])(read ?me|licen[cs]e|copying|notice|changelog|release notes|disclaimer|terms of use|check ?sums?|md5(sums?)?"
    r"|sha\d+(sums?)?)([^a-z]|$)|^(about|description|documentation|info|instructions|manifest|metadata|notes)$"
)
_METATRADER: Final = re.compile(r"(M|H|D|W|MN)([1-9]\d?)")
_KRAKEN: Final = ("1", "5", "15", "30", "60", "240", "720", "1440", "10080", "21600")


class _Named(Protocol):
    @property
    def name(self) -> str: ...


File = TypeVar("File", bound=_Named)


def those_meant(
    files: list[File], request: BarRequest | None, where: str, notes: list[str], *, by_column: bool = False
) -> list[File]:
    """Those whose names bear the symbol that is asked for, and of those that bear the timeframe; all, where none does.

    That some were left out is added to ``notes``. ``by_column`` says that a column chooses the symbol, so names don't.
    Raises :class:`InvalidOption` where names don't tell whether a file belongs to the series.
    """
    files = _without_documents(files, where, notes)
    if request is None or len(files) < 2:
        return files
    alike = os.path.commonprefix([file.name for file in files])  # noqa: RUF071 - names may be URLs; cut to folders below
    shared = len(re.sub(r"[^\\/]*$", "", alike))
    symbol = "" if by_column else "".join(c for c in request.symbol if c.isalnum()).lower()
    choice = _Choice(where, [_Name(file, file.name[shared:], symbol) for file in files])
    choice.of_symbol()
    choice.of_timeframe(request.timeframe)
    if not by_column:
        choice.refuse_unlike()
    meant = choice.meant
    if len(meant) < len(files):
        some = ", ".join(name.label for name in meant[:5])
        notes.append(
            f"Of the {len(files):,} files in {where!r} those were read whose names bear the symbol or timeframe asked for:"
            f" {some}{', …' if len(meant) > 5 else ''}."
        )
    return [name.file for name in meant]


def _without_documents(files: list[File], where: str, notes: list[str]) -> list[File]:
    """Without a readme, a licence or checksums, unless there is nothing else; that they were left out is added to ``notes``."""
    documents = [file for file in files if _DOCUMENT.search(_ENDINGS.sub("", _last(file.name)).lower().replace("_", " "))]
    if not 0 < len(documents) < len(files):
        return files
    some = ", ".join(_last(file.name) for file in documents[:5])
    notes.append(f"Left out of {where!r}, because they are no data by their names: {some}{', …' if len(documents) > 5 else ''}.")
    return [file for file in files if file not in documents]


def _last(name: str) -> str:
    return re.split(r"[\\/]", name)[-1]


class _Name(Generic[File]):
    """What the name of a file says: the words that spell the symbol, timeframes, and further words of its own."""

    def __init__(self, file: File, label: str, symbol: str) -> None:
        self.file, self.label = file, label
        self.words = words_of(label)
        lower = [word.lower() for word in self.words]
        spans = ((i, j) for i in range(len(lower)) for j in range(i + 1, len(lower) + 1))
        begin, end = next(((i, j) for i, j in spans if symbol and "".join(lower[i:j]) == symbol), (0, 0))
        self.symbol = lower[begin:end]
        self.number = self.words[end] if end < len(lower) and end and lower[end].isdigit() else ""
        rest = self.words[:begin] + self.words[end:]
        self.frames = {frame for word in rest if (frame := timeframe_of(word))}
        self.own = {word.lower() for word in rest if not timeframe_of(word) and not _PART.fullmatch(word.lower())}


class _Choice(Generic[File]):
    """The files that may be meant, fewer with each step."""

    def __init__(self, where: str, names: list[_Name[File]]) -> None:
        self.where, self.meant = where, names

    def of_symbol(self) -> None:
        """Leave those that bear the symbol; each of the others must bear a name of something else."""
        bear = [name for name in self.meant if name.symbol]
        said = {word.lower() for name in bear for word in name.words}
        lengths = {len(word) for name in bear for word in name.symbol if word.isdigit()}  # 600519.SH and 000001.SH
        for other in self.meant if bear else ():
            elsewhere = other.own | {word for word in other.words if word.isdigit() and len(word) in lengths}
            if not other.symbol and not elsewhere - said:
                raise self._unclear(f"{bear[0].label!r} bears the symbol that is asked for, {other.label!r} bears none")
        self.meant = bear or self.meant

    def of_timeframe(self, timeframe: Timeframe) -> None:
        """Leave those that bear the timeframe; each of the others must bear another one."""
        frames = [name.frames for name in self.meant]
        if not any(frames) and all(name.number in _KRAKEN for name in self.meant):
            frames = [{Timeframe(f"{name.number}m")} for name in self.meant]  # Kraken's archive has XBTUSD_60 for an hour
        bear = [name for name, borne in zip(self.meant, frames, strict=True) if timeframe in borne]
        for other, borne in zip(self.meant, frames, strict=True):
            if bear and not borne:
                raise self._unclear(f"{bear[0].label!r} bears the timeframe that is asked for, {other.label!r} bears none")
            if not bear and borne != frames[0]:
                raise self._unclear(
                    f"{self.meant[0].label!r} and {other.label!r} differ in timeframe, and none is of {timeframe}"
                )
        self.meant = bear or self.meant

    def refuse_unlike(self) -> None:
        """Raise where those that are left bear different names: then they are not parts of one series."""
        first, *others = self.meant
        for other in others:
            if any(len(word) > 1 for word in first.own ^ other.own):
                raise self._unclear(f"{first.label!r} and {other.label!r} seem to be of different series")

    def _unclear(self, why: str) -> InvalidOption:
        return InvalidOption(
            f"It is not clear from their names which files in {self.where!r} are meant: {why}.",
            hint="Name those that are: path=['…', '…'] reads every file of the list."
            " Where a column says which rows are meant: symbol_col='…'.",
        )


def words_of(name: str) -> list[str]:
    """The words of a name, without its endings."""
    return re.findall(r"[^\W_]+", _ENDINGS.sub("", name))


def timeframe_of(word: str) -> Timeframe | None:
    """The timeframe that a word of a name is, such as 5m, 1H, M15 (MetaTrader's) or minute."""
    if re.fullmatch(r"[1-9]\d{0,2}([smhdwM]|[HDW]|min|mo)", word):
        return Timeframe(word)
    if told := _METATRADER.fullmatch(word):
        return Timeframe(f"{told[2]}{'M' if told[1] == 'MN' else told[1].lower()}")
    named = {"d": "1d", "minute": "1m"}.get(word)  # CryptoDataDownload's
    return Timeframe(named) if named else None
