"""How the times of a file are written, and reading whole columns of them."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cracktrader.errors import InvalidTime
from cracktrader.times import EpochUnit, epoch_to_ms, epoch_unit, parse_zone
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.converting import convert_each, parse_format
from cracktrader_csv.formats import directives, fitting_formats
from cracktrader_csv.zones import missing_times

__all__ = ["Clock", "Unreadable", "tell_clock"]

_ISO = re.compile(r"\d{4}-\d{2}-\d{2}(?:[T ]\d{2}(?::\d{2}(?::\d{2}(\.\d{1,9})?)?)?(Z|[+-]\d{2}(?::?\d{2})?)?)?")
_DATE_OF_DIGITS = re.compile(r"(19|20)(\d{6}|\d{8}|\d{10}|\d{12}|\d{15})")  # 20240131, perhaps with a clock
_LEAST_EPOCH = 1e8  # the seconds until 1973: what is less may be days, a spreadsheet's date, or 240131
_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?")


class Unreadable(Exception):  # noqa: N818 - not an error: the careful way of reading finds out what it is
    """A block holds something that the quick way of reading can't read."""


@dataclass(frozen=True)
class Clock:
    """How one file writes its times.

    ``kind`` is ``epoch`` (numbers of ``unit``), ``iso``, or ``format`` (``time_format``). ``zoned`` times are UTC once
    read; others are what a clock on the wall of ``zone`` shows.
    """

    kind: Literal["epoch", "iso", "format"]
    zoned: bool = True
    unit: EpochUnit = "ms"
    unit_told: bool = False
    whole: bool = True
    fine: bool = False
    time_format: str = ""
    zone: dt.tzinfo = dt.UTC
    #: A clock column of bare digits loses its leading zeros (93000 is 09:30:00): its full width, or 0.
    clock_digits: int = 0

    @property
    def local(self) -> bool:
        """Whether times are those of a zone whose clocks may be put forward and back."""
        return not self.zoned and self.zone is not dt.UTC

    @property
    def arrow_type(self) -> pa.DataType:
        """As what Arrow should read the column, where it is one column and nothing is unusual."""
        if self.kind == "epoch":
            return pa.int64() if self.whole else pa.float64()
        if self.kind == "iso":
            return pa.timestamp("ns" if self.fine else "us", "UTC" if self.zoned else None)
        return pa.string()

    def read(self, column: pa.ChunkedArray) -> NDArray[np.int64]:
        """A column that Arrow has read as :attr:`arrow_type`, as milliseconds; raises :class:`Unreadable`."""
        if column.null_count:
            raise Unreadable
        if pa.types.is_string(column.type):
            times, bad = self.parse(column.combine_chunks())
        elif pa.types.is_timestamp(column.type):
            times, bad = _to_ms(column), None
        else:
            numbers = column.to_numpy()
            if not np.isfinite(numbers).all() or self._of_another_unit(numbers).any():
                raise Unreadable
            times, bad = epoch_to_ms(numbers, self.unit), None
        return self.checked(times, bad)

    def checked(self, times: NDArray[np.int64], bad: NDArray[np.bool_] | None) -> NDArray[np.int64]:
        """The times themselves; raises :class:`Unreadable` where one could not be read, or no clock ever showed it."""
        if (bad is not None and bad.any()) or self.never_shown(times).any():
            raise Unreadable
        return times

    def never_shown(self, times: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which times the clocks of the zone were put forward over."""
        return missing_times(times, self.zone) if self.local else np.zeros(len(times), np.bool_)

    def parse(self, texts: pa.StringArray) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Texts as milliseconds, and which of them could not be read."""
        texts = pc.utf8_trim_whitespace(texts)
        if self.kind == "epoch":
            values, bad = convert_each(texts, pa.int64())
            if bad.any():  # numbers with a fraction or an exponent
                decimals, bad = convert_each(texts, pa.float64())
                values = np.where(bad, 0.0, decimals)
                bad |= ~np.isfinite(values)
            bad |= self._of_another_unit(values)
            return epoch_to_ms(np.where(bad, 0, values), self.unit), bad
        if self.kind == "iso":
            try:
                return _to_ms(texts.cast(self.arrow_type)), np.zeros(len(texts), np.bool_)
            except pa.ArrowInvalid:
                zone = "UTC" if self.zoned else None
                values, bad = convert_each(texts, pa.timestamp("ns", zone))
                return values // 1_000_000, bad
        return parse_format(texts, self.time_format)

    def join(self, date: pa.StringArray, clock: pa.StringArray) -> pa.StringArray:
        """A column of dates and one of clocks as one column of texts."""
        clock = pc.utf8_trim_whitespace(clock)
        if self.clock_digits:
            clock = pc.utf8_lpad(clock, self.clock_digits, "0")
        return pc.binary_join_element_wise(pc.utf8_trim_whitespace(date), clock, " ")

    def complaint(self, text: str) -> str:
        """What is wrong with a time that could not be read."""
        if not text:
            return "is empty, but every line needs a time"
        if self.kind == "epoch":
            number = re.fullmatch(r"[+-]?\d+(\.\d*)?", text)
            if number and (unit := epoch_unit(np.array([float(text)]))) != self.unit:
                return f"is a time in {unit}, but the file's times are in {self.unit}"
            return f"is not an epoch time in {self.unit}"
        if self.local:
            values, bad = self.parse(pa.array([text]))
            if not bad[0] and self.never_shown(values)[0]:
                return f"does not exist in {self.zone}: clocks were put forward over it"
        if self.kind == "iso" and (matched := _ISO.fullmatch(text)):
            try:
                pa.array([text]).cast(pa.timestamp("ns", None if self.zoned else "UTC"))
            except pa.ArrowInvalid:
                return "is not a time: there is no such day or hour"
            return ("has a time zone" if matched[2] else "has no time zone") + ", unlike the times before it"
        written = {"iso": "ISO-8601", "format": repr(self.time_format)}[self.kind]
        return f"is not a time written as {written}"

    def describe(self) -> str:
        """In a few words, for the provenance."""
        if self.kind == "epoch":
            return f"epoch {self.unit}" + ("" if self.unit_told else ", told from the magnitude")
        return "ISO-8601" if self.kind == "iso" else self.time_format

    def _of_another_unit(self, values: NDArray[Any]) -> NDArray[np.bool_]:
        if self.unit_told or not len(values):
            return np.zeros(len(values), np.bool_)
        try:
            if epoch_unit(values) == self.unit:
                return np.zeros(len(values), np.bool_)
        except InvalidTime:
            pass
        return np.array([epoch_unit(values[i : i + 1]) != self.unit for i in range(len(values))])


def _to_ms(times: pa.Array | pa.ChunkedArray) -> NDArray[np.int64]:
    per_ms = {"us": 1_000, "ns": 1_000_000}[times.type.unit]
    values = times.cast(pa.int64())
    return values.to_numpy() // per_ms  # type: ignore[no-any-return]


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────


def tell_clock(texts: Sequence[str], config: CsvConfig, *, joined: bool) -> Clock | None:
    """How times are written, told from some of them; None where that can't be told.

    Raises :class:`InvalidTime` where more than one reading is possible. ``joined`` texts are a date and a
    clock from two columns.
    """
    zone = parse_zone(config.tz or "UTC")
    texts = [text.strip() for text in texts]
    clocks = [text.partition(" ")[2].strip() for text in texts] if joined else []
    digits = max((len(clock) for clock in clocks), default=0) if all(clock.isdigit() for clock in clocks) else 0
    width = 0 if not digits else 6 if digits > 4 else 4
    if width:
        texts = [f"{text.partition(' ')[0]} {text.partition(' ')[2].strip().zfill(width)}" for text in texts]
    if config.time_format:
        zoned = bool(directives(config.time_format) & {"z", "Z"})
        return Clock("format", zoned, time_format=config.time_format, zone=zone, clock_digits=width)
    epoch = _tell_epoch(texts, config)
    if epoch is not None and (config.time_unit or not _DATE_OF_DIGITS.fullmatch(texts[0])):
        _refuse_doubtful(epoch, texts)
        return epoch
    matches = [match for match in map(_ISO.fullmatch, texts) if match]
    if 2 * len(matches) > len(texts):
        zoned = 2 * sum(match[2] is not None for match in matches) > len(matches)
        return Clock("iso", zoned, zone=zone, fine=any(match[1] and len(match[1]) > 7 for match in matches))
    formats = fitting_formats(texts)
    if len(formats) > 1:
        raise InvalidTime(
            f"{texts[0]!r} can be read as {' or as '.join(map(repr, formats))}",
            hint=f"Say which it is: time_format={formats[0]!r}.",
        )
    if not formats:
        if epoch is not None:
            _refuse_doubtful(epoch, texts)
        return epoch
    return Clock("format", bool(directives(formats[0]) & {"z", "Z"}), time_format=formats[0], zone=zone, clock_digits=width)


def _tell_epoch(texts: Sequence[str], config: CsvConfig) -> Clock | None:
    numbers = [text for text in texts if _NUMBER.fullmatch(text)]
    if 2 * len(numbers) <= len(texts) and not config.time_unit:
        return None
    whole = not any(mark in text for text in numbers for mark in ".eE")
    if config.time_unit:
        return Clock("epoch", unit=config.time_unit, unit_told=True, whole=whole)
    return Clock("epoch", unit=_usual(numbers), whole=whole)


def _refuse_doubtful(clock: Clock, texts: Sequence[str]) -> None:
    """Raise :class:`InvalidTime` for numbers that need not be epoch times, or can't be any more."""
    numbers = [text for text in texts if _NUMBER.fullmatch(text)]
    values = np.array([float(number) for number in numbers])
    if numbers and not clock.unit_told and (np.abs(values) < _LEAST_EPOCH).all():
        raise InvalidTime(
            f"{numbers[0]!r} may be an epoch time of about 1970, a date in digits, or a count of days",
            hint="Say which it is: time_unit='s', or time_format='%y%m%d'.",
        )
    if (
        numbers
        and any(mark in numbers[0] for mark in "eE")
        and len(values) > 1
        and 2 * np.count_nonzero(np.diff(values)) < len(values) - 1
    ):
        raise InvalidTime(
            f"{numbers[0]!r} and most that follow are one number: their last digits are lost, as when a spreadsheet saves them",
            hint="Write the file again, with all digits of the times.",
        )


def _usual(numbers: Sequence[str]) -> EpochUnit:
    units = [epoch_unit(np.array([float(number)])) for number in numbers[:15]] or ["ms"]
    return max(units, key=lambda unit: (units.count(unit), unit == units[0]))
