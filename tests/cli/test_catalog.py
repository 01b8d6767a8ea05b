"""The commands of the catalog, each over real files."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pytest
from typer.testing import CliRunner, Result

import cracktrader as ct
from cracktrader.cli.app import app

Run = Callable[..., Result]
HOUR = 3_600_000
JANUARY = 1_704_067_200_000


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "catalog"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, root: Path) -> Run:
    """``cracktrader catalog …`` over this test's catalog."""
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("CRACKTRADER_CATALOG", str(root))
    runner = CliRunner()

    def invoke(*arguments: object, **options: str) -> Result:
        return runner.invoke(app, ["catalog", *map(str, arguments)], **options)

    return invoke


def market(symbol: str = "BTC/USDT", count: int = 24 * 60, seed: int = 1) -> ct.Bars:
    """Two months of hours, with a day of an outage and some quiet hours."""
    rng = np.random.default_rng(seed)
    there = rng.random(count) > 0.02
    there[200:224] = False
    time = JANUARY + HOUR * np.flatnonzero(there)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.004, len(time)))), 2)
    return ct.Bars(time, close, close + 1, close - 1, close, np.ones(len(time)), symbol=symbol, timeframe="1h")


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    return market().to_csv(tmp_path / "btc.csv")


def fill(csv: Path, start: str, end: str) -> ct.Bars:
    """Load hours into the usual catalog, which is this test's."""
    options = {"symbol": "BTC/USDT", "timeframe": "1h", "start": start, "end": end, "validation": "off"}
    return ct.load("csv", path=str(csv), catalog=True, **options)


@pytest.fixture
def filled(run: Run, csv: Path) -> Path:
    """The folder of a series, which has been fetched twice, and not in between."""
    fill(csv, "2024-01-01", "2024-01-20")
    fill(csv, "2024-01-25", "2024-02-20")
    return Path(json.loads(run("ls", "--json").stdout)[0]["folder"])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────


def test_ls_lists_the_series_with_a_bar_of_what_was_fetched(run: Run, filled: Path) -> None:
    done = run("ls")
    assert done.exit_code == 0, done.output
    assert re.search(r"BTC/USDT +1h +2024-01-01 +2024-02-19 +[\d,]+ +[\d.]+ kB +█+▒·*▒█+ ", done.output)
    (said,) = json.loads(run("ls", "--json").stdout)
    assert said["source"] == "csv"
    assert said["coverage"] == [
        ["2024-01-01T00:00:00Z", "2024-01-20T00:00:00Z"],
        ["2024-01-25T00:00:00Z", "2024-02-20T00:00:00Z"],
    ]


def test_an_empty_catalog_says_so(run: Run, root: Path) -> None:
    for command in ("ls", "info", "gaps", "verify", "compact", "repair", "migrate"):
        done = run(command)
        assert done.exit_code == 0, done.output
        assert f"There is no such series in {root}." in done.stderr
    assert json.loads(run("ls", "--json").stdout) == []


def test_series_are_chosen_by_patterns_and_the_catalog_by_an_option(run: Run, filled: Path, root: Path) -> None:
    assert len(json.loads(run("ls", "--json", "--symbol", "BTC/*", "--source", "c*", "--timeframe", "1h").stdout)) == 1
    assert json.loads(run("ls", "--json", "--symbol", "ETH/*").stdout) == []
    assert json.loads(run("ls", "--json", "--catalog", root / "other").stdout) == []
    assert len(json.loads(run("ls", "--json", "--catalog", f"file://{root}").stdout)) == 1


def test_info_tells_all_of_a_series(run: Run, filled: Path, csv: Path) -> None:
    ct.load("csv", path=str(csv), symbol="BTC/USDT", timeframe="1h", start="2024-01-01", end="2024-02-01", catalog=True,
            validation=ct.Validation(gap="ignore", extreme_move=ct.Check(policy="quarantine", limit=0.01)))  # fmt: skip
    (said,) = json.loads(run("info", "--json").stdout)
    assert [file["period"] for file in said["files"]] == ["2024-01", "2024-02"]
    assert sum(fetch["rows"] for fetch in said["fetches"]) == said["bars"]
    assert said["quarantine"]
    text = run("info").output
    assert str(filled) in "".join(text.split())
    assert "extreme_move" in text
    assert "fetched from" in text
    assert "cracktrader-csv" in text


