"""With equal stamps: the same lines and the same trades as backtrader's own PandasData, in every mode."""

from collections.abc import Callable
from typing import Any

import backtrader as bt
import pandas as pd
import pytest

import cracktrader as ct

Maker = Callable[..., Any]


@pytest.fixture
def frame(short_frame: pd.DataFrame) -> pd.DataFrame:
    return short_frame


@pytest.fixture
def bars(frame: pd.DataFrame) -> ct.Bars:
    return ct.Bars.from_pandas(frame, symbol="BTC/USDT", timeframe="4m")


def one(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.adddata(make(), name="a")


def two_in_step(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.adddata(make(), name="a")
    cerebro.adddata(make(), name="b")


def resampled(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make()
    cerebro.adddata(data, name="a")
    cerebro.resampledata(data, name="b", timeframe=bt.TimeFrame.Minutes, compression=20)


def only_resampled(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.resampledata(make(), name="a", timeframe=bt.TimeFrame.Minutes, compression=20)


def to_days(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make()
    cerebro.adddata(data, name="a")
    cerebro.resampledata(data, name="b", timeframe=bt.TimeFrame.Days)


def replayed(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.replaydata(make(), name="a", timeframe=bt.TimeFrame.Minutes, compression=20)


def cloned(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make()
    cerebro.adddata(data, name="a")
    cerebro.adddata(data.clone(), name="b")


def filtered(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make(
        sessionstart=pd.Timestamp("2024-01-01 08:00").to_pydatetime(), sessionend=pd.Timestamp("2024-01-01 17:00").to_pydatetime()
    )
    data.addfilter(bt.filters.SessionFilter)
    cerebro.adddata(data, name="a")


def heikin_ashi(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make()
    data.addfilter(bt.filters.HeikinAshi)
    cerebro.adddata(data, name="a")


def renko(cerebro: bt.Cerebro, make: Maker) -> None:
    data = make()
    data.addfilter(bt.filters.Renko, size=0.5)
    cerebro.adddata(data, name="a")


def filter_by_param(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.adddata(make(filters=[bt.filters.HeikinAshi]), name="a")


def part_of_it(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.adddata(
        make(fromdate=pd.Timestamp("2024-03-29 03:00").to_pydatetime(), todate=pd.Timestamp("2024-03-29 19:30").to_pydatetime()),
        name="a",
    )


def dates_without_hours(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.adddata(make(fromdate=pd.Timestamp("2024-03-30").date(), todate=pd.Timestamp("2024-03-30").date()), name="a")


def chained(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.chaindata(make(todate=pd.Timestamp("2024-03-29 12:00").to_pydatetime()), make(), name="a")


def rolled_over(cerebro: bt.Cerebro, make: Maker) -> None:
    cerebro.rolloverdata(make(todate=pd.Timestamp("2024-03-29 12:00").to_pydatetime()), make(), name="a", checkdate=None)


SETUPS = [
    *(one, two_in_step, resampled, only_resampled, to_days, replayed, cloned, filtered, heikin_ashi, renko),
    *(filter_by_param, part_of_it, dates_without_hours, chained, rolled_over),
]
MODES: list[dict[str, Any]] = [
    {},
    {"runonce": False},
    {"preload": False},
    {"exactbars": -1},
    {"exactbars": -2},
    {"exactbars": 1},
    {"live": True},
    {"cheat_on_open": True},
    {"lookahead": 5},
    {"oldsync": True},
]


def makers(frame: pd.DataFrame, bars: ct.Bars) -> tuple[Maker, Maker]:
    def theirs(**options: Any) -> Any:
        return bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, compression=4, **options)

    def ours(**options: Any) -> Any:
        return ct.feed(bars, stamp="open", validation="off", **options)

    return theirs, ours


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: " ".join(f"{k}={v}" for k, v in mode.items()) or "plain")
@pytest.mark.parametrize("setup", SETUPS, ids=lambda setup: setup.__name__)
def test_lines_and_trades_equal_pandas_data(
    setup: Any, mode: dict[str, Any], frame: pd.DataFrame, bars: ct.Bars, outcome: Callable[..., Any]
) -> None:
    theirs, ours = makers(frame, bars)
    expected = attempt(outcome, setup, theirs, bt.Cerebro, mode)
    assert attempt(outcome, setup, ours, bt.Cerebro, mode) == expected
    assert attempt(outcome, setup, ours, ct.Cerebro, mode) == expected


def attempt(outcome: Callable[..., Any], setup: Any, make: Maker, cls: Any, mode: dict[str, Any]) -> Any:
    """What came of it; for what backtrader itself can't do, its error."""
    try:
        seen, trades, value = outcome(lambda cerebro: setup(cerebro, make), cls, **mode)
    except (IndexError, AttributeError, TypeError, ValueError) as error:
        return type(error).__name__
    assert seen
    return seen, trades, value


def test_most_of_the_matrix_really_trades(frame: pd.DataFrame, bars: ct.Bars, outcome: Callable[..., Any]) -> None:
    _, ours = makers(frame, bars)
    seen, trades, value = outcome(lambda cerebro: one(cerebro, ours))
    assert len(seen) > 300
    assert len(trades) > 10
    assert value != 10_000


def test_a_second_run_of_one_cerebro_equals_the_first(bars: ct.Bars) -> None:
    def run(cerebro: bt.Cerebro) -> list[float]:
        return list(cerebro.run()[0].data.close.array)

    for mode in ({}, {"preload": False}, {"runonce": False}):
        cerebro = bt.Cerebro(**mode)
        cerebro.adddata(ct.feed(bars, validation="off"))
        assert run(cerebro) == run(cerebro) == bars.close.tolist()


def test_lines_hold_the_bars_values_bit_for_bit(bars: ct.Bars) -> None:
    cerebro = bt.Cerebro()
    feed = ct.feed(bars, validation="off")
    cerebro.adddata(feed)
    cerebro.run()
    for name in ("open", "high", "low", "close", "volume"):
        assert list(getattr(feed.lines, name).array) == bars[name].tolist()
