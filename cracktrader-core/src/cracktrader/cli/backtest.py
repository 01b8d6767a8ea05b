"""Running one strategy over bars, and what came of it in numbers."""

from __future__ import annotations

import importlib
import importlib.machinery
import math
import sys
import time
import traceback
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
from rich import box
from rich.table import Table

from cracktrader.bars import Bars
from cracktrader.cerebro import Cerebro
from cracktrader.cli.strategies import STRATEGIES
from cracktrader.errors import ConfigurationError, CracktraderError, InvalidOption, NoData, did_you_mean
from cracktrader.feeds import feed
from cracktrader.times import isoformat

__all__ = ["find_strategy", "run", "statistics_table"]

_YEAR_DAYS = 365


def find_strategy(name: str) -> type[Any]:
    """A strategy by a name of ours, ``module:Class`` or ``file.py:Class``; raises :class:`InvalidOption`."""
    if name in STRATEGIES:
        return STRATEGIES[name]
    place, _, cls = name.rpartition(":")
    if not place:
        raise InvalidOption(
            f"There is no strategy {name!r}.{did_you_mean(name, STRATEGIES)}",
            hint=f"Give {', '.join(STRATEGIES)}, module:Class or file.py:Class.",
        )
    try:
        found = getattr(_module(place), cls)
    except (ImportError, OSError, SyntaxError) as error:
        raise InvalidOption(f"The strategy {name!r} can't be imported: {type(error).__name__}: {error}.") from error
    except AttributeError:
        raise InvalidOption(f"There is no {cls!r} in {place}.", hint="Write module:Class or file.py:Class.") from None
    if not (isinstance(found, type) and issubclass(found, bt.Strategy)):
        raise InvalidOption(f"{name!r} is not a backtrader.Strategy.")
    return found


def run(
    bars: Bars,
    strategy: type[Any],
    parameters: Mapping[str, Any],
    *,
    cash: float,
    commission: float,
    percent: float,
    plot: Path | None = None,
    beside: Sequence[Bars] = (),
) -> dict[str, Any]:
    """Run and count; ``beside`` are bars for further feeds, such as a longer timeframe.

    Values are in the quote currency, returns and shares as fractions, times as ISO-8601 text. The Sharpe ratio is of
    daily returns, times the square root of 365: crypto trades every day.
    """
    if not len(bars):
        raise NoData("There are no bars to trade on.", hint="Is the symbol right, and does the range hold data?")
    unknown = set(parameters) - set(strategy.params._getkeys())
    if unknown:
        raise InvalidOption(f"{strategy.__name__} has no parameter {sorted(unknown)[0]!r}.",
                            hint=f"It has: {', '.join(strategy.params._getkeys()) or 'none'}.")  # fmt: skip
    cerebro = Cerebro(stdstats=plot is not None)
    for each in (bars, *beside):
        cerebro.adddata(feed(each))
    cerebro.addstrategy(strategy, **{name: _number(value) for name, value in parameters.items()})
    cerebro.broker.setcash(cash)
    cerebro.broker.setcommission(commission=commission)
    if percent:
        cerebro.addsizer(bt.sizers.PercentSizer, percents=percent)
    cerebro.addanalyzer(bt.analyzers.TradeAnalyzer, _name="trades")
    cerebro.addanalyzer(bt.analyzers.DrawDown, _name="drawdown")
    cerebro.addanalyzer(bt.analyzers.TimeReturn, _name="daily", timeframe=bt.TimeFrame.Days)
    started = time.perf_counter()
    try:
        done = cerebro.run()
    except CracktraderError:
        raise
    except Exception as error:
        raise _failure(strategy, cerebro.runningstrats, bars, error) from error
    seconds = time.perf_counter() - started
    if plot is not None:
        cerebro.save_plot(plot)
    analyzers = done[0].analyzers
    return {
        "strategy": strategy.__name__,
        "symbol": bars.symbol,
        "timeframe": str(bars.timeframe),
        "bars": len(bars),
        "first": isoformat(bars.time[0]),
        "last": isoformat(bars.time[-1]),
        "cash": cash,
        "value": cerebro.broker.getvalue(),
        "return": cerebro.broker.getvalue() / cash - 1,
        "buy_and_hold": float(bars.close[-1] / bars.open[0] - 1),
        "max_drawdown": analyzers.drawdown.get_analysis().max.drawdown / 100,
        "sharpe": _sharpe(list(analyzers.daily.get_analysis().values())),
        **_trades(analyzers.trades.get_analysis()),
        "seconds": round(seconds, 3),
    }


