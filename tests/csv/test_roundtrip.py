"""What Bars.to_csv writes comes back as it was, however it is packed, spelled or cut."""

from __future__ import annotations

import bz2
import csv
import datetime as dt
import gzip
import io
import lzma
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import cracktrader as ct

# After 2571 the digits of an epoch time may also be those of a date.
TOLD_FROM, TOLD_TO = -9_000_000_000_000, 18_999_999_999_999
NUMBERS = st.floats(width=64)
NAMES = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=8).filter(
    lambda name: name not in ct.Bars.empty("", "1m").columns and name != "timestamp"
)


@st.composite
def any_bars(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS, told_from: int = TOLD_FROM) -> ct.Bars:
    rows = draw(st.integers(1, 12))
    times = sorted(draw(st.lists(st.integers(told_from, TOLD_TO), min_size=rows, max_size=rows)))

    def column() -> list[float]:
        return draw(st.lists(numbers, min_size=rows, max_size=rows))

    extra = {name: column() for name in draw(st.lists(NAMES, max_size=3, unique=True))}
    flags = draw(st.lists(st.integers(0, 15), min_size=rows, max_size=rows))
    return ct.Bars(times, *(column() for _ in range(5)), symbol="X", timeframe="1m", flags=flags, extra=extra)


def load(path: object, **options: object) -> ct.Bars:
    return ct.load("csv", path=path, symbol="X", timeframe="1m", validation="off", **options)


def bits(bars: ct.Bars) -> list[bytes]:
    """The columns' bytes: tells -0.0 from 0.0. All NaNs are one."""
    return [np.where(np.isnan(column), np.nan, column).tobytes() for column in (bars[name] for name in bars.columns)]


@given(any_bars())
def test_any_bars_come_back_bit_for_bit(bars: ct.Bars) -> None:
    with tempfile.TemporaryDirectory() as folder:
        back = load(bars.to_csv(Path(folder) / "x.csv"))
    assert back == bars
    assert bits(back) == bits(bars)
    assert back.provenance["files"][0]["layout"] == "cracktrader"


@given(any_bars(), st.integers(1, 200))
def test_where_blocks_are_cut_changes_nothing(bars: ct.Bars, size: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert load(bars.to_csv(Path(folder) / "x.csv"), chunk_bytes=size) == bars


@given(any_bars(st.floats(-1e12, 1e12), 100_000_000_000), st.sampled_from(",;\t|"), st.sampled_from(".,"),
       st.sampled_from(["\n", "\r\n"]),
       st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252"]), st.booleans(),
       st.sampled_from(["ms", "s", "us", "ns", "iso", "iso blank", "iso zone", "slashes", "american", "split"]))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_any_spelling_is_told(
    bars: ct.Bars, delimiter: str, decimal: str, end: str, encoding: str, quote: bool, spelling: str
) -> None:
    assume(delimiter != decimal or quote)
    bars = bars.but(time=bars.time // 1000 * 1000, flags=None, extra={})
    if spelling not in ("ms", "s"):  # years after 2262 don't fit into nanoseconds
        bars = bars.but(time=1_705_496_400_000 + 86_400_000 * 40 * np.arange(len(bars)))
    moments = [dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=int(t)) for t in bars.time]
    written = {
        "ms": lambda t: [str(t)], "s": lambda t: [str(t // 1000)], "us": lambda t: [f"{t}000"], "ns": lambda t: [f"{t}000000"],
    }.get(spelling)  # fmt: skip
    style = {"iso": "%Y-%m-%dT%H:%M:%S", "iso blank": "%Y-%m-%d %H:%M:%S", "iso zone": "%Y-%m-%dT%H:%M:%S+00:00",
             "slashes": "%Y/%m/%d %H:%M", "american": "%b %d, %Y %I:%M %p", "split": "%Y.%m.%d|%H:%M"}  # fmt: skip
    times = [written(int(t)) for t in bars.time] if written else [m.strftime(style[spelling]).split("|") for m in moments]
    names = ["Date", "Time"] if spelling == "split" else ["Time"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter, lineterminator=end, quoting=csv.QUOTE_ALL if quote else csv.QUOTE_MINIMAL)
    writer.writerow([*names, "Open", "High", "Low", "Close", "Volume"])
    for time, row in zip(times, bars.to_records(), strict=True):
        writer.writerow([*time, *(repr(number).replace(".", decimal) for number in row[1:])])
    options = {} if decimal == "." else {"decimal": ","}
    back = load(io.BytesIO(text.getvalue().encode(encoding)), encoding=None if encoding != "utf-16-le" else encoding, **options)
    assert back == bars


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstandard.compress,
}


@pytest.mark.parametrize("ending", [*PACKERS, "zip"])
@pytest.mark.parametrize("size", [64, 1000, 2 << 20])
def test_every_compression_gives_the_same_bars(ending: str, size: int, tmp_path: Path, make_bars, load) -> None:
    bars = make_bars()
    plain = bars.to_csv(tmp_path / "x.csv").read_bytes()
    packed = tmp_path / f"x.csv.{ending}"
    if ending == "zip":
        with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("x.csv", plain)
    else:
        packed.write_bytes(PACKERS[ending](plain))
    assert load(packed, "1m", symbol="BTC/USDT", chunk_bytes=size) == bars


@pytest.mark.parametrize("ending", PACKERS)
def test_a_compressed_file_in_several_parts_is_read_whole(ending: str, tmp_path: Path, make_bars, load) -> None:
    bars = make_bars()
    plain = bars.to_csv(tmp_path / "x.csv").read_bytes()
    (tmp_path / "y").write_bytes(PACKERS[ending](plain[:5000]) + PACKERS[ending](plain[5000:]))
    assert load(tmp_path / "y", "1m", symbol="BTC/USDT") == bars


@pytest.mark.parametrize("start", [-60_000, 0, 99_999_960_000, -2_000_000_000_000])
def test_times_before_1973_come_back(start: int, tmp_path: Path, make_bars, load) -> None:
    bars = make_bars(start=start)
    assert load(bars.to_csv(tmp_path / "x.csv"), "1m", symbol="BTC/USDT") == bars


def test_no_bars_come_back_as_no_bars(tmp_path: Path, load) -> None:
    path = ct.Bars.empty("X", "1h").to_csv(tmp_path / "x.csv")
    assert len(load(path, symbol="X")) == 0


def test_a_column_that_is_all_nan_comes_back(tmp_path: Path, make_bars, load) -> None:
    bars = make_bars(3).but(extra={"funding": [np.nan] * 3, "open interest, usd": [1.0, 2.0, np.nan]})
    assert load(bars.to_csv(tmp_path / "x.csv"), "1m", symbol="BTC/USDT") == bars
