"""Bars to and from pandas, Arrow, polars, records, CSV and Parquet; files are written whole or not at all."""

import csv
import datetime as dt
import decimal
import json
import os
import stat

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cracktrader.bars import PRICES, Bars
from cracktrader.columns import find_columns
from cracktrader.errors import ConfigurationError, DataError, InvalidOption, MalformedData, SourceNotFound
from cracktrader.events import OHLCVCandle
from cracktrader.interchange import atomic_path, iter_bars, to_bars
from cracktrader.timeframe import Timeframe
from cracktrader.times import parse_time

MINUTE = 60_000
START = 1_704_067_200_000
NAMES = ("time", *PRICES, "volume", "flags")

floats = st.floats(width=64)  # NaN, infinities, subnormals and all
odd_names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda name: name not in (*NAMES, "timestamp")
)


any_time = st.integers(-62_135_596_800_000, 253_402_300_799_999)


@st.composite
def any_bars(draw, times=any_time):
    """Bars of anything that fits into the columns."""
    rows = draw(st.integers(0, 8))

    def column(dtype=np.float64, elements=floats):
        return draw(hnp.arrays(dtype, rows, elements=elements))

    return Bars(
        column(np.int64, times), *(column() for _ in range(5)),
        flags=column(np.uint8, st.integers(0, 255)),
        extra={name: column() for name in draw(st.lists(odd_names, max_size=3, unique=True))},
        symbol=draw(st.sampled_from(["BTC/USDT", "", "Ω:'\"\\"])), timeframe=draw(st.sampled_from(["1s", "1m", "1w", "1M"])),
        source="here", provenance={"files": ["a.csv"], "n": 1},
    )  # fmt: skip


def make(rows: int = 3, **changes) -> Bars:
    column = np.arange(rows, dtype=np.float64)
    arguments = {
        "time": START + MINUTE * np.arange(rows), "open": column + 100, "high": column + 102, "low": column + 99,
        "close": column + 101, "volume": column + 10, "symbol": "BTC/USDT", "timeframe": "1m",
    }  # fmt: skip
    return Bars(**arguments | changes)


def frame(**changes) -> pd.DataFrame:
    bars = make()
    return pd.DataFrame({"timestamp": bars.time, **{name: bars[name] for name in (*PRICES, "volume")}} | changes)


def same_columns(one: Bars, two: Bars) -> None:
    """Bit for bit, so that -0.0 is not 0.0 and NaN is NaN."""
    assert one.columns == two.columns
    for name in one.columns:
        assert one[name].dtype == two[name].dtype
        np.testing.assert_array_equal(one[name], two[name])
        if one[name].dtype == np.float64:
            known = ~np.isnan(one[name])
            assert (np.signbit(one[name]) == np.signbit(two[name]))[known].all()


# ── pandas ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_frame_is_indexed_by_timestamp_in_utc():
    table = make(flags=[0, 1, 0], extra={"trades": [1, 2, 3]}).to_pandas()
    assert table.index.name == "timestamp"
    assert str(table.index.dtype) == "datetime64[ms, UTC]"
    assert list(table.columns) == ["open", "high", "low", "close", "volume", "trades", "flags"]
    assert table.index[1] == pd.Timestamp("2024-01-01T00:01Z")
    assert table.close.tolist() == [101.0, 102.0, 103.0]
    assert {str(kind) for kind in table.dtypes} == {"float64", "uint8"}


@given(any_bars())
def test_pandas_and_back_is_the_same_to_the_last_bit(bars):
    back = Bars.from_pandas(bars.to_pandas(), symbol=bars.symbol, timeframe=bars.timeframe)
    same_columns(back, bars)
    assert (back.symbol, back.timeframe) == (bars.symbol, bars.timeframe)


def test_writing_to_a_frame_changes_no_bars_in_either_direction():
    bars = make()
    table = bars.to_pandas()
    table.iloc[0, 0] = -1.0
    table.loc[:, "close"] = -1.0
    assert bars == make()
    for source in (
        make().to_pandas(),
        frame(),
        pd.DataFrame(np.ones((3, 5)), columns=[*PRICES, "volume"], index=make().to_pandas().index),
    ):
        bars = Bars.from_pandas(source, symbol="", timeframe="1m")
        before = bars.close.tolist(), bars.time.tolist()
        source.iloc[:, :] = 0
        assert (bars.close.tolist(), bars.time.tolist()) == before
        assert not any(np.shares_memory(bars[name], source[name].to_numpy()) for name in PRICES)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin", "Asia/Kolkata"])
