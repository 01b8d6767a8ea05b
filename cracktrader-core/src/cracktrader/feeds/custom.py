"""CustomDataFeed: a feed for people who only have a function that returns a frame."""

from __future__ import annotations

from typing import Any

from cracktrader.bars import Bars
from cracktrader.errors import ConfigurationError
from cracktrader.feeds.base import Feed
from cracktrader.interchange import to_bars
from cracktrader.quality import validate
from cracktrader.request import BarRequest

__all__ = ["CustomDataFeed"]


class CustomDataFeed(Feed):
    """A feed whose bars come from a method: override :meth:`_load_data`.

    ::

        class MyFeed(CustomDataFeed):
            params = (("path", None),)

            def _load_data(self):
                return pandas.read_parquet(self.p.path)     # indexed by time, with open, high, low, close, volume

        cerebro.adddata(MyFeed(path="btc.parquet", symbol="BTC/USDT", timeframe="1h"))

    The method runs when the bars are first needed, and may use ``self.p``, ``self.symbol``, ``self.timeframe``
    (text, as given), ``self.start_date`` and ``self.end_date`` (as given). What it returns may be a frame, Bars
    or anything with ``__arrow_c_stream__``; bars outside ``[start_date, end_date)`` are left out, then
    everything is checked as ``validation`` says. Extra columns become lines if the class declares them
    (``lines = ("funding",)``).
    """

    params = (
        ("start_date", None),
        ("end_date", None),
        ("validation", None),
    )

    @property
    def start_date(self) -> Any:
        """The first time wanted, as it was given."""
        return self.p.start_date

    @property
    def end_date(self) -> Any:
        """The end of the times wanted, exclusive, as it was given."""
        return self.p.end_date

    def _load_data(self) -> Any:
        """The feed's data: a frame, Bars or an Arrow stream. The one method to override.

        Called by an override as ``super()._load_data()``, it gives what was passed as ``dataname``, as a frame.
        """
        if self.p.dataname is None or isinstance(self.p.dataname, str):
            raise ConfigurationError(
                f"{type(self).__name__} has no data.",
                hint="Override _load_data(self) to return a frame, or pass one: dataname=frame.",
            )
        data = self.p.dataname
        return data.to_pandas() if isinstance(data, Bars) else data

    def _get_bars(self) -> Bars:
        request = BarRequest(self.symbol, self.timeframe, self.start_date, self.end_date)
        data = self._load_data()
        bars = to_bars(data, symbol=self.symbol, timeframe=request.timeframe, source=type(self).__name__)
        inside = request.contains(bars.time)
        return validate(bars if inside.all() else bars[inside], self.p.validation, request=request.to_dict())
