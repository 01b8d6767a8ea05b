"""The contract, run for the CSV source: one file, many symbols in one file, a folder of compressed files."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.testing import SECRET, SourceContract

pytest.importorskip("cracktrader_csv", reason="cracktrader-csv is not installed")

HOUR = 3_600_000
START = 1_704_067_200_000


def series(symbol: str, seed: int) -> ct.Bars:
    """A random walk from 2024-01-01, of four days with a hole of two hours."""
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-200, 201, 96).cumsum() / 100
    bars = ct.Bars(START + HOUR * np.arange(96), close, close + 0.25, close - 0.25, close + 0.125, rng.integers(1, 999, 96) / 8,
                   symbol=symbol, timeframe="1h")  # fmt: skip
    return bars[np.arange(96) // 2 != 20]


BTC, ETH = series("BTC/USDT", 1), series("ETH/USDT", 2)


class CsvContract(SourceContract):
    name = "csv"
    symbol, timeframe = "BTC/USDT", "1h"
    start, end = "2024-01-01T12:00", "2024-01-04T06:00"
    expected: ClassVar[ct.Bars] = BTC.between(start, end)
    chunk_option, chunk_values = "chunk_bytes", (1, 100, 1000, 1 << 20)
    secret_options: ClassVar = {"path": f"https://user:{SECRET}@127.0.0.1:9/bars.csv?token={SECRET}"}

    def path(self, folder: Path) -> object:
        raise NotImplementedError

    @pytest.fixture
    def make_source(self, tmp_path: Path) -> Callable[..., ct.Source]:
        path = self.path(tmp_path)
        return lambda **options: ct.source("csv", **{"path": path, **options})


class TestOneFile(CsvContract):
    unknown_symbol = None  # a file without a column of symbols holds whatever it is said to hold

    def path(self, folder: Path) -> object:
        return BTC.to_csv(folder / "bars.csv")


class TestManySymbolsInOneFile(CsvContract):
    other_symbol = "ETH/USDT"

    def path(self, folder: Path) -> object:
        rows = sorted((*candle, bars.symbol) for bars in (BTC, ETH) for candle in bars.to_records())
        lines = ["timestamp,open,high,low,close,volume,symbol", *(",".join(map(str, row)) for row in rows)]
        (folder / "bars.csv").write_text("\n".join(lines) + "\n")
        return folder / "bars.csv"


class TestFolderOfCompressedFiles(CsvContract):
    unknown_symbol = None

    def path(self, folder: Path) -> object:
        days = folder / "days"
        days.mkdir()
        for day in range(4):
            part = BTC.between(START + 24 * day * HOUR, START + 24 * (day + 1) * HOUR)
            plain = part.to_csv(folder / f"{day}.csv")
            (days / f"2024-01-0{day + 1}.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
        return days


class TestListOfFilesWithoutAHeader(CsvContract):
    unknown_symbol = None

    def path(self, folder: Path) -> object:
        parts = []
        for number, part in enumerate((BTC[:30], BTC[30:])):
            plain = part.to_csv(folder / f"{number}.csv")
            _, _, rows = plain.read_text().partition("\n")
            plain.write_text(rows)
            parts.append(plain)
        return parts
