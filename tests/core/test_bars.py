"""Bars: immutable columns, exact conversion, rows and slices, equality, pickling, the report's fate."""

import copy
import gc
import itertools
import pickle
import weakref

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import DataError, InvalidOption, InvalidTime, InvalidTimeframe
from cracktrader.events import OHLCVCandle
from cracktrader.quality import validate
from cracktrader.timeframe import Timeframe

COLUMNS = ("time", *PRICES, "volume", "flags")
DTYPES = {"time": np.int64, "flags": np.uint8} | dict.fromkeys((*PRICES, "volume"), np.float64)
MINUTE = 60_000
START = 1_704_067_200_000


def make(rows: int = 5, **changes) -> Bars:
    column = np.arange(rows, dtype=np.float64)
    arguments = {
        "time": START + MINUTE * np.arange(rows), "open": column + 100, "high": column + 102, "low": column + 99,
        "close": column + 101, "volume": column + 10, "symbol": "BTC/USDT", "timeframe": "1m", "extra": {"trades": column * 2},
        "source": "here", "provenance": {"file": "x.csv"},
    }  # fmt: skip
    return Bars(**arguments | changes)


# ── immutable ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [*COLUMNS, "trades"])
def test_columns_can_not_be_written_to(name):
    for bars in (
        make(),
        make()[1:3],
        make()[[0, 2]],
        make().but(symbol="X"),
        Bars.concat([make(), make()]),
        Bars.empty("X", "1m"),
    ):
        if name not in bars.columns:
            continue
        with pytest.raises(ValueError, match="read-only"):
            bars[name][:] = 0
        assert not bars[name].flags.writeable


@pytest.mark.parametrize("name", [*COLUMNS, "extra", "symbol", "timeframe", "source", "provenance", "report", "nonsense"])
def test_attributes_can_not_be_set_or_deleted(name):
    bars = make()
    with pytest.raises(AttributeError, match=rf"Bars are immutable: can't set '{name}'.*bars.but\({name}=…\)"):
        setattr(bars, name, 1)
    with pytest.raises(AttributeError):
        delattr(bars, name)


def test_the_mappings_can_not_be_written_to():
    bars = make()
    for mapping in (bars.extra, bars.provenance):
        with pytest.raises(TypeError):
            mapping["file"] = 1


def test_provenance_is_not_shared_with_whoever_passed_it():
    given_in = {"files": ["a.csv"], "how": {"limit": 5}}
    bars = make(provenance=given_in)
    given_in["files"].append("b.csv")
    given_in["how"]["limit"] = 6
    given_in["new"] = 1
    assert dict(bars.provenance) == {"files": ["a.csv"], "how": {"limit": 5}}


def test_extra_is_not_shared_with_whoever_passed_it():
    extra = {"trades": np.zeros(5)}
    bars = make(extra=extra)
    extra["funding"] = np.ones(5)
    assert list(bars.extra) == ["trades"]


def test_the_array_of_the_caller_stays_writable_and_is_not_written_to():
    close = np.arange(5.0)
    bars = make(close=close)
    assert close.flags.writeable
    assert not bars.close.flags.writeable
    assert np.shares_memory(bars.close, close)


# ── columns in ───────────────────────────────────────────────────────────────────────────────────────


def test_every_column_has_its_dtype_whatever_it_came_as():
    bars = Bars([0, 60_000], [1, 2], (2, 2), range(1, 3), np.array([1, 2], np.int8), pd.Series([1, 2]), symbol="", timeframe="1m",
                flags=[1, True], extra={"n": pa.array([1, 2])})  # fmt: skip
    for name, dtype in (DTYPES | {"n": np.float64}).items():
        assert bars[name].dtype == dtype, name
        assert bars[name].flags.c_contiguous
        assert bars[name].shape == (2,)
    assert bars.flags.tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint64, np.int64, ">f8", object])
def test_numbers_of_any_dtype_become_float64(dtype):
    assert make(2, close=np.array([1, 2], dtype=dtype)).close.tolist() == [1.0, 2.0]


def test_none_and_numbers_as_text_become_floats():
    close = make(3, close=[None, "1.5", 2]).close
    assert np.isnan(close[0])
    assert close[1:].tolist() == [1.5, 2.0]


