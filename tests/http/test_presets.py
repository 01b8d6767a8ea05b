"""Presets ask as the APIs document it and read what they document; the shapes were written by hand from their documentation."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from httpmarket import Said, Server

import cracktrader as ct
from cracktrader.errors import CracktraderError, NotSupported, UnknownSymbol
from cracktrader_http.presets import preset_names, read_preset

SHAPES = {path.stem: json.loads(path.read_text()) for path in (Path(__file__).parent / "shapes").glob("*.json")}
OHLCV = [
    (42283.58, 42554.57, 42261.02, 42475.23, 1271.68108),
    (42475.23, 42775.0, 42431.65, 42613.56, 1196.37856),
    (42613.57, 42638.41, 42500.0, 42581.1, 685.2198),
]


@pytest.fixture
def ask(server: Server, load: Callable[..., ct.Bars]) -> Callable[..., ct.Bars]:
    """Loads a shape's three bars through its preset, from a server that answers so."""

    def asked(name: str, *answers: Any) -> ct.Bars:
        shape = SHAPES[name]
        server.in_turn(shape["path"], answers)
        address = server.url + urlsplit(read_preset(name)["url"]).path
        days = shape.get("timeframe") == "1d"
        return load(
            address, preset=name, symbol=shape.get("symbol", "BTC/USDT"), timeframe=shape.get("timeframe", "1h"), rate=1000,
            start="2024-01-01", end="2024-01-04" if days else "2024-01-01T03:00",
            **({"keeps": 10**6} if name == "kraken" else {}), **({"api_key": "my-own-key"} if "key" in shape else {}),
        )  # fmt: skip

    return asked


def test_there_is_a_shape_for_every_preset() -> None:
    assert set(preset_names()) == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_it_asks_as_documented_and_reads_what_is_documented(server: Server, ask: Callable[..., ct.Bars], name: str) -> None:
    shape = SHAPES[name]
    bars = ask(name, shape["answer"])
    step = bars.timeframe.step
    assert bars.time.tolist() == [1_704_067_200_000 + step * row for row in range(3)]
    wanted = OHLCV if shape.get("volume", True) else [(*row[:4], 0.0) for row in OHLCV]
    assert [record[1:] for record in bars.to_records()] == wanted
    first = server.asked[0]
    assert first.query == shape["query"]
    if "key" in shape:
        place, header, value = shape["key"]
        assert getattr(first, place)[header] == value


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "refusal" in shape])
def test_a_symbol_that_it_does_not_have(ask: Callable[..., ct.Bars], name: str) -> None:
    refusal = SHAPES[name]["refusal"]
    with pytest.raises(UnknownSymbol):
        ask(name, Said(refusal["body"], refusal["status"]))


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "busy" in shape])
def test_when_it_is_asked_too_often_it_is_asked_again(ask: Callable[..., ct.Bars], name: str) -> None:
    assert len(ask(name, SHAPES[name]["busy"], SHAPES[name]["answer"])) == 3


@pytest.mark.parametrize("name", [name for name, shape in SHAPES.items() if "none" in shape])
def test_a_range_without_bars_is_no_error(ask: Callable[..., ct.Bars], name: str) -> None:
    assert len(ask(name, SHAPES[name]["none"])) == 0


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("answer", [{"message": "internal maintenance"}, {"status": "OK", "request_id": "1"}])
def test_an_answer_of_another_shape_is_no_empty_range(ask: Callable[..., ct.Bars], name: str, answer: Any) -> None:
    with pytest.raises(CracktraderError):
        ask(name, answer)


def test_what_kraken_does_not_have_any_more_is_refused() -> None:
    with pytest.raises(NotSupported, match="keeps the last 720 bars of a timeframe"):
        ct.load("http", preset="kraken", symbol="BTC/USD", timeframe="1h", start="2020-01-01", catalog=False)


@pytest.mark.parametrize("name", preset_names())
def test_what_is_given_goes_before_the_preset(name: str) -> None:
    config = ct.source("http", preset=name, params={"more": "1"}, page_size=7, timeframes={"2h": "two"}).config
    preset = read_preset(name)
    assert config.params == {**preset["params"], "more": "1"}
    assert config.timeframes == {**preset["timeframes"], "2h": "two"}
    assert config.page_size == 7


def test_presets_hold_options_only() -> None:
    for name in preset_names():
        assert set(read_preset(name)) <= set(ct.source("http", preset=name).config.model_fields_set)
