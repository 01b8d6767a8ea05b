"""Nothing that a user or a table says becomes SQL, nothing is written, no secret shows, no connection stays behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import pytest
from typer.testing import CliRunner

import cracktrader as ct
from cracktrader.cli.app import app
from cracktrader.errors import CracktraderError, MalformedData, PermanentSourceError, SourceNotFound, TemporarySourceError
from cracktrader_sql import tuning

from .conftest import APPLICATION, START, TYPES, Store, connections, records, sa, series

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
        lambda text: {"symbol_filter": text},
        lambda text: {"table": f"{name}_{{symbol}}", "symbol": text},
        lambda text: {"table_timeframe": text},
        lambda text: {"notify": text, "symbol": text},
    ]
    for attack in ATTACKS:
        for place in places:
            options = place(attack.format(table=name))
            table = {} if {"table", "query"} & set(options) else {"table": name}
            # an engine that may write stops nothing, and need not connect each time
            engine = {"url": None, "engine": store.engine} if fast == "no" and attack != ATTACKS[0] else {}
            try:
                bars = store.load(**{**table, **options, **engine, "fast": fast})
            except (CracktraderError, ValueError):
                continue
            assert not len(bars), (attack, options)
    assert store.run(f"SELECT count(*), sum(volume) FROM {name}") == before


def test_nothing_can_be_injected_by_what_is_written(store: Store) -> None:
    name = store.create(TYPES, records(series()))
    before = store.run(f"SELECT count(*), sum(volume) FROM {name}")
    read = 0
    for attack in ATTACKS[:-1]:
        text = attack.format(table=name)
        target = store.name("written")
        store.made.append((target, None))
        bars = series(text[:64]).but(extra={text[:60]: series().close})
        try:
            bars.to_sql(store.engine, target)
            again = store.load(table=target, symbol=text[:64])
        except (CracktraderError, ValueError):
            continue
        finally:
            assert store.run(f"SELECT count(*), sum(volume) FROM {name}") == before
        assert again == bars, attack
        read += 1
    assert read >= 5
    assert len(store.load(table=name)) == len(series())


def test_a_table_of_any_name_is_written(sqlite: Store) -> None:
    for attack in ATTACKS[:-1]:
        table = attack.format(table="ohlcv").replace(".", "")
        series().to_sql(sqlite.url, table)
        assert sqlite.load(table=table) == series()


def test_a_symbol_with_every_sign_is_found(store: Store) -> None:
    symbol = "B'T\"C`/%s:x;--$1\\"
    name = store.create(TYPES, records(series(symbol), series("ETH/USDT", seed=2)))
    assert store.load(table=name, symbol=symbol) == series(symbol)
    assert store.load(table=name, symbol=symbol, fast="yes") == series(symbol)


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_a_query_can_not_write(store: Store, fast: str) -> None:
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


@pytest.mark.parametrize("password", ["s3cr3t@h0me", "s3@cr3t@h0me", "s3cr3t@h0/me", "s3cr3t@h0?me", "s3cr3t@h0?x=me"])
@pytest.mark.parametrize("scheme", ["postgresql", "mysql", "trino"])
def test_a_password_with_an_at_sign_is_not_taken_for_a_host(scheme: str, password: str) -> None:
    url = f"{scheme}://user:{password}@127.0.0.1:1/market"
    said: list[str] = []
    with pytest.raises(ct.errors.InvalidOption, match="more than one @") as caught:
        ct.load("sql", url=url, symbol="BTC/USDT", timeframe="1h")
    said += [str(caught.value), repr(caught.value)]
    with pytest.raises(ct.errors.InvalidOption, match="more than one @") as caught:
        series().to_sql(url)
    said += [str(caught.value), repr(caught.value)]
    answer = CliRunner().invoke(app, ["load", "sql", f"url={url}", "symbol=BTC/USDT", "timeframe=1h"])
    assert answer.exit_code != 0
    said += [answer.output, answer.stderr]
    assert all(part not in text for text in said for part in ("s3cr3t", "cr3t", "h0", "me@"))
    assert "%40" in caught.value.hint


def test_at_signs_beside_the_password_do_no_harm(postgresql: Store) -> None:
    name = postgresql.create(TYPES, records(series()))
    assert postgresql.load(url=f"{postgresql.url}?application_name=me%40home", table=name) == series()


# ── connections ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_a_hundred_failures_leave_no_connection(leaky: tuple[Store, str], fast: str) -> None:
    store, url = leaky
    name = store.create({**TYPES, "open": "TEXT"}, [("BTC/USDT", START, "junk", 1.0, 1.0, 1.0, 1.0)])
    ways = (
        {"table": "ct_no_such"},
        {"table": name},
        {"table": name, "chunk_size": 5},
        {"query": "SELECT 1/0 AS x"},
        {"query": "SELECT FROM WHERE"},
    )
    with ExitStack() as stack:
        sources = [stack.enter_context(ct.source("sql", url=url, fast=fast, **way)) for way in ways]
        for turn in range(100):
            asked = {"symbol": "no" if turn % len(ways) == 2 else "BTC/USDT", "timeframe": "1h"}
            with pytest.raises(CracktraderError):
                ct.load(sources[turn % len(ways)], **asked)
        with pytest.raises(TemporarySourceError), locked(store, name):
            ct.load("sql", url=f"{url}&options=-c%20lock_timeout%3D20", fast=fast, table=name, **asked)
        for _ in range(3):
            with pytest.raises(TemporarySourceError):
                ct.load("sql", url=url, query="SELECT pg_sleep(9) AS ts", timeout=0.02, **asked)
        busy = f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'"
        assert store.run(f"{busy} AND state <> 'idle'")[0][0] == 0
        assert store.run(busy)[0][0] <= len(ways)  # one is kept by each source that is open
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


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_failures_leave_no_connection_to_mariadb(mysql: Store, fast: str) -> None:
    name = mysql.create({**TYPES, "open": "TEXT"}, [("BTC/USDT", START, "junk", 1.0, 1.0, 1.0, 1.0)])
    good, user = mysql.create(TYPES, records(series())), mysql.name("leak")
    mysql.run(f"CREATE USER {user}@'%'")
    mysql.run(f"GRANT SELECT ON *.* TO {user}@'%'")
    url = sa.make_url(mysql.url).set(username=user)
    open_now = "SELECT count(*) FROM information_schema.processlist WHERE user = :name"
    try:
        ways = ({"table": "ct_no_such"}, {"table": name}, {"query": "SELECT FROM WHERE"}, {"table": good, "symbol": "no"})
        for way in ways:
            with ct.source("sql", url=url, fast=fast, **{key: way[key] for key in way if key != "symbol"}) as source:
                for _ in range(10):
                    with pytest.raises(CracktraderError):
                        ct.load(source, symbol=way.get("symbol", "BTC/USDT"), timeframe="1h")
                    assert mysql.run(open_now, name=user)[0][0] <= 1
        with ct.source("sql", url=url, table=good, chunk_size=5, fast=fast) as source:
            for _ in range(5):
                with closing(source.bars(ct.BarRequest("BTC/USDT", "1h"))) as chunks:
                    assert next(chunks)
        ends = time.monotonic() + 5
        while (left := mysql.run(open_now, name=user)[0][0]) and time.monotonic() < ends:
            time.sleep(0.01)
        assert left == 0
    finally:
        mysql.run(f"DROP USER {user}@'%'")


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
    numbers = {"postgresql": "generate_series(CAST(0 AS bigint), 300000) AS seq", "mysql": "seq_0_to_150000"}[kind]
    store.run(f"INSERT INTO {name} SELECT 'BTC/USDT', {START} + seq * 60000, 1, 1, 1, 1, 1 FROM {numbers}")
    for fast in ("no", "yes"):
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


@pytest.mark.parametrize("fast", ["no", "yes"])
def test_a_host_that_can_not_be_found_is_a_temporary_error(monkeypatch: pytest.MonkeyPatch, fast: str) -> None:
    def unknown(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(TemporarySourceError) as caught:
        ct.load("sql", url="postgresql+psycopg://user@nowhere/market", symbol="X", timeframe="1h", fast=fast)
    assert caught.value.hint == "The host can't be found: is its name right, and the network up?"


@pytest.mark.parametrize(("kind", "right"), [("postgres", "postgresql"), ("postgresq", "postgresql"), ("sqlite3", "sqlite"),
                                             ("mysqll", "mysql")])  # fmt: skip
def test_a_misspelled_kind_of_database_is_said(kind: str, right: str) -> None:
    with pytest.raises(ct.errors.InvalidOption, match=f"'{kind}' is no kind of database here") as caught:
        ct.load("sql", url=f"{kind}://user:s3cr3t@127.0.0.1/market", symbol="X", timeframe="1h")
    assert caught.value.hint == f"Write {right}://…"


@pytest.mark.parametrize("query", ["DELETE FROM x", "SELEC * FROM x", "-- all\n/* of */ (UPDATE x SET y = 1)", ";DROP TABLE x"])
def test_a_query_that_is_no_select_is_said(sqlite: Store, query: str) -> None:
    name = sqlite.create(TYPES, records(series()))
    with pytest.raises(ct.errors.InvalidOption, match=r"must be a SELECT, and it begins with|neither the text of a SELECT"):
        sqlite.load(query=query)
    assert sqlite.load(query=f"-- all\n/* of\n it */ SELECT * FROM (SELECT * FROM {name} WHERE 1 = 1) ;") == series()


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
        store.load(query=f"SELECT {sleep} AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close", timeout=0.1)
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


# ── locks ────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def locked(store: Store, *names: str) -> Iterator[Any]:
    """Somebody else's connection, that lets nobody read these tables."""
    with store.engine.connect() as other:
        if store.kind == "mysql":
            other.exec_driver_sql(f"LOCK TABLES {', '.join(f'{name} WRITE' for name in names)}")
        for name in names if store.kind == "postgresql" else ():
            other.exec_driver_sql(f"LOCK TABLE {name} IN ACCESS EXCLUSIVE MODE")
        try:
            yield other
        finally:
            if store.kind == "mysql":
                other.exec_driver_sql("UNLOCK TABLES")
            other.rollback()


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_lock_is_not_waited_for_for_ever(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    name = store.create(TYPES, records(series()))
    patience: dict[str, Any] = {"timeout": 0.1}
    if kind == "postgresql":
        patience = {"url": f"{store.url}?options=-c%20lock_timeout%3D50"}
    with locked(store, name), pytest.raises(TemporarySourceError, match=r"lock timeout|max_statement_time|interrupted"):
        store.load(table=name, **patience)
    assert store.load(table=name, **patience) == series()


def test_a_deadlock_is_tried_again(postgresql: Store) -> None:
    store = postgresql
    first, second = (store.create(TYPES, records(part)) for part in (series(), series("ETH/USDT", seed=2)))
    store.run(f"CREATE VIEW {first}_both AS SELECT * FROM {first} UNION ALL SELECT * FROM {second}")
    arguments = {"options": "-c deadlock_timeout=300ms"}
    engine = sa.create_engine(store.engine.url, connect_args=arguments, poolclass=sa.pool.NullPool)
    failed: list[str] = []
    sa.event.listen(engine, "handle_error", lambda context: failed.append(context.original_exception.sqlstate))
    options = {"engine": engine, "table": f"{first}_both", "symbol": "BTC/USDT", "timeframe": "1h", "validation": "off"}
    found: list[ct.Bars] = []
    reader = threading.Thread(target=lambda: found.append(ct.load("sql", **options)))
    try:
        with locked(store, second) as other:
            reader.start()
            waits = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = CAST(:name AS regclass)"
            while not store.run(waits, name=second)[0][0]:  # the reader has the first, and wants the second
                time.sleep(0.01)
            other.exec_driver_sql(f"LOCK TABLE {first} IN ACCESS EXCLUSIVE MODE")  # until the reader is made to give up
        reader.join(20)
        assert failed == ["40P01"]
        assert found == [series()]
    finally:
        reader.join(20)
        store.run(f"DROP VIEW {first}_both")
        engine.dispose()


@pytest.mark.parametrize("number", [1205, 1213])
def test_what_mariadb_says_of_locks_is_temporary(mysql: Store, number: int) -> None:
    name = mysql.name("lock")
    body = f"BEGIN SIGNAL SQLSTATE '40001' SET MYSQL_ERRNO = {number}, MESSAGE_TEXT = 'try restarting'; RETURN 1; END"
    mysql.run(f"CREATE FUNCTION {name}() RETURNS INT {body}")
    try:
        with pytest.raises(TemporarySourceError, match="try restarting"):
            mysql.load(query=f"SELECT {name}() AS ts, 1 AS open, 1 AS high, 1 AS low, 1 AS close")
    finally:
        mysql.run(f"DROP FUNCTION {name}")


@pytest.mark.parametrize("kind", ["postgresql", "mysql"])
def test_a_table_can_not_go_away_while_it_is_read(kind: str, request: pytest.FixtureRequest) -> None:
    store: Store = request.getfixturevalue(kind)
    name = store.create(TYPES, records(series()))
    patience = {"postgresql": "SET lock_timeout = 50", "mysql": "SET lock_wait_timeout = 1"}[kind]
    for fast in ("no", "yes"):
        with ct.source("sql", url=store.url, table=name, chunk_size=5, fast=fast) as source:
            chunks = list(zip(source.bars(ct.BarRequest("BTC/USDT", "1h")), range(3), strict=False))
            assert len(chunks) == 3
            bars = source.bars(ct.BarRequest("BTC/USDT", "1h"))
            found = [next(bars)]
            with store.engine.connect() as other:
                other.exec_driver_sql(patience)
                with pytest.raises(sa.exc.OperationalError):
                    other.exec_driver_sql(f"DROP TABLE {name}")
            assert ct.Bars.concat([*found, *bars]) == series()


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("symbol", ["🚀/USDT", "MÜNZE/EUR", "Μ/円"])
def test_symbols_are_of_any_letters(store: Store, symbol: str) -> None:
    name = store.create(TYPES, records(series(symbol), series("ETH/USDT", seed=2)))
    for fast in ("no", "yes"):
        assert store.load(table=name, symbol=symbol, fast=fast) == series(symbol)


def test_text_that_can_not_be_decoded_is_said(sqlite: Store) -> None:
    name = sqlite.create(TYPES, records(series()))
    sqlite.run(f"INSERT INTO {name} (symbol, ts) VALUES (CAST(x'ff41' AS TEXT), 1)")
    assert sqlite.load(table=name) == series()
    with ct.source("sql", url=sqlite.url, table=name) as source, pytest.raises(MalformedData, match=r"(?i)decode"):
        source.symbols()


def test_a_column_of_another_encoding_is_read(mysql: Store) -> None:
    name = mysql.create({**TYPES, "symbol": "VARCHAR(20) CHARACTER SET latin1"})
    mysql.run(f"INSERT INTO {name} VALUES ('MÜNZE/EUR', {START}, 1, 1, 1, 1, 1)")
    for fast in ("no", "yes"):
        assert len(mysql.load(table=name, symbol="MÜNZE/EUR", fast=fast)) == 1
    with pytest.raises(PermanentSourceError, match="letters that its column can't hold"):
        mysql.load(table=name, symbol="🚀/USDT")


def test_a_database_of_another_encoding_is_read(postgresql: Store) -> None:
    base = postgresql.name("latin")
    with postgresql.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {base} ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
        url = postgresql.engine.url.set(database=base)
        engine = sa.create_engine(url, poolclass=sa.pool.NullPool)
        try:
            series("MÜNZE/EUR").to_sql(engine, "ohlcv")
            for fast in ("no", "yes"):
                options = {"url": url.set(drivername="postgresql"), "timeframe": "1h", "validation": "off", "fast": fast}
                assert ct.load("sql", symbol="MÜNZE/EUR", **options) == series("MÜNZE/EUR")
                with pytest.raises(CracktraderError):
                    ct.load("sql", symbol="🚀/USDT", **options)
        finally:
            engine.dispose()
            connection.exec_driver_sql(f"DROP DATABASE {base} WITH (FORCE)")


# ── a hint ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_table_is_told_which_index_would_help(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "_SLOW", 0.0)
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    for fast in ("no", "yes"):
        bars = store.load(table=name, fast=fast, chunk_size=5)
        assert bars == series()
        notes = bars.provenance.get("notes", [])
        assert len(notes) == (store.kind != "duckdb")  # to which an index means little
        assert all("an index on (symbol, ts) would help" in note for note in notes)
    store.run(f"CREATE INDEX {name}_i ON {name} (symbol, ts)")
    assert "notes" not in store.load(table=name).provenance
