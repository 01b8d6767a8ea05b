"""What a path may be: files, folders, patterns, lists, URLs, file objects, archives."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec
import pytest

import cracktrader as ct
from cracktrader import errors

HOUR = 3_600_000
START = 1_704_067_200_000


@pytest.fixture
def parts(tmp_path: Path, make_bars) -> tuple[ct.Bars, list[Path]]:
    """One series, cut into three files."""
    bars = make_bars(30, timeframe="1h")
    return bars, [bars[i * 10 : i * 10 + 10].to_csv(tmp_path / f"part-{i}.csv") for i in range(3)]


def test_a_path_may_be_text_or_a_path(parts, load) -> None:
    bars, paths = parts
    for path in (paths[0], str(paths[0])):
        assert load(path, symbol="BTC/USDT") == bars[:10]


def test_csv_file_is_another_name_for_path(parts) -> None:
    bars, paths = parts
    assert ct.load("csv", csv_file=paths[0], symbol="BTC/USDT", timeframe="1h", validation="off") == bars[:10]


def test_a_path_may_be_in_the_home_folder(parts, load, monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert load("~/part-0.csv", symbol="BTC/USDT") == parts[0][:10]


def test_a_folder_a_pattern_and_a_list_are_read_in_the_order_of_names(parts, load, tmp_path) -> None:
    bars, paths = parts
    for path in (
        tmp_path,
        str(tmp_path),
        tmp_path / "part-*.csv",
        str(tmp_path / "**" / "*.csv"),
        paths,
        [str(p) for p in paths],
    ):
        loaded = load(path, symbol="BTC/USDT")
        assert loaded == bars
        assert [Path(file["name"]).name for file in loaded.provenance["files"]] == ["part-0.csv", "part-1.csv", "part-2.csv"]


def test_a_list_is_read_as_it_is_given(parts, load) -> None:
    bars, paths = parts
    assert load(paths[::-1], symbol="BTC/USDT").time[0] == bars.time[20]
    assert load(paths[::-1], symbol="BTC/USDT", validation="repair").time.tolist() == bars.time.tolist()


def test_a_folder_is_not_searched_for_other_things(parts, load, tmp_path) -> None:
    for name in (".hidden.csv", "readme.md", "bars.parquet", "x.gz"):
        (tmp_path / name).write_text("no bars")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x.csv").write_text("no bars")
    assert load(tmp_path, symbol="BTC/USDT") == parts[0]


def test_a_folder_may_hold_compressed_files_and_archives(tmp_path, make_bars, load) -> None:
    bars = make_bars(40, timeframe="1h")
    plain = [bars[i : i + 10].to_csv(tmp_path / "x").read_bytes() for i in range(0, 40, 10)]
    (tmp_path / "x").unlink()
    (tmp_path / "a.csv").write_bytes(plain[0])
    (tmp_path / "b.csv.gz").write_bytes(gzip.compress(plain[1]))
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("2.csv", plain[3])
        archive.writestr("1.txt", plain[2])
        archive.writestr("__MACOSX/._1.csv", b"\0\1")
        archive.writestr("readme.md", "no bars")
        archive.writestr("folder/", "")
    loaded = load(tmp_path, symbol="BTC/USDT")
    assert loaded == bars
    assert [Path(file["name"]).name for file in loaded.provenance["files"]] == ["a.csv", "b.csv.gz", "1.txt", "2.csv"]


def test_a_wrong_ending_does_not_matter(tmp_path, make_bars, load) -> None:
    bars = make_bars(10)
    plain = bars.to_csv(tmp_path / "x.csv").read_bytes()
    (tmp_path / "plain.gz").write_bytes(plain)
    (tmp_path / "packed.csv").write_bytes(gzip.compress(plain))
    assert load(tmp_path / "plain.gz", "1m", symbol="BTC/USDT") == load(tmp_path / "packed.csv", "1m", symbol="BTC/USDT") == bars


def test_of_a_folder_of_many_series_the_one_asked_for_is_read(tmp_path, make_bars, load) -> None:
    names = ("binance_BTC-USDT_1m", "binance_BTC-USDT_1h", "binance_BTC-USD_1h", "ETHUSDT-1h-2024-01", "ETHUSDT-1h-2024-02")
    series = {}
    for rows, name in enumerate(names, 10):
        symbol = "ETH/USDT" if "ETH" in name else "BTC/USDT" if "USDT" in name else "BTC/USD"
        series[name] = make_bars(rows, timeframe="1m" if "1m" in name else "1h", symbol=symbol)
        series[name].to_csv(tmp_path / f"{name}.csv")
    assert load(tmp_path, "1m", symbol="BTC/USDT") == series["binance_BTC-USDT_1m"]
    assert load(tmp_path, "1h", symbol="BTC/USD") == series["binance_BTC-USD_1h"]
    bars = load(tmp_path, "1h", symbol="ETH/USDT")
    assert len(bars) == len(series["ETHUSDT-1h-2024-01"]) + len(series["ETHUSDT-1h-2024-02"])
    assert bars.provenance["notes"][-1:] == [
        f"Of the 5 files in {str(tmp_path)!r} those were read whose names bear the symbol or timeframe asked for:"
        " ETHUSDT-1h-2024-01.csv, ETHUSDT-1h-2024-02.csv."
    ]


def test_of_an_archive_of_many_series_the_one_asked_for_is_read(tmp_path, make_bars, load) -> None:
    """As in Kraken's archive of everything, whose names end in minutes."""
    names = ("XBTUSD_1", "XBTUSD_60", "XBTUSDT_60", "ETHUSD_60")
    series = {name: make_bars(10 + i, timeframe="1m" if name.endswith("_1") else "1h") for i, name in enumerate(names)}
    with zipfile.ZipFile(tmp_path / "Kraken_OHLCVT.zip", "w") as archive:
        for name, bars in series.items():
            rows = [f"{t // 1000},{o!r},{h!r},{low!r},{c!r},{v!r},1\n" for t, o, h, low, c, v in bars.to_records()]
            archive.writestr(f"Kraken/{name}.csv", "".join(rows))
    bars = load(tmp_path / "Kraken_OHLCVT.zip", symbol="XBT/USD")
    assert bars.to_records() == series["XBTUSD_60"].to_records()
    assert "those were read whose names bear the symbol or timeframe asked for: XBTUSD_60.csv." in bars.provenance["notes"][0]
    assert load(tmp_path / "Kraken_OHLCVT.zip", "1m", symbol="XBT/USD").to_records() == series["XBTUSD_1"].to_records()


