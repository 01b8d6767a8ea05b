"""The rules of the house, read from the imports that are really there."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pluggy
import pytest

import cracktrader

CORE = "cracktrader"
OURS = ("cracktrader_ccxt", "cracktrader_csv", "cracktrader_http", "cracktrader_sql")
_GROUND = "_lazy bars columns errors events interchange request resampling timeframe times trades"
GROUND = {f"{CORE}.{room}" for room in _GROUND.split()}


def modules(package: str) -> dict[str, Path]:
    """Every module of an installed package, by its name."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        return {}
    (folder,) = map(Path, spec.submodule_search_locations)
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder).with_suffix("").parts
        found[".".join([package, *(part for part in parts if part != "__init__")])] = path
    return found


def nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those that only type checkers see."""
    yield tree
    for child in ast.iter_child_nodes(tree):
        if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING") and child in tree.body:
            continue
        yield from nodes(child)


def imports(name: str, path: Path) -> set[str]:
    """The modules that a module imports anywhere, in functions too; ``from a import b`` counts as ``a.b``."""
    found = set()
    for node in nodes(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = name if path.name == "__init__.py" else name.rpartition(".")[0]
                base = ".".join([*package.split(".")[: len(package.split(".")) - node.level + 1], *filter(None, [base])])
            found |= {f"{base}.{alias.name}" for alias in node.names}
    return found


def room(imported: str) -> str:
    """``cracktrader.quality.checks.X`` is in the room ``cracktrader.quality``; other libraries are their own."""
    parts = imported.split(".")
    return ".".join(parts[:2]) if parts[0] == CORE else parts[0]


CORE_MODULES = modules(CORE)
IMPORTS = {name: {room(imported) for imported in imports(name, path)} for name, path in CORE_MODULES.items()}


def importers(*rooms: str) -> dict[str, set[str]]:
    """What the modules of some rooms import of ours and of the libraries that not everybody may."""
    return {name: found for name, found in IMPORTS.items() if room(name) in rooms}


def test_there_is_something_to_look_at() -> None:
    assert len(CORE_MODULES) > 20
    assert f"{CORE}.quality" in IMPORTS[f"{CORE}.loading"]
    assert set(CORE_MODULES) >= GROUND


@pytest.mark.parametrize("name", sorted(GROUND))
def test_the_ground_floor_imports_nothing_above_it_and_no_backtrader_no_ccxt_no_plugin(name) -> None:
    above = {imported for imported in IMPORTS[name] if imported.startswith(CORE) and imported not in GROUND}
    assert not above
    assert not IMPORTS[name] & {"backtrader", "ccxt", "pluggy", *OURS}


@pytest.mark.parametrize("own", ["quality", "catalog"])
def test_quality_and_catalog_stand_on_the_ground_floor_alone(own) -> None:
    for name, found in importers(f"{CORE}.{own}").items():
        others = {imported for imported in found if imported.startswith(CORE)} - GROUND - {f"{CORE}.{own}"}
        assert not others, f"{name} imports {others}"


def test_plugins_do_not_know_who_reads_them() -> None:
    above = {f"{CORE}.{own}" for own in ("catalog", "cerebro", "cli", "feeds", "gaps", "live", "loading", "store", "testing")}
    for name, found in importers(f"{CORE}.plugins").items():
        assert not found & above, f"{name} imports {found & above}"


def test_live_knows_no_feed_and_no_backtrader() -> None:
    above = {
        "backtrader",
        *(f"{CORE}.{own}" for own in ("cerebro", "cli", "declarations", "feeds", "store", "syncing", "testing")),
    }
    for name, found in importers(f"{CORE}.live").items():
        assert not found & above, f"{name} imports {found & above}"


def test_only_feeds_store_and_cerebro_import_backtrader() -> None:
    users = {name for name, found in IMPORTS.items() if "backtrader" in found}
    # The commands that run backtrader are its users, not rooms of the house: nothing is built on them.
    users -= {f"{CORE}.cli.{command}" for command in ("backtest", "demo_files", "strategies")}
    assert {room(name) for name in users} <= {f"{CORE}.{own}" for own in ("feeds", "store", "cerebro")}, users


def test_nothing_is_built_on_the_command_line_or_on_the_contract() -> None:
    for own in ("cli", "testing"):
        users = {room(name) for name, found in IMPORTS.items() if f"{CORE}.{own}" in found}
        assert users <= {f"{CORE}.{own}", f"{CORE}.__main__"}, users


def test_the_core_imports_no_plugin() -> None:
    assert not {name for name, found in IMPORTS.items() if found & set(OURS)}


@pytest.mark.parametrize("package", OURS)
def test_no_plugin_imports_another_plugin_or_a_private_name_of_the_core(package) -> None:
    found = modules(package)
    if not found:
        pytest.skip(f"{package} is not installed.")
    for name, path in found.items():
        for imported in imports(name, path):
            parts = imported.split(".")
            assert parts[0] == package or parts[0] not in OURS, f"{name} imports {imported}"
            private = [part for part in parts[1:] if part.startswith("_") and not part.startswith("__")]
            assert parts[0] != CORE or not private, f"{name} imports {imported}"
        assert not private_attributes(path), name


def private_attributes(path: Path) -> list[str]:
    """Private attributes of what a file imported from the core, such as ``interchange._names``."""
    tree = ast.parse(path.read_text("utf-8"))
    bound = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(tree)
        if (isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == CORE) or isinstance(node, ast.Import)
        for alias in node.names
        if isinstance(node, ast.ImportFrom) or alias.name.partition(".")[0] == CORE
    }
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            base = node.value
            while isinstance(base, ast.Attribute):
                base = base.value
            if isinstance(base, ast.Name) and base.id in bound:
                found.append(ast.unparse(node))
    return found


# ── pluggy ───────────────────────────────────────────────────────────────────────────────────────────

ALL_MODULES = {name: path for package in (CORE, *OURS) for name, path in modules(package).items()}


def pluggys_private_names() -> set[str]:
    names = {name for thing in vars(pluggy).values() if inspect.isclass(thing) for name in dir(thing)} | set(dir(pluggy))
    for source in Path(pluggy.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(source.read_text("utf-8"))):
            if isinstance(node, ast.Attribute):
                names.add(node.attr)
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def test_no_underscore_name_of_pluggy_is_used() -> None:
    private = pluggys_private_names()
    assert "_hookexec" in private
    for name, path in ALL_MODULES.items():
        assert not [imported for imported in imports(name, path) if imported.startswith("pluggy.") and "._" in imported], name
        used = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Attribute)]
        ours = {node.attr for node in used if not (isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"))}
        assert not ours & private, f"{name} uses {ours & private}"


def test_pluggys_own_loading_of_entry_points_is_not_used() -> None:
    for name, path in ALL_MODULES.items():
        with tokenize.open(path) as file:
            words = {token.string for token in tokenize.generate_tokens(file.readline) if token.type == tokenize.NAME}
        assert "load_setuptools_entrypoints" not in words, name


# ── what is exported ─────────────────────────────────────────────────────────────────────────────────


def by_kind(name: str) -> tuple[int, str]:
    """Constants first, then classes, then functions; each by name."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2), name