def test_a_series_with_a_damaged_ledger_is_listed_as_damaged(run: Run, filled: Path) -> None:
    ledger = filled / "ledger.json"
    ledger.write_text(ledger.read_text().replace('"rows"', '"rows "', 1))
    assert "damaged" in run("ls").output
    assert "can't be read" in json.loads(run("ls", "--json").stdout)[0]["problem"]
    assert run("info").exit_code == 1


def test_verify_ends_with_1_where_anything_is_damaged_and_changes_nothing(run: Run, filled: Path) -> None:
    assert run("verify").exit_code == 0
    flip(next(filled.glob("2024-02*.parquet")))
    before = sorted(path.name for path in filled.rglob("*"))
    done = run("verify")
    assert done.exit_code == 1
    assert re.search(r"BTC/USDT 1h from csv .*: 2024-02\S+parquet: its digest", done.output)
    assert "1 series, 1 damaged" in done.output
    (said,) = json.loads(run("verify", "--json").stdout)
    assert said["symbol"] == "BTC/USDT"
    assert said["damage"][0]["file"].startswith("2024-02")
    assert sorted(path.name for path in filled.rglob("*")) == before


# ── gaps and repair ──────────────────────────────────────────────────────────────────────────────────


def test_gaps_are_listed_with_their_class(run: Run, filled: Path) -> None:
    (said,) = json.loads(run("gaps", "--json").stdout)
    never = [gap for gap in said["gaps"] if gap["class"] == "never_fetched"]
    assert [(gap["start"], gap["end"], gap["missing"]) for gap in never] == [
        ("2024-01-20T00:00:00Z", "2024-01-25T00:00:00Z", 120)
    ]
    outage = max((gap for gap in said["gaps"] if gap["class"] == "outage"), key=lambda gap: gap["missing"])
    assert 24 <= outage["missing"] < 28
    text = " ".join(run("gaps").output.split())
    assert "1 never_fetched (120 bars)" in text
    assert "the ledger has no fetch of it" in text


def test_symbols_that_are_not_chosen_are_evidence(run: Run, tmp_path: Path) -> None:
    for at, symbol in enumerate(("BTC/USDT", "ETH/USDT", "XRP/USDT")):
        path = market(symbol, seed=at).to_csv(tmp_path / f"{at}.csv")
        done = run("import", path, "--as", "ccxt", "exchange=kraken", "--symbol", symbol, "--timeframe", "1h")
        assert done.exit_code == 0, done.output
    (said,) = json.loads(run("gaps", "--json", "--symbol", "ETH/*").stdout)
    longest = max(said["gaps"], key=lambda gap: gap["missing"])
    assert longest["evidence"] == "2 of 2 other symbols of the source lack their bars as well"


def test_the_real_outage_is_found(run: Run, shared_data: Path) -> None:
    for symbol in ("BTC-USD", "BTC-EUR", "ETH-USD", "LTC-USD"):
        path = shared_data / f"coinbase_{symbol}_1m_2018-04-04_05.csv"
        assert run("import", path, "--as", "ccxt", "exchange=coinbase", "--symbol", symbol, "--timeframe", "1m").exit_code == 0
    for said in json.loads(run("gaps", "--json").stdout):
        assert [gap["end"] for gap in said["gaps"] if gap["class"] == "outage"] == ["2018-04-05T00:00:00Z"]


def test_gaps_of_the_others_are_listed_where_a_series_is_damaged(run: Run, filled: Path, tmp_path: Path) -> None:
    path = market("ETH/USDT").to_csv(tmp_path / "eth.csv")
    run("import", path, "--as", "ccxt", "exchange=kraken", "--symbol", "ETH/USDT", "--timeframe", "1h")
    flip(next(filled.glob("2024-02*.parquet")))
    done = run("gaps", "--json")
    assert done.exit_code == 1
    assert [said["symbol"] for said in json.loads(done.stdout)] == ["ETH/USDT"]
    assert "warning: " in done.stderr
    assert "catalog repair" in done.stderr


