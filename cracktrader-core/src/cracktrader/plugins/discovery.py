"""What is installed: the listing of plugins, from the metadata of distributions alone.

Nothing here imports a plugin, nor any library that takes long to import, so that a listing is quick and
works whatever state the plugins are in.
"""

from __future__ import annotations

import contextlib
import difflib
import fnmatch
import functools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Final

from cracktrader.errors import PluginDenied, PluginDuplicate, PluginNotFound

__all__ = ["Discovery", "Origin", "SourceEntry"]

SOURCES: Final = "cracktrader.sources"
PLUGINS: Final = "cracktrader.plugins"
COMMANDS: Final = "cracktrader.commands"
ALLOW: Final = "CRACKTRADER_ALLOW_PLUGINS"
DENY: Final = "CRACKTRADER_DENY_PLUGINS"
#: The sources that have an extra of the core.
EXTRAS: Final = ("ccxt", "csv", "http", "sql")
#: How long a folder must have been as it is for a listing to be kept, in nanoseconds.
_SETTLED: Final = 5_000_000_000
#: What stands for the name of a distribution whose metadata does not say it.
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source class came from, for messages and provenance; only ``entry_point`` for a bare class."""

    distribution: str = ""
    version: str = ""
    entry_point: str = ""

    def __str__(self) -> str:
        return f"{self.distribution} {self.version} ({self.entry_point})" if self.distribution else self.entry_point

    def blame(self, remedy: str = "tell its authors") -> str:
        """A hint for a fault in the plugin: what its authors can do, and the command for everybody else."""
        command = f" A newer version may do better: pip install --upgrade {self.package}" if self.distribution else ""
        return f"This is a fault in {self}: {remedy}.{command}"

    @property
    def package(self) -> str:
        """What pip calls the distribution; a placeholder where that is not known."""
        return self.distribution if self.distribution not in ("", UNKNOWN) else "<the package that it came with>"


@dataclass(frozen=True, slots=True)
class SourceEntry:
    """One installed plugin, as its distribution's metadata tells it."""

    name: str
    distribution: str
    version: str
    value: str
    denied: bool = False
    duplicate: bool = False

    @property
    def origin(self) -> Origin:
        """The same, for messages."""
        return Origin(self.distribution, self.version, self.value)

    @property
    def full_name(self) -> str:
        """A name that no other distribution can have: ``"dist-name:source"``; the plain name of one without."""
        return f"{self.distribution}:{self.name}" if self.distribution else self.name


