"""Trades to bars: every bar is what a slow and plain loop over the trades makes, and partial bars say so."""

import dataclasses
from decimal import Decimal
from itertools import groupby

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cracktrader.bars import PRICES, Bars, Flag
from cracktrader.errors import DataError, InvalidRange, InvalidTimeframe, MalformedData
from cracktrader.events import Trade
from cracktrader.timeframe import Timeframe
from cracktrader.times import parse_time

START = 1_704_067_200_000
TIMES = [START, START + 100, START + 100, START + 61_000, START + 200_000]
COLUMNS = {"timestamp": TIMES, "price": [10.0, 12.0, 9.0, 11.0, 8.0], "amount": [0.1, 0.2, 0.3, 1.0, 2.0]}
MINUTES = [
    (START, 10.0, 12.0, 9.0, 9.0, 0.6),
    (START + 60_000, 11.0, 11.0, 11.0, 11.0, 1.0),
    (START + 180_000, 8.0, 8.0, 8.0, 8.0, 2.0),
]


def made(trades, timeframe="1m", **options) -> Bars:
    return Bars.from_trades(trades, symbol="X", timeframe=timeframe, **options)


def frame(**changes) -> pd.DataFrame:
    return pd.DataFrame(COLUMNS | changes)


def arrays(trades: list[Trade]) -> dict[str, np.ndarray]:
    """The columns of some trades, with ids as whole numbers."""
    return {
        "time": np.array([trade.time for trade in trades], np.int64),
        "price": np.array([trade.price for trade in trades], np.float64),
        "amount": np.array([trade.amount for trade in trades], np.float64),
        "side": np.array([trade.side for trade in trades], object),
        "id": np.array([int(trade.id) for trade in trades], np.int64),
    }


# ── every bar, against the definition ────────────────────────────────────────────────────────────────


