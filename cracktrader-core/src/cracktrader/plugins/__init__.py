"""Sources as plugins: the hook spec, the base class, the registry."""

from typing import TYPE_CHECKING

from cracktrader._lazy import lazy

if TYPE_CHECKING:
    from cracktrader.plugins.discovery import Discovery, Origin, SourceEntry
    from cracktrader.plugins.hookspec import API, PluginHooks, SourceHooks, hookimpl
    from cracktrader.plugins.options import SourceConfig
    from cracktrader.plugins.registry import Registry, default_registry
    from cracktrader.plugins.source import DataSource, PluginWarning, Source

__all__ = [
    "API",
    "DataSource",
    "Discovery",
    "Origin",
    "PluginHooks",
    "PluginWarning",
    "Registry",
    "Source",
    "SourceConfig",
    "SourceEntry",
    "SourceHooks",
    "default_registry",
    "hookimpl",
]

_MODULES = {
    "discovery": ("Discovery", "Origin", "SourceEntry"),
    "hookspec": ("API", "PluginHooks", "SourceHooks", "hookimpl"),
    "options": ("SourceConfig",),
    "registry": ("Registry", "default_registry"),
    "source": ("DataSource", "PluginWarning", "Source"),
}
__getattr__, __dir__ = lazy(__name__, {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names})
