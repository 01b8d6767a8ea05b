"""The parts of a live line that can be looked at alone: the source's clock, longer bars, taking the stream's word."""

import pytest
from test_line import MINUTE, asked, at, bar, given, line_at
from venue import START, market

import cracktrader as ct
from cracktrader.bars import Flag
from cracktrader.live.clock import SourceClock
from cracktrader.live.longer import Longer


class Machine:
    """A machine's clock that the test sets, in milliseconds."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def machine() -> Machine:
    return Machine()


def test_a_clock_that_was_never_measured_is_the_machines(machine) -> None:
    clock = SourceClock(machine)
    machine.time += 500
    assert clock.now() == 1_000_500
    assert clock.offset == 0


@pytest.mark.parametrize("ahead", [-30_000, 30_000])
def test_a_measurement_counts_as_the_earliest_that_it_allows(machine, ahead) -> None:
    clock = SourceClock(machine)
    clock.now()
    asked_at = machine.time
    machine.time += 400  # the question took so long: the answer may be of any moment in it
    clock.measured(asked_at, asked_at + 200 + ahead, machine.time)
    assert clock.offset == pytest.approx(ahead)
    assert clock.now() == pytest.approx(machine.time + ahead - 200, abs=1)
    clock.measured(machine.time - 2_000, machine.time + ahead + 900, machine.time)  # one that is less exact is not taken
    assert clock.offset == pytest.approx(ahead)
    clock.measured(machine.time - 20, machine.time - 10 + ahead, machine.time)
    assert clock.now() == pytest.approx(machine.time + ahead - 10, abs=1)


def test_a_clock_never_runs_backwards_and_believes_what_the_source_shows_unless_it_is_absurd(machine) -> None:
    clock = SourceClock(machine)
    clock.shown(machine.time + 5_000)
    assert clock.now() == machine.time + 5_000
    machine.time -= 10_000
    assert clock.now() == 1_005_000
    clock.shown(machine.time + 10**9)
    assert clock.now() == 1_005_000


def test_a_clock_of_another_pace(machine) -> None:
    clock = SourceClock(machine, pace=60.0)
    clock.measured(machine.time, 0.0, machine.time)
    machine.time += 1_000
    assert clock.now() == pytest.approx(60_000, abs=10)
    assert clock.seconds_until(120_000) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize("missing", [(), (4,), (5, 9), (10, 11, 12, 13, 14)])
def test_longer_bars_as_they_come_are_those_that_are_made_at_once(missing) -> None:
    bars = market(23, missing=missing)
    longer, made = Longer(MINUTE, ct.Timeframe("5m")), []
    for candle in bars:
        made += longer.add(candle, candle.end)
    made += longer.over(START + 23 * 60_000)
    expected = bars.resample("5m").between(START, START + 20 * 60_000)
    assert [
        ct.Bars.from_records([one], symbol=one.symbol, timeframe="5m").to_records()[0] for one in made
    ] == expected.to_records()
    assert [one.flags for one in made] == expected.flags.tolist()
    assert (Flag.SUSPECT in [one.flags for one in made]) == bool(missing and missing[0] < 10)


def test_the_streams_word_is_taken_where_it_is_told_to_and_was_there_for_all_of_the_bar() -> None:
    line = line_at(30, settings={"confirm": False})
    line.on_candle(bar(0, closed=False), at(40))  # the stream was opened in the middle of it
    line.on_candle(bar(1, closed=False), at(60))
    assert not given(line.take())
    line.on_time(at(61))
    (fetch,) = asked(line.take())
    line.on_fetched(fetch, [bar(0)], at(61.1))
    line.on_candle(bar(1, closed=False, volume=7.0), at(119))
    line.on_candle(bar(2, closed=False), at(120))
    outputs = line.take()
    assert given(outputs) == [(0, 0), (1, 0)]
    assert outputs[-1].candle.closed
    line.on_time(at(181))
    assert given(line.take()) == [(2, 0)]  # no newer one came, but its time is over
