"""backtrader's charts, with today's matplotlib, and without a display.

backtrader's plotting forces the Tk backend when it is imported, draws a second chart over the first, and
finds its date ticks with a day count that matplotlib left in 2020, so that the time axis stays blank.
"""

from __future__ import annotations

import bisect
import math
import operator
import sys
from pathlib import Path
from typing import Any, Final

import backtrader as bt

from cracktrader.errors import InvalidOption, NoData
from cracktrader.feeds.base import refuse_unknown
from cracktrader.interchange import atomic_path

__all__ = ["make_plotter", "save"]

_STYLES: Final = ("line", "candle", "bar", "ohlc")
#: Bars up to which candles can be told apart.
_CANDLES: Final = 300
#: How a year, month, day, hour, minute and second are written, and each where the next smaller part is zero.
_FORMATS: Final = ["%Y", "%b", "%d %b", "%H:%M", "%H:%M", "%S.%f"]
_ZERO_FORMATS: Final = ["", "%Y", "%d %b", "%d %b", "%H:%M", "%H:%M"]
_LOOK: Final = {
    "axes.edgecolor": "#b0b4ba", "axes.linewidth": 0.8, "font.size": 9, "font.family": "sans-serif",
    "grid.color": "#e8eaed", "grid.linewidth": 0.7, "lines.linewidth": 1.2, "text.color": "#24292f",
    "xtick.color": "#57606a", "ytick.color": "#57606a",
}  # fmt: skip
_SCHEME: Final = {
    "barup": "#2a9d8f", "bardown": "#d1495b", "volup": "#a7d3cd", "voldown": "#e3a6af", "voltrans": 0.6, "volscaling": 0.22,
    "loc": "#24292f", "lcolors": ["#1f6feb", "#e07b00", "#2a9d8f", "#d1495b", "#8250df", "#8c564b", "#d16ba5", "#6e7781",
                                  "#a3a300", "#17becf"],
    "subtxtsize": 8.5, "tickrotation": 0, "plotdist": 0.06, "rowsmajor": 6,
}  # fmt: skip


def make_plotter(*, offscreen: bool = False, **scheme: Any) -> Any:
    """A ``backtrader.plot.Plot`` that works; ``offscreen`` makes figures that pyplot never hears of."""
    module = _backtrader_plot()
    from matplotlib import ticker

    refuse_unknown(scheme, vars(module.PlotScheme()), "A chart")
    if (style := scheme.get("style", "line")) not in _STYLES:
        raise InvalidOption(f"style={style!r} is no style of a chart.", hint=f"Give one of: {', '.join(_STYLES)}.")

    class Plot(module.Plot):  # type: ignore[misc, name-defined]
        canvas = _Offscreen() if offscreen else _Onscreen()
        # backtrader assigns pyplot to this name; what it is to use stays what it is.
        mpyplot = property(operator.attrgetter("canvas"), lambda _plotter, _pyplot: None)

        def plot(self, *args: Any, **kwargs: Any) -> Any:
            figures = super().plot(*args, **kwargs)
            for figure in figures or ():  # all dates were made invisible, the lowest ones too
                lowest = min(figure.axes, key=lambda ax: ax.get_position().y0)
                lowest.set_xlim(-1, 1.05 * self.pinf.xlen)  # room for the tags with the last values
                for tick in lowest.xaxis.get_major_ticks():
                    tick.label1.set_visible(True)
            return figures

        def plotvolume(self, data: Any, opens: Any, highs: Any, lows: Any, closes: Any, volumes: Any, label: str) -> Any:
            drawn = super().plotvolume(data, opens, highs, lows, closes, volumes, label)
            if drawn is not None:  # ticks beside the bars only, not all the way up beside the prices
                ticks = [tick for tick in ticker.MaxNLocator(3).tick_values(0, max(volumes)) if tick <= max(volumes)]
                axis = self.pinf.daxis[data.volume].yaxis
                axis.set_major_locator(ticker.FixedLocator(ticks))
                axis.set_major_formatter(ticker.FuncFormatter(_amount))  # backtrader's knows whole numbers only
            return drawn

        def setlocators(self, ax: Any) -> None:
            moments = [bt.num2date(day, tz=self.pinf.clock.datetime._tz) for day in self.pinf.xreal]
            _put_dates(ax.xaxis, moments)
            for axis in self.pinf.daxis.values():
                axis.fmt_xdata = lambda x: f"{moments[min(max(round(x), 0), len(moments) - 1)]:%Y-%m-%d %H:%M:%S}"

    # A scheme of its own: backtrader's default is one for all charts, and keeps what one of them was told.
    return Plot(**{"scheme": module.PlotScheme(), **scheme})


