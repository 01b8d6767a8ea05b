"""Bars are written into a table, as often as one likes, and come back equal."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.bars import Flag
from cracktrader.errors import CracktraderError, InvalidOption

from .conftest import Store, series


def test_what_is_written_comes_back(store: Store) -> None:
    bars = series().but(extra={"funding": np.where(np.arange(len(series())) % 2, 0.1, np.nan)})
    bars = bars.but(flags=np.where(np.arange(len(bars)) % 7, 0, Flag.SUSPECT).astype(np.uint8))
    name = store.name()
    store.made.append((name, None))
    assert bars.to_sql(store.url, name) == len(bars)
    assert store.load(table=name, extra_columns=["funding"]) == bars


def test_writing_twice_is_as_writing_once_and_a_revision_replaces(store: Store) -> None:
    name = store.name()
    store.made.append((name, None))
    bars, other = series(), series("btc/usdt", seed=2)
    for part in (bars[:60], bars[40:], other, bars.resample("4h"), bars[:5].but(close=np.full(5, 7.0)), other):
        part.to_sql(store.url, name)
    revised = bars.but(close=np.where(np.arange(len(bars)) < 5, 7.0, bars.close))
    assert store.load(table=name) == revised
    assert store.load(table=name, symbol="btc/usdt") == other
    assert len(store.load(table=name, timeframe="4h")) == len(bars.resample("4h"))
    assert store.run(f"SELECT count(*) FROM {name}")[0][0] == len(bars) + len(other) + len(bars.resample("4h"))


def test_a_table_of_another_layout_is_not_written(store: Store) -> None:
    name = store.create({"symbol": "VARCHAR(9)", "time": "BIGINT"})
    with pytest.raises(InvalidOption, match="has no column 'timeframe'; found: symbol, time"):
        series().to_sql(store.url, name)
    if store.kind == "duckdb":
        return  # its dialect can't tell the key; the database itself refuses
    types = {"symbol": "VARCHAR(9)", "timeframe": "VARCHAR(9)", "time": "BIGINT", "flags": "INTEGER",
             **dict.fromkeys(("open", "high", "low", "close", "volume"), "DOUBLE PRECISION")}  # fmt: skip
    name = store.create(types)
    with pytest.raises(InvalidOption, match="stand in it twice"):
        series().to_sql(store.url, name)
    assert store.run(f"SELECT count(*) FROM {name}")[0][0] == 0


def test_all_is_written_or_nothing(sqlite: Store) -> None:
    name = sqlite.name()
    sqlite.made.append((name, None))
    bars = series(rows=96)
    bars.to_sql(sqlite.url, name)
    sqlite.run(
        f"CREATE TRIGGER stop BEFORE INSERT ON {name} WHEN NEW.time = {bars.time[-1]} BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(CracktraderError):
        bars.but(close=bars.close + 1).to_sql(sqlite.url, name)
    assert sqlite.load(table=name) == bars


def test_from_the_command_line_into_a_table_and_back(sqlite: Store, tmp_path) -> None:
    store = sqlite
    name = store.name()
    store.made.append((name, None))
    path = series().to_csv(tmp_path / "bars.csv")
    command = [sys.executable, "-m", "cracktrader", "load", "csv", f"path={path}", "symbol=BTC/USDT", "timeframe=1h"]
    out = f"{store.url}#{name}"
    done = subprocess.run([*command, "validation=off", "-o", out], capture_output=True, text=True, check=True)
    assert f"{len(series())} bars written to the table '{name}'" in done.stdout
    assert store.load(table=name) == series()
    wrong = subprocess.run([*command, "-o", store.url], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert "Which table" in wrong.stderr


def test_an_engine_is_written_to_as_well(store: Store) -> None:
    name = store.name()
    store.made.append((name, None))
    series().to_sql(store.engine, name)
    assert ct.load("sql", engine=store.engine, table=name, symbol="BTC/USDT", timeframe="1h", validation="off") == series()
