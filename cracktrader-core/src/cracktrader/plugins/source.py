"""DataSource, what a plugin author subclasses, and Source, what a user gets."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from pydantic import BaseModel

from cracktrader.errors import (
    CracktraderError,
    DataError,
    MalformedData,
    NotSupported,
    PluginBroken,
    PluginDependencyMissing,
    SourceError,
    UnsupportedMode,
)
from cracktrader.plugins.discovery import DENY, Origin
from cracktrader.plugins.hooking import HookManager, hook_names
from cracktrader.plugins.hookspec import SourceHooks
from cracktrader.plugins.identity import identity_of
from cracktrader.plugins.options import SourceConfig, configure, hide_secrets, option_names
from cracktrader.times import now_ms

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.request import BarRequest

__all__ = ["DataSource", "PluginWarning", "Source", "SourceConfig", "configure", "option_names"]

Result = TypeVar("Result")


class PluginWarning(UserWarning):
    """A plugin did something wrong that stopped nothing; or one of ``cracktrader.plugins`` was left out."""


class DataSource:
    """The base of every data source.

    A source names the plugin API that it was written for, the model of its options, and implements
    :meth:`~cracktrader.plugins.hookspec.SourceHooks.fetch_bars` and whatever other hooks it can::

        class TickDbConfig(ct.SourceConfig):
            url: str
            token: pydantic.SecretStr | None = None

        class TickDbSource(ct.DataSource):
            \"\"\"Bars from TickDB.\"\"\"

            api = (1, 0)
            Config = TickDbConfig

            @ct.hookimpl
            def fetch_bars(self, request):
                yield rows_of(self.config.url, request)

    Registered as an entry point of the group ``cracktrader.sources``, it is found by name; without one, the
    class or an instance of it can be given to :func:`cracktrader.load` as it stands. ``__init__`` must not
    open anything: heavy libraries and connections come with the first fetch.
    """

    #: The version of the plugin API that the source was written for; each plugin says its own.
    api: ClassVar[tuple[int, int]]
    #: The pydantic model of the options.
    Config: ClassVar[type[BaseModel]] = SourceConfig
    #: Whether the data comes over a network: then it is kept in the catalog, unless a load says otherwise.
    remote: ClassVar[bool] = False
    #: Classes that users import from ``cracktrader`` itself, and where each is: ``{"CCXTStore": "cracktrader_ccxt.store"}``.
    exports: ClassVar[Mapping[str, str]] = {}
    #: The options, validated; an instance of ``Config``.
    config: Any

    def __init__(self, config: BaseModel | None = None, /, **options: Any) -> None:
        if config is None:
            config = configure(type(self), options)
        self.config = config

    def identity(self) -> Mapping[str, Any]:
        """The options that decide which data this is, as JSON values without secrets: the catalog tells series apart by them.

        Unless overridden, all that were set to anything but their default. Override it to leave out those that only say how
        to read, such as a timeout.
        """
        return identity_of(self.config)

    @classmethod
    def export(cls, name: str) -> Any:
        """What the plugin brings under a name of :attr:`exports`; imported now."""
        if name not in cls.exports:
            raise AttributeError(f"The source {cls.__name__} brings no {name!r}; a later version of its plugin may.")
        return getattr(importlib.import_module(cls.exports[name]), name)

    @classmethod
    def exchanges(cls) -> Sequence[Mapping[str, Any]]:
        """What each exchange that the source can read from offers, as plain values and without asking any.

        Raises :class:`NotSupported`, unless overridden.
        """
        raise NotSupported(
            f"The source {cls.__name__} knows no exchanges.", hint="`cracktrader schema SOURCE` says what a source offers."
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"  # options may hold what should not be shown


class Source:
    """A configured source: what :func:`cracktrader.source` returns; share one between many loads.

    Each has a small plugin manager of its own, which holds the plugin and whatever wraps its calls. Use it in
    a ``with`` block, or call :meth:`close`. Whatever a plugin raises comes out as a ``CracktraderError``.
    """

    def __init__(self, plugin: DataSource, *, name: str, origin: Origin, wrappers: Mapping[str, object] | None = None) -> None:
        self.name = name
        self.origin = origin
        self.plugin = plugin
        self._closed = False
        self._wrappers = wrappers or {}
        self._hooks = _manager(plugin, name, origin, self._wrappers)

    @property
    def config(self) -> Any:
        """The options, validated; secrets in it do not show."""
        return getattr(self.plugin, "config", None)

    @property
    def identity(self) -> Mapping[str, Any]:
        """The options that decide which data it is, as JSON values without secrets; see :meth:`DataSource.identity`."""
        return dict(self._run(self.plugin.identity))

    @property
    def provenance(self) -> dict[str, str]:
        """Which ``plugin`` delivers, and its ``plugin_version``."""
        return {"plugin": self.origin.distribution or self.origin.entry_point, "plugin_version": self.origin.version}

    def offers(self, hook: str) -> bool:
        """Whether the source implements a hook, such as ``"stream_trades"``."""
        impls = getattr(self._hooks.hook, hook).get_hookimpls() if hook in self._hooks.names else ()
        return any(impl.plugin is self.plugin for impl in impls)

    def call(self, hook: str, **arguments: Any) -> Any:
        """What the source itself answers to a hook, through whatever wraps its calls.

        Raises :class:`NotSupported` where the source does not implement it, :class:`UnsupportedMode` after
        :meth:`close`.
        """
        if self._closed:
            raise UnsupportedMode(
                f"The source {self.name!r} was closed; it can't be used any more.",
                hint="Make a new one with ct.source(…); a `with` block closes its source at the end.",
                source=self.name,
            )
        if not self.offers(hook):
            raise NotSupported(
                f"The source {self.name!r} can't answer {hook}.",
                hint=f"It offers: {', '.join(name for name in hook_names() if self.offers(name))}.",
                source=self.name,
                hook=hook,
            )
        return self._run(lambda: getattr(self._hooks.hook, hook)(**arguments))

    def bars(self, request: BarRequest) -> Iterator[Bars]:
        """The bars of a request as the source delivers them, unchecked, chunk by chunk.

        Rows outside the range are cut off and the limit is kept, whatever the source sent.
        """
        with contextlib.closing(self._chunks(request)) as chunks:
            if request.limit is None:
                yield from chunks
            elif request.start is not None:
                yield from _head(chunks, request.limit)
            else:
                yield from _tail(chunks, request.limit)

    def _chunks(self, request: BarRequest) -> Generator[Bars]:
        answer = self.call("fetch_bars", request=request)
        pieces = self._run(lambda: _pieces(answer))
        try:
            while (piece := self._run(lambda: next(pieces, _END))) is not _END:
                chunk = self._to_bars(piece, request)
                inside = request.contains(chunk.time)
                yield chunk if inside.all() else chunk[inside]
        finally:
            if isinstance(pieces, Generator):  # given up half-way: what it holds is given back now
                self._run_quietly(pieces.close)

    def _to_bars(self, piece: Any, request: BarRequest) -> Bars:
        """One thing that the source returned, as Bars; an error says whose it is and what was asked for."""
        from cracktrader.bars import Bars
        from cracktrader.interchange import to_bars

        whose = f"The source {self.name!r} was asked for {request}, and returned {type(piece).__name__}"
        fault = self.origin.blame()
        if not self._run(lambda: _is_columnar(piece)):
            raise DataError(
                f"{whose}, which can't be read as bars{'' if piece is None else f': {_excerpt(piece)}'}.",
                hint=self.origin.blame(
                    "it must give Bars, a pandas frame, anything with __arrow_c_stream__, or an iterator of those;"
                    " an empty list where there is no bar"
                ),
                source=self.name,
            )
        if isinstance(piece, Bars) and piece.timeframe != request.timeframe:
            raise DataError(f"{whose} of {piece.timeframe}.", hint=fault, source=self.name)
        try:
            return to_bars(piece, symbol=request.symbol, timeframe=request.timeframe, source=self.name)
        except Exception as error:
            told = error if isinstance(error, DataError) else MalformedData(f"{type(error).__name__}: {error}")
            raise type(told)(
                f"{whose}, which can't be read as bars. {told.message}",
                hint=told.hint or fault,
                **{**told.context, "source": self.name},
            ) from error

    def symbols(self) -> tuple[str, ...]:
        """The symbols that the source has; raises :class:`NotSupported` where it can't say."""
        return self._texts("list_symbols")

    def timeframes(self) -> tuple[str, ...]:
        """The timeframes that the source has; raises :class:`NotSupported` where it can't say."""
        return self._texts("list_timeframes")

    def now(self) -> int:
        """The source's own clock, or the machine's where it has none, in epoch milliseconds UTC."""
        if not self.offers("server_time"):
            return now_ms()
        answer = self.call("server_time")
        return self._run(lambda: int(answer))

    def close(self) -> None:
        """Give back what the source holds; harmless the second time.

        A plugin that fails here is warned about (:class:`PluginWarning`): what it delivered is not lost by that, and
        an error on the way out would hide the one that came before.
        """
        if not self._closed:
            self._closed = True
            self._run_quietly(self._hooks.hook.close)

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Source {self.name!r} of {self.origin}>"

    def _texts(self, hook: str) -> tuple[str, ...]:
        answer = self.call(hook)
        texts: tuple[Any, ...] = () if isinstance(answer, str) else self._run(lambda: tuple(answer))
        if isinstance(answer, str) or not all(isinstance(text, str) for text in texts):
            raise PluginBroken(
                f"The source {self.name!r} answered {hook} with {type(answer).__name__}: {str(answer)[:60]!r}.",
                hint=self.origin.blame("it must return a list of texts"),
                source=self.name,
            )
        return texts

    def _run(self, function: Callable[[], Result]) -> Result:
        """Run the plugin's code; what it raises is told in our words, with the plugin's name."""
        try:
            return function()
        except CracktraderError:
            raise
        except (Exception, SystemExit) as error:
            said = f"{type(error).__name__}: {hide_secrets(str(error), self.config)}"
            if label := self._wrapper_at_fault(error):
                raise PluginBroken(
                    f"The plugin {label!r}, which wraps the calls of the source {self.name!r}, failed: {said}",
                    hint=f"This is a fault in that plugin. To do without it, set {DENY}={label}",
                    source=self.name,
                ) from error
            if isinstance(error, ModuleNotFoundError):
                raise missing_dependency(self.name, self.origin, error) from error
            raise SourceError(
                f"The source {self.name!r} failed: {said}",
                hint=f"This is a fault in {self.origin}, or in something that it relies on; the cause is above.",
                source=self.name,
            ) from error

    def _run_quietly(self, function: Callable[[], Any]) -> None:
        try:
            self._run(function)
        except CracktraderError as error:
            warnings.warn(f"Closing the source {self.name!r} failed. {error.message}", PluginWarning, stacklevel=3)

    def _wrapper_at_fault(self, error: BaseException) -> str:
        """The name of the wrapper whose code raised ``error``; empty where it was the source's, or nobody knows."""
        owners = {_module(wrapper): label for label, wrapper in self._wrappers.items()} | {_module(self.plugin): ""}
        culprit = ""
        traceback = error.__traceback__
        while traceback is not None:  # towards the frame that raised: the last of a plugin's frames tells
            culprit = owners.get(traceback.tb_frame.f_globals.get("__name__", ""), culprit)
            traceback = traceback.tb_next
        return culprit


