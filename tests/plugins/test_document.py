"""docs/writing-a-plugin.md is true: its examples run, pass the contract, and no hook is missing from it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import cracktrader as ct
from cracktrader import errors
from cracktrader.plugins.discovery import ALLOW, DENY, PLUGINS, SOURCES
from cracktrader.plugins.hookspec import PluginHooks, SourceHooks
from cracktrader.testing.base import ContractBase

DOCUMENT = Path(__file__).parents[2] / "docs" / "writing-a-plugin.md"
TEXT = DOCUMENT.read_text("utf-8") if DOCUMENT.exists() else ""
pytestmark = pytest.mark.skipif(not TEXT, reason="there is no source tree with documents")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.M | re.S)


def file_in_the_document(name: str) -> str:
    (block,) = [block for block in blocks("python") if block.startswith(f"# {name}\n")]
    return block


@pytest.mark.parametrize("spec", [SourceHooks, PluginHooks])
def test_every_hook_is_documented_with_its_arguments(spec) -> None:
    for name, hook in vars(spec).items():
        if not name.startswith("_"):
            arguments = ", ".join(hook.__code__.co_varnames[1 : hook.__code__.co_argcount])
            assert f"`{name}({arguments})`" in TEXT, f"{name}({arguments}) is missing from {DOCUMENT.name}."


def test_whatever_the_contract_can_be_told_is_documented() -> None:
    for attribute in ContractBase.__annotations__:
        assert f"`{attribute}`" in TEXT, attribute


def test_every_plugin_error_and_every_error_that_is_named_exists() -> None:
    table = TEXT[TEXT.index("## When something is wrong") :]
    for error in vars(errors).values():
        if isinstance(error, type) and issubclass(error, errors.PluginError) and error is not errors.PluginError:
            assert error.code in table, error
    raised = TEXT[TEXT.index("## Errors") : TEXT.index("## The plugin API")]
    for name in re.findall(r"^\| `([A-Z]\w+)`", raised, re.M):
        assert issubclass(getattr(errors, name), ct.CracktraderError)


def test_groups_variables_and_the_api_are_what_they_are_in_the_code() -> None:
    for name in (SOURCES, PLUGINS, ALLOW, DENY):
        assert name in TEXT
    assert f"api = {ct.API}" in TEXT


def test_every_link_leads_somewhere() -> None:
    headings = {re.sub(r"[^\w\- ]", "", line.lstrip("# ")).strip().lower().replace(" ", "-") for line in TEXT.splitlines()
                if line.startswith("#")}  # fmt: skip
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("http"):
            assert (DOCUMENT.parent / target).exists(), target


def test_every_example_is_python_and_toml() -> None:
    for block in blocks("python"):
        compile(block, DOCUMENT.name, "exec")
    for block in blocks("toml"):
        tomllib.loads(block)


def test_the_plugin_of_the_document_is_found_by_name_and_keeps_the_contract(site, tmp_path) -> None:
    project = tomllib.loads(blocks("toml")[0])["project"]
    entries = project["entry-points"][SOURCES]
    site.module("cracktrader_tickbox", file_in_the_document("src/cracktrader_tickbox/__init__.py"))
    site.dist(project["name"], "".join([f"[{SOURCES}]\n", *(f"{name} = {value}\n" for name, value in entries.items())]))
    (tmp_path / "test_contract.py").write_text(file_in_the_document("tests/test_contract.py"))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "test_contract.py")],
        check=False, capture_output=True, cwd=tmp_path, env=site.environ(),
    )  # fmt: skip
    said = done.stdout.decode()
    assert done.returncode == 0, said
    assert re.search(r"\d\d passed", said)


def test_the_plugin_across_sources_of_the_document_does_what_it_says(site, caplog) -> None:
    site.module("cracktrader_watch", file_in_the_document("src/cracktrader_watch/__init__.py"))
    value = tomllib.loads(blocks("toml")[1])["project"]["entry-points"][PLUGINS]["watch"]
    site.dist("cracktrader-watch", f"[{PLUGINS}]\nwatch = {value}\n")
    bars = ct.Bars([0], [1], [1], [1], [1], [1], symbol="BTC/USDT", timeframe="1h")
    caplog.set_level("INFO")
    loaded = ct.load("memory", bars=bars, symbol="BTC/USDT", timeframe="1h", registry=ct.Registry(environ={}))
    assert loaded.report["round_volume"].count == 1
    assert [record.getMessage() for record in caplog.records if record.name == "cracktrader_watch"] == [
        "asked for BTC/USDT 1h from the first bar to now",
        "BTC/USDT: 1 bars",
    ]
    said = site.run("""
        import sys
        from cracktrader.cli import main
        sys.argv = ["cracktrader", "watching"]
        try: main()
        except SystemExit as done: assert not done.code, done.code
    """)
    assert said.strip() == "watching"
