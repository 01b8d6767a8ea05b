"""Bars go in and out of a catalog whole, and what was fetched is not overwritten unless told."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

import cracktrader as ct
from cracktrader.bars import Flag
from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.catalog.transfer import FreqtradeFile, export, freqtrade_files, keep, read_file
from cracktrader.catalog.upkeep import select, verify
from cracktrader.errors import CatalogDamaged, InvalidOption, MalformedData, SourceNotFound
from cracktrader.timeframe import Timeframe
from cracktrader.times import now_ms

HOUR = 3_600_000
KEY = SeriesKey("Counted", {}, "BTC/USDT", Timeframe("1h"))


def write_freqtrade(bars: ct.Bars, path: Path) -> Path:
    """A file as freqtrade writes it, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = bars.to_pandas().drop(columns="flags").rename_axis("date").reset_index()
    if path.suffix == ".feather":
        pyarrow.feather.write_feather(pa.Table.from_pandas(frame), path, compression="lz4", compression_level=9)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        rows = json.dumps([[int(row.time), row.open, row.high, row.low, row.close, row.volume] for row in bars]).encode()
        path.write_bytes(gzip.compress(rows) if path.suffix == ".gz" else rows)
    return path


# ── in ───────────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_imported_is_not_fetched(venue, catalog: Catalog) -> None:
    inside = venue.bars.between("2024-01-05", "2024-02-10")
    assert keep(catalog, KEY, inside, origin="btc.csv", version="1") == len(inside)
    first, last = int(inside.time[0]), int(inside.time[-1])
    assert venue.load(catalog, start=first, end=last + HOUR) == inside
    assert venue.requests == []
    venue.load(catalog, start="2024-01-01", end="2024-03-01")
    assert [(request.start, request.end) for request in venue.requests] == [(1704067200000, first), (last + HOUR, 1709251200000)]
    (series,) = select(catalog)
    assert [fetch.request for fetch in series.ledger().fetches if fetch.plugin == "import"] == [{"file": "btc.csv"}]
    assert verify(series) == []