class _Offscreen:
    """The part of pyplot that backtrader uses, for one figure without a window."""

    def figure(self, _number: int) -> Any:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self.fig = Figure()
        FigureCanvasAgg(self.fig)
        return self.fig

    def subplot2grid(self, shape: Any, loc: Any, rowspan: int = 1, **options: Any) -> Any:
        grid = self.fig.add_gridspec(*shape)
        return self.fig.add_subplot(grid[loc[0] : loc[0] + rowspan, loc[1]], **options)

    def setp(self, artists: Any, **properties: Any) -> None:
        from matplotlib import artist

        artist.setp(artists, **properties)

    def autoscale(self, **options: Any) -> None:
        self.fig.axes[-1].autoscale(**options)

    def show(self) -> None:
        """There is nothing to show it on."""


class _Onscreen:
    """pyplot, except that a figure starts empty, and is not shown where there is no display."""

    def __getattr__(self, name: str) -> Any:
        from matplotlib import pyplot

        return getattr(pyplot, name)

    def figure(self, number: int) -> Any:
        from matplotlib import pyplot

        return pyplot.figure(number, clear=True)

    def show(self) -> None:
        from matplotlib import pyplot

        if pyplot.get_backend().lower() != "agg":
            pyplot.show()


def _amount(value: float, _position: int) -> str:
    """A volume in three digits: 0.25, 12.5K, 3M."""
    for unit, sign in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if value >= unit:
            return f"{value / unit:.3g}{sign}"
    return f"{value:.3g}"


def _put_dates(axis: Any, moments: list[Any]) -> None:
    """Round dates on an axis that counts bars, whatever part of it is in view."""
    from matplotlib import dates, ticker

    labels: dict[int, str] = {}

    class BarDates(ticker.Locator):  # type: ignore[misc]
        def __call__(self) -> list[int]:
            return self.tick_values(*self.axis.get_view_interval())

        def tick_values(self, vmin: float, vmax: float) -> list[int]:
            first = min(max(math.ceil(vmin), 0), len(moments) - 1)
            last = min(max(math.floor(vmax), first), len(moments) - 1)
            if first == last:
                labels[first] = f"{moments[first]:%Y-%m-%d %H:%M}"
                return [first]
            locator = dates.AutoDateLocator(minticks=4, maxticks=10)
            start, end = dates.date2num([moments[first], moments[last]])
            ticks = [tick for tick in locator.tick_values(moments[first], moments[last]) if start <= tick <= end]
            rows = [bisect.bisect_left(moments, dates.num2date(tick).replace(tzinfo=None)) for tick in ticks]
            texts = dates.ConciseDateFormatter(
                locator, formats=_FORMATS, zero_formats=_ZERO_FORMATS, show_offset=False
            ).format_ticks(ticks)
            labels.update(zip(rows, texts, strict=True))
            return rows

    axis.set_major_locator(BarDates())
    axis.set_major_formatter(ticker.FuncFormatter(lambda x, _position: labels.get(round(x), "")))


def save(strategies: list[Any], path: str | Path, *, width: float, height: float, dpi: int, **scheme: Any) -> Path:
    """Draw the first strategy into a picture file, whose suffix says the format; written whole or not at all."""
    strategy = strategies[0]
    if not len(strategy):
        raise NoData("There is nothing to draw: the strategy saw no bar.", hint="Run the Cerebro first, with enough bars.")
    style = "candle" if max(len(data) for data in strategy.datas) <= _CANDLES else "line"
    plotter = make_plotter(offscreen=True, **{**_SCHEME, "style": style, **scheme})
    from matplotlib import rc_context

    with rc_context(_LOOK):
        figure = plotter.plot(strategy, iplot=False)[0]
        suffix = Path(path).suffix.lstrip(".") or "png"
        if suffix not in figure.canvas.get_supported_filetypes():
            known = ", ".join(sorted(figure.canvas.get_supported_filetypes()))
            raise InvalidOption(
                f"A picture can't be written as {Path(path).name!r}.", hint=f"Give a file ending in one of: {known}."
            )
        figure.set_size_inches(width, height)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=dpi, format=suffix)
    return Path(path)


def _backtrader_plot() -> Any:
    """``backtrader.plot``, imported without letting it choose the backend."""
    try:
        import matplotlib
        from matplotlib import pyplot  # noqa: F401  # backtrader can't replace a backend that is loaded
    except ImportError as error:
        raise InvalidOption("Charts need matplotlib, which is not installed.",
                            hint='Run: pip install "cracktrader-core[plot]"') from error  # fmt: skip
    if "backtrader.plot" in sys.modules:
        return sys.modules["backtrader.plot"]
    backend = matplotlib.get_backend()
    import backtrader.plot

    matplotlib.use(backend)
    return backtrader.plot
