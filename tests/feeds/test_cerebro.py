"""Cerebro: sources by name, optimising in processes, pictures without a display."""

import multiprocessing
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import cracktrader as ct
from cracktrader.errors import InvalidOption, NoData


class Cross(bt.Strategy):
    params = (("slow", 20),)

    def __init__(self) -> None:
        fast, slow = bt.indicators.SMA(period=5), bt.indicators.SMA(period=self.p.slow)
        self.cross = bt.indicators.CrossOver(fast, slow)

    def next(self) -> None:
        if self.cross > 0:
            self.buy()
        elif self.cross < 0 and self.position:
            self.close()

    def stop(self) -> None:
        self.analyzers.value.rets["value"] = self.broker.getvalue()


class Value(bt.Analyzer):
    def create_analysis(self) -> None:
        self.rets = {}

    def get_analysis(self) -> dict[str, float]:
        return self.rets


def test_a_source_is_added_by_name(bars: ct.Bars) -> None:
    cerebro = ct.Cerebro()
    feed = cerebro.addfeed("memory", bars=bars, symbol="BTC/USDT", timeframe="1m", name="btc")
    assert cerebro.datasbyname["btc"] is feed
    assert len(cerebro.run()[0].data) == len(feed.bars)


def test_bars_are_added_as_they_are(bars: ct.Bars) -> None:
    cerebro = ct.Cerebro()
    cerebro.adddata(bars, name="mine")
    assert cerebro.run()[0].data._name == "mine"


def test_anothers_feed_is_added_as_in_backtrader(frame: pd.DataFrame) -> None:
    cerebro = ct.Cerebro()
    data = bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes)
    assert cerebro.adddata(data) is data


def test_bars_are_resampled_and_replayed_as_they_are(bars: ct.Bars) -> None:
    for add in (ct.Cerebro.resampledata, ct.Cerebro.replaydata):
        cerebro = ct.Cerebro(stdstats=False)
        add(cerebro, bars, name="quarters", timeframe=bt.TimeFrame.Minutes, compression=15)
        data = cerebro.run()[0].data
        assert data._name == "quarters"
        assert list(data.close.array) == bars.resample("15m").close.tolist()


@pytest.mark.parametrize("method", ["adddata", "resampledata", "replaydata"])
@pytest.mark.parametrize("wrong", ["csv", pd.DataFrame(), None], ids=["str", "DataFrame", "NoneType"])
def test_what_is_no_feed_is_refused_by_name(method: str, wrong: Any) -> None:
    with pytest.raises(InvalidOption, match=rf"{type(wrong).__name__} is no data feed\.\ncerebro\.addfeed"):
        getattr(ct.Cerebro(), method)(wrong)


# ── optimising ───────────────────────────────────────────────────────────────────────────────────────


def optimised(bars: ct.Bars, **options: Any) -> list[tuple[int, float]]:
    cerebro = ct.Cerebro(stdstats=False, **options)
    cerebro.adddata(ct.feed(bars.but(extra={"trades": bars.volume}), validation="off"))
    cerebro.optstrategy(Cross, slow=[10, 20, 30])
    cerebro.addanalyzer(Value, _name="value")
    return [(runs[0].p.slow, runs[0].analyzers.value.get_analysis()["value"]) for runs in cerebro.run()]


@pytest.fixture
def one_by_one(bars: ct.Bars) -> list[tuple[int, float]]:
    found = []
    for slow in (10, 20, 30):
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.adddata(ct.feed(bars, validation="off"))
        cerebro.addstrategy(Cross, slow=slow)
        cerebro.addanalyzer(Value, _name="value")
        cerebro.run()
        found.append((slow, cerebro.broker.getvalue()))
    return found


@pytest.mark.parametrize(
    "options",
    [
        {"maxcpus": 1},
        {"maxcpus": 1, "optdatas": False},
        {"maxcpus": 2},
        {"maxcpus": 2, "optdatas": False},
        {"maxcpus": 2, "runonce": False},
    ],
    ids=str,
)
def test_optimising_gives_what_single_runs_give(bars: ct.Bars, one_by_one: list[Any], options: dict[str, Any]) -> None:
    assert optimised(bars, **options) == one_by_one