def test_repair_sets_damage_aside_and_fetches_all_that_is_missing(run: Run, filled: Path, csv: Path) -> None:
    flip(next(filled.glob("2024-02*.parquet")))
    (filled / "ledger.json").write_text("{")
    done = run("repair")
    assert done.exit_code == 0, done.output + done.stderr
    assert "ledger.json" in done.output
    assert list((filled / "damaged").iterdir())
    assert run("verify").exit_code == 0
    (said,) = json.loads(run("ls", "--json").stdout)
    assert said["coverage"][0][0] == "2024-01-01T00:00:00Z"
    direct = ct.load("csv", path=str(csv), symbol="BTC/USDT", timeframe="1h", start="2024-01-01", end="2024-02-20",
                     validation="off")  # fmt: skip
    assert fill(csv, "2024-01-01", "2024-02-20") == direct


def test_repair_fetches_what_was_never_fetched_and_nothing_without_fetch(run: Run, filled: Path) -> None:
    done = run("repair", "--no-fetch")
    assert (done.exit_code, "120 bars are missing" in done.output) == (0, True)
    done = run("repair")
    assert re.search(r"of 120 missing bars, 1\d\d came", done.output)
    assert "of 120" not in run("repair").output


def test_repair_asks_again_for_gaps_when_told(run: Run, filled: Path, csv: Path) -> None:
    whole = market()
    time = JANUARY + HOUR * np.arange(24 * 60)
    column = np.full(len(time), 5.0)
    late = ct.Bars(time, column, column, column, column, column, symbol="BTC/USDT", timeframe="1h")
    ct.Bars.concat([whole, late[~np.isin(time, whole.time)]])[
        np.argsort(np.r_[whole.time, time[~np.isin(time, whole.time)]])
    ].to_csv(csv)
    missing = sum(gap["missing"] for gap in json.loads(run("gaps", "--json").stdout)[0]["gaps"])
    done = run("repair", "--gaps")
    assert f"of {missing:,} missing bars, {missing:,} came" in done.output, done.output
    assert json.loads(run("gaps", "--json").stdout)[0]["gaps"] == []
    assert run("verify").exit_code == 0


def test_what_can_not_be_fetched_again_is_told_and_stops_no_other(run: Run, filled: Path, csv: Path, tmp_path: Path) -> None:
    other = market("ETH/USDT").to_csv(tmp_path / "eth.csv")
    for start, end in (("2024-01-01", "2024-01-05"), ("2024-01-10", "2024-01-12")):
        ct.load("csv", path=str(other), symbol="ETH/USDT", timeframe="1h", start=start, end=end, catalog=True)
    csv.unlink()
    done = run("repair")
    assert done.exit_code == 1
    assert "error CT206: BTC/USDT 1h from csv" in done.stderr
    assert re.search(r"ETH/USDT .*: of 120 missing bars, 1?\d\d came", done.output)
    assert run("verify").exit_code == 0


class PlaceSource(ct.DataSource):
    """Known by something else than its option, as a database is by its place, and not by a URL with a password."""

    class Config(ct.SourceConfig):
        url: str

    api = (1, 0)

    def identity(self) -> dict[str, str]:
        return {"place": self.config.url.rpartition("@")[2]}

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> ct.Bars:
        bars = market(request.symbol)
        return bars[request.contains(bars.time)]


def test_options_that_are_not_kept_are_given_to_repair(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ct.default_registry()._registered, "place", PlaceSource)
    for start, end in (("2024-01-01", "2024-01-05"), ("2024-01-10", "2024-01-12")):
        ct.load("place", url="db://me:secret@host/market", symbol="BTC/USDT", timeframe="1h", start=start, end=end, catalog=True)
    done = run("repair")
    assert done.exit_code == 1
    assert "'url' is missing" in done.stderr
    done = run("repair", "url=db://you:other@host/market")
    assert done.exit_code == 0, done.stderr
    assert re.search(r"of 120 missing bars, 1?\d\d came", done.output)


def test_repair_refuses_options_that_mean_other_data(run: Run, filled: Path, tmp_path: Path) -> None:
    done = run("repair", f"path={tmp_path / 'other.csv'}")
    assert done.exit_code == 1
    assert "would read other data" in done.stderr


# ── compact, rm, migrate ─────────────────────────────────────────────────────────────────────────────


def test_compact_joins_records_and_sweeps(run: Run, filled: Path, csv: Path) -> None:
    fill(csv, "2024-01-20", "2024-01-25")
    (filled / "2024-01.0123456789abcdef.parquet").write_bytes(b"left behind")
    assert "1 series: 2 records of fetches joined, 1 files left behind deleted" in run("compact").output
    assert run("verify").exit_code == 0


