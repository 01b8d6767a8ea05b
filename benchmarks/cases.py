"""What is measured, against what users would use instead."""

from __future__ import annotations

import datetime as dt
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pyarrow.csv
import pyarrow.parquet
from databases import databases
from live_feeds import live
from loading_many import dask, many
from measuring import Result, cpu_of, peak_memory_of, side_by_side
from over_ccxt import ccxt
from over_ccxt_live import ccxt_live
from over_http import http

import cracktrader as ct
from cracktrader.catalog import Catalog, Fetch, SeriesKey

__all__ = ["CASES"]

_START = 946_684_800_000  # 2000, so that twenty years of minutes lie in the past


def market(rows: int) -> ct.Bars:
    """Clean one-minute bars."""
    rng = np.random.default_rng(1)
    close = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 1e-4, rows))), 2)
    open_ = np.concatenate(([30_000.0], close[:-1]))
    high = np.round(np.maximum(open_, close) * (1 + np.abs(rng.normal(0, 2e-4, rows))), 2)
    low = np.round(np.minimum(open_, close) * (1 - np.abs(rng.normal(0, 2e-4, rows))), 2)
    volume = np.round(rng.lognormal(0, 1, rows), 6)
    return ct.Bars(_START + 60_000 * np.arange(rows), open_, high, low, close, volume, symbol="BTC/USDT", timeframe="1m")


class _Environment:
    """As much of a Cerebro as a feed needs to fill its lines."""

    _tradingcal = None
    _exactbars = 0
    datas: tuple[Any, ...] = ()


def filled(feed: Any) -> Any:
    """A feed with its lines filled, as Cerebro does before a run."""
    feed.setenvironment(_Environment())
    feed.reset()
    feed._start()
    feed.preload()
    return feed


def run(feed: Any) -> Any:
    """An empty strategy over a feed, without observers."""
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(feed)
    return cerebro.run()


def lines(rows: int) -> Iterator[Result]:
    """From a frame in memory to backtrader's lines, and through an empty backtest."""
    frame = market(rows).to_pandas().drop(columns="flags").tz_localize(None)

    def ours() -> Any:
        return ct.feed(frame, symbol="BTC/USDT", timeframe="1m")

    def theirs() -> Any:
        return bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes)

    fast, slow = side_by_side(lambda: filled(ours()), lambda: filled(theirs()))
    yield Result("lines", f"frame to lines, checked, {rows:,} rows: {fast:.3f} s; PandasData {slow:.2f} s; times faster",
                 slow / fast, ">= 150", slow / fast >= 150)  # fmt: skip
    fast, slow = side_by_side(lambda: run(ours()), lambda: run(theirs()), warm=False)
    yield Result("backtest", f"empty backtest, {rows:,} rows: {fast:.2f} s; with PandasData {slow:.2f} s; times faster",
                 slow / fast, ">= 2", slow / fast >= 2)  # fmt: skip


def csv(rows: int) -> Iterator[Result]:
    """From a CSV file to checked Bars, and to lines."""
    bars = market(rows)
    with tempfile.TemporaryDirectory() as folder:
        epoch, text = Path(folder) / "epoch.csv", Path(folder) / "text.csv"
        bars.to_csv(epoch)
        frame = bars.to_pandas().drop(columns="flags")
        frame.index = frame.index.strftime("%Y-%m-%d %H:%M:%S")
        frame.to_csv(text)
        for path, name in ((epoch, "epoch times"), (text, "ISO times")):
            ours, bare = side_by_side(
                lambda path=path: ct.load("csv", path=path, symbol="BTC/USDT", timeframe="1m"),
                lambda path=path: pyarrow.csv.read_csv(path),
            )
            yield Result("csv", f"{rows:,} rows of CSV, {name}, to checked Bars: {ours:.3f} s; bare read_csv {bare:.3f} s; ratio",
                         ours / bare, "<= 2", ours / bare <= 2)  # fmt: skip

        def theirs() -> Any:
            return bt.feeds.GenericCSVData(dataname=str(text), timeframe=bt.TimeFrame.Minutes, openinterest=-1)

        fast, slow = side_by_side(
            lambda: filled(ct.feed("csv", path=text, symbol="BTC/USDT", timeframe="1m")), lambda: filled(theirs())
        )
        yield Result("csv", f"{rows:,} rows of CSV to lines: {fast:.3f} s; GenericCSVData {slow:.2f} s; times faster",
                     slow / fast, ">= 50", slow / fast >= 50)  # fmt: skip


