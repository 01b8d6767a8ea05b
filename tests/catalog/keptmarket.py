"""A market that any process knows by heart, and whose source keeps a diary that all of them share."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import cracktrader as ct
from cracktrader.catalog import Catalog
from cracktrader.request import BarRequest

HOUR = 3_600_000
DAY = 24 * HOUR
START = 1_577_836_800_000  # 2020
END = 1_672_531_200_000  # 2023


def bars_between(symbol: str, start: int, end: int, version: int = 0) -> ct.Bars:
    """The hours of a symbol, whose values come of their times alone; one day in eleven has none."""
    first, stop = max(start, START), min(end, END)
    time = np.arange(-(-first // HOUR) * HOUR, stop, HOUR, dtype=np.int64)
    time = time[(time // DAY) % 11 != 3]
    noise = ((time // HOUR + version + sum(symbol.encode())) * 2_654_435_761) % 9_973
    open = np.round(100 + noise / 100, 2)
    return ct.Bars(time, open, open + 2, open - 2, open + 1, noise / 1_000, symbol=symbol, timeframe="1h")


class KeptMarket(ct.DataSource):
    """Any symbol's hours. ``pause`` seconds pass within each fetch."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        diary: Path | None = None
        pause: float = 0.0
        fails: bool = False
        version: int = 0

    def identity(self) -> dict[str, str]:
        return {}

    @ct.hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[ct.Bars]:
        self.note(f"{request.symbol} {request.start} {request.end} {os.getpid()}")
        if self.config.fails:
            raise ct.errors.TemporarySourceError("The line is down.", hint="Try again.")
        time.sleep(self.config.pause)
        wanted = bars_between(request.symbol, request.start or START, request.end or END, self.config.version)
        for first in range(0, len(wanted), 500):
            yield wanted[first : first + 500]

    def note(self, line: str) -> None:
        if self.config.diary is not None:
            handle = os.open(self.config.diary, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, f"{line}\n".encode())  # one short write in append mode is whole
            os.close(handle)


def load(catalog: Catalog | Path | bool | str, start: int, end: int, symbol: str = "BTC/USDT", **options: object) -> ct.Bars:
    """The hours of ``[start, end)``, unchecked, through a source of its own."""
    return ct.load(
        KeptMarket, symbol=symbol, timeframe="1h", start=iso(start), end=iso(end), validation="off", catalog=catalog, **options
    )


def iso(time: int) -> str:
    return f"{np.datetime64(time, 'ms')}Z"


def asked(diary: Path) -> list[tuple[str, int, int, int]]:
    """What the source was asked for: symbol, start, end, by which process."""
    lines = diary.read_text().splitlines() if diary.exists() else []
    return [(symbol, int(start), int(end), int(who)) for symbol, start, end, who in map(str.split, lines)]
