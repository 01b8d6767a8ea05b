"""The feed itself: parameters, zones, timeframes, extra lines, refusals, pickling."""

import datetime as dt
import pickle
from collections.abc import Callable
from typing import Any
from zoneinfo import ZoneInfo

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import cracktrader as ct
from cracktrader.errors import InvalidOption, InvalidRange, InvalidTime, NoData, PluginNotFound, UnsupportedMode


def ran(*feeds: Any, **options: Any) -> bt.Strategy:
    cerebro = bt.Cerebro(stdstats=False, **options)
    for feed in feeds:
        cerebro.adddata(feed)
    return cerebro.run()[0]


def times(strategy: bt.Strategy) -> list[dt.datetime]:
    return [bt.num2date(day) for day in strategy.data.datetime.array]


# ── timeframes ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "text", ["1s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d", "1w", "1M"]
)
def test_backtrader_is_told_the_timeframe_of_the_bars(text: str) -> None:
    opening = ct.Timeframe(text).floor(1_711_670_400_000)
    feed = ct.feed(ct.Bars([opening], [1], [1], [1], [1], [1], symbol="X", timeframe=text))
    assert ct.Timeframe.from_backtrader(feed._timeframe, feed._compression) == text
    assert (feed.p.timeframe, feed.p.compression) == (feed._timeframe, feed._compression)
    assert feed.timeframe == text
    assert type(feed.timeframe) is str


def test_compression_makes_longer_bars_on_the_calendar_grid(bars: ct.Bars) -> None:
    feed = ct.feed(bars.resample("1h"), timeframe="1h", compression=4)
    assert (feed._timeframe, feed._compression) == (bt.TimeFrame.Minutes, 240)
    assert feed.bars.timeframe == "4h"
    assert not (feed.bars.time % (4 * 3_600_000)).any()
    assert feed.timeframe == "1h"


def test_compression_of_a_source_fetches_whole_bars(bars: ct.Bars) -> None:
    source = ct.source("memory", bars=bars)
    loaded = ct.feed(
        source, symbol="BTC/USDT", timeframe="1m", compression=15, start="2024-03-29T01:05", end="2024-03-29T02:10"
    ).bars
    whole = ct.load(source, symbol="BTC/USDT", timeframe="1m").resample("15m")
    assert loaded == whole.between("2024-03-29T01:15", "2024-03-29T02:15")


def test_compression_with_a_limit_counts_the_longer_bars(bars: ct.Bars) -> None:
    source = ct.source("memory", bars=bars)
    whole = ct.load(source, symbol="BTC/USDT", timeframe="1m").resample("15m")
    assert ct.load(source, symbol="BTC/USDT", timeframe="1m", compression=15, limit=3) == whole[-3:]
    present = set(bars.time.tolist())  # a first minute that is missing can't be filled from before the start
    start = next(int(time) for time in whole.time[4:] if int(time) in present)
    first = ct.load(source, symbol="BTC/USDT", timeframe="1m", compression=15, limit=3, start=start)
    assert first == whole.between(start, start + 3 * 900_000)


def test_a_longer_bar_that_is_still_open_is_left_out() -> None:
    now = ct.Timeframe("1h").floor(int(pd.Timestamp.now("UTC").timestamp() * 1000))
    step = 300_000
    opening = now - 3_600_000 + step * np.arange(13)  # the last hour, and the first five minutes of this one
    price = np.ones(13)
    bars = ct.Bars(opening, price, price, price, price, price, symbol="X", timeframe="5m")
    loaded = ct.load("memory", bars=bars, symbol="X", timeframe="5m", compression=12)
    assert loaded.time.tolist() == [now - 3_600_000]


def test_backtraders_own_way_of_saying_the_timeframe_works(bars: ct.Bars) -> None:
    feed = ct.feed(bars, timeframe=bt.TimeFrame.Minutes, compression=15)  # type: ignore[arg-type]
    assert feed.bars.timeframe == "15m"