def statistics_table(statistics: Mapping[str, Any]) -> Table:
    """The numbers for a terminal."""
    s = statistics
    title = f"{s['strategy']} on {s['symbol'] or 'bars'} {s['timeframe']}, {s['first']} to {s['last']}"
    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", show_header=False)
    table.add_column()
    table.add_column(justify="right")
    ratio = "" if s["profit_factor"] is None else f"{s['profit_factor']:.2f}"
    for name, value in (
        ("bars", f"{s['bars']:,}"),
        ("value", f"{s['cash']:,.2f} -> {s['value']:,.2f}"),
        ("return", f"{s['return']:+.2%}"),
        ("buy and hold", f"{s['buy_and_hold']:+.2%}"),
        ("deepest drawdown", f"{s['max_drawdown']:.2%}"),
        ("Sharpe ratio (daily, yearly scale)", "" if s["sharpe"] is None else f"{s['sharpe']:.2f}"),
        ("trades closed", f"{s['trades']}"),
        ("won", "" if not s["trades"] else f"{s['won']} ({s['won'] / s['trades']:.0%})"),
        ("profit factor", ratio),
        ("time", f"{s['seconds']:.2f} s"),
    ):
        table.add_row(name, value)
    return table


def _failure(strategy: type[Any], running: list[Any], bars: Bars, error: Exception) -> CracktraderError:
    """Why a run broke off; backtrader's own error for too few bars is about an index."""
    needed = max((each._minperiod for each in running), default=0)
    if isinstance(error, IndexError) and needed > len(bars):
        return NoData(
            f"{len(bars)} bars of {bars.timeframe} are too few for {strategy.__name__}: its indicators need {needed}.",
            hint="Load more bars, or shorten the indicators' periods with --param.",
        )
    file = getattr(sys.modules.get(strategy.__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f" ({Path(file).name}, line {lines[-1]})" if file and lines else ""
    return ConfigurationError(
        f"The strategy {strategy.__name__} failed{place}: {type(error).__name__}: {error}",
        hint="Are its parameters right? `cracktrader --debug backtest …` shows the traceback.",
    )


def _module(place: str) -> Any:
    if not place.endswith(".py"):
        if "" not in sys.path:
            sys.path.insert(0, "")  # a module beside where the user stands, as with python -m
        return importlib.import_module(place)
    if not Path(place).is_file():
        raise FileNotFoundError(f"there is no file {place!r}")
    name = f"strategy_in_{Path(place).stem}"  # signal.py must not take the place of Python's own
    loader = importlib.machinery.SourceFileLoader(name, place)
    module = types.ModuleType(name)
    module.__file__ = place
    sys.modules[name] = module  # backtrader looks a strategy's module up by name
    loader.exec_module(module)
    return module


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    for convert in (int, float):
        try:
            return convert(value)
        except ValueError:
            continue
    return {"true": True, "false": False}.get(value.lower(), value)


def _sharpe(daily: list[float]) -> float | None:
    if len(daily) < 2 or not (spread := float(np.std(daily, ddof=1))):
        return None
    return float(np.mean(daily)) / spread * math.sqrt(_YEAR_DAYS)


def _trades(analysis: Any) -> dict[str, Any]:
    closed = analysis.get("total", {}).get("closed", 0)
    won = analysis.get("won", {}).get("total", 0) if closed else 0
    gain = analysis.won.pnl.total if won else 0.0
    loss = -analysis.lost.pnl.total if closed - won else 0.0
    return {"trades": closed, "won": won, "lost": closed - won, "profit_factor": gain / loss if loss else None}
