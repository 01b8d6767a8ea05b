"""Candles that come while somebody writes them: looked for from time to time, or when PostgreSQL says so."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing
from typing import Any

import pytest

import cracktrader as ct
from cracktrader.errors import InvalidOption
from cracktrader_sql import polling

from .conftest import APPLICATION, HOUR, START, TYPES, Store, connections


class Clock:
    """The time as the stream sees it, set by a test; and how often the database was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.asked = START + 1000, 0
        monkeypatch.setattr(polling, "now_ms", lambda: self.now)
        monkeypatch.setattr(polling, "read_bars", self._counted(polling.read_bars))

    def _counted(self, read_bars: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            self.asked += 1
            return read_bars(*arguments)

        return counted


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def write(store: Store, name: str, at: int, close: float = 1.0) -> None:
    store.run(f"INSERT INTO {name} VALUES ('BTC/USDT', {at}, 1, 9, 1, {close}, 1)")


def run(store: Store, name: str, follow: Callable[[AsyncIterator[ct.OHLCVCandle]], Awaitable[None]], **options: Any) -> None:
    """Let ``follow`` read a stream of hours, which it closes."""

    async def main() -> None:
        settings = {"url": store.url, "table": name, "table_timeframe": "1h", "poll_seconds": 0.02, **options}
        with ct.source("sql", **settings) as source:
            async with aclosing(source.call("stream_candles", symbol="BTC/USDT", timeframe="1h")) as candles:
                await follow(candles)

    asyncio.run(asyncio.wait_for(main(), 20))


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def test_candles_come_once_they_are_over_in_order_none_twice(sqlite: Store, clock: Clock) -> None:
    name = sqlite.create(TYPES)
    for hour in range(-3, 5):  # old ones, and those of hours to come
        write(sqlite, name, START + hour * HOUR, float(hour + 4))

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: clock.asked > 2)
        assert not waiting.done()  # the hour is not over
        clock.now = START + HOUR
        found = [await waiting]
        clock.now = START + 3 * HOUR + 5
        found += [await anext(candles), await anext(candles)]
        assert [candle.time for candle in found] == [START, START + HOUR, START + 2 * HOUR]
        assert [candle.close for candle in found] == [4, 5, 6]
        assert all(candle.closed for candle in found)

    run(sqlite, name, follow)


def test_a_bar_that_may_still_change_is_waited_for(sqlite: Store, clock: Clock) -> None:
    name = sqlite.create(TYPES)
    write(sqlite, name, START, 1)

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: clock.asked > 0)
        clock.now, asked = START + HOUR + 900, clock.asked
        await until(lambda: clock.asked > asked + 2)
        assert not waiting.done()
        sqlite.run(f"UPDATE {name} SET close = 2")  # its last trade, a little late
        clock.now = START + HOUR + 1000
        assert (await waiting).close == 2
        write(sqlite, name, START + HOUR, 3)
        write(sqlite, name, START + 2 * HOUR, 4)
        clock.now = START + 2 * HOUR  # what comes after it is there: it is final
        assert (await anext(candles)).close == 3

    run(sqlite, name, follow)


def test_what_comes_after_a_newer_one_is_left_out(sqlite: Store, clock: Clock) -> None:
    name = sqlite.create(TYPES)

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        write(sqlite, name, START + HOUR)
        clock.now = START
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: clock.asked > 0)
        clock.now = START + 2 * HOUR + 1000
        assert (await waiting).time == START + HOUR
        write(sqlite, name, START)
        write(sqlite, name, START + 2 * HOUR)
        clock.now += HOUR
        assert (await anext(candles)).time == START + 2 * HOUR

    run(sqlite, name, follow)