@pytest.mark.parametrize("compression", [0, -1, 1.5, True, "4"])
def test_a_compression_that_is_no_number_of_bars_is_refused(bars: ct.Bars, compression: Any) -> None:
    with pytest.raises(InvalidOption, match="compression="):
        ct.feed(bars, compression=compression)


def test_resampling_in_backtrader_equals_the_exchanges_own_candles(bars: ct.Bars) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.resampledata(ct.feed(bars, validation="off"), timeframe=bt.TimeFrame.Minutes, compression=15)
    data = cerebro.run()[0].data
    truth = bars.resample("15m")
    for name in ("open", "high", "low", "close"):
        assert list(getattr(data.lines, name).array) == truth[name].tolist()
    assert np.allclose(data.volume.array, truth.volume, rtol=1e-12)


@pytest.mark.parametrize(
    ("unit", "text"), [(bt.TimeFrame.Days, "1d"), (bt.TimeFrame.Weeks, "1w"), (bt.TimeFrame.Months, "1M")], ids=["1d", "1w", "1M"]
)
def test_days_weeks_and_months_of_backtrader_are_the_calendars(unit: int, text: str) -> None:
    price = 100 + np.sin(np.arange(24 * 100) / 7)
    opening = 1_704_067_200_000 + 3_600_000 * np.arange(len(price))
    hours = ct.Bars(opening, price, price + 1, price - 1, price + 0.5, price, symbol="X", timeframe="1h")

    def volumes(stamp: str) -> list[float]:
        cerebro = bt.Cerebro(stdstats=False)
        cerebro.resampledata(ct.feed(hours, stamp=stamp), timeframe=unit)
        return list(cerebro.run()[0].data.volume.array)

    truth = pytest.approx(hours.resample(text).volume.tolist(), rel=1e-12)
    assert volumes("last") == truth
    assert volumes("close") != truth  # a day's last hour is stamped with midnight


def test_resampling_real_seconds_in_backtrader_gives_the_exchanges_minutes(shared_data: Any) -> None:
    seconds, minutes = (
        ct.Bars.from_pandas(
            pd.read_csv(shared_data / f"coinbase_BTC-USD_{name}_2016-10-07_09.csv"), symbol="BTC/USD", timeframe=name
        )
        for name in ("1s", "1m")
    )
    cerebro = bt.Cerebro(stdstats=False)
    cerebro.resampledata(ct.feed(seconds, validation="off"), timeframe=bt.TimeFrame.Minutes, compression=1)
    data = cerebro.run()[0].data
    for name in ("open", "high", "low", "close"):
        assert list(getattr(data.lines, name).array) == minutes[name].tolist()


# ── times, zones, sessions ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("zone", ["Europe/Berlin", ZoneInfo("Europe/Berlin")], ids=["name", "zoneinfo"])
def test_times_show_in_the_zone_asked_for_without_pytz(bars: ct.Bars, zone: Any) -> None:
    shown: list[dt.datetime] = []

    class Clock(bt.Strategy):
        def next(self) -> None:
            shown.append(self.data.datetime.datetime(0))

    cerebro = bt.Cerebro(stdstats=False)
    cerebro.adddata(ct.feed(bars, tz=zone, validation="off", stamp="open"))
    cerebro.addstrategy(Clock)
    cerebro.run()
    truth = pd.DatetimeIndex(bars.time.view("datetime64[ms]")).tz_localize("UTC").tz_convert("Europe/Berlin").tz_localize(None)
    assert [round_microseconds(time) for time in shown] == truth.to_pydatetime().tolist()
    assert (
        len({(t.hour - u.hour) % 24 for t, u in zip(truth, pd.DatetimeIndex(bars.time.view("datetime64[ms]")), strict=True)}) >= 1
    )


