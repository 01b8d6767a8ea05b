"""Cerebro: backtrader's, that knows sources by name and works with today's Python, numpy and matplotlib."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import backtrader as bt

from cracktrader.bars import Bars
from cracktrader.declarations import Declaration
from cracktrader.errors import InvalidOption, NoData
from cracktrader.feeds import Feed, feed, feeds
from cracktrader.feeds.plot import make_plotter, save
from cracktrader.feeds.zones import backtrader_zone

__all__ = ["Cerebro"]


class Cerebro(bt.Cerebro):  # type: ignore[misc]
    """``bt.Cerebro`` that also takes sources by name.

    ::

        cerebro = ct.Cerebro()
        cerebro.addfeed("csv", path="btc.csv", symbol="BTC/USDT", timeframe="1h")
        cerebro.addstrategy(MyStrategy)
        cerebro.run()
        cerebro.save_plot("chart.png")

    Everything else is backtrader's.
    """

    def addfeed(self, source: Any, /, *, name: str | None = None, **options: Any) -> Any:
        """Make a feed with :func:`cracktrader.feed` and add it; returns it."""
        return self.adddata(feed(source, **options), name=name)

    def addfeeds(self, declaration: Declaration, /, **options: Any) -> dict[str, Feed]:
        """Make the feeds of a declaration with :func:`cracktrader.feeds` and add them under their names; returns them."""
        made = feeds(declaration, **options)
        for name, each in made.items():
            self.adddata(each, name=name)
        return made

    def adddata(self, data: Any, name: str | None = None) -> Any:
        """Add a data feed; Bars become one."""
        return super().adddata(_as_feed(data), name=name)

    def resampledata(self, dataname: Any, name: str | None = None, **options: Any) -> Any:
        """Add a data feed that backtrader makes longer bars of; Bars become one."""
        return super().resampledata(_as_feed(dataname), name=name, **options)

    def replaydata(self, dataname: Any, name: str | None = None, **options: Any) -> Any:
        """Add a data feed whose longer bars grow before the strategy's eyes; Bars become one."""
        return super().replaydata(_as_feed(dataname), name=name, **options)

    def run(self, **kwargs: Any) -> Any:
        """Run, as ``bt.Cerebro.run`` does; ``tz`` may name a zone without pytz."""
        if not isinstance(tz := kwargs.get("tz", self.p.tz), int):
            kwargs["tz"] = backtrader_zone(tz)
        return super().run(**kwargs)

    def plot(self, plotter: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Plot, as ``bt.Cerebro.plot`` does, with today's matplotlib; what ``use`` names is the backend."""
        if plotter is None:
            shown = {"numfigs", "iplot", "start", "end", "width", "height", "dpi", "tight", "use"}
            if backend := kwargs.pop("use", None):
                import matplotlib

                matplotlib.use(backend)
            plotter = make_plotter(**{name: kwargs.pop(name) for name in set(kwargs) - shown})
        return super().plot(plotter, *args, **kwargs)

    def save_plot(self, path: str | Path, *, width: float = 16, height: float = 9, dpi: int = 120, **scheme: Any) -> Path:
        """Draw the run into a picture file; needs no display.

        The suffix of ``path`` says the format (png, svg, pdf, …); ``width`` and ``height`` are inches; ``scheme``
        takes backtrader's plotting options, such as ``style="candle"`` or ``volume=False``. Returns the path.

        Raises :class:`~cracktrader.errors.NoData` before a run.
        """
        runs = getattr(self, "runstrats", None)
        if not runs or not runs[0] or not isinstance(runs[0][0], bt.Strategy):
            raise NoData("There is nothing to draw yet.", hint="Call cerebro.run() first; an optimisation can't be drawn.")
        return save(runs[0], path, width=width, height=height, dpi=dpi, **scheme)

    def __getstate__(self) -> dict[str, Any]:
        """What worker processes get while optimising: not the combinations and counters, which Python 3.14 can't pickle."""
        kept = super().__getstate__().items()
        return {name: value for name, value in kept if name != "strats" and not isinstance(value, itertools.count)}


def _as_feed(data: Any) -> Any:
    if isinstance(data, Bars):
        return feed(data)
    if not isinstance(data, bt.feed.AbstractDataBase):
        raise InvalidOption(f"{type(data).__name__} is no data feed.", hint="cerebro.addfeed(…) makes one of what ct.feed takes.")
    return data
