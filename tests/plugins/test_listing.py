"""Listing reads metadata alone: quick, complete, and indifferent to what is broken."""

from __future__ import annotations

import os
import shutil
import time
from importlib import metadata

import pytest

import cracktrader as ct
from cracktrader.errors import PluginBroken, PluginDenied, PluginDuplicate, PluginNotFound
from cracktrader.plugins.discovery import Discovery


def names(registry) -> list[str]:
    return [entry.full_name for entry in registry.entries()]


# ── what is listed ───────────────────────────────────────────────────────────────────────────────────


def test_a_source_is_listed_with_its_distribution_version_and_entry_point(site, registry) -> None:
    site.source("tick", version="2.5")
    entry = next(entry for entry in registry.entries() if entry.name == "tick")
    assert (entry.distribution, entry.version, entry.value) == ("tick-dist", "2.5", "tick_module:Source")
    assert str(entry.origin) == "tick-dist 2.5 (tick_module:Source)"


def test_listing_imports_no_plugin_and_no_library(site) -> None:
    site.source("endless", "while True: pass")  # if it were imported, this test would never end
    site.plugin("endless_too", "while True: pass")
    said = site.run("""
        import sys, time
        begun = time.process_time()
        from cracktrader.plugins.discovery import PLUGINS, Discovery
        names = [entry.name for entry in (*Discovery().entries(), *Discovery().entries(PLUGINS))]
        assert {"endless", "endless_too", "memory"} <= set(names), names
        heavy = {"numpy", "pandas", "pyarrow", "pydantic", "pluggy", "backtrader", "rich", "typer"} & set(sys.modules)
        assert not heavy, heavy
        assert not [name for name in sys.modules if name.endswith("_module")]
        print(round(1000 * (time.process_time() - begun)))
    """)
    assert int(said) < 400  # milliseconds; usually 50, and 200 is the promise for the whole command


def test_naming_a_source_imports_that_plugin_and_no_other(site) -> None:
    site.source("one")
    site.source("other", "raise SystemExit('imported')")
    site.run("""
        import sys
        import cracktrader as ct
        registry = ct.Registry(environ={})
        registry.source("one").close()
        ours = sorted(name for name in sys.modules if name.endswith("_module") or name.startswith("cracktrader_"))
        assert ours == ["one_module"], ours
    """)


def test_importing_cracktrader_imports_no_library_and_no_plugin(site) -> None:
    site.source("one")
    said = site.run("import sys, cracktrader; print(*sys.modules)").split()
    assert not {"numpy", "pandas", "pyarrow", "pydantic", "pluggy", "backtrader", "one_module"} & set(said)
    assert not [name for name in said if name.startswith("cracktrader_")]


def test_a_listing_is_kept_while_no_folder_changes_and_what_comes_and_goes_is_seen(site, registry) -> None:
    site.source("tick")
    hour_ago = time.time() - 3600
    os.utime(site.path, (hour_ago, hour_ago))
    assert "tick-dist:tick" in names(registry)
    began = time.perf_counter()
    for _ in range(20):
        registry.entries()
    assert time.perf_counter() - began < 0.1
    site.source("tock")
    assert "tock-dist:tock" in names(registry)
    shutil.rmtree(site.path / "tick_dist-1.0.dist-info")
    assert "tick-dist:tick" not in names(registry)
    assert "tock-dist:tock" in names(registry)


# ── damage elsewhere ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "damage",
    [
        b"[console_scripts]\nthis line has no sign of equality\n",
        b"no section at all\n[cracktrader.sources\nx = y\n",
        b"\xff\xfe\x00 [cracktrader.sources]\nx = y:Z\n",
        b"[cracktrader.sources]",
        b"",
    ],
    ids=["a line that is none", "a section that isn't closed", "not UTF-8", "an empty section", "an empty file"],
)
def test_a_damaged_entry_points_file_hides_nobody_else(site, registry, damage) -> None:
    site.source("tick")
    (site.dist("stranger", "x") / "entry_points.txt").write_bytes(damage)
    assert "tick-dist:tick" in names(registry)
    assert registry.source("tick").name == "tick"


@pytest.mark.parametrize("about", ["Metadata-Version: 2.1\n", "", b"\xff\xfe\x00\x00", "\n\n\n"])
def test_metadata_without_a_name_is_listed_as_unknown_and_usable(site, registry, about, fetch) -> None:
    site.module("nameless_module", site.good)
    site.dist("nameless", "[cracktrader.sources]\nnameless = nameless_module:Source\n", metadata=about)
    entry = next(entry for entry in registry.entries() if entry.name == "nameless")
    assert (entry.distribution, entry.version) == ("unknown", "?")
    assert len(fetch("nameless")) == 10


def test_two_nameless_distributions_do_not_hide_each_other(site, registry) -> None:
    for name in ("one", "two"):
        site.dist(name, f"[cracktrader.sources]\n{name} = {name}_module:Source\n", metadata="")
    assert {"unknown:one", "unknown:two"} <= set(names(registry))


