"""Bars made from a table of trades, here and in the database."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import MalformedData

from .conftest import HOUR, START, TYPES, Store, made, records, series

TRADES = {"symbol": "VARCHAR(20)", "ts": "BIGINT", "price": "DOUBLE PRECISION", "amount": "NUMERIC(20, 8)",
          "side": "VARCHAR(4)", "id": "BIGINT"}  # fmt: skip


def market(rows: int = 3000) -> list[ct.Trade]:
    rng = np.random.default_rng(7)
    times = START + np.sort(rng.integers(0, 6 * 3_600_000, rows))
    prices = 100 + rng.integers(-50, 50, rows) / 4
    return [
        ct.Trade("BTC/USDT", int(at), float(price), float(amount) / 1000, "buy" if buy else "sell", str(number))
        for number, (at, price, amount, buy) in enumerate(
            zip(times, prices, rng.integers(1, 9999, rows), rng.integers(0, 2, rows), strict=True)
        )
    ]


def rows_of(trades: list[ct.Trade], *, decimals: bool) -> list[tuple[object, ...]]:
    return [
        (one.symbol, one.time, one.price, Decimal(str(one.amount)) if decimals else one.amount, one.side, int(one.id or 0))
        for one in trades
    ]


@pytest.mark.parametrize("chunk", [50, 65_536])
def test_bars_of_trades_are_those_that_the_core_makes(store: Store, chunk: int) -> None:
    trades = market()
    wanted = ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="5m", start=START, end=START + 6 * 3_600_000)
    shuffled = [trades[at] for at in np.random.default_rng(1).permutation(len(trades))]
    name = store.create(TRADES, rows_of(shuffled, decimals=store.kind != "sqlite"))
    for fast in ("no",) if store.kind == "mysql" else ("no", "yes"):
        options = {"table": name, "trades": True, "timeframe": "5m", "chunk_size": chunk, "fast": fast, "aggregate": "local"}
        assert store.load(**options) == wanted
        part = store.load(**options, start="2024-01-01T01:00", end="2024-01-01T02:00")
        assert part == wanted.between("2024-01-01T01:00", "2024-01-01T02:00")
        assert store.load(**options, limit=3) == wanted[-3:]


@pytest.mark.parametrize("chunk", [700, 65_536])
def test_trades_in_the_order_of_local_times_are_put_in_order(store: Store, chunk: int) -> None:
    """In the night when clocks go back an hour comes twice, and text of it is in no order of times."""
    first = int(dt.datetime(2024, 10, 26, 22, tzinfo=dt.UTC).timestamp()) * 1000
    trades = [ct.Trade("BTC/USDT", first + 20_000 * at, 100 + at / 8, 1.0, "buy", str(at)) for at in range(5 * 24 * 180)]
    wanted = ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="1h", start=first, end=first + 120 * HOUR)
    zone = ZoneInfo("Europe/Berlin")
    rows = [
        (dt.datetime.fromtimestamp(one.time / 1000, zone).isoformat(), one.price, one.amount, "buy", int(one.id))
        for one in trades
    ]
    name = store.create({"ts": "VARCHAR(40)", "price": "DOUBLE PRECISION", "amount": "DOUBLE PRECISION", "side": "VARCHAR(4)",
                         "id": "BIGINT"}, rows)  # fmt: skip
    for fast in ("no",) if store.kind == "mysql" else ("no", "yes"):
        options = {"table": name, "trades": True, "chunk_size": chunk, "fast": fast}
        assert store.load(**options) == wanted
        assert store.load(**options, start="2024-10-27", end="2024-10-28") == wanted.between("2024-10-27", "2024-10-28")


def test_trades_whose_times_are_text_of_digits_are_put_in_order(sqlite: Store) -> None:
    """In September 2001 epoch seconds became a digit longer, and as text the longer come first."""
    first = 999_993_600_000
    trades = [ct.Trade("BTC/USDT", first + 10_000 * at, 100 + at / 8, 1.0, "buy", str(at)) for at in range(3 * 360)]
    wanted = ct.Bars.from_trades(trades, symbol="BTC/USDT", timeframe="1h", start=first, end=first + 3 * HOUR)
    rows = [(str(one.time // 1000), one.price, one.amount, "buy", int(one.id)) for one in trades]
    name = sqlite.create({"ts": "TEXT", "price": "REAL", "amount": "REAL", "side": "TEXT", "id": "INTEGER"}, rows)
    for fast in ("no", "yes"):
        assert sqlite.load(table=name, trades=True, chunk_size=100, fast=fast) == wanted


def test_a_trade_far_later_than_its_time_is_refused(sqlite: Store) -> None:
    texts = [f"2024-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 28)] + ["20240101T000000", "2025-01-01"]
    rows = [(text, 1.0, 1.0, at) for at, text in enumerate(texts)]
    name = sqlite.create({"ts": "TEXT", "price": "REAL", "amount": "REAL", "id": "INTEGER"}, rows)
    with pytest.raises(MalformedData, match="in no order: a trade of 2024-01-01T00:00:00Z comes after"):
        sqlite.load(table=name, trades=True, timeframe="1d", chunk_size=10)


TIMES = {
    "seconds": ("BIGINT", lambda at: at // 1000),
    "milliseconds": ("BIGINT", lambda at: at),
    "nanoseconds": ("BIGINT", lambda at: at * 1_000_000 + 999_999 - at % 7),
    "timestamp": ("TIMESTAMP(6)", lambda at: dt.datetime.fromtimestamp(at / 1000, dt.UTC).replace(tzinfo=None)),
}


@pytest.fixture(params=["duckdb", "postgresql", "mysql"])
def reckoner(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """The databases that put bars together."""
    yield from made(request.param, tmp_path)


def same_but_for_quotes(found: ct.Bars, wanted: ct.Bars) -> bool:
    """Whether all is equal to the last bit but sums of products, which are in the order of whoever sums."""
    quotes = [name for name in wanted.extra if "quote" in name]
    exact = {name: values for name, values in wanted.extra.items() if name not in quotes}
    close = all(np.allclose(found[name], wanted[name], rtol=1e-12, atol=0) for name in quotes)
    return close and found.but(extra={name: found[name] for name in exact}) == wanted.but(extra=exact)


@pytest.mark.parametrize("layout", TIMES)
def test_the_database_makes_the_bars_that_would_be_made_here(reckoner: Store, layout: str) -> None:
    store, (kind, written) = reckoner, TIMES[layout]
    kind = kind.replace("TIMESTAMP(6)", {"mysql": "DATETIME(6)", "duckdb": "TIMESTAMP"}.get(store.kind, kind))
    trades = market(1200)
    for at in range(0, 1200, 10):  # of one moment, and out of order but for their ids
        trades[at] = dataclasses.replace(trades[at], time=trades[at - 1].time) if at else trades[at]
    shuffled = [trades[at] for at in np.random.default_rng(1).permutation(len(trades))]
    types = {**TRADES, "ts": kind}
    decimals = store.kind != "duckdb" and layout in ("seconds", "timestamp")  # whose decimals are not the nearest floats
    rows = [(symbol, written(at), *rest) for symbol, at, *rest in rows_of(shuffled, decimals=decimals)]
    name = store.create({**types, "amount": "NUMERIC(20, 8)" if decimals else "DOUBLE PRECISION"}, rows)
    for frame in ("5m", "1w"):
        options = {"table": name, "trades": True, "timeframe": frame}
        here, there = store.load(**options, aggregate="local"), store.load(**options, aggregate="database")
        assert there.provenance["read_as"] == "bars made in the database"
        assert same_but_for_quotes(there, here), frame
        span = {"start": "2024-01-01T01:00", "end": "2024-01-01T03:00"} if frame != "1w" else {}
        here, there = (store.load(**options, **span, aggregate=where) for where in ("local", "database"))
        assert same_but_for_quotes(there, here)
    where = store.load(**options).provenance
    assert ("by this process" in where["notes"][0]) if store.kind == "duckdb" else ("database" in where["read_as"])


def test_bars_that_the_database_can_not_make_are_made_here(reckoner: Store) -> None:
    store, trades = reckoner, market()
    plain = {**TRADES, "amount": "DOUBLE PRECISION"}
    faults = {
        "occurs twice": lambda rows: [*rows, rows[2000]],
        "more than eight decimals": lambda rows: [*rows[:2000], (*rows[2000][:3], 1 / 3, *rows[2000][4:]), *rows[2001:]],
    }
    for said, spoil in faults.items():
        name = store.create(plain, spoil(rows_of(trades, decimals=False)))
        options = {"table": name, "trades": True, "timeframe": "5m"}
        here, mixed = store.load(**options, aggregate="local"), store.load(**options)  # on servers, both ways in one load
        assert same_but_for_quotes(mixed, here), said
        with pytest.raises(MalformedData, match="can't be made in the database: a .*" + said):
            store.load(**options, aggregate="database")
    store.run(f"UPDATE {name} SET price = -1 WHERE id = 1500")
    with pytest.raises(MalformedData, match="no trade has that"):
        store.load(**options)


def test_longer_bars_are_made_in_the_database_only_if_that_is_asked_for(reckoner: Store) -> None:
    store, bars = reckoner, series()
    name = store.create({**TYPES, "funding": "DOUBLE PRECISION"}, [(*row, 0.125) for row in records(bars)])
    here = store.load(table=name, timeframe="4h")
    assert "in the database" not in str(here.provenance["read_as"])
    there = store.load(table=name, timeframe="4h", aggregate="database")
    assert there.provenance["read_as"] == "bars made in the database"
    assert there == here
    assert (there.flags > 0).sum() == 1  # of which an hour or two are missing
    assert store.load(table=name, timeframe="4h", aggregate="database", limit=3) == here[-3:]
    assert store.load(table=name, timeframe="4h", aggregate="database", start="2024-01-03", limit=3).time[0] == START + 48 * HOUR
    with pytest.raises(ct.errors.UnsupportedTimeframe, match="holds bars of 1h, not of 1m"):
        store.load(table=name, timeframe="1m", aggregate="database")
    store.run(f"UPDATE {name} SET high = 1 WHERE ts = {START + HOUR}")
    with pytest.raises(MalformedData, match="a row has a value that no trade or bar has"):
        store.load(table=name, timeframe="4h", aggregate="database")


def test_a_database_that_can_not_make_bars_says_so(sqlite: Store) -> None:
    name = sqlite.create(TRADES, rows_of(market(50), decimals=False))
    options = {"table": name, "trades": True, "timeframe": "5m"}
    assert "can't tell which of many rows is the first" in sqlite.load(**options).provenance["notes"][0]
    with pytest.raises(ct.errors.UnsupportedMode, match="can't be made in the database"):
        sqlite.load(**options, aggregate="database")