@pytest.mark.parametrize(
    "times",
    [
        [START, START + MINUTE],
        (START, START + MINUTE),
        np.array([START, START + MINUTE], dtype=object),
        np.array([START, START + MINUTE], dtype=np.float64),
        np.array([START, START + MINUTE], dtype=np.uint64),
        np.array([START, START + MINUTE], dtype=">i8"),
        np.array(["2024-01-01T00:00", "2024-01-01T00:01"], dtype="datetime64[m]"),
        np.array(["2024-01-01T00:00", "2024-01-01T00:01"], dtype="datetime64[s]"),
        np.array(["2024-01-01T00:00:00.000999", "2024-01-01T00:01"], dtype="datetime64[us]"),
        np.array(["2024-01-01T00:00", "2024-01-01T00:01"], dtype="datetime64[ns]"),
        pd.DatetimeIndex(["2024-01-01T00:00", "2024-01-01T00:01"]),
        pd.DatetimeIndex(["2024-01-01T00:00", "2024-01-01T00:01"]).as_unit("ns"),
        pd.Series(pd.to_datetime(["2024-01-01T00:00", "2024-01-01T00:01"])),
    ],
    ids=lambda times: f"{type(times).__name__}-{getattr(times, 'dtype', '')}",
)
def test_times_of_any_whole_kind_become_milliseconds(times):
    bars = make(2, time=times)
    assert bars.time.tolist() == [START, START + MINUTE]
    assert bars.time.dtype == np.int64


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("time", [0.5, 1], "0.5 in row 0 is not a whole number"),
        ("time", np.array([0, np.nan]), "nan in row 1 is not a whole number"),
        ("time", np.array([0, np.inf]), "inf in row 1 is not a whole number"),
        ("time", np.array([0, 1e300]), "1e.300 in row 1 is not a whole number"),
        ("time", np.array([1, 2**64 - 1], np.uint64), "18446744073709551615 in row 1 is not a whole number"),
        ("time", [0, 2**70], "too large"),
        ("time", [0, None], "int"),
        ("time", ["0", "60000"], "it holds <U5"),
        ("time", [False, True], "it holds bool"),
        ("time", np.array(["2024-01-01", "NaT"], "datetime64[D]"), "the time in row 1 is missing"),
        ("time", pd.DatetimeIndex(["2024-01-01", "2024-01-02"], tz="UTC"), "Timestamp"),
        ("flags", [0, 256], "256 in row 1 is not a whole number from 0 to 255"),
        ("flags", np.array([-1, 0]), "-1 in row 0 is not a whole number from 0 to 255"),
        ("flags", [0.5, 0], "0.5 in row 0"),
        ("flags", [np.nan, 0], "nan in row 0"),
        ("close", ["1", "one"], "could not convert string to float: 'one'"),
        ("close", [object(), 1], "float"),
        ("close", [1j, 1], "it holds complex128"),
        ("close", np.array(["2024-01-01", "2024-01-02"], "datetime64[D]"), "it holds datetime64"),
        ("close", [10**400, 1], "too large"),
        ("close", [[1], [2, 3]], "inhomogeneous"),
        ("extra", {"n": ["1", "one"]}, "could not convert string to float: 'one'"),
    ],
)
def test_what_can_not_be_converted_without_loss_is_refused_by_name_and_row(column, values, said):
    with pytest.raises(DataError, match=said) as caught:
        make(2, **{column: values})
    name = "n" if column == "extra" else column
    assert caught.value.message.startswith(f"The column {name!r} can't be read as ")
    assert caught.value.context["column"] == name
    assert ("epoch milliseconds" in caught.value.hint) == (column == "time")


@pytest.mark.parametrize("name", ["open", "high", "low", "close", "volume", "flags"])
def test_columns_of_different_lengths_are_refused(name):
    for values, shape in ((np.zeros(4), "4,"), (np.zeros((5, 1)), "5, 1"), (0, "")):
        with pytest.raises(DataError, match=rf"The column '{name}' has shape \({shape}\), not \(5,\)"):
            make(5, **{name: values})
    with pytest.raises(DataError, match=r"The column 'n' has shape \(4,\), not \(5,\)"):
        make(5, extra={"n": np.zeros(4)})


def test_a_table_is_no_column_of_times():
    with pytest.raises(DataError, match=r"The column 'time' has shape \(2, 2\), not \(n,\)"):
        make(2, time=np.zeros((2, 2), np.int64))


@pytest.mark.parametrize("name", [*COLUMNS, "timestamp"])
def test_an_extra_column_can_not_take_the_name_of_one_that_all_bars_have(name):
    with pytest.raises(DataError, match=f"An extra column can't be called '{name}'"):
        make(2, extra={name: [1, 2]})


