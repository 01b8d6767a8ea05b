"""Faults of networks and servers: tried again where that helps, within limits, and told without secrets."""

from __future__ import annotations

import datetime as dt
import gzip
import random
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from httpmarket import HOUR, Asked, Said, Server, by_time, make_bars
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import (
    InvalidOption,
    MalformedData,
    PermanentSourceError,
    SourceNotFound,
    TemporarySourceError,
    UnknownSymbol,
)
from cracktrader.plugins.hosts import retry_after

BARS = make_bars(12)
ROWS = BARS.to_records()
ALL: dict[str, Any] = {"params": {"all": 1}}
Load = Callable[..., ct.Bars]


# ── tries ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "fault",
    [
        *(Said(b"busy", status) for status in (408, 418, 425, 429, 500, 502, 503, 504, 522)),
        Said(drop=True),
        Said(ROWS, cut=50),
        Said(ROWS, headers={"Content-Encoding": "gzip"}),
    ],
    ids=lambda said: "dropped" if said.drop else "cut off" if said.cut else "badly packed" if said.headers else str(said.status),
)
def test_what_fails_in_passing_is_tried_again(server: Server, load: Load, fault: Said) -> None:
    assert load(server.in_turn("/x", [fault, fault, Said(ROWS)]), **ALL) == BARS
    assert len(server.asked) == 3


@pytest.mark.parametrize("fault", [Said(b"the disk is full", 503), Said(drop=True), Said(ROWS, cut=50), Said(ROWS, late=0.3)])
def test_in_the_end_the_error_says_what_happened_and_how_often(server: Server, load: Load, fault: Said) -> None:
    with pytest.raises(TemporarySourceError) as caught:
        load(server.on("/x", fault), params={"api_key": "s3cr3t"}, retries=2, read_timeout=0.1)
    assert "(tried 3 times in" in caught.value.message
    assert f"GET {server.url}/x" in caught.value.message
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.hint
    assert len(server.asked) == 3
    if fault.status == 503:
        assert "the disk is full" in caught.value.message


@pytest.mark.parametrize("seed", range(4))
def test_whatever_fails_in_passing_the_bars_are_the_same(server: Server, load: Load, seed: int) -> None:
    bars, chance = make_bars(300), random.Random(seed)
    answer = by_time(bars, 20)
    faults = [Said(b"busy", 503), Said(drop=True), Said(status=429, headers={"Retry-After": "0"})]

    def moody(asked: Asked) -> Said:
        rows = answer(asked)
        fault = chance.choice([*faults, Said(rows, cut=1), Said(b"", 502)])
        return fault if chance.random() < 0.3 else Said(rows, late=chance.random() / 100)

    params = {"start": "{start}", "end": "{end}"}
    span = {"start": "2024-01-01", "end": "2024-01-14"}
    url = server.on("/x", moody)
    assert load(url, params=params, **span, concurrency=1 + seed, page_size=25, retries=30, backoff=0.001) == bars


@pytest.mark.parametrize("as_date", [False, True])
def test_retry_after_is_honoured_in_both_forms(server: Server, load: Load, as_date: bool) -> None:
    moment = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=1.6)
    wait = format_datetime(moment, usegmt=True) if as_date else "1"
    started = time.time()
    assert load(server.in_turn("/x", [Said(status=429, headers={"Retry-After": wait}), Said(ROWS)]), **ALL) == BARS
    due = moment.replace(microsecond=0).timestamp() if as_date else started + 1
    assert due - 0.05 <= time.time() < due + 3


