"""Files of the layouts that are known are read without a single option."""

from __future__ import annotations

import numpy as np
import pytest

from cracktrader import errors

JAN_1 = 1_704_067_200_000  # 2024-01-01
HOUR, DAY = 3_600_000, 86_400_000


def told(bars):
    return bars.provenance["files"][0]


BINANCE = """
    {t0},42283.58,42554.57,42261.02,42475.23,1271.68108,{c0},53957248.97,47134,682.57581,28957416.81,0
    {t1},42475.23,42775.00,42431.65,42613.56,1196.37856,{c1},50984390.77,48396,632.33,26954417.02,0
"""


@pytest.mark.parametrize(("factor", "unit"), [(1, "ms"), (1000, "us")])
@pytest.mark.parametrize("header", ["", "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,"
                                        "taker_buy_quote_volume,ignore\n"])  # fmt: skip
def test_binance_klines_in_ms_and_us_with_and_without_header(factor: int, unit: str, header: str, write, load) -> None:
    stamps = {
        "t0": JAN_1 * factor,
        "c0": (JAN_1 + HOUR) * factor - 1,
        "t1": (JAN_1 + HOUR) * factor,
        "c1": (JAN_1 + 2 * HOUR) * factor - 1,
    }
    path = write(BINANCE.format(**stamps), "BTCUSDT-1h-2024-01.csv")
    path.write_text(header + path.read_text())
    bars = load(path)
    assert told(bars)["layout"] == "binance"
    assert told(bars)["times"] == f"epoch {unit}, told from the magnitude"
    assert bars.time.tolist() == [JAN_1, JAN_1 + HOUR]
    assert bars.to_records()[0][1:] == (42283.58, 42554.57, 42261.02, 42475.23, 1271.68108)
    assert {name: column[0] for name, column in bars.extra.items()} == {
        "quote_volume": 53957248.97, "trades": 47134, "taker_buy_volume": 682.57581, "taker_buy_quote_volume": 28957416.81,
    }  # fmt: skip
    assert bars.symbol == "BTCUSDT-1h-2024-01"


def test_files_of_one_series_in_different_units_are_each_read_in_theirs(write, load, tmp_path) -> None:
    for name, factor, start in (("a-2024-12.csv", 1, JAN_1), ("a-2025-01.csv", 1000, JAN_1 + 2 * HOUR)):
        stamps = {"t0": start * factor, "c0": 0, "t1": (start + HOUR) * factor, "c1": 0}
        write(BINANCE.format(**{k: v or (start + HOUR) * factor - 1 for k, v in stamps.items()}), name)
    bars = load(tmp_path)
    assert bars.time.tolist() == [JAN_1 + i * HOUR for i in range(4)]
    assert [file["times"][:8] for file in bars.provenance["files"]] == ["epoch ms", "epoch us"]


def test_kraken_ohlcvt(write, load) -> None:
    bars = load(write("""
        1704067200,42283.5,42554.5,42261.0,42475.2,127.16810801,4713
        1704070800,42475.2,42775.0,42431.6,42613.5,119.63785612,4839
        """, "XBTUSD_60.csv"))  # fmt: skip
    assert told(bars)["layout"] == "kraken"
    assert bars.time.tolist() == [JAN_1, JAN_1 + HOUR]
    assert bars["trades"].tolist() == [4713, 4839]
    assert bars.volume[0] == 127.16810801


def test_cryptodatadownload_comes_out_oldest_first_with_the_base_volume(write, load) -> None:
    bars = load(write("""
        https://www.CryptoDataDownload.com
        unix,date,symbol,open,high,low,close,Volume BTC,Volume USD,tradecount
        1704078000000,2024-01-01 03:00:00,BTC/USD,42500,42600,42400,42550,3.5,148925,35
        1704074400000,2024-01-01 02:00:00,BTC/USD,42400,42600,42300,42500,2.5,106250,25
        1704070800,2024-01-01 01:00:00,BTC/USD,42300,42600,42200,42400,1.5,63600,15
        """), symbol="BTC/USD")  # fmt: skip
    assert told(bars)["layout"] == "cryptodatadownload"
    assert told(bars)["order"] == "newest first"
    assert told(bars)["lines_before"] == 1
    assert bars.time.tolist() == [JAN_1 + HOUR, JAN_1 + 2 * HOUR, JAN_1 + 3 * HOUR]
    assert bars.volume.tolist() == [1.5, 2.5, 3.5]
    assert bars["quote_volume"].tolist() == [63600, 106250, 148925]
    assert bars["trades"].tolist() == [15, 25, 35]


