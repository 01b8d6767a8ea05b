"""The ``csv`` source itself; the work is done in :mod:`cracktrader_csv.reading`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from cracktrader.plugins import DataSource, hookimpl
from cracktrader_csv.config import CsvConfig

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.request import BarRequest

__all__ = ["CsvSource"]


class CsvSource(DataSource):
    """Bars from CSV files: plain or compressed, one or thousands, here or at a URL, of nearly any layout."""

    api = (1, 0)
    Config = CsvConfig
    config: CsvConfig

    # Arrow takes 0.1 s to import: only whoever reads a file pays for it.

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        from cracktrader_csv.reading import read_bars

        return read_bars(self.config, request)

    @hookimpl
    def list_symbols(self) -> Sequence[str]:
        from cracktrader_csv.reading import read_symbols

        return read_symbols(self.config)