def test_a_bad_timeframe_is_refused():
    with pytest.raises(InvalidTimeframe):
        make(timeframe="7x")
    assert make(timeframe="60s").timeframe == Timeframe("1m")
    assert type(make(timeframe="60s").timeframe) is Timeframe


def test_an_array_of_the_right_dtype_is_taken_uncopied():
    arrays = {name: np.zeros(5, dtype) for name, dtype in DTYPES.items()}
    bars = make(**arrays, extra={"n": (extra := np.zeros(5))})
    assert all(np.shares_memory(bars[name], array) for name, array in arrays.items())
    assert np.shares_memory(bars["n"], extra)


def test_columns_are_contiguous_even_if_they_came_as_a_stride():
    table = np.arange(20.0).reshape(5, 4)
    bars = make(close=table[:, 1])
    assert bars.close.flags.c_contiguous
    assert bars.close.tolist() == table[:, 1].tolist()


# ── rows and columns ─────────────────────────────────────────────────────────────────────────────────


def test_a_name_gives_a_column():
    bars = make()
    assert bars.columns == (*COLUMNS, "trades")
    for name in COLUMNS:
        assert bars[name] is getattr(bars, name)
    assert bars["trades"] is bars.extra["trades"]


@pytest.mark.parametrize("name", ["Close", "symbol", "report", "extra", "columns", "__len__"])
def test_a_name_that_is_no_column_is_a_key_error_that_lists_them(name):
    with pytest.raises(KeyError, match=f"No column '{name}'; there are: time, open, high, low, close, volume, flags, trades"):
        make()[name]


@pytest.mark.parametrize("row", [0, 4, -1, -5, np.int64(2), np.uint8(3)])
def test_a_number_gives_one_candle_of_plain_numbers(row):
    bars = make(flags=[0, 1, 2, 4, 8])
    candle = bars[row]
    assert candle == OHLCVCandle("BTC/USDT", Timeframe("1m"), START + MINUTE * (int(row) % 5), 100.0 + int(row) % 5,
                                 102.0 + int(row) % 5, 99.0 + int(row) % 5, 101.0 + int(row) % 5, 10.0 + int(row) % 5,
                                 flags=[0, 1, 2, 4, 8][row])  # fmt: skip
    assert {type(value) for value in candle.values()} == {str, Timeframe, int, float, bool}


@pytest.mark.parametrize("row", [5, -6])
def test_a_row_that_is_not_there_is_an_index_error(row):
    with pytest.raises(IndexError):
        make()[row]


def test_iterating_gives_each_row_once_in_order():
    bars = make(flags=[0, 1, 2, 4, 8])
    assert list(bars) == [bars[row] for row in range(5)]
    assert {type(value) for candle in bars for value in candle.values()} == {str, Timeframe, int, float, bool}
    assert list(Bars.empty("X", "1m")) == []


@given(st.integers(-7, 7) | st.none(), st.integers(-7, 7) | st.none())
def test_a_slice_gives_bars_without_copying(start, stop):
    bars = make()
    part = bars[start:stop]
    assert isinstance(part, Bars)
    assert len(part) == len(range(5)[start:stop])
    for name in bars.columns:
        assert part[name].tolist() == bars[name].tolist()[start:stop]
        assert np.shares_memory(part[name], bars[name]) == bool(len(part))
    assert (part.symbol, part.timeframe, part.source, part.provenance) == (
        bars.symbol,
        bars.timeframe,
        bars.source,
        bars.provenance,
    )


@given(st.integers(-7, 7) | st.none(), st.integers(-7, 7) | st.none(), st.integers(-3, 3).filter(bool))
def test_a_slice_with_a_step_gives_those_rows(start, stop, step):
    part = make()[start:stop:step]
    for name in part.columns:
        assert part[name].tolist() == make()[name].tolist()[start:stop:step]
        assert part[name].flags.c_contiguous


@given(st.lists(st.booleans(), min_size=5, max_size=5))
def test_a_mask_gives_the_rows_where_it_is_true(mask):
    bars = make()
    rows = [row for row, chosen in enumerate(mask) if chosen]
    for part in (bars[np.array(mask)], bars[mask], bars[np.array(rows, dtype=np.int64)]):
        assert [candle.time for candle in part] == [START + MINUTE * row for row in rows]
        assert part["trades"].tolist() == [2.0 * row for row in rows]