ROWS = "time,open,high,low,close\n"
SERIES_AND_NAMES = [
    ("BTC/USDT", "1h", "BTCUSDT-1h-2023.csv BTCUSDT-1h-2024.csv", ""),
    ("BTC", "1h", "BTC-2023.csv BTC-2024.csv", ""),
    ("BTC/USDT", "1h", "BTC-2023.csv BTC-2024.csv", ""),
    ("BTC/USDT", "1h", "2023.csv 2024.csv", ""),
    ("BTC/USDT", "1h", "jan.csv feb.csv part3.csv a.csv", ""),
    ("", "1h", "btc-2024-01.csv btc-2024-02.csv btc-copy.csv", ""),
    ("BTC/USDT", "1h", "monthly/BTCUSDT-1h-2024-01.csv daily/BTCUSDT-1h-2024-02-01.csv", ""),
    ("BTC/USDT", "1h", "BTC-USDT_1h.csv", "BTC-USD_1h.csv ETH-USDT_1h.csv notes.txt"),
    ("btc-usdt", "1h", "BTCUSDT_20240101.csv BTCUSDT_20240201T000000Z.csv", "ETHUSDT_20240101.csv"),
    ("A", "1d", "A.csv", "AAPL.csv C.csv MSFT.csv"),
    ("AAPL", "1d", "AAPL.csv", "A.csv C.csv MSFT.csv"),
    ("600519.SH", "1d", "600519.SH.csv", "000001.SZ.csv 600000.SH.csv"),
    ("US30", "1d", "US30.csv", "US500.csv"),
    ("BTC/USDT", "1d", "Binance_BTCUSDT_d.csv", "Binance_BTCUSDT_1h.csv Binance_BTCUSDT_minute.csv Binance_ETHUSDT_d.csv"),
    ("EUR/USD", "1h", "EURUSD_H1_2020.csv EURUSD_H1_2021.csv", "EURUSD_M15_2020.csv GBPUSD_H1_2020.csv"),
    ("XBT/USD", "1h", "XBTUSD_60.csv", "XBTUSD_1.csv XBTUSD_1440.csv ETHUSD_60.csv"),
    ("XBT/USD", "1m", "XBTUSD_1.csv XBTUSD_2.csv XBTUSD_5.csv", ""),
    ("BTC/USDT", "1h", "BTC/USDT/1h.csv", "BTC/USDT/1m.csv ETH/USDT/1h.csv"),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "timeframe", "meant", "others"), SERIES_AND_NAMES)
