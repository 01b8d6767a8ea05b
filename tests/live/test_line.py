"""The line of closed candles, in virtual time: whatever goes wrong, what comes out is what was traded."""

from dataclasses import replace

import pytest
from soak import messages_through_a_line
from virtualvenue import START, World, row_of

from cracktrader.bars import Flag
from cracktrader.events import OHLCVCandle
from cracktrader.live.line import CandleLine, Deliver, Fetch, Restart, State, StateChange
from cracktrader.live.settings import LiveSettings
from cracktrader.timeframe import Timeframe

MINUTE = Timeframe("1m")

#: `nox -s soak` runs more worlds, for longer.
SEEDS, BARS = 12, 400


@pytest.mark.parametrize("flags", [True, False], ids=["flags", "no_flags"])
@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_goes_wrong_every_bar_comes_once_in_order_and_as_it_was_traded(seed, flags) -> None:
    world = World(seed, bars=BARS, flags=flags, fill=seed % 2 == 0).run()
    assert [row_of(candle) for candle in world.delivered] == world.expected
    assert world.line.state is State.ENDED
    assert world.line.counts.revised == 0


def test_memory_is_the_same_after_many_messages() -> None:
    assert messages_through_a_line(30_000) < 100_000


# ── one thing at a time ──────────────────────────────────────────────────────────────────────────────


def bar(number: int, *, closed: bool = True, volume: float = 5.0, close: float = 100.0) -> OHLCVCandle:
    return OHLCVCandle("X", MINUTE, START + number * 60_000, 100.0, 101.0, 99.0, close, volume, closed=closed)


def line_at(seconds: float, **options) -> CandleLine:
    """A line that begins with the first minute, with its stream open, at so many seconds."""
    settings = LiveSettings(**options.pop("settings", {}))
    line = CandleLine(MINUTE, settings, cursor=START, now=START + int(seconds * 1000), **options)
    line.on_up(START + int(seconds * 1000))
    line.take()
    return line


def given(outputs) -> list[tuple[int, int]]:
    """Which minutes went out, with their flags."""
    return [((o.candle.time - START) // 60_000, o.candle.flags) for o in outputs if isinstance(o, Deliver)]


def asked(outputs) -> list[Fetch]:
    return [output for output in outputs if isinstance(output, Fetch)]


def at(seconds: float) -> int:
    return START + int(seconds * 1000)


def test_a_bar_that_is_called_closed_goes_out_at_once_and_one_that_is_not_after_grace_and_a_fetch() -> None:
    line = line_at(1)
    line.on_candle(bar(0), at(60))
    assert given(line.take()) == [(0, 0)]
    line.on_candle(bar(1, closed=False), at(119))
    line.on_candle(bar(2, closed=False), at(120))
    assert not given(line.take())
    assert line.wake_at == at(121)
    line.on_time(at(121))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(1), bar(2, volume=1)], at(121.2))
    assert given(line.take()) == [(1, 0)]
    assert line.counts.confirmed == 1


def test_a_candle_called_closed_before_its_end_is_not_believed() -> None:
    line = line_at(1)
    line.on_candle(bar(0), at(30))  # closed is True by default: an author forgot it
    assert not given(line.take())
    line.on_candle(bar(0, volume=9.0), at(60))
    assert given(line.take()) == [(0, 0)]


def test_what_was_fetched_and_is_older_than_what_the_stream_had_shown_is_asked_for_again() -> None:
    line = line_at(1)
    line.on_candle(bar(0, closed=False, volume=7.0), at(59))
    line.on_time(at(61))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(0, volume=6.0)], at(61.1))
    assert not given(line.take())
    line.on_time(line.wake_at)
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(0, volume=7.5)], at(62))
    assert [o.candle.volume for o in line.take() if isinstance(o, Deliver)] == [7.5]


@pytest.mark.parametrize("fill", [True, False])
def test_a_minute_without_trades_is_filled_or_skipped_on_time(fill) -> None:
    line = line_at(1, fill=fill, last=replace(bar(-1), close=42.0))
    line.on_time(at(61))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [], at(61.1))
    assert line.wake_at == at(62)  # nothing yet: once more, then it is believed
    line.on_time(at(62))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [], at(62.1))
    outputs = line.take()
    assert given(outputs) == ([(0, Flag.FILLED)] if fill else [])
    assert line.cursor == at(60)
    if fill:
        candle = outputs[0].candle
        assert (candle.open, candle.high, candle.low, candle.close, candle.volume) == (42.0, 42.0, 42.0, 42.0, 0.0)


