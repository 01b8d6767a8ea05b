"""CustomDataFeed: subclasses in the way of the user guide work as their authors expect."""

import sqlite3
from pathlib import Path
from typing import Any, ClassVar

import backtrader as bt
import numpy as np
import pandas as pd
import pytest

import cracktrader as ct
from cracktrader.errors import ConfigurationError, InvalidOption, InvalidTimeframe, NoData, QualityError
from cracktrader.feeds import CustomDataFeed


def closes(feed: Any, **options: Any) -> list[float]:
    cerebro = bt.Cerebro(stdstats=False, **options)
    cerebro.adddata(feed)
    return list(cerebro.run()[0].data.close.array)


@pytest.fixture
def hours() -> pd.DataFrame:
    index = pd.date_range("2024-01-01", periods=48, freq="1h", name="timestamp")
    price = np.linspace(100, 147, 48)
    return pd.DataFrame({"open": price, "high": price + 1, "low": price - 1, "close": price + 0.5, "volume": 10.0}, index=index)


class FileFeed(CustomDataFeed):
    """Reads one symbol of a file with several, in the words of the guide."""

    params = (
        ("csv_file", None),
        ("datetime_col", "timestamp"),
        ("symbol_col", "symbol"),
        ("filter_symbol", None),
    )

    def _load_data(self) -> pd.DataFrame:
        if not self.params.csv_file:
            raise ValueError("csv_file is needed")
        rows = pd.read_csv(self.params.csv_file)
        if self.params.filter_symbol:
            rows = rows[rows[self.params.symbol_col] == self.params.filter_symbol]
        rows[self.params.datetime_col] = pd.to_datetime(rows[self.params.datetime_col])
        return rows.set_index(self.params.datetime_col)[["open", "high", "low", "close", "volume"]]


def test_a_subclass_reads_its_own_params_and_is_given_plain_text_timeframes(hours: pd.DataFrame, tmp_path: Path) -> None:
    both = pd.concat([hours.assign(symbol="BTC"), (hours * 2).assign(symbol="ETH")])
    both.to_csv(tmp_path / "both.csv")
    feed = FileFeed(csv_file=str(tmp_path / "both.csv"), filter_symbol="BTC", timeframe="1h")
    assert closes(feed) == hours.close.tolist()
    assert feed.timeframe == "1h"
    assert {"1h": "hourly"}[feed.timeframe] == "hourly"
    assert (feed._timeframe, feed._compression) == (bt.TimeFrame.Minutes, 60)


def test_what_the_method_raises_reaches_the_user_as_it_is() -> None:
    with pytest.raises(ValueError, match="csv_file is needed"):
        closes(FileFeed(timeframe="1h"))


class TableFeed(CustomDataFeed):
    params = (("db_path", None), ("table_name", "ohlcv"), ("symbol_filter", None))

    def _load_data(self) -> pd.DataFrame:
        connection = sqlite3.connect(self.p.db_path)
        try:
            query = (
                f"SELECT timestamp, open, high, low, close, volume FROM {self.p.table_name} WHERE symbol = ? ORDER BY timestamp"
            )
            frame = pd.read_sql_query(query, connection, params=(self.p.symbol_filter,), parse_dates=["timestamp"])
        finally:
            connection.close()
        return frame.set_index("timestamp")


def test_a_subclass_reads_a_database(hours: pd.DataFrame, tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "bars.db")
    hours.assign(symbol="BTC/USDT").to_sql("ohlcv", connection)
    connection.close()
    assert closes(TableFeed(db_path=tmp_path / "bars.db", symbol_filter="BTC/USDT", timeframe="1h")) == hours.close.tolist()


class RangeFeed(CustomDataFeed):
    """Writes down the range that it is asked for, and returns too much, as an API that ignores it would."""

    params = (("answer", None),)
    asked: ClassVar[list[tuple[Any, Any, str]]] = []

    def _load_data(self) -> Any:
        RangeFeed.asked.append((self.start_date, self.end_date, self.timeframe))
        return self.p.answer


def test_the_method_sees_the_range_as_it_was_given_and_more_is_cut_off(hours: pd.DataFrame) -> None:
    RangeFeed.asked.clear()
    feed = RangeFeed(answer=hours, timeframe="1h", start_date="2024-01-01T10:00:00Z", end_date="2024-01-01T23:59:59Z")
    assert closes(feed) == hours.close["2024-01-01T10":"2024-01-01T23"].tolist()  # type: ignore[misc]
    assert RangeFeed.asked == [("2024-01-01T10:00:00Z", "2024-01-01T23:59:59Z", "1h")]


def test_the_method_runs_once_however_often_the_feed_does(hours: pd.DataFrame) -> None:
    RangeFeed.asked.clear()
    feed = RangeFeed(answer=hours, timeframe="1h")
    for _ in range(2):
        assert closes(feed) == hours.close.tolist()
    assert len(feed.bars) == 48
    assert len(RangeFeed.asked) == 1