def test_names_say_which_files_are_meant(tmp_path, symbol, timeframe, meant, others) -> None:
    for day, name in enumerate(f"{meant} {others}".split(), 1):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{ROWS}2024-01-{day:02},1,1,1,1\n")
    bars = ct.load("csv", path=str(tmp_path / "**" / "*.*"), symbol=symbol, timeframe=timeframe, validation="off")
    assert {str(Path(file["name"]).relative_to(tmp_path)) for file in bars.provenance["files"]} == set(meant.split())
    assert ("those were read whose names" in str(bars.provenance.get("notes"))) == bool(others)


@pytest.mark.parametrize(
    ("symbol", "timeframe", "names", "why"),
    [
        ("BTC/USDT", "1h", "BTCUSDT-2023.csv part2.csv", "'BTCUSDT-2023.csv' bears the symbol that is asked for, 'part2.csv'"),
        ("BTC/USDT", "1h", "BTCUSDT-2023.csv 2024.csv", "bears the symbol that is asked for, '2024.csv' bears none"),
        ("BTC/USDT", "1h", "BTC-USDT-2023.csv BTC-2024.csv", "bears the symbol that is asked for, 'BTC-2024.csv' bears none"),
        ("BTC/USDT", "1h", "BTC.csv ETH.csv", "'BTC.csv' and 'ETH.csv' seem to be of different series"),
        ("", "1h", "BTC.csv ETH.csv", "'BTC.csv' and 'ETH.csv' seem to be of different series"),
        ("BTC/USDT", "1h", "binance_BTC-USDT.csv bybit_BTC-USDT.csv", "seem to be of different series"),
        ("BTC/USD", "1h", "BTCUSD.csv BTCUSD_PERP.csv", "seem to be of different series"),
        ("BTC/USDT", "1h", "BTCUSDT_1h.csv BTCUSDT.csv", "bears the timeframe that is asked for, 'BTCUSDT.csv' bears none"),
        ("BTC/USDT", "1h", "BTCUSDT_1m.csv BTCUSDT_5m.csv", "differ in timeframe, and none is of 1h"),
        ("XBT/USD", "1m", "XBTUSD_5.csv XBTUSD_60.csv", "differ in timeframe, and none is of 1m"),
    ],
)
def test_where_names_leave_it_open_that_is_said_and_a_list_is_read_whole(tmp_path, load, symbol, timeframe, names, why) -> None:
    paths = [tmp_path / name for name in names.split()]
    for day, path in enumerate(paths, 1):
        path.write_text(f"{ROWS}2024-01-0{day},1,1,1,1\n")
    with pytest.raises(errors.InvalidOption, match=re.escape(why)):
        load(tmp_path, timeframe, symbol=symbol)
    assert len(load(paths, timeframe, symbol=symbol)) == len(paths)


