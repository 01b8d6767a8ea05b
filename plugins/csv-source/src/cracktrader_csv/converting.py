"""Columns of texts as numbers and times, whole columns at once, knowing which could not be read."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from cracktrader_csv.formats import MONTHS, directives, format_pattern

__all__ = ["convert_each", "parse_format"]

_DAY_MS = 86_400_000
_WHOLE = r"^[+-]?\d+$"
_DECIMAL = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$|^(?i)[+-]?(nan|inf|infinity)$"
_MOMENT = r"^\d{4}-\d{2}-\d{2}[0-9T :.Z+-]*$"


def convert_each(texts: pa.StringArray, kind: pa.DataType) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Texts cast to a type, and which of them can't be; what can't be cast is 0, and timestamps come as int64.

    What looks wrong is left out first; what then still can't be cast, such as 30 February, is found by halving.
    """
    dtype = np.float64 if pa.types.is_floating(kind) else np.int64
    pattern = _DECIMAL if pa.types.is_floating(kind) else _MOMENT if pa.types.is_timestamp(kind) else _WHOLE
    looks_right = pc.match_substring_regex(texts, pattern).to_numpy(zero_copy_only=False)
    rows = np.flatnonzero(looks_right)
    texts = texts.take(pa.array(rows))
    values, bad = np.zeros(len(looks_right), dtype), ~looks_right
    parts = [(0, len(rows))]
    while parts:
        first, stop = parts.pop()
        try:
            part = texts.slice(first, stop - first).cast(kind)
        except pa.ArrowInvalid:
            if stop - first == 1:
                bad[rows[first]] = True
            else:
                middle = (first + stop) // 2
                parts += [(first, middle), (middle, stop)]
            continue
        values[rows[first:stop]] = (part.cast(pa.int64()) if pa.types.is_timestamp(kind) else part).to_numpy()
    return values, bad