class Discovery:
    """The entry points of an environment; see :class:`~cracktrader.plugins.Registry` for the arguments."""

    def __init__(
        self,
        *,
        entry_points: Callable[[str], Iterable[metadata.EntryPoint]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._entry_points = entry_points
        self._environ = os.environ if environ is None else environ

    def entries(self, group: str = SOURCES) -> tuple[SourceEntry, ...]:
        """Every installed plugin of a group, by name."""
        found: dict[tuple[str, str, str], SourceEntry] = {}
        for entry in _installed(group) if self._entry_points is None else map(_entry, self._entry_points(group)):
            # An editable install can list an entry point twice: that is one plugin.
            key = normal(entry.distribution), entry.name, entry.value
            found.setdefault(key, replace(entry, denied=bool(self.why_denied(entry))))
        names = [entry.name for entry in found.values() if not entry.denied]
        entries = [replace(entry, duplicate=not entry.denied and names.count(entry.name) > 1) for entry in found.values()]
        return tuple(sorted(entries, key=lambda entry: (entry.name, entry.distribution)))

    def find(self, name: str) -> SourceEntry:
        """The one source that ``name`` means: its name, or ``"dist-name:source"``.

        Raises :class:`PluginNotFound`, :class:`PluginDuplicate`, :class:`PluginDenied`.
        """
        entries = self.entries()
        distribution, _, short = name.rpartition(":")
        matches = [e for e in entries if e.name == short and (not distribution or normal(e.distribution) == normal(distribution))]
        if not matches:
            raise _not_found(name, entries)
        usable = [entry for entry in matches if not entry.denied]
        if not usable:
            raise self.denial(matches[0])
        if len(usable) > 1:
            raise duplicate(usable)
        return usable[0]

    def denial(self, entry: SourceEntry) -> PluginDenied:
        """The error of naming a plugin that the environment excludes."""
        return PluginDenied(
            f"The source {entry.name!r} of {entry.origin} is excluded by the environment: {self.why_denied(entry)}.",
            hint="Change that variable to use the source.",
            source=entry.name,
        )

    def why_denied(self, entry: SourceEntry) -> str:
        """What in the environment excludes a plugin; empty where nothing does."""

        def named(variable: str) -> bool:
            patterns = [pattern.strip() for pattern in self._environ.get(variable, "").split(",") if pattern.strip()]
            return any(
                fnmatch.fnmatchcase(entry.name, pattern)
                or fnmatch.fnmatchcase(normal(entry.distribution), normal(pattern))
                or fnmatch.fnmatchcase(normal(entry.full_name), normal(pattern))
                for pattern in patterns
            )

        if named(DENY):
            return f"{DENY}={self._environ[DENY]} names it"
        if self._environ.get(ALLOW, "").strip() and not named(ALLOW):
            return f"{ALLOW}={self._environ[ALLOW]} does not name it"
        return ""


def normal(distribution: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", distribution).lower()


def duplicate(claims: Iterable[SourceEntry]) -> PluginDuplicate:
    """The error of a name that several distributions claim."""
    rivals = sorted(claims, key=lambda entry: entry.distribution)
    hint = (
        f"Say which: {' or '.join(repr(e.full_name) for e in rivals)}; or remove one: pip uninstall {rivals[-1].origin.package}"
    )
    if len({normal(e.distribution) for e in rivals}) < len(rivals):
        hint = f"One distribution is there twice. Run: pip install --force-reinstall {rivals[0].origin.package}"
    return PluginDuplicate(
        f"{len(rivals)} plugins offer a source {rivals[0].name!r}: {' and '.join(str(e.origin) for e in rivals)}.",
        hint=hint,
        source=rivals[0].name,
        distributions=[e.distribution for e in rivals],
    )


def _not_found(name: str, entries: Iterable[SourceEntry]) -> PluginNotFound:
    names = sorted({entry.name for entry in entries})
    short = name.rpartition(":")[2]
    elsewhere = [entry.full_name for entry in entries if entry.name == short]
    known = {known.lower(): known for known in (*names, *EXTRAS)}
    near = difflib.get_close_matches(short.lower(), known, n=1)
    wanted = known[near[0]] if near else ""
    guess = f" Did you mean {wanted!r}?" if wanted and wanted != short else ""
    hint = f"Installed: {', '.join(names) or 'none'}. Use one of these, or install the package that brings {short!r}."
    if elsewhere:
        hint = f"There is {' and '.join(map(repr, elsewhere))}."
    elif not names:  # not even the core's own
        hint = ("No source at all is listed, not even the core's own: the metadata of the installed packages is missing."
                " In a frozen app, ship it: pyinstaller --copy-metadata cracktrader-core, and so for each plugin.")  # fmt: skip
    elif wanted in EXTRAS and wanted not in names:
        hint = f'Run: pip install "cracktrader-core[{wanted}]"   (Installed: {", ".join(names) or "none"}.)'
    return PluginNotFound(f"No source {name!r} is installed.{guess}", hint=hint, source=name, installed=names)


# ── reading what is installed ────────────────────────────────────────────────────────────────────────


def _installed(group: str) -> tuple[SourceEntry, ...]:
    """The entry points of a group in every distribution on ``sys.path``; read again when a folder there has changed.

    One that changed just now may be in the middle of an installation: what is read meanwhile is not kept.
    """
    folders = tuple((path, _changed(path)) for path in sys.path)
    if time.time_ns() - max((changed for _, changed in folders), default=0) < _SETTLED:
        return tuple(_entries(group))
    return _read(group, tuple(map(id, sys.meta_path)), folders)


def _changed(path: str) -> int:
    """When anything was last put into a folder or taken out of it; 0 where there is none."""
    try:
        return Path(path).stat().st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=16)
def _read(group: str, finders: object, folders: object) -> tuple[SourceEntry, ...]:  # noqa: ARG001  # what it depends on
    return tuple(_entries(group))


def _entries(group: str) -> Iterator[SourceEntry]:
    """What the distributions say.

    Each distribution's file is read by itself: :func:`importlib.metadata.entry_points` fails as a whole where one
    of them, anybody's, has a line that it can't read. Metadata proper is read only where there is a plugin.
    """
    for distribution in metadata.distributions():
        with contextlib.suppress(Exception):  # whatever is damaged there: the listing goes on
            text = distribution.read_text("entry_points.txt")
            if text and group in text:
                name, version = _name_and_version(distribution)
                if not _is_shadowed(distribution, name):
                    for line in _section(text, group):
                        key, _, value = line.partition("=")
                        yield SourceEntry(key.strip(), name, version, value.strip())


def _section(text: str, group: str) -> Iterator[str]:
    """The lines of one section of an ``entry_points.txt``, also the damaged ones, which loading will complain of."""
    section = ""
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            section = line[1:-1].strip()
        elif section == group and line and not line.startswith(("#", ";")):
            yield line


def _entry(point: metadata.EntryPoint) -> SourceEntry:
    name, version = (UNKNOWN, "?") if point.dist is None else _name_and_version(point.dist)
    return SourceEntry(point.name, name, version, point.value)


def _name_and_version(distribution: metadata.Distribution) -> tuple[str, str]:
    name, version = UNKNOWN, "?"
    with contextlib.suppress(Exception):  # there may be no metadata, or none that can be read
        about = distribution.metadata
        if "Name" in about:
            name = about["Name"]
        if "Version" in about:
            version = about["Version"]
    return name, version


def _is_shadowed(distribution: metadata.Distribution, name: str) -> bool:
    """Whether another folder on ``sys.path`` comes first with a distribution of that name, so that this one is not imported."""
    with contextlib.suppress(Exception):
        return str(metadata.distribution(name).locate_file("")) != str(distribution.locate_file(""))
    return False