OTHERS = [
    ("ETH/USD", "1d", "coinbase_BTC-USD_1d.csv", "BTC/USD", "ETH/USD"),
    ("BTC/USDT", "1d", "coinbase_BTC-USD_1d.csv", "BTC/USD", "BTC/USDT"),  # a dollar is no tether
    ("BTC/USD", "1h", "BTCUSDT.csv", "BTC/USDT", "BTC/USD"),
    ("SPK/USDT", "1h", "btcusdt.csv", "BTC/USDT", "SPK/USDT"),
    ("ETH", "1h", "XBT-USD.csv", "BTC/USD", "ETH"),
    ("BTC/USDT", "1h", "ETHBTC.csv", "ETH/BTC", "BTC/USDT"),
    ("GBP/USD", "15m", "EURUSD_M15.csv", "EUR/USD", "GBP/USD"),
    ("EUR/USD", "1h", "EURUSD_M15.csv", "15m", "1h"),
    ("BTC/USDT", "1h", "BTCUSDT-1d-2024-01.csv", "1d", "1h"),
    ("BTC/USDT", "1h", "ETHUSDT-1h-2024-01.csv ETHUSDT-1h-2024-02.csv", "ETH/USDT", "BTC/USDT"),
]  # fmt: skip


@pytest.mark.parametrize(("symbol", "timeframe", "names", "bears", "asked"), OTHERS)
def test_a_file_that_plainly_bears_another_name_is_refused_unless_it_stands_in_a_list(
    tmp_path, load, symbol, timeframe, names, bears, asked
) -> None:
    paths = [tmp_path / name for name in names.split()]
    for day, path in enumerate(paths, 1):
        path.write_text(f"{ROWS}2024-01-0{day},1,1,1,1\n")
    for path in (tmp_path, tmp_path / "*.csv", *paths):
        with pytest.raises(errors.InvalidOption) as caught:
            load(path, timeframe, symbol=symbol)
        file = str(path if path in paths else paths[0])
        assert str(caught.value) == (
            f"By its name {file!r} holds {bears}, and {asked} was asked for.\n"
            f"If it does hold {asked}, name it in a list: path=['…'] is read whatever the names."
        )
    bars = load(paths, timeframe, symbol=symbol)
    assert len(bars) == len(paths)
    assert bars.provenance["notes"] == [f"By its name {str(paths[0])!r} may hold {bears}; it was read as {asked}."]
    with paths[0].open("rb") as file, pytest.raises(errors.InvalidOption, match="By its name"):
        load(file, timeframe, symbol=symbol)


def test_the_name_of_an_archive_counts_where_its_members_say_nothing(tmp_path, load) -> None:
    for member in ("data.csv", "ETHUSDT.csv"):
        with zipfile.ZipFile(tmp_path / "ETHUSDT-1h.zip", "w") as archive:
            archive.writestr(member, f"{ROWS}2024-01-01,1,1,1,1\n")
        with pytest.raises(errors.InvalidOption, match="holds ETH/USDT, and BTC/USDT was asked for"):
            load(tmp_path / "ETHUSDT-1h.zip", symbol="BTC/USDT")
    with zipfile.ZipFile(tmp_path / "ETHUSDT-1h.zip", "w") as archive:
        archive.writestr("BTCUSDT.csv", f"{ROWS}2024-01-01,1,1,1,1\n")
    assert "notes" not in load(tmp_path / "ETHUSDT-1h.zip", symbol="BTC/USDT").provenance


def test_a_column_of_symbols_says_more_than_a_name(tmp_path, load) -> None:
    (tmp_path / "BTC-USD.csv").write_text("time,symbol,open,high,low,close\n2024-01-01,ETH/USD,1,1,1,1\n")
    assert "notes" not in load(tmp_path / "BTC-USD.csv", symbol="ETH/USD").provenance