@pytest.mark.parametrize("as_column", [False, True])
def test_times_of_a_frame_may_have_any_resolution_and_zone_in_index_or_column(unit, zone, as_column):
    index = pd.DatetimeIndex(pd.to_datetime(make().time, unit="ms")).as_unit(unit)
    if zone:
        index = index.tz_localize("UTC").tz_convert(zone)
    table = frame(timestamp=index) if as_column else frame().drop(columns="timestamp").set_index(index)
    assert Bars.from_pandas(table, symbol="", timeframe="1m").time.tolist() == make().time.tolist()


def test_what_is_finer_than_a_millisecond_is_cut_off_before_1970_too():
    for index in (pd.DatetimeIndex([-1, -1_000_001, 1_999_999]), pd.DatetimeIndex(np.array([-1, -1001, 1999], "datetime64[us]"))):
        table = frame().drop(columns="timestamp").set_index(index)
        assert Bars.from_pandas(table, symbol="", timeframe="1s").time.tolist() == [-1, -2, 1]
        arrow = make().to_arrow().set_column(0, "timestamp", pa.array(index.to_numpy()))
        assert Bars.from_arrow(arrow).time.tolist() == [-1, -2, 1]


@pytest.mark.parametrize(
    "times",
    [
        make().time // 1000,
        make().time,
        make().time * 1000,
        make().time * 1_000_000,
        make().time / 1000,
        make().time.astype(np.uint64),
        make().time.astype(object),
        pd.array(make().time, dtype="Int64"),
        [str(time) for time in make().time],
        [str(time // 1000) for time in make().time],
        ["2024-01-01", "2024-01-01T00:01", "2024-01-01T00:02:00Z"],
        ["2024-01-01 00:00:00", "2024-01-01 00:01:00", "2024-01-01 00:02:00"],
        ["2024-01-01T01:00+01:00", "2024-01-01T00:01Z", "2023-12-31T19:02-05:00"],
        ["20240101T0000", "20240101T0001", "20240101T0002"],
        ["202401010000", "202401010001", "202401010002"],
        [dt.datetime(2024, 1, 1, 0, minute, tzinfo=dt.UTC) for minute in range(3)],
        [pd.Timestamp(2024, 1, 1, 0, minute) for minute in range(3)],
        [dt.datetime(2024, 1, 1, tzinfo=dt.UTC), "2024-01-01T00:01", START + 2 * MINUTE],
    ],
    ids=lambda times: f"{type(times).__name__} {times[0]!r}",
)
def test_every_spelling_of_times_in_a_column_is_read(times):
    for make_column in (lambda: pd.Series(times), lambda: pd.Series(times, dtype=object)):
        assert to_bars(frame(timestamp=make_column()), timeframe="1m").time.tolist() == make().time.tolist()
    if len({type(time) for time in times}) == 1:
        arrow = pa.table({"time": pa.array(times), **{name: make()[name] for name in PRICES}})
        assert to_bars(arrow, timeframe="1m").time.tolist() == make().time.tolist()


def test_ten_digits_are_seconds_and_no_date_of_the_year_1712():
    for seconds in (1712010100, 1200101000):
        table = frame(timestamp=[str(seconds + 60 * row) for row in range(3)])
        assert to_bars(table, timeframe="1m").time[0] == seconds * 1000


def test_dates_are_their_midnight_and_epochs_of_1970_stay_in_1970_where_the_type_says_it():
    table = frame(timestamp=[dt.date(1970, 1, day) for day in (1, 2, 3)])
    expected = [0, 86_400_000, 172_800_000]
    assert to_bars(table, timeframe="1d").time.tolist() == expected
    arrow = pa.table({"date": pa.array(table.timestamp.tolist()), **{name: make()[name] for name in PRICES}})
    assert arrow.schema.field("date").type == pa.date32()
    assert to_bars(arrow, timeframe="1d").time.tolist() == expected
    assert to_bars(arrow.set_column(0, "date", arrow["date"].cast(pa.date64())), timeframe="1d").time.tolist() == expected


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["Timestamp", "OPEN", "High", "low ", "Close", "VOLUME"], "timestamp"),
        (["Open time", "Open", "High", "Low", "Close", "Volume"], "binance"),
        (["unix", "o", "h", "l", "c", "v"], "short"),
        (["Date", "Open Price", "High Price", "Low Price", "Close Price", "Vol."], "spaced"),
        (["t", "first", "max", "min", "last", "base_volume"], "aggregated"),
        (["open_time", "open", "high", "low", "close", "Volume (base)"], "snake"),
    ],
)
def test_columns_are_found_by_name_whatever_their_case(names, expected):
    if expected == "aggregated":
        names[3] = "low"
    renamed = frame().set_axis(names, axis=1)
    for data in (renamed, pa.Table.from_pandas(renamed, preserve_index=False), pl.from_pandas(renamed)):
        assert to_bars(data, symbol="BTC/USDT", timeframe="1m") == make()