def round_microseconds(time: dt.datetime) -> dt.datetime:
    """num2date is exact to a few microseconds only."""
    return (time + dt.timedelta(microseconds=500)).replace(microsecond=(time.microsecond + 500) // 1000 % 1000 * 1000)


def test_daylight_saving_is_right_on_both_sides_of_the_change() -> None:
    opening = np.array(["2024-03-30T12:00", "2024-04-01T12:00"], "datetime64[ms]").astype(np.int64)
    bars = ct.Bars(opening, [1, 1], [1, 1], [1, 1], [1, 1], [1, 1], symbol="X", timeframe="1h")
    data = ran(ct.feed(bars, tz="Europe/Berlin", stamp="open", validation="off")).data
    assert [data.num2date(day).hour for day in data.datetime.array] == [13, 14]


def test_an_unknown_zone_is_named(bars: ct.Bars) -> None:
    with pytest.raises(InvalidTime, match="There is no time zone 'Mars/Olympus'"):
        ct.feed(bars, tz="Mars/Olympus")


def test_tzinput_takes_naive_stamps_as_local_times_like_pandas_data(frame: pd.DataFrame, bars: ct.Bars) -> None:
    pytz = pytest.importorskip("pytz")
    zone = pytz.timezone("Europe/Berlin")
    theirs = ran(bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes, tzinput=zone))
    ours = ran(ct.feed(bars, stamp="open", validation="off", tzinput="Europe/Berlin"))
    assert list(ours.data.datetime.array) == list(theirs.data.datetime.array)


def test_cerebros_own_zone_may_be_a_name(bars: ct.Bars) -> None:
    cerebro = ct.Cerebro(tz="America/New_York", stdstats=False)
    cerebro.adddata(ct.feed(bars, validation="off", stamp="open"))
    strategy = cerebro.run()[0]
    strategy.lines.datetime.idx = 0
    assert strategy.lines.datetime.datetime(0).hour == 20  # midnight UTC in March


def test_dates_and_sessions_may_be_text(bars: ct.Bars) -> None:
    feed = ct.feed(
        bars, fromdate="2024-03-29T03:00", todate="2024-03-29T05:00", sessionstart="08:00", sessionend="17:30", stamp="open"
    )
    assert feed.p.sessionend == dt.time(17, 30)
    strategy = ran(feed)
    assert times(strategy)[0] >= dt.datetime(2024, 3, 29, 3)
    assert times(strategy)[-1] <= dt.datetime(2024, 3, 29, 5)
    with pytest.raises(InvalidOption, match="fromdate='soon' can't be read"):
        ct.feed(bars, fromdate="soon")


# ── lines ────────────────────────────────────────────────────────────────────────────────────────────


def with_extra(bars: ct.Bars, *names: str) -> ct.Bars:
    return bars.but(extra={name: np.arange(len(bars)) + number for number, name in enumerate(names)})


@pytest.mark.parametrize("mode", [{}, {"preload": False}, {"exactbars": 1}], ids=str)
def test_extra_columns_become_lines(bars: ct.Bars, mode: dict[str, Any]) -> None:
    seen = []

    class Reader(bt.Strategy):
        def next(self) -> None:
            seen.append((self.data.trades[0], self.data.lines.quote_volume[0]))

    cerebro = bt.Cerebro(stdstats=False, **mode)
    cerebro.adddata(ct.feed(with_extra(bars, "quote_volume", "trades"), validation="off"))
    cerebro.addstrategy(Reader)
    cerebro.run()
    assert seen == [(row + 1.0, float(row)) for row in range(len(bars))]


def test_extra_lines_go_through_backtraders_own_filters_and_clones(bars: ct.Bars) -> None:
    cerebro = bt.Cerebro(stdstats=False)
    feed = ct.feed(with_extra(bars, "trades"), validation="off")
    cerebro.adddata(feed)
    cerebro.resampledata(feed, timeframe=bt.TimeFrame.Minutes, compression=15)
    assert len(cerebro.run()[0].data.trades.array) == len(bars)


@pytest.mark.parametrize(
    ("column", "line"),
    [
        ("quote volume", "quote_volume"),
        ("1st", "_1st"),
        ("class", "_class"),
        ("plotinfo", "plotinfo_"),
        ("bars", "bars_"),
        ("é", "_"),
    ],
)
def test_a_column_of_any_name_gets_a_line_that_hides_nothing(bars: ct.Bars, column: str, line: str) -> None:
    feed = ct.feed(with_extra(bars, column), validation="off")
    assert line in feed.lines.getlinealiases()
    assert ran(feed).data is feed
    assert list(getattr(feed.lines, line).array) == list(range(len(bars)))


