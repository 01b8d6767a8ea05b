"""The command line: what each command does, what it says when something is wrong, and its exit status."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import cracktrader as ct
from cracktrader.cli.app import EXIT_CODES, app
from cracktrader.errors import CatalogError, ConfigurationError, DataError, PluginError, SourceError

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "120")
    runner = CliRunner()

    def invoke(*arguments: object) -> Result:
        return runner.invoke(app, [str(argument) for argument in arguments])

    return invoke


@pytest.fixture
def bars() -> ct.Bars:
    rng = np.random.default_rng(1)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, 500)))
    open_ = np.concatenate(([100.0], close[:-1]))
    time = 1_704_067_200_000 + 3_600_000 * np.arange(500)
    return ct.Bars(time, open_, np.maximum(open_, close) + 0.1, np.minimum(open_, close) - 0.1, close, np.ones(500),
                   symbol="BTC/USDT", timeframe="1h")  # fmt: skip


@pytest.fixture
def clean(bars: ct.Bars, tmp_path: Path) -> Path:
    return bars.to_csv(tmp_path / "clean.csv")


@pytest.fixture
def dirty(bars: ct.Bars, tmp_path: Path) -> Path:
    high = bars.high.copy()
    high[7] = 1.0
    return bars.but(high=high)[np.r_[0:100, 103:500]].to_csv(tmp_path / "dirty.csv")


HOURS = ("symbol=BTC/USDT", "timeframe=1h")


# ── sources and schema ───────────────────────────────────────────────────────────────────────────────


def test_sources_lists_every_installed_source(run: Run) -> None:
    done = run("sources")
    assert done.exit_code == 0
    for name in ("ccxt", "csv", "http", "memory", "sql"):
        assert f"\n{name} " in done.output


def test_sources_as_json_can_be_read_by_a_program(run: Run) -> None:
    rows = json.loads(run("sources", "--json").stdout)
    assert {"name": "memory", "distribution": "cracktrader-core", "version": ct.__version__,
            "entry_point": "cracktrader.plugins.memory:MemorySource", "state": "installed", "problem": None} in rows  # fmt: skip


def test_sources_check_loads_each(run: Run) -> None:
    states = {row["name"]: row["state"] for row in json.loads(run("sources", "--check", "--json").stdout)}
    assert set(states.values()) == {"ok"}


def test_a_denied_source_is_listed_as_such(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRACKTRADER_DENY_PLUGINS", "sql")
    states = {row["name"]: row["state"] for row in json.loads(run("sources", "--json").stdout)}
    assert states["sql"] == "denied"
    assert states["csv"] == "installed"


def test_schema_lists_the_options_of_a_source(run: Run) -> None:
    text = run("schema", "memory").output
    assert "chunk_size" in text
    assert "50000" in text
    about = json.loads(run("schema", "csv", "--json").stdout)
    path = next(option for option in about["options"] if option["name"] == "path")
    assert path["required"]
    assert "csv_file" in path["aliases"]
    assert "fetch_bars" in about["offers"]


# ── load ─────────────────────────────────────────────────────────────────────────────────────────────


def test_load_shows_the_report_and_the_last_bars(run: Run, clean: Path) -> None:
    done = run("load", "csv", f"path={clean}", *HOURS)
    assert done.exit_code == 0
    assert "500 rows" in done.output
    assert "2024-01-21T19:00:00Z" in done.output


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_load_writes_a_file_that_holds_the_same_bars(run: Run, bars: ct.Bars, clean: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    done = run("load", "csv", f"path={clean}", *HOURS, "start=2024-01-03", "limit=24", "-o", out)
    assert done.exit_code == 0, done.output
    expected = bars.between("2024-01-03", "2024-01-04")
    again = ct.Bars.from_parquet(out) if suffix == "parquet" else ct.load("csv", path=out, symbol="BTC/USDT", timeframe="1h")
    assert again == expected


def test_a_repeated_key_makes_a_list_and_json_is_read(run: Run, bars: ct.Bars, tmp_path: Path) -> None:
    first, second = bars[:250].to_csv(tmp_path / "a.csv"), bars[250:].to_csv(tmp_path / "b.csv")
    assert "500 rows" in run("load", "csv", f"path={first}", f"path={second}", *HOURS).output
    assert "500 rows" in run("load", "csv", f"path={json.dumps([str(first), str(second)])}", *HOURS).output


def test_compression_and_validation_are_taken_from_the_settings(run: Run, dirty: Path) -> None:
    assert "of BTC/USDT 4h" in run("load", "csv", f"path={dirty}", *HOURS, "compression=4").output
    done = run("load", "csv", f"path={dirty}", *HOURS, "validation=strict")
    assert done.exit_code == 5
    assert "error CT301" in done.stderr


def test_policies_override_single_checks(run: Run, dirty: Path) -> None:
    assert run("load", "csv", f"path={dirty}", *HOURS, "--policy", "gap=raise").exit_code == 5
    assert run("load", "csv", f"path={dirty}", *HOURS, "--policy", "extreme_move=raise:0.001").exit_code == 5
    done = run("load", "csv", f"path={dirty}", *HOURS, "--policy", "gab=raise")
    assert done.exit_code == 2
    assert "Did you mean 'gap'?" in done.stderr


# ── check ────────────────────────────────────────────────────────────────────────────────────────────


def test_check_ends_with_0_for_clean_data_and_with_1_for_errors(run: Run, clean: Path, dirty: Path) -> None:
    assert run("check", "csv", f"path={clean}", *HOURS).exit_code == 0
    done = run("check", "csv", f"path={dirty}", *HOURS)
    assert done.exit_code == 1
    assert "ohlc_order" in done.output
    assert "2024-01-05T04:00:00Z to 2024-01-05T07:00:00Z: 3 missing" in done.output


def test_check_writes_its_report_also_where_a_policy_raises(run: Run, dirty: Path, tmp_path: Path) -> None:
    html, as_json = tmp_path / "report.html", tmp_path / "report.json"
    done = run("check", "csv", f"path={dirty}", *HOURS, "validation=strict", "--html", html, "--json", as_json)
    assert done.exit_code == 1
    assert html.read_text().startswith("<!")
    assert next(f for f in json.loads(as_json.read_text())["findings"] if f["check"] == "ohlc_order")["count"] == 1


def test_check_of_nothing_is_refused(run: Run, clean: Path) -> None:
    done = run("check", "csv", f"path={clean}", *HOURS, "validation=off")
    assert done.exit_code == 2
    assert "Nothing was checked" in done.stderr
    assert run("check", "csv", f"path={clean}", *HOURS, "validation=off", "--policy", "gap=warn").exit_code == 0


# ── backtest ─────────────────────────────────────────────────────────────────────────────────────────


def test_backtest_prints_statistics_and_draws(run: Run, clean: Path, tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    done = run("backtest", "csv", f"path={clean}", *HOURS, "--plot", chart)
    assert done.exit_code == 0, done.output
    assert "trades closed" in done.output
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_backtest_as_json_counts_what_backtrader_counts(run: Run, clean: Path, bars: ct.Bars) -> None:
    import backtrader as bt

    from cracktrader.cli.strategies import SmaCross

    told = json.loads(run("backtest", "csv", f"path={clean}", *HOURS, "--json", "--param", "fast=5", "--cash", "5000",
                          "--commission", "0.002").stdout)  # fmt: skip
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(ct.feed(bars))
    cerebro.addstrategy(SmaCross, fast=5)
    cerebro.addsizer(bt.sizers.PercentSizer, percents=95)
    cerebro.broker.setcash(5000)
    cerebro.broker.setcommission(commission=0.002)
    cerebro.run()
    assert told["value"] == cerebro.broker.getvalue()
    assert told["return"] == pytest.approx(told["value"] / 5000 - 1)
    assert told["trades"] == told["won"] + told["lost"] > 3
    assert told["buy_and_hold"] == pytest.approx(bars.close[-1] / bars.open[0] - 1)


def test_backtest_takes_a_strategy_from_a_file(run: Run, clean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import backtrader as bt\n"
        "class Hold(bt.Strategy):\n"
        "    params = (('size', 1.0),)\n"
        "    def next(self):\n"
        "        if not self.position:\n"
        "            self.buy(size=self.p.size)\n"
    )
    told = json.loads(run("backtest", "csv", f"path={clean}", *HOURS, "--strategy", f"{tmp_path / 'mine.py'}:Hold",
                          "--param", "size=2.5", "--commission", "0", "--json").stdout)  # fmt: skip
    assert told["strategy"] == "Hold"
    assert told["value"] != told["cash"]


@pytest.mark.parametrize(
    ("strategy", "said"),
    [
        ("sma-cros", "Did you mean 'sma-cross'?"),
        ("no_such_module_at_all:X", "can't be imported"),
        ("json:loads", "is not a backtrader.Strategy"),
        ("json:Nothing", "There is no 'Nothing' in json"),
        ("nowhere.py:X", "there is no file 'nowhere.py'"),
    ],
)
def test_a_strategy_that_cannot_be_used_is_named(run: Run, clean: Path, strategy: str, said: str) -> None:
    done = run("backtest", "csv", f"path={clean}", *HOURS, "--strategy", strategy)
    assert done.exit_code == 2
    assert said in done.stderr


def test_an_unknown_parameter_of_a_strategy_is_named(run: Run, clean: Path) -> None:
    done = run("backtest", "csv", f"path={clean}", *HOURS, "--param", "fats=5")
    assert done.exit_code == 2
    assert "SmaCross has no parameter 'fats'" in done.stderr


def test_too_few_bars_for_a_strategy_are_counted(run: Run, clean: Path) -> None:
    done = run("backtest", "csv", f"path={clean}", *HOURS, "limit=20")
    assert done.exit_code == 5
    assert "20 bars of 1h are too few for SmaCross: its indicators need 31." in done.stderr


def test_a_strategy_that_fails_says_where_in_one_paragraph(run: Run, clean: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.py"
    mine.write_text("import backtrader as bt\nclass Boom(bt.Strategy):\n    def next(self):\n        self.nothing()\n")
    arguments = ("backtest", "csv", f"path={clean}", *HOURS, "--strategy", f"{mine}:Boom")
    done = run(*arguments)
    assert done.exit_code == 2
    assert done.stderr.startswith("error CT000: The strategy Boom failed (mine.py, line 4): AttributeError")
    assert "Traceback" not in done.stderr
    assert "self.nothing()" in run("--debug", *arguments).stderr


@pytest.mark.parametrize("param", ["fast=0", "fast=-3", "fast=2.5", "slow=many"])
def test_a_period_that_is_no_number_of_bars_is_refused(run: Run, clean: Path, param: str) -> None:
    done = run("backtest", "csv", f"path={clean}", *HOURS, "--param", param)
    assert done.exit_code == 2
    assert f"{param} is not a number of bars to average." in done.stderr


def test_a_strategys_file_takes_no_modules_place(run: Run, clean: Path, tmp_path: Path) -> None:
    import signal

    (tmp_path / "signal.py").write_text("import backtrader as bt\nclass Idle(bt.Strategy):\n    pass\n")
    assert run("backtest", "csv", f"path={clean}", *HOURS, "--strategy", f"{tmp_path / 'signal.py'}:Idle").exit_code == 0
    assert sys.modules["signal"] is signal


# ── demo ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_demo_finds_every_kind_of_fault_that_it_put_in(run: Run, tmp_path: Path) -> None:
    done = run("demo", "--files", "--out", tmp_path / "demo", "--days", "8")
    assert done.exit_code == 0, done.output
    assert done.output.count("all were found") == 2
    left = {path.name for path in (tmp_path / "demo").iterdir()}
    assert {"BTC-USDT-1m.csv", "BTC-USDT-report.html", "BTC-USDT-report.json", "ETH-USDT-1m.csv", "chart.png"} <= left


def test_the_demo_is_the_same_every_time(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run("demo", "--files", "--out", tmp_path / name, "--days", "3").exit_code == 0
    assert (tmp_path / "a" / "BTC-USDT-1m.csv").read_bytes() == (tmp_path / "b" / "BTC-USDT-1m.csv").read_bytes()


def test_the_demo_downloads_from_an_exchange_and_the_second_time_from_the_catalog(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("cracktrader_ccxt")
    first = run("demo", "--out", tmp_path / "demo", "--days", "12")
    assert first.exit_code == 0, first.output
    assert "3,672 bars of 6 series" in first.output
    assert "The exchange was asked for bars" in first.output
    assert first.output.count("1 outage (6 bars)") == 3
    assert "1 no_trades (3 bars)" in first.output
    assert "TrendCross on BTC/USDT 15m" in first.output
    kept = {"catalog", "chart.png", "report.html", "report.json"}
    assert {path.name for path in (tmp_path / "demo").iterdir()} == kept
    second = run("demo", "--out", tmp_path / "demo", "--days", "12")
    assert second.exit_code == 0, second.output
    assert "the exchange was not asked for a single bar" in second.output
    assert (
        second.output.partition("3. Checked")[2].partition("time")[0]
        == first.output.partition("3. Checked")[2].partition("time")[0]
    )


# ── when something is wrong ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("load", "cvs", *HOURS), 3, "No source 'cvs' is installed. Did you mean 'csv'?"),
        (("load", "csv", "pth=x.csv", *HOURS), 2, "has no option 'pth'. Did you mean 'path'?"),
        (("load", "csv", "path=no-such-file.csv", *HOURS), 4, "no-such-file.csv"),
        (("load", "csv", "path={clean}", "symbol=X", "timeframe=1x"), 2, "'1x' is not a timeframe"),
        (("load", "csv", "path={clean}", "symbol=X"), 2, "No timeframe was given"),
        (("load", "csv", "path={clean}", *HOURS, "start=2024-02-01", "end=2024-01-01"), 2, "before it starts"),
        (("load", "csv", "path={clean}", *HOURS, "start=soon"), 2, "'soon' is not a time"),
        (("load", "csv", "path={clean}", *HOURS, "limit=many"), 2, "limit=many is not a whole number"),
        (("load", "csv", "path={clean}", *HOURS, "limit=0"), 2, "limit=0 is not a number of bars to load"),
        (("load", "csv", "path={clean}", *HOURS, "validation=lax"), 2, "is not a preset"),
        (("load", "csv", "path"), 2, "'path' is not KEY=VALUE"),
        (("load", "csv", 'columns={"time"', *HOURS), 2, "begins like JSON"),
        (("load", "csv", "path={clean}", *HOURS, "-o", "out.xls"), 2, "can't be written as 'out.xls'"),
        (("load", "csv", "path={clean}", *HOURS, "-o", "no/folder/out.csv"), 2, "There is no folder"),
        (("load", "csv", "path={clean}", "symbol=BTC/USDT", "timeframe=1d"), 5, "these look like bars of 1h, not 1d"),
        (("load", "http", "url=x", *HOURS), 2, "must begin with https://"),
        (("load", "sql", "url=x", *HOURS), 2, "can't be read as the address of a database"),
        (("backtest", "csv", "path={clean}", *HOURS, "start=2030-01-01"), 5, "no bars"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, tuple) else str(value)[:25],
)
def test_an_error_is_one_paragraph_with_a_code_and_a_status(
    run: Run, clean: Path, arguments: tuple[str, ...], status: int, said: str
) -> None:
    done = run(*(argument.format(clean=clean) if "{clean}" in argument else argument for argument in arguments))
    assert said in done.stderr
    assert done.stderr.startswith("error CT")
    assert "Traceback" not in done.stderr
    assert done.exit_code == status


def test_an_error_shows_its_traceback_where_it_is_asked_for(run: Run) -> None:
    assert "Traceback" in run("--debug", "load", "cvs", *HOURS).stderr


def test_a_mistyped_command_is_guessed(run: Run) -> None:
    done = run("sorces")
    assert done.exit_code == 2
    assert "sources" in done.stderr


def test_every_family_of_errors_has_a_status_of_its_own() -> None:
    assert {ConfigurationError: 2, PluginError: 3, SourceError: 4, DataError: 5, CatalogError: 6} == EXIT_CODES


def test_the_version_is_told(run: Run) -> None:
    assert run("--version").output == f"cracktrader {ct.__version__}\n"


# ── what help and listing import ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", [["--help"], ["sources"], ["load", "--help"]], ids=" ".join)
def test_help_and_listing_import_nothing_heavy_and_no_plugin(arguments: list[str]) -> None:
    script = (
        "import sys\n"
        f"sys.argv = ['cracktrader', *{arguments!r}]\n"
        "from cracktrader.cli import main\n"
        "try:\n"
        "    main()\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "heavy = {'numpy', 'pandas', 'pyarrow', 'backtrader', 'pluggy', 'cracktrader_csv', 'cracktrader_ccxt'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.rstrip().endswith("LOADED []")


def test_the_module_runs_like_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cracktrader", "--version"], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"cracktrader {ct.__version__}\n"


def test_a_broken_pipe_is_no_traceback(clean: Path) -> None:
    command = f'"{sys.executable}" -m cracktrader sources | head -c 1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False, env=os.environ.copy())
    assert "Traceback" not in done.stderr


def test_real_candles_are_traded(run: Run, shared_data: Path, tmp_path: Path) -> None:
    chart = tmp_path / "chart.png"
    path = shared_data / "coinbase_BTC-USD_1d.csv"
    done = run("backtest", "csv", f"path={path}", "symbol=BTC/USD", "timeframe=1d", "--plot", chart)
    assert done.exit_code == 0, done.output
    assert chart.stat().st_size > 50_000


def test_the_outage_and_the_quiet_minutes_of_real_candles_are_found(run: Run, shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "coinbase_BTC-EUR_1m_2018-04-04_05.csv"
    as_json = tmp_path / "report.json"
    run("check", "csv", f"path={path}", "symbol=BTC/EUR", "timeframe=1m", "--html", tmp_path / "report.html", "--json", as_json)
    gaps: list[dict[str, Any]] = next(f for f in json.loads(as_json.read_text())["findings"] if f["check"] == "gap")["gaps"]
    outages = [gap for gap in gaps if gap["class"] == "outage"]
    assert [(gap["start"], gap["end"], gap["missing"]) for gap in outages] == [
        ("2018-04-04T16:49:00Z", "2018-04-05T00:00:00Z", 431)
    ]
    quiet = [gap for gap in gaps if gap["class"] == "no_trades"]
    assert sum(gap["missing"] for gap in quiet) == 105
    assert all(gap["filled"] for gap in quiet)
    assert "431" in (tmp_path / "report.html").read_text()


def test_load_keeps_what_it_loaded_in_a_catalog(run: Run, clean: Path, tmp_path: Path) -> None:
    asked = ("load", "csv", f"path={clean}", *HOURS, "end=2024-01-10")
    first = run(*asked, f"catalog={tmp_path / 'kept'}")
    assert first.exit_code == 0, first.output
    clean.unlink()
    again = run(*asked, f"catalog={tmp_path / 'kept'}")
    assert again.output == first.output
    assert run(*asked, "catalog=false").exit_code == 4
    assert not Path("false").exists()


def test_load_writes_no_file_without_bars(run: Run, clean: Path, tmp_path: Path) -> None:
    done = run("load", "csv", f"path={clean}", *HOURS, "start=2030-01-01", "-o", tmp_path / "none.csv")
    assert done.exit_code == 5
    assert "no bars in this range" in done.output
    assert not (tmp_path / "none.csv").exists()
