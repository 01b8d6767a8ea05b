"""Credentials go where they belong, in every kind of way, and show nowhere else."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from httpmarket import Asked, Said, Server, make_bars
from pydantic import SecretStr

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidOption, PermanentSourceError, TemporarySourceError

BARS = make_bars(12)
ROWS = BARS.to_records()
ALL: dict[str, Any] = {"params": {"all": 1}}
KEY = "k3y/of+mine"
Load = Callable[..., ct.Bars]


def sign(request: Any) -> Any:
    """As the documents show it."""
    request.headers["X-SIGN"] = hmac.new(KEY.encode(), request.path_url.encode(), hashlib.sha256).hexdigest()
    return request


@pytest.mark.parametrize(
    ("options", "place", "name", "value"),
    [
        ({"api_key": KEY}, "headers", "authorization", f"Bearer {KEY}"),
        ({"api_key": KEY, "auth": {"kind": "bearer"}}, "headers", "authorization", f"Bearer {KEY}"),
        ({"api_key": KEY, "auth": {"kind": "header", "name": "X-Key"}}, "headers", "x-key", KEY),
        ({"api_key": KEY, "auth": {"kind": "query", "name": "apikey"}}, "query", "apikey", KEY),
        ({"api_key": KEY, "params": {"all": 1, "apikey": "{api_key}"}}, "query", "apikey", KEY),
        ({"api_key": "{env:MY_KEY}"}, "headers", "authorization", f"Bearer {KEY}"),
        ({"headers": {"X-Key": "{env:MY_KEY}"}}, "headers", "x-key", KEY),
        ({"headers": {"X-Id": SecretStr(KEY)}}, "headers", "x-id", KEY),
        (
            {"auth": {"kind": "basic", "username": "me", "password": KEY}},
            "headers",
            "authorization",
            "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode(),
        ),
        ({"auth": sign}, "headers", "x-sign", hmac.new(KEY.encode(), b"/x?all=1", hashlib.sha256).hexdigest()),
    ],
)
def test_the_key_goes_where_it_belongs_and_shows_nowhere(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    place: str,
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    caplog.set_level(logging.DEBUG, "cracktrader")
    # what a callable knows is its own: nobody can hide it
    echo = "no" if options.get("auth") is sign else f"the key {KEY} is {quote(KEY, safe='')}"
    url = server.in_turn("/x", [Said(ROWS), Said(echo.encode(), 403)])
    shown = ""
    with ct.source("http", **({"url": url} | ALL | options)) as source:
        bars = ct.Bars.concat(list(source.bars(ct.BarRequest("BTC/USDT", "1h"))))
        assert getattr(server.asked[0], place)[name] == value
        with pytest.raises(PermanentSourceError) as caught:
            list(source.bars(ct.BarRequest("BTC/USDT", "1h")))
        shown += f"{source!r} {source.config!r} {caught.value} {dict(caught.value.context)} {pickle.dumps(caught.value)!r}"
        shown += f"{dict(bars.provenance)} {json.dumps(dict(source.identity))} {caplog.text}"
    assert bars == BARS
    for secret in (KEY, quote(KEY, safe=""), base64.b64encode(f"me:{KEY}".encode()).decode()):
        assert secret not in shown


def test_a_password_in_the_address_is_sent_and_shows_nowhere(server: Server, load: Load) -> None:
    url = server.in_turn("/x", [Said(ROWS), Said(status=400)]).replace("//", "//me:s3cr3t@")
    assert "s3cr3t" not in repr(load(url, **ALL).provenance)
    assert server.asked[0].headers["authorization"] == "Basic " + base64.b64encode(b"me:s3cr3t").decode()
    with pytest.raises(PermanentSourceError) as caught:
        load(url, **ALL)
    assert "s3cr3t" not in f"{caught.value} {dict(caught.value.context)}"


def test_a_key_that_is_written_into_the_address_shows_nowhere(server: Server, load: Load) -> None:
    query = "?apikey=s3cr3t"
    with pytest.raises(TemporarySourceError) as caught:
        load(server.on("/x", Said(drop=True)) + query, retries=1)
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))
    with pytest.raises(PermanentSourceError) as refused:
        load(server.on("/x", Said(f"{server.url}/x{query}&a=1 is wrong".encode(), 400)) + query)
    assert "s3cr3t" not in "".join(traceback.format_exception(refused.value))


def test_a_redirect_to_a_signed_address_is_followed(server: Server, elsewhere: Server, load: Load) -> None:
    there = elsewhere.on("/y", ROWS) + "?X-Amz-Signature=abcdef0123&X-Amz-Credential=somebody"
    assert load(server.on("/x", Said(status=302, headers={"Location": there})), **ALL, api_key=KEY) == BARS
    assert elsewhere.asked[0].query["X-Amz-Signature"] == "abcdef0123"


def test_a_key_that_is_missing_is_asked_for(server: Server, load: Load) -> None:
    with pytest.raises(InvalidOption, match="wants a key") as caught:
        load(server.on("/x", ROWS), auth={"kind": "query", "name": "apikey"})
    assert "{env:NAME}" in caught.value.hint
    with pytest.raises(InvalidOption, match="'NO_SUCH_NAME' is not set"):
        load(server.on("/x", ROWS), api_key="{env:NO_SUCH_NAME}")


# ── OAuth2 ───────────────────────────────────────────────────────────────────────────────────────────


class TokenServer:
    """Gives out tokens, and answers those who have the latest."""

    def __init__(self, server: Server, expires_in: float = 3600) -> None:
        self.given = 0
        self.auth = {
            "kind": "oauth2",
            "token_url": server.on("/token", self.token),
            "client_id": "me",
            "client_secret": KEY,
            "scope": "read",
        }
        self.url = server.on("/x", self.answer)
        self.expires_in = expires_in
        self.withdrawn = False

    def token(self, asked: Asked) -> Any:
        assert asked.headers["authorization"] == "Basic " + base64.b64encode(f"me:{KEY}".encode()).decode()
        assert asked.body == b"grant_type=client_credentials&scope=read"
        self.given += 1
        self.withdrawn = False
        return {"access_token": f"t0ken-{self.given}", "expires_in": self.expires_in, "token_type": "bearer"}

    def answer(self, asked: Asked) -> Any:
        good = asked.headers.get("authorization") == f"Bearer t0ken-{self.given}" and not self.withdrawn
        return Said(ROWS) if good else Said(asked.headers["authorization"].encode(), 401)


def fetch(source: ct.Source) -> ct.Bars:
    return ct.Bars.concat(list(source.bars(ct.BarRequest("BTC/USDT", "1h"))))


def test_a_token_is_fetched_once_and_again_when_it_is_withdrawn(server: Server) -> None:
    tokens = TokenServer(server)
    with ct.source("http", url=tokens.url, auth=tokens.auth, backoff=0.01, **ALL) as source:
        assert fetch(source) == fetch(source) == BARS
        assert tokens.given == 1
        tokens.withdrawn = True
        assert fetch(source) == BARS
        assert tokens.given == 2


def test_a_token_that_expires_is_fetched_again(server: Server) -> None:
    tokens = TokenServer(server, expires_in=0)
    with ct.source("http", url=tokens.url, auth=tokens.auth, **ALL) as source:
        assert fetch(source) == fetch(source) == BARS
    assert tokens.given == 2


def test_a_token_that_is_never_good_is_an_error_without_it(server: Server, load: Load) -> None:
    tokens = TokenServer(server)
    server.on("/x", lambda asked: Said(asked.headers["authorization"].encode(), 401))
    with pytest.raises(PermanentSourceError) as caught:
        load(tokens.url, auth=tokens.auth, **ALL)
    assert "t0ken" not in str(caught.value)
    assert tokens.given == 1


@pytest.mark.parametrize(
    "answer", [Said(b"no", 400), {"error": "invalid_scope"}, b"<html>", Said(status=302, headers={"Location": "/x"})]
)
def test_a_token_that_is_not_given_is_an_error(server: Server, load: Load, answer: Any) -> None:
    tokens = TokenServer(server)
    server.on("/token", answer)
    with pytest.raises(CracktraderError) as caught:
        load(tokens.url, auth=tokens.auth, **ALL)
    assert KEY not in str(caught.value)
    assert caught.value.hint


# ── redirects ────────────────────────────────────────────────────────────────────────────────────────

KINDS: list[dict[str, Any]] = [
    {"api_key": KEY},
    {"api_key": KEY, "auth": {"kind": "header", "name": "X-Key"}},
    {"api_key": KEY, "auth": {"kind": "query", "name": "q"}},
    {"headers": {"X-Custom": "{env:MY_KEY}"}},
    {"auth": {"kind": "basic", "username": "me", "password": KEY}},
    {"auth": sign},
    {"headers": {"Authorization": f"Token {KEY}"}},
]


@pytest.fixture
def elsewhere() -> Any:
    server = Server()
    yield server
    server.close()


@pytest.mark.parametrize("options", KINDS)
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_drops_everything_secret(
    server: Server, elsewhere: Server, load: Load, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], status: int
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    target = elsewhere.on("/y", ROWS)
    assert load(server.on("/x", Said(status=status, headers={"Location": target})), **ALL, **options) == BARS
    (asked,) = elsewhere.asked
    assert not {"authorization", "x-key", "x-custom", "x-sign"} & set(asked.headers)
    assert not asked.query
    assert KEY not in repr(asked)


def test_and_back_again_it_stays_dropped(server: Server, elsewhere: Server, load: Load) -> None:
    there = elsewhere.on("/y", Said(status=302, headers={"Location": server.on("/z", ROWS)}))
    assert load(server.on("/x", Said(status=302, headers={"Location": there})), **ALL, api_key=KEY) == BARS
    assert "authorization" not in server.asked[-1].headers


@pytest.mark.parametrize("kind", ["next", "link"])
def test_a_next_page_on_another_host_gets_no_credentials(server: Server, elsewhere: Server, load: Load, kind: str) -> None:
    there = elsewhere.on("/y", {"rows": ROWS[6:]})
    said = Said({"rows": ROWS[:6], "next": there}, headers={"Link": f'<{there}>; rel="next"'})
    options = {"next": "next"} if kind == "next" else {}
    assert (
        load(server.on("/x", said), **ALL, api_key=KEY, headers={"X-A": "b"}, pagination=kind, records="rows", **options) == BARS
    )
    assert "authorization" not in elsewhere.asked[0].headers
    assert "x-a" not in elsewhere.asked[0].headers


def test_on_the_same_host_credentials_stay(server: Server, load: Load) -> None:
    assert (
        load(server.on("/x", Said(status=301, headers={"Location": "/z?a=1"})), **ALL, api_key=KEY)
        if server.on("/z", ROWS)
        else None
    )
    assert server.asked[-1].headers["authorization"] == f"Bearer {KEY}"
    assert server.asked[-1].query == {"a": "1"}


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("file:///etc/passwd", "no address of the web"),
        (f"http://elsewhere.invalid/?key={quote(KEY, safe='')}", "with a secret in the address"),
        ("/x", "redirects more than 5 times"),
    ],
)
def test_redirects_that_are_not_followed(server: Server, load: Load, location: str, said: str) -> None:
    with pytest.raises(PermanentSourceError, match=said) as caught:
        load(server.on("/x", Said(status=302, headers={"Location": location})), **ALL, api_key=KEY)
    assert quote(KEY, safe="") not in str(caught.value)


def test_a_body_does_not_go_to_another_host(server: Server, elsewhere: Server, load: Load) -> None:
    url = server.on("/x", Said(status=307, headers={"Location": elsewhere.on("/y", ROWS)}))
    with pytest.raises(PermanentSourceError, match="what is in the body"):
        load(url, body={"password": KEY})
    assert not elsewhere.asked


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────


def identity(**options: Any) -> dict[str, Any]:
    with ct.source("http", **({"url": "https://host/x"} | options)) as source:
        return dict(source.identity)


def test_the_identity_tells_apis_apart_and_not_ways_of_fetching() -> None:
    usual = identity()
    for other in (
        {"url": "https://host/y"},
        {"params": {"market": "spot"}},
        {"records": "data"},
        {"headers": {"Accept": "text/csv"}},
        {"symbols": {"A/B": "x"}},
        {"columns": {"close": "vwap"}},
        {"stamp": "close"},
        {"preset": "kraken"},
    ):
        assert identity(**other) != usual
    for same in (
        {"read_timeout": 5},
        {"retries": 1},
        {"rate": 5},
        {"api_key": "x" * 9},
        {"page_size": 5},
        {"auth": sign},
        {"proxy": "http://p"},
    ):
        assert identity(**same) == usual


def test_the_identity_of_a_preset_is_its_name_and_what_differs() -> None:
    assert ct.source("http", preset="kraken").identity == {"preset": "kraken"}
    assert ct.source("http", preset="kraken", api_url="https://other/").identity == {"preset": "kraken", "url": "https://other/"}


# ── what servers say back ────────────────────────────────────────────────────────────────────────────

ECHOED = "k3y/of+mine==\"'quoted"
FORMS = [ECHOED, quote(ECHOED), quote(ECHOED, safe=""), ECHOED.replace("/", "\\/"), json.dumps(ECHOED)[1:-1], "k3y", "quoted"]


@pytest.mark.parametrize(
    "echo",
    [
        f"invalid key {ECHOED}",
        "x" * 40 + ECHOED,  # cut where it is quoted
        [[1_704_067_200_000, 1, 2, 0.5, f"bad key {ECHOED}", 3]],
        [[1_704_067_200_000, 1, 2, 0.5, 1, 3], [ECHOED]],
        [{"error": 1, ECHOED: 2}],
        {"data": f"key {ECHOED}", "more": 1},
        {ECHOED: 1},
        {ECHOED: [], "b": []},
        Said(json.dumps({"error": f"key {ECHOED}"}).replace("/", "\\/").encode(), 400),
        Said(json.dumps([f"key {ECHOED}"]).replace("/", "\\/").encode()),
        Said(f"time,open,{ECHOED}\n1,2,3\n".encode(), headers={"Content-Type": "text/csv"}),
    ],
)
@pytest.mark.parametrize("records", [None, "data"])
def test_a_key_that_the_server_says_back_shows_nowhere(server: Server, load: Load, echo: Any, records: str | None) -> None:
    with pytest.raises(CracktraderError) as caught:
        load(server.on("/x", echo), api_key=ECHOED, records=records, pagination="none", retries=0, **ALL)
    shown = f"{caught.value} {dict(caught.value.context)} {''.join(traceback.format_exception(caught.value))}"
    assert [form for form in FORMS if form in shown] == []


def test_a_key_in_the_address_is_not_in_the_log_of_the_library_that_sends_it(
    server: Server, load: Load, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    options: dict[str, Any] = {"api_key": KEY, "auth": {"kind": "query", "name": "user"}}
    assert load(server.on("/x", ROWS), **options, **ALL) == BARS
    logged = "".join(record.getMessage() for record in caplog.records if record.name.startswith("urllib3"))
    assert "GET /x?all=1&user=***" in logged
    assert KEY not in caplog.text
    assert quote(KEY, safe="") not in caplog.text


@pytest.mark.parametrize(
    "body",
    [{"auth": {"token": ECHOED}}, {"credentials": ["me", ECHOED]}, {"a": [{"secret": ECHOED}]}, {"a": {"b": SecretStr(ECHOED)}}],
)
def test_a_key_deep_in_the_body_shows_nowhere(server: Server, load: Load, body: Any) -> None:
    with pytest.raises(PermanentSourceError) as caught:
        load(server.on("/x", lambda asked: Said(asked.body, 400)), body=body)
    assert [form for form in FORMS if form in str(caught.value)] == []