def test_find_columns_prefers_the_better_name_and_the_plainer_spelling():
    assert find_columns(["date", "time", "timestamp"])["time"] == "timestamp"
    assert find_columns(["Open", "open", "OPEN"])["open"] == "open"
    assert find_columns(["vol", "volume"])["volume"] == "volume"
    assert find_columns(["Flags!", "flags"])["flags"] == "flags"
    assert find_columns([1, ("a", "b"), None, ""]) == {}


def test_other_numbers_become_extra_columns_and_other_text_is_left_out():
    table = frame(
        trades=[1, 2, 3], funding=[0.1, np.nan, 0.3], note=["a", "b", "c"], ok=[True, False, True], when=pd.Timestamp(0)
    )
    for data in (table, pa.Table.from_pandas(table, preserve_index=False), pl.from_pandas(table)):
        bars = to_bars(data, timeframe="1m")
        assert list(bars.extra) == ["trades", "funding"]
        assert bars["trades"].tolist() == [1, 2, 3]
        np.testing.assert_array_equal(bars["funding"], [0.1, np.nan, 0.3])


def test_a_second_column_of_times_is_no_extra_column():
    indexed = frame().set_index(pd.to_datetime(make().time, unit="ms"))  # as a user of ccxt makes it, both ways at once
    assert to_bars(indexed, timeframe="1m").columns == NAMES
    assert to_bars(frame(time=make().time), timeframe="1m").columns == NAMES
    assert to_bars(pa.table(frame(time=make().time).to_dict("list")), timeframe="1m").columns == NAMES


def test_a_missing_volume_is_zero_and_the_provenance_says_so():
    bars = to_bars(frame().drop(columns="volume"), timeframe="1m", provenance={"file": "x"})
    assert bars.volume.tolist() == [0.0, 0.0, 0.0]
    assert dict(bars.provenance) == {"file": "x", "volume": "the source has none; 0 stands in its place"}
    assert "volume" not in to_bars(frame(), timeframe="1m").provenance


@pytest.mark.parametrize("backend", ["numpy_nullable", "pyarrow"])
def test_nullable_types_have_nan_where_nothing_is_known(backend):
    table = frame(trades=[1, 2, 3]).convert_dtypes(dtype_backend=backend)
    table.loc[1, ["open", "volume", "trades"]] = pd.NA
    bars = to_bars(table, timeframe="1m")
    np.testing.assert_array_equal(bars.open, [100, np.nan, 102])
    np.testing.assert_array_equal(bars.volume, [10, np.nan, 12])
    np.testing.assert_array_equal(bars["trades"], [1, np.nan, 3])
    assert bars.time.tolist() == make().time.tolist()


def test_prices_as_decimals_or_text_are_read_as_the_nearest_float():
    prices = ["100.1", "1e2", "0.00000001"]
    for values in (prices, [decimal.Decimal(price) for price in prices]):
        bars = to_bars(frame(open=values), timeframe="1m")
        assert bars.open.tolist() == [100.1, 100.0, 1e-8]
        arrow = make().to_arrow()
        assert to_bars(arrow.set_column(1, "open", pa.array(values))).open.tolist() == [100.1, 100.0, 1e-8]


@given(st.lists(st.decimals(-(10**9), 10**9, places=8), min_size=1, max_size=20))
def test_decimals_of_a_database_are_the_nearest_floats(prices):
    column = np.ones(len(prices))
    table = pa.table({"time": START + MINUTE * np.arange(len(prices)), **dict.fromkeys(PRICES, column)})
    table = table.set_column(1, "open", pa.array(prices, pa.decimal128(38, 8)))
    assert to_bars(table, timeframe="1m").open.tolist() == [float(price) for price in prices]


def test_columns_of_one_level_above_others_are_found():
    table = frame()
    table.columns = pd.MultiIndex.from_tuples([(name, "") for name in table.columns])
    assert to_bars(table, symbol="BTC/USDT", timeframe="1m") == make()


