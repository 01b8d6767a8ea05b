"""The cracktrader source of any exchange that ccxt knows: registered, but not able to read anything yet."""

from __future__ import annotations

from typing import ClassVar, NoReturn

from pydantic import ConfigDict

from cracktrader.errors import NotSupported
from cracktrader.plugins import DataSource, SourceConfig, hookimpl

__all__ = ["CcxtSource"]
__version__ = "0.1.0"


class AnyOptions(SourceConfig):
    """No option means anything yet: all are taken, so that users meet the message below and not one about options."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")


class CcxtSource(DataSource):
    """Bars of any exchange that ccxt knows: not able to read anything yet."""

    api = (1, 0)
    Config = AnyOptions

    @hookimpl
    def fetch_bars(self) -> NoReturn:
        raise NotSupported(
            f"cracktrader-ccxt {__version__} can't read bars yet: it only registers the source 'ccxt'.",
            hint="A later version will do the work. The source 'csv' reads files today: pip install \"cracktrader-core[csv]\"",
            source="ccxt",
        )