@given(st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d\d:\d\d:\d\d [A-Z]{3}") | st.integers().map(str))
def test_whatever_retry_after_holds_is_a_wait_or_nothing(text: str) -> None:
    wait = retry_after(text)
    assert wait is None or wait >= 0


def test_a_wait_beyond_the_budget_is_not_begun(server: Server, load: Load) -> None:
    started = time.monotonic()
    with pytest.raises(TemporarySourceError, match=r"asks to wait 3600 s"):
        load(server.on("/x", Said(status=503, headers={"Retry-After": "3600"})), **ALL)
    assert time.monotonic() - started < 2


def test_the_budget_ends_an_answer_that_drips(server: Server, load: Load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            for _ in range(3):
                try:
                    connection, _ = listening.accept()
                    with connection:
                        connection.recv(10_000)
                        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                        for _ in range(100):
                            connection.sendall(b"1\r\n[\r\n")
                            time.sleep(0.02)
                except OSError:
                    return

        threading.Thread(target=drip, daemon=True).start()
        started = time.monotonic()
        with pytest.raises(TemporarySourceError):
            load(f"http://127.0.0.1:{listening.getsockname()[1]}/", **ALL, budget=0.3, read_timeout=0.2)
        assert time.monotonic() - started < 3


def test_a_server_that_is_not_there(load: Load) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TemporarySourceError, match="no connection") as caught:
        load(f"http://127.0.0.1:{port}/x", retries=1)
    assert "is the server up" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "body", "wanted"),
    [
        (404, b"no such page", SourceNotFound),
        (400, b'{"msg":"Invalid symbol."}', UnknownSymbol),
        (400, b"bad interval", PermanentSourceError),
        (404, b'{"message":"product not found"}', UnknownSymbol),
        (401, b"who are you", PermanentSourceError),
        (403, b"no", PermanentSourceError),
        (451, b"not in your country", PermanentSourceError),
        (302, b"", PermanentSourceError),
    ],
)
def test_what_is_refused_is_not_tried_again(
    server: Server, load: Load, status: int, body: bytes, wanted: type[Exception]
) -> None:
    with pytest.raises(wanted) as caught:
        load(server.on("/x", Said(body, status)))
    assert len(server.asked) == 1
    assert f"answered {status}" in str(caught.value)
    assert body.decode()[:10] in str(caught.value)


# ── size, packing, marks ─────────────────────────────────────────────────────────────────────────────


def packed(kind: str, raw: bytes) -> bytes:
    if kind == "br":
        return pytest.importorskip("brotli").compress(raw)
    if kind == "zstd":
        if "zstd" not in requests.utils.DEFAULT_ACCEPT_ENCODING:
            pytest.skip("urllib3[zstd] is not installed.")
        return pytest.importorskip("zstandard").compress(raw)
    return gzip.compress(raw) if kind == "gzip" else zlib.compress(raw)


@pytest.mark.parametrize("kind", ["gzip", "deflate", "br", "zstd"])
def test_packed_answers_are_unpacked(server: Server, load: Load, kind: str) -> None:
    import json

    assert load(server.on("/x", Said(packed(kind, json.dumps(ROWS).encode()), headers={"Content-Encoding": kind})), **ALL) == BARS
    assert kind in server.asked[0].headers["accept-encoding"]


@pytest.mark.parametrize("kind", ["gzip", "br", "zstd"])
def test_a_bomb_is_stopped(server: Server, load: Load, kind: str) -> None:
    bomb = packed(kind, b" " * (64 << 20))
    url = server.on("/x", Said(bomb, headers={"Content-Encoding": kind}))
    tracemalloc.start()
    try:
        with pytest.raises(MalformedData, match="more than 1,000,000 bytes"):
            load(url, **ALL, max_bytes=1_000_000)
        assert tracemalloc.get_traced_memory()[1] < 32 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("column", [np.full(2_000_000, 1.0), np.full(2000, "1." + 1000 * "0")], ids=["numbers", "texts"])
def test_a_file_of_equal_values_that_unpacks_to_too_much_is_not_read(server: Server, load: Load, column: Any) -> None:
    import io

    import pyarrow as pa
    import pyarrow.parquet

    buffer = io.BytesIO()
    times = np.full(len(column), 1_704_067_200_000)
    table = pa.table({"time": times, **dict.fromkeys(("open", "high", "low", "close"), column)})
    pyarrow.parquet.write_table(table, buffer, compression="zstd")
    assert len(buffer.getvalue()) < 100_000
    with pytest.raises(MalformedData, match=r"unpacks to .* bytes, more than 1,000,000"):
        load(server.on("/x", Said(buffer.getvalue())), **ALL, max_bytes=1_000_000)