@pytest.mark.parametrize("method", sorted(set(multiprocessing.get_all_start_methods()) - {"fork"}))
def test_optimising_works_where_workers_are_not_forked(method: str, tmp_path: Path) -> None:
    script = tmp_path / "optimise.py"
    script.write_text(
        "import multiprocessing, sys\n"
        "import backtrader as bt, numpy as np, cracktrader as ct\n"
        "class S(bt.Strategy):\n"
        "    params = (('n', 1),)\n"
        "    def next(self):\n"
        "        assert self.data.trades[0] == self.data.close[0] * 2\n"
        "if __name__ == '__main__':\n"
        "    multiprocessing.set_start_method(sys.argv[1])\n"
        "    c = np.arange(1.0, 50.0)\n"
        "    bars = ct.Bars(np.arange(49) * 60_000, c, c, c, c, c, symbol='X', timeframe='1m', extra={'trades': c * 2})\n"
        "    cerebro = ct.Cerebro(maxcpus=2, stdstats=False)\n"
        "    cerebro.adddata(ct.feed(bars, validation='off'))\n"
        "    cerebro.optstrategy(S, n=[1, 2])\n"
        "    print([run[0].p.n for run in cerebro.run()])\n"
    )
    done = subprocess.run([sys.executable, script, method], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "[1, 2]", done.stderr


def test_what_workers_get_holds_no_iterator_of_combinations(bars: ct.Bars) -> None:
    cerebro = ct.Cerebro()
    cerebro.adddata(bars)
    cerebro.optstrategy(Cross, slow=[10, 20])
    assert "strats" not in cerebro.__getstate__()  # an itertools.product, which Python 3.14 can't pickle


def test_with_one_process_the_data_is_loaded_once(bars: ct.Bars) -> None:
    loads = []

    class Loading(ct.CustomDataFeed):
        def _load_data(self) -> ct.Bars:
            loads.append(1)
            return bars

    cerebro = ct.Cerebro(stdstats=False, maxcpus=1)
    cerebro.adddata(Loading(timeframe="1m"))
    cerebro.optstrategy(Cross, slow=[10, 20, 30])
    cerebro.addanalyzer(Value, _name="value")
    cerebro.run()
    assert loads == [1]


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def finished(bars: ct.Bars) -> ct.Cerebro:
    pytest.importorskip("matplotlib")
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed(bars, validation="off"))
    cerebro.addstrategy(Cross)
    cerebro.addanalyzer(Value, _name="value")
    cerebro.run()
    return cerebro


MAGIC = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}


@pytest.mark.parametrize("suffix", MAGIC)
def test_a_picture_is_saved_in_the_format_of_its_suffix(finished: ct.Cerebro, tmp_path: Path, suffix: str) -> None:
    path = finished.save_plot(tmp_path / f"chart.{suffix}", width=8, height=5, dpi=50)
    assert path.read_bytes().startswith(MAGIC[suffix])
    assert [file.name for file in tmp_path.iterdir()] == [f"chart.{suffix}"]


def test_the_time_axis_shows_dates(finished: ct.Cerebro, tmp_path: Path) -> None:
    finished.save_plot(tmp_path / "chart.svg", width=12, height=7)
    drawn = (tmp_path / "chart.svg").read_text()
    assert "<!-- 06:00 -->" in drawn
    assert "<!-- 12:00 -->" in drawn


@pytest.mark.parametrize("style", ["line", "candle", "bar"])
def test_every_style_is_drawn_without_a_window_or_a_trace_in_pyplot(finished: ct.Cerebro, tmp_path: Path, style: str) -> None:
    from matplotlib import pyplot

    finished.save_plot(tmp_path / "chart.png", width=6, height=4, dpi=40, style=style)
    assert pyplot.get_fignums() == []


def test_a_picture_of_bars_without_any_volume_is_drawn(bars: ct.Bars, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed(bars.but(volume=np.zeros(len(bars))), validation="off"))
    cerebro.run()
    assert cerebro.save_plot(tmp_path / "chart.png", width=6, height=4, dpi=40).stat().st_size > 1000


