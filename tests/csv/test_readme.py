"""The README is true: its examples run, and errors say what it says they do."""

from __future__ import annotations

import gzip
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest

import cracktrader as ct
import cracktrader_csv
from cracktrader import errors

README = Path(cracktrader_csv.__file__).parents[2] / "README.md"
pytestmark = pytest.mark.skipif(not README.exists(), reason="a wheel has no README beside it")
HOUR = 3_600_000
START = 1_704_067_200_000


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_bars) -> Path:
    """A folder to stand in, with the files that the README speaks of."""
    monkeypatch.chdir(tmp_path)
    hours = make_bars(48, timeframe="1h")
    hours.to_csv("btc.csv")
    klines = "".join(f"{t},{o},{h},{low},{c},{v},{t + HOUR - 1},1,1,1,1,0\n" for t, o, h, low, c, v in hours.to_records())
    with zipfile.ZipFile("BTCUSDT-1h-2024-01.zip", "w") as archive:
        archive.writestr("BTCUSDT-1h-2024-01.csv", klines)
    rows = "".join(
        f"{t},{pair},{o},{h},{low},{c}\n" for t, o, h, low, c, _ in hours.to_records() for pair in ("tBTCUST", "tETHUST")
    )
    Path("all.csv").write_text("time,pair,open,high,low,close\n" + rows)
    local = "".join(f"{hour:02}.01.2024;{hour:02}:00;1,5;2,5;0,5;1,25\n" for hour in range(1, 10))
    Path("kurse.csv").write_text("Datum;Uhrzeit;Eröffnung;Hoch;Tief;Schluss\n" + local, encoding="cp1252")
    make_bars(5000, start=START + 59 * 24 * HOUR).to_csv("btc-1m.csv")
    return tmp_path


def test_its_examples_run(folder: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, object] = {"ct": ct}
    for block in blocks:
        if "s3://" not in block:
            exec(compile(block, str(README), "exec"), names)
    assert len(blocks) >= 6
    assert isinstance(names["bars"], ct.Bars)


def test_errors_say_what_it_says_they_do(folder: Path) -> None:
    said = re.search(r"## What errors say\n+```text\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert said is not None
    rows = [f"{START + i * HOUR},1,2,0.5,1" for i in range(30)]
    header = "time,open,high,low,close\n"
    files = {
        "number": header + "\n".join([*rows[:15], f'{START},1,"1,234.5",1,1', *rows[15:]]),
        "unit": header + "\n".join([*rows[:23], "1735689600000000,1,1,1,1", *rows[23:]]),
        "days": header + "03/05/2024,1,1,1,1\n",
        "packed": gzip.compress((header + "\n".join(rows * 100)).encode())[:-20],
        "parquet": b"PAR1\0\0",
    }
    found = []
    for kind, data in files.items():
        name = "btc.csv.gz" if kind == "packed" else "btc.csv"
        Path(name).write_bytes(data if isinstance(data, bytes) else data.encode())
        with pytest.raises(errors.CracktraderError) as caught:
            ct.load("csv", path=name, timeframe="1h")
        found.append(str(caught.value))
    Path("data").mkdir()
    Path("data/btc_usdt.csv").write_text(header)
    for name in ("BTC-2023.csv", "part2.csv"):
        Path("data", name).write_text(header)
    with pytest.raises(errors.CracktraderError) as caught:
        ct.load("csv", path="data/*2*.csv", symbol="BTC", timeframe="1h")
    found.append(str(caught.value).replace("data/*2*.csv", "data"))
    pairs = "".join(f"{START},{symbol},1,1,1,1\n" for symbol in ("BTC/USDT", "ETH/USDT", "ETH/BTC"))
    Path("all.csv").write_text("time,symbol,open,high,low,close\n" + pairs)
    Path("coinbase_BTC-USD_1d.csv").write_text(header + "\n".join(rows))
    for path, symbol in (("data/btc-usdt.csv", ""), ("all.csv", "ETH/USD"), ("coinbase_BTC-USD_1d.csv", "ETH/USD")):
        with pytest.raises(errors.CracktraderError) as caught:
            ct.load("csv", path=path, symbol=symbol, timeframe="1h")
        found.append(str(caught.value))
    messages = said[1].strip().split("\n\n")
    assert sorted(messages) == sorted(found)


def test_local_times_of_its_example_are_local(folder: Path) -> None:
    bars = ct.load("csv", path="kurse.csv", timeframe="1h", tz="Europe/Berlin", validation="off",
                   columns={"open": "Eröffnung", "high": "Hoch", "low": "Tief", "close": "Schluss", "time": ["Datum", "Uhrzeit"]},
                   time_format="%d.%m.%Y %H:%M")  # fmt: skip
    assert bars.time[0] == START  # one o'clock in Berlin
    assert np.unique(bars.close).tolist() == [1.25]