def test_connections_that_were_lost_between_two_looks_are_replaced(leaky: tuple[Store, str], clock: Clock) -> None:
    store, url = leaky
    name = store.create(TYPES, [("BTC/USDT", START - HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)])

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        for turn in range(1, 4):
            await until(lambda turn=turn: clock.asked == turn)
            await asyncio.sleep(0.1)  # it has its answer, and waits
            store.run(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '{APPLICATION}'")
        write(store, name, START)
        clock.now = START + HOUR + 1000
        assert (await waiting).time == START

    run(store, name, follow, url=url, poll_seconds=0.3)
    assert connections(store) == 0


# ── notifications ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def role(postgresql: Store) -> Iterator[str]:
    """A user of its own, so that how often it may connect can be said."""
    name = postgresql.name("role")
    postgresql.run(f"CREATE ROLE {name} LOGIN")
    try:
        yield name
    finally:
        postgresql.run(f"DROP OWNED BY {name}")
        postgresql.run(f"DROP ROLE {name}")


def listeners(store: Store, role: str) -> list[int]:
    found = store.run("SELECT pid FROM pg_stat_activity WHERE usename = :role AND query LIKE 'LISTEN%'", role=role)
    return [pid for (pid,) in found]


def nobody_listens(store: Store, role: str) -> bool:
    """Whether all connections that listen are gone; a server takes a moment to notice."""
    for _ in range(500):
        if not listeners(store, role):
            return True
        time.sleep(0.01)
    return False


def test_a_notification_is_heard_and_nothing_is_asked_in_between(postgresql: Store, role: str, clock: Clock) -> None:
    store, channel = postgresql, 'bars "of" today'
    name = store.create(TYPES, [("BTC/USDT", START - HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)])
    store.run(f"GRANT SELECT ON {name} TO {role}")
    tell = f"{name}_tell"
    body = f"BEGIN NOTIFY {store.quote(channel)}; RETURN NULL; END"
    store.run(f"CREATE FUNCTION {tell}() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    store.run(f"CREATE TRIGGER tell AFTER INSERT ON {name} FOR EACH STATEMENT EXECUTE FUNCTION {tell}()")

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: bool(listeners(store, role)))
        await asyncio.sleep(0.1)
        asked = clock.asked
        await asyncio.sleep(0.4)
        assert clock.asked == asked
        clock.now = START + HOUR + 1000
        begun = time.monotonic()
        write(store, name, START, 7)
        assert (await waiting).close == 7
        assert time.monotonic() - begun < 5
        assert clock.asked == asked + 1

    run(store, name, follow, url=store.engine.url.set(username=role), notify=channel, poll_seconds=60)
    assert nobody_listens(store, role)
    store.run(f"DROP FUNCTION {tell} CASCADE")


def test_while_nobody_can_listen_it_is_asked_as_without(
    postgresql: Store, role: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    store = postgresql
    name = store.create(TYPES, [("BTC/USDT", START - HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)])
    store.run(f"GRANT SELECT ON {name} TO {role}")

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: bool(listeners(store, role)) and clock.asked > 0)
        store.run(f"ALTER ROLE {role} CONNECTION LIMIT 1")  # which is the one that reads
        store.run(f"SELECT pg_terminate_backend({listeners(store, role)[0]})")
        await until(lambda: "nobody listens" in caplog.text)
        asked = clock.asked
        await until(lambda: clock.asked > asked + 2)
        write(store, name, START, 7)
        clock.now = START + HOUR + 1000
        assert (await waiting).close == 7
        waiting = asyncio.ensure_future(anext(candles))
        store.run(f"ALTER ROLE {role} CONNECTION LIMIT -1")
        await until(lambda: bool(listeners(store, role)))
        await asyncio.sleep(0.1)
        asked = clock.asked
        clock.now = START + 2 * HOUR + 1000
        write(store, name, START + HOUR, 8)
        store.run("NOTIFY ct_bars")
        assert (await waiting).close == 8

    with caplog.at_level(logging.WARNING, "cracktrader_sql"):
        run(store, name, follow, url=store.engine.url.set(username=role, password="s3cr3t"), notify="ct_bars", poll_seconds=0.05)
    assert "s3cr3t" not in caplog.text


def test_a_stream_that_is_cancelled_leaves_no_connection(leaky: tuple[Store, str], clock: Clock) -> None:
    store, url = leaky
    name = store.create(TYPES, [("BTC/USDT", START - HOUR, 1.0, 1.0, 1.0, 1.0, 1.0)])

    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        waiting = asyncio.ensure_future(anext(candles))
        await until(lambda: clock.asked > 0)
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    run(store, name, follow, url=url, notify="ct_bars")
    assert connections(store) == 0


def test_other_databases_send_no_notifications(sqlite: Store) -> None:
    async def follow(candles: AsyncIterator[ct.OHLCVCandle]) -> None:
        await anext(candles)

    with pytest.raises(InvalidOption, match="sends no notifications"):
        run(sqlite, sqlite.create(TYPES), follow, notify="bars")