def parse_format(texts: pa.StringArray, time_format: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts of a time format as milliseconds, and which of them could not be read."""
    parts = _fixed_parts(texts, time_format)
    if parts is not None:
        return _moments(parts), np.zeros(len(texts), np.bool_)
    found = pc.extract_regex(texts, format_pattern(time_format))
    bad = found.is_null().to_numpy(zero_copy_only=False)
    known = directives(time_format)

    def part(name: str) -> pa.StringArray:
        return pc.fill_null(pc.struct_field(found, name), "")

    def number(texts: pa.StringArray, empty: str) -> NDArray[np.int64]:
        return pc.if_else(pc.equal(texts, ""), empty, texts).cast(pa.int64()).to_numpy()  # type: ignore[no-any-return]

    parts = {name: number(part(name), "1" if name in "mdj" else "0") for name in known & set("YymdjHIMS")}
    if "b" in known:
        parts["m"] = pc.fill_null(pc.index_in(pc.utf8_lower(part("b")), pa.array(MONTHS)), 0).to_numpy() + 1
    if "f" in known:
        parts["f"] = number(pc.utf8_slice_codeunits(pc.utf8_rpad(part("f"), 3, "0"), 0, 3), "0")
    if "I" in known:
        afternoon = pc.equal(pc.utf8_lower(part("p")), "p").to_numpy(zero_copy_only=False)
        parts["H"] = parts["I"] % 12 + 12 * afternoon
    times = _moments(parts)
    if "z" in known:
        times = times - _offsets(part("z")) * 1000
    return times, bad | ~_possible(parts)


def _moments(parts: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    """Years, months, days and parts of a day as milliseconds."""
    first = ((_year(parts) - 1970) * 12 + parts.get("m", 1) - 1).astype("datetime64[M]")
    day = first.astype("datetime64[D]").astype(np.int64) + parts.get("j", parts.get("d", 1)) - 1
    seconds = (parts.get("H", 0) * 60 + parts.get("M", 0)) * 60 + parts.get("S", 0)
    return np.asarray(day * _DAY_MS + seconds * 1000 + parts.get("f", 0), np.int64)


def _possible(parts: dict[str, NDArray[np.int64]]) -> NDArray[np.bool_]:
    """Whether there are such days: not 31 February, nor the 366th of 2023."""
    day = _moments({name: parts[name] for name in parts.keys() & set("Yymdj")}).astype("datetime64[ms]")
    month = day.astype("datetime64[M]").astype(np.int64)
    if "j" in parts:
        return month // 12 + 1970 == _year(parts)  # type: ignore[no-any-return]
    return month == (_year(parts) - 1970) * 12 + parts["m"] - 1  # type: ignore[no-any-return]


def _year(parts: dict[str, NDArray[np.int64]]) -> NDArray[np.int64]:
    if "Y" in parts:
        return parts["Y"]
    return np.where(parts["y"] < 69, parts["y"] + 2000, parts["y"] + 1900)  # as POSIX has it


def _offsets(zones: pa.StringArray) -> NDArray[np.int64]:
    """``+01:00``, ``-0530`` and ``Z`` as seconds east of UTC."""
    texts = pc.replace_substring(pc.if_else(pc.match_substring_regex(zones, "^[+-]"), zones, "+0000"), ":", "")
    number = pc.utf8_ltrim(texts, "+").cast(pa.int64()).to_numpy()
    size = np.abs(number)
    return np.sign(number) * ((size // 100) * 3600 + (size % 100) * 60)  # type: ignore[no-any-return]


# ── formats of digits in fixed places, which most are: ten times as fast ─────────────────────────────

_WIDTHS = {"Y": 4, "m": 2, "d": 2, "H": 2, "M": 2, "S": 2}
_RANGES = {"Y": (1, 9999), "m": (1, 12), "d": (1, 31), "H": (0, 23), "M": (0, 59), "S": (0, 59), "f": (0, 999)}


def _fixed_parts(texts: pa.StringArray, time_format: str) -> dict[str, NDArray[np.int64]] | None:
    """The parts of times whose digits all stand in the same places; None unless all do, and are possible."""
    if not len(texts) or texts.null_count:
        return None
    lengths = pc.min_max(pc.binary_length(texts)).as_py()
    if lengths["min"] != lengths["max"] or (places := _places(time_format, width := lengths["max"])) is None:
        return None
    digits, between = places
    first = texts.offset and np.frombuffer(texts.buffers()[1], np.int32)[texts.offset]
    table = np.frombuffer(texts.buffers()[2], np.uint8)[first : first + len(texts) * width].reshape(len(texts), width)
    if any((table[:, place] != code).any() for place, code in between.items()):
        return None
    parts = {}
    for name, (begin, end) in digits.items():
        number = np.zeros(len(texts), np.int64)
        for column in range(begin, end):
            digit = table[:, column] - 48  # what is below "0" comes out above 9: the type has no sign
            if digit.max() > 9:
                return None
            number = number * 10 + digit
        if name == "f":
            number = number * 1000 // 10 ** (end - begin)
        low, high = _RANGES[name]
        if number.min() < low or number.max() > high:
            return None
        parts[name] = number
    return parts if _possible(parts).all() else None


@lru_cache(maxsize=256)
def _places(time_format: str, width: int) -> tuple[dict[str, tuple[int, int]], dict[int, int]] | None:
    """Where each part of a time of that width begins and ends, and which character stands at the other places.

    A fraction of a second takes what is left over. None for formats that have no fixed places, or another width.
    """
    tokens = re.findall(r"%.|.", time_format)
    widths = [_WIDTHS.get(token[1:], 0) if token.startswith("%") else 1 for token in tokens]
    fraction = width - sum(widths)
    digits: dict[str, tuple[int, int]] = {}
    between: dict[int, int] = {}
    place = 0
    for token, size in zip(tokens, widths, strict=True):
        if not token.startswith("%"):
            between[place] = ord(token)
        elif token[1] == "f" and 1 <= fraction <= 9:
            size, fraction = fraction, 0  # noqa: PLW2901 - known only here
            digits["f"] = (place, place + size)
        elif token[1] in _WIDTHS:
            digits[token[1]] = (place, place + size)
        else:
            return None
        place += size
    return (digits, between) if not fraction and {"Y", "m", "d"} <= digits.keys() and time_format.isascii() else None
