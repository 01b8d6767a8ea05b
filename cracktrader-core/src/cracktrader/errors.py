"""Every error a user can meet, with a stable code, by who has to act.

::

    CracktraderError                       CT000
    ├── ConfigurationError                 CT0xx  change the call
    │   ├── InvalidOption                  CT001
    │   ├── InvalidTimeframe               CT002
    │   ├── InvalidTime                    CT003
    │   ├── InvalidRange                   CT004
    │   └── UnsupportedMode                CT005
    ├── PluginError                        CT1xx  change what is installed
    │   ├── PluginNotFound                 CT101
    │   ├── PluginDependencyMissing        CT102
    │   ├── PluginIncompatible             CT103
    │   ├── PluginBroken                   CT104
    │   ├── PluginDuplicate                CT105
    │   └── PluginDenied                   CT106
    ├── SourceError                        CT2xx  look at the source of the data
    │   ├── TemporarySourceError           CT201  (worth trying again)
    │   ├── PermanentSourceError           CT202  (not worth trying again)
    │   ├── UnknownSymbol                  CT203
    │   ├── UnsupportedTimeframe           CT204
    │   ├── NotSupported                   CT205
    │   └── SourceNotFound                 CT206
    ├── DataError                          CT3xx  look at the data
    │   ├── QualityError                   CT301
    │   ├── MalformedData                  CT302
    │   └── NoData                         CT303
    ├── CatalogError                       CT4xx  look at the local store
    │   ├── CatalogUnwritable              CT401
    │   ├── CatalogDamaged                 CT402
    │   └── CatalogTooNew                  CT403
    └── WorkerLost                         CT5xx  look at the workers
"""

# ruff: noqa: N818  (most names say what happened, as LookupError's children do; the family's head ends in Error)

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

__all__ = [
    "CatalogDamaged",
    "CatalogError",
    "CatalogTooNew",
    "CatalogUnwritable",
    "ConfigurationError",
    "CracktraderError",
    "DataError",
    "InvalidOption",
    "InvalidRange",
    "InvalidTime",
    "InvalidTimeframe",
    "MalformedData",
    "NoData",
    "NotSupported",
    "PermanentSourceError",
    "PluginBroken",
    "PluginDenied",
    "PluginDependencyMissing",
    "PluginDuplicate",
    "PluginError",
    "PluginIncompatible",
    "PluginNotFound",
    "QualityError",
    "SourceError",
    "SourceNotFound",
    "TemporarySourceError",
    "UnknownSymbol",
    "UnsupportedMode",
    "UnsupportedTimeframe",
    "WorkerLost",
]


def did_you_mean(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """A question to put behind a message, with the known word that is nearest; empty where none is near.

    >>> did_you_mean("opne", ["open", "close"])
    " Did you mean 'open'?"
    """
    import difflib

    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" Did you mean {near[0]!r}?" if near else ""


class CracktraderError(Exception):
    """What happened, to what, and what to do about it.

    ``message`` says what happened and to which source, symbol or range; ``hint`` says what to do next;
    ``context`` holds the same facts for a program (``error.context["symbol"]``). ``str(error)`` is the
    message, then the hint on a line of its own. Errors pickle, so they come back whole from a worker
    process.
    """

    code: ClassVar[str] = "CT000"

    def __init__(self, message: str, *, hint: str = "", **context: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.context: Mapping[str, Any] = MappingProxyType(context)

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message

    def __reduce__(self) -> tuple[Any, ...]:
        rebuilt = (_rebuild, (type(self), self.message, self.hint, dict(self.context)))
        return (*rebuilt, {"__notes__": self.__notes__}) if hasattr(self, "__notes__") else rebuilt


def _rebuild(cls: type[CracktraderError], message: str, hint: str, context: dict[str, Any]) -> CracktraderError:
    return cls(message, hint=hint, **context)


class ConfigurationError(CracktraderError, ValueError):
    """What was asked for makes no sense; nothing was read or written."""

    code = "CT000"


class InvalidOption(ConfigurationError):
    """An option is unknown, missing, or has a value it can't have."""

    code = "CT001"


class InvalidTimeframe(ConfigurationError):
    """A timeframe that can't be read, such as ``"7x"``."""

    code = "CT002"


class InvalidTime(ConfigurationError):
    """A time that can't be read, or whose unit is ambiguous."""

    code = "CT003"


class InvalidRange(ConfigurationError):
    """A range whose end lies before its start, or a limit below one."""

    code = "CT004"


class UnsupportedMode(ConfigurationError):
    """A way of running that can't give right results, with the reason and another way."""

    code = "CT005"


class PluginError(CracktraderError):
    """A plugin can't be used; the others go on working."""

    code = "CT100"


class PluginNotFound(PluginError, LookupError):
    """No installed distribution offers a source of that name."""

    code = "CT101"


class PluginDependencyMissing(PluginError, ImportError):
    """The plugin is installed, but something that it imports is not."""

    code = "CT102"


class PluginIncompatible(PluginError):
    """The plugin was written for a plugin API that this core does not offer."""

    code = "CT103"


class PluginBroken(PluginError):
    """The plugin is installed but can't be loaded, or breaks the contract of a source."""

    code = "CT104"


class PluginDuplicate(PluginError):
    """Two distributions offer a source of the same name."""

    code = "CT105"


class PluginDenied(PluginError):
    """The plugin is installed, but the allow or deny list of the environment excludes it."""

    code = "CT106"


class SourceError(CracktraderError):
    """The source of the data did not answer as asked."""

    code = "CT200"


class TemporarySourceError(SourceError):
    """The source failed in a way that may pass: worth another try."""

    code = "CT201"


class PermanentSourceError(SourceError):
    """The source refused in a way that will not pass by itself."""

    code = "CT202"


class UnknownSymbol(SourceError, LookupError):
    """The source has no such symbol."""

    code = "CT203"


class UnsupportedTimeframe(SourceError, ValueError):
    """The source has no bars of this timeframe."""

    code = "CT204"


class NotSupported(SourceError):
    """The source does not offer what was asked of it."""

    code = "CT205"


class SourceNotFound(SourceError, FileNotFoundError):
    """The file, table or address that the source should read does not exist."""

    code = "CT206"


class DataError(CracktraderError):
    """The data is not what it should be."""

    code = "CT300"


class QualityError(DataError):
    """A check whose policy is ``raise`` found something; ``report`` holds everything that was found."""

    code = "CT301"

    @property
    def report(self) -> Any:
        """The :class:`~cracktrader.quality.QualityReport` of the load, None where none was made."""
        return self.context.get("report")


class MalformedData(DataError, ValueError):
    """Input that can't be read as bars; says where, and quotes it."""

    code = "CT302"


class NoData(DataError):
    """There is nothing where bars were expected."""

    code = "CT303"


class CatalogError(CracktraderError):
    """The local store of bars can't be read or written."""

    code = "CT400"


class CatalogUnwritable(CatalogError, OSError):
    """The local store can't be written to: a full disk, no rights; what it held is unharmed."""

    code = "CT401"


class CatalogDamaged(CatalogError):
    """Something in the local store is not what was written there."""

    code = "CT402"


class CatalogTooNew(CatalogError):
    """The local store was written by a newer version, and is not touched."""

    code = "CT403"


class WorkerLost(CracktraderError, RuntimeError):
    """The process that should have loaded a series died, or is not there any more."""

    code = "CT500"