def test_rm_asks_and_deletes_only_what_was_chosen(run: Run, filled: Path, tmp_path: Path) -> None:
    path = market("ETH/USDT").to_csv(tmp_path / "eth.csv")
    run("import", path, "--as", "ccxt", "exchange=kraken", "--symbol", "ETH/USDT", "--timeframe", "1h")
    assert run("rm").exit_code == 2
    assert run("rm", "--symbol", "BTC/*", input="n\n").exit_code == 1
    assert len(json.loads(run("ls", "--json").stdout)) == 2
    done = run("rm", "--symbol", "BTC/*", input="y\n")
    assert "1 series deleted" in done.output
    assert [said["symbol"] for said in json.loads(run("ls", "--json").stdout)] == ["ETH/USDT"]
    assert run("rm", "--symbol", "ETH/*", "--yes").exit_code == 0
    assert json.loads(run("ls", "--json").stdout) == []


def test_migrate_says_that_there_is_nothing_to_do_and_refuses_newer(run: Run, filled: Path) -> None:
    assert "nothing to do" in run("migrate").output
    ledger = filled / "ledger.json"
    ledger.write_text(re.sub(r'"schema":1\b', '"schema":7', ledger.read_text()))
    done = run("migrate")
    assert done.exit_code == 1
    assert "error CT403" in done.stderr
    assert "pip install --upgrade cracktrader-core" in done.stderr


def test_migrate_copies_to_another_root(run: Run, filled: Path, tmp_path: Path) -> None:
    done = run("migrate", "--to", tmp_path / "copy")
    assert done.exit_code == 0, done.output + done.stderr
    assert run("verify", "--catalog", tmp_path / "copy").exit_code == 0
    first, second = (
        json.loads(run("info", "--json", "--catalog", where).stdout) for where in (filled.parents[3], tmp_path / "copy")
    )
    assert first[0]["files"] == second[0]["files"]
    assert first[0]["fetches"] == second[0]["fetches"]
    assert "is in" in run("migrate", "--to", tmp_path / "copy").output


# ── export and import ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_export_writes_one_file(run: Run, filled: Path, csv: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"out.{suffix}"
    done = run("export", out)
    assert done.exit_code == 0, done.output + done.stderr
    expected = ct.Bars.concat([fill(csv, "2024-01-01", "2024-01-20"), fill(csv, "2024-01-25", "2024-02-20")])
    again = ct.Bars.from_parquet(out) if suffix == "parquet" else ct.load("csv", path=out, symbol="BTC/USDT", timeframe="1h",
                                                                          validation="off")  # fmt: skip
    assert again == expected


def test_a_folder_that_was_exported_can_be_imported_as_it_is(run: Run, filled: Path, tmp_path: Path) -> None:
    path = market("ETH/USDT").to_csv(tmp_path / "eth.csv")
    run("import", path, "--as", "ccxt", "exchange=kraken", "--symbol", "ETH/USDT", "--timeframe", "1h")
    assert run("export", tmp_path / "one.csv").exit_code == 2
    assert run("export", tmp_path / "out", "--format", "xls").exit_code == 2
    assert run("export", tmp_path / "out").exit_code == 0
    other = tmp_path / "other"
    done = run("import", tmp_path / "out", "--catalog", other)
    assert done.exit_code == 0, done.output + done.stderr
    names = ("source", "identity", "symbol", "timeframe", "first", "last", "bars")
    first, second = (json.loads(run("ls", "--json", "--catalog", where).stdout) for where in (filled.parents[3], other))
    assert [[said[name] for name in names] for said in first] == [[said[name] for name in names] for said in second]
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_an_imported_csv_file_answers_the_loads_of_the_source_that_was_named(run: Run, csv: Path) -> None:
    done = run("import", csv, "--as", "ccxt", "exchange=binance", "--symbol", "BTC/USDT", "--timeframe", "1h", "--csv", "tz=UTC")
    assert done.exit_code == 0, done.output + done.stderr
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "start": "2024-01-03", "end": "2024-02-02", "validation": "off"}
    loaded = ct.load("ccxt", exchange="binance", catalog=True, **asked)
    assert loaded == market().between("2024-01-03", "2024-02-02")


