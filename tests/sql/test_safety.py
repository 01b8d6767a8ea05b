"""Nothing that a user or a table says becomes SQL, nothing is written, no secret shows, no connection stays behind."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import closing
from typing import Any

import pytest

import cracktrader as ct
from cracktrader.errors import CracktraderError, MalformedData, PermanentSourceError, SourceNotFound, TemporarySourceError

from .conftest import START, TYPES, Store, connections, records, sa, series

ATTACKS = (
    "BTC/USDT' OR '1'='1",
    "BTC/USDT'; DROP TABLE {table}; --",
    '"; DROP TABLE {table}; --',
    "`; DROP TABLE {table}; --",
    "{table} WHERE 1=1 --",
    "%(x)s$1:start",
    "\\'; --",
    "a\x00b",
)


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_nothing_can_be_injected_through_any_option(store: Store, fast: str) -> None:
    if (store.kind, fast) == ("mysql", "yes"):
        pytest.skip("no driver sends Arrow")
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    before = store.run(f"SELECT count(*), sum(volume) FROM {name}")
    places: list[Any] = [
        lambda text: {"symbol": text},
        lambda text: {"table": text},
        lambda text: {"table": f"public.{text}"},
        lambda text: {"columns": {"open": text}},
        lambda text: {"extra_columns": [text]},
        lambda text: {"where": {text: "x"}},
        lambda text: {"where": {"symbol": text}},
        lambda text: {"query": f"SELECT * FROM {name} WHERE symbol = :symbol", "symbol": text},
    ]
    for attack in ATTACKS:
        for place in places if fast == "no" else places[:1]:
            options = place(attack.format(table=name))
            table = {} if {"table", "query"} & set(options) else {"table": name}
            try:
                bars = store.load(**{**table, **options, "fast": fast})
            except (CracktraderError, ValueError):
                continue
            assert not len(bars), (attack, options)
    assert store.run(f"SELECT count(*), sum(volume) FROM {name}") == before


def test_a_symbol_with_every_sign_is_found(store: Store) -> None:
    symbol = "B'T\"C`/%s:x;--$1\\"
    name = store.create(TYPES, records(series(symbol), series("ETH/USDT", seed=2)))
    assert store.load(table=name, symbol=symbol) == series(symbol)
    if store.kind != "mysql":
        assert store.load(table=name, symbol=symbol, fast="yes") == series(symbol)


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_a_query_can_not_write(store: Store, fast: str) -> None:
    if (store.kind, fast) == ("mysql", "yes"):
        pytest.skip("no driver sends Arrow")
    name = store.create(TYPES, records(series()))
    for query in (f"DELETE FROM {name}", f"DROP TABLE {name}", f"SELECT * FROM {name}) AS q; DROP TABLE {name}; --",
                  f"SELECT * FROM {name}) AS q; COMMIT; DROP TABLE {name}; --"):  # fmt: skip
        with pytest.raises(CracktraderError):
            store.load(query=query, fast=fast)
    assert store.load(table=name) == series()


@pytest.mark.parametrize(
    "query", ["WITH gone AS (DELETE FROM {table} RETURNING *) SELECT * FROM gone", "SELECT * FROM ct_writes()"]
)
def test_postgresql_itself_refuses_to_write(postgresql: Store, query: str) -> None:
    name = postgresql.create(TYPES, records(series()))
    columns = "symbol varchar, ts bigint, open float8, high float8, low float8, close float8, volume float8"
    body = f"BEGIN DELETE FROM {name}; RETURN QUERY SELECT * FROM {name}; END"
    postgresql.run(f"CREATE OR REPLACE FUNCTION ct_writes() RETURNS TABLE ({columns}) LANGUAGE plpgsql AS '{body}'")
    try:
        with pytest.raises(PermanentSourceError):
            postgresql.load(query=query.format(table=name))
        assert postgresql.load(table=name) == series()
    finally:
        postgresql.run("DROP FUNCTION ct_writes()")


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_wrong_password_is_said_but_not_shown(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    user, password = store.name("user"), "s3cr3t/p@ss"
    url = store.engine.url.set(username=user, password=password)
    with pytest.raises(CracktraderError) as caught:
        ct.load("sql", url=url, table="x", symbol="BTC/USDT", timeframe="1h")
    assert isinstance(caught.value, PermanentSourceError)
    assert user in str(caught.value)
    for text in (
        str(caught.value),
        repr(caught.value),
        repr(ct.source("sql", url=url).config),
        str(ct.source("sql", url=url).identity),
    ):
        assert "s3cr3t" not in text


def test_a_url_that_can_not_be_read_is_not_quoted() -> None:
    with pytest.raises(ct.errors.InvalidOption) as caught:
        ct.load("sql", url="postgresql//user:s3cr3t@host:x/market", symbol="BTC/USDT", timeframe="1h")
    assert "s3cr3t" not in str(caught.value)


# ── connections ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_a_hundred_failures_leave_no_connection(leaky: tuple[Store, str], fast: str) -> None:
    store, url = leaky
    name = store.create({**TYPES, "open": "TEXT"}, [("BTC/USDT", START, "junk", 1.0, 1.0, 1.0, 1.0)])
    ways = (
        {"table": "ct_no_such"},
        {"table": name},
        {"table": name, "symbol": "no"},
        {"query": "SELECT 1/0 AS x"},
        {"query": "SELEC"},
    )
    for turn in range(100):
        with pytest.raises(CracktraderError):
            store.load(url=url, fast=fast, **ways[turn % len(ways)])
    assert connections(store) == 0


def test_fetches_that_are_given_up_leave_no_connection(leaky: tuple[Store, str]) -> None:
    store, url = leaky
    name = store.create(TYPES, records(series()))
    for fast in ("no", "yes"):
        with ct.source("sql", url=url, table=name, chunk_size=5, fast=fast) as source:
            for _ in range(5):
                with closing(source.bars(ct.BarRequest("BTC/USDT", "1h"))) as chunks:
                    assert len(next(chunks)) == 5
    assert connections(store) == 0


def test_a_mysql_answer_that_is_given_up_is_not_waited_for(mysql: Store) -> None:
    name = mysql.create(TYPES)
    mysql.run(f"INSERT INTO {name} SELECT 'BTC/USDT', {START} + seq * 60000, 1, 1, 1, 1, 1 FROM seq_0_to_200000")
    with ct.source("sql", url=mysql.url, table=name, chunk_size=10) as source:
        begun = time.monotonic()
        with closing(source.bars(ct.BarRequest("BTC/USDT", "1m"))) as chunks:
            next(chunks)
            first = time.monotonic() - begun
        assert time.monotonic() - begun < first + 1
        assert len(next(iter(source.bars(ct.BarRequest("BTC/USDT", "1m"))))) == 10


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_backend_that_is_killed_in_mid_stream_is_a_temporary_error(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    name = store.create(TYPES)
    numbers = {"postgresql": "generate_series(CAST(0 AS bigint), 300000) AS seq", "mysql": "seq_0_to_300000"}[kind]
    store.run(f"INSERT INTO {name} SELECT 'BTC/USDT', {START} + seq * 60000, 1, 1, 1, 1, 1 FROM {numbers}")
    for fast in ("no", "yes") if kind == "postgresql" else ("no",):
        with ct.source("sql", url=store.url, table=name, chunk_size=1000, fast=fast) as source:
            with closing(source.bars(ct.BarRequest("BTC/USDT", "1m"))) as chunks:
                assert 0 < len(next(chunks)) <= 1000
                kill_reader_of(store, name)
                with pytest.raises(TemporarySourceError, match="database 'test'"):
                    for _ in chunks:
                        pass
            assert len(next(source.bars(ct.BarRequest("BTC/USDT", "1m", limit=5, start=START)))) == 5  # and it goes on


def kill_reader_of(store: Store, table: str) -> None:
    """End whatever connection reads the table, and no other."""
    if store.kind == "postgresql":
        held = (
            "SELECT pid FROM pg_locks JOIN pg_class ON relation = pg_class.oid WHERE relname = :name AND pid <> pg_backend_pid()"
        )
        assert store.run(f"SELECT pg_terminate_backend(pid) FROM ({held}) AS held", name=table)
    else:
        found = store.run(
            "SELECT id FROM information_schema.processlist WHERE info LIKE :name AND id <> connection_id()", name=f"%{table}%"
        )
        assert found
        for (number,) in found:
            store.run(f"KILL {int(number)}")


def test_a_server_that_is_down_is_a_temporary_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        for scheme in ("postgresql+psycopg", "mysql+pymysql"):
            with pytest.raises(TemporarySourceError, match=r"Is the server running|try again"):
                ct.load("sql", url=f"{scheme}://user@127.0.0.1:{port}/market", symbol="BTC/USDT", timeframe="1h")


def test_a_failure_that_passes_is_tried_again(sqlite: Store) -> None:
    name = sqlite.create(TYPES, records(series()))
    with sqlite.engine.connect() as writer:
        writer.exec_driver_sql("PRAGMA locking_mode = EXCLUSIVE")
        writer.exec_driver_sql("BEGIN EXCLUSIVE")
        with pytest.raises(TemporarySourceError, match="locked"):
            sqlite.load(table=name, connect_timeout=0.01)
        waiting = threading.Timer(0.2, writer.connection.dbapi_connection.close)  # type: ignore[union-attr]
        waiting.start()
        try:
            assert sqlite.load(table=name, connect_timeout=0.1) == series()
        finally:
            waiting.join()
            writer.invalidate()


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_statement_may_not_take_longer_than_it_may(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    sleep = {"postgresql": "pg_sleep(20)::text", "mysql": "sleep(20)"}[kind]
    begun = time.monotonic()
    with pytest.raises(TemporarySourceError, match=r"timeout|max_statement_time|interrupted"):
        store.load(query=f"SELECT {sleep} AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close", timeout=0.3)
    assert time.monotonic() - begun < 10


def test_a_timeout_that_can_not_be_kept_is_refused(sqlite: Store) -> None:
    with pytest.raises(ct.errors.InvalidOption, match="can't be given a timeout"):
        sqlite.load(table=sqlite.create(TYPES), timeout=1)


def test_a_file_that_is_no_database_is_said(tmp_path: Any) -> None:
    for kind in ("sqlite", "duckdb"):
        path = tmp_path / f"x.{kind}"
        path.write_bytes(b"this is no database at all" * 500)
        with pytest.raises((MalformedData, SourceNotFound)):
            ct.load("sql", url=f"{kind}:///{path}", symbol="BTC/USDT", timeframe="1h")


def test_a_table_that_goes_away_is_said(store: Store) -> None:
    name = store.create(TYPES, records(series()))
    with ct.source("sql", url=store.url, table=name) as source:
        assert list(source.bars(ct.BarRequest("BTC/USDT", "1h")))
        store.run(f"DROP TABLE {name}")
        with pytest.raises(SourceNotFound, match=f"There is no table '{name}'"):
            list(source.bars(ct.BarRequest("BTC/USDT", "1h")))


def test_threads_share_a_source(store: Store) -> None:
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    with ct.source("sql", url=store.url, table=name) as source:
        requests = [{"source": source, "symbol": symbol, "timeframe": "1h"} for symbol in ("BTC/USDT", "ETH/USDT") * 8]
        assert all(len(outcome.bars) == len(series()) for outcome in ct.load_many(requests, max_workers=8, validation="off"))
    assert sa is not None