def test_open_interest_fills_backtraders_own_line(bars: ct.Bars) -> None:
    feed = ct.feed(with_extra(bars, "open_interest"), validation="off")
    ran(feed)
    assert list(feed.lines.openinterest.array) == list(range(len(bars)))
    assert type(feed) is ct.Feed


def test_feeds_with_the_same_extra_lines_share_a_class(bars: ct.Bars) -> None:
    first, second = (ct.feed(with_extra(bars, "trades"), validation="off") for _ in range(2))
    assert type(first) is type(second)
    assert isinstance(first, ct.Feed)


def test_a_frame_without_volume_gives_zero_and_not_nan(frame: pd.DataFrame) -> None:
    feed = ct.feed(frame.drop(columns="volume"), symbol="X", timeframe="1m", validation="off")
    ran(feed)
    assert set(feed.lines.volume.array) == {0.0}


def test_bounded_buffers_hold_pythons_own_floats(bars: ct.Bars) -> None:
    kinds = set()

    class Types(bt.Strategy):
        def next(self) -> None:
            kinds.update(type(line[0]) for line in self.data.lines if line[0] == line[0])

    cerebro = bt.Cerebro(stdstats=False, exactbars=1)
    cerebro.adddata(ct.feed(bars, validation="off"))
    cerebro.addstrategy(Types)
    cerebro.run()
    assert kinds == {float}


# ── filling at once, and when not ────────────────────────────────────────────────────────────────────


class Counting(ct.Feed):
    """Counts how often backtrader asks for a single bar."""

    asked = 0

    def load(self) -> Any:
        Counting.asked += 1
        return super().load()


def test_a_subclass_that_overrides_loading_is_asked_bar_by_bar(bars: ct.Bars) -> None:
    Counting.asked = 0
    strategy = ran(Counting(dataname=bars))
    assert Counting.asked == len(bars) + 1
    assert list(strategy.data.close.array) == bars.close.tolist()


def test_a_binding_of_a_line_is_honoured(bars: ct.Bars) -> None:
    feed = ct.feed(bars, validation="off")
    bound = bt.linebuffer.LineBuffer()
    bound.forward()
    feed.lines.close.addbinding(bound)
    ran(feed)
    assert bound[0] == bars.close[-1]


def test_after_a_preload_the_feed_goes_on_saying_that_it_is_over(bars: ct.Bars) -> None:
    feed = ct.feed(bars, validation="off")
    ran(feed, runonce=False)
    assert [feed._load() for _ in range(3)] == [False, False, False]


def test_lookahead_keeps_room_for_the_future(bars: ct.Bars) -> None:
    feed = ct.feed(bars, validation="off")
    ran(feed, lookahead=3)
    assert feed.lines.close.buflen() == len(bars)
    assert len(feed.lines.close.array) == len(bars) + 3


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────


def test_exactbars_1_with_feeds_out_of_step_is_refused_with_a_reason(bars: ct.Bars) -> None:
    with pytest.raises(UnsupportedMode, match="exactbars=1 can't run with 2 feeds whose bars have different times"):
        ran(ct.feed(bars, validation="off"), ct.feed(bars[::3], validation="off"), exactbars=1)


def test_exactbars_1_beside_anothers_feed_is_refused(bars: ct.Bars, frame: pd.DataFrame) -> None:
    with pytest.raises(UnsupportedMode):
        ran(ct.feed(bars), bt.feeds.PandasData(dataname=frame, timeframe=bt.TimeFrame.Minutes), exactbars=1)


def test_no_bars_is_an_error_where_the_feed_is_made(bars: ct.Bars) -> None:
    with pytest.raises(NoData, match="no bars of BTC/USDT 1m"):
        ct.feed("memory", bars=bars, symbol="BTC/USDT", timeframe="1m", start="2030-01-01")