def test_no_metadata_file_at_all_is_no_harm(site, registry) -> None:
    info = site.dist("bare", "[cracktrader.sources]\nbare = bare_module:Source\n")
    (info / "METADATA").unlink()
    assert "unknown:bare" in names(registry)


def test_an_entry_without_a_value_is_listed_and_says_what_is_wrong_with_it(site, registry) -> None:
    site.dist("half-dist", "[cracktrader.sources]\nhalf\n")
    assert "half-dist:half" in names(registry)
    with pytest.raises(PluginBroken, match=r"'half' of half-dist 1\.0 .*its entry point names '', which is not of the form"):
        registry.load("half")


def test_comments_and_blanks_in_the_file_are_no_entries(site, registry) -> None:
    before = names(registry)
    site.dist("gaps", "# a comment\n[cracktrader.sources]\n\n; another\n# x = y:Z\n\n[other]\na = b:c\n")
    assert names(registry) == before


# ── one plugin listed twice, two plugins of one name ─────────────────────────────────────────────────


def test_an_editable_install_that_is_listed_twice_is_one_plugin(site, second_site, registry) -> None:
    site.source("tick")
    second_site.source("tick")  # the same distribution, found in its source folder as well
    assert names(registry).count("tick-dist:tick") == 1
    assert registry.load("tick").__module__ == "tick_module"


def test_of_two_versions_on_the_path_the_first_counts_as_for_an_import(site, second_site, registry) -> None:
    site.source("tick", version="1.0")
    second_site.dist("Tick_Dist", "[cracktrader.sources]\ntick = new_module:Source\n", version="2.0")
    found = [(entry.version, entry.value) for entry in registry.entries() if entry.name == "tick"]
    assert found == [("2.0", "new_module:Source")]


def test_a_shadowed_version_does_not_bring_back_what_the_first_no_longer_has(site, second_site, registry) -> None:
    site.source("tick")
    second_site.dist("tick-dist", version="2.0")
    assert "tick" not in [entry.name for entry in registry.entries()]


def test_two_plugins_of_one_name_are_an_error_that_names_both_and_the_way_out(site, registry) -> None:
    site.source("tick", dist="anna-feeds", version="1.1")
    site.dist("berta-feeds", "[cracktrader.sources]\ntick = tick_module:Source\n", version="2.2")
    site.source("good")
    with pytest.raises(PluginDuplicate) as caught:
        registry.source("tick")
    assert str(caught.value) == (
        "2 plugins offer a source 'tick': anna-feeds 1.1 (tick_module:Source) and berta-feeds 2.2 (tick_module:Source).\n"
        "Say which: 'anna-feeds:tick' or 'berta-feeds:tick'; or remove one: pip uninstall berta-feeds"
    )
    assert registry.source("anna-feeds:tick").origin.distribution == "anna-feeds"
    assert registry.source("Berta_Feeds:tick").origin.distribution == "berta-feeds"
    assert registry.source("good")
    assert [entry.duplicate for entry in registry.entries() if entry.name == "tick"] == [True, True]
    outcomes = {entry.full_name: error for entry, error in registry.check()}
    assert isinstance(outcomes["anna-feeds:tick"], PluginDuplicate)
    assert outcomes["good-dist:good"] is None


def test_one_distribution_twice_in_a_folder_is_told_as_that(site, registry) -> None:
    site.source("tick", version="1.0")
    site.dist("tick-dist", "[cracktrader.sources]\ntick = renamed_module:Source\n", version="0.9")
    with pytest.raises(PluginDuplicate, match="pip install --force-reinstall tick-dist"):
        registry.load("tick")


def test_denying_one_of_two_settles_which_is_meant(site) -> None:
    site.source("tick", dist="anna-feeds")
    site.dist("berta-feeds", "[cracktrader.sources]\ntick = other_module:Source\n")
    registry = ct.Registry(environ={"CRACKTRADER_DENY_PLUGINS": "berta-feeds"})
    assert registry.source("tick").origin.distribution == "anna-feeds"
    assert not any(entry.duplicate for entry in registry.entries())


# ── names that are not there ─────────────────────────────────────────────────────────────────────────


def test_an_unknown_name_is_answered_with_the_nearest_one(site, registry) -> None:
    site.source("kraken")
    with pytest.raises(PluginNotFound, match=r"No source 'krakn' is installed\. Did you mean 'kraken'\?") as caught:
        registry.source("krakn")
    assert "Installed: " in caught.value.hint
    assert "kraken" in caught.value.hint
    assert "install the package that brings 'krakn'" in caught.value.hint


