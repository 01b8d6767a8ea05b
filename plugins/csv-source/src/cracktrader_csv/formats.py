"""Time formats in the directives of strptime: as regular expressions, and told from samples.

Arrow's own strptime is not used: it takes 31 February for 2 March, knows no fractions of a second, and
leans on the C library of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

from cracktrader.errors import InvalidOption

__all__ = ["MONTHS", "directives", "fitting_formats", "format_pattern"]

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>1[0-2]|0[1-9]|[1-9])",
    "b": rf"(?P<b>{'|'.join(MONTHS)})[a-z]*\.?",
    "d": r"(?P<d>3[01]|[12]\d|0[1-9]|[1-9])",
    "j": r"(?P<j>36[0-6]|3[0-5]\d|[12]\d\d|0?[1-9]\d|0{0,2}[1-9])",
    "H": r"(?P<H>2[0-3]|[01]\d|\d)",
    "I": r"(?P<I>1[0-2]|0[1-9]|[1-9])",
    "M": r"(?P<M>[0-5]\d|\d)",
    "S": r"(?P<S>[0-5]\d|\d)",
    "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[ap])\.?m\.?",
    "z": r"(?P<z>Z|[+-]\d{2}:?\d{2})",
    "Z": r"(?P<Z>UTC|GMT)",
    "a": r"[a-z]+\.?",
    "%": "%",
}
_SAME = {"B": "%b", "h": "%b", "A": "%a", "e": "%d", "T": "%H:%M:%S", "R": "%H:%M", "D": "%m/%d/%y", "F": "%Y-%m-%d"}

_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
          "%d %b %Y", "%d-%b-%Y", "%b %d, %Y", "%b %d %Y")  # fmt: skip
_CLOCKS = ("%H:%M", "%H:%M:%S", "%H:%M:%S.%f", "%H%M", "%H%M%S", "%H%M%S%f", "%I:%M %p", "%I:%M:%S %p", "%I:%M%p",
           "%I:%M:%S%p", "%I-%p", "%I %p", "%H")  # fmt: skip
# How many digits clocks without colons have: any fewer, and an hour might be a minute.
_BARE = {"%H": (1, 2), "%H%M": (4,), "%H%M%S": (6,), "%H%M%S%f": (7, 8, 9, 12, 15)}
_ZONES = ("", "%z", " %z", "%Z", " %Z")
_BETWEEN = re.compile(r"(?:\s*[T,;_-]?\s*)", re.IGNORECASE)


@lru_cache(maxsize=256)
def format_pattern(time_format: str) -> str:
    """A time format as a regular expression, in the syntax that both Python and Arrow's RE2 read."""
    pattern = ""
    expanded = re.sub(r"%([a-zA-Z])", lambda match: _SAME.get(match[1], match[0]), time_format)
    for token in re.findall(r"%.?|\s+|[^%\s]+", expanded, re.DOTALL):
        if token.startswith("%"):
            if token[1:] not in _DIRECTIVES:
                raise InvalidOption(
                    f"time_format={time_format!r}: the directive {token!r} can't be read.",
                    hint=f"Known are: {', '.join('%' + name for name in [*_DIRECTIVES, *_SAME])}."
                    " For epoch times, give time_unit instead.",
                )
            pattern += _DIRECTIVES[token[1:]]
        else:
            pattern += r"\s+" if token.isspace() else re.escape(token)
    return rf"(?i)^{pattern}$"


@lru_cache(maxsize=256)
def directives(time_format: str) -> frozenset[str]:
    """The directives in a time format, ``{"Y", "m", "d"}``; raises :class:`InvalidOption` if it makes no date."""
    try:
        found = frozenset(re.compile(format_pattern(time_format)).groupindex)
    except re.error:
        raise InvalidOption(
            f"time_format={time_format!r} holds a directive twice.", hint="Name each part of a time once."
        ) from None
    if not (found & {"Y", "y"} and ("j" in found or ("d" in found and found & {"m", "b"}))):
        raise InvalidOption(
            f"time_format={time_format!r} makes no date.", hint="It needs a year, a month and a day, as in '%Y-%m-%d %H:%M'."
        )
    if ("I" in found) != ("p" in found):
        raise InvalidOption(f"time_format={time_format!r}: %I and %p need each other.", hint="For hours from 0 to 23 write %H.")
    return found


def fitting_formats(texts: Sequence[str]) -> list[str]:
    """The formats that read most of the texts, at least half of them: several where day and month can't be told apart."""
    candidates = list(dict.fromkeys(one for text in texts[:20] for one in _formats_of(text)))
    counts = {one: sum(_matches(one, text) for text in texts) for one in candidates}
    most = max(counts.values(), default=0)
    return [one for one, count in counts.items() if count == most and 2 * count >= len(texts)]


def _formats_of(text: str) -> Iterator[str]:
    """Every known format that one text may be written in."""
    for date in _DATES:
        matched = re.match(format_pattern(date).removesuffix("$"), text)
        if matched is None or (date == "%Y%m%d" and matched.end() != 8):
            continue
        rest = text[matched.end() :]
        if not rest:
            yield date
            continue
        between = _BETWEEN.match(rest)[0]  # type: ignore[index]  # it matches nothing, too
        digits = re.match(r"\d*", rest[len(between) :])[0]  # type: ignore[index]
        for clock in _CLOCKS:
            bare = _BARE.get(clock)
            if bare is not None and len(digits) not in bare:
                continue
            for zone in _ZONES:
                if _matches(whole := date + between + clock + zone, text):
                    yield whole


def _matches(time_format: str, text: str) -> bool:
    return re.match(format_pattern(time_format), text) is not None
