"""Events: frozen, and mappings as well as objects."""

import copy
import dataclasses
import pickle
from collections.abc import Mapping

import pytest

from cracktrader.events import Event, OHLCVCandle, OrderBook, Ticker, Trade
from cracktrader.timeframe import Timeframe
from cracktrader.times import parse_time

EVENTS = [
    OHLCVCandle("BTC/USDT", Timeframe("1h"), 1704067200000, 1.0, 3.0, 0.5, 2.0, 10.0, closed=False, flags=8),
    Trade("BTC/USDT", 1704067200000, 42000.5, 0.25, "buy", "t-1"),
    Ticker("BTC/USDT", 1704067200000, last=42000.5, bid=42000.0),
    OrderBook("BTC/USDT", 1704067200000, bids=((42000.0, 1.0), (41999.0, 2.0)), asks=((42001.0, 0.5),)),
]
every_event = pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)


@every_event
def test_an_event_is_a_mapping_of_its_fields_in_their_order(event):
    names = [field.name for field in dataclasses.fields(event)]
    assert isinstance(event, Mapping)
    assert list(event) == list(event.keys()) == names
    assert len(event) == len(names)
    assert dict(event) == {**event} == dataclasses.asdict(event)
    assert list(event.items()) == [(name, getattr(event, name)) for name in names]
    assert all(event[name] == getattr(event, name) == event.get(name) for name in names)


@every_event
def test_what_is_no_field_is_a_key_error(event):
    for name in ("price_", "keys", "_names", "__class__", "end", 0, None):
        assert name not in event
        assert event.get(name, "none") == "none"
        with pytest.raises(KeyError):
            event[name]


@every_event
def test_an_event_can_not_be_changed(event):
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        event.symbol = "ETH/USDT"
    with pytest.raises((AttributeError, TypeError)):
        event.nonsense = 1
    with pytest.raises((dataclasses.FrozenInstanceError, AttributeError)):
        del event.symbol
    with pytest.raises(TypeError):
        event["symbol"] = "ETH/USDT"
    assert not hasattr(event, "__dict__")


@every_event
def test_copies_are_equal_and_hash_alike(event):
    for same in (pickle.loads(pickle.dumps(event)), copy.copy(event), copy.deepcopy(event), type(event)(**event)):
        assert same == event
        assert type(same) is type(event)
        assert hash(same) == hash(event)
    assert dataclasses.replace(event, symbol="ETH/USDT") != event


def test_events_of_different_kinds_are_never_equal():
    assert Ticker("X", 0) != OrderBook("X", 0)
    assert len(set(EVENTS)) == len(EVENTS)


@pytest.mark.parametrize(
    ("timeframe", "time", "end"),
    [("1m", "2024-01-01", "2024-01-01T00:01"), ("1w", "2024-01-01", "2024-01-08"), ("1M", "2024-02-01", "2024-03-01")],
)
def test_a_candle_ends_where_the_next_one_opens(timeframe, time, end):
    candle = OHLCVCandle("X", Timeframe(timeframe), parse_time(time), 1.0, 1.0, 1.0, 1.0, 0.0)
    assert candle.end == parse_time(end)
    assert candle.closed
    assert candle.flags == 0


def test_the_base_of_events_has_no_state_of_its_own():
    assert Event.__slots__ == ()
