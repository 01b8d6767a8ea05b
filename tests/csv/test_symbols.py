"""One symbol out of a file of many."""

from __future__ import annotations

import io

import pytest

import cracktrader as ct
from cracktrader import errors

HOUR = 3_600_000
START = 1_704_067_200_000
SYMBOLS = ("BTC/USDT", "ETH/USDT", "ETH/BTC")
LINES = [f"{START + i * HOUR},{symbol},{i},{i + 2},{i},{i + 1},{j}\n" for i in range(50) for j, symbol in enumerate(SYMBOLS)]
MANY = "timestamp,symbol,open,high,low,close,volume\n" + "".join(LINES)


@pytest.mark.parametrize("size", [40, 700, 1 << 20])
@pytest.mark.parametrize("order", [1, -1])
def test_the_symbol_that_is_asked_for_comes_out_alone(size: int, order: int, load) -> None:
    text = "timestamp,symbol,open,high,low,close,volume\n" + "".join(LINES[::order])
    bars = load(io.StringIO(text), symbol="ETH/USDT", chunk_bytes=size)
    assert bars.symbol == "ETH/USDT"
    assert bars.time.tolist() == [START + i * HOUR for i in range(50)]
    assert set(bars.volume.tolist()) == {1}


@pytest.mark.parametrize("name", ["symbol", "Ticker", "PAIR", "instrument", "<TICKER>"])
def test_a_column_of_symbols_is_known_by_its_name(name: str, load) -> None:
    bars = load(io.StringIO(MANY.replace("symbol", name)), symbol="ETH/BTC")
    assert set(bars.volume.tolist()) == {2}


@pytest.mark.parametrize("where", [{"symbol_col": "what"}, {"symbol_col": 1}, {"columns": {"symbol": "what"}}])
def test_a_column_of_symbols_can_be_said(where: dict, load) -> None:
    assert set(load(io.StringIO(MANY.replace("symbol", "what")), symbol="ETH/BTC", **where).volume.tolist()) == {2}


def test_filter_symbol_is_the_spelling_of_the_file(load) -> None:
    text = MANY.replace("ETH/USDT", "tETHUST")
    bars = load(io.StringIO(text), symbol="ETH/USDT", filter_symbol="tETHUST")
    assert bars.symbol == "ETH/USDT"
    assert set(bars.volume.tolist()) == {1}
    assert load(io.StringIO(text), filter_symbol="tETHUST").symbol == "tETHUST"
    with pytest.raises(errors.UnknownSymbol, match="There is no symbol 'tethust'"):
        load(io.StringIO(text), filter_symbol="tethust")


@pytest.mark.parametrize("spelling", ["ETHUSDT", "ETH-USDT", "eth_usdt", " ETH/USDT "])
def test_a_symbol_is_known_in_its_other_spellings(spelling: str, load) -> None:
    bars = load(io.StringIO(MANY.replace("ETH/USDT", spelling)), symbol="ETH/USDT")
    assert len(bars) == 50


def test_two_spellings_of_one_symbol_are_asked_about(load) -> None:
    text = MANY + f"{START + 50 * HOUR},ETHUSDT,1,1,1,1,1\n"
    with pytest.raises(errors.InvalidOption) as caught:
        load(io.StringIO(text), symbol="ETH/USDT")
    assert str(caught.value) == (
        "<StringIO> holds more than one symbol that may be 'ETH/USDT': ETH/USDT, ETHUSDT.\n"
        "Say which, spelled as in the file: filter_symbol='ETH/USDT'."
    )
    assert len(load(io.StringIO(text), filter_symbol="ETH/USDT")) == 50


@pytest.mark.parametrize("size", [40, 1 << 20])
def test_an_unknown_symbol_is_answered_with_near_ones(size: int, load) -> None:
    with pytest.raises(errors.UnknownSymbol) as caught:
        load(io.StringIO(MANY), symbol="ETH/USD", chunk_bytes=size)
    assert str(caught.value) == (
        "There is no symbol 'ETH/USD' in '<StringIO>'. Did you mean 'ETH/USDT'?\nThere are: BTC/USDT, ETH/USDT, ETH/BTC."
        " To read one under another name, add filter_symbol='…'."
    )


def test_a_known_symbol_without_bars_in_the_range_is_no_error(load) -> None:
    assert len(load(io.StringIO(MANY), symbol="ETH/BTC", start="2030-01-01")) == 0
    assert len(load(io.StringIO(MANY), symbol="ETH/BTC", start="2030-01-01", ordered=True, chunk_bytes=50)) == 0


@pytest.mark.parametrize("size", [40, 1 << 20])
def test_several_symbols_and_none_asked_for_are_listed(size: int, load) -> None:
    with pytest.raises(errors.InvalidOption) as caught:
        load(io.StringIO(MANY), chunk_bytes=size)
    assert str(caught.value) == (
        "<StringIO> holds several symbols (BTC/USDT, ETH/USDT, ETH/BTC), and none was asked for.\nSay which: symbol='BTC/USDT'."
    )


def test_the_only_symbol_need_not_be_said(load) -> None:
    text = "timestamp,symbol,open,high,low,close\n" + f"{START},DOGE/EUR,1,1,1,1\n{START + HOUR},DOGE/EUR,1,1,1,1\n"
    assert load(io.StringIO(text)).symbol == "DOGE/EUR"


def test_the_symbols_of_all_files_are_listed(write) -> None:
    source = ct.source("csv", path=[write(MANY, "a.csv"), write(MANY.replace("ETH/BTC", "XRP/USD"), "b.csv")], chunk_bytes=100)
    assert source.symbols() == (*SYMBOLS, "XRP/USD")


def test_files_without_a_column_of_symbols_list_none(write) -> None:
    with pytest.raises(errors.NotSupported, match="The files have no column of symbols"):
        ct.source("csv", path=write("time,open,high,low,close\n2024-01-01,1,1,1,1\n")).symbols()


def test_one_file_of_several_may_lack_the_symbol(write, load) -> None:
    paths = [write(MANY, "a.csv"), write(MANY.replace("ETH/BTC", "XRP/USD"), "b.csv")]
    assert len(load(paths, symbol="XRP/USD")) == 50
    with pytest.raises(errors.UnknownSymbol, match=r"There are: .*XRP/USD"):
        load(paths, symbol="LTC/USD")


def test_the_users_guides_own_options_work(write) -> None:
    path = write(MANY.replace("BTC/USDT", "BTC"))
    bars = ct.load("csv", csv_file=path, datetime_col="timestamp", symbol_col="symbol", filter_symbol="BTC", timeframe="1h",
                   validation="off")  # fmt: skip
    assert len(bars) == 50
    assert set(bars.volume.tolist()) == {0}
