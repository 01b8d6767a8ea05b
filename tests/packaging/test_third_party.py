"""A plugin of a stranger: built, installed with pip beside the core's wheel, found by name, and kept to the contract.

It needs an index that pip can reach. Where there is none it is skipped, unless ``CRACKTRADER_REQUIRE_INDEX`` is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE, EXAMPLE = ROOT / "cracktrader-core", ROOT / "examples" / "plugin"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (EXAMPLE / "pyproject.toml").exists(), reason="there is no source tree to build from"),
]


class Environment:
    """A virtual environment of its own."""

    def __init__(self, home: Path) -> None:
        venv.create(home, with_pip=True)
        self.home = home
        self.python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "CRACKTRADER", "PYTEST"))}
        done = subprocess.run(
            [str(self.python), *arguments],
            check=False,
            capture_output=True,
            cwd=cwd or self.home,
            env={**environ, "PYTHONUTF8": "1"},
        )
        said = done.stdout.decode(errors="replace") + done.stderr.decode(errors="replace")
        if done.returncode:
            pytest.fail(said)
        return said

    def pip(self, *arguments: str) -> str:
        return self.run("-m", "pip", "--disable-pip-version-check", "--quiet", *arguments)


@pytest.fixture
def installed(tmp_path: Path) -> Environment:
    """The core's wheel and the stranger's in a clean environment."""
    environment = Environment(tmp_path / "env")
    try:
        environment.pip("--retries", "0", "--timeout", "15", "download", "--no-deps", "--dest", str(tmp_path), "hatchling>=1.27")
    except pytest.fail.Exception as error:
        if os.environ.get("CRACKTRADER_REQUIRE_INDEX"):
            raise
        reasons = [line for line in str(error).splitlines() if line.startswith("ERROR")] or ["it does not say why"]
        pytest.skip(f"pip reaches no index to build and install from. {reasons[-1][:150]}")
    wheels = tmp_path / "wheels"
    environment.pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(CORE), str(EXAMPLE))
    built = sorted(map(str, wheels.glob("*.whl")))
    assert len(built) == 2
    environment.pip("install", *built)
    return environment


def test_a_strangers_plugin_is_built_installed_found_by_name_kept_to_the_contract_and_removed(installed, tmp_path) -> None:
    # One test, so that the environment is made once, however the tests are spread over processes.
    it_is_listed_and_loaded_by_name_and_nothing_else_is_imported(installed)
    its_data_drives_backtrader(installed)
    the_command_line_knows_it(installed)
    without_pytest_the_contract_says_what_to_install(installed)
    installed.pip("install", "pytest>=8")
    it_keeps_the_contract(installed, tmp_path / "contract")
    the_smoke_tests_pass_beside_it(installed, tmp_path / "smoke")
    it_can_be_removed_again(installed)


def it_is_listed_and_loaded_by_name_and_nothing_else_is_imported(installed: Environment) -> None:
    said = installed.run("-W", "error", "-c", """if True:
        import sys
        import cracktrader as ct
        assert "site-packages" in ct.__file__, ct.__file__
        names = [entry.full_name for entry in ct.default_registry().entries()]
        assert names == ["cracktrader-core:memory", "cracktrader-core:replay", "cracktrader-tickdemo:tickdemo"], names
        assert "cracktrader_tickdemo" not in sys.modules
        bars = ct.load("tickdemo", symbol="BTC/USDT", timeframe="1h", start="2024-01-01", end="2024-01-03", price=200)
        assert bars.provenance["plugin"] == "cracktrader-tickdemo" and bars.provenance["plugin_version"] == "0.1.0"
        assert ct.default_registry().check()[1][1] is None
        assert "pytest" not in sys.modules
        print(bars, bars.report.ok)
    """)  # fmt: skip
    assert said.strip() == "<Bars BTC/USDT 1h from tickdemo: 48, 2024-01-01T00:00:00Z to 2024-01-02T23:00:00Z> True"


def its_data_drives_backtrader(installed: Environment) -> None:
    said = installed.run("-c", """if True:
        import cracktrader as ct
        cerebro = ct.Cerebro()
        cerebro.addfeed("tickdemo", symbol="ETH/USDT", timeframe="1d")
        print(len(cerebro.run()[0].data))
    """)  # fmt: skip
    assert said.split() == ["182"]


def the_command_line_knows_it(installed: Environment) -> None:
    script = installed.python.with_name("cracktrader.exe" if os.name == "nt" else "cracktrader")
    said = subprocess.run([str(script), "sources"], check=True, capture_output=True, env={**os.environ, "PYTHONUTF8": "1"})
    assert "tickdemo" in said.stdout.decode()
    assert "cracktrader-tickdemo" in said.stdout.decode()


def without_pytest_the_contract_says_what_to_install(installed: Environment) -> None:
    said = installed.run("-c", """if True:
        try: import cracktrader.testing
        except ImportError as error: print(error)
    """)  # fmt: skip
    assert 'Run: pip install "cracktrader-core[testing]"' in said


def it_keeps_the_contract(installed: Environment, folder: Path) -> None:
    shutil.copytree(EXAMPLE / "tests", folder / "tests")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    said = installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests", cwd=folder)
    assert " passed" in said
    assert not {"skipped", "failed", "error"} & set(said.replace(",", " ").split())


def the_smoke_tests_pass_beside_it(installed: Environment, folder: Path) -> None:
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("test_smoke.py"), folder)
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n")
    assert " passed" in installed.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=folder)


def it_can_be_removed_again(installed: Environment) -> None:
    installed.pip("uninstall", "--yes", "cracktrader-tickdemo")
    said = installed.run("-c", """if True:
        import cracktrader as ct
        try: ct.load("tickdemo", symbol="BTC/USDT", timeframe="1h")
        except ct.CracktraderError as error: print(error.code, error)
    """)  # fmt: skip
    assert said.startswith("CT101 No source 'tickdemo' is installed.")