def test_an_empty_frame_is_no_bars():
    for table in (frame()[:0], make().to_pandas()[:0], pd.DataFrame(columns=["timestamp", *PRICES], dtype=object)):
        assert len(to_bars(table, timeframe="1m")) == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop(columns=["open", "low"]), "There is no column for open, low; found: high, close, volume"),
        (lambda f: f.drop(columns="timestamp"), "neither a DatetimeIndex nor a column of times; found: open, high, low"),
        (lambda f: f[[]], "neither a DatetimeIndex nor a column of times; found: no columns"),
        (lambda f: f.assign(open=["1", "2", "three"]), "column 'open' holds something that is not a number in row 2: 'three'"),
        (lambda f: f.assign(volume=["1,5", "2", "3"]), "column 'volume' holds something that is not a number in row 0: '1,5'"),
        (lambda f: f.assign(timestamp=["2024-01-01", "2024-13-01", "2024-01-03"]), r"'2024-13-01' is not a time \(row 1\)"),
        (lambda f: f.assign(timestamp=["a", "b", "c"]), r"'a' is not a time \(row 0\)"),
        (lambda f: f.assign(timestamp=["2024-01-01", None, "2024-01-03"]), "The time in row 1 is missing"),
        (lambda f: f.assign(timestamp=[pd.Timestamp(0), pd.NaT, pd.Timestamp(0)]), "The time in row 1 is missing"),
        (lambda f: f.assign(timestamp=[1.7e9, np.nan, 1.7e9]), "The time in row 1 is missing"),
        (lambda f: f.assign(timestamp=[1.7e9, np.inf, 1.7e9]), r"The time in row 1 is inf"),
        (lambda f: f.assign(timestamp=[1704067200, 1704067260000, 1704067320]), r"mixes units \(ms and s\)"),
        (lambda f: f.assign(timestamp=[10**30] * 3), "is not a time"),
        (lambda f: f.assign(timestamp=[True, False, True]), "must be numbers, not bool"),
        (lambda f: pd.concat([f, f[["open"]]], axis=1), "There are two columns called 'open'"),
        (lambda f: f.assign(flags=[0, 1, 300]), "'flags' can't be read as uint8: 300 in row 2"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_says_which_column_and_row_and_quotes_it(change, said):
    with pytest.raises(DataError, match=said) as caught:
        to_bars(change(frame()), timeframe="1m")
    assert not isinstance(caught.value, ConfigurationError)  # the data is at fault, not the call
    assert isinstance(caught.value, MalformedData) or "flags" in said


def test_without_a_timeframe_it_says_what_to_give():
    with pytest.raises(InvalidOption, match="timeframe of these bars is not known") as caught:
        to_bars(frame())
    assert "timeframe='1h'" in caught.value.hint


# ── Arrow and polars ─────────────────────────────────────────────────────────────────────────────────


@given(any_bars())
def test_arrow_and_back_is_the_same_to_the_last_bit_with_what_is_known(bars):
    table = bars.to_arrow()
    assert table.schema.field("timestamp").type == pa.timestamp("ms", "UTC")
    assert table.schema.field("flags").type == pa.uint8()
    back = Bars.from_arrow(table)
    same_columns(back, bars)
    assert (back.symbol, back.timeframe, back.source) == (bars.symbol, bars.timeframe, bars.source)
    assert dict(back.provenance) == dict(bars.provenance)


@given(any_bars())
def test_the_arrow_stream_carries_bars_to_polars_and_back(bars):
    table = pl.DataFrame(bars)
    assert table.columns == ["timestamp", *PRICES, "volume", *bars.extra, "flags"]
    assert table.schema["timestamp"] == pl.Datetime("ms", "UTC")
    same_columns(to_bars(table, symbol=bars.symbol, timeframe=bars.timeframe), bars)


def test_whatever_speaks_the_arrow_stream_is_read():
    bars = make()
    batches = pa.table(bars).to_batches(max_chunksize=2)
    for data in (pa.table(bars), pa.RecordBatchReader.from_batches(batches[0].schema, batches), batches[0], pl.DataFrame(bars)):
        assert (
            to_bars(data, symbol="BTC/USDT", timeframe="1m") == bars[: data.num_rows if isinstance(data, pa.RecordBatch) else 3]
        )


def test_arrow_columns_are_taken_uncopied_from_one_chunk():
    table = make().to_arrow()
    assert np.shares_memory(Bars.from_arrow(table).close, table["close"].chunk(0).to_numpy())


def test_nulls_are_nan_and_a_missing_time_is_refused_with_its_row():
    table = make().to_arrow().set_column(1, "open", pa.array([1, None, 3], pa.int64()))
    np.testing.assert_array_equal(Bars.from_arrow(table).open, [1, np.nan, 3])
    table = table.set_column(0, "timestamp", pa.array([START, START, None], pa.timestamp("ms")))
    with pytest.raises(MalformedData, match="The time in row 2 is missing"):
        Bars.from_arrow(table)
    volume = make().to_arrow().set_column(5, "volume", pa.nulls(3))
    assert np.isnan(Bars.from_arrow(volume).volume).all()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (pa.table({"a": [1.0]}), "There is no column of times; found: a"),
        (pa.table({}), "There is no column of times; found: no columns"),
        (pa.table({"time": [START], "open": [1.0]}), "There is no column for high, low, close; found: open"),
        (pa.table([[START], [1.0], [2.0]], names=["time", "open", "open"]), "There are two columns called 'open'"),
        (make().to_arrow().set_column(1, "open", pa.array(["1", "2", "x"])), "'open' holds .* not a number in row 2: 'x'"),
        (make().to_arrow().set_column(0, "timestamp", pa.array(["2024", "soon", "2025"])), r"'soon' is not a time \(row 1\)"),
        (make().to_arrow().set_column(0, "timestamp", pa.array([1.7e9, float("nan"), 1.7e9])), "The time in row 1 is nan"),
    ],
)  # fmt: skip
def test_an_arrow_table_that_can_not_be_read_says_why(table, said):
    with pytest.raises(MalformedData, match=said):
        to_bars(table, symbol="", timeframe="1m")


