"""The registry: which sources are installed, and how to get one by name.

Sources are found by entry points and loaded when they are named. Listing reads the metadata of installed
distributions and imports none of them; a plugin that can't be loaded is an error for whoever names it, and
for nobody else.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from importlib import metadata
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from cracktrader.errors import (
    ConfigurationError,
    CracktraderError,
    InvalidOption,
    PluginBroken,
    PluginIncompatible,
)
from cracktrader.plugins.discovery import COMMANDS, DENY, PLUGINS, SOURCES, Discovery, Origin, SourceEntry, duplicate
from cracktrader.plugins.hooking import HookManager
from cracktrader.plugins.hookspec import API, PROJECT, PluginHooks, SourceHooks
from cracktrader.plugins.options import configure, hide_secrets
from cracktrader.plugins.source import DataSource, PluginWarning, Source, missing_dependency

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.quality import CustomCheck

__all__ = ["PluginWarning", "Registry", "default_registry"]


class Registry:
    """The sources and plugins of one environment.

    ``entry_points`` gives the entry points of a group, and ``environ`` the environment's variables;
    :func:`default_registry` uses the machine's. Sources can also be registered by hand, which shadows
    installed ones. A registry may be used from several threads at once.

    Two variables hold names, or patterns, of sources or distributions, separated by commas:
    ``CRACKTRADER_ALLOW_PLUGINS``, outside of which nothing is loaded, and ``CRACKTRADER_DENY_PLUGINS``.
    """

    def __init__(
        self,
        *,
        entry_points: Callable[[str], Iterable[metadata.EntryPoint]] | None = None,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._discovery = Discovery(entry_points=entry_points, environ=environ)
        self._registered: dict[str, type[DataSource]] = {}
        # Never changed, only replaced: other threads may be walking over it.
        self._plugins: dict[str, tuple[object, HookManager]] = {}
        self._plugins_loaded = False
        self._lock = threading.RLock()

    def entries(self) -> tuple[SourceEntry, ...]:
        """Every installed source, by name, then those registered by hand; imports none of them."""
        by_hand = (SourceEntry(name, "", "", _origin_of(cls).entry_point) for name, cls in self._registered.items())
        return (*self._discovery.entries(), *by_hand)

    def check(self) -> list[tuple[SourceEntry, CracktraderError | None]]:
        """Load every installed source and say what stands against each; nothing is raised."""
        entries = self.entries()
        return [(entry, self._examine(entry, entries)) for entry in entries]

    def _examine(self, entry: SourceEntry, entries: Iterable[SourceEntry]) -> CracktraderError | None:
        try:
            if entry.denied:
                return self._discovery.denial(entry)
            cls = _load(entry) if entry.distribution else self._registered[entry.name]
            _examine_hooks(cls, entry)
        except CracktraderError as error:
            return error
        if entry.duplicate:
            return duplicate(rival for rival in entries if rival.duplicate and rival.name == entry.name)
        return None

    def load(self, name: str) -> type[DataSource]:
        """The class of a source, by its name or ``"dist-name:source"``; imports that plugin and no other.

        Raises :class:`PluginNotFound`, :class:`PluginDuplicate`, :class:`PluginDenied`,
        :class:`PluginDependencyMissing`, :class:`PluginIncompatible`, :class:`PluginBroken`.
        """
        return self._find(name)[0]

    def _find(self, name: str) -> tuple[type[DataSource], str, Origin]:
        """The class of a source, its name, and where it came from."""
        if name in self._registered:
            cls = self._registered[name]
            return cls, name, _origin_of(cls)
        entry = self._discovery.find(name)
        return _load(entry), entry.name, entry.origin

    def source(self, source: str | type[DataSource] | DataSource | Source, /, **options: Any) -> Source:
        """A configured source: of a name, a ``DataSource`` class, or one that is configured already.

        Raises what :meth:`load` does, and :class:`InvalidOption`.
        """
        if isinstance(source, (Source, DataSource)):
            if options:
                raise InvalidOption(
                    f"This source is configured already; {', '.join(options)} can't be changed any more.",
                    hint="Give these options to ct.source(…), where it is made.",
                )
            if isinstance(source, Source):
                return source
            name, origin = type(source).__name__, _origin_of(type(source))
            _check_class(type(source), name, origin)
            plugin = source
        elif isinstance(source, type) and issubclass(source, DataSource):
            name, origin = source.__name__, _origin_of(source)
            _check_class(source, name, origin)
            plugin = _make(source, configure(source, options, ""), name, origin)
        elif isinstance(source, str):
            cls, name, origin = self._find(source)
            plugin = _make(cls, configure(cls, options, name, origin), name, origin)
        else:
            raise ConfigurationError(
                f"{source!r} is not a source.",
                hint="Give the name of one (see `cracktrader sources`), a DataSource class or object,"
                " or what ct.source(…) returns.",
            )
        return Source(plugin, name=name, origin=origin, wrappers=self.plugins())

    def register(self, name: str, cls: type[DataSource]) -> None:
        """Make a class known by name in this registry, without an entry point; shadows an installed one.

        Raises :class:`PluginIncompatible`, :class:`PluginBroken`.
        """
        _check_class(cls, name, _origin_of(cls) if isinstance(cls, type) else Origin(entry_point=repr(cls)))
        self._registered[name] = cls

    def command(self, name: str) -> Callable[..., Any] | None:
        """The function behind a command that an installed package adds, None where none does; imports that one and no other.

        Raises :class:`PluginBroken` and :class:`PluginDependencyMissing`.
        """
        entries = (entry for entry in self._discovery.entries(COMMANDS) if entry.name == name and not entry.denied)
        return next((_import(entry, COMMANDS) for entry in entries), None)

    # ── plugins that cut across sources ──────────────────────────────────────────────────────────────

    def plugins(self) -> Mapping[str, object]:
        """The plugins of the group ``cracktrader.plugins`` by name, loaded at the first call.

        One that can't be used is left out with a :class:`PluginWarning`.
        """
        with self._lock:
            if not self._plugins_loaded:
                self._plugins_loaded = True
                problems = [self._add_installed(entry) for entry in self._discovery.entries(PLUGINS) if not entry.denied]
                for problem in filter(None, problems):
                    warnings.warn(problem, PluginWarning, stacklevel=2)
        return MappingProxyType({name: plugin for name, (plugin, _) in self._plugins.items()})

    def _add_installed(self, entry: SourceEntry) -> str:
        """Load a plugin across sources; what stands against it, or nothing."""
        try:
            found = _import(entry, PLUGINS)
            check_api(found, entry.name, entry.origin, "plugin")
            self._add(entry.full_name, found() if isinstance(found, type) else found)
        except CracktraderError as error:
            return f"{error} It was left out."
        except (Exception, SystemExit) as error:
            return (f"The plugin {entry.name!r} of {entry.origin} could not be made: {type(error).__name__}: {error}."
                    f" It was left out; {_repair(entry)}")  # fmt: skip
        return ""

    def add_plugin(self, name: str, plugin: object) -> None:
        """Register a plugin object that cuts across sources by hand; it replaces one of the same name.

        Raises :class:`PluginBroken`, and :class:`PluginIncompatible` where it says an ``api`` that isn't offered.
        """
        if getattr(plugin, "api", None) is not None:
            check_api(plugin, name, Origin(entry_point=name), "plugin")
        self.plugins()
        self._add(name, plugin)

    def _add(self, name: str, plugin: object) -> None:
        manager = HookManager(SourceHooks, PluginHooks)
        if found := manager.misfit(plugin, name):
            problem, remedy = found
            raise PluginBroken(f"The plugin {name!r} {problem}", hint=f"{remedy[0].upper()}{remedy[1:]}.", plugin=name)
        if not manager.get_hookcallers(plugin):
            raise PluginBroken(
                f"The plugin {name!r} implements no hook, so it would never do anything.",
                hint=f"Write @ct.hookimpl above its hooks. Hooks are: {', '.join(manager.names)}.",
                plugin=name,
            )
        if unwrapped := manager.unwrapped(plugin):
            raise PluginBroken(
                f"The plugin {name!r} would stand in the place of every source: its {unwrapped[0]} is no wrapper.",
                hint="Write @ct.hookimpl(wrapper=True), and yield to let the source answer.",
                plugin=name,
            )
        with self._lock:
            self._plugins = {**self._plugins, name: (plugin, manager)}

    def notify(self, hook: str, **arguments: Any) -> list[Any]:
        """Call a hook of :class:`PluginHooks` in every plugin; one that raises is warned about, and no other is harmed."""
        self.plugins()
        answers: list[Any] = []
        for name, (_, manager) in self._plugins.items():
            try:
                for answer in getattr(manager.hook, hook)(**arguments):
                    answers.append(_sound(answer, name, answers) if hook == "quality_checks" else answer)
            except (Exception, SystemExit) as error:
                _warn_of(name, f"failed in {hook}", error)
        return answers


_DEFAULT: Final = Registry()  # looks at nothing before it is asked


def default_registry() -> Registry:
    """The registry of this environment; always the same one."""
    return _DEFAULT


# ── loading ──────────────────────────────────────────────────────────────────────────────────────────


def _load(entry: SourceEntry) -> type[DataSource]:
    """Import an installed source and see whether it is one that this core can use."""
    cls: type[DataSource] = _import(entry, SOURCES)
    _check_class(cls, entry.name, entry.origin)
    return cls


def _import(entry: SourceEntry, group: str) -> Any:
    kind = {SOURCES: "source", COMMANDS: "command"}.get(group, "plugin")
    package = entry.value.partition(":")[0].partition(".")[0].strip()
    try:
        return metadata.EntryPoint(entry.name, entry.value, group).load()
    except ImportError as error:
        culprit = (error.name or "").partition(".")[0]
        if culprit == PROJECT and package != PROJECT:
            raise PluginIncompatible(
                f"The {kind} {entry.name!r} of {entry.origin} needs something that this cracktrader does not have: {error}.",
                hint="Run: pip install --upgrade cracktrader-core",
                source=entry.name,
            ) from error
        if isinstance(error, ModuleNotFoundError) and culprit not in ("", package):
            raise missing_dependency(entry.name, entry.origin, error) from error
        cause: BaseException = error
    except (Exception, SystemExit) as error:
        cause = error
    told = f"{type(cause).__name__}: {cause}"
    if not all(part.strip() for part in entry.value.partition(":")):
        told = f"its entry point names {entry.value!r}, which is not of the form 'package.module:Class'"
    raise PluginBroken(
        f"The {kind} {entry.name!r} of {entry.origin} can't be loaded: {told}",
        hint=f"Repair it: {_repair(entry)}",
        source=entry.name,
    ) from cause


def _repair(entry: SourceEntry) -> str:
    package = entry.origin.package
    return (f"pip install --upgrade --force-reinstall {package}; or remove it: pip uninstall {package};"
            f" or do without it: {DENY}={entry.full_name}")  # fmt: skip


def _check_class(cls: Any, name: str, origin: Origin) -> None:
    """Raise unless ``cls`` is the class of a source, of a plugin API that this core offers."""
    if not (isinstance(cls, type) and issubclass(cls, DataSource)):
        what = f"the class {cls.__name__}" if isinstance(cls, type) else f"an object of type {type(cls).__name__}"
        raise PluginBroken(
            f"The source {name!r} is {what}, which is not derived from cracktrader.DataSource.",
            hint=origin.blame(),
            source=name,
        )
    check_api(cls, name, origin)
    if not (isinstance(cls.Config, type) and issubclass(cls.Config, BaseModel)):
        raise PluginBroken(
            f"The options of the source {name!r} are no pydantic model: its Config is {cls.Config!r}.",
            hint=origin.blame("derive Config from cracktrader.SourceConfig"),
            source=name,
        )


def check_api(plugin: Any, name: str, origin: Origin, kind: str = "source") -> None:
    """Raise unless ``plugin`` was written for a plugin API that this core offers."""
    api = getattr(plugin, "api", None)
    if not (isinstance(api, tuple) and len(api) == 2 and all(type(number) is int and number >= 0 for number in api)):
        said = "" if api is None else f": {api!r} is no pair of numbers"
        raise PluginBroken(
            f"The {kind} {name!r} does not say which plugin API it was written for{said}.",
            hint=origin.blame(f"write `api = {API}` into it"),
            source=name,
        )
    if api[0] != API[0] or api[1] > API[1]:
        newer = api > API
        remedy = "pip install --upgrade cracktrader-core" if newer else f"pip install --upgrade {origin.distribution or name}"
        raise PluginIncompatible(
            f"The {kind} {name!r} of {origin} was written for plugin API {api[0]}.{api[1]};"
            f" this cracktrader offers {API[0]}.{API[1]}, which is {'older' if newer else 'newer'}.",
            hint=f"Run: {remedy}",
            source=name,
            api=api,
        )


def _examine_hooks(cls: type[DataSource], entry: SourceEntry) -> None:
    """See whether the hooks of a class fit, without making a source of it, which might need options."""
    try:
        bare = object.__new__(cls)
    except TypeError as error:
        raise PluginBroken(
            f"The source {entry.name!r} can't be made: {error}.",
            hint=entry.origin.blame(),
            source=entry.name,
        ) from error
    Source(bare, name=entry.name, origin=entry.origin)


def _make(cls: type[DataSource], config: Any, name: str, origin: Origin) -> DataSource:
    try:
        return cls(config)
    except CracktraderError:
        raise
    except ModuleNotFoundError as error:
        raise missing_dependency(name, origin, error) from error
    except (Exception, SystemExit) as error:
        raise PluginBroken(
            f"The source {name!r} could not be made: {type(error).__name__}: {hide_secrets(str(error), config)}",
            hint=origin.blame(),
            source=name,
        ) from error


def _origin_of(cls: type) -> Origin:
    return Origin(entry_point=f"{cls.__module__}:{cls.__qualname__}")


# ── what plugins across sources answer ───────────────────────────────────────────────────────────────


def _warn_of(name: str, what: str, error: BaseException) -> None:
    warnings.warn(f"The plugin {name!r} {what}: {type(error).__name__}: {error}", PluginWarning, stacklevel=3)


def _sound(answer: Any, name: str, before: Iterable[list[CustomCheck]]) -> list[CustomCheck]:
    """The checks of a plugin that nobody is harmed by: no two of one name, and one that fails finds nothing."""
    from cracktrader.quality import CustomCheck

    known = {check.id: check for checks in before for check in checks}
    sound: list[CustomCheck] = []
    for check in list(answer):
        if not isinstance(check, CustomCheck):
            raise TypeError(f"{check!r} is not a check; make one with cracktrader.check")
        guarded = replace(check, find=_Guarded(check, name))
        first = known.setdefault(check.id, guarded)
        if first is guarded:
            sound.append(guarded)
        elif first != guarded:
            _warn_of(name, f"has a check {check.id!r} that was left out", ValueError("another plugin has one of that name"))
    return sound


class _Guarded:
    """A check's function; where it fails, or answers something else than a mask, nothing is found, with a warning."""

    def __init__(self, check: CustomCheck, plugin: str) -> None:
        self.check = check
        self.plugin = plugin

    def __call__(self, bars: Bars) -> Any:
        import numpy as np

        nothing = np.zeros(len(bars), np.bool_)
        try:
            mask = np.asarray(self.check.find(bars))
            if mask.shape != nothing.shape or mask.dtype != nothing.dtype:
                raise TypeError(f"it returned {mask.dtype} of shape {mask.shape}, not a mask of shape {nothing.shape}")
        except (Exception, SystemExit) as error:
            _warn_of(self.plugin, f"has a check {self.check.id!r} that failed", error)
            return nothing
        return mask

    # The same check stays the same: one that a user asks for as well is run once.

    def __eq__(self, other: object) -> bool:
        return bool(self.check.find == (other.check.find if isinstance(other, _Guarded) else other))

    def __hash__(self) -> int:
        return hash(self.check.find)
