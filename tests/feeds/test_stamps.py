"""Dates given to backtrader are its own, to the last bit, and no bar is seen before it is over."""

import datetime as dt

import backtrader as bt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import InvalidOption
from cracktrader.feeds import to_backtrader_dates
from cracktrader.feeds.stamps import backtrader_dates

EARLIEST, LATEST = -16_000_000_000_000, 28_000_000_000_000  # 1462 to 2857


def date2num(time: int) -> float:
    return bt.date2num(dt.datetime(1970, 1, 1) + dt.timedelta(milliseconds=time))


@given(st.lists(st.integers(EARLIEST, LATEST), min_size=1, max_size=50))
def test_dates_equal_date2num_for_any_mixture_of_times(times: list[int]) -> None:
    assert to_backtrader_dates(np.array(times)).tolist() == [date2num(time) for time in times]


@given(st.integers(EARLIEST, LATEST), st.sampled_from([1, 1000, 60_000, 3_600_000, 86_400_000]), st.integers(1, 300))
def test_dates_equal_date2num_for_regular_times(start: int, step: int, count: int) -> None:
    times = start + step * np.arange(count)
    assert to_backtrader_dates(times).tolist() == [date2num(int(time)) for time in times]


@pytest.mark.parametrize("millisecond", [0, 1, 500, 999])
def test_dates_equal_date2num_for_every_second_of_a_day(millisecond: int) -> None:
    times = 1_711_670_400_000 + 1000 * np.arange(86_400) + millisecond
    assert to_backtrader_dates(times).tolist() == [date2num(int(time)) for time in times]


def test_no_times_give_no_dates() -> None:
    assert to_backtrader_dates(np.empty(0, np.int64)).tolist() == []


@pytest.mark.parametrize("time", [-62_000_000_000_000, 40_000_000_000_000])
def test_times_that_backtrader_cannot_hold_exactly_are_refused(time: int) -> None:
    with pytest.raises(InvalidOption, match="1436 or after 2871"):
        to_backtrader_dates(np.array([time]))


@pytest.mark.parametrize(
    ("timeframe", "stamp", "expected"),
    [
        ("1h", "open", "2024-02-01T00:00:00"),
        ("1h", "last", "2024-02-01T00:59:59.999"),
        ("1h", "close", "2024-02-01T01:00:00"),
        ("1M", "last", "2024-02-29T23:59:59.999"),
        ("1w", "close", "2024-02-08T00:00:00"),
    ],
)
def test_a_stamp_names_a_moment_of_the_bar(timeframe: str, stamp: str, expected: str) -> None:
    opening = ct.Timeframe(timeframe).floor(1_706_745_600_000)
    if timeframe == "1w":
        opening = 1_706_745_600_000  # any time will do: the end is the week's
        expected = "2024-02-08T00:00:00"
    bars = ct.Bars([opening], [1], [1], [1], [1], [1], symbol="X", timeframe=timeframe)
    assert backtrader_dates(bars, stamp)[0] == bt.date2num(dt.datetime.fromisoformat(expected))  # type: ignore[arg-type]


def test_an_unknown_stamp_is_refused(bars: ct.Bars) -> None:
    with pytest.raises(InvalidOption, match="stamp='start' is unknown"):
        ct.feed(bars, stamp="start")


class Witness(bt.Strategy):
    """Notes, at each step, what time backtrader thinks it is, and how many bars each feed has shown."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, list[int]]] = []

    def next(self) -> None:
        now = bt.num2date(self.datetime[0]) - dt.datetime(1970, 1, 1)
        self.steps.append((round(now / dt.timedelta(milliseconds=1)), [len(data) for data in self.datas]))


#: When a bar of a minute is really known, after the stamp that backtrader is told for it.
KNOWN_AFTER = {"last": 1, "close": 0, "open": 60_000}


def too_early(bars: ct.Bars, stamp: str, timeframe: str) -> tuple[int, int]:
    """At how many steps a bar of ``timeframe`` was shown before its end, and of how many."""
    longer = bars.resample(timeframe)
    cerebro = bt.Cerebro(stdstats=False)
    for feed in (bars, longer):
        cerebro.adddata(ct.feed(feed, stamp=stamp, validation="off"))
    cerebro.addstrategy(Witness)
    steps = cerebro.run()[0].steps
    ends = longer.timeframe.next(longer.time)
    return sum(ends[shown - 1] > now + KNOWN_AFTER[stamp] for now, (_, shown) in steps if shown), len(steps)


@pytest.mark.parametrize("stamp", ["last", "close"])
@pytest.mark.parametrize("timeframe", ["15m", "1h"])
def test_a_strategy_never_sees_a_bar_before_its_end(bars: ct.Bars, stamp: str, timeframe: str) -> None:
    early, steps = too_early(bars, stamp, timeframe)
    assert steps > 1000
    assert early == 0


def test_with_open_stamps_a_strategy_does_see_the_future(bars: ct.Bars) -> None:
    early, steps = too_early(bars, "open", "1h")
    assert early > steps // 2  # why `open` is not the default
