"""Ranges and blocks: the same bars whatever was skipped, cut or turned on the way to them."""

from __future__ import annotations

import gzip
import io
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cracktrader as ct

START = 1_704_067_200_000
MINUTE = 60_000


def some_bars(times: list[int]) -> ct.Bars:
    prices = np.arange(len(times), dtype=float)
    return ct.Bars(times, prices, prices + 1, prices - 1, prices, prices, symbol="X", timeframe="1m")


def load(path: object, **options: object) -> ct.Bars:
    return ct.load("csv", path=path, symbol="X", timeframe="1m", validation="off", **options)


@given(st.lists(st.integers(0, 300), max_size=200), st.integers(-5, 305), st.integers(0, 310), st.integers(1, 3000))
def test_a_range_of_an_unordered_file_is_whole(minutes: list[int], start: int, length: int, size: int) -> None:
    bars = some_bars([START + minute * MINUTE for minute in minutes])
    first, stop = START + start * MINUTE, START + (start + length) * MINUTE
    with tempfile.TemporaryDirectory() as folder:
        loaded = load(bars.to_csv(Path(folder) / "x.csv"), start=first, end=stop, chunk_bytes=size)
    wanted = bars[(bars.time >= first) & (bars.time < stop)]
    assert sorted(loaded.to_records()) == sorted(wanted.to_records())  # one that mostly falls in time is turned


@settings(max_examples=20)
@given(st.lists(st.integers(0, 4_000), min_size=4, max_size=4), st.integers(5_000, 100_000), *[st.booleans()] * 3)
def test_ordered_finds_what_a_full_read_finds(ends: list[int], size: int, newest_first: bool, packed: bool, mark: bool) -> None:
    bars = some_bars([START + i * MINUTE for i in range(4000) if i not in range(*sorted(ends[:2]))])
    start, stop = (START + end * MINUTE for end in sorted(ends[2:4]))
    lines = ["timestamp,open,high,low,close,volume\n"]
    rows = [",".join(map(repr, row)) + "\n" for row in bars.to_records()]
    text = "".join(lines + (rows[::-1] if newest_first else rows)).encode("utf-8-sig" if mark else "utf-8")
    for options in ({"start": start}, {"end": stop}, {"start": start, "end": stop}):
        file = io.BytesIO(gzip.compress(text) if packed else text)
        loaded = load(file, ordered=True, chunk_bytes=size, **options)
        assert loaded == bars.between(options.get("start"), options.get("end"))


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size", [20, 1000, 1 << 20])
def test_a_file_that_is_newest_first_comes_out_oldest_first(packed: bool, size: int, tmp_path, make_bars) -> None:
    bars = make_bars(400).but(symbol="X")
    data = bars[::-1].to_csv(tmp_path / "x.csv").read_bytes()
    path = tmp_path / "y"
    path.write_bytes(gzip.compress(data) if packed else data)
    source = ct.source("csv", path=path, chunk_bytes=size)
    chunks = list(source.bars(ct.BarRequest("X", "1m")))
    assert ct.Bars.concat(chunks) == bars
    assert load(path, limit=7, chunk_bytes=size) == bars[-7:]
    assert load(path, limit=7, start=bars.time[3], chunk_bytes=size) == bars[3:10]


def test_a_range_reads_prices_only_where_it_lies(tmp_path) -> None:
    """Outside of the range nothing but times is looked at: damage there is not found, and costs nothing."""
    rows = [f"{START + i * MINUTE},{'?' if i < 500 else 1},1,1,1,1\n" for i in range(1000)]
    path = tmp_path / "x.csv"
    path.write_text("timestamp,open,high,low,close,volume\n" + "".join(rows))
    for size in (30, 10_000, 1 << 20):
        assert len(load(path, start=START + 500 * MINUTE, chunk_bytes=size)) == 500


def test_an_ordered_file_is_only_read_where_the_range_lies(tmp_path) -> None:
    bars = some_bars([START + i * MINUTE for i in range(100_000)])
    data = bars.to_csv(tmp_path / "x.csv").read_bytes()

    class Counting(io.BytesIO):
        taken = 0

        def read(self, size: int | None = -1) -> bytes:
            got = super().read(size)
            Counting.taken += len(got)
            return got

    assert len(load(Counting(data), start=START + 70_000 * MINUTE, end=START + 70_100 * MINUTE, ordered=True)) == 100
    assert Counting.taken < len(data) / 2


def test_reading_stops_when_the_limit_is_reached(tmp_path) -> None:
    bars = some_bars([START + i * MINUTE for i in range(100_000)])
    path = bars.to_csv(tmp_path / "x.csv")
    with path.open("a") as file:
        file.write("this line is never seen\n")
    assert load(path, limit=10, start=START, chunk_bytes=1000) == bars[:10]


def test_an_abandoned_read_leaves_no_thread_and_no_open_file(tmp_path) -> None:
    path = some_bars([START + i * MINUTE for i in range(50_000)]).to_csv(tmp_path / "x.csv")
    chunks = ct.source("csv", path=path, chunk_bytes=1000).bars(ct.BarRequest("X", "1m"))
    next(chunks)
    assert any(thread.name.startswith("cracktrader-csv") for thread in threading.enumerate())
    chunks.close()
    assert not any(thread.name.startswith("cracktrader-csv") for thread in threading.enumerate())
    path.unlink()


def test_memory_is_bounded_by_the_block_not_by_the_file(tmp_path) -> None:
    """A day of a million rows, 45 MB, in a process of its own."""
    psutil = pytest.importorskip("psutil")
    assert psutil
    path = some_bars([START + i * MINUTE for i in range(1_000_000)]).to_csv(tmp_path / "x.csv")
    code = f"""
        import psutil, cracktrader as ct, pyarrow.csv, pandas
        ct.load("csv", path={str(path)!r}, timeframe="1m", limit=1, start={START}, validation="off")
        before = psutil.Process().memory_info().rss
        options = dict(timeframe="1m", chunk_bytes=1 << 18, validation="off")
        bars = ct.load("csv", path={str(path)!r}, start="2025-01-01", end="2025-01-02", **options)
        print(len(bars), psutil.Process().memory_info().rss - before)
    """
    rows, grown = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert rows == "1440"
    assert int(grown) < path.stat().st_size / 2
