"""A source that counts what it is asked, over a market that is known."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.catalog import Catalog
from cracktrader.errors import TemporarySourceError
from cracktrader.request import BarRequest

sys.path.insert(0, str(Path(__file__).parent))  # so that here and in other processes it is the same module

HOUR = 3_600_000
DAY = 24 * HOUR


class Venue:
    """Hour bars of a market with holes, in chunks; every request is written down."""

    def __init__(self, bars: ct.Bars, *, chunk: int = 7) -> None:
        self.bars = bars
        self.chunk = chunk
        self.requests: list[BarRequest] = []
        self.clock: int | None = None
        #: Fail after so many chunks.
        self.breaks_after: int | None = None

    def answer(self, request: BarRequest) -> Iterator[ct.Bars]:
        self.requests.append(request)
        wanted = self.bars[request.contains(self.bars.time)]
        if request.limit is not None:
            wanted = wanted[: request.limit] if request.start is not None else wanted[-request.limit :]
        for number, first in enumerate(range(0, len(wanted), self.chunk)):
            if number == self.breaks_after:
                raise TemporarySourceError("The line broke.", hint="Try again.")
            yield wanted[first : first + self.chunk]

    def source(self, **attributes: Any) -> ct.DataSource:
        """A new source over this venue; ``attributes`` are those of its class."""
        venue = self

        class Counted(ct.DataSource):
            api = (1, 0)

            @ct.hookimpl
            def fetch_bars(self, request: BarRequest) -> Iterator[ct.Bars]:
                return venue.answer(request)

            @ct.hookimpl
            def server_time(self) -> int:
                from cracktrader.times import now_ms

                return now_ms() if venue.clock is None else venue.clock

        for name, value in attributes.items():
            setattr(Counted, name, value)
        return Counted()

    def load(self, catalog: Catalog | Path, **asked: Any) -> ct.Bars:
        """Load the hours of this venue's symbol unchecked, through a new source each time."""
        options = {"symbol": "BTC/USDT", "timeframe": "1h", "validation": "off", "catalog": catalog}
        return ct.load(self.source(), **options | asked)

    def direct(self, **asked: Any) -> ct.Bars:
        """The same without a catalog, and without being counted."""
        before = list(self.requests)
        try:
            return self.load(False, **asked)  # type: ignore[arg-type]
        finally:
            self.requests[:] = before


def hours(start: str, count: int, *, holes: float = 0.0, seed: int = 1) -> ct.Bars:
    rng = np.random.default_rng(seed)
    first = int(np.datetime64(start, "ms").astype(np.int64))
    time = first + HOUR * np.flatnonzero(rng.random(count) >= holes)
    close = np.round(100 * np.exp(np.cumsum(rng.normal(0, 0.004, len(time)))), 2)
    open = np.round(close * 0.999, 2)
    high, low = np.round(close + 1, 2), np.round(open - 1, 2)
    return ct.Bars(time, open, high, low, close, np.round(rng.lognormal(1, 1, len(time)), 5), symbol="BTC/USDT", timeframe="1h")


@pytest.fixture
def venue() -> Venue:
    """Four months of hours, one in twenty missing, some days missing altogether."""
    bars = hours("2024-01-01", 24 * 120, holes=0.05)
    dark = (bars.time // DAY) % 11 == 3
    return Venue(bars[~dark])


@pytest.fixture
def make_catalog(tmp_path: Path) -> Callable[..., Catalog]:
    def make(**settings: Any) -> Catalog:
        return Catalog(tmp_path / "catalog", **settings)

    return make


@pytest.fixture
def catalog(make_catalog: Callable[..., Catalog]) -> Catalog:
    return make_catalog()