@pytest.mark.parametrize(
    ("name", "extra"), [("ccxt", "ccxt"), ("CSV", "csv"), ("cxt", "ccxt"), ("htpp", "http"), ("sqll", "sql")]
)
def test_a_source_of_ours_that_is_not_installed_is_answered_with_its_extra(name, extra) -> None:
    memory = metadata.EntryPoint("memory", "cracktrader.plugins.memory:MemorySource", "cracktrader.sources")
    nothing = Discovery(entry_points=lambda group: [memory], environ={})
    with pytest.raises(PluginNotFound) as caught:
        nothing.find(name)
    assert f'Run: pip install "cracktrader-core[{extra}]"' in caught.value.hint


def test_an_environment_without_metadata_is_told_as_that() -> None:
    with pytest.raises(PluginNotFound, match=r"No source at all is listed.*pyinstaller --copy-metadata cracktrader-core"):
        Discovery(entry_points=lambda group: (), environ={}).find("csv")


def test_the_hook_for_frozen_apps_ships_all_groups_and_the_cores_own_metadata(site) -> None:
    """What PyInstaller does with it was seen with PyInstaller itself; here only that it is asked for the right things."""
    site.package("PyInstaller.utils.hooks", """
        asked = []
        def collect_data_files(package): return [(f"files of {package}", package)]
        def collect_entry_point(group): asked.append(group); return [(group, "data")], [f"module of {group}"]
        def collect_submodules(package, filter): return [package]
        def copy_metadata(distribution): return [(distribution, "metadata")]
    """)  # fmt: skip
    said = site.run("""
        import runpy
        from pathlib import Path
        from cracktrader.plugins.freezing import hook_dirs
        (folder,) = hook_dirs()
        (hook,) = Path(folder).glob("hook-*.py")
        found = runpy.run_path(str(hook))
        print(hook.stem, [name for name, _ in found["datas"]], found["hiddenimports"])
    """)
    assert said.strip() == (
        "hook-cracktrader ['cracktrader-core', 'cracktrader.sources', 'files of module of cracktrader',"
        " 'cracktrader.plugins', 'files of module of cracktrader', 'cracktrader.commands', 'files of module of cracktrader']"
        " ['cracktrader.plugins', 'module of cracktrader.sources', 'module of cracktrader.plugins',"
        " 'module of cracktrader.commands']"
    )


def test_the_wrong_distribution_is_answered_with_the_right_one(site, registry) -> None:
    site.source("tick")
    with pytest.raises(PluginNotFound, match="There is 'tick-dist:tick'"):
        registry.source("tock-dist:tick")


@pytest.mark.parametrize("name", ["", ":", "a:b:c", "../csv", "csv\n"])
def test_a_name_that_can_not_be_is_just_not_found(registry, name) -> None:
    with pytest.raises(PluginNotFound):
        registry.load(name)


# ── allow and deny lists ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("pattern", ["tick", "tick-dist", "Tick_Dist", "ti*", "x, tick ,y", "tick-dist:tick", "*-dist"])
def test_a_denied_source_is_listed_but_never_imported(site, pattern) -> None:
    site.source("tick", "while True: pass")
    registry = ct.Registry(environ={"CRACKTRADER_DENY_PLUGINS": pattern})
    entry = next(entry for entry in registry.entries() if entry.name == "tick")
    assert entry.denied
    with pytest.raises(PluginDenied) as caught:
        registry.source("tick")
    assert caught.value.message == (
        "The source 'tick' of tick-dist 1.0 (tick_module:Source) is excluded by the environment:"
        f" CRACKTRADER_DENY_PLUGINS={pattern} names it."
    )
    outcomes = {entry.name: error for entry, error in registry.check()}
    assert isinstance(outcomes["tick"], PluginDenied)


def test_an_allow_list_lets_nothing_else_in(site) -> None:
    site.source("tick")
    site.source("other", "while True: pass")
    registry = ct.Registry(environ={"CRACKTRADER_ALLOW_PLUGINS": "tick"})
    assert registry.source("tick")
    with pytest.raises(PluginDenied, match="CRACKTRADER_ALLOW_PLUGINS=tick does not name it"):
        registry.source("other")


def test_what_is_denied_stays_denied_when_it_is_allowed_too(site) -> None:
    site.source("tick")
    registry = ct.Registry(environ={"CRACKTRADER_ALLOW_PLUGINS": "tick", "CRACKTRADER_DENY_PLUGINS": "tick-dist"})
    with pytest.raises(PluginDenied, match="DENY"):
        registry.load("tick")


def test_an_empty_list_excludes_nothing(site) -> None:
    site.source("tick")
    assert ct.Registry(environ={"CRACKTRADER_ALLOW_PLUGINS": " ", "CRACKTRADER_DENY_PLUGINS": ""}).source("tick")


def test_the_lists_are_read_from_the_environment_of_the_process(site) -> None:
    site.source("tick")
    said = site.run(
        """
        import cracktrader as ct
        try: ct.source("tick")
        except ct.CracktraderError as error: print(error.code)
        """,
        CRACKTRADER_DENY_PLUGINS="tick",
    )
    assert said.split() == ["CT106"]
