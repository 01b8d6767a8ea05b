"""The user guide's way of asking, feeds, the catalog, the command line; and the same bars as from a CSV file."""

from __future__ import annotations

import json
import pickle
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from httpmarket import HOUR, START, Asked, Server, by_time, make_bars

import cracktrader as ct

BARS = make_bars(48)


def guide(asked: Asked) -> Any:
    """As the guide's API answers: everything at once, under ``ohlcv``."""
    assert asked.headers["authorization"] == "Bearer your_api_key"
    assert asked.headers["x-team"] == "blue"
    assert (asked.query["symbol"], asked.query["timeframe"]) == ("BTC/USDT", "1h")
    bars = BARS.between(asked.query.get("start"), asked.query.get("end"))
    columns = ("timestamp", "open", "high", "low", "close", "volume")
    return {"ohlcv": [dict(zip(columns, (np.datetime64(row[0], "ms").item().isoformat(), *row[1:]), strict=True))
                      for row in bars.to_records()]}  # fmt: skip


def test_the_guides_parameters(server: Server) -> None:
    options = {"api_url": server.on("/ohlcv", guide), "api_key": "your_api_key", "headers": {"X-Team": "blue"}}
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed("http", **options, symbol="BTC/USDT", timeframe="1h", start="2024-01-01T10:00", end="2024-01-02"))
    (strategy,) = cerebro.run()
    assert len(strategy.data) == 14
    assert list(strategy.data.close.array) == BARS.close[10:24].tolist()
    assert ct.load("http", **options, symbol="BTC/USDT", timeframe="1h") == BARS


def test_what_was_fetched_is_not_fetched_again(server: Server) -> None:
    url = server.on("/x", by_time(BARS, 1000))
    ask = {"url": url, "params": {"start": "{start}", "end": "{end}"}, "symbol": "A", "timeframe": "1h"}
    first = ct.load("http", **ask, start="2024-01-01", end="2024-01-02")
    asked = len(server.asked)
    assert ct.load("http", **ask, start="2024-01-01", end="2024-01-02") == first
    assert len(server.asked) == asked
    ct.load("http", **ask, start="2024-01-01", end="2024-01-03")
    assert int(server.asked[asked].query["start"]) == START + 24 * HOUR


def test_the_same_bars_as_from_csv_and_sqlite(server: Server, tmp_path: Path) -> None:
    path = BARS.to_csv(tmp_path / "bars.csv")
    ask: dict[str, Any] = {"symbol": "BTC/USDT", "timeframe": "1h"}
    from_http = ct.load("http", url=server.on("/x", BARS.to_records()), params={"a": 1}, **ask, catalog=False)
    assert from_http == ct.load("csv", path=path, **ask)
    pytest.importorskip("cracktrader_sql")
    with closing(sqlite3.connect(tmp_path / "bars.db")) as database:
        database.execute("CREATE TABLE ohlcv (timestamp INTEGER, open REAL, high REAL, low REAL, close REAL, volume REAL)")
        database.executemany("INSERT INTO ohlcv VALUES (?, ?, ?, ?, ?, ?)", BARS.to_records())
        database.commit()
    assert from_http == ct.load("sql", url=f"sqlite:///{tmp_path}/bars.db", table="ohlcv", **ask, catalog=False)


def test_a_longer_timeframe_is_made_of_one_that_the_api_has(server: Server) -> None:
    url = server.on("/x", by_time(BARS, 1000))
    options = {"url": url, "params": {"start": "{start}", "end": "{end}"}, "timeframes": {"1h": "60"}, "catalog": False}
    assert ct.load("http", **options, symbol="A", timeframe="4h", start="2024-01-01", end="2024-01-03") == BARS.resample(
        "4h"
    ).but(symbol="A")


def test_a_source_goes_to_another_process() -> None:
    config = ct.source("http", preset="polygon", api_key="s3cr3t-key").config
    assert pickle.loads(pickle.dumps(config)) == config


def test_the_command_line_loads_and_lists_the_options(server: Server, tmp_path: Path) -> None:
    url = server.on("/x", BARS.to_records())
    command = [
        sys.executable,
        "-m",
        "cracktrader",
        "load",
        "http",
        f"url={url}",
        'params={"a": 1}',
        "symbol=A",
        "timeframe=1h",
        "-o",
    ]
    subprocess.run([*command, tmp_path / "out.parquet"], check=True, capture_output=True)
    assert len(ct.Bars.from_parquet(tmp_path / "out.parquet")) == 48
    told = subprocess.run(
        [sys.executable, "-m", "cracktrader", "schema", "http"], check=True, capture_output=True, text=True
    ).stdout
    for option in ct.source("http", url="https://x/").config.model_fields_set | {"api_key", "records", "pagination"}:
        assert option in told
    json.dumps(type(ct.source("http", url="https://x/").config).model_json_schema())