def test_what_was_fetched_stays_unless_told(venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2024-01-10", end="2024-01-20")
    fetched = venue.bars.between("2024-01-10", "2024-01-20")
    other = venue.bars.between("2024-01-05", "2024-01-25").but(close=venue.bars.between("2024-01-05", "2024-01-25").close + 1)
    assert keep(catalog, KEY, other, origin="x") == len(other) - len(fetched)
    assert venue.load(catalog, start="2024-01-10", end="2024-01-20") == fetched
    assert keep(catalog, KEY, other, origin="x", overwrite=True) == len(other)
    replaced = venue.load(catalog, start="2024-01-10", end="2024-01-20")
    assert np.array_equal(replaced.close, fetched.close + 1)
    assert (replaced.flags == Flag.REVISED).all()
    (series,) = select(catalog)
    assert sum(file.rows for file in series.ledger().revisions) == len(fetched)


def test_a_bar_that_is_not_over_is_not_imported(catalog: Catalog) -> None:
    now = Timeframe("1h").floor(now_ms())
    bars = ct.Bars([now - HOUR, now], *[[1.0, 1.0]] * 5, symbol="", timeframe="1h")
    assert keep(catalog, KEY, bars, origin="x") == 1
    assert keep(catalog, KEY, bars[1:], origin="x") == 0


def test_rows_in_disorder_are_put_in_order(venue, catalog: Catalog) -> None:
    bars = venue.bars.between("2024-01-05", "2024-02-10")
    keep(catalog, KEY, bars[::-1], origin="x")
    assert venue.load(catalog, start=int(bars.time[0]), end=int(bars.time[-1]) + HOUR) == bars


def test_an_import_over_a_damaged_file_says_what_to_do(venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2024-01-01", end="2024-01-10")
    (series,) = select(catalog)
    next(Path(str(series)).glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(CatalogDamaged, match="catalog repair"):
        keep(catalog, KEY, venue.bars, origin="x")


# ── freqtrade's files ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "exchange", "symbol", "timeframe"),
    [
        ("binance/BTC_USDT-1h.feather", "binance", "BTC/USDT", "1h"),
        ("binance/1000SHIB_USDT-5m.json", "binance", "1000SHIB/USDT", "5m"),
        ("okx/futures/BTC_USDT_USDT-1h-futures.feather", "okx", "BTC/USDT:USDT", "1h"),
        ("okx/futures/BTC_USDT_USDT-230331-4h-futures.parquet", "okx", "BTC/USDT:USDT-230331", "4h"),
        ("kraken/ETH_EUR-1Mo.json.gz", "kraken", "ETH/EUR", "1M"),
    ],
)
def test_the_name_of_a_file_says_what_it_is(name: str, exchange: str, symbol: str, timeframe: str) -> None:
    path = Path("user_data/data") / name
    assert FreqtradeFile.of(path) == FreqtradeFile(path, exchange, symbol, timeframe)


@pytest.mark.parametrize(
    "name", ["BTC_USDT_USDT-1h-mark.feather", "BTC_USDT_USDT-8h-funding_rate.feather", "BTC_USDT-trades.feather", "config.json"]
)
def test_what_holds_no_candles_is_left_out(name: str) -> None:
    assert FreqtradeFile.of(Path("binance") / name) is None


@pytest.mark.parametrize("suffix", ["feather", "parquet", "json", "json.gz"])
def test_freqtrades_files_are_read_exactly(venue, tmp_path: Path, suffix: str) -> None:
    data = tmp_path / "user_data" / "data"
    path = write_freqtrade(venue.bars, data / "binance" / f"BTC_USDT-1h.{suffix}")
    write_freqtrade(venue.bars[:5], data / "binance" / "futures" / "BTC_USDT_USDT-8h-mark.feather")
    (found,) = freqtrade_files(tmp_path)
    assert found == FreqtradeFile(path, "binance", "BTC/USDT", "1h")
    assert read_file(path, found.symbol, found.timeframe) == venue.bars


@pytest.mark.parametrize("name", ["bad.feather", "bad.json", "bad.json.gz", "bad.parquet"])
def test_a_file_that_is_none_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"nothing of the kind")
    with pytest.raises(MalformedData, match=r"bad\."):
        read_file(tmp_path / name, "BTC/USDT", "1h")


def test_what_can_not_be_imported_is_told(tmp_path: Path) -> None:
    (tmp_path / "bars.h5").write_bytes(b"HDF")
    with pytest.raises(InvalidOption, match=r"bars\.h5"):
        read_file(tmp_path / "bars.h5")
    with pytest.raises(SourceNotFound):
        read_file(tmp_path / "nowhere.parquet")
    (tmp_path / "rows.json").write_text("[]")
    with pytest.raises(InvalidOption, match="timeframe"):
        read_file(tmp_path / "rows.json")


def test_a_parquet_file_of_anybody_is_read(venue, tmp_path: Path) -> None:
    frame = pd.DataFrame({"Open time": venue.bars.time, **{name: venue.bars[name] for name in ("open", "high", "low", "close")}})
    frame.to_parquet(tmp_path / "x.parquet")
    bars = read_file(tmp_path / "x.parquet", "BTC/USDT", "1h")
    assert np.array_equal(bars.close, venue.bars.close)


# ── out ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_an_exported_series_comes_back_equal(venue, catalog: Catalog, tmp_path: Path, suffix: str) -> None:
    venue.load(catalog, start="2024-01-01", end="2024-03-01")
    (series,) = select(catalog)
    path = tmp_path / f"btc.{suffix}"
    expected = venue.bars.between("2024-01-01", "2024-03-01")
    assert export(series, path) == len(expected)
    again = (
        read_file(path) if suffix == "parquet" else ct.load("csv", path=path, symbol="BTC/USDT", timeframe="1h", validation="off")
    )
    assert again == expected
    if suffix == "parquet":
        assert SeriesKey.from_dict(again.provenance["catalog_series"]) == series.key


def test_an_export_of_damaged_bars_writes_nothing(venue, catalog: Catalog, tmp_path: Path) -> None:
    venue.load(catalog, start="2024-01-01", end="2024-03-01")
    (series,) = select(catalog)
    next(Path(str(series)).glob("*.parquet")).write_bytes(b"PAR1")
    with pytest.raises(CatalogDamaged, match="catalog repair"):
        export(series, tmp_path / "btc.csv")
    assert not (tmp_path / "btc.csv").exists()