def test_a_packing_that_nobody_asked_for_is_named(server: Server, load: Load) -> None:
    with pytest.raises(MalformedData, match="'lzma'"):
        load(server.on("/x", Said(b"xxxx", headers={"Content-Encoding": "lzma"})), **ALL)


@pytest.mark.parametrize(
    ("mark", "condition"),
    [
        ({"ETag": '"v1"'}, ("if-none-match", '"v1"')),
        ({"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT")),
    ],
)
def test_what_did_not_change_is_not_sent_again(server: Server, mark: dict[str, str], condition: tuple[str, str]) -> None:
    def answer(asked: Asked) -> Said:
        name, value = condition
        return Said(status=304) if asked.headers.get(name) == value else Said(ROWS, headers=mark)

    with ct.source("http", url=server.on("/x", answer), **ALL) as source:
        request = ct.BarRequest("BTC/USDT", "1h")
        first, second = (ct.Bars.concat(list(source.bars(request))) for _ in range(2))
    assert first == second == BARS
    assert condition[0] in server.asked[1].headers


def test_what_did_not_change_is_that_of_the_same_headers(server: Server) -> None:
    other = make_bars(5).to_records()

    def answer(asked: Asked) -> Said:
        if "if-modified-since" in asked.headers:
            return Said(status=304)
        rows = ROWS if asked.headers["x-market"] == "A" else other
        return Said(rows, headers={"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT"})

    with ct.source("http", url=server.on("/x", answer), headers={"X-Market": "{symbol}"}, pagination="none") as source:
        for symbol, rows in (("A", 12), ("B", 5), ("A", 12), ("B", 5)):
            assert len(ct.Bars.concat(list(source.bars(ct.BarRequest(symbol, "1h"))))) == rows


