"""Live lines through random faults for days of virtual time: ``python tests/live/soak.py [--seeds N] [--hours H]``.

Every series that comes out is compared with what was really traded. The exit status is 1 where one differs.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import tracemalloc
from collections import Counter

from virtualvenue import START, World, row_of

from cracktrader.events import OHLCVCandle, Trade
from cracktrader.live.building import CandleBuilder
from cracktrader.live.line import CandleLine, Restart, State, StateChange
from cracktrader.live.settings import LiveSettings
from cracktrader.timeframe import Timeframe

FRAMES = ("1m", "1m", "5m", "15s", "1h")


def one_world(seed: int, hours: float) -> tuple[World, bool]:
    """A world of that seed, and whether all that came out of it is right."""
    frame = Timeframe(FRAMES[seed % len(FRAMES)])
    bars = max(60, int(hours * 3_600_000 / frame.step))
    world = World(seed, frame=frame, bars=min(bars, 2_000), flags=seed % 3 != 0, fill=seed % 2 == 0).run()
    right = [row_of(candle) for candle in world.delivered] == world.expected and world.line.state is State.ENDED
    return world, right


def messages_through_a_line(messages: int) -> int:
    """How many bytes more are in use after so many messages, forming bars of a second, than after a tenth of them."""
    line = CandleLine(Timeframe("1s"), LiveSettings(), cursor=START, now=START)
    builder = CandleBuilder("X", Timeframe("1s"), grace=1000, trust=True)
    line.on_up(START)
    builder.on_up(START)
    tracemalloc.start()
    before = 0
    for number in range(messages):
        now = START + number * 25
        frame = number // 40
        if number % 2:
            line.on_candle(
                OHLCVCandle("X", line.frame, START + frame * 1000, 1.0, 2.0, 1.0, 2.0, number % 40, closed=number % 40 == 39),
                now + 25 if number % 40 == 39 else now,
            )
        else:
            builder.on_trade(Trade("X", now, 1.0, 0.5, None, str(number)), now)
        line.on_time(now)
        for output in line.take():
            if type(output).__name__ == "Fetch":
                line.on_fetched(output, [], now)
        builder.take()
        if number == messages // 10:
            before = tracemalloc.get_traced_memory()[0]
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert line.counts.bars > messages // 50
    return grown


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200, help="how many worlds")
    parser.add_argument("--first", type=int, default=1_000, help="the first seed")
    parser.add_argument("--hours", type=float, default=24.0, help="of virtual time in each, at most 2,000 bars")
    parser.add_argument("--messages", type=int, default=1_000_000, help="for the test of memory")
    arguments = parser.parse_args()
    began, total, hours, wrong = time.monotonic(), Counter[str](), 0.0, []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        world, right = one_world(seed, arguments.hours)
        counts = world.line.counts.to_dict()
        counts["restarts"] = sum(isinstance(output, Restart) for _, output in world.log)
        counts["told broken"] = sum(isinstance(o, StateChange) and o.state is State.BROKEN for _, o in world.log)
        total.update(counts)
        hours += world.bars * world.frame.step / 3_600_000
        if not right:
            wrong.append(seed)
            differ = itertools.zip_longest(map(row_of, world.delivered), world.expected)
            came, should = next(((a, b) for a, b in differ if a != b), (None, None))
            print(f"seed {seed} ({world.frame}) is WRONG: came {came}, traded {should}", flush=True)
    print(f"{arguments.seeds} series, {hours:,.0f} hours of virtual time, in {time.monotonic() - began:.0f} s")
    print(", ".join(f"{name} {number:,}" for name, number in total.items()))
    grown = messages_through_a_line(arguments.messages)
    print(f"memory after {arguments.messages:,} messages: {grown / 1024:+.0f} KiB")
    print("every series is what was traded" if not wrong else f"{len(wrong)} series are wrong: seeds {wrong}")
    return 1 if wrong or grown > 1 << 20 else 0


if __name__ == "__main__":
    sys.exit(main())