@pytest.mark.parametrize(
    "thing",
    [None, 5, "bars", b"bars", {"open": [1]}, [1, 2], object(), pd.Series([1.0]), pl.Series([1.0]), pl.LazyFrame({"a": [1]}),
     pa.chunked_array([[1.0]]), np.zeros((2, 6))],
    ids=lambda thing: type(thing).__name__,
)  # fmt: skip
def test_what_is_no_table_is_quoted_and_refused(thing):
    with pytest.raises(DataError, match=r"which can't be read as bars") as caught:
        to_bars(thing, symbol="", timeframe="1m", source="mine")
    assert caught.value.message.startswith(f"The source 'mine' returned {type(thing).__name__}: ")
    assert "__arrow_c_stream__" in caught.value.hint
    assert "iterator" not in caught.value.hint  # which only a source may return


# ── Bars as they are, and chunks ─────────────────────────────────────────────────────────────────────


def test_bars_pass_through_uncopied_with_the_attributes_that_were_asked_for():
    bars = make()
    assert to_bars(bars) is bars
    assert to_bars(bars, symbol="BTC/USDT", timeframe="60s") is bars
    renamed = to_bars(bars, symbol="XBT", timeframe="1m", source="mine")
    assert (renamed.symbol, renamed.source) == ("XBT", "mine")
    assert renamed.close is bars.close


def test_bars_are_never_taken_for_bars_of_another_timeframe():
    for data in (make(), make().to_arrow()):
        with pytest.raises(DataError, match="These are bars of 1m, not of 1h") as caught:
            to_bars(data, timeframe="1h")
        assert "resample" in caught.value.hint
    with pytest.raises(DataError, match="bars of 1m, not of 1h"):
        Bars.from_records(list(make()), symbol="", timeframe="1h")


def test_chunks_of_any_kind_become_bars():
    mixed = [make()[:1], frame(), make().to_arrow(), pl.DataFrame(make()), make().to_arrow().to_batches()[0]]
    chunks = list(iter_bars(iter(mixed), symbol="BTC/USDT", timeframe="1m", source="mine"))
    assert [len(chunk) for chunk in chunks] == [1, 3, 3, 3, 3]
    assert all(chunk == make()[: len(chunk)] for chunk in chunks)
    assert {chunk.source for chunk in chunks} == {"mine"}
    for single in (make(), frame(), make().to_arrow(), pl.DataFrame(make())):
        assert list(iter_bars(single, symbol="BTC/USDT", timeframe="1m")) == [make()]
    assert list(iter_bars(None, symbol="", timeframe="1m")) == []
    assert list(iter_bars([], symbol="", timeframe="1m")) == []


def test_chunks_are_read_one_at_a_time():
    taken = []

    def chunks():
        for row in range(3):
            taken.append(row)
            yield make()[row : row + 1]

    reader = iter_bars(chunks(), symbol="", timeframe="1m")
    assert taken == []
    next(reader)
    assert taken == [0]


@pytest.mark.parametrize("thing", [5, "bars", b"", {"a": 1}, object()], ids=lambda thing: type(thing).__name__)
def test_neither_bars_nor_an_iterator_of_them_is_refused(thing):
    with pytest.raises(DataError, match="The source 'mine' returned"):
        list(iter_bars(thing, symbol="", timeframe="1m", source="mine"))
    with pytest.raises(DataError, match="The source 'mine' returned"):
        list(iter_bars([make(), thing], symbol="", timeframe="1m", source="mine"))


# ── records ──────────────────────────────────────────────────────────────────────────────────────────


