"""Templates: ``{symbol}``, ``{start:iso}``, ``{env:API_KEY}`` in addresses, parameters, headers and bodies."""

from __future__ import annotations

import datetime as dt
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote

from pydantic import SecretStr

from cracktrader.errors import InvalidOption
from cracktrader.times import isoformat

__all__ = ["FIELDS", "TIMES", "check_template", "fields_of", "fill", "fill_url", "from_environment"]

#: Times, epoch milliseconds: the first opening of the range, its exclusive end, the last opening, the ms before the first.
TIMES: Final = frozenset({"start", "end", "last", "before"})
_TEXTS: Final = frozenset({"symbol", "base", "quote", "timeframe", "cursor", "api_key", "env"})
_NUMBERS: Final = frozenset({"limit", "page", "offset"})
#: What may stand in braces.
FIELDS: Final = TIMES | _TEXTS | _NUMBERS

_FIELD: Final = re.compile(r"\{(\w+)(?::([^{}]*))?\}")
_TIME_FORMS: Final[Mapping[str, Callable[[int], Any]]] = {
    "": lambda ms: ms,
    "ms": lambda ms: ms,
    "s": lambda ms: ms // 1000,
    "us": lambda ms: ms * 1000,
    "ns": lambda ms: ms * 1_000_000,
    "iso": isoformat,
}
_TEXT_FORMS: Final[Mapping[str, Callable[[str], str]]] = {"": str, "lower": str.lower, "upper": str.upper}


def fields_of(template: Any) -> set[str]:
    """The names in braces anywhere in a template, which may be a text, a mapping or a list."""
    return {name for text in _texts(template) for name, _ in _FIELD.findall(text)}


def check_template(template: Any) -> None:
    """Raise ``ValueError`` for a name or a form that does not exist."""
    for text in _texts(template):
        for name, form in _FIELD.findall(text):
            if name not in FIELDS:
                raise ValueError(f"there is no {{{name}}}; there are: {', '.join(sorted(FIELDS))}")
            forms = _TIME_FORMS if name in TIMES else _TEXT_FORMS if name in _TEXTS else {"": None}
            if name != "env" and form not in forms and not (name in TIMES and "%" in form):
                raise ValueError(f"{{{name}:{form}}} can't be written; {name} may be: {', '.join(filter(None, forms)) or 'bare'}")


def fill(template: Any, values: Mapping[str, Any]) -> Any:
    """A template with its values; None where one of them is None. A text that is one field keeps the value's type.

    In a mapping, what is None is left out.
    """
    if isinstance(template, SecretStr):
        template = template.get_secret_value()
    if isinstance(template, str):
        return _fill_text(template, values)
    if isinstance(template, Mapping):
        filled = {name: fill(item, values) for name, item in template.items()}
        return {name: item for name, item in filled.items() if item is not None}
    if isinstance(template, (list, tuple)):
        return [fill(item, values) for item in template]
    return template


def fill_url(template: str, values: Mapping[str, Any]) -> str:
    """An address with its values, quoted; raises :class:`InvalidOption` where one is missing."""

    def one(found: re.Match[str]) -> str:
        value = _value(found[1], found[2] or "", values)
        if value is None:
            raise InvalidOption(
                f"The address of the API needs {found[0]}, and there is none for this request.",
                hint="Give a symbol, a start and an end; or put it into `params`, where what is missing is left out.",
            )
        return quote(str(value), safe="/" if found[1] == "timeframe" else "")

    return _FIELD.sub(one, template)


def _fill_text(template: str, values: Mapping[str, Any]) -> Any:
    if whole := _FIELD.fullmatch(template):
        return _value(whole[1], whole[2] or "", values)
    parts = {found[0]: _value(found[1], found[2] or "", values) for found in _FIELD.finditer(template)}
    if None in parts.values():
        return None
    return _FIELD.sub(lambda found: str(parts[found[0]]), template)


def _value(name: str, form: str, values: Mapping[str, Any]) -> Any:
    if name == "env":
        return from_environment(form)
    value = values.get(name)
    if value is None:
        return None
    if name in TIMES:
        return _TIME_FORMS[form](value) if form in _TIME_FORMS else _moment(value).strftime(form)
    return _TEXT_FORMS[form](value) if form else value


def from_environment(name: str) -> str:
    """The environment variable ``name``; raises :class:`InvalidOption` where it is not set."""
    try:
        return os.environ[name]
    except KeyError:
        raise InvalidOption(
            f"The environment variable {name!r} is not set.", hint=f"Set it, or give the value instead of {{env:{name}}}."
        ) from None


def _moment(ms: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(0, dt.UTC) + dt.timedelta(milliseconds=ms)


def _texts(template: Any) -> Iterator[str]:
    if isinstance(template, SecretStr):
        template = template.get_secret_value()
    if isinstance(template, str):
        yield template
    elif isinstance(template, Mapping):
        for item in template.values():
            yield from _texts(item)
    elif isinstance(template, (list, tuple)):
        for item in template:
            yield from _texts(item)