def test_cryptodatadownload_of_old_writes_hours_as_11_pm(write, load) -> None:
    bars = load(write("""
        https://www.CryptoDataDownload.com
        Date,Symbol,Open,High,Low,Close,Volume USDT,Volume ETH
        2020-01-01 11-PM,ETHUSDT,130,131,129,130.5,1305,10
        2020-01-01 12-PM,ETHUSDT,129,131,128,130,1300,9
        2020-01-01 12-AM,ETHUSDT,128,131,127,129,1290,8
        """), symbol="ETH/USDT")  # fmt: skip
    assert [t // HOUR % 24 for t in bars.time.tolist()] == [0, 12, 23]
    assert bars.volume.tolist() == [8, 9, 10]  # ETH, though USDT stands first
    assert bars.symbol == "ETH/USDT"


def test_yahoo_with_adjusted_close_and_a_holiday(write, load) -> None:
    bars = load(write("""
        Date,Open,High,Low,Close,Adj Close,Volume
        2024-01-01,42280.234375,44175.437500,42214.976563,44167.332031,44167.332031,18426978443
        2024-01-02,null,null,null,null,null,null
        """), "1d")  # fmt: skip
    assert told(bars)["layout"] == "yahoo"
    assert bars.time.tolist() == [JAN_1, JAN_1 + DAY]
    assert bars.close[0] == bars["adj_close"][0] == 44167.332031
    assert np.isnan(bars.close[1])
    assert np.isnan(bars.volume[1])


def test_yfinance_with_three_lines_of_header(write, load) -> None:
    bars = load(write("""
        Price,Close,High,Low,Open,Volume
        Ticker,BTC-USD,BTC-USD,BTC-USD,BTC-USD,BTC-USD
        Date,,,,,
        2024-01-01,44167.33,44175.43,42214.97,42280.23,18426978443
        2024-01-02,44957.96,45899.70,44176.94,44187.14,39335274536
        """), "1d")  # fmt: skip
    assert told(bars)["layout"] == "yfinance"
    assert bars[0].open == 42280.23
    assert bars[1].close == 44957.96


MT5 = """
    <DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\t<VOL>\t<SPREAD>
    2024.01.01\t00:00:00\t42283.5\t42554.5\t42261.0\t42475.2\t8211\t0\t1200
    2024.01.01\t01:00:00\t42475.2\t42775.0\t42431.6\t42613.5\t7912\t0\t1300
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_metatrader_5(encoding: str, write, load) -> None:
    path = write(MT5.replace("    ", "").replace("\\t", "\t"), encoding=encoding)
    bars = load(path)
    assert told(bars)["layout"] == "metatrader5"
    assert told(bars)["delimiter"] == "\t"
    assert bars.time.tolist() == [JAN_1, JAN_1 + HOUR]
    assert bars.volume.tolist() == [8211, 7912]
    assert bars.provenance["volume"] == "number of ticks"
    assert sorted(bars.extra) == ["real_volume", "spread"]
    assert any("broker's server" in note for note in bars.provenance["notes"])


def test_metatrader_5_days_have_no_clock(write, load) -> None:
    bars = load(write(MT5.replace("\t<TIME>", "").replace("\t00:00:00", "").replace("2024.01.01\t01:00:00", "2024.01.02")), "1d")
    assert bars.time.tolist() == [JAN_1, JAN_1 + DAY]


def test_metatrader_4_and_a_zone_that_is_said_silences_the_note(write, load) -> None:
    path = write("""
        2024.01.02,00:00,42283.5,42554.5,42261.0,42475.2,8211
        2024.01.02,01:00,42475.2,42775.0,42431.6,42613.5,7912
        """)
    bars = load(path)
    assert told(bars)["layout"] == "metatrader4"
    assert bars.time.tolist() == [JAN_1 + DAY, JAN_1 + DAY + HOUR]
    assert "notes" in bars.provenance
    there = load(path, tz="Europe/Helsinki")
    assert there.time.tolist() == [JAN_1 + DAY - 2 * HOUR, JAN_1 + DAY - HOUR]
    assert "notes" not in there.provenance


@pytest.mark.parametrize("times", [("1704067200", "1704070800"), ("2024-01-01T00:00:00Z", "2024-01-01T01:00:00Z"),
                                   ("2024-01-01T01:00:00+01:00", "2024-01-01T02:00:00+01:00")])  # fmt: skip
def test_tradingview_with_indicators(times: tuple[str, str], write, load) -> None:
    bars = load(write(f"""
        time,open,high,low,close,50,Volume,Volume MA
        {times[0]},42283.5,42554.5,42261.0,42475.2,NaN,12.5,
        {times[1]},42475.2,42775.0,42431.6,42613.5,42400.5,13.5,13
        """))  # fmt: skip
    assert told(bars)["layout"] == "tradingview"
    assert bars.time.tolist() == [JAN_1, JAN_1 + HOUR]
    assert bars.volume.tolist() == [12.5, 13.5]
    assert bars["50"][1] == 42400.5
    assert np.isnan(bars["Volume MA"][0])


@pytest.mark.parametrize("header", ["Date,Time,Open,High,Low,Close,Volume,OpenInterest\n", ""])
def test_backtraders_own(header: str, write, load) -> None:
    path = write("""
        2024-01-01,09:30:00,42283.5,42554.5,42261.0,42475.2,12,0
        2024-01-01,10:30:00,42475.2,42775.0,42431.6,42613.5,13,0
        """)
    path.write_text(header + path.read_text())
    bars = load(path)
    assert told(bars)["layout"] == "backtrader"
    assert bars.time.tolist() == [JAN_1 + 9 * HOUR + HOUR // 2, JAN_1 + 10 * HOUR + HOUR // 2]
    assert bars["openinterest"].tolist() == [0, 0]
    assert any("stamp='close'" in note for note in bars.provenance["notes"])
    assert "notes" not in load(path, stamp="close").provenance


def test_backtraders_days_need_no_note(write, load) -> None:
    bars = load(write("""
        Date,Open,High,Low,Close,Volume,OpenInterest
        2024-01-01,42283.5,42554.5,42261.0,42475.2,12,0
        """), "1d")  # fmt: skip
    assert bars.time.tolist() == [JAN_1]
    assert "notes" not in bars.provenance


def test_no_header_and_the_usual_order(write, load) -> None:
    bars = load(write("2024-01-01 00:00,1,3,0.5,2,10\n2024-01-01 01:00,2,4,1,3,20\n"))
    assert told(bars)["layout"] == "positional"
    assert bars.to_records()[1] == (JAN_1 + HOUR, 2, 4, 1, 3, 20)


def test_ours_is_read_exactly_even_if_an_extra_column_has_a_name_of_ours(make_bars, load, tmp_path) -> None:
    bars = make_bars(5).but(extra={"o": [1.0] * 5, "vol": [2.0] * 5, "Flags": [3.0] * 5})
    assert load(bars.to_csv(tmp_path / "x.csv"), "1m", symbol="BTC/USDT") == bars


def test_a_layout_that_is_named_is_used_or_refused(write, load) -> None:
    path = write("time,open,high,low,close\n2024-01-01,1,2,0.5,1\n")
    assert told(load(path, "1d", layout="named"))["layout"] == "named"
    with pytest.raises(errors.InvalidOption, match=r"is not of the layout 'kraken' \(OHLCVT archives of Kraken\)"):
        load(path, "1d", layout="kraken")