_END: Any = object()


def _is_columnar(piece: Any) -> bool:
    from cracktrader.bars import Bars

    return isinstance(piece, Bars) or hasattr(piece, "__arrow_c_stream__") or _is_pandas(piece)


def _is_pandas(piece: Any) -> bool:
    return type(piece).__module__.partition(".")[0] == "pandas" and hasattr(piece, "columns")


def _pieces(answer: Any) -> Iterator[Any]:
    """What a source returned, one thing after the other; what is not several things is one."""
    if isinstance(answer, Iterator):
        return answer
    several = isinstance(answer, Iterable) and not isinstance(answer, (str, bytes, Mapping)) and not _is_columnar(answer)
    return iter(answer if several else (answer,))


def _excerpt(piece: Any) -> str:
    try:
        return repr(str(piece)[:60])
    except Exception as error:  # even that can be broken
        return f"{type(error).__name__} when asked for its text"


def _module(plugin: object) -> str:
    return plugin.__name__ if isinstance(plugin, ModuleType) else type(plugin).__module__


# ── the plugin manager of one source ─────────────────────────────────────────────────────────────────


def _manager(plugin: DataSource, name: str, origin: Origin, wrappers: Mapping[str, object]) -> HookManager:
    manager = HookManager(SourceHooks)
    if found := manager.misfit(plugin, name):
        problem, remedy = found
        raise PluginBroken(f"The source {name!r} {problem}", hint=origin.blame(remedy), source=name)
    if not any(impl.plugin is plugin for impl in manager.hook.fetch_bars.get_hookimpls()):
        raise PluginBroken(
            f"The source {name!r} has no fetch_bars hook, which every source needs.",
            hint=origin.blame("write a method fetch_bars(self, request) with @ct.hookimpl above it"),
            source=name,
        )
    for label, wrapper in wrappers.items():
        if not manager.is_registered(wrapper):  # one object under two names wraps once
            manager.register(wrapper, f"the plugin {label}")
    return manager


def missing_dependency(name: str, origin: Origin, error: ModuleNotFoundError) -> PluginDependencyMissing:
    """The plugin is there, a module that it needs is not."""
    hint = f"Run: pip install {error.name}   (or whatever package brings that module)"
    if origin.distribution:
        hint = f"Run: pip install --upgrade {origin.package}   (if that doesn't bring {error.name!r}, tell its authors)"
    return PluginDependencyMissing(
        f"The source {name!r} is installed ({origin}), but it needs the module {error.name!r}, which is not.",
        hint=hint,
        source=name,
        missing=error.name,
    )


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


def _head(chunks: Iterator[Bars], limit: int) -> Iterator[Bars]:
    for chunk in chunks:
        yield chunk[:limit]
        limit -= len(chunk)
        if limit <= 0:
            return


def _tail(chunks: Iterator[Bars], limit: int) -> Iterator[Bars]:
    kept: deque[Bars] = deque()
    rows = 0
    for chunk in chunks:
        kept.append(chunk)
        rows += len(chunk)
        while rows - len(kept[0]) >= limit:
            rows -= len(kept.popleft())
    if kept:
        kept[0] = kept[0][max(0, rows - limit) :]
    yield from kept
