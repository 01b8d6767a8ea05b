"""sync: a declared set of series is brought up to date, only by what lacks; what fails is told, and stops no other."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slowmarket import SlowMarket, bars_of
from typer.testing import CliRunner

import cracktrader as ct
from cracktrader.cli.app import app
from cracktrader.errors import DataError, InvalidOption, UnknownSymbol
from cracktrader.syncing import sync


@pytest.fixture
def declared(tmp_path, diary):
    """A declaration of a slow market with three symbols, kept in a folder."""

    def make(**changes):
        table = {"source": SlowMarket, "symbols": ["A", "B"], "timeframe": "1m", "diary": diary,
                 "catalog": str(tmp_path / "bars"), **changes}  # fmt: skip
        return {"series": {"slow": table}}

    return make


def told(series):
    return [(each.symbol, each.timeframe, each.fetched, each.held, each.error) for each in series]


def test_what_lacks_is_fetched_once_and_never_again(declared, tmp_path):
    assert told(sync(declared())) == [("A", "1m", 10, 10, None), ("B", "1m", 10, 10, None)]
    assert told(sync(declared())) == [("A", "1m", 0, 10, None), ("B", "1m", 0, 10, None)]
    assert told(sync(declared(symbols=["A", "C"]))) == [("A", "1m", 0, 10, None), ("C", "1m", 10, 10, None)]


def test_what_was_synced_is_what_load_answers(declared, tmp_path, diary):
    sync(declared())
    begun = diary.read_text().count("begin")
    bars = ct.load(SlowMarket, symbol="A", timeframe="1m", diary=diary, catalog=tmp_path / "bars", end="2024-01-01T00:10")
    assert bars == bars_of("A")
    assert diary.read_text().count("begin") == begun


def test_patterns_are_looked_up_in_the_source_s_list(declared):
    listed = ["BTC/USDT", "ETH/USDT", "ETH/BTC", "ETH/USDT:USDT"]
    series = sync(declared(listed=listed, symbols=["*/USDT", "ETH/???", "BTC/USDT"]))
    assert [each.symbol for each in series] == ["BTC/USDT", "ETH/USDT", "ETH/BTC"]


def test_what_fails_is_told_and_stops_no_other(declared):
    declaration = declared(symbols=["A", "*/NONE"], timeframes=["1m", "7m"])
    declaration["series"]["bad"] = {**declaration["series"]["slow"], "symbols": "B", "fault": "raise", "timeframes": "1m"}
    series = sync(declaration)
    assert [(each.table, each.symbol, each.timeframe, each.held, type(each.error)) for each in series] == [
        ("slow", "*/NONE", "1m, 7m", 0, UnknownSymbol),
        ("slow", "A", "1m", 10, type(None)),
        ("slow", "A", "7m", 0, DataError),
        ("bad", "B", "1m", 0, ct.CracktraderError),
    ]
    assert "no B today" in series[3].to_dict()["error"]
    assert series[3].to_dict()["code"] == "CT000"


def test_an_interrupted_sync_goes_on_where_it_stopped(declared):
    def enough(progress):
        if progress.rows >= 30:
            raise KeyboardInterrupt

    long = {"chunks": 40, "seconds": 0.02, "symbols": ["A"]}
    with pytest.raises(KeyboardInterrupt):
        sync(declared(**long), progress=enough)
    (series,) = sync(declared(**long))
    assert series.held == 400
    assert 0 < series.fetched <= 370


def test_processes_sync_too(declared, processes):
    assert told(sync(declared(), executor=processes)) == [("A", "1m", 10, 10, None), ("B", "1m", 10, 10, None)]
    assert told(sync(declared())) == [("A", "1m", 0, 10, None), ("B", "1m", 0, 10, None)]


# ── the declaration ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[serie.a]\nsource = "csv"', r"sync\.toml has an unknown table 'serie'\. Did you mean 'series'\?"),
        ('[feeds.a]\nsource = "csv"', r"sync\.toml declares no series"),
        ('[series.a]\ntimeframe = "1h"', r"sync\.toml, \[series\.a\] does not say which source to load from"),
        ('[series.a]\nsource = "csv"\nsymbol = "A"', r"\[series\.a\] has no timeframe"),
        (
            '[series.a]\nsource = "csv"\ntimeframe = "1h"\nsymbls = []',
            r"\[series\.a\] has no key 'symbls'\. Did you mean 'symbols'",
        ),
        ('[series.a]\nsource = "csv"\ntimeframe = "1h"\nlimit = 5', r"\[series\.a\] has 'limit', which a sync does not take"),
        ('[series.a]\nsource = "csv"\ntimeframe = "1h"\ncatalog = false', r"\[series\.a\] has catalog = false"),
        ('[series.a]\nsource = "csv"\ntimeframe = "1h"\nsymbols = [1]', r"\[series\.a\] has 1 among its symbols"),
    ],
)
def test_what_is_wrong_in_a_declaration_is_told_with_its_place(tmp_path, text, said):
    (tmp_path / "sync.toml").write_text(text)
    with pytest.raises(InvalidOption, match=said):
        sync(tmp_path / "sync.toml")


# ── the command ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, ["sync", *map(str, arguments)])


@pytest.fixture
def declaration(tmp_path):
    """Two files, and a declaration that also wants a third; paths are relative to it."""
    bars_of("A", 100).to_csv(tmp_path / "a.csv")
    bars_of("B", 50).to_csv(tmp_path / "b.csv")
    file = tmp_path / "market.toml"
    file.write_text(
        '[defaults]\nsource = "csv"\ncatalog = "bars"\ntimeframe = "1m"\n'
        '[series.a]\npath = "a.csv"\nsymbol = "A"\n[series.b]\npath = "b.csv"\nsymbol = "B"\nstart = 2024-01-01T00:10:00Z\n'
    )
    return file


def test_the_command_ends_with_a_table_and_0(run, declaration, tmp_path):
    done = run(declaration)
    assert done.exit_code == 0, done.output
    rows = [line.split() for line in done.stdout.splitlines() if line.strip()]
    assert ["a", "A", "1m", "100", "100"] in rows
    assert ["b", "B", "1m", "40", "40"] in rows
    assert ["2", "series,", "0", "failed", "140", "140"] in rows
    assert (tmp_path / "bars").is_dir()
    assert "2 of 2 series" in done.stderr
    again = run(declaration, "--json", "--workers", 1, "--per-host", 1)
    assert [(row["symbol"], row["fetched"], row["held"], row["error"]) for row in json.loads(again.stdout)] == [
        ("A", 0, 100, None), ("B", 0, 40, None),
    ]  # fmt: skip


def test_the_command_says_what_failed_and_why_and_ends_with_1(run, declaration):
    declaration.write_text(declaration.read_text() + '[series.c]\npath = "c.csv"\nsymbol = "C"\n')
    done = run(declaration)
    assert done.exit_code == 1
    assert "SourceNotFound" in done.stdout
    assert "3 series, 1 failed" in done.stdout
    row = json.loads(run(declaration, "--json").stdout)[2]
    assert (row["table"], row["code"]) == ("c", "CT206")


def test_a_wrong_declaration_ends_with_2(run, tmp_path):
    done = run(tmp_path / "none.toml")
    assert done.exit_code == 2
    assert "none.toml' can't be read" in done.stderr


def test_the_command_loads_on_a_cluster(run, declaration, cluster):
    done = run(declaration, "--json", "--dask", cluster.scheduler.address)
    assert done.exit_code == 0, done.output
    assert [row["fetched"] for row in json.loads(done.stdout)] == [100, 40]


def test_a_scheduler_that_is_not_there_is_said(run, declaration, cluster):
    done = run(declaration, "--dask", "nowhere")
    assert done.exit_code == 2
    assert "There is no Dask scheduler at 'nowhere'" in done.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals to another process are a POSIX matter")
def test_ctrl_c_ends_the_command_with_130_and_keeps_what_came(tmp_path, diary):
    installed = tmp_path / "slow-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: slow\nVersion: 1.0\n")
    (installed / "entry_points.txt").write_text("[cracktrader.sources]\nslow = slowmarket:SlowMarket\n")
    (tmp_path / "market.toml").write_text(
        '[series.a]\nsource = "slow"\nsymbol = "A"\ntimeframe = "1m"\ncatalog = "bars"\n'
        f"chunks = 10_000\nseconds = 0.05\ndiary = '{diary}'\n"
    )
    running = subprocess.Popen(
        [sys.executable, "-m", "cracktrader", "sync", tmp_path / "market.toml"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path(__file__).parent)])},
    )  # fmt: skip
    while not (diary.exists() and diary.read_text().count("chunk") > 5):
        assert running.poll() is None, running.communicate()
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, complained = running.communicate(timeout=30)
    assert running.returncode == 130, complained
    assert complained.rstrip().endswith("Interrupted.")
    assert list((tmp_path / "bars").rglob("*.parquet"))