FITTING = [
    ("BTC/USD", "1h", "XBTUSD.csv XBTUSD_60.csv bitcoin-usd.csv BTC-USD_1h.csv BTC_USD_EUR.csv BTCUSD_1h_of_1m.csv tBTCUSD.csv"),
    ("XBT/USD", "1h", "BTCUSD.csv btc_usd.csv"),
    (
        "BTC/USDT",
        "1h",
        "bitcoin.csv btc.csv data.csv prices_2024.csv prices_usd.csv btc_30d.csv BTC_last7d.csv binancebtcusdt.csv",
    ),
    ("BTC/USDT:USDT", "1h", "BTCUSDT_perp.csv BTC_USDT.csv"),
    ("BINANCE:BTCUSDT.P", "1h", "BTCUSDT.csv"),
    ("BTC", "1h", "BTC-USD.csv"),
    ("bitcoin", "1h", "BTC-USD.csv"),
    ("ETH/USDT", "1h", "btc_usdt_eth_usdt.csv"),
    ("SPK/USDT", "1h", "SPKUSDT.csv spk-usdt.csv spk.csv"),
    ("MSFT", "1d", "AAPL.csv table.csv"),
    ("", "1h", "BTC-USD.csv"),
]


@pytest.mark.parametrize(("symbol", "timeframe", "name"), [(s, t, name) for s, t, names in FITTING for name in names.split()])
def test_names_that_say_what_was_asked_for_or_nothing_are_no_reason_for_doubt(tmp_path, load, symbol, timeframe, name) -> None:
    (tmp_path / name).write_text(f"{ROWS}2024-01-01,1,1,1,1\n")
    assert "notes" not in load(tmp_path / name, timeframe, symbol=symbol).provenance


@pytest.mark.parametrize(
    ("symbol", "timeframe", "name", "bears", "asked"),
    [
        ("ETH/USDT", "1h", "btc.csv", "BTC", "ETH/USDT"),
        ("BTC/USDT", "1h", "SPKUSDT.csv", "SPKUSDT", "BTC/USDT"),
        ("BTC/USD", "1h", "eth_btc.csv", "ETH/BTC", "BTC/USD"),  # perhaps both of them
        ("AAPL", "1h", "BTC-USD.csv", "BTC/USD", "AAPL"),
        ("BTC/USDT", "1h", "btc_1d.csv", "1d", "1h"),  # perhaps a day of hours
        ("BTC/USDT", "1m", "1h.csv", "1h", "1m"),
    ],
)
def test_a_name_that_is_not_plain_is_noted(tmp_path, load, symbol, timeframe, name, bears, asked) -> None:
    path = tmp_path / name
    path.write_text(f"{ROWS}2024-01-01,1,1,1,1\n")
    assert load(path, timeframe, symbol=symbol).provenance["notes"] == [
        f"By its name {str(path)!r} may hold {bears}; it was read as {asked}."
    ]


def test_a_column_of_symbols_that_is_told_decides_and_not_names(tmp_path, load) -> None:
    for day, name in enumerate(("A.csv", "stocks.csv", "more stocks.csv"), 1):
        (tmp_path / name).write_text(f"time,which,open,high,low,close\n2024-01-0{day},A,1,1,1,1\n2024-01-0{day},B,2,2,2,2\n")
    assert load(tmp_path, "1d", symbol="A", symbol_col="which").close.tolist() == [1, 1, 1]
    assert load(tmp_path, "1d", symbol="A", columns={"symbol": 1}, filter_symbol="B").close.tolist() == [2, 2, 2]


def test_that_files_were_left_out_is_said_also_where_no_bar_comes(tmp_path) -> None:
    for name in ("BTC-2023.csv", "ETH-2024.csv"):
        (tmp_path / name).write_text(f"{ROWS}{name[4:8]}-01-01,1,1,1,1\n")
    bars = ct.load("csv", path=tmp_path, symbol="BTC", timeframe="1d", start="2024-01-01", end="2025-01-01")
    assert not len(bars)
    assert "those were read whose names bear the symbol or timeframe asked for: BTC-2023.csv." in str(bars.report)


def test_folders_below_a_pattern_may_bear_the_symbol(tmp_path, make_bars, load) -> None:
    for rows, symbol in ((8, "BTC-USDT"), (9, "ETH-USDT")):
        (tmp_path / symbol).mkdir()
        make_bars(rows, timeframe="1h").to_csv(tmp_path / symbol / "1h.csv")
    assert len(load(str(tmp_path / "**" / "*.csv"), symbol="ETH/USDT")) == 9
    assert len(load(str(tmp_path / "*" / "*.csv"), symbol="BTC/USDT")) == 8


