"""The contract fails for a wrong source: in the tests that are meant to notice, and in no other."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent


def run_contract(folder: Path, *arguments: str) -> dict[str, set[str]]:
    """Run the tests in a folder; which failed, without their ``test_``, by class."""
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=line", "--junitxml=out.xml", *arguments]
    done = subprocess.run(command, check=False, cwd=folder, env={**os.environ, "PYTHONPATH": str(HERE)}, capture_output=True)
    assert done.returncode in (0, 1), done.stdout.decode() + done.stderr.decode()
    failed: dict[str, set[str]] = {}
    for case in ElementTree.parse(folder / "out.xml").iter("testcase"):
        found = failed.setdefault(case.attrib["classname"].rpartition(".Test")[2], set())
        if case.find("failure") is not None or case.find("error") is not None:
            found.add(case.attrib["name"].removeprefix("test_"))
    return failed


SUITES = """
import pytest, wrong_sources as wrong
from cracktrader.testing import SECRET, SourceContract

assert SECRET == wrong.SECRET

def make_fixture(cls):
    @pytest.fixture
    def make_source(self):
        required = {"path": "x"} if cls is wrong.FailsOverMissingOptions else {}
        return lambda **options: cls(**(required | options))
    return make_source

for cls, (_, told) in wrong.SOURCES.items():
    start, end = wrong.START + 2 * wrong.HOUR, wrong.START + 35 * wrong.HOUR
    usual = {"name": None, "symbol": "BTC/USDT", "timeframe": "1h", "start": start, "end": end, "other_symbol": "ETH/USDT",
             "unknown_timeframe": "4h", "chunk_option": "chunk_size", "expected": wrong.DATA["BTC/USDT"].between(start, end)}
    names = usual | told | {"make_source": make_fixture(cls)}
    globals()[f"Test{cls.__name__}"] = type(f"Test{cls.__name__}", (SourceContract,), names)
"""


def test_each_wrong_source_fails_exactly_the_tests_that_are_meant_to_notice(tmp_path) -> None:
    (tmp_path / "test_wrong.py").write_text(SUITES)
    spec = importlib.util.spec_from_file_location("wrong_sources", HERE / "wrong_sources.py")
    wrong = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(wrong)
    meant = {cls.__name__: tests for cls, (tests, _) in wrong.SOURCES.items()}

    # Another process takes a third of a second; only these differ there from how they are here.
    found = run_contract(tmp_path, "-k", "not another_process or Pickle or Differently or Right")

    assert found.keys() == meant.keys()
    assert len(meant) > 50
    unlike = [f"{name}: not noticed {sorted(meant[name] - found[name])}, noticed too {sorted(found[name] - meant[name])}"
              for name in meant if meant[name] != found[name]]  # fmt: skip
    assert not unlike, "\n".join(unlike)


def test_a_heavy_and_a_slow_import_are_noticed(tmp_path) -> None:
    (tmp_path / "heavy.py").write_text("import pandas\nfrom wrong_sources import *\nclass Heavy(Right): pass\n")
    (tmp_path / "slow.py").write_text(
        "import time\nfrom wrong_sources import *\nbegun = time.process_time()\n"
        "while time.process_time() < begun + 0.25: pass\nclass Slow(Right): pass\n"
    )
    (tmp_path / "test_imports.py").write_text(
        "import heavy, pytest, slow, wrong_sources\n"
        "from cracktrader.testing import SourceContract\n"
        "class Contract(SourceContract):\n"
        "    name, symbol, timeframe, start, end = None, 'BTC/USDT', '1h', '2024-01-01', '2024-01-02'\n"
        "    @pytest.fixture\n"
        "    def make_source(self):\n"
        "        return self.cls\n"
        "class TestHeavy(Contract):\n"
        "    cls, import_budget_ms = heavy.Heavy, 10_000\n"
        "class TestHeavyAllowed(TestHeavy):\n"
        "    heavy_modules = SourceContract.heavy_modules - {'pandas', 'pyarrow'}\n"
        "class TestSlow(Contract):\n"
        "    cls = slow.Slow\n"
        "class TestLight(Contract):\n"
        "    cls = wrong_sources.Right\n"
    )
    assert run_contract(tmp_path, "-k", "importing") == {
        "Heavy": {"importing_it_brings_no_heavy_module"},
        "HeavyAllowed": set(),
        "Slow": {"importing_it_is_cheap"},
        "Light": set(),
    }


def test_what_the_author_forgot_to_say_is_asked_for(tmp_path) -> None:
    (tmp_path / "test_author.py").write_text(
        "import pytest, wrong_sources\n"
        "from cracktrader.testing import SourceContract\n"
        "class TestNothing(SourceContract): pass\n"
        "class TestNoMaker(SourceContract): name = None\n"
        "class TestNoSymbol(SourceContract): name = 'memory'\n"
        "class TestWrongMaker(SourceContract):\n"
        "    @pytest.fixture\n"
        "    def make_source(self):\n"
        "        return lambda: 'memory'\n"
        "class TestTooFew(SourceContract):\n"
        "    name, symbol, timeframe, start, end = None, 'BTC/USDT', '1h', '2024-01-01', '2024-01-01T05'\n"
        "    @pytest.fixture\n"
        "    def make_source(self):\n"
        "        return wrong_sources.Right\n"
    )
    said = output_of(tmp_path, "-k", "open_on_the_grid")
    for question in (
        "write `name = …` into the class TestNothing",
        "A source without an entry point needs a fixture make_source",
        "make_source must return a Source or a DataSource, not str",
        "The source has 5 bars of BTC/USDT 1h from 2024-01-01T00:00:00Z to 2024-01-01T05:00:00Z; the contract needs at least 8",
    ):
        assert question in said


def output_of(folder: Path, *arguments: str) -> str:
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    environ = {**os.environ, "PYTHONPATH": str(HERE), "PYTHONUTF8": "1"}
    return subprocess.run(command, check=False, cwd=folder, env=environ, capture_output=True).stdout.decode()


def test_without_pytest_the_error_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['pytest'] = None\n"
        "try: import cracktrader.testing\n"
        "except ImportError as error: print(type(error).__name__, error.code, error)"
    )
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True).stdout.decode()
    assert said.splitlines() == [
        "PluginDependencyMissing CT102 "
        "cracktrader.testing is for the tests of plugins, and needs pytest, which is not installed.",
        'Run: pip install "cracktrader-core[testing]"',
    ]
