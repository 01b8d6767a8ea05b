"""Secrets stay where they are needed: in no error, no name, no file, and never at another host."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidOption
from cracktrader_ccxt.desk import Desk, _key
from cracktrader_ccxt.hiding import Secrets, plain, wrapped
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator import faults as F

SECRET = "hush-hush-very-secret"


@pytest.mark.parametrize("name", ["apiKey", "secret", "password", "privateKey", "token", "uid", "walletAddress", "twofa"])
def test_ccxts_credentials_are_secrets_in_a_config(name: str, options: dict[str, Any]) -> None:
    config = {
        **options["config"],
        name: SECRET,
        "headers": {"Authorization": SECRET},
        "proxies": {"https": f"http://a:{SECRET}@b"},
    }
    source = ct.source("ccxt", **{**options, "config": config})
    assert SECRET not in f"{source!r} {source.config!r} {source.config} {json.dumps(dict(source.identity))}"
    assert source.config.ccxt_config[name] == SECRET
    assert source.config.ccxt_config["headers"] == {"Authorization": SECRET}
    assert SECRET not in _key(source.config)
    source.close()


def test_secrets_among_the_parameters_of_requests_are_some_too(load: Callable[..., ct.Bars], exchange: Simulator) -> None:
    source = ct.source("ccxt", exchange="binance", params={"token": SECRET, "price": "mark"})
    assert SECRET not in f"{source!r} {source.config!r} {source.config} {json.dumps(dict(source.identity))}"
    assert dict(source.identity)["params"]["price"] == "mark"
    other = ct.source("ccxt", exchange="binance", params={"token": SECRET + "2", "price": "mark"})
    assert dict(source.identity) != dict(other.identity)
    assert len(load(params={"token": SECRET}, limit=2)) == 2
    assert exchange.requests.of("*/klines")[-1].query["token"] == SECRET


@pytest.mark.parametrize(
    ("wrong", "right"), [("apikey", "apiKey"), ("api_key", "apiKey"), ("Secret", "secret"), ("secretKey", "secret")]
)
def test_misspelt_credentials_are_refused_not_ignored(wrong: str, right: str) -> None:
    with pytest.raises(InvalidOption, match=f"calls it '{right}'") as caught:
        ct.CCXTStore(exchange="binance", config={wrong: SECRET})
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_a_config_that_is_a_text_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidOption, match="config") as caught:
        ct.CCXTStore(exchange="binance", config=f"apiKey={SECRET}")  # type: ignore[arg-type]
    assert SECRET not in f"{caught.value!r} {caught.value}"


def test_what_is_wrapped_comes_back_as_it_was() -> None:
    config = {
        "apiKey": "abcdef",
        "rateLimit": 50,
        "options": {"types": ["spot"], "x": None},
        "urls": {"api": {"p": "http://h/1"}},
    }
    assert plain(wrapped(config)) == config


def test_texts_lose_their_secrets() -> None:
    secrets = Secrets({"apiKey": ct.source("ccxt", exchange="binance", api_key=SECRET).config.api_key})
    said = f"GET http://me:pass@host/api?symbol=BTC&signature=0af3&apiKey={SECRET} {SECRET}"
    assert secrets.hide(said) == "GET http://***@host/api?symbol=BTC&signature=***&apiKey=*** ***"


def test_an_answer_that_repeats_the_key_does_not_bring_it_into_an_error(
    load: Callable[..., ct.Bars], exchange: Simulator, own_machine: Path
) -> None:
    load(limit=1)
    exchange.faults.add(F.Status(path="*/klines", status=400, body=json.dumps({"code": -2014, "msg": f"bad key {SECRET}"})))
    with pytest.raises(CracktraderError, match=r"bad key \*\*\*") as caught:
        load(api_key=SECRET, secret=SECRET, limit=3, catalog=own_machine / "kept")
    assert SECRET not in f"{caught.value} {caught.value!r} {dict(caught.value.context)}"
    assert caught.value.__cause__ is None
    assert not [
        path
        for path in own_machine.rglob("*")
        if SECRET in path.name or (path.is_file() and SECRET in path.read_text(errors="ignore"))
    ]


def test_data_of_a_simulator_and_of_the_exchange_are_different_series(options: dict[str, Any]) -> None:
    there, here = ct.source("ccxt", exchange="binance"), ct.source("ccxt", **options)
    assert dict(there.identity) == {"exchange": "binance"}
    assert dict(here.identity)["venue"][0].startswith("127.0.0.1:")
    assert dict(ct.source("ccxt", **options, venue="mirror").identity) == {"exchange": "binance", "venue": "mirror"}
    assert dict(ct.source("ccxt", **options, venue="mirror", timeout=5, concurrency=9, api_key=SECRET).identity) == {
        "exchange": "binance", "venue": "mirror",
    }  # fmt: skip
    assert not Desk._all, "A source must open nothing before it is asked."
