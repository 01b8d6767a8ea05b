"""What is recorded can be played again through the same code, and what went out live is in the catalog."""

import json
from typing import Any, ClassVar

import pytest
from test_feed import BTC, END, SPEED, Until, in_background, live, replay, run, seconds
from venue import START, Venue, market

import cracktrader as ct
from cracktrader.errors import MalformedData, NotSupported, SourceNotFound, TemporarySourceError, UnknownSymbol
from cracktrader.live.recording import read_recording
from cracktrader.times import isoformat


def closes(strategy: Any) -> list[tuple[float, float]]:
    return [row[0][1:] for row in strategy.seen]


def test_a_recording_of_a_bad_day_gives_the_same_bars_again(tmp_path) -> None:
    """A lost stream, a hole, candles twice: recorded, then played through the same code."""
    path, venue = tmp_path / "day.jsonl", Venue()
    feed = seconds(venue, record=path)

    def play() -> None:
        venue.wait_for_streams()
        base = feed._line.frontier
        frame = ct.Timeframe("1s")
        bars = [ct.OHLCVCandle("X", frame, base + 1000 * n, 100 + n, 101 + n, 99 + n, 100.5 + n, 1.0) for n in range(6)]
        venue.rows = {bar.time: bar for bar in bars[:5]}
        for bar in (bars[0], bars[4], bars[5]):
            venue.sleep_until(bar.end)
            venue.wait_for_streams()
            venue.push(bar, bar)
            if bar is bars[0]:
                venue.push(TemporarySourceError("reset by peer"))

    cerebro = ct.Cerebro()
    cerebro.adddata(feed)
    cerebro.addstrategy(Until, bars=6)
    player = in_background(play)
    was = cerebro.run()[0]
    player.join()
    assert [row[4] for row in closes(was)] == [100.5 + n for n in range(6)]

    end = isoformat(feed._line.last.time + 1000)
    again = ct.feed("replay", recording=path, speed=8, symbol="X", timeframe="1s", live=True, limit=0, grace=0.3, end=end)
    played = closes(run(lambda cerebro: cerebro.adddata(again)))
    assert len(played) >= 4
    assert played == closes(was)[-len(played) :]  # the first second may have passed before it was subscribed
    assert again.stats["reconnects"] == 1
    lines = list(read_recording(path))
    assert {"line", "up", "candle", "down", "bars", "state"} <= {line["kind"] for line in lines}
    assert all(line["at"] > 1.6e12 for line in lines)


def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes_and_another_file_is_refused(tmp_path) -> None:
    path = tmp_path / "cut.jsonl"
    path.write_text(json.dumps({"kind": "up", "at": 1, "there": 1}) + "\n" + '{"kind": "up", "at"')
    assert len(list(read_recording(path))) == 1
    path.write_text("time,open\n1,2\n")
    with pytest.raises(MalformedData, match="Line 1"):
        list(read_recording(path))
    with pytest.raises(SourceNotFound):
        ct.load("replay", recording=tmp_path / "none.jsonl", symbol="X", timeframe="1s")
    with pytest.raises(ct.CracktraderError, match="can't be written"):
        run(lambda cerebro: cerebro.adddata(live("replay", bars=BTC, record=tmp_path)))


def test_live_bars_go_into_the_catalog_with_their_coverage(tmp_path) -> None:
    """What was live is not fetched again; an interval without trades is known to be empty."""
    catalog = ct.Catalog(tmp_path, ttl=1e9)

    class Played(ct.default_registry().load("replay")):
        asked: ClassVar[list[Any]] = []

        def identity(self) -> dict[str, Any]:
            return {"venue": "x"}

        @ct.hookimpl
        def fetch_bars(self, request: ct.BarRequest) -> Any:
            self.asked.append(request)
            return super().fetch_bars(request)

    begin = isoformat(START + 100 * 60_000 + 20_000)
    with ct.source(Played, bars=(BTC,), speed=SPEED, begin=begin) as source:
        run(lambda cerebro: cerebro.adddata(live(source, catalog=catalog)))
        Played.asked.clear()
        loaded = ct.load(source, symbol="BTC/USDT", timeframe="1m", start=START, end=END, catalog=catalog, validation="off")
    assert loaded == BTC.between(START, START + 140 * 60_000)
    assert Played.asked == []


# ── the source itself ────────────────────────────────────────────────────────────────────────────────


def test_a_replay_shows_nobody_what_lies_ahead() -> None:
    with replay(speed=1.0) as source:
        assert len(ct.load(source, symbol="BTC/USDT", timeframe="1m")) == 100
        assert source.now() == pytest.approx(START + 100 * 60_000 + 20_000, abs=5_000)
        assert source.symbols() == ("BTC/USDT", "ETH/USDT")
        with pytest.raises(UnknownSymbol):
            ct.load(source, symbol="DOGE", timeframe="1m")


def test_a_replay_of_nothing_is_refused() -> None:
    with pytest.raises(ct.CracktraderError, match="nothing to play"):
        ct.source("replay")
    with ct.source("replay", bars=market(3)) as source, ct.source("replay", bars=market(3)) as other:
        from cracktrader.store.streaming_feed import StreamingFeed

        with StreamingFeed(source) as streaming:
            streaming.subscribe_trades("BTC/USDT")
            streaming.wait(10)
            with pytest.raises(NotSupported):
                streaming.get_recent_trades("BTC/USDT")
        assert other.now() >= START
