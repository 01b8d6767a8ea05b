"""Declarations: what to load, written in TOML or as a dict; what is wrong in one is told with its place."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, Final, TypeAlias

from cracktrader.errors import CracktraderError, InvalidOption, did_you_mean
from cracktrader.plugins.registry import Registry
from cracktrader.plugins.source import DataSource, Source, option_names
from cracktrader.timeframe import Timeframe

__all__ = ["Declaration", "Table", "read_tables"]

#: A TOML file, the same as a dict, or a list of its tables.
Declaration: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | Sequence[Mapping[str, Any]]

#: The tables that a file may have: one file can serve feeds and the catalog.
_KINDS: Final = ("defaults", "feeds", "series")


@dataclass(frozen=True, slots=True)
class Table:
    """One table of a declaration, defaults included: ``name``, ``where`` it stands, and its ``settings``."""

    name: str
    where: str
    settings: dict[str, Any]

    def wrong(self, message: str, hint: str = "") -> InvalidOption:
        """An error about this table."""
        return InvalidOption(f"{self.where} {message}", hint=hint)

    def options_of_source(self, registry: Registry) -> dict[str, str] | None:
        """Every option that its source takes, with the field that it means; None where it takes any.

        Raises :class:`InvalidOption` where it names none, and :class:`PluginError` with the place where there is none.
        """
        source = self.settings.get("source")
        if source is None:
            raise self.wrong(
                "does not say which source to load from.", 'Add source = "csv", or another name, here or in [defaults].'
            )
        try:
            cls = registry.load(source) if isinstance(source, str) else _class_of(source)
        except CracktraderError as error:
            raise type(error)(f"{self.where}: {error.message}", hint=error.hint, **error.context) from error
        return None if cls.Config.model_config.get("extra") == "allow" else option_names(cls.Config)

    def refuse_unknown(self, known: Iterable[str]) -> None:
        """Raise :class:`InvalidOption` for a key that is none of ``known``, with the nearest one that is."""
        names = sorted(known)
        for key in self.settings:
            if key not in names:
                raise self.wrong(f"has no key {key!r}.{did_you_mean(key, names)}", f"It takes: {', '.join(names)}.")

    def timeframes(self) -> list[Timeframe]:
        """Its ``timeframes``, or its one ``timeframe``; finest first."""
        told = self.settings.get("timeframes", self.settings.get("timeframe"))
        if told is None:
            raise self.wrong("has no timeframe.", 'Add timeframe = "1h", or timeframes = ["5m", "1h"], here or in [defaults].')
        texts = [told] if isinstance(told, str) else told
        if not texts or not isinstance(texts, Sequence):
            raise self.wrong(f"has timeframes = {told!r}, which is no list of them.", 'Write timeframes = ["5m", "1h"].')
        try:
            return sorted({Timeframe(text) for text in texts}, key=attrgetter("shortest"))
        except CracktraderError as error:
            raise self.wrong(f"has a timeframe that can't be read: {error.message}", error.hint) from None

    def beside(self, folder: Path | None, options: Mapping[str, str] | None) -> Table:
        """The same with its paths, ``catalog`` and the source's ``path``, taken from a folder where they are relative."""
        if folder is None:
            return self
        paths = {"catalog", "path", *(option for option, meant in (options or {}).items() if meant == "path")}
        moved = {key: _beside(value, folder) if key in paths else value for key, value in self.settings.items()}
        return Table(self.name, self.where, moved)


def read_tables(declaration: Declaration, kind: str) -> tuple[list[Table], Path | None]:
    """The tables of a kind, each with the defaults in it, and the folder that their paths are relative to.

    Raises :class:`InvalidOption` with the file and the place.
    """
    label, folder, content = _read(declaration, kind)
    if unknown := sorted(set(content) - set(_KINDS)):
        guess = did_you_mean(unknown[0], _KINDS)
        raise InvalidOption(f"{label} has an unknown table {unknown[0]!r}.{guess}", hint=f"There are: {', '.join(_KINDS)}.")
    defaults = _table(content.get("defaults", {}), f"{label}, [defaults]")
    tables: dict[str, Table] = {}
    for name, where, told in _entries(content.get(kind, {}), label, kind):
        if name in tables:
            raise InvalidOption(
                f"{where} has the name {name!r}, as {tables[name].where} has.", hint="Give each a name of its own."
            )
        tables[name] = Table(name, where, {**defaults, **_table(told, where)})
    if not tables:
        raise InvalidOption(f"{label} declares no {kind}.", hint=f"Write a table [{kind}.NAME] for each.")
    return list(tables.values()), folder


def _read(declaration: Declaration, kind: str) -> tuple[str, Path | None, Mapping[str, Any]]:
    if isinstance(declaration, Mapping):
        return "The declaration", None, declaration
    if not isinstance(declaration, (str, os.PathLike)):
        return "The declaration", None, {kind: declaration}
    path = Path(declaration)
    try:
        return path.name, path.parent.resolve(), tomllib.loads(path.read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise InvalidOption(f"The declaration {str(path)!r} can't be read: {error}.", hint="Is the path right?") from error
    except tomllib.TOMLDecodeError as error:
        raise InvalidOption(
            f"{path.name} is not TOML: {error}.", hint='Texts are written in quotes: symbol = "BTC/USDT".'
        ) from None


def _entries(told: Any, label: str, kind: str) -> Iterator[tuple[str, str, Any]]:
    """Name, place and settings of each table; those of a list are named by ``name``, else by their symbol."""
    if isinstance(told, Mapping):
        for name, settings in told.items():
            yield name, f"{label}, [{kind}.{name}]", settings
    elif isinstance(told, Sequence) and not isinstance(told, str):
        for number, settings in enumerate(told, 1):
            where = f"{label}, number {number} of {kind},"
            table = dict(_table(settings, where))
            name = table.pop("name", None) or table.get("symbol")
            if not name:
                raise InvalidOption(f"{where} has no name.", hint="Give it a name, or a symbol.")
            yield str(name), where, table
    else:
        raise InvalidOption(f"{label} has {kind} = {told!r}, which is no table.", hint=f"Write a table [{kind}.NAME] for each.")


def _table(told: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(told, Mapping):
        raise InvalidOption(f"{where} is no table but {type(told).__name__}.", hint="Write KEY = VALUE lines below its name.")
    return told


def _class_of(source: Any) -> type[DataSource]:
    plugin = source.plugin if isinstance(source, Source) else source
    if isinstance(plugin, DataSource):
        return type(plugin)
    if isinstance(plugin, type) and issubclass(plugin, DataSource):
        return plugin
    raise InvalidOption(f"{source!r} is not a source.", hint="Give the name of one; `cracktrader sources` lists them.")


def _beside(value: Any, folder: Path) -> Any:
    if isinstance(value, list):
        return [_beside(one, folder) for one in value]
    is_path = isinstance(value, str) and "://" not in value
    return str(folder / value) if is_path else value  # an absolute path stays as it is