def test_the_bars_of_a_file_that_nobody_named_are_called_like_it(parts, load) -> None:
    assert load(parts[1][1]).symbol == "part-1"
    assert load(parts[1]).symbol == "part-0"


# ── file objects ─────────────────────────────────────────────────────────────────────────────────────


class Pipe(io.RawIOBase):
    """What can be read once, from its beginning to its end."""

    def __init__(self, data: bytes) -> None:
        self._data = io.BytesIO(data)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._data.readinto(buffer)


def test_any_file_object_can_be_read(parts, load) -> None:
    bars, paths = parts
    data = paths[0].read_bytes()
    with (
        open(paths[0], "rb") as binary,
        open(paths[0], encoding="utf-8") as text,
        gzip.open(io.BytesIO(gzip.compress(data))) as unpacked,
    ):
        for file in (
            binary,
            text,
            unpacked,
            io.BytesIO(data),
            io.StringIO(data.decode()),
            Pipe(data),
            io.BytesIO(gzip.compress(data)),
        ):
            assert load(file, symbol="BTC/USDT", chunk_bytes=100) == bars[:10]
            assert not file.closed


def test_a_file_object_that_can_be_rewound_can_be_loaded_again_and_at_once_by_many(parts) -> None:
    bars, paths = parts
    source = ct.source("csv", path=io.BytesIO(paths[0].read_bytes()), chunk_bytes=64)
    with ThreadPoolExecutor(8) as pool:
        results = [pool.submit(ct.load, source, symbol="BTC/USDT", timeframe="1h", validation="off") for _ in range(32)]
        assert all(result.result() == bars[:10] for result in results)


def test_a_pipe_that_was_read_says_so(parts, load) -> None:
    pipe = Pipe(parts[1][0].read_bytes())
    load(pipe)
    with pytest.raises(errors.MalformedData, match="<Pipe> is empty"):
        load(pipe)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_can_be_read(parts, load, tmp_path) -> None:
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(parts[1][0].read_bytes()))
    writer.start()
    with open(tmp_path / "pipe", "rb", buffering=0) as file:
        assert load(file, symbol="BTC/USDT") == parts[0][:10]
    writer.join()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_named_pipe_is_opened_once(parts, load, tmp_path) -> None:
    """Whoever opens a pipe again waits for another writer."""
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe").write_bytes(parts[1][0].read_bytes()))
    writer.start()
    assert load(tmp_path / "pipe", symbol="BTC/USDT") == parts[0][:10]
    writer.join()


JUNK = ("readme.txt", "LICENSE.txt", "sha256sums.txt", "info.txt", "__MACOSX/._a.csv", ".DS_Store", "sub/.hidden.csv")


@pytest.mark.parametrize("junk", JUNK)
def test_what_is_no_data_in_an_archive_or_folder_is_left_out(junk, parts, load, tmp_path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.csv").write_bytes(parts[1][0].read_bytes())
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "in" / "a.csv", "a.csv")
        archive.writestr(junk, "Prices of many days.\nMind the gaps.\n")
    (tmp_path / "in" / junk).parent.mkdir(exist_ok=True)
    (tmp_path / "in" / junk).write_text("Prices of many days.\nMind the gaps.\n")
    for path in (tmp_path / "z.zip", tmp_path / "in"):
        bars = load(path, symbol="BTC/USDT")
        assert bars == parts[0][:10]
        note = f"Left out of {str(path)!r}, because they are no data by their names: {junk}."
        assert bars.provenance.get("notes", []) == ([note] if junk.endswith(".txt") else [])