def checks(rows: int) -> Iterator[Result]:
    """The default checks over clean bars, against one copy of the same columns."""
    bars = market(10 * rows)
    columns = [bars[name] for name in ("time", "open", "high", "low", "close", "volume")]
    ours, copy = side_by_side(lambda: ct.validate(bars), lambda: [column.copy() for column in columns])
    yield Result("checks", f"default checks over {len(bars):,} clean bars: {ours:.3f} s; one copy {copy:.3f} s; ratio",
                 ours / copy, "<= 4", ours / copy <= 4)  # fmt: skip
    tracemalloc.start()
    ct.validate(bars)
    share = tracemalloc.get_traced_memory()[1] / bars.nbytes
    tracemalloc.stop()
    yield Result("checks", f"their extra memory at the peak, as a share of the {bars.nbytes / 1e6:.0f} MB of data", share,
                 "<= 0.5", share <= 0.5)  # fmt: skip


def day(rows: int) -> Iterator[Result]:
    """One day out of a large CSV file: memory and time."""
    bars = market(10 * rows)
    first = dt.datetime.fromtimestamp(_START / 1000, dt.UTC).date() + dt.timedelta(days=bars.time.size // 1440 // 2)
    with tempfile.TemporaryDirectory() as folder:
        path = bars.to_csv(Path(folder) / "large.csv")
        script = (
            f"import cracktrader as ct\nbars = ct.load('csv', path={str(path)!r}, symbol='X', timeframe='1m',"
            f" start='{first}', end='{first + dt.timedelta(days=1)}')\nassert len(bars) == 1440, bars"
        )
        peak = peak_memory_of(script)
        yield Result(
            "day", f"a day out of {len(bars):,} rows of CSV: peak memory of the whole process, MB", peak, "< 300", peak < 300
        )
        options = {"symbol": "X", "timeframe": "1m", "start": str(first), "end": str(first + dt.timedelta(days=1))}
        ours, bare = side_by_side(
            lambda: ct.load("csv", path=path, **options), lambda: pyarrow.csv.read_csv(path), runs=3
        )  # fmt: skip
        yield Result(
            "day",
            f"the same: {ours:.2f} s; bare read_csv of all of it {bare:.2f} s; ratio",
            ours / bare,
            "<= 2",
            ours / bare <= 2,
        )


def resampling(rows: int) -> Iterator[Result]:
    """Minutes to hours, and trades to minutes, against pandas."""
    bars = market(10 * rows)
    frame = bars.to_pandas()
    rule = {"open": "first", "high": "max", "low": "min", "close": "last", "volume": "sum"}

    def theirs() -> Any:
        return frame.resample("1h").agg(rule)

    same(bars.resample("1h"), theirs())
    fast, slow = side_by_side(lambda: bars.resample("1h"), theirs)
    yield Result("resampling", f"{len(bars):,} minutes to hours: {fast:.3f} s; pandas {slow:.3f} s; times faster",
                 slow / fast, ">= 2", slow / fast >= 2)  # fmt: skip


def trades(rows: int) -> Iterator[Result]:
    """Trades to minutes against pandas: in order without ids, with ids and some twice, and in disorder."""
    rng = np.random.default_rng(2)
    count = 10 * rows
    month = 30 * 86_400_000
    times = _START + np.sort(rng.integers(0, month, count))
    price = np.round(30_000 * np.exp(np.cumsum(rng.normal(0, 1e-5, count))), 2)
    amount = np.round(rng.lognormal(-4, 1.5, count) + 1e-5, 5)
    clean = pd.DataFrame(
        {"price": price, "amount": amount}, index=pd.DatetimeIndex(times.view("datetime64[ms]"), tz="UTC", name="timestamp")
    )
    again = clean.assign(id=np.arange(count)).iloc[np.sort(np.append(np.arange(count), rng.integers(0, count, count // 1000)))]
    mixed = clean.assign(id=np.arange(count)).iloc[rng.permutation(count)]

    def ours(frame: Any) -> ct.Bars:
        return ct.Bars.from_trades(frame, symbol="BTC/USDT", timeframe="1m", start=_START, end=_START + month)

    def theirs(frame: Any) -> Any:
        minutes = frame.assign(quote=frame["price"] * frame["amount"]).resample("1min")
        made = minutes["price"].ohlc().assign(volume=minutes["amount"].sum(), quote_volume=minutes["quote"].sum())
        made["trades"] = minutes["price"].count()
        return made[made["trades"] > 0]

    def in_order(frame: Any) -> Any:
        return theirs(frame.drop_duplicates("id").sort_values(["timestamp", "id"]))

    for what, frame, pandas in (("trades", clean, theirs), ("trades, some twice", again, in_order),
                                ("trades in disorder", mixed, in_order)):  # fmt: skip
        same(ours(frame), pandas(frame))
        fast, slow = side_by_side(lambda frame=frame: ours(frame), lambda frame=frame, pandas=pandas: pandas(frame))
        yield Result("trades", f"{len(frame):,} {what} to minutes: {fast:.3f} s; pandas {slow:.3f} s; times faster",
                     slow / fast, ">= 2", slow / fast >= 2)  # fmt: skip


def same(bars: ct.Bars, frame: Any) -> None:
    """Check that pandas made the same bars: sums are the same but for its rounding, all else to the last bit."""
    assert np.array_equal(bars.time, frame.index.as_unit("ms").asi8)
    for name in frame:
        assert np.allclose(bars[name], frame[name], rtol=1e-12 if name.endswith("volume") else 0, atol=0), name


class _Feed:
    """A source of bars in memory, for a catalog."""

    name, identity, provenance = "feed", {}, {"plugin": "feed", "plugin_version": "1"}

    def __init__(self, bars: ct.Bars) -> None:
        self._bars = bars

    def bars(self, request: ct.BarRequest) -> Iterator[ct.Bars]:
        yield self._bars.between(request.start, request.end, unit="ms")

    def now(self) -> int:
        return _START + 20 * 366 * 86_400_000


def catalog(rows: int) -> Iterator[Result]:
    """A warm catalog against bare Parquet: reading, into lines, a day of all, writing; and opening one series of 10,000."""
    bars = market(rows)
    feed = _Feed(bars)
    whole = request(bars.time[0], bars.time[-1] + 60_000)
    with tempfile.TemporaryDirectory() as folder:
        kept = Catalog(folder)
        assert kept.bars(feed, whole) == bars
        files = sorted(str(path) for path in Path(folder).rglob("*.parquet"))
        size = sum(Path(file).stat().st_size for file in files) / rows
        yield Result("catalog", f"size of {rows:,} bars in {len(files)} files, bytes a bar", size, "<= 12", size <= 12)

        ours, checked, bare = side_by_side(
            lambda: kept.bars(feed, whole), lambda: filled(ct.feed(ct.validate(kept.bars(feed, whole)))),
            lambda: pyarrow.parquet.read_table(files), runs=9,
        )  # fmt: skip
        yield Result("catalog", f"{rows:,} bars from a warm catalog: {ours:.3f} s; bare read_table {bare:.3f} s; ratio",
                     ours / bare, "<= 1.5", ours / bare <= 1.5)  # fmt: skip
        yield Result("catalog", f"the same, checked and in backtrader's lines: {checked:.3f} s; ratio",
                     checked / bare, "<= 5", checked / bare <= 5)  # fmt: skip

        mine = Path(folder) / "mine"
        table = bars.to_arrow()

        def write() -> None:
            series = Catalog(mine).series(SeriesKey("feed", {}, str(len(list(mine.glob("*/*/*")))), whole.timeframe))
            series.commit(series.ledger(), bars, Fetch(whole.start, whole.end, rows, "", feed.now(), whole.end))

        ours, bare = side_by_side(write, lambda: pyarrow.parquet.write_table(table, Path(folder) / "bare.parquet"))
        yield Result("catalog", f"writing {rows:,} bars, flushed to the disk: {ours:.3f} s; bare write_table {bare:.3f} s; ratio",
                     ours / bare, "<= 2", ours / bare <= 2)  # fmt: skip
    yield from _one_of_many()


def _one_of_many() -> Iterator[Result]:
    """A day out of five years, in a catalog of one series and of ten thousand."""
    bars = market(5 * 365 * 1440)
    feed = _Feed(bars)
    with tempfile.TemporaryDirectory() as folder:
        Catalog(folder).bars(feed, request(bars.time[0], bars.time[-1] + 60_000))
        start = bars.time[len(bars) // 2]

        def day() -> Any:
            return Catalog(folder).bars(feed, request(start, start + 86_400_000))

        def opened() -> Any:
            return Catalog(folder).series(SeriesKey("feed", {}, "BTC/USDT", ct.Timeframe("1m"))).ledger()

        everything = request(bars.time[0], bars.time[-1] + 60_000)
        one, all_ = side_by_side(day, lambda: Catalog(folder).bars(feed, everything))
        yield Result(
            "catalog", f"a day out of five years of minutes, ms; all of it {all_:.3f} s", one * 1000, "< 10", one < 0.010
        )
        yield Result("catalog", "the same, as a share of reading all", one / all_, "< 0.05", one / all_ < 0.05)
        (alone,) = side_by_side(opened, runs=25)
        made = Path(folder) / "feed" / "default"
        for number in range(10_000):
            there = made / f"S{number}" / "1m"
            there.mkdir(parents=True)
            (there / "ledger.json").touch()
        (among,) = side_by_side(opened, runs=25)
        yield Result("catalog", f"opening a series of 10,000, ms; where it is the only one {alone * 1000:.2f} ms", among * 1000,
                     "< 5", among < 0.005)  # fmt: skip


def request(start: int, end: int) -> ct.BarRequest:
    """Minutes of ``[start, end)``, in milliseconds."""
    return ct.BarRequest("BTC/USDT", "1m", start=int(start), end=int(end))


def imports(_rows: int) -> Iterator[Result]:
    """CPU time of whole processes."""
    empty = cpu_of(sys.executable, "-c", "pass")
    ours = (cpu_of(sys.executable, "-c", "import cracktrader") - empty) * 1000
    yield Result("imports", "`import cracktrader`, ms of CPU over an empty interpreter", ours, "< 60", ours < 60)
    listing = cpu_of(sys.executable, "-m", "cracktrader", "sources") * 1000
    yield Result("imports", "`cracktrader sources`, ms of CPU in all", listing, "< 200", listing < 200)


def sql(rows: int) -> Iterator[Result]:
    """A million rows of a database to checked Bars, and the memory of streaming."""
    yield from databases(market, rows)


CASES: dict[str, Callable[[int], Iterator[Result]]] = {
    case.__name__: case
    for case in (imports, catalog, ccxt, ccxt_live, checks, csv, day, http, lines, live, resampling, sql, trades, many, dask)
}  # fmt: skip