@st.composite
def histories(draw, **sizes) -> list[Trade]:
    """Trades in no order, many of one millisecond, some of them twice; ids ascend in the order they happened."""
    times = sorted(draw(st.lists(st.integers(0, 400_000).map(lambda at: START + at // 500 * 500), min_size=1, **sizes)))
    price = st.integers(1, 10_000).map(lambda ticks: ticks / 100)
    amount = st.integers(1, 10**9).map(lambda lots: lots / 10**8)
    side = st.sampled_from(["buy", "sell"])
    trades = [Trade("X", time, draw(price), draw(amount), draw(side), str(1000 + 7 * at)) for at, time in enumerate(times)]
    return draw(st.permutations(trades + draw(st.lists(st.sampled_from(trades), max_size=5))))


def by_definition(trades: list[Trade], timeframe: str) -> list[tuple]:
    grid = Timeframe(timeframe)
    happened = sorted({trade.id: trade for trade in trades}.values(), key=lambda trade: (trade.time, int(trade.id)))
    rows = []
    for opening, group in groupby(happened, key=lambda trade: grid.floor(trade.time)):
        part = list(group)
        prices = [trade.price for trade in part]
        volume, bought = (
            float(sum((Decimal(str(trade.amount)) for trade in part if trade.side in sides), Decimal(0)))
            for sides in (("buy", "sell"), ("buy",))
        )
        quote = sum(trade.price * trade.amount for trade in part)
        quote_bought = sum(trade.price * trade.amount for trade in part if trade.side == "buy")
        rows.append((opening, prices[0], max(prices), min(prices), prices[-1], volume, len(part), bought,
                     pytest.approx(quote), pytest.approx(quote_bought)))  # fmt: skip
    return rows


def rows_of(bars: Bars) -> list[tuple]:
    names = ("trades", "taker_buy_volume", "quote_volume", "taker_buy_quote_volume")
    return [(*record, *rest) for record, *rest in zip(bars.to_records(), *(bars[name].tolist() for name in names), strict=True)]


@given(histories(max_size=60), st.sampled_from(["1s", "7s", "1m", "5m", "1h", "1d", "1w", "1M"]))
def test_each_bar_is_what_the_definition_says(trades, timeframe):
    wanted = by_definition(trades, timeframe)
    columns = arrays(trades)
    for form in (trades, iter(trades), [dict(trade) for trade in trades], columns, pd.DataFrame(columns), pa.table(columns)):
        assert rows_of(made(form, timeframe)) == wanted


@given(histories(max_size=60), st.sampled_from(["1m", "2m"]), st.sampled_from(["4m", "1h", "1M"]))
def test_it_does_not_matter_by_way_of_what(trades, by_way_of, timeframe):
    direct, indirect = made(trades, timeframe), made(trades, by_way_of).resample(timeframe)
    for name in ("time", *PRICES, "volume", "trades", "taker_buy_volume"):
        assert indirect[name].tolist() == direct[name].tolist()
    for name in ("quote_volume", "taker_buy_quote_volume"):  # products have more decimals than can be summed exactly
        assert indirect[name].tolist() == pytest.approx(direct[name].tolist(), rel=1e-14)


@given(histories(max_size=60))
def test_trades_without_ids_are_what_pandas_makes_of_them_sorted(trades):
    given_ = [dataclasses.replace(trade, id=None, side=None) for trade in trades]
    bars = made(given_)
    times = [trade.time for trade in given_]
    newest_first = times == sorted(times, reverse=True) and times[0] > times[-1]
    in_order = given_[::-1] if newest_first else given_
    sorted_ = pd.DataFrame([dict(trade) for trade in in_order]).sort_values("time", kind="stable")
    sorted_.index = pd.to_datetime(sorted_["time"], unit="ms", utc=True)
    minutes = sorted_.resample("1min")
    wanted = minutes["price"].ohlc().assign(volume=minutes["amount"].sum(), trades=minutes["price"].count()).dropna()
    assert bars.time.tolist() == wanted.index.as_unit("ms").asi8.tolist()
    for name in (*PRICES, "trades"):
        assert bars[name].tolist() == wanted[name].tolist()
    assert bars.volume.tolist() == pytest.approx(wanted["volume"].tolist(), rel=1e-14)
    assert "taker_buy_volume" not in bars.extra


def test_many_trades_are_what_pandas_makes_of_them():
    rng = np.random.default_rng(3)
    count = 200_000
    time = START + np.sort(rng.integers(0, 86_400_000 * 3, count))
    price, lots = rng.integers(1, 10_000, count) / 100, rng.integers(1, 10**8, count)
    bars = made({"time": time, "price": price, "amount": lots / 1e8, "id": np.arange(count)})
    seen = pd.DataFrame({"price": price, "lots": lots}, index=pd.to_datetime(time, unit="ms", utc=True)).resample("1min")
    wanted = seen["price"].ohlc().dropna()
    assert bars.time.tolist() == wanted.index.as_unit("ms").asi8.tolist()
    for name in PRICES:
        assert bars[name].tolist() == wanted[name].tolist()
    assert bars.volume.tolist() == (seen["lots"].sum()[wanted.index] / 1e8).tolist()


def test_published_seconds_taken_for_trades_make_the_published_minutes(shared_data):
    seconds, minutes = (
        Bars.from_pandas(pd.read_csv(shared_data / f"coinbase_BTC-USD_{length}_2016-10-07_09.csv"), symbol="X", timeframe=length)
        for length in ("1s", "1m")
    )
    for at in ("open", "close"):  # each second's first or last trade, with the volume of all
        bars = made({"time": seconds.time, "price": seconds[at], "amount": seconds.volume})
        assert bars.time.tolist() == minutes.time.tolist()
        assert bars.volume.tolist() == minutes.volume.tolist()
        assert bars[at].tolist() == minutes[at].tolist()


# ── what may come in ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "times",
    [
        np.array(TIMES) // 100 / 10,
        np.array(TIMES) * 1000,
        np.array(TIMES) * 1_000_000,
        np.array(TIMES).astype("datetime64[ms]"),
        pd.to_datetime(TIMES, unit="ms", utc=True),
        pd.to_datetime(TIMES, unit="ms", utc=True).tz_convert("Europe/Berlin"),
        pd.to_datetime(TIMES, unit="ms").strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
    ],
    ids=["seconds", "microseconds", "nanoseconds", "datetime64", "aware", "Berlin", "text"],
)
def test_times_may_be_in_any_unit(times):
    assert made(frame(timestamp=times)).to_records() == MINUTES
    assert made(frame(timestamp=times).set_index("timestamp").reset_index()).to_records() == MINUTES
    assert made(pa.Table.from_pandas(frame(timestamp=times))).to_records() == MINUTES


def test_times_may_be_the_index():
    indexed = frame().set_index(pd.to_datetime(TIMES, unit="ms")).drop(columns="timestamp")
    assert made(indexed).to_records() == MINUTES


def test_polars_frames_record_batches_and_lazy_columns_are_read():
    wanted = made(frame(side=["buy", "sell", "buy", "buy", "sell"], id=["a", "b", "c", "d", "e"]))
    columns = COLUMNS | {"side": ["buy", "sell", "buy", "buy", "sell"], "id": ["a", "b", "c", "d", "e"]}
    assert made(pl.DataFrame(columns)) == wanted
    assert made(pl.DataFrame(columns).with_columns(pl.col("side").cast(pl.Categorical))) == wanted
    assert made(pa.RecordBatch.from_pydict(columns)) == wanted
    assert made(columns) == wanted
    assert made(pd.DataFrame(columns).convert_dtypes()) == wanted
    assert made(pd.DataFrame(columns).convert_dtypes(dtype_backend="pyarrow")) == wanted


@pytest.mark.parametrize("time", ["Timestamp", "time", "ts", "transact_time", "trade time"])
@pytest.mark.parametrize("price", ["PRICE", "p"])
@pytest.mark.parametrize("amount", ["amount", "size", "qty", "Quantity", "volume"])
def test_columns_are_found_by_their_usual_names(time, price, amount):
    assert made(dict(zip((time, price, amount), COLUMNS.values(), strict=True))).to_records() == MINUTES


def test_decimals_are_read_as_the_nearest_float():
    columns = COLUMNS | {name: [Decimal(str(value)) for value in COLUMNS[name]] for name in ("price", "amount")}
    assert made(pa.table(columns)).to_records() == made(pd.DataFrame(columns)).to_records() == MINUTES


def test_trades_of_an_early_year_keep_their_milliseconds():
    bars = made([Trade("X", 5, 1.0, 1.0), Trade("X", 60_001, 1.0, 1.0)])
    assert bars.time.tolist() == [0, 60_000]


@pytest.mark.parametrize("none", [[], iter(()), {key: [] for key in COLUMNS}, frame()[:0], pa.table(COLUMNS)[:0]])
def test_no_trades_make_no_bars(none):
    bars = made(none, start="2024-01-01", end="2024-01-02")
    assert (len(bars), bars.symbol, bars.timeframe) == (0, "X", "1m")
    assert list(bars.extra) == ["quote_volume", "trades"]


def test_one_trade_makes_one_bar():
    bars = made([Trade("X", START + 1, 5.0, 0.5, "buy", "1")], source="here", provenance={"file": "x"})
    assert bars.to_records() == [(START, 5.0, 5.0, 5.0, 5.0, 0.5)]
    assert {name: values.tolist() for name, values in bars.extra.items()} == {
        "quote_volume": [2.5], "trades": [1.0], "taker_buy_volume": [0.5], "taker_buy_quote_volume": [2.5],
    }  # fmt: skip
    assert (bars.source, dict(bars.provenance)) == ("here", {"file": "x", "resampled_from": "trades"})


def test_what_came_in_is_not_changed():
    columns = {"time": np.array(TIMES[::-1]), "price": np.ones(5), "amount": np.ones(5), "id": np.array([1, 1, 2, 3, 4])}
    columns["time"][1] = columns["time"][0]
    before = {name: values.copy() for name, values in columns.items()}
    made(columns)
    assert all(np.array_equal(columns[name], before[name]) for name in columns)


# ── order, duplicates, sides ─────────────────────────────────────────────────────────────────────────


def test_trades_of_one_moment_go_by_id_and_without_one_stay_as_they_stand():
    at = {"time": [START] * 3, "price": [2.0, 3.0, 1.0], "amount": [1.0] * 3}
    assert made(at).to_records() == [(START, 2.0, 3.0, 1.0, 1.0, 3.0)]
    for ids in ([9, 10, 8], ["9", "10", "8"], [9.0, 10.0, 8.0], np.array([9, 10, 8], np.uint64)):
        assert made(at | {"id": ids}).to_records() == [(START, 1.0, 3.0, 1.0, 3.0, 3.0)]
    for ids in (["x", "b", "a"], [9, 10, None], ["9", "10", None]):  # these say nothing about the order
        assert made(at | {"id": ids}).to_records() == [(START, 2.0, 3.0, 1.0, 1.0, 3.0)]


@pytest.mark.parametrize("ids", [{}, {"id": list("edcba")}, {"id": ["9", None, "7", "6", "5"]}])
def test_a_listing_that_begins_with_the_newest_is_read_from_its_end(ids):
    """What opens and closes a bar hangs on the order of the trades of one moment."""
    newest_first = {name: values[::-1] for name, values in COLUMNS.items()}
    assert made(newest_first | ids).to_records() == MINUTES
    assert made(pd.DataFrame(newest_first | ids)).to_records() == MINUTES


def test_trades_of_one_moment_and_trades_in_disorder_stay_as_they_stand():
    at = {"timestamp": [START] * 3, "price": [1.0, 2.0, 3.0], "amount": [1.0] * 3}
    assert made(at).to_records() == [(START, 1.0, 3.0, 1.0, 3.0, 3.0)]
    times = [START + 100, START, START, START + 50]  # they fall, but rise again
    disorder = {"timestamp": times, "price": [9.0, 1.0, 2.0, 3.0], "amount": [1.0] * 4}
    assert made(disorder).to_records() == [(START, 1.0, 9.0, 1.0, 9.0, 4.0)]
    by_id = {"timestamp": [START + 100, START, START], "price": [9.0, 1.0, 2.0], "amount": [1.0] * 3, "id": [1, 2, 3]}
    assert made(by_id).to_records() == [(START, 1.0, 9.0, 1.0, 9.0, 3.0)]


def test_times_finer_than_a_millisecond_count_before_ids():
    microseconds = {"time": START * 1000 + np.array([900, 100]), "price": [2.0, 1.0], "amount": [1.0, 1.0]}
    for ids in ({}, {"id": [1, 2]}, {"id": ["x", "y"]}):
        assert made(microseconds | ids).to_records() == [(START, 1.0, 2.0, 1.0, 2.0, 2.0)]


def test_a_trade_that_occurs_again_counts_once_and_is_told():
    for ids in ([1, 2, 3, 4, 5, 2], list("abcdeb"), [1, 2, 3, 4, 5.0, 2]):
        twice = {name: [*values, values[1]] for name, values in COLUMNS.items()} | {"id": ids}
        bars = made(twice)
        assert bars.to_records() == MINUTES
        assert bars["trades"].tolist() == [3.0, 1.0, 1.0]
        assert bars.provenance["duplicate_trades"] == 1
    assert "duplicate_trades" not in made(COLUMNS | {"id": [1, 2, 3, 4, 5]}).provenance


def test_trades_without_an_id_are_never_duplicates():
    same = [Trade("X", START, 1.0, 1.0)] * 3
    assert made(same).volume.tolist() == [3.0]
    assert made([*same, Trade("X", START, 1.0, 1.0, id="1"), Trade("X", START, 1.0, 1.0, id="1")]).volume.tolist() == [4.0]


@pytest.mark.parametrize("column", ["timestamp", "price", "amount", "side"])
def test_one_id_on_different_trades_is_refused_with_both_rows(column):
    columns = frame(side="buy", id=[1, 2, 3, 4, 2], timestamp=TIMES)
    columns.loc[4] = columns.loc[1]
    made(columns)
    columns.loc[4, column] = {"timestamp": TIMES[4], "price": 7.0, "amount": 7.0, "side": "sell"}[column]
    with pytest.raises(MalformedData, match="Rows 1 and 4 have the id 2, but differ in") as caught:
        made(columns)
    assert caught.value.context["row"] == 4


def test_ids_that_lost_their_digits_are_refused():
    with pytest.raises(MalformedData, match="floats too large to be told apart"):
        made(frame(id=np.array([1, 2, 3, 4, 2**60], np.float64)))


@pytest.mark.parametrize(
    "sides",
    [
        {"side": ["buy", "sell", "BUY", "Sell", "buy"]},
        {"side": ["b", "s", "B", "S", "b"]},
        {"side": np.array([1, -1, 1, -1, 1], np.int8)},
        {"is_buyer_maker": [False, True, False, True, False]},
        {"isBuyerMaker": ["false", "true", "false", "true", "false"]},
    ],
)
def test_what_takers_bought_is_told_where_sides_are_known(sides):
    bars = made(COLUMNS | sides)
    assert bars["taker_buy_volume"].tolist() == [0.4, 0.0, 2.0]
    assert bars["taker_buy_quote_volume"].tolist() == pytest.approx([3.7, 0.0, 16.0])


def test_where_a_side_is_not_known_nothing_is_said_of_takers():
    assert list(made(frame(side=["buy", None, "sell", "buy", "buy"])).extra) == ["quote_volume", "trades"]


def test_a_side_that_is_none_is_refused():
    with pytest.raises(MalformedData, match="The side in row 2 is 'up'"):
        made(frame(side=["buy", "sell", "up", "buy", "buy"]))


# ── what is covered ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("start", "end", "suspect"),
    [
        (None, None, [True, False, True]),
        (START, None, [False, False, True]),
        (None, START + 240_000, [True, False, False]),
        (START, START + 240_000, [False, False, False]),
        ("2023-12-31", "2024-01-02", [False, False, False]),
        (START + 1, START + 239_999, [True, False, True]),
        (START + 60_000, START + 240_000, [True, False, False]),
        (START + 100_000, START + 110_000, [True, True, True]),
    ],
)
def test_bars_that_do_not_lie_wholly_in_the_covered_range_are_suspect(start, end, suspect):
    bars = made(COLUMNS, start=start, end=end)
    assert bars.to_records() == MINUTES
    assert bars.flags.tolist() == [Flag.SUSPECT * flag for flag in suspect]


@given(st.integers(-60, 500), st.integers(0, 500))
def test_parts_that_meet_make_the_whole_where_they_say_that_they_are_complete(cut, length):
    begin = START + 1000 * cut
    end = begin + 1000 * length
    rng = np.random.default_rng(1)
    times = START + np.sort(rng.integers(0, 400_000, 300))
    trades = {"time": times, "price": rng.random(300) + 1, "amount": rng.random(300) + 1}
    inside = (times >= begin) & (times < end)
    whole = made(trades, start=START, end=START + 420_000)
    part = made({name: values[inside] for name, values in trades.items()}, start=begin, end=end)
    trusted = part[part.flags == 0]
    assert trusted == whole[np.isin(whole.time, trusted.time)]


def test_a_range_that_ends_before_it_starts_and_a_timeframe_that_is_none_are_refused():
    with pytest.raises(InvalidRange, match="before it starts"):
        made(COLUMNS, start="2024-01-02", end="2024-01-01")
    with pytest.raises(InvalidTimeframe):
        made(COLUMNS, "soon")


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("column", ["price", "amount"])
@pytest.mark.parametrize("value", [np.nan, None, 0.0, -1.0, np.inf, -np.inf])
def test_a_price_or_amount_that_no_trade_has_is_refused_with_its_row(column, value):
    values = [*COLUMNS[column][:3], value, value]
    for form in (COLUMNS | {column: values}, frame(**{column: values}), pa.table(COLUMNS | {column: values})):
        with pytest.raises(MalformedData, match=f"The {column} in row 3 is") as caught:
            made(form)
        assert (caught.value.context["column"], caught.value.context["row"]) == (column, 3)


def test_text_that_is_no_number_is_refused_with_its_row():
    with pytest.raises(MalformedData, match="'price' holds something that is not a number in row 1: 'x'"):
        made(frame(price=["1", "x", "3", "4", "5"]))
    assert made(frame(price=list("12345"))).open.tolist() == [1.0, 4.0, 5.0]


@pytest.mark.parametrize("time", [None, pd.NaT])
def test_a_missing_time_is_refused_with_its_row(time):
    with pytest.raises(MalformedData, match="The time in row 1 is missing"):
        made(frame(timestamp=pd.Series([pd.Timestamp(START, unit="ms"), time] + [pd.Timestamp(START, unit="ms")] * 3)))


@pytest.mark.parametrize("missing", ["timestamp", "price", "amount"])
def test_a_missing_column_is_named(missing):
    name = "time" if missing == "timestamp" else missing
    for form in (frame().drop(columns=missing), {key: value for key, value in COLUMNS.items() if key != missing}):
        with pytest.raises(MalformedData, match=f"no column for {name}"):
            made(form)


@pytest.mark.parametrize("strange", [{}, {"x": [1]}, pd.DataFrame({"x": [1]}), pa.table({"x": [1]}), pd.DataFrame(), [{"x": 1}]])
def test_columns_that_are_none_of_a_trades_are_not_taken_for_no_trades(strange):
    with pytest.raises(MalformedData, match="no column for time, price, amount"):
        made(strange)


def test_ids_that_are_called_t_are_not_taken_for_times():
    with pytest.raises(MalformedData, match="no column for time"):
        made({"t": [1, 2], "p": [1.0, 2.0], "size": [1.0, 2.0]})


@pytest.mark.parametrize(
    "what", [None, 7, "trades.csv", [1, 2], pl.Series([1.0, 2.0]), [(START, 1.0, 1.0)], [Trade("X", START, 1.0, 1.0), 3]]
)
def test_what_holds_no_trades_is_refused(what):
    with pytest.raises(DataError, match="can't be read as trades"):
        made(what)


def test_columns_of_different_lengths_of_two_dimensions_and_of_one_name_are_refused():
    with pytest.raises(MalformedData, match="differ in length: time 5, price 4, amount 5"):
        made(COLUMNS | {"price": [1.0] * 4})
    with pytest.raises(MalformedData, match="can't be read"):
        made(COLUMNS | {"price": np.ones((5, 2))})
    with pytest.raises(MalformedData, match="two columns called 'price'"):
        made(pd.concat([frame(), frame()[["price"]]], axis=1))


def test_trades_of_two_markets_are_not_mixed():
    with pytest.raises(MalformedData, match="more than one symbol"):
        made([Trade("X", START, 1.0, 1.0), Trade("Y", START, 2.0, 1.0)])
    with pytest.raises(MalformedData, match="more than one symbol"):
        made(frame(symbol=["X", "X", "Y", "X", "X"]))
    assert made(frame(symbol="BTCUSDT")).symbol == "X"


def test_days_and_months_open_on_the_calendar():
    times = [parse_time(text) for text in ("2024-02-28T23:59:59.999", "2024-02-29", "2024-03-01")]
    trades = {"time": times, "price": [1.0, 2.0, 3.0], "amount": [1.0] * 3}
    assert made(trades, "1d").time.tolist() == [parse_time(text) for text in ("2024-02-28", "2024-02-29", "2024-03-01")]
    assert made(trades, "1M").time.tolist() == [parse_time(text) for text in ("2024-02-01", "2024-03-01")]
