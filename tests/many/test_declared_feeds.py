"""feeds(): declared in TOML, a dict or a list; several timeframes of one load; wrong ones told with their place."""

import subprocess
import sys

import backtrader as bt
import numpy as np
import pytest
from slowmarket import START, SlowMarket, bars_of

import cracktrader as ct
from cracktrader.errors import InvalidOption, NoData, PluginNotFound, SourceNotFound
from cracktrader.times import isoformat

HOUR = 3_600_000


def hours(symbol, rows=24 * 10):
    price = 100 + np.sin(np.arange(rows))
    return ct.Bars(START + HOUR * np.arange(rows), price, price + 1, price - 1, price, np.ones(rows),
                   symbol=symbol, timeframe="1h")  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with two series and a declaration; the current folder is another one."""
    (tmp_path / "data").mkdir()
    (tmp_path / "elsewhere").mkdir()
    for name in ("btc", "eth"):
        hours(f"{name.upper()}/USDT").to_csv(tmp_path / "data" / f"{name}.csv")
    monkeypatch.chdir(tmp_path / "elsewhere")
    return tmp_path


@pytest.fixture
def declare(folder):
    def write(text):
        (folder / "feeds.toml").write_text(text)
        return folder / "feeds.toml"

    return write


GOOD = """
[defaults]
source = "csv"
timeframe = "1h"

[feeds.btc]
path = "data/btc.csv"
symbol = "BTC/USDT"
timeframes = ["1d", "1h", "4h"]

[feeds.eth]
path = "data/eth.csv"
symbol = "ETH/USDT"
start = 2024-01-03
stamp = "close"
"""


def test_feeds_of_a_file_have_their_names_and_its_paths(declare):
    made = ct.feeds(declare(GOOD))
    assert list(made) == ["btc_1h", "btc_4h", "btc_1d", "eth"]
    assert made["btc_1h"].bars == hours("BTC/USDT")
    assert made["btc_4h"].bars == hours("BTC/USDT").resample("4h")
    assert made["btc_1d"].bars == hours("BTC/USDT").resample("1d")
    assert isoformat(made["eth"].bars.time[0]) == "2024-01-03T00:00:00Z"
    assert made["eth"].p.stamp == "close"
    assert [feed._name for feed in made.values()] == list(made)
    assert made["btc_1d"].report.rows_in == 240


def test_a_dict_and_a_list_say_the_same(folder):
    eth = {"path": str(folder / "data" / "eth.csv"), "symbol": "ETH/USDT"}
    shared = {"source": "csv", "timeframe": "1h"}
    for declaration in (
        {"defaults": shared, "feeds": {"ETH/USDT": eth}},
        {"defaults": shared, "feeds": [eth]},
        [{**shared, **eth}],
        [{**shared, **eth, "name": "ETH/USDT"}],
    ):
        made = ct.feeds(declaration)
        assert {name: len(feed.bars) for name, feed in made.items()} == {"ETH/USDT": 240}


def test_several_timeframes_are_one_load(diary):
    declaration = {"feeds": {"a": {"source": SlowMarket, "symbol": "A", "timeframes": ["5m", "1m"], "rows": 60, "diary": diary}}}
    made = ct.feeds(declaration)
    assert {name: len(feed.bars) for name, feed in made.items()} == {"a_1m": 60, "a_5m": 12}
    assert diary.read_text().count("begin") == 1


def test_a_finer_timeframe_may_be_loaded_than_any_that_is_wanted():
    settings = {"source": SlowMarket, "symbol": "A", "timeframe": "1m", "timeframes": ["5m", "10m"], "rows": 60}
    made = ct.feeds({"feeds": {"a": settings}})
    assert {name: len(feed.bars) for name, feed in made.items()} == {"a_5m": 12, "a_10m": 6}


def test_a_longer_bar_reaches_out_of_the_range_on_neither_side():
    settings = {"source": "memory", "bars": hours("A"), "symbol": "A", "timeframes": ["1h", "4h"],
                "start": "2024-01-02T02:00", "end": "2024-01-03T01:00"}  # fmt: skip
    made = ct.feeds({"feeds": {"a": settings}})
    times = made["a_4h"].bars.time
    assert [isoformat(times[0]), isoformat(times[-1])] == ["2024-01-02T04:00:00Z", "2024-01-02T20:00:00Z"]
    assert len(times) == 5
    assert made["a_4h"].report is not None


def test_backtrader_takes_them_in_order_and_sees_no_bar_before_it_is_over(declare):
    seen = []

    class Look(bt.Strategy):
        def next(self):
            now = self.datas[0].datetime[0]
            assert all(data.datetime[0] <= now for data in self.datas)
            seen.append([len(data) for data in self.datas])

    cerebro = ct.Cerebro()
    made = cerebro.addfeeds(declare(GOOD.replace('stamp = "close"', "")))
    cerebro.addstrategy(Look)
    cerebro.run()
    assert [data._name for data in cerebro.datas] == list(made)
    assert cerebro.datas[0]._compression == 60
    assert all(each[1] == each[0] // 4 and each[2] == each[0] // 24 for each in seen)
    assert seen[-1] == [240, 60, 10, 192]


def test_the_guide_s_concurrent_loading(folder):
    """The user guide loads four symbols side by side in a thread pool, and adds them."""
    symbols = ["BTC/USDT", "ETH/USDT", "ADA/USDT", "DOT/USDT"]
    for symbol in symbols:
        hours(symbol).to_csv(folder / f"{symbol[:3]}.csv")
    requests = [{"path": folder / f"{symbol[:3]}.csv", "symbol": symbol} for symbol in symbols]
    cerebro = ct.Cerebro()
    for bars in ct.load_many(requests, source="csv", timeframe="1h", start="2024-01-01T00:00:00Z",
                             end="2024-03-01T23:59:59Z", max_workers=4).unwrap():  # fmt: skip
        cerebro.adddata(bars, name=bars.symbol)
    cerebro.run()
    assert [data._name for data in cerebro.datas] == symbols
    assert [len(data) for data in cerebro.datas] == [240] * 4


def test_feeds_load_on_processes_too(declare, processes):
    assert list(ct.feeds(declare(GOOD), executor=processes)) == ["btc_1h", "btc_4h", "btc_1d", "eth"]


# ── what fails ───────────────────────────────────────────────────────────────────────────────────────

FAILING = (
    GOOD
    + """
