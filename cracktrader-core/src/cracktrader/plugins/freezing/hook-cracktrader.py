# ruff: noqa: N999 - PyInstaller wants the name so
"""PyInstaller's hook for cracktrader: ships every installed plugin, its files, and the metadata that it is found by."""

from PyInstaller.utils.hooks import (  # type: ignore[import-untyped,import-not-found,unused-ignore]
    collect_data_files,
    collect_entry_point,
    collect_submodules,
    copy_metadata,
)

datas = copy_metadata("cracktrader-core")
hiddenimports = collect_submodules("cracktrader.plugins", filter=lambda name: not name.endswith("freezing"))
for group in ("cracktrader.sources", "cracktrader.plugins", "cracktrader.commands"):
    found, modules = collect_entry_point(group)
    datas += found
    hiddenimports += modules
    for module in modules:
        datas += collect_data_files(module.partition(".")[0])
