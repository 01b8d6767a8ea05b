"""The plugin as a whole: found by name, its options, its identity, and the user guide's example."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import InvalidOption, PluginDependencyMissing, SourceNotFound, UnknownSymbol

from .conftest import HOUR, START, TYPES, Store, records, sa, series


def test_its_hooks_fit_the_plugin_api() -> None:
    assert {entry.name: problem for entry, problem in ct.default_registry().check()}["sql"] is None


def test_the_options_of_the_user_guide(sqlite: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite.create(TYPES, records(series(), series("ETH/USDT", seed=2)), name="ohlcv")
    path = str(sqlite.engine.url.database)
    monkeypatch.chdir(Path(path).parent)
    feed = ct.feed("sql", db_path=Path(path).name, symbol_filter="BTC/USDT", timeframe="1h", validation="off")
    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    assert len(cerebro.run()[0].data) == len(series())
    named = ct.load("sql", db_path=path, table_name="ohlcv", symbol_filter="ETH/USDT", timeframe="1h", validation="off")
    assert named == series("ETH/USDT", seed=2)
    query = "SELECT ts AS timestamp, open, high, low, close, volume FROM ohlcv WHERE symbol = 'BTC/USDT' ORDER BY ts"
    assert ct.load("sql", db_path=path, query=query, symbol="BTC/USDT", timeframe="1h", validation="off") == series()


def test_a_query_binds_what_it_names(store: Store) -> None:
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    query = f"SELECT * FROM {name} WHERE symbol = :symbol AND ts >= :start AND ts < :end -- the end"
    bars = store.load(query=query, bind_times="ms", start="2024-01-02", end="2024-01-03")
    assert bars == series().between("2024-01-02", "2024-01-03")
    with pytest.raises(InvalidOption, match="not known how its times are written"):
        store.load(query=query)
    with pytest.raises(InvalidOption, match="parameter :sybmol"):
        store.load(query=f"SELECT * FROM {name} WHERE symbol = :sybmol")


def test_an_engine_and_a_select_are_read_and_stay_the_users(store: Store) -> None:
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    table = sa.table(name, *map(sa.column, TYPES))
    query = sa.select(table).where(table.c.symbol == "BTC/USDT")
    options = {"query": query, "symbol": "BTC/USDT", "timeframe": "1h", "validation": "off"}
    assert ct.load("sql", engine=store.engine, **options) == series()
    store.run(f"DELETE FROM {name} WHERE symbol = 'ETH/USDT'")  # the engine is open, and may write as before
    assert store.run(f"SELECT count(*) FROM {name}")[0][0] == len(series())


def test_a_database_in_memory_is_read_through_its_engine() -> None:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool, connect_args={"check_same_thread": False})
    with engine.begin() as connection:
        series().to_pandas().tz_localize(None).drop(columns="flags").to_sql("ohlcv", connection)
    assert ct.load("sql", engine=engine, symbol="BTC/USDT", timeframe="1h", validation="off") == series()
    engine.dispose()
    with pytest.raises(InvalidOption, match="empty for whoever opens it"):
        ct.load("sql", url="sqlite://", timeframe="1h")


def test_one_table_for_each_symbol(store: Store) -> None:
    types = {name: kind for name, kind in TYPES.items() if name != "symbol"}
    stem = store.name("x")
    for bars in (series(), series("ETH/USDT", seed=2)):
        store.create(types, bars.to_records(), name=f"{stem}_{bars.symbol.replace('/', '').lower()}_1h")
    assert store.load(table=f"{stem}_{{symbol}}_{{timeframe}}", symbol="ETH/USDT") == series("ETH/USDT", seed=2)
    with pytest.raises(SourceNotFound, match="no table"):
        store.load(table=f"{stem}_{{symbol}}_{{timeframe}}", symbol="XRP/USDT")


@pytest.mark.parametrize("schema", ["ct_market", "CT market"])
def test_a_table_of_another_schema(postgresql: Store, schema: str) -> None:
    quoted = postgresql.engine.dialect.identifier_preparer.quote(schema)
    postgresql.run(f"CREATE SCHEMA IF NOT EXISTS {quoted}")
    name = postgresql.create(TYPES, records(series()), schema=schema, name="The Bars")
    try:
        assert postgresql.load(table=f"{schema}.{name}") == series()
        assert postgresql.load(table=f"{schema}.{name}", fast="yes") == series()
    finally:
        postgresql.run(f"DROP SCHEMA {quoted} CASCADE")


def test_a_view_is_read_like_a_table(store: Store) -> None:
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)))
    store.run(f"CREATE VIEW {name}_v AS SELECT * FROM {name} WHERE volume > 10")
    try:
        assert store.load(table=f"{name}_v") == series()[series().volume > 10]
    finally:
        store.run(f"DROP VIEW {name}_v")


def test_the_first_and_last_time_are_told_without_reading(store: Store) -> None:
    name = store.create(TYPES, records(series(), series("ETH/USDT", seed=2)[5:9]))
    with ct.source("sql", url=store.url, table=name) as source:
        bars = series()
        assert source.plugin.span("BTC/USDT", "1h") == (bars.time[0], bars.time[-1])
        assert source.plugin.span("ETH/USDT") == (bars.time[5], bars.time[8])
        with pytest.raises(UnknownSymbol, match="XRP"):
            source.plugin.span("XRP/USDT")
    empty = store.create({column: kind for column, kind in TYPES.items() if column != "symbol"})
    with ct.source("sql", url=store.url, table=empty) as source:
        assert source.plugin.span() is None


def test_columns_of_any_name_are_mapped_and_numbers_come_along(store: Store) -> None:
    types = {"Paar": "VARCHAR(9)", "when": "BIGINT", "o": "REAL", "Hi gh": "REAL", "l": "REAL", "c": "REAL", "Menge%": "REAL",
             "funding": "REAL", "id": "INTEGER", "note": "VARCHAR(9)"}  # fmt: skip
    bars = series()
    rows = [("BTC/USDT", *row, 0.5, at, "x") for at, row in enumerate(bars.to_records())]
    name = store.create(types, rows)
    columns = {"symbol": "Paar", "time": "when", "high": "Hi gh", "volume": "Menge%"}
    loaded = store.load(table=name, columns=columns)
    assert loaded == bars.but(extra={"funding": np.full(len(bars), 0.5)})
    assert store.load(table=name, columns=columns, extra_columns=[]) == bars
    with pytest.raises(InvalidOption, match=r"has no column 'hi'.* found: Paar, when"):
        store.load(table=name, columns=columns | {"high": "hi"})


def test_a_missing_column_is_named_with_what_was_found(store: Store) -> None:
    name = store.create({"ts": "BIGINT", "a": "REAL", "h": "REAL", "l": "REAL", "c": "REAL"})
    with pytest.raises(ct.errors.MalformedData, match="no column for open; found: ts, a, h, l, c"):
        store.load(table=name)


def test_two_exchanges_are_never_one_series(store: Store) -> None:
    types = {"exchange": "VARCHAR(20)", **TYPES}
    other = series(seed=3)
    name = store.create(types, [("binance", *row) for row in records(series())] + [("kraken", *row) for row in records(other)])
    with pytest.raises(InvalidOption, match="more than one exchange"):
        store.load(table=name)
    assert store.load(table=name, where={"exchange": "kraken"}) == other


def test_symbols_are_told_apart_to_the_letter(store: Store) -> None:
    upper, lower = series("PEPE/USDT"), series("pepe/usdt", seed=4)
    name = store.create(TYPES, records(upper, lower))
    assert store.load(table=name, symbol="PEPE/USDT") == upper
    assert store.load(table=name, symbol="pepe/usdt") == lower
    with pytest.raises(ct.errors.UnknownSymbol, match="no symbol 'Pepe/USDT'"):
        store.load(table=name, symbol="Pepe/USDT")


def test_another_spelling_is_found_and_said(sqlite: Store) -> None:
    name = sqlite.create(TYPES, records(series("BTCUSDT")))
    bars = sqlite.load(table=name, symbol="BTC/USDT")
    assert bars == series()
    assert bars.provenance["notes"] == ["The symbol 'BTC/USDT' is spelled 'BTCUSDT' in the database."]


def test_a_table_of_one_symbol_needs_none_named(sqlite: Store) -> None:
    name = sqlite.create(TYPES, records(series()))
    assert sqlite.load(table=name, symbol=None) == series()
    sqlite.run(f"INSERT INTO {name} (symbol, ts) VALUES ('ETH/USDT', 1)")
    with pytest.raises(InvalidOption, match=r"several symbols \(BTC/USDT, ETH/USDT\)"):
        sqlite.load(table=name, symbol=None)


#: Types of text that don't mind case.
CASELESS = {
    "sqlite": "TEXT COLLATE NOCASE",
    "duckdb": "VARCHAR COLLATE NOCASE",
    "mysql": "VARCHAR(20) COLLATE utf8mb4_general_ci",
}


@pytest.fixture
def caseless(store: Store) -> Iterator[tuple[Store, str]]:
    """A store, and a type of text there that does not mind case."""
    if store.kind != "postgresql":
        yield store, CASELESS[store.kind]
        return
    name = store.name("caseless")
    store.run(f"CREATE COLLATION {name} (provider = icu, locale = 'und-u-ks-level2', deterministic = false)".replace(":", r"\:"))
    yield store, f"VARCHAR(20) COLLATE {name}"
    store.drop()
    store.made.clear()
    store.run(f"DROP COLLATION {name}")


def test_symbols_are_told_apart_by_case(caseless: tuple[Store, str]) -> None:
    store, kind = caseless
    upper, lower = series("ONE/USDT"), series("one/USDT", seed=2)
    name = store.create(
        {**TYPES, "symbol": kind}, [row for pair in zip(records(upper), records(lower), strict=True) for row in pair]
    )
    for fast in ("no", "yes"):
        for bars in (upper, lower):
            assert store.load(table=name, symbol=bars.symbol, fast=fast) == bars
    with ct.source("sql", url=store.url, table=name) as source:
        assert sorted(source.symbols()) == ["ONE/USDT", "one/USDT"]


def test_a_month_is_no_minute_where_case_is_not_minded(caseless: tuple[Store, str]) -> None:
    store, kind = caseless
    minutes = series().but(timeframe="1m", time=START + 60_000 * np.arange(len(series())))
    month = series(rows=1, seed=3).but(timeframe="1M")
    rows = [("1M", *records(month)[0]), *(("1m", *row) for row in records(minutes))]
    name = store.create({"timeframe": kind, **TYPES}, rows)
    for fast in ("no", "yes"):
        assert store.load(table=name, timeframe="1m", fast=fast) == minutes
        assert store.load(table=name, timeframe="1M", fast=fast) == month
    with ct.source("sql", url=store.url, table=name) as source:
        assert sorted(source.timeframes()) == ["1M", "1m"]


@pytest.mark.parametrize("others", ["KRAKEN", None, "binance"])
def test_two_exchanges_are_not_mixed(caseless: tuple[Store, str], others: str | None) -> None:
    store, kind = caseless
    rows = [(*row, exchange) for row in records(series()) for exchange in ("kraken", others)]
    for order in (rows, rows[::-1]):
        name = store.create({**TYPES, "exchange": kind}, order)
        with pytest.raises(InvalidOption, match="more than one exchange"):
            store.load(table=name)
        assert store.load(table=name, where={"exchange": "kraken"}) == series()


@pytest.mark.parametrize("kind", ["enumeration", "INTEGER", "CHAR(12)", "NAME"])
def test_symbols_of_postgresql_may_be_no_text(postgresql: Store, kind: str) -> None:
    store, (one, other) = postgresql, ("600000", "600001")
    made = store.name("symbols") if kind == "enumeration" else ""
    if made:
        store.run(f"CREATE TYPE {made} AS ENUM ('{one}', '{other}')")
    types = {**TYPES, "symbol": made or kind}
    values = [(*row, symbol) for symbol in (one, other) for row in series(symbol).to_records()]
    name = store.create(types)
    for time, *prices, symbol in values[:20] + values[-20:]:
        store.run(f"INSERT INTO {name} VALUES ('{symbol}', {time}, {', '.join(map(str, prices))})")
    try:
        for fast in ("no", "yes"):
            assert store.load(table=name, symbol=one, fast=fast) == series(one)[:20]
            with pytest.raises(UnknownSymbol, match="no symbol '7'"):
                store.load(table=name, symbol="7", fast=fast)
        with ct.source("sql", url=store.url, table=name) as source:
            assert [symbol.strip() for symbol in source.symbols()] == [one, other]
    finally:
        store.drop()
        store.made.clear()
        if made:
            store.run(f"DROP TYPE {made}")


@pytest.mark.parametrize("opening", ["open_time", "Open Time", "start_time", "open_timestamp"])
@pytest.mark.parametrize("other", ["timestamp", "time", "date"])
def test_the_opening_is_the_time_though_others_are_there(sqlite: Store, opening: str, other: str) -> None:
    bars = series()
    types = {other: "BIGINT", **{opening if name == "ts" else name: kind for name, kind in TYPES.items()}}
    name = sqlite.create(types, [(row[1] + HOUR, *row) for row in records(bars)])
    loaded = sqlite.load(table=name, extra_columns=[])
    assert loaded == bars
    assert loaded.provenance["columns"]["time"] == opening


# ── timeframes ───────────────────────────────────────────────────────────────────────────────────────


def test_longer_bars_are_made_of_those_in_the_table(store: Store) -> None:
    bars = series()
    name = store.create(TYPES, records(bars))
    assert store.load(table=name, timeframe="4h") == bars.resample("4h")
    with pytest.raises(ct.errors.UnsupportedTimeframe, match="holds bars of 1h, not of 1m"):
        store.load(table=name, timeframe="1m")


def test_a_few_bars_of_another_length_are_refused_too(store: Store) -> None:
    rows = [("BTC/USDT", START + at * 24 * HOUR, 1.0, 2.0, 0.5, 1.0, 10.0) for at in range(19)]
    for count in (3, 19):
        name = store.create(TYPES, rows[:count])
        with pytest.raises(ct.errors.QualityError, match="these look like bars of 1d, not 1h"):
            store.load(table=name, validation="repair")
        assert len(store.load(table=name, timeframe="1d", validation="repair")) == count


def test_a_column_of_timeframes_is_minded(store: Store) -> None:
    hours = series()
    days = hours.resample("1d")
    rows = [("60m", *row) for row in records(hours)] + [("1d", *row) for row in records(days)]
    name = store.create({"interval": "VARCHAR(9)", **TYPES}, rows)
    assert store.load(table=name) == hours
    assert store.load(table=name, timeframe="1d").but(flags=days.flags) == days
    with ct.source("sql", url=store.url, table=name) as source:
        assert sorted(source.timeframes()) == ["1d", "1h"]
    with pytest.raises(ct.errors.UnsupportedTimeframe, match="no bars of 1m"):
        store.load(table=name, timeframe="1m")


def test_the_last_bars_come_where_only_a_limit_is_given(store: Store) -> None:
    name = store.create(TYPES, records(series()))
    assert store.load(table=name, limit=5) == series()[-5:]
    assert store.load(table=name, limit=5, start="2024-01-02") == series().between("2024-01-02")[:5]
    assert store.load(table=name, limit=5, end="2024-01-02") == series().between(None, "2024-01-02")[-5:]


# ── options and identity ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "no database is named"),
        ({"url": "sqlite:///a.db", "db_path": "a.db"}, "name it more than once"),
        ({"db_path": "a.db", "table": "a", "query": "SELECT 1"}, "not both"),
        ({"db_path": "a.db", "query": 5}, "neither the text of a SELECT"),
        ({"engine": "sqlite:///a.db"}, "no SQLAlchemy Engine"),
        ({"db_path": "a.db", "bind_times": "ms"}, "bind_times is for"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidOption, match=said):
        ct.source("sql", **options)


def test_a_file_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for url in (f"sqlite:///{tmp_path / 'no.db'}", f"duckdb:///{tmp_path / 'no.db'}"):
        with pytest.raises(SourceNotFound, match="There is no file"):
            ct.load("sql", url=url, symbol="BTC/USDT", timeframe="1h")
    assert not list(tmp_path.iterdir())


def test_a_dialect_that_is_not_installed_is_said() -> None:
    with pytest.raises(PluginDependencyMissing, match="no dialect for"):
        ct.load("sql", url="nosuchsql://host/market", symbol="BTC/USDT", timeframe="1h")


def test_the_identity_tells_data_apart_and_holds_no_password(sqlite: Store) -> None:
    def identity(**options: object) -> object:
        return ct.source("sql", **options).identity

    url = "postgresql://user:s3cret@host:5432/market?sslpassword=s3cret"
    known = identity(url=url, table="a")
    assert known == {"database": "postgresql://host:5432/market", "table": "a"}
    assert known == identity(url=url.replace("s3cret", "other"), table="a", chunk_size=5, fast="no")
    other = ({"table": "b"}, {"query": "SELECT * FROM a"}, {"table": "a", "where": {"exchange": "kraken"}})
    different = [identity(url=url, **options) for options in other] + [identity(url=url.replace("/market", "/other"), table="a")]
    assert known not in different
    table = sa.table("a", sa.column("x"))
    low, high = (identity(engine=sqlite.engine, query=sa.select(table).where(table.c.x > value)) for value in (1, 2))
    assert low != high
