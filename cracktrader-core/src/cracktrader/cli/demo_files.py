"""The demo from files: a synthetic market writes them as an exchange's archive would, with the faults that archives have.

Then everything goes its usual way: the ``csv`` source by name, the checks, the report, backtrader, a chart.
"""

from __future__ import annotations

import importlib.util
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cracktrader.bars import Bars
from cracktrader.cerebro import Cerebro
from cracktrader.cli.backtest import run as run_backtest
from cracktrader.cli.backtest import statistics_table
from cracktrader.cli.strategies import SmaCross
from cracktrader.feeds import feed
from cracktrader.loading import load, source
from cracktrader.synthetic import Fault, Market, dirty

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["show_files"]

_START = 1_704_067_200_000  # 2024-01-01
_DAY = 86_400_000
_SYMBOLS = ("BTC/USDT", "ETH/USDT")


def show_files(console: Console, folder: Path, *, days: int, seed: int) -> None:
    """Make the market, run the path over it, and leave data, reports and chart in ``folder``."""
    source("csv", path="-").close()  # without the csv plugin there is nothing to show: better said first
    console.rule("[bold]1. A market, as files with faults")
    faults = {symbol: _write(folder, symbol, days, seed) for symbol in _SYMBOLS}
    for symbol, injected in faults.items():
        counts = Counter(fault.check for fault in injected)
        console.print(
            f"{_file(folder, symbol).name}: faults put in: {', '.join(f'{n} {check}' for check, n in sorted(counts.items()))}"
        )

    console.rule("[bold]2. Loaded by name, checked, repaired")
    bars = {symbol: load("csv", path=_file(folder, symbol), symbol=symbol, timeframe="1m") for symbol in _SYMBOLS}
    for symbol, loaded in bars.items():
        report = loaded.report
        if report is None:  # for the type checker: the default validation always reports
            continue
        console.print(report)
        report.to_html(folder / f"{_slug(symbol)}-report.html")
        report.to_json(folder / f"{_slug(symbol)}-report.json")
        missed = sorted({fault.check for fault in faults[symbol]} - {finding.check for finding in report.found})
        console.print(f"Of {len({f.check for f in faults[symbol]})} kinds of fault put in, "
                      f"{'all were found' if not missed else f'{len(missed)} were missed: ' + ', '.join(missed)}.")  # fmt: skip

    console.rule("[bold]3. Two symbols and two timeframes in backtrader")
    _step_together(console, bars)

    console.rule("[bold]4. Traded")
    chart = folder / "chart.png" if importlib.util.find_spec("matplotlib") else None
    statistics = run_backtest(
        bars["BTC/USDT"].resample("1h"), SmaCross, {}, cash=10_000, commission=0.001, percent=95, plot=chart
    )
    console.print(statistics_table(statistics))


def _step_together(console: Console, bars: dict[str, Bars]) -> None:
    """One Cerebro over both symbols by the minute, and the first by the hour too."""
    import backtrader as bt

    class Counter(bt.Strategy):  # type: ignore[misc]
        def stop(self) -> None:
            for data in self.datas:
                last = data.num2date(data.datetime[0])
                console.print(f"  {data._name:<12} {len(data):>7,} bars, the last one closed at {last:%Y-%m-%d %H:%M:%S}")

    cerebro = Cerebro(stdstats=False)
    week = {symbol: loaded[-7 * 1440 :] for symbol, loaded in bars.items()}
    for symbol, part in week.items():
        cerebro.adddata(feed(part, validation="off"), name=f"{symbol} 1m")
    cerebro.adddata(feed(week[_SYMBOLS[0]], compression=60, validation="off"), name=f"{_SYMBOLS[0]} 1h")
    cerebro.addstrategy(Counter)
    cerebro.run()


def _write(folder: Path, symbol: str, days: int, seed: int) -> tuple[Fault, ...]:
    market = Market(seed=seed, symbols=_SYMBOLS)
    clean = market.bars(symbol, "1m", _START, _START + days * _DAY)
    faulty, faults = dirty(clean, seed=seed)
    faulty.to_csv(_file(folder, symbol))
    return faults


def _file(folder: Path, symbol: str) -> Path:
    return folder / f"{_slug(symbol)}-1m.csv"


def _slug(symbol: str) -> str:
    return symbol.replace("/", "-")