def test_a_folder_of_freqtrades_answers_the_loads_of_ccxt(run: Run, tmp_path: Path) -> None:
    data = tmp_path / "user_data" / "data"
    (data / "binance" / "futures").mkdir(parents=True)
    columns = market().to_pandas().drop(columns="flags").rename_axis("date").reset_index()
    for name in ("BTC_USDT-1h", "futures/BTC_USDT_USDT-1h-futures", "futures/BTC_USDT_USDT-8h-mark"):
        pyarrow.feather.write_feather(pa.Table.from_pandas(columns), data / "binance" / f"{name}.feather")
    done = run("import", tmp_path / "user_data")
    assert done.exit_code == 0, done.output + done.stderr
    assert len(done.output.splitlines()) == 2
    for symbol in ("BTC/USDT", "BTC/USDT:USDT"):
        asked = {"symbol": symbol, "timeframe": "1h", "start": "2024-01-03", "end": "2024-02-02", "validation": "off"}
        loaded = ct.load("ccxt", exchange="binance", catalog=True, **asked)
        assert np.array_equal(loaded.close, market().between("2024-01-03", "2024-02-02").close)


def test_an_import_does_not_replace_what_was_fetched_unless_told(run: Run, filled: Path, csv: Path, tmp_path: Path) -> None:
    higher = market().but(close=market().close + 0.5).to_csv(tmp_path / "higher.csv")
    options = ("--as", "csv", f"path={csv}", "--symbol", "BTC/USDT", "--timeframe", "1h")
    before = fill(csv, "2024-01-01", "2024-01-20")
    done = run("import", higher, *options)
    assert "lie where the catalog was filled already" in done.output
    assert fill(csv, "2024-01-01", "2024-01-20") == before
    assert run("import", higher, *options, "--overwrite").exit_code == 0
    assert np.array_equal(fill(csv, "2024-01-01", "2024-01-20").close, before.close + 0.5)
    (said,) = json.loads(run("info", "--json").stdout)
    assert sum(file["rows"] for file in said["revisions"]) > len(before)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("btc.csv", "--symbol", "BTC/USDT", "--timeframe", "1h"), "--as ccxt exchange=binance"),
        (("btc.csv", "exchange=binance"), "Whose option is 'exchange=binance'?"),
        (("btc.csv", "--as", "ccxt", "exchange=binance", "--symbol", "BTC/USDT"), "timeframe"),
        (("btc.csv", "--as", "ccxt", "exchange=binance", "--timeframe", "1h"), "--symbol BTC/USDT"),
        (
            ("btc.csv", "--as", "ccxt", "exchange=binance", "--symbol", "B", "--timeframe", "30m"),
            "holds bars of 1h, not bars of 30m",
        ),
        (
            ("btc.csv", "--as", "ccxt", "exchange=binance", "--symbol", "B", "--timeframe", "4h"),
            "holds shorter bars, not bars of 4h",
        ),
        ((".", "--as", "ccxt", "exchange=binance"), "There are no bars to import"),
        ((".", "--as", "ccxt", "--symbol", "BTC/USDT"), "Parquet"),
        (("nowhere.parquet", "--as", "ccxt"), "There is no file"),
        (("btc.csv", "--as", "cxct", "--symbol", "BTC/USDT", "--timeframe", "1h"), "ccxt"),
    ],
)
def test_an_import_that_makes_no_sense_says_what_to_do(run: Run, csv: Path, monkeypatch, arguments, said: str) -> None:
    monkeypatch.chdir(csv.parent)
    done = run("import", *arguments)
    assert done.exit_code in (1, 2)
    assert said in done.stderr
    assert json.loads(run("ls", "--json").stdout) == []


# ── the program ──────────────────────────────────────────────────────────────────────────────────────


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from cracktrader.cli.app import app;"
        "done = CliRunner().invoke(app, ['catalog', '--help']); assert done.exit_code == 0, done.output;"
        "print(*sys.modules)"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, env={**os.environ}
    ).stdout.split()
    assert not {name.partition(".")[0] for name in said} & {"numpy", "pandas", "pyarrow", "backtrader", "pluggy"}


@pytest.mark.parametrize("command", ["ls", "info", "verify", "gaps", "repair", "compact", "export", "import", "rm", "migrate"])
def test_every_command_has_help(run: Run, command: str) -> None:
    done = run(command, "--help")
    assert done.exit_code == 0
    assert "--catalog" in done.output