def test_a_later_bar_in_the_answer_proves_at_once_that_there_were_no_trades_and_nothing_is_filled_before_the_first_bar() -> None:
    line = line_at(1)
    line.on_time(at(61))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(1, volume=0.5)], at(61.1))
    assert not given(line.take())
    assert (line.cursor, line.counts.skipped) == (at(60), 1)


def test_a_revision_of_a_bar_that_went_out_is_counted_and_told_and_goes_nowhere() -> None:
    line = line_at(1)
    line.on_candle(bar(0), at(60))
    line.take()
    line.on_candle(bar(0), at(61))  # once more: a duplicate
    line.on_candle(bar(0, volume=4.0, closed=False), at(61))  # late
    assert line.take() == []
    line.on_candle(bar(0, volume=6.0, close=100.5), at(62))
    (note,) = line.take()
    assert "revised the bar of 2024-01-01T00:00:00Z" in note.text
    line.on_time(at(121))
    (fetch,) = asked(line.take())
    assert fetch.start <= START  # the bars before are looked at, too
    line.on_fetched(fetch, [bar(0, volume=8.0), bar(1)], at(121.1))
    assert given(line.take()) == [(1, 0)]
    assert (line.counts.revised, line.counts.late) == (2, 3)


@pytest.mark.parametrize("wrong", [{"high": 98.0}, {"close": float("nan")}, {"volume": -1.0}, {"time": START + 1}])
def test_what_no_market_makes_is_left_out_and_told(wrong) -> None:
    line = line_at(1, last=bar(-1))
    line.on_candle(replace(bar(0), **wrong), at(60))
    assert not given(line.take())
    assert line.counts.rejected == 1
    line.on_candle(bar(9), at(60))  # from the future
    assert line.counts.rejected == 2


def test_the_state_is_told_when_it_changes_and_not_before() -> None:
    line = line_at(1, settings={"patience": 10.0})
    states = []

    def step(seconds: float) -> None:
        line.on_time(at(seconds))
        for output in line.take():
            if isinstance(output, StateChange):
                states.append((seconds, output.state))
            elif isinstance(output, Fetch):
                line.on_fetch_failed(output, "503", at(seconds))

    for second in (1.5, 2, 30):
        step(second)
    line.on_down("reset", at(31))
    for second in (32, 40, 41):
        step(second)
    line.on_up(at(42))
    line.on_candle(bar(0, closed=False), at(43))
    for second in (43, *range(61, 80)):
        step(second)
    assert states == [(2, State.LIVE), (41, State.BROKEN), (43, State.LIVE), (71, State.BROKEN)]


def test_a_stream_that_is_dead_and_looks_alive_is_restarted_and_a_quiet_market_is_not() -> None:
    for trades in (True, False):
        line = line_at(1, settings={"silence": 5.0})
        line.on_candle(bar(0, closed=False, volume=1.0), at(2))
        line.take()
        line.on_time(at(7))
        (fetch,) = asked(line.take())
        line.on_fetched(fetch, [bar(0, volume=3.0 if trades else 1.0)], at(7.1))
        line.on_time(at(8.5))
        assert any(isinstance(output, Restart) for output in line.take()) == trades


def test_a_dead_stream_is_restarted_though_each_bar_is_fetched_before_the_silence_is_long() -> None:
    line = line_at(1, settings={"silence": 120.0})
    line.on_candle(bar(0, closed=False, volume=1.0), at(2))
    for number in range(3):
        line.on_time(at(60 * (number + 1) + 1))
        for fetch in asked(line.take()):
            line.on_fetched(fetch, [bar(number)], at(60 * (number + 1) + 1.1))
        line.on_time(at(60 * (number + 1) + 5))
        assert any(isinstance(output, Restart) for output in line.take()) == (number == 2)


def test_the_reader_decides_how_much_goes_out() -> None:
    line = line_at(1)
    line.room = 2
    for number in range(5):
        line.on_candle(bar(number), at(60 * (number + 1)))
    assert [number for number, _ in given(line.take())] == [0, 1]
    line.room = 10
    line.on_time(at(301))
    assert [number for number, _ in given(line.take())] == [2, 3, 4]


def test_the_last_word_on_a_bar_that_waits_counts() -> None:
    line = line_at(1)
    line.on_candle(bar(1), at(120))  # the one before is missing
    line.on_candle(bar(1, volume=6.0), at(120.5))
    line.on_candle(bar(1, volume=4.0), at(120.5))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(0)], at(121))
    assert [o.candle.volume for o in line.take() if isinstance(o, Deliver)] == [5.0, 6.0]
