"""``key=value`` arguments: what they mean, and the load that they ask for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from cracktrader.bars import Bars
from cracktrader.errors import InvalidOption
from cracktrader.loading import load
from cracktrader.quality import Validation

__all__ = ["load_bars", "pairs", "writer"]

_NUMBERS: Final = ("limit", "compression")
_SWITCHES: Final = ("catalog", "cache_enabled", "local_storage")


def pairs(settings: Iterable[str] | None) -> dict[str, Any]:
    """``["path=a.csv", "limit=5"]`` as a mapping.

    A key that is repeated collects a list; a value in brackets or braces is JSON. Everything else stays text:
    what it is for knows how to read it.
    """
    found: dict[str, Any] = {}
    for setting in settings or ():
        key, equals, text = setting.partition("=")
        if not equals or not key.strip():
            raise InvalidOption(f"{setting!r} is not KEY=VALUE.", hint="Write options as in symbol=BTC/USDT timeframe=1h.")
        key, value = key.strip(), _value(key, text)
        if key in found:
            found[key] = [*(found[key] if isinstance(found[key], list) else [found[key]]), value]
        else:
            found[key] = value
    return found


def load_bars(source: str, settings: Iterable[str] | None, policies: Iterable[str] | None) -> Bars:
    """The bars that the arguments of a command ask for."""
    options = pairs(settings)
    for name in _NUMBERS:
        if isinstance(options.get(name), str):
            options[name] = _whole_number(name, options[name])
    for name in _SWITCHES:
        if isinstance(text := options.get(name), str) and text.lower() in ("true", "false"):
            options[name] = text.lower() == "true"
    return load(source, validation=_validation(options.pop("validation", None), policies), **options)


def writer(out: str | None) -> Callable[[Bars], object] | None:
    """What writes bars to a file, by its suffix, or to a table, ``DATABASE-URL#TABLE``; returns where. None without ``out``."""
    if out is None:
        return None
    if "://" in out:
        return _table_writer(out)
    path = Path(out)
    formats: dict[str, Callable[[Bars], Path]] = {
        ".csv": lambda bars: bars.to_csv(path),
        ".parquet": lambda bars: bars.to_parquet(path),
    }
    if path.suffix.lower() not in formats:
        raise InvalidOption(f"Bars can't be written as {path.name!r}.", hint=f"Give a file ending in {' or '.join(formats)}.")
    if not path.parent.is_dir():
        raise InvalidOption(f"There is no folder {str(path.parent)!r} to write {path.name!r} into.", hint="Make it first.")
    return formats[path.suffix.lower()]


def _table_writer(out: str) -> Callable[[Bars], str]:
    url, _, table = out.rpartition("#")
    if not url or not table:
        raise InvalidOption(
            "Which table is to be written is not said.", hint="Write it after the URL: postgresql://host/name#ohlcv"
        )

    def write(bars: Bars) -> str:
        bars.to_sql(url, table)
        return f"the table {table!r}"  # the URL may hold a password

    return write


def _validation(preset: Any, policies: Iterable[str] | None) -> Validation:
    rules: dict[str, Any] = {}
    for name, value in pairs(policies).items():
        policy, colon, limit = str(value).partition(":")
        rules[name] = {"policy": policy, **({"limit": limit} if colon else {})}
    base = Validation.of(preset)
    return Validation(preset=base.preset, **rules) if rules else base


def _value(key: str, text: str) -> Any:
    if text[:1] not in ("{", "["):
        return text
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise InvalidOption(f"{key}={text} begins like JSON, but can't be read as such: {error}.") from None


def _whole_number(name: str, text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidOption(f"{name}={text} is not a whole number.") from None