def test_cookies_are_not_kept_and_netrc_is_not_read(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password s3cr3t")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    url = server.on("/x", Said(ROWS, headers={"Set-Cookie": "a=b; Path=/"}))
    with ct.source("http", url=url, **ALL) as source:
        for _ in range(2):
            list(source.bars(ct.BarRequest("BTC/USDT", "1h")))
    assert "cookie" not in server.asked[1].headers
    assert "authorization" not in server.asked[1].headers


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_rate_holds_for_all_feeds_of_the_process(server: Server, load: Load) -> None:
    url = server.on("/x", ROWS)
    started = time.monotonic()
    threads = [threading.Thread(target=load, args=(url,), kwargs={**ALL, "rate": 10}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 0.45 < time.monotonic() - started < 5


def test_a_rate_holds_for_all_processes_of_the_machine(server: Server) -> None:
    url = server.on("/x", ROWS)
    script = (
        "import cracktrader as ct, sys\n"
        "with ct.source('http', url=sys.argv[1], params={'all': 1}, rate=10) as source:\n"
        "    input()\n"
        "    for _ in range(4): list(source.bars(ct.BarRequest('X', '1h')))\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, url], stdin=subprocess.PIPE) for _ in range(2)]
    started = time.monotonic()
    for child in children:
        child.communicate(b"\n", timeout=60)
    assert [child.returncode for child in children] == [0, 0]
    assert len(server.asked) == 8
    assert time.monotonic() - started > 0.65


def test_a_pause_that_a_host_asks_for_holds_for_other_feeds_too(server: Server, load: Load) -> None:
    limited = server.in_turn("/a", [Said(status=429, headers={"Retry-After": "1"}), Said(ROWS)])
    other = server.on("/b", ROWS)
    thread = threading.Thread(target=load, args=(limited,), kwargs=ALL)
    thread.start()
    while not server.asked:
        time.sleep(0.005)
    time.sleep(0.1)
    started = time.monotonic()
    load(other, **ALL)
    assert time.monotonic() - started > 0.5
    thread.join()


def test_a_home_that_can_not_be_written_to_is_no_error(
    server: Server, load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load(server.on("/x", ROWS), **ALL, rate=1000) == BARS


# ── environment ──────────────────────────────────────────────────────────────────────────────────────


def test_a_proxy_of_the_option_or_the_environment_is_used(server: Server, load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    # A proxy is asked for the whole address; our server serves its path.
    server.on("/x", ROWS)
    assert load("http://api.invalid/x", **ALL, proxy=server.url) == BARS
    monkeypatch.setenv("http_proxy", server.url)
    assert load("http://api.invalid/x", **ALL) == BARS
    assert len(server.asked) == 2


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server with a certificate of its own, and the file of that certificate."""
    if shutil.which("openssl") is None:
        pytest.skip("There is no openssl to make a certificate with.")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            key,
            "-out",
            certificate,
            "-days",
            "2",
            "-subj",
            "/CN=x",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(context)
    yield server.on("/x", ROWS), certificate
    server.close()


def test_a_certificate_that_nobody_knows_is_refused_and_a_ca_file_is_used(secure: tuple[str, Path], load: Load) -> None:
    url, certificate = secure
    with pytest.raises(PermanentSourceError, match="not safe") as caught:
        load(url, **ALL)
    assert "ca_file" in caught.value.hint
    assert load(url, **ALL, ca_file=certificate) == BARS
    with pytest.raises(InvalidOption, match="There is no file"):
        load(url, **ALL, ca_file=certificate.with_name("none.pem"))


def test_the_servers_clock_is_that_of_its_answers(server: Server) -> None:
    late = format_datetime(dt.datetime.now(dt.UTC) - dt.timedelta(hours=1), usegmt=True)
    with ct.source("http", url=server.on("/x", Said(ROWS, headers={"Date": late})), **ALL) as source:
        assert abs(source.now() - time.time() * 1000) < 1000
        list(source.bars(ct.BarRequest("X", "1h")))
        assert abs(source.now() - time.time() * 1000 + HOUR) < 4000


def test_a_fetch_that_is_given_up_leaves_no_thread_waiting(server: Server) -> None:
    answer = by_time(make_bars(480), 20)
    url = server.on("/x", lambda asked: Said(answer(asked), late=0.02))
    params = {"start": "{start}", "end": "{end}"}
    with ct.source("http", url=url, params=params, concurrency=4, page_size=20) as source:
        chunks = source.bars(ct.BarRequest("X", "1h", "2024-01-01", "2024-01-21"))
        next(chunks)
        chunks.close()  # type: ignore[attr-defined]
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("cracktrader-http")]


def test_what_was_modified_within_the_same_seconds_is_sent_again(server: Server) -> None:
    now = "Mon, 01 Jan 2024 00:00:02 GMT"
    state = {"rows": ROWS[:3]}

    def answer(asked: Asked) -> Said:
        if asked.headers.get("if-modified-since"):
            return Said(status=304)
        return Said(state["rows"], headers={"Last-Modified": "Mon, 01 Jan 2024 00:00:00 GMT", "Date": now})

    with ct.source("http", url=server.on("/x", answer), **ALL) as source:
        request = ct.BarRequest("BTC/USDT", "1h")
        assert ct.Bars.concat(list(source.bars(request))) == BARS[:3]
        state["rows"] = ROWS
        assert ct.Bars.concat(list(source.bars(request))) == BARS


def test_a_host_that_is_down_is_told_in_few_words(load: Load) -> None:
    with socket.socket() as bound:  # nobody listens there
        bound.bind(("127.0.0.1", 0))
        with pytest.raises(TemporarySourceError) as caught:
            load(f"http://127.0.0.1:{bound.getsockname()[1]}/x", retries=0, **ALL)
    assert "no connection: connection refused (tried" in caught.value.message
    assert "urllib3" not in str(caught.value)
