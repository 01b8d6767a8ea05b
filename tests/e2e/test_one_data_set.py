"""One data set through every source and format: the same bars, to the last bit."""

import json
import os
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pytest

import cracktrader as ct

WHAT = {"symbol": "BTC/USDT", "timeframe": "1m", "start": "2020-02-28T20:00", "end": "2020-03-01"}


def bars_of_every_bit() -> ct.Bars:
    """Two days with floats that need all 53 bits, from the smallest to the largest that a market may have."""
    rng = np.random.default_rng(53)
    rows = 2880
    low = 10.0 ** rng.uniform(-12, 9, rows) * rng.uniform(1, 2, rows)
    close, open_ = low * rng.uniform(1, 1.5, rows), low * rng.uniform(1, 1.5, rows)
    high = np.maximum(open_, close) * rng.uniform(1, 1.1, rows)
    time = np.int64(1_582_848_000_000) + 60_000 * np.arange(rows)
    volume = rng.uniform(0, 1e6, rows) * (rng.random(rows) > 0.1)
    bars = ct.Bars(time, open_, high, low, close, volume, symbol="BTC/USDT", timeframe="1m")
    return bars[rng.random(rows) > 0.02]


BARS = bars_of_every_bit()
WANTED = BARS.between(WHAT["start"], WHAT["end"])


class Api(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        asked = dict(parse_qsl(urlsplit(self.path).query))
        rows = BARS.between(int(asked["from"]), int(asked["to"]), unit="ms").to_records()[:500]
        body = json.dumps([[str(value) if at else value for at, value in enumerate(row)] for row in rows]).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *said: Any) -> None:
        pass


@pytest.fixture
def api() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/candles?from={{start}}&to={{end}}"
    server.shutdown()
    server.server_close()
    thread.join()


def load(source: str, **options: Any) -> ct.Bars:
    return ct.load(source, validation="off", **{"catalog": False, **options} | WHAT)


def the_same(bars: ct.Bars) -> bool:
    return bars == WANTED and not bars.flags.any()


def test_it_needs_every_bit():
    for name in ("open", "high", "low", "close"):
        assert (BARS[name].view(np.uint64) & 1).mean() > 0.4
        assert (np.float32(BARS[name]) != BARS[name]).all()
    assert 1e-12 < WANTED.low.min() < 1e-9
    assert WANTED.high.max() > 1e9


@pytest.mark.parametrize("name", ["bars.csv", "bars.csv.gz"])
def test_csv(tmp_path, name):
    pytest.importorskip("cracktrader_csv")
    assert the_same(load("csv", path=BARS.to_csv(tmp_path / name)))


def test_memory():
    assert the_same(load("memory", bars=BARS))


def test_http_and_the_catalog(api, tmp_path):
    pytest.importorskip("cracktrader_http")
    assert the_same(load("http", url=api))
    for _ in range(2):  # once from the server, once from the disk
        assert the_same(load("http", url=api, catalog=tmp_path / "catalog"))


@pytest.mark.parametrize("kind", ["sqlite", "duckdb", "postgresql", "mysql"])
@pytest.mark.parametrize("fast", ["auto", "no"])
def test_databases(kind, fast, tmp_path):
    sa = pytest.importorskip("sqlalchemy")
    variable = {"postgresql": "CRACKTRADER_TEST_POSTGRES_URL", "mysql": "CRACKTRADER_TEST_MYSQL_URL"}.get(kind)
    if kind == "duckdb":
        pytest.importorskip("duckdb_engine")
    if variable and not os.environ.get(variable):
        pytest.skip(f"{variable} names no server")
    url = os.environ[variable] if variable else f"{kind}:///{tmp_path / kind}"
    table = f"ct_bars_{secrets.token_hex(4)}"
    try:
        BARS.to_sql(url, table)
        assert the_same(load("sql", url=url, table=table, fast=fast))
    finally:
        if variable:
            drivers = {"postgresql": "postgresql+psycopg", "mysql": "mysql+pymysql"}
            engine = sa.create_engine(sa.make_url(url).set(drivername=drivers[kind]), poolclass=sa.pool.NullPool)
            with engine.begin() as connection:
                connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
