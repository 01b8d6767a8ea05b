"""The least that an installation must do, whatever is installed beside the core: run it with any environment's Python.

It needs the core and pytest, and looks at nothing of the source tree.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import cracktrader as ct

OURS = [name for name in ("cracktrader-core", "cracktrader-csv", "cracktrader-sql", "cracktrader-http", "cracktrader-ccxt")
        if any(dist.name == name for dist in metadata.distributions())]  # fmt: skip


@pytest.fixture
def bars() -> ct.Bars:
    price = np.linspace(100, 110, 48)
    return ct.Bars(3_600_000 * np.arange(48), price, price + 1, price - 1, price, price, symbol="BTC/USDT", timeframe="1h")


def run(*command: str) -> str:
    done = subprocess.run(command, check=False, capture_output=True)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    return done.stdout.decode()


@pytest.mark.parametrize("name", OURS)
def test_a_distribution_has_its_version_its_licence_and_its_types(name: str) -> None:
    module = "cracktrader" if name == "cracktrader-core" else name.replace("-", "_")
    imported = __import__(module)
    assert imported.__version__ == metadata.version(name)
    assert metadata.metadata(name)["License-Expression"] == "GPL-3.0-or-later"
    assert (Path(imported.__file__).parent / "py.typed").is_file()


def test_every_installed_source_is_listed_and_fits() -> None:
    registry = ct.Registry(environ={})
    wanted = {point.name for point in metadata.entry_points(group="cracktrader.sources")}
    assert "memory" in wanted
    outcomes = {entry.name: problem for entry, problem in registry.check()}
    assert outcomes == dict.fromkeys(wanted)


def test_bars_are_loaded_by_name_checked_and_traded(bars: ct.Bars) -> None:
    loaded = ct.load("memory", bars=bars, symbol="BTC/USDT", timeframe="1h")
    assert loaded == bars
    assert loaded.report.rows_out == 48
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed(loaded))
    assert len(cerebro.run()[0].data) == 48


def test_bars_go_through_files_unchanged(bars: ct.Bars, tmp_path: Path) -> None:
    assert ct.Bars.from_parquet(bars.to_parquet(tmp_path / "bars.parquet")) == bars


def test_the_command_line_lists_the_sources() -> None:
    listed = json.loads(run(sys.executable, "-m", "cracktrader", "sources", "--json"))
    assert "memory" in json.dumps(listed)
    script = Path(sys.executable).with_name("cracktrader")
    if script.exists():
        assert "memory" in run(str(script), "sources")