def test_an_index_array_gives_those_rows_in_that_order():
    assert make()[[3, 0, 3]].close.tolist() == [104.0, 101.0, 104.0]
    with pytest.raises(IndexError):
        make()[[5]]
    with pytest.raises(IndexError):
        make()[np.array([True])]


# ── between ──────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(-2 * MINUTE, 7 * MINUTE), st.integers(-2 * MINUTE, 7 * MINUTE))
def test_between_is_half_open_and_shares_memory(one, other):
    bars, start, end = make(), START + min(one, other), START + max(one, other)
    part = bars.between(start, end)
    assert part.time.tolist() == [time for time in bars.time.tolist() if start <= time < end]
    assert not len(part) or np.shares_memory(part.close, bars.close)


def test_between_takes_any_time_and_open_sides():
    bars = make()
    assert len(bars.between()) == 5
    assert len(bars.between("2024-01-01T00:01")) == 4
    assert len(bars.between(end=START // 1000 + 60)) == 1
    assert len(bars.between("2024-01-02")) == 0
    assert len(bars.between("2024-01-01T00:03", "2024-01-01T00:01")) == 0
    with pytest.raises(InvalidTime):
        bars.between("yesterday")


def test_between_reads_milliseconds_of_1970_as_such_when_told():
    bars = make(time=MINUTE * np.arange(5))
    assert bars.between(MINUTE, 3 * MINUTE, unit="ms").time.tolist() == [MINUTE, 2 * MINUTE]


# ── but, concat, empty ───────────────────────────────────────────────────────────────────────────────


def test_but_changes_what_is_named_and_shares_the_rest():
    bars = make()
    changed = bars.but(close=bars.close * 2, symbol="ETH/USDT", source="there", provenance={"a": 1})
    assert changed.close.tolist() == (bars.close * 2).tolist()
    assert (changed.symbol, changed.source, dict(changed.provenance)) == ("ETH/USDT", "there", {"a": 1})
    for name in set(bars.columns) - {"close"}:
        assert changed[name] is bars[name]
    assert bars.symbol == "BTC/USDT"
    assert bars.but(timeframe="60m").timeframe == "1h"


def test_but_checks_new_columns_like_the_constructor():
    with pytest.raises(DataError, match=r"has shape \(2,\), not \(5,\)"):
        make().but(close=[1, 2])
    with pytest.raises(TypeError, match="nonsense"):
        make().but(nonsense=1)


def test_the_report_is_kept_where_the_rows_are():
    bars = validate(make(), now=START * 2)
    report = bars.report
    assert report is not None
    for same in (
        bars.but(symbol="X"),
        bars.but(source="x", provenance={}),
        bars.but(),
        Bars.concat([bars]),
        pickle.loads(pickle.dumps(bars)),
    ):
        assert same.report == report
        assert same.report.bars is same
    for other in (
        bars[1:],
        bars[:],
        bars[[0]],
        bars.but(close=bars.close),
        bars.but(extra={}),
        Bars.concat([bars, bars]),
        bars.between(),
    ):
        assert other.report is None
    assert bars.but(close=bars.close, report=report).report == report
    assert make().report is None


def test_a_report_does_not_keep_bars_alive_in_a_cycle():
    bars = validate(make(), now=START * 2)
    assert bars.report.bars is bars
    gone = weakref.ref(bars)
    gc.disable()
    try:
        del bars
        assert gone() is None
    finally:
        gc.enable()


def test_concat_joins_rows_in_the_order_given():
    joined = Bars.concat([make()[3:], make()[:2], Bars.empty("BTC/USDT", "1m")])
    assert joined.close.tolist() == [104.0, 105.0, 101.0, 102.0]
    assert joined.flags.dtype == np.uint8
    assert (joined.symbol, joined.source, dict(joined.provenance)) == ("BTC/USDT", "here", {"file": "x.csv"})


def test_concat_fills_columns_that_a_part_lacks_with_nan():
    joined = Bars.concat([make(2), make(2, extra={"funding": [1, 2]}), make(1, extra={})])
    assert list(joined.extra) == ["trades", "funding"]
    np.testing.assert_array_equal(joined["trades"], [0, 2, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(joined["funding"], [np.nan, np.nan, 1, 2, np.nan])


def test_concat_joins_what_the_parts_say_of_where_they_come_from():
    said = [{"file": "a.csv", "notes": ["late"], "n": 1}, {"notes": "late"}, {"file": "b.csv", "notes": ["late", "cut"]}]
    joined = Bars.concat([make(1, provenance=one) for one in said])
    assert dict(joined.provenance) == {"file": "b.csv", "notes": ["late", "cut"], "n": 1}


def test_concat_of_one_part_is_that_part():
    bars = make()
    assert Bars.concat([bars]) is bars


@pytest.mark.parametrize("other", [{"symbol": "ETH/USDT"}, {"timeframe": "1h"}])
def test_concat_refuses_another_symbol_or_timeframe(other):
    with pytest.raises(DataError, match=r"can't be joined to bars of BTC/USDT 1m"):
        Bars.concat([make(), make(**other)])


def test_concat_refuses_nothing():
    with pytest.raises(InvalidOption, match="at least one part"):
        Bars.concat([])


@given(st.lists(st.integers(0, 5), max_size=4))
def test_cutting_and_joining_gives_the_same_bars(cuts):
    bars, edges = make(), [0, *sorted(cuts), 5]
    assert Bars.concat([bars[a:b] for a, b in itertools.pairwise(edges)]) == bars


def test_no_bars_are_bars():
    none = Bars.empty("X", "1h", source="s", provenance={"a": 1})
    assert len(none) == 0
    assert {name: none[name].dtype for name in COLUMNS} == DTYPES
    assert (none.symbol, none.timeframe, none.source, dict(none.provenance)) == ("X", "1h", "s", {"a": 1})
    assert not none.between("2024-01-01")
    assert none.to_records() == []


# ── comparing, showing, copying ──────────────────────────────────────────────────────────────────────


def test_bars_are_equal_value_for_value_and_nan_equals_nan():
    one, two = (make(close=[1, np.nan, 3, 4, 5], extra={"n": [np.nan] * 5}) for _ in range(2))
    assert one == two
    assert one == two.but(source="elsewhere", provenance={})
    assert one != two.but(symbol="elsewhere")


@pytest.mark.parametrize(
    "changes",
    [{name: np.ones(5, DTYPES[name])} for name in COLUMNS]
    + [
        {"symbol": "X"},
        {"timeframe": "1h"},
        {"extra": {}},
        {"extra": {"trades": [0, 2, 4, 6, 9]}},
        {"extra": {"n": np.arange(5) * 2}},
    ],
)
def test_any_difference_makes_bars_unequal(changes):
    assert make() != make(**changes)


def test_bars_of_other_lengths_and_other_things_are_unequal():
    assert make() != make()[:4]
    assert make() != make(4)
    assert make() != "bars"
    assert make() != make().to_records()


def test_bars_can_not_be_hashed():
    with pytest.raises(TypeError):
        hash(make())


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_copies_are_equal_immutable_and_whole(rows):
    bars = make(rows, provenance={"files": ["a"], "n": {"x": 1}})
    copies = [pickle.loads(pickle.dumps(bars, protocol)) for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1)]
    for same in (*copies, copy.copy(bars), copy.deepcopy(bars)):
        assert same == bars
        assert (same.source, dict(same.provenance)) == (bars.source, dict(bars.provenance))
        assert type(same.timeframe) is Timeframe
        assert not any(same[name].flags.writeable for name in same.columns)


def test_bars_show_what_when_and_how_many():
    assert repr(make()) == "<Bars BTC/USDT 1m from here: 5, 2024-01-01T00:00:00Z to 2024-01-01T00:04:00Z>"
    assert repr(make(flags=[0, 1, 8, 0, 0], source="")) == (
        "<Bars BTC/USDT 1m: 5, 2024-01-01T00:00:00Z to 2024-01-01T00:04:00Z, 2 flagged>"
    )
    assert repr(Bars.empty("", "1h")) == "<Bars no symbol 1h: none>"
    assert "12,345" in repr(make(12_345))


def test_nbytes_is_the_memory_of_all_columns():
    assert make(10).nbytes == 10 * (8 * 7 + 1)


def test_flags_are_bits_of_their_own():
    assert [flag.value for flag in Flag] == [1, 2, 4, 8]
    assert Flag(9) == Flag.FILLED | Flag.SUSPECT


def test_records_are_tuples_of_plain_numbers():
    records = make(2).to_records()
    assert records == [(START, 100.0, 102.0, 99.0, 101.0, 10.0), (START + MINUTE, 101.0, 103.0, 100.0, 102.0, 11.0)]
    assert {type(value) for record in records for value in record} == {int, float}
