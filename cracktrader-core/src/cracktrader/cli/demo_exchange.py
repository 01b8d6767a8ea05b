"""The demo from an exchange on this machine: downloaded into a catalog, checked, repaired, traded on two timeframes."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cracktrader.catalog import Catalog
from cracktrader.catalog.upkeep import select
from cracktrader.cli.backtest import run as run_backtest
from cracktrader.cli.backtest import statistics_table
from cracktrader.cli.holdings import gaps_table
from cracktrader.cli.strategies import TrendCross
from cracktrader.gaps import gaps_of
from cracktrader.loading import source
from cracktrader.many import load_many

if TYPE_CHECKING:
    from rich.console import Console

    from cracktrader.plugins.demonstration import Demonstration

__all__ = ["show_exchange"]

_TIMEFRAMES = ("15m", "4h")


def show_exchange(console: Console, folder: Path, plugin: Any, *, days: int, seed: int) -> None:
    """Start the exchange, run the path over it, and leave catalog, report and chart in ``folder``."""
    with plugin.demonstration(days=days, seed=seed) as shown:
        console.rule("[bold]1. An exchange on this machine")
        console.print(f"{shown.what}: {', '.join(shown.symbols)}, {shown.start:.10} to {shown.end:.10}. What goes wrong there:")
        for fault in shown.faults:
            console.print(f"  - {fault}")

        console.rule("[bold]2. Downloaded into a catalog")
        bars = _download(console, folder / "catalog", shown)

    symbol = shown.symbols[0]
    short, long = (bars[symbol, timeframe] for timeframe in _TIMEFRAMES)
    console.rule("[bold]3. Checked and repaired")
    for each in shown.symbols:
        console.print(bars[each, _TIMEFRAMES[0]].report)
    console.print("What the holes are, with all symbols of the catalog as evidence:")
    for series, gaps in gaps_of(select(Catalog(folder / "catalog"), timeframe=_TIMEFRAMES[0])):
        console.print(gaps_table(series, gaps))
    short.report.to_html(folder / "report.html")
    short.report.to_json(folder / "report.json")

    console.rule("[bold]4. Two timeframes traded in backtrader")
    chart = folder / "chart.png" if importlib.util.find_spec("matplotlib") else None
    statistics = run_backtest(short, TrendCross, {}, cash=10_000, commission=0.001, percent=95, plot=chart, beside=[long])
    console.print(statistics_table(statistics))


def _download(console: Console, catalog: Path, shown: Demonstration) -> dict[tuple[str, str], Any]:
    wanted = [(symbol, timeframe) for symbol in shown.symbols for timeframe in _TIMEFRAMES]
    requests = [{"symbol": symbol, "timeframe": timeframe} for symbol, timeframe in wanted]
    began = time.perf_counter()
    with source("ccxt", **shown.options) as opened:
        every = load_many(requests, source=opened, start=shown.start, end=shown.end, catalog=catalog, progress=True).unwrap()
    seconds, rows = time.perf_counter() - began, sum(map(len, every))
    console.print(f"{rows:,} bars of {len(every)} series in {seconds:.1f} s.", highlight=False)
    if asked := shown.asked():
        console.print(f"The exchange was asked for bars {asked} times. Run this again with --out {catalog.parent}, and it won't"
                      " be.", soft_wrap=True, highlight=False)  # fmt: skip
    else:
        console.print("All of them were served by the catalog: the exchange was not asked for a single bar.")
    return dict(zip(wanted, every, strict=True))