@given(any_bars(times=st.integers(100_000_000_000, 99_999_999_999_999)))
def test_records_and_back_is_the_same(bars):
    back = Bars.from_records(bars.to_records(), symbol=bars.symbol, timeframe=bars.timeframe)
    same_columns(back, bars.but(flags=np.zeros(len(bars), np.uint8), extra={}))


@given(any_bars())
def test_candles_and_back_is_the_same_at_any_time(bars):
    back = Bars.from_records(list(bars), symbol=bars.symbol, timeframe=bars.timeframe)
    same_columns(back, bars.but(extra={}))


@pytest.mark.parametrize(
    "rows",
    [
        [[START, 1, 2, 0.5, 1.5, 10], [START + MINUTE, 1, 2, 0.5, 1.5, 10]],
        [(START // 1000, "1", "2", "0.5", "1.5", "10"), (START // 1000 + 60, 1, 2, 0.5, 1.5, 10)],
        [("2024-01-01", 1, 2, 0.5, 1.5, 10), (dt.datetime(2024, 1, 1, 0, 1, tzinfo=dt.UTC), 1, 2, 0.5, 1.5, 10)],
        np.array([[START, 1, 2, 0.5, 1.5, 10], [START + MINUTE, 1, 2, 0.5, 1.5, 10]]),
        [(START, 1, 2, 0.5, 1.5, 10, START + MINUTE - 1, "11.5", 3), (START + MINUTE, 1, 2, 0.5, 1.5, 10, 0, "", 0)],
        [{"t": time, "o": 1, "h": 2, "l": 0.5, "c": 1.5, "v": 10} for time in (START, START + MINUTE)],
        iter([(START, 1, 2, 0.5, 1.5, 10), (START + MINUTE, 1, 2, 0.5, 1.5, 10)]),
    ],
    ids=["lists", "text", "times", "array", "klines", "mappings", "iterator"],
)  # fmt: skip
def test_rows_of_any_kind_are_bars(rows):
    bars = Bars.from_records(rows, symbol="X", timeframe="1m", source="here")
    assert bars.to_records() == [(START, 1.0, 2.0, 0.5, 1.5, 10.0), (START + MINUTE, 1.0, 2.0, 0.5, 1.5, 10.0)]
    assert (bars.symbol, bars.timeframe, bars.source) == ("X", "1m", "here")


def test_rows_without_volume_and_with_none_are_read():
    bars = Bars.from_records([(START, 1, 2, 0.5, None)], symbol="X", timeframe="1m")
    assert np.isnan(bars.close[0])
    assert bars.volume.tolist() == [0.0]
    assert "the source has none" in bars.provenance["volume"]


def test_further_numbers_of_mappings_become_extra_columns():
    base = {"time": START, "open": 1, "high": 2, "low": 0.5, "close": 1.5, "volume": 10}
    rows = [base | {"trades": 5, "note": "a", "ok": True}, base | {"time": START + MINUTE, "trades": None, "funding": 0.1}]
    bars = Bars.from_records(rows, symbol="X", timeframe="1m")
    assert list(bars.extra) == ["trades", "funding"]
    np.testing.assert_array_equal(bars["trades"], [5, np.nan])
    np.testing.assert_array_equal(bars["funding"], [np.nan, 0.1])


@pytest.mark.parametrize(
    "time", ["1970-01-01", "1971-06-01T12:00Z", dt.date(1972, 1, 1), np.datetime64("1970-03-01"), pd.Timestamp("1971-01-01")]
)
def test_a_time_of_the_seventies_that_is_no_number_stays_there(time):
    bars = Bars.from_records([(time, 1, 1, 1, 1, 1)], symbol="", timeframe="1d")
    assert bars.time.tolist() == [parse_time(time)]


def test_no_records_are_no_bars():
    assert Bars.from_records([], symbol="X", timeframe="1h") == Bars.empty("X", "1h")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([(START, 1, 2, 3, 4, 5), (START, 1, 2)], "Row 1 can't be read as a bar"),
        ([1, 2], "Row 0 can't be read as a bar: '1'"),
        (["abc"], "Row 0 can't be read as a bar: 'abc'"),
        ([(START, 1, 2, 3, 4, 5), {"time": START}], "Row 1 can't be read as a bar"),
        ([{"time": START}, (START, 1, 2, 3, 4, 5)], "Row 0 can't be read as a bar"),
        ([(START, 1, 2)], "There is no column for low, close"),
        ([{"open": 1, "high": 1, "low": 1, "close": 1}], "There is no time in the rows; found: open, high, low, close"),
        ([(None, 1, 2, 3, 4, 5)], r"None is not a time \(row 0\)"),
        ([(START, 1, 2, 3, 4, 5), (True, 1, 2, 3, 4, 5)], r"True is not a time \(row 1\)"),
        ([(START, 1, 2, 3, 4, 5), (float("nan"), 1, 2, 3, 4, 5)], "The time in row 1 is nan"),
        ([(2**70, 1, 2, 3, 4, 5)], f"{2**70} is not a time"),
        ([(START, 1, 2, 3, 4, 5), (START // 1000, 1, 2, 3, 4, 5)], "mixes units"),
        ([(START, 1, 2, 3, "four", 5)], "'close' holds something that is not a number in row 0: 'four'"),
        ([(START, 1, 2, 3, [4], 5)], "'close' holds something that is not a number in row 0"),
        ([(START, 1, 2, 3, 10**400, 5)], "'close' holds something that is not a number in row 0"),
    ],
)
def test_rows_that_are_no_bars_say_which_and_quote_it(rows, said):
    with pytest.raises(MalformedData, match=said):
        Bars.from_records(rows, symbol="", timeframe="1m")


def test_a_candle_of_a_stream_keeps_its_flags():
    candle = OHLCVCandle("X", Timeframe("1m"), 60_000, 1.0, 2.0, 0.5, 1.5, 10.0, flags=8)
    bars = Bars.from_records([candle], symbol="X", timeframe="1m")
    assert (bars.time.tolist(), bars.flags.tolist(), bars.extra) == ([60_000], [8], {})


# ── CSV ──────────────────────────────────────────────────────────────────────────────────────────────


def read_csv(path) -> tuple[list[str], list[list[str]]]:
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    return header, rows


@given(any_bars())
def test_csv_text_holds_every_value_exactly(tmp_path_factory, bars):
    path = bars.to_csv(tmp_path_factory.mktemp("csv") / "bars.csv")
    header, rows = read_csv(path)
    assert header == ["timestamp", *PRICES, "volume", *bars.extra, *(["flags"] if bars.flags.any() else [])]
    assert len(rows) == len(bars)
    early = len(bars) > 0 and np.abs(bars.time).min() < 10**11
    times = [parse_time(row[0]) if early else int(row[0]) for row in rows]
    assert times == bars.time.tolist()
    for at, name in enumerate(header[1:], 1):
        np.testing.assert_array_equal([float(row[at]) for row in rows], bars[name])


def test_csv_times_are_milliseconds_but_text_where_those_would_pass_for_seconds(tmp_path):
    assert [row[0] for row in read_csv(make(2).to_csv(tmp_path / "a.csv"))[1]] == [str(START), str(START + MINUTE)]
    old = make(2, time=[parse_time("1971-01-01"), START]).to_csv(tmp_path / "b.csv")
    assert [parse_time(row[0]) for row in read_csv(old)[1]] == [parse_time("1971-01-01"), START]
    assert not read_csv(old)[1][0][0].isdigit()


def test_csv_prices_are_the_shortest_exact_decimals(tmp_path):
    path = make(2, open=[0.1, 1e-8], close=[17212.12, 100.0]).to_csv(tmp_path / "bars.csv")
    row = read_csv(path)[1]
    assert row[0][1] == "0.1"
    assert row[0][4] == "17212.12"
    assert float(row[1][1]) == 1e-8


def test_no_bars_are_a_header(tmp_path):
    assert Bars.empty("X", "1m").to_csv(tmp_path / "bars.csv").read_text() == "timestamp,open,high,low,close,volume\n"


# ── Parquet ──────────────────────────────────────────────────────────────────────────────────────────


@given(any_bars())
def test_parquet_and_back_is_the_same_to_the_last_bit_with_what_is_known(tmp_path_factory, bars):
    path = bars.to_parquet(tmp_path_factory.mktemp("parquet") / "bars.parquet")
    back = Bars.from_parquet(path)
    same_columns(back, bars)
    assert back == bars
    assert (back.symbol, back.timeframe, back.source) == (bars.symbol, bars.timeframe, bars.source)
    assert dict(back.provenance) == dict(bars.provenance)
    assert type(back.timeframe) is Timeframe


def test_the_report_stays_behind_but_flags_go_along(tmp_path):
    bars = make(flags=[0, 1, 8])
    assert Bars.from_parquet(bars.to_parquet(tmp_path / "x.parquet")).flags.tolist() == [0, 1, 8]
    assert Bars.from_parquet(tmp_path / "x.parquet").report is None


def test_parquet_of_others_needs_a_timeframe_and_may_be_given_a_symbol(tmp_path):
    path = tmp_path / "pandas.parquet"
    make().to_pandas().to_parquet(path)
    with pytest.raises(InvalidOption, match="timeframe of these bars is not known"):
        Bars.from_parquet(path)
    assert Bars.from_parquet(path, symbol="BTC/USDT", timeframe="1m") == make()


def test_a_folder_that_looks_like_a_partition_adds_no_column(tmp_path):
    folder = tmp_path / "year=2024" / "symbol=BTC"
    folder.mkdir(parents=True)
    assert Bars.from_parquet(make().to_parquet(folder / "bars.parquet")).columns == NAMES


def test_provenance_that_is_no_json_is_written_as_text(tmp_path):
    path = make(provenance={"when": dt.date(2024, 1, 1)}).to_parquet(tmp_path / "x.parquet")
    assert Bars.from_parquet(path).provenance["when"] == "2024-01-01"
    assert json.loads(pq.read_schema(path).metadata[b"cracktrader"])["timeframe"] == "1m"


def test_a_file_that_is_not_there_or_no_parquet_says_so(tmp_path):
    with pytest.raises(SourceNotFound, match=r"There is no file '.*none\.parquet'"):
        Bars.from_parquet(tmp_path / "none.parquet")
    whole = make(1000).to_parquet(tmp_path / "whole.parquet").read_bytes()
    for name, content in {
        "empty": b"",
        "text": b"timestamp,open\n1,2\n",
        "cut": whole[:-100],
        "torn": whole[:8] + whole[100:],
    }.items():
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(content)
        with pytest.raises(MalformedData, match=rf"{name}\.parquet can't be read as Parquet") as caught:
            Bars.from_parquet(path)
        assert "Is it whole" in caught.value.hint
    with pytest.raises(MalformedData, match="can't be read as Parquet"):
        Bars.from_parquet(tmp_path)


# ── files are written whole or not at all ────────────────────────────────────────────────────────────


@pytest.mark.parametrize("write", [Bars.to_csv, Bars.to_parquet])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, write):
    path = tmp_path / "bars.out"
    path.write_text("old")
    assert write(make(), str(path)) == path
    assert path.stat().st_size > 10
    assert [entry.name for entry in tmp_path.iterdir()] == ["bars.out"]


class Unwritable:
    """A value in the provenance whose text can't be made: writing it fails when the file is open already."""

    def __deepcopy__(self, memo):
        return self

    def __str__(self):
        raise RuntimeError("the disk is full")


def test_a_failure_leaves_the_old_file_and_no_temporary(tmp_path):
    path = tmp_path / "bars.parquet"
    path.write_text("old")
    with pytest.raises(RuntimeError, match="the disk is full"):
        make(provenance={"x": Unwritable()}).to_parquet(path)

    def fails_half_way(failure):
        with atomic_path(path) as temporary:
            with open(temporary, "w") as file:
                file.write("half")
            assert len(list(tmp_path.iterdir())) == 2
            raise failure

    for failure in (RuntimeError("the disk is full"), KeyboardInterrupt()):
        with pytest.raises(type(failure)):
            fails_half_way(failure)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["bars.parquet"]


def test_the_file_appears_only_when_it_is_whole(tmp_path):
    path = tmp_path / "bars.csv"
    with atomic_path(path) as temporary:
        assert os.path.dirname(temporary) == str(tmp_path)
        assert os.path.basename(temporary).startswith(".bars.csv.")
        assert not path.exists()
        with open(temporary, "w") as file:
            file.write("whole")
    assert path.read_text() == "whole"


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX's")
def test_a_new_file_has_the_usual_mode_and_a_replaced_one_keeps_its_own(tmp_path):
    usual = tmp_path / "usual"
    usual.write_text("")
    path = make().to_csv(tmp_path / "bars.csv")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(usual.stat().st_mode)
    path.chmod(0o600)
    assert stat.S_IMODE(make().to_csv(path).stat().st_mode) == 0o600


@pytest.mark.parametrize("write", [Bars.to_csv, Bars.to_parquet])
def test_where_nothing_can_be_written_it_says_why(tmp_path, write):
    with pytest.raises(InvalidOption, match=r"There is no folder '.*nowhere' to write 'x\.csv' into") as caught:
        write(make(), tmp_path / "nowhere" / "x.csv")
    assert caught.value.hint == "Make it first."
    with pytest.raises(InvalidOption, match="is a folder, not a file to write"):
        write(make(), tmp_path)
    with pytest.raises(InvalidOption, match="can't be written: File name too long") as caught:
        write(make(), tmp_path / ("x" * 250))
    assert caught.value.hint == "Is the folder writable?"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_named(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(InvalidOption, match=r"can't be written: Permission denied"):
        make().to_csv(tmp_path / "x.csv")
    tmp_path.chmod(0o700)
