"""The options of a source, as its plugin declares them."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic_core import PydanticUndefined
from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cracktrader.errors import InvalidOption
from cracktrader.plugins.discovery import Discovery
from cracktrader.plugins.hooking import hook_names
from cracktrader.plugins.registry import default_registry
from cracktrader.plugins.source import option_names

__all__ = ["describe", "exchanges_of", "exchanges_table", "table"]


def describe(name: str) -> dict[str, Any]:
    """What a source is, takes and offers, as plain JSON values."""
    cls = default_registry().load(name)
    entry = Discovery().find(name)
    spellings = option_names(cls.Config)
    options = []
    for field, info in cls.Config.model_fields.items():
        default = info.get_default(call_default_factory=False)
        options.append({
            "name": field,
            "aliases": [spelling for spelling, meant in spellings.items() if meant == field and spelling != field],
            "type": _type_name(info.annotation),
            "required": info.is_required(),
            "default": None if default is PydanticUndefined or default is None else str(default),
            "description": info.description or "",
        })  # fmt: skip
    return {
        "source": entry.name,
        "distribution": entry.distribution,
        "version": entry.version,
        "about": (cls.__doc__ or "").strip().partition("\n")[0],
        "offers": [hook for hook in hook_names() if callable(getattr(cls, hook, None))],
        "options": options,
    }


def table(about: dict[str, Any]) -> RenderableType:
    """The same for a terminal."""
    grid = Table(box=box.SIMPLE_HEAD)
    for column in ("option", "type", "default", "what it is"):
        grid.add_column(column)
    for option in about["options"]:
        names = ", ".join([option["name"], *option["aliases"]])
        grid.add_row(names, option["type"], "required" if option["required"] else option["default"] or "", option["description"])
    title = Text(f"{about['source']}: {about['about']}", "bold")
    origin = Text(f"{about['distribution']} {about['version']}, offers {', '.join(about['offers'])}", "dim")
    common = Text("Every source also takes symbol, timeframe, start, end, limit, compression and validation.", "dim")
    return Group(title, origin, grid if about["options"] else Text("No options."), common)


def exchanges_of(source: str | None) -> list[dict[str, Any]]:
    """What each exchange offers that a source reads from, as plain values."""
    if source is None:
        raise InvalidOption("Which source's exchanges?", hint="Name it: cracktrader sources ccxt --exchanges")
    return [dict(exchange) for exchange in default_registry().load(source).exchanges()]


def exchanges_table(offered: list[dict[str, Any]]) -> str:
    """The same as lines of text: one for each exchange, as long as need be, so that they can be searched."""
    columns = list(dict.fromkeys(name for exchange in offered for name in exchange))
    rows = [[name.replace("_", " ") for name in columns], *([_told(one.get(name)) for name in columns] for one in offered)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(offered)} exchanges"])


def _told(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        few = value if len(value) <= 4 else [value[0], "…", value[-1], f"({len(value)})"]
        return " ".join(map(str, few)) or "-"
    return {True: "yes", False: "-", None: "-"}[value] if value is None or isinstance(value, bool) else str(value)


def _type_name(annotation: Any) -> str:
    """A type as a reader writes it: ``str | list[str]``, ``'raise' | 'skip'``."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(arguments[0])
    if origin is Literal:
        return " | ".join(repr(choice) for choice in arguments)
    if origin in (Union, UnionType):
        return " | ".join(_type_name(argument) for argument in arguments if argument is not NoneType)
    if origin is not None:
        inner = ", ".join("..." if argument is Ellipsis else _type_name(argument) for argument in arguments)
        return f"{getattr(origin, '__name__', origin)}[{inner}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")