def test_an_option_that_no_feed_has_is_refused(bars: ct.Bars, frame: pd.DataFrame) -> None:
    with pytest.raises(InvalidOption, match=r"A feed of bars has no option 'stmap'\. Did you mean 'stamp'\?"):
        ct.feed(bars, stmap="open")
    with pytest.raises(InvalidOption, match=r"has no option 'strat'\. Did you mean 'start'\?"):
        ct.feed(frame, symbol="X", timeframe="1m", strat="2024-03-29")
    with pytest.raises(InvalidOption, match=r"Feed has no option 'stmap'\. Did you mean 'stamp'\?"):
        ct.Feed(dataname=bars, stmap="open")
    with pytest.raises(InvalidOption, match="Feed takes every option by name"):
        ct.Feed(bars, timeframe="1m")
    assert ct.feed(bars, plot=False).plotinfo.plot is False


def test_an_unknown_source_is_named_once_and_clearly() -> None:
    with pytest.raises(PluginNotFound, match=r"No source 'memry' is installed\. Did you mean 'memory'"):
        ct.feed("memry", symbol="X", timeframe="1h", tzinput="Europe/Berlin")


def test_a_frame_without_a_timeframe_says_what_is_missing(frame: pd.DataFrame) -> None:
    with pytest.raises(InvalidOption, match="timeframe"):
        ct.feed(frame, symbol="X")


# ── what a feed tells ────────────────────────────────────────────────────────────────────────────────


def test_a_feed_knows_its_bars_report_symbol_and_name(bars: ct.Bars) -> None:
    feed = ct.feed("memory", bars=bars, symbol="BTC/USDT", timeframe="1m")
    assert feed.symbol == feed._name == "BTC/USDT"
    assert feed.report is not None
    assert feed.report["gap"].count > 0
    assert len(feed.bars) == feed.report.rows_out
    assert ct.feed(bars, name="mine")._name == "mine"


def test_bars_that_were_checked_are_not_checked_again(bars: ct.Bars) -> None:
    loaded = ct.load("memory", bars=bars, symbol="BTC/USDT", timeframe="1m")
    assert ct.feed(loaded).bars is not None
    assert ct.feed(loaded).report == loaded.report
    assert ct.feed(bars).report is not None
    assert ct.feed(bars, validation="off").report is not None


def test_start_end_and_limit_cut_bars_and_frames(bars: ct.Bars, frame: pd.DataFrame) -> None:
    part = ct.feed(bars, start="2024-03-29T01:00", end="2024-03-29T02:00", validation="off").bars
    assert part == bars.between("2024-03-29T01:00", "2024-03-29T02:00")
    assert ct.feed(frame, symbol="BTC/USDT", timeframe="1m", limit=5, validation="off").bars == bars[-5:]
    assert ct.feed(bars, start="2024-03-29T01:00", limit=5, validation="off").bars == bars.between("2024-03-29T01:00")[:5]


def test_anything_with_an_arrow_stream_is_a_feed(bars: ct.Bars) -> None:
    polars = pytest.importorskip("polars")
    assert ct.feed(polars.DataFrame(bars), symbol="BTC/USDT", timeframe="1m", validation="off").bars == bars


@pytest.mark.parametrize("extra", [(), ("trades", "quote volume")])
def test_a_feed_pickles_before_and_after_a_run(bars: ct.Bars, extra: tuple[str, ...], outcome: Callable[..., Any]) -> None:
    feed = ct.feed(with_extra(bars, *extra), validation="off")
    expected = outcome(lambda cerebro: cerebro.adddata(feed))
    again = pickle.loads(pickle.dumps(ct.feed(with_extra(bars, *extra), validation="off")))
    assert outcome(lambda cerebro: cerebro.adddata(again)) == expected
    assert again.bars == feed.bars


@pytest.mark.parametrize(
    "dates",
    [
        {"fromdate": "2024-01-05", "todate": "2024-01-02"},
        {"fromdate": dt.date(2024, 1, 5), "todate": dt.datetime(2024, 1, 2, tzinfo=dt.UTC)},
    ],
)
def test_a_window_that_ends_before_it_begins_is_refused(bars, dates) -> None:
    with pytest.raises(InvalidRange, match="before fromdate"):
        ct.feed(bars, **dates)