@pytest.mark.parametrize(
    "package", [CORE, f"{CORE}.catalog", f"{CORE}.live", f"{CORE}.plugins", f"{CORE}.testing", f"{CORE}.quality"]
)
def test_all_is_sorted_and_every_name_of_it_resolves(package) -> None:
    module = importlib.import_module(package)
    assert module.__all__ == sorted(module.__all__, key=by_kind)
    for name in module.__all__:
        assert getattr(module, name) is not None


def test_all_is_what_is_exported() -> None:
    assert set(cracktrader.__all__) == set(dir(cracktrader))
    tree = ast.parse(Path(cracktrader.__file__).read_text("utf-8"))
    for_type_checkers = {
        alias.asname or alias.name
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and ast.unparse(branch.test) == "TYPE_CHECKING"
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert for_type_checkers == set(cracktrader.__all__)
    with pytest.raises(AttributeError, match="no attribute 'telepathy'"):
        cracktrader.telepathy  # noqa: B018


def test_importing_cracktrader_imports_no_library_and_no_plugin() -> None:
    code = "import sys; before = set(sys.modules); import cracktrader; print(*sorted(set(sys.modules) - before))"
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.decode().split()
    heavy = {"backtrader", "ccxt", "numpy", "pandas", "pluggy", "pyarrow", "pydantic", "requests", "sqlalchemy"}
    assert not {name.partition(".")[0] for name in said} & (heavy | set(OURS))
    assert {name for name in said if name.startswith(CORE)} == {CORE, f"{CORE}._lazy"}


def test_the_packages_say_that_they_are_typed() -> None:
    for package in (CORE, *OURS):
        if spec := find_spec(package):
            assert (Path(spec.origin).parent / "py.typed").is_file(), package
