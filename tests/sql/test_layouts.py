"""Every layout of times and numbers is read, in both ways that rows may come, with one result."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import MalformedData
from cracktrader_sql import dialects

from .conftest import ALL, HOUR, START, TYPES, Store, records, sa, series


def moment(time: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time / 1000, dt.UTC).replace(tzinfo=None)


def aware(time: int) -> dt.datetime:
    return dt.datetime.fromtimestamp(time / 1000, dt.timezone(dt.timedelta(hours=2)))


#: What a time is stored as: the type of the column, and the value.
TIMES: dict[str, tuple[str, Callable[[int], Any]]] = {
    "seconds": ("INTEGER", lambda time: time // 1000),
    "milliseconds": ("BIGINT", lambda time: time),
    "microseconds": ("BIGINT", lambda time: time * 1000),
    "nanoseconds": ("BIGINT", lambda time: time * 1_000_000),
    "float seconds": ("DOUBLE PRECISION", lambda time: time / 1000),
    "numeric seconds": ("NUMERIC(20, 6)", lambda time: Decimal(time) / 1000),
    "numeric nanoseconds": ("NUMERIC(20, 0)", lambda time: Decimal(time * 1_000_000)),
    "timestamp": ("TIMESTAMP", moment),
    "timestamp with time zone": ("TIMESTAMP WITH TIME ZONE", aware),
    "ISO text": ("VARCHAR(40)", lambda time: moment(time).isoformat(" ")),
    "ISO text with T and Z": ("VARCHAR(40)", lambda time: f"{moment(time).isoformat()}Z"),
    "ISO text with an offset": ("VARCHAR(40)", lambda time: aware(time).isoformat()),
    "digits in text": ("VARCHAR(40)", str),
}
LACKING = {("mysql", "timestamp with time zone"), ("sqlite", "timestamp"), ("sqlite", "timestamp with time zone"),
           ("sqlite", "numeric seconds"), ("sqlite", "numeric nanoseconds")}  # fmt: skip


def ways(store: Store, kind: str = "") -> list[str]:
    """How rows may come; of text, MariaDB packs none."""
    return ["no"] if store.kind == "mysql" and kind.startswith("VARCHAR") else ["no", "yes"]


@pytest.mark.parametrize("layout", TIMES)
def test_times_of_any_layout(store: Store, layout: str) -> None:
    if (store.kind, layout) in LACKING:
        pytest.skip(f"{store.kind} has no such type")
    kind, written = TIMES[layout]
    bars = series()
    name = store.create({**TYPES, "ts": kind}, [(symbol, written(time), *row) for symbol, time, *row in records(bars)])
    for fast in ways(store, kind):
        options = {"table": name, "fast": fast, "chunk_size": 7}
        assert store.load(**options) == bars
        for start, end in (("2024-01-02T05:00", "2024-01-03T01:00"), (None, "2024-01-01T01:00")):
            assert store.load(**options, start=start, end=end) == bars.between(start, end), (fast, start, end)
        assert store.load(**options, limit=3) == bars[-3:]


def test_dates(store: Store) -> None:
    days = series().resample("1d")
    days = days.but(flags=np.zeros(len(days), np.uint8))
    rows = [(symbol, moment(time).date(), *row) for symbol, time, *row in records(days)]
    name = store.create(
        {**TYPES, "ts": "DATE"}, rows if store.kind != "sqlite" else [(row[0], str(row[1]), *row[2:]) for row in rows]
    )
    for fast in ways(store):
        assert store.load(table=name, timeframe="1d", fast=fast) == days
        assert store.load(table=name, timeframe="1d", fast=fast, start="2024-01-02", end="2024-01-03") == days[1:2]


DATES = {
    "YYYYMMDD": ("BIGINT", "1d", lambda moment: int(f"{moment:%Y%m%d}")),
    "YYYYMMDDHHMM": ("BIGINT", "1d", lambda moment: int(f"{moment:%Y%m%d%H%M}")),
    "YYYYMMDDHHMMSS": ("BIGINT", "1d", lambda moment: int(f"{moment:%Y%m%d%H%M%S}")),
    "YYYYMMDD as NUMERIC": ("NUMERIC(10, 2)", "1d", lambda moment: Decimal(f"{moment:%Y%m%d}")),
    "days since 1970": ("INTEGER", "1d", lambda moment: (moment - dt.datetime(1970, 1, 1)).days),
    "Julian days": ("DOUBLE PRECISION", "1d", lambda moment: (moment - dt.datetime(1970, 1, 1)).days + 2_440_587.5),
}


@pytest.mark.parametrize("layout", DATES)
def test_numbers_that_are_no_epoch_times_are_not_read_as_seconds_of_1970(store: Store, layout: str) -> None:
    kind, frame, written = DATES[layout]
    if store.kind == "sqlite" and kind.startswith("NUMERIC"):
        pytest.skip("sqlite has no such type")
    days = [dt.datetime(2024, 1, 1) + dt.timedelta(day) for day in range(60)]
    name = store.create({**TYPES, "ts": kind}, [("BTC/USDT", written(day), 1.0, 2.0, 0.5, 1.0, 10.0) for day in days])
    for asked in ({}, {"start": "2024-01-01", "end": "2024-02-01"}):
        with pytest.raises(MalformedData, match=r"look like dates|small numbers") as caught:
            store.load(table=name, timeframe=frame, **asked)
        assert "time_unit='s'" in caught.value.hint


def test_text_of_the_same_digits_is_a_date(store: Store) -> None:
    days = [START + day * 24 * HOUR for day in range(60)]
    name = store.create({**TYPES, "ts": "BIGINT"}, [("X", int(f"{moment(t):%Y%m%d}"), 1.0, 2.0, 0.5, 1.0, 10.0) for t in days])
    text = "CHAR(8)" if store.kind == "mysql" else "VARCHAR(8)"
    query = f"SELECT CAST(ts AS {text}) AS ts, open, high, low, close FROM {name}"
    assert store.load(query=query, timeframe="1d").time.tolist() == days
    assert store.load(query=query, timeframe="1d", start="2024-01-05", end="2024-01-08").time.tolist() == days[4:7]


def test_seconds_of_before_1973_are_read_where_that_is_said(store: Store) -> None:
    name = store.create(TYPES, [("BTC/USDT", 86_400 * (365 + at), 1.0, 2.0, 0.5, 1.0, 10.0) for at in range(30)])
    with pytest.raises(MalformedData, match="small numbers"):
        store.load(table=name, timeframe="1d")
    assert store.load(table=name, timeframe="1d", time_unit="s").time[0] == 365 * 24 * HOUR


NUMBERS = {
    "DOUBLE PRECISION": (0.1, 1e-8, 123456.789, 3.0, None),
    "REAL": (0.1, 1e-8, 123456.789, 3.0, None),
    "NUMERIC(20, 8)": (Decimal("0.1"), Decimal("0.00000001"), Decimal("123456.78900001"), Decimal(3), None),
    "BIGINT": (1, 2**53 + 1, 2**62 - 1, 3, None),
    "SMALLINT": (1, 2, 3, 4, None),
    "VARCHAR(30)": ("0.1", "1e-8", "123456.789", "3", None),
}


@pytest.mark.parametrize("kind", NUMBERS)
def test_numbers_of_any_type_are_the_same_in_both_ways(store: Store, kind: str) -> None:
    types = {"ts": "BIGINT", "open": kind, "high": kind, "low": kind, "close": kind, "funding": kind}
    plain = [float(value) if isinstance(value, Decimal) and store.kind == "sqlite" else value for value in NUMBERS[kind]]
    rows = [(START + HOUR * at, value, value, value, value, value) for at, value in enumerate(plain)]
    name = store.create(types, rows)
    loaded = [store.load(table=name, fast=fast, extra_columns=["funding"]) for fast in ways(store, kind)]
    assert all(bars == loaded[0] for bars in loaded)
    wanted = [np.nan if value is None else float(value) for value in NUMBERS[kind]]
    if kind != "REAL" or store.kind == "sqlite":  # whose REAL has eight bytes
        assert np.array_equal(loaded[0].close, wanted, equal_nan=True)
        assert np.array_equal(loaded[0]["funding"], wanted, equal_nan=True)
    else:
        assert np.allclose(loaded[0].close, wanted, rtol=1e-6, equal_nan=True)


def test_a_float_of_mariadb_keeps_all_its_digits(mysql: Store) -> None:
    """The server sends six digits of one, unless it is asked for more."""
    written = [np.float32(value) for value in (61234.57, 61299.99, 61111.11, 61234.5, 1234567.25)]
    bars = {**TYPES, **dict.fromkeys(("open", "high", "low", "close", "volume"), "FLOAT")}
    name = mysql.create(bars, [("BTC/USDT", START + HOUR * at, *map(float, written)) for at in range(30)])
    for options in ({"table": name}, {"query": f"SELECT * FROM {name}"}):
        for fast in ("no", "yes"):
            loaded = mysql.load(**options, fast=fast)
            assert [loaded[column][7] for column in ("open", "high", "low", "close", "volume")] == written
    trades = {"id": "BIGINT", "ts": "BIGINT", "price": "FLOAT", "amount": "FLOAT"}
    name = mysql.create(trades, [(at, START + at, float(value), 1234567.25) for at, value in enumerate(written[:4])])
    for aggregate in ("local", "database"):
        (bar,) = mysql.load(table=name, trades=True, aggregate=aggregate)
        assert (bar.open, bar.high, bar.low, bar.close, bar.volume) == (*written[:4], 4 * 1234567.25)


def test_text_among_numbers_is_an_error_and_never_zero(sqlite: Store) -> None:
    rows = [(START + HOUR * at, 1.0, 1.0, 1.0, 1.0) for at in range(3000)]
    name = sqlite.create({"ts": "", "open": "", "high": "", "low": "", "close": ""}, rows)
    for fast in ("yes", "no"):
        for odd in ("'abc'", "'2.5'", "x'00'"):
            for row in (1, 2500):
                sqlite.run(f"UPDATE {name} SET low = {odd} WHERE ts = {START + HOUR * row}".replace(":", r"\:"))
                with pytest.raises(MalformedData) as caught:
                    sqlite.load(table=name, fast=fast)
                assert "1.0" not in caught.value.message  # which is a number
                sqlite.run(f"UPDATE {name} SET low = 1.0")


def test_text_that_is_no_number_is_said_alike_in_both_ways(postgresql: Store) -> None:
    rows = [(START + HOUR * at, "1", "1", "1", "1" if at != 2990 else "x") for at in range(3000)]
    name = postgresql.create({"ts": "BIGINT", **dict.fromkeys(("open", "high", "low", "close"), "VARCHAR(20)")}, rows)
    for fast in ("yes", "no"):
        with pytest.raises(MalformedData, match='invalid input syntax for type double precision: "x"') as caught:
            postgresql.load(table=name, fast=fast)
        assert "Repair the rows" in caught.value.hint


def test_whole_numbers_that_turn_into_fractions_are_read(sqlite: Store) -> None:
    rows = [(START + HOUR * at, 1, 2, 1, 2 if at < 2000 else 1.5) for at in range(3000)]
    name = sqlite.create({"ts": "", "open": "", "high": "", "low": "", "close": ""}, rows)
    fast, portable = (sqlite.load(table=name, fast=fast) for fast in ("yes", "no"))
    assert fast == portable
    assert fast.close[-1] == 1.5


def test_what_is_missing_at_first_is_read_when_it_comes(sqlite: Store) -> None:
    rows = [(START + HOUR * at, 1.0, 1.0, 1.0, 1.0, None if 1 <= at < 3990 else at / 7) for at in range(4000)]
    name = sqlite.create({"ts": "BIGINT", **dict.fromkeys(("open", "high", "low", "close", "funding"), "REAL")}, rows)
    for start in (None, "2024-01-02"):
        options = {"table": name, "chunk_size": 100, "extra_columns": ["funding"], "start": start}
        fast, portable = (sqlite.load(fast=fast, **options) for fast in ("yes", "no"))
        assert fast == portable
        assert fast["funding"][-1] == 3999 / 7


PACKED = {
    "DOUBLE": lambda bits: bits.view(np.float64),
    "FLOAT": lambda bits: bits.astype(np.float32).astype(np.float64) * 1e-9,
    "DOUBLE(12, 3)": lambda bits: (bits >> 30).astype(np.float64) / 1000 / 2**8,
    "DECIMAL(38, 12)": lambda bits: [Decimal(int(one)) / 10**9 for one in bits],
    "BIGINT UNSIGNED": lambda bits: [int(one) for one in bits],
    "INT UNSIGNED ZEROFILL": lambda bits: [int(one) for one in bits >> 32],
}


@pytest.mark.parametrize("kind", PACKED)
def test_packed_rows_are_those_that_come_one_by_one_to_the_last_bit(mysql: Store, kind: str) -> None:
    bits = np.random.default_rng(5).integers(0, 1 << 64, 2000, dtype=np.uint64)
    bits[:4] = 0, 1, 1 << 63, 0x7FEF_FFFF_FFFF_FFFF  # nothing, the smallest, minus nothing, the largest
    values = list(PACKED[kind](bits))
    values = [1.5 if isinstance(value, float) and not np.isfinite(value) else value for value in values]
    types = {"ts": "BIGINT", "open": kind, "high": kind, "low": kind, "close": kind, "volume": "BIGINT"}
    rows = [(START + HOUR * at, value, value, value, value, None if at % 3 else 1) for at, value in enumerate(values)]
    name = mysql.create(types, [rows[at] for at in np.random.default_rng(6).permutation(len(rows))])
    packed, single = (mysql.load(table=name, fast=fast, chunk_size=300) for fast in ("yes", "no"))
    assert packed.provenance["read_as"] == "packed text"
    assert (packed.close.view(np.uint64) == single.close.view(np.uint64)).all()
    assert packed == single


def test_a_table_that_holds_no_bars_is_not_cut_short_when_packed(mysql: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialects, "_LONGEST_TEXT", 1 << 16)
    name = mysql.create({"ts": "BIGINT", **dict.fromkeys(("open", "high", "low", "close"), "DECIMAL(65, 30)")})
    mysql.run(f"INSERT INTO {name} SELECT {START} + seq, 1, 1, 1, 1 FROM seq_1_to_600")
    with pytest.raises(MalformedData, match="more rows than can be bars"):
        mysql.load(table=name, fast="yes")
    assert len(mysql.load(table=name, fast="no", table_timeframe="1h")) == 600


def test_units_that_differ_within_a_column_are_refused(store: Store) -> None:
    rows = [("BTC/USDT", START // 1000, 1.0, 1.0, 1.0, 1.0, 1.0), ("BTC/USDT", START + HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)]
    name = store.create(TYPES, rows)
    with pytest.raises(MalformedData, match="mixes units"):
        store.load(table=name)


def test_rows_without_a_time_are_counted_with_a_range_and_without(store: Store) -> None:
    rows = records(series())
    name = store.create(TYPES, [*rows, *((symbol, None, *row) for symbol, _, *row in rows[:3])])
    for fast in ("no", "yes"):
        for asked in ({}, {"start": "2024-01-02"}, {"end": "2024-01-03"}):
            loaded = store.load(table=name, fast=fast, **asked)
            assert loaded == series().between(asked.get("start"), asked.get("end"))
            assert loaded.provenance["notes"] == ["3 rows have no time, and are left out."]


def test_a_time_that_is_no_time_is_quoted(store: Store) -> None:
    name = store.create({**TYPES, "ts": "VARCHAR(20)"}, [("BTC/USDT", "last Monday", 1.0, 1.0, 1.0, 1.0, 1.0)])
    with pytest.raises(MalformedData, match="last Monday"):
        store.load(table=name)


def test_mariadb_timestamps_are_utc_whatever_the_zone_of_the_session(mysql: Store) -> None:
    name = mysql.create({**TYPES, "ts": "TIMESTAMP NULL"})
    mysql.run(f"INSERT INTO {name} VALUES ('BTC/USDT', FROM_UNIXTIME({START // 1000}), 1, 1, 1, 1, 1)")
    assert mysql.load(table=name).time.tolist() == [START]
    engine = sa.create_engine(mysql.engine.url, connect_args={"init_command": "SET time_zone = '+05:00'"}, pool_size=1)
    bars = ct.load("sql", engine=engine, table=name, symbol="BTC/USDT", timeframe="1h", validation="off")
    assert bars.time.tolist() == [START]
    with engine.connect() as connection:  # and the user's session is as it was
        assert connection.exec_driver_sql("SELECT @@session.time_zone").scalar() == "+05:00"
    engine.dispose()


def test_duckdb_compares_times_in_utc_whatever_the_zone_of_the_session(tmp_path: Any) -> None:
    from .conftest import made

    bars = series(rows=24 * 4)
    for store in made("duckdb", tmp_path):
        name = store.create({**TYPES, "ts": "TIMESTAMP WITH TIME ZONE"}, [(s, aware(t), *row) for s, t, *row in records(bars)])
        engine = sa.create_engine(store.engine.url, poolclass=sa.pool.StaticPool)
        with engine.connect() as connection:
            connection.exec_driver_sql("SET TimeZone = 'America/New_York'")
        query = f"SELECT * FROM {name} WHERE symbol = :symbol AND ts >= :start AND ts < :end"
        for fast in ("no", "yes"):
            options = {"engine": engine, "query": query, "bind_times": "datetime", "fast": fast}
            loaded = ct.load(
                "sql", symbol="BTC/USDT", timeframe="1h", start="2024-01-02", end="2024-01-03", validation="off", **options
            )
            assert loaded == bars.between("2024-01-02", "2024-01-03")
        with engine.connect() as connection:  # and the user's session is as it was
            assert connection.exec_driver_sql("SELECT current_setting('TimeZone')").scalar() == "America/New_York"
        engine.dispose()


def test_one_data_set_is_the_same_from_everywhere(tmp_path: Any) -> None:
    from .conftest import made

    bars = series()
    found = {"csv": ct.load("csv", path=bars.to_csv(tmp_path / "bars.csv"), symbol="BTC/USDT", timeframe="1h")}
    for kind in ALL:
        try:
            for store in made(kind, tmp_path):
                name = store.create(TYPES, records(bars))
                found[kind] = store.load(table=name, validation="repair")
        except pytest.skip.Exception:
            continue
    assert len(found) >= 3
    for kind, loaded in found.items():
        assert loaded == found["csv"], kind


def test_the_provenance_says_how_rows_came_and_why(store: Store) -> None:
    name = store.create(TYPES, records(series()))
    assert "would not pay" in store.load(table=name).provenance["read_as"]
    assert store.load(table=name, fast="yes").provenance["read_as"] == ("packed text" if store.kind == "mysql" else "Arrow")
    assert store.load(table=name, fast="no").provenance["read_as"] == "rows: fast='no'"