def test_other_members_of_an_archive_are_left_out_with_a_note(parts, load, tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(parts[1][0], "a.csv")
        archive.writestr("b.parquet", b"PAR1")
    notes = load(tmp_path / "z.zip", symbol="BTC/USDT").provenance["notes"]
    assert notes == [f"Left out of {str(tmp_path / 'z.zip')!r}, because they are no CSV: b.parquet."]


def test_a_readme_alone_is_read_as_it_was_named(parts, load, tmp_path) -> None:
    (tmp_path / "readme.txt").write_bytes(parts[1][0].read_bytes())
    assert load(tmp_path / "readme.txt", symbol="BTC/USDT") == parts[0][:10]


def test_a_folder_that_is_called_like_a_file_is_passed_over(parts, load, tmp_path, memory) -> None:
    (tmp_path / "x.csv").mkdir()
    memory.makedirs("/bucket/x.csv")
    for path in (tmp_path, tmp_path / "*.csv", "memory://bucket"):
        assert load(path, symbol="BTC/USDT") == parts[0]
    memory.rmdir("/bucket/x.csv")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_nothing_says_so(parts, load, tmp_path) -> None:
    (tmp_path / "part-3.csv").symlink_to("gone.csv")
    for path in (tmp_path / "part-3.csv", tmp_path, tmp_path / "part-*.csv", [tmp_path / "part-3.csv"]):
        with pytest.raises(errors.SourceNotFound) as caught:
            load(path, symbol="BTC/USDT")
        assert caught.value.message == f"{str(tmp_path / 'part-3.csv')!r} is a link to 'gone.csv', which does not exist."
    (tmp_path / "gone.csv").write_bytes(parts[1][0].read_bytes())
    assert load(tmp_path / "part-3.csv", symbol="BTC/USDT") == parts[0][:10]


def test_an_archive_with_two_files_of_one_name_is_refused(parts, load, tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(parts[1][0], "x.csv")
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.write(parts[1][1], "x.csv")
    with pytest.raises(errors.MalformedData, match=r"z.zip holds 'x.csv' twice"):
        load(tmp_path / "z.zip", symbol="BTC/USDT")


def test_a_closed_file_object_says_so(parts, load) -> None:
    file = io.BytesIO(b"")
    file.close()
    with pytest.raises(errors.SourceNotFound, match="The file object <BytesIO> is closed"):
        load(file)


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def memory(parts):
    system = fsspec.filesystem("memory")
    for path in parts[1]:
        system.pipe(f"/bucket/{path.name}", path.read_bytes())
    yield system
    system.rm("/bucket", recursive=True)


@pytest.mark.parametrize("url", ["memory://bucket", "memory://bucket/", "memory://bucket/part-*.csv",
                                 [f"memory://bucket/part-{i}.csv" for i in range(3)]])  # fmt: skip
def test_a_url_of_any_kind_is_opened_by_fsspec(url, parts, memory, load) -> None:
    loaded = load(url, symbol="BTC/USDT")
    assert loaded == parts[0]
    names = [file["name"].replace(":///", "://") for file in loaded.provenance["files"]]
    assert names == [f"memory://bucket/part-{i}.csv" for i in range(3)]


def test_a_local_url_and_a_chained_one_are_read(parts, load, tmp_path) -> None:
    bars, paths = parts
    assert load(paths[0].as_uri(), symbol="BTC/USDT") == bars[:10]
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(paths[0], "inner.csv")
    assert load(f"zip://inner.csv::{(tmp_path / 'z.zip').as_uri()}", symbol="BTC/USDT") == bars[:10]


def test_a_url_on_a_real_server_is_read_and_its_secrets_are_kept(parts, load, tmp_path) -> None:
    pytest.importorskip("aiohttp")
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = server.stdout.readline().split("port ")[1].split()[0]
        base = f"http://127.0.0.1:{port}"
        loaded = load(f"{base}/part-0.csv?token=SECRET", symbol="BTC/USDT")
        assert loaded == parts[0][:10]
        assert loaded.provenance["files"][0]["name"] == f"{base}/part-0.csv?…"
        with pytest.raises(errors.SourceNotFound) as caught:
            load(f"http://me:SECRET@127.0.0.1:{port}/gone.csv?key=SECRET")
        assert "SECRET" not in str(caught.value) + repr(caught.value.context)
        assert caught.value.__cause__ is None
    finally:
        server.terminate()
        server.wait()
        server.stdout.close()
    with pytest.raises(errors.TemporarySourceError, match="can't be read: ClientConnectorError") as caught:
        load(f"http://me:SECRET@127.0.0.1:{port}/part-0.csv?key=SECRET")
    assert "SECRET" not in str(caught.value) + repr(caught.value.context)
    assert caught.value.__cause__ is None


class Refusing(BaseHTTPRequestHandler):
    """Answers with the status that the path says, or too late, or with less than it promised."""

    def do_GET(self) -> None:
        what = self.path.split("?")[0].strip("/").removesuffix(".csv")
        if what == "late":
            self.server.done.wait(20)
            return
        self.send_response(int(what) if what.isdigit() else 200)
        self.send_header("Content-Length", "0" if what.isdigit() else "1000")
        self.end_headers()
        if what == "short" and self.command == "GET":
            self.wfile.write(b"time,open,high,low,close\n")

    do_HEAD = do_GET

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    """The address of a server that refuses."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        server.done = threading.Event()
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"127.0.0.1:{server.server_port}"
        server.done.set()
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("what", "kind", "said"),
    [
        ("404", errors.SourceNotFound, "There is no file "),
        ("410", errors.SourceNotFound, "There is no file "),
        ("401", errors.PermanentSourceError, "the server refuses access (401)"),
        ("403", errors.PermanentSourceError, "the server refuses access (403)"),
        ("400", errors.PermanentSourceError, "the server answers 400"),
        ("429", errors.TemporarySourceError, "the server answers 429"),
        ("500", errors.TemporarySourceError, "the server answers 500"),
        ("503", errors.TemporarySourceError, "the server answers 503"),
        ("late", errors.TemporarySourceError, "Timeout"),
        ("short", errors.TemporarySourceError, "can't be read"),
    ],
)
def test_what_a_server_refuses_says_whether_it_may_pass(refusing, load, what, kind, said) -> None:
    aiohttp = pytest.importorskip("aiohttp")
    limits = {"client_kwargs": {"timeout": aiohttp.ClientTimeout(total=1)}}
    with pytest.raises(kind, match=re.escape(said)) as caught:
        load(f"http://me:SECRET@{refusing}/{what}.csv?key=SECRET", storage_options=limits)
    assert type(caught.value) is kind
    assert "SECRET" not in str(caught.value) + repr(caught.value.context)
    assert caught.value.__cause__ is None


def test_secrets_show_in_no_repr(tmp_path) -> None:
    source = ct.source(
        "csv", path=["s3://KEY:SEC/RET@bucket/x.csv", "https://h/x.csv?sig=SECRET"], storage_options={"secret": "SECRET"}
    )
    shown = repr(source) + repr(source.plugin) + repr(source.config) + str(source.config)
    assert "SECRET" not in shown
    assert "SEC/RET" not in shown
    assert "bucket/x.csv" in repr(source.config)


def test_a_url_that_nothing_can_open_says_what_is_missing(load) -> None:
    with pytest.raises(
        errors.SourceError, match=r"'nosuch://bucket/x.csv' can't be read: ValueError: Protocol not known: nosuch"
    ):
        load("nosuch://bucket/x.csv")


def test_a_file_object_survives_pickling_where_it_can(parts) -> None:
    config = ct.source("csv", path=[str(path) for path in parts[1]], tz="Europe/Berlin", columns={"time": ["a", "b"]}).config
    assert pickle.loads(pickle.dumps(config)) == config


def test_files_that_hold_the_same_times_are_told_because_they_may_be_different_series(tmp_path, make_bars, load) -> None:
    make_bars(48, timeframe="1h").to_csv(tmp_path / "part-1.csv")
    make_bars(24, timeframe="1h").to_csv(tmp_path / "part-2.csv")
    assert load(tmp_path).provenance["notes"] == [
        f"{tmp_path / 'part-1.csv'} and {tmp_path / 'part-2.csv'} both hold bars of 2024-01-01T00:00:00Z to 2024-01-01T23:00:00Z,"
        " and the later file counts; if they are not of one series, name the file that is meant."
    ]


def test_files_that_only_touch_are_parts_of_one_series(parts, load) -> None:
    assert "notes" not in load(parts[1]).provenance