def test_volumes_below_one_can_be_read_from_the_axis(bars: ct.Bars, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed(bars.but(volume=np.full(len(bars), 0.4)), validation="off"))
    cerebro.run()
    drawn = cerebro.save_plot(tmp_path / "chart.svg").read_text()
    assert re.search(r"<!-- 0\.[1-9]\d* -->", drawn), re.findall("<!-- (.*?) -->", drawn)
    assert drawn.count("<!-- 0 -->") <= 2


def test_the_options_of_a_chart_are_not_those_of_the_next(finished: ct.Cerebro, tmp_path: Path) -> None:
    def labels() -> list[str]:
        return re.findall("<!-- (.*?) -->", finished.save_plot(tmp_path / "chart.svg").read_text())

    before = labels()
    finished.save_plot(tmp_path / "other.png", style="candle", volume=False, tickrotation=40)
    assert labels() == before


def test_one_bar_is_drawn_with_its_date(bars: ct.Bars, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cerebro = ct.Cerebro()
    cerebro.adddata(bars[:1])
    cerebro.run()
    assert "<!-- 2024-03-29 00:00 -->" in cerebro.save_plot(tmp_path / "chart.svg").read_text()


def test_a_misspelt_option_of_a_chart_is_refused(finished: ct.Cerebro, tmp_path: Path) -> None:
    for draw in (finished.plot, lambda **scheme: finished.save_plot(tmp_path / "chart.png", **scheme)):
        with pytest.raises(InvalidOption, match=r"A chart has no option 'stlye'\. Did you mean 'style'\?"):
            draw(stlye="candle")
        with pytest.raises(InvalidOption, match="style='candel' is no style of a chart"):
            draw(style="candel")
    assert list(tmp_path.iterdir()) == []


def test_several_feeds_are_drawn(bars: ct.Bars, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    cerebro = ct.Cerebro()
    cerebro.adddata(ct.feed(bars, validation="off"), name="minutes")
    cerebro.adddata(ct.feed(bars, compression=60, validation="off"), name="hours")
    cerebro.run()
    assert cerebro.save_plot(tmp_path / "chart.png", width=6, height=6, dpi=40).stat().st_size > 1000


def test_drawing_before_a_run_says_what_to_do(bars: ct.Bars, tmp_path: Path) -> None:
    with pytest.raises(NoData, match="nothing to draw yet"):
        ct.Cerebro().save_plot(tmp_path / "chart.png")
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_format_or_folder_leaves_nothing_behind(finished: ct.Cerebro, tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match=r"can't be written as 'chart\.xyz'"):
        finished.save_plot(tmp_path / "chart.xyz")
    with pytest.raises(InvalidOption, match="There is no folder"):
        finished.save_plot(tmp_path / "no" / "chart.png")
    assert list(tmp_path.iterdir()) == []


def test_backtraders_own_plot_works_without_a_display(tmp_path: Path) -> None:
    """In a process of its own: importing backtrader.plot is what forces a backend."""
    pytest.importorskip("matplotlib")
    script = (
        "import warnings; warnings.simplefilter('error', UserWarning)\n"
        "import numpy as np, cracktrader as ct\n"
        "c = np.arange(1.0, 50.0)\n"
        "cerebro = ct.Cerebro()\n"
        "cerebro.adddata(ct.Bars(np.arange(49) * 60_000, c, c, c, c, c, symbol='X', timeframe='1m'))\n"
        "cerebro.run()\n"
        "first = cerebro.plot(style='candle')[0][0]\n"
        "axes = len(first.axes)\n"
        "again = cerebro.plot(style='candle', iplot=False)[0][0]\n"
        "assert len(again.axes) == axes, 'the second chart is drawn over the first'\n"
        "import matplotlib; print(matplotlib.get_backend().lower())\n"
    )
    environment = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "WAYLAND_DISPLAY", "MPLBACKEND")}
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert done.stdout.strip() == "agg", done.stderr
