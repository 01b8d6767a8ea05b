"""Whatever was scripted, and whenever it is asked: the candles are those of the trades that are known by then."""

from __future__ import annotations

import numpy as np
import pytest
from simulated import HOUR, MAY, MINUTE

import cracktrader as ct
from cracktrader_ccxt.simulator.binance import encode_klines
from cracktrader_ccxt.simulator.faults import Delisted, Faults, Gap, Outage, Revision
from cracktrader_ccxt.simulator.pages import Pages
from cracktrader_ccxt.simulator.venue import Venue

SYMBOLS = ("BTC/USDT", "DOGE/USDT", "XMR/BTC")


def happenings(random: np.random.Generator) -> list:
    def moment() -> int:
        return int(MAY + random.integers(0, 3 * HOUR))

    symbol = SYMBOLS[random.integers(len(SYMBOLS))]
    begin, minute = moment(), moment()
    until = minute + int(random.integers(0, 5 * MINUTE))
    return [
        Outage(start=begin, end=begin + int(random.integers(1, 9)) * MINUTE),
        Gap(symbol=symbol, start=moment(), end=moment()),
        Revision(symbol=symbol, start=minute, end=until, trades=int(random.integers(1, 20))),
        *([Delisted(symbol=symbol, start=moment())] if random.random() < 0.3 else []),
    ]


@pytest.mark.parametrize("seed", range(8))
def test_candles_are_made_of_the_trades_known_by_then(seed) -> None:
    random = np.random.default_rng(seed)
    faults = Faults()
    venue = Venue(seed, SYMBOLS, "2020-01-01", (), faults)
    pages = Pages(venue, encode_klines)
    faults.on_market = pages.forget
    for _ in range(3):
        faults.add(*happenings(random))
        for _ in range(10):
            now = int(MAY + random.integers(0, 4 * HOUR))
            symbol = SYMBOLS[random.integers(len(SYMBOLS))]
            frame = ct.Timeframe(str(random.choice(["1s", "1m", "5m", "1h"])))
            first = frame.floor(int(MAY + random.integers(-HOUR, 3 * HOUR)))
            stop = frame.ceil(first + int(random.integers(1, 2 * HOUR)))
            trades = venue.trades(symbol, first, stop, now)
            candles = venue.candles(symbol, frame, first, stop, now)
            opens, starts = np.unique(frame.floor(trades.time), return_index=True)
            assert candles.time.tolist() == opens.tolist()
            if not len(opens):
                continue
            ends = np.append(starts[1:], len(trades.time)) - 1
            assert candles.open.tolist() == trades.ticks[starts].tolist()
            assert candles.high.tolist() == np.maximum.reduceat(trades.ticks, starts).tolist()
            assert candles.low.tolist() == np.minimum.reduceat(trades.ticks, starts).tolist()
            assert candles.close.tolist() == trades.ticks[ends].tolist()
            assert candles.lots.tolist() == np.add.reduceat(trades.lots, starts).tolist()
            assert candles.trades.tolist() == np.diff(np.append(starts, len(trades.time))).tolist()
            parts = pages.from_first(symbol, frame, first, stop, 10_000, now)
            assert [time for rows in parts for time in rows.time.tolist()] == opens.tolist()
            told = encode_klines(candles, venue.steps[symbol], frame).to_pylist()
            assert [row.decode() for rows in parts for row in rows.apart()] == told
            last = pages.to_last(symbol, frame, first, stop, 7, now)
            assert [time for rows in last for time in rows.time.tolist()] == opens.tolist()[-7:]


@pytest.mark.parametrize("seed", range(4))
def test_streams_tell_every_trade_once_whenever_it_is_known(seed) -> None:
    random = np.random.default_rng(100 + seed)
    faults = Faults()
    venue = Venue(seed, SYMBOLS, "2020-01-01", (), faults)
    faults.add(*happenings(random), *happenings(random))
    for symbol in SYMBOLS:
        events = [event for minute in range(MAY, MAY + 4 * HOUR, MINUTE) for event in venue.events(symbol, minute)]
        assert [event.at for event in events] == sorted(event.at for event in events)
        known = venue.trades(symbol, MAY, MAY + 4 * HOUR, MAY + 5 * HOUR)
        assert sorted(event.id for event in events) == known.id.tolist()
        assert all(event.at >= event.time for event in events)
