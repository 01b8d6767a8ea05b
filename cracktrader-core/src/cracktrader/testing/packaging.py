"""The contract, part four: how the plugin is declared, and what naming it costs."""

from __future__ import annotations

import pytest

from cracktrader.plugins.discovery import SOURCES, Discovery, Origin
from cracktrader.plugins.registry import Registry, check_api
from cracktrader.plugins.source import DataSource, Source
from cracktrader.testing.base import ContractBase
from cracktrader.testing.child import Import, measure_import

__all__ = ["PackagingContract"]


class PackagingContract(ContractBase):
    """The plugin says its API, is found by name, and is light to import."""

    def test_it_says_for_which_api_it_was_written(self, source: Source) -> None:
        """``api = (1, 0)`` in the class: a literal, so that an old plugin stays an old plugin in a new environment."""
        cls = type(source.plugin)
        check_api(cls, source.name, Origin(entry_point=f"{cls.__module__}:{cls.__qualname__}"))

    def test_it_is_found_by_name(self, source: Source) -> None:
        """By an entry point of the group ``cracktrader.sources``, which loads this very class."""
        if self._said("name") is None:
            pytest.skip("The source has no entry point.")
        entries = [entry for entry in Discovery(environ={}).entries() if entry.name == self.name]
        assert entries, (
            f"No installed distribution has an entry point {self.name!r} in the group {SOURCES!r}."
            " Is the plugin installed (pip install -e .), and what does its pyproject.toml say?"
        )
        registry = Registry(environ={})
        found: list[type[DataSource]] = [registry.load(entry.full_name) for entry in entries]
        assert type(source.plugin) in found, f"The entry point {self.name!r} loads {found[0]!r}."

    def test_importing_it_is_cheap(self, source: Source) -> None:
        """Whoever names the source waits for it; the budget is CPU time over importing ``cracktrader.plugins.source``."""
        module, taken = self._import(source)
        assert taken.cpu_ms <= self.import_budget_ms, (
            f"Importing {module} takes {taken.cpu_ms:.0f} ms of CPU; the budget is {self.import_budget_ms:g} ms."
            f" `python -X importtime -c 'import {module}'` shows what takes long: import it where it is first used."
        )

    def test_importing_it_brings_no_heavy_module(self, source: Source) -> None:
        """Client libraries and data frames are imported by the first fetch, inside the function that uses them."""
        module, taken = self._import(source)
        heavy = sorted({name.partition(".")[0] for name in taken.modules} & self.heavy_modules)
        assert not heavy, f"Importing {module} imports {', '.join(heavy)}. Import it inside the function that uses it."

    def _import(self, source: Source) -> tuple[str, Import]:
        module = type(source.plugin).__module__
        for entry in Discovery(environ={}).entries():
            if entry.name == self.name and self.name:
                module = entry.value.partition(":")[0].strip()
        return module, measure_import(module, self.import_budget_ms)
