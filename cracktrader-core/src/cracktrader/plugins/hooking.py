"""The small plugin managers of sources and plugins: what of an object is a hook, and what is wrong with it."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Sequence
from typing import Any

import pluggy

from cracktrader.plugins.hookspec import PROJECT, SourceHooks

__all__ = ["HookManager", "hook_names"]


class HookManager(pluggy.PluginManager):
    """A plugin manager for the hooks of ``specs`` that looks at a plugin without running any of its code."""

    def __init__(self, *specs: type) -> None:
        super().__init__(PROJECT)
        self.names = tuple(name for spec in specs for name in hook_names(spec))
        for spec in specs:
            self.add_hookspecs(spec)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        # Some versions of pluggy get every attribute to look at it, which would run the plugin's properties.
        return super().parse_hookimpl_opts(plugin, name) if _is_method(plugin, name) else None

    def misfit(self, plugin: object, label: str) -> tuple[str, str] | None:
        """Register a plugin; None, or what is wrong with its hooks, as the rest of a sentence, and what to do about it.

        Found are hooks that do not exist, arguments that a hook does not have, wrappers that can't wrap, and methods
        with the name of a hook but without the mark, which nobody would ever call.
        """
        try:
            self.register(plugin, label)
        except pluggy.PluginValidationError as error:
            first, *rest = str(error).removesuffix(".").splitlines()
            problem = ": ".join(rest or [first]).removeprefix("hookimpl definition: ")
            return f"has a hook that can't be called: {problem}.", "name only arguments of the hook, and yield in a wrapper"
        callers = self.get_hookcallers(plugin) or ()
        for caller in callers:
            if not caller.has_spec() and not all(impl.optionalhook for impl in caller.get_hookimpls()):
                near = difflib.get_close_matches(caller.name, self.names, n=1)
                guess = f" Did you mean {near[0]}?" if near else ""
                return f"has a hook {caller.name}, which does not exist.{guess}", f"hooks are {', '.join(self.names)}"
        marked = {caller.name for caller in callers}
        for name in self.names:
            if name not in marked and _is_method(plugin, name):
                return (
                    f"has a method {name} that isn't marked as a hook, so it would never be called.",
                    "write @ct.hookimpl above it",
                )
        return None

    def unwrapped(self, plugin: object) -> Sequence[str]:
        """The hooks of sources that a plugin answers itself, where it should wrap a source's answer."""
        return [
            caller.name
            for caller in self.get_hookcallers(plugin) or ()
            if caller.name in hook_names(SourceHooks)
            and not all(impl.wrapper or impl.hookwrapper for impl in caller.get_hookimpls() if impl.plugin is plugin)
        ]


def hook_names(spec: type = SourceHooks) -> Sequence[str]:
    """The names of the hooks of a source, or of another spec."""
    return [name for name in vars(spec) if not name.startswith("_")]


def _is_method(plugin: object, name: str) -> bool:
    found = inspect.getattr_static(plugin, name, None)
    return callable(found) or isinstance(found, (staticmethod, classmethod))