class Checked(RangeFeed):
    """A subclass of a subclass that sets things after ``__init__`` and validates what the parent loaded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.validation_enabled = True
        self.max_gap_minutes = 60

    def _load_data(self) -> pd.DataFrame:
        data = super()._load_data()
        return self._validate_data(data) if self.validation_enabled else data

    def _validate_data(self, frame: pd.DataFrame) -> pd.DataFrame:
        if frame.empty:
            return frame
        grid = pd.date_range(frame.index[0], frame.index[-1], freq={"1h": "1h"}[self.timeframe])
        full = frame.reindex(grid)
        self.missing = int(full.isnull().sum().sum())
        return full.ffill()


def test_a_subclass_validates_in_its_own_way_before_the_checks_do(hours: pd.DataFrame) -> None:
    feed = Checked(answer=hours.drop(hours.index[20:23]), timeframe="1h")
    assert len(closes(feed)) == 48
    assert feed.missing == 15
    assert feed.report is not None
    assert feed.report["gap"].count == 0


class Cleaned(CustomDataFeed):
    """Calls the base class for the data that was passed in."""

    def _load_data(self) -> pd.DataFrame:
        frame = super()._load_data()
        return frame[frame["close"] > 110]


@pytest.mark.parametrize("as_bars", [False, True], ids=["frame", "bars"])
def test_super_gives_what_was_passed_in_as_a_frame(hours: pd.DataFrame, as_bars: bool) -> None:
    passed = ct.Bars.from_pandas(hours, symbol="X", timeframe="1h") if as_bars else hours
    assert closes(Cleaned(dataname=passed, timeframe="1h")) == hours.close[hours.close > 110].tolist()


def test_a_misspelt_option_is_refused_and_not_ignored(hours: pd.DataFrame) -> None:
    for cls in (RangeFeed, Checked):
        with pytest.raises(InvalidOption, match=rf"{cls.__name__} has no option 'start_dat'\. Did you mean 'start_date'\?"):
            cls(answer=hours, timeframe="1h", start_dat="2024-01-02")


def test_a_subclass_may_take_arguments_of_its_own(hours: pd.DataFrame) -> None:
    class Positional(CustomDataFeed):
        params = (("timeframe", "1h"),)

        def __init__(self, path: str, **options: Any) -> None:
            super().__init__(**options)
            self.path = path

        def _load_data(self) -> pd.DataFrame:
            return hours if self.path == "here" else hours[:0]

    assert closes(Positional("here", start_date="2024-01-02")) == hours.close["2024-01-02":].tolist()  # type: ignore[misc]


def test_without_data_the_error_says_what_to_override() -> None:
    with pytest.raises(ConfigurationError, match="CustomDataFeed has no data"):
        closes(CustomDataFeed(timeframe="1h"))


def test_no_timeframe_is_refused_when_the_feed_is_made(hours: pd.DataFrame) -> None:
    with pytest.raises(InvalidOption, match="timeframe is not known"):
        RangeFeed(answer=hours)
    with pytest.raises(InvalidTimeframe, match="'1x' is not a timeframe"):
        RangeFeed(answer=hours, timeframe="1x")


def test_an_empty_frame_is_an_error_and_not_a_silent_backtest(hours: pd.DataFrame) -> None:
    with pytest.raises(NoData, match="no bars of BTC 1h"):
        closes(RangeFeed(answer=hours[:0], timeframe="1h", symbol="BTC"))


def test_the_checks_run_over_what_the_method_returns(hours: pd.DataFrame) -> None:
    dirty = hours.copy()
    dirty.iloc[5, dirty.columns.get_loc("high")] = 1.0
    feed = RangeFeed(answer=dirty, timeframe="1h")
    closes(feed)
    assert feed.report["ohlc_order"].count == 1
    with pytest.raises(QualityError, match="ohlc_order: 1"):
        closes(RangeFeed(answer=dirty, timeframe="1h", validation="strict"))


def test_declared_lines_are_filled_from_columns_of_the_same_name(hours: pd.DataFrame) -> None:
    class Funded(RangeFeed):
        lines = ("funding",)

    feed = Funded(answer=hours.assign(funding=np.arange(48.0)), timeframe="1h")
    closes(feed)
    assert list(feed.lines.funding.array) == list(range(48))


def test_compression_and_the_base_timeframe_are_kept_apart(hours: pd.DataFrame) -> None:
    feed = RangeFeed(answer=hours, timeframe="1h", compression=4)
    assert len(closes(feed)) == 12
    assert feed.timeframe == "1h"
    assert feed._compression == 240


@pytest.mark.parametrize("mode", [{}, {"preload": False}, {"runonce": False}, {"exactbars": -1}], ids=str)
def test_it_runs_in_every_mode(hours: pd.DataFrame, mode: dict[str, Any]) -> None:
    assert closes(RangeFeed(answer=hours, timeframe="1h"), **mode) == hours.close.tolist()