[feeds.gone]
path = "data/gone.csv"
symbol = "X"

[feeds.late]
path = "data/btc.csv"
symbol = "BTC/USDT"
start = 2025-01-01
"""
)


def test_one_failure_raises_and_all_are_named(declare):
    with pytest.raises(SourceNotFound) as caught:
        ct.feeds(declare(FAILING))
    (note,) = caught.value.__notes__
    assert note.startswith(
        "2 of 4 series failed. This is gone; the others are:\n- late: NoData: There are no bars of BTC/USDT 1h"
    )


def test_failed_ones_are_left_out_with_a_warning_where_told(declare):
    with pytest.warns(UserWarning, match="was left out") as caught:
        made = ct.feeds(declare(FAILING), skip_failed=True)
    assert list(made) == ["btc_1h", "btc_4h", "btc_1d", "eth"]
    assert [str(warning.message).partition(". ")[0] for warning in caught] == [
        "The feed 'gone' was left out", "The feed 'late' was left out",
    ]  # fmt: skip
    with pytest.raises(NoData):
        ct.feeds({"feeds": {"a": {"source": "memory", "bars": ct.Bars.empty("A", "1m"), "symbol": "A", "timeframe": "1m"}}})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[feeds.a]\nsymbol = BTC", "feeds.toml is not TOML: .*line 2"),
        ("[feed.a]", "feeds.toml has an unknown table 'feed'. Did you mean 'feeds'"),
        ("feeds = 5", "feeds.toml has feeds = 5, which is no table"),
        ("", "feeds.toml declares no feeds"),
        ("[feeds]\na = 5", r"feeds.toml, \[feeds.a\] is no table but int"),
        ("defaults = 5\n[feeds.a]", r"feeds.toml, \[defaults\] is no table"),
        ('[feeds.a]\ntimeframe = "1h"', r"feeds.toml, \[feeds.a\] does not say which source to load from.\nAdd source = "),
        ('[feeds.a]\nsource = "csv"\npth = "x"\ntimeframe = "1h"', r"\[feeds.a\] has no key 'pth'. Did you mean 'path'"),
        ('[feeds.a]\nsource = "csv"\nsymbl = "x"\ntimeframe = "1h"', r"\[feeds.a\] has no key 'symbl'. Did you mean 'symbol'"),
        ('[feeds.a]\nsource = "csv"\npath = "x"', r"\[feeds.a\] has no timeframe"),
        ('[feeds.a]\nsource = "csv"\npath = "x"\ntimeframe = "7x"', r"\[feeds.a\] has a timeframe that can't be read: .*7x"),
        ('[feeds.a]\nsource = "csv"\ntimeframes = []', r"\[feeds.a\] has timeframes = \[\]"),
        ('[feeds.a]\nsource = "csv"\ntimeframes = ["2h", "3h"]', r"\[feeds.a\] wants bars of 3h, which can't be made of 2h"),
        ('[feeds.a]\nsource = "csv"\ntimeframes = ["1h"]\ncompression = 2', "both timeframes and compression"),
        ('[[feeds]]\nsource = "csv"\ntimeframe = "1h"', "number 1 of feeds, has no name"),
        ('[[feeds]]\nname = "a"\n[[feeds]]\nname = "a"', "number 2 of feeds, has the name 'a', as"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_declaration_is_told_with_its_place(declare, text, said):
    with pytest.raises(InvalidOption, match=said):
        ct.feeds(declare(text))


def test_a_source_that_is_not_there_is_told_with_its_place(declare):
    with pytest.raises(PluginNotFound, match=r"feeds.toml, \[feeds.a\]: No source 'cvs' is installed. Did you mean 'csv'"):
        ct.feeds(declare('[feeds.a]\nsource = "cvs"\ntimeframe = "1h"'))


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(InvalidOption, match=r"'.*none\.toml' can't be read"):
        ct.feeds(tmp_path / "none.toml")


def test_what_is_no_source_is_told_with_its_place():
    with pytest.raises(InvalidOption, match=r"The declaration, \[feeds.a\]: 5 is not a source"):
        ct.feeds({"feeds": {"a": {"source": 5, "timeframe": "1h"}}})


def test_paths_that_are_urls_or_absolute_stay_as_they_are(folder, declare):
    absolute = str(folder / "data" / "btc.csv")
    text = f'[feeds.a]\nsource = "csv"\ntimeframe = "1h"\nsymbol = "A"\npath = ["{absolute}", "file://{absolute}"]'
    assert len(ct.feeds(declare(text))["a"].bars) == 240
    text = '[feeds.a]\nsource = "csv"\ntimeframe = "1h"\nsymbol = "A"\ncsv_file = "data/btc.csv"'
    assert len(ct.feeds(declare(text))["a"].bars) == 240


def test_bars_need_no_file():
    made = ct.feeds([{"source": "memory", "bars": bars_of("A", 20), "symbol": "A", "timeframes": ["1m", "5m"]}])
    assert {name: len(feed.bars) for name, feed in made.items()} == {"A_1m": 20, "A_5m": 4}


@pytest.mark.parametrize(
    "before", ["", "ct.feed", "ct.CustomDataFeed", "import cracktrader.feeds", "from cracktrader.feeds import CustomDataFeed"]
)
def test_the_package_of_feeds_is_the_function_too(before: str) -> None:
    code = f"""if True:
        import sys
        import cracktrader as ct
        {before}
        bars = ct.Bars([0, 60_000], [1, 1], [1, 1], [1, 1], [1, 1], [1, 1], symbol="X", timeframe="1m")
        made = ct.feeds({{"feeds": {{"x": {{"source": "memory", "bars": bars, "symbol": "X", "timeframe": "1m"}}}}}})
        assert list(made) == ["x"], made
        assert ct.feeds is sys.modules["cracktrader.feeds"]
        import cracktrader.feeds
        assert isinstance(made["x"], cracktrader.feeds.Feed)
        from cracktrader.feeds import CustomDataFeed, feeds
        assert feeds.__doc__
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
