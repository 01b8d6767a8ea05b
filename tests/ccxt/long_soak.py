"""Real ccxt.pro through hours of random faults: ``python tests/ccxt/long_soak.py [--seeds N] [--hours H] [--speed S]``.

The exchange on loopback runs fast; connections, streams and answers break as a seed says. Every series that comes out is compared
with what the exchange has. The exit status is 1 where one differs.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from followed import Followed, follow

from cracktrader.live.line import State
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator import faults as kinds

__all__ = ["drawn", "one_run"]

SYMBOLS = ("BTC/USDT", "ETH/USDT", "BTC/USDT:USDT")
MINUTE = 60_000


def drawn(seed: int, start: int, end: int) -> list[kinds.Fault]:
    """The faults of a seed: a new one every few minutes, each for seconds or minutes, several at once."""
    rng = random.Random(seed)
    faults: list[kinds.Fault] = []
    at = start + 2 * MINUTE
    while at < end:
        faults.append(one_fault(rng, at, end))
        at += int(rng.expovariate(1 / (4 * MINUTE)))
    return faults


def one_fault(rng: random.Random, at: int, end: int) -> kinds.Fault:
    """A fault that begins at a time, and is over by the end."""
    length = int(rng.choice((20_000, 90_000, 400_000)) * rng.uniform(0.5, 2))
    during: dict[str, Any] = {"start": at, "end": min(end, at + length)}
    stream = during | {"symbol": rng.choice((*SYMBOLS, None))}
    rest = during | {"path": "*/klines"}
    minutes: dict[str, Any] = {"start": at // MINUTE * MINUTE, "end": (at // MINUTE + rng.randint(2, 9)) * MINUTE}
    faults: tuple[Callable[[], kinds.Fault], ...] = (
        lambda: kinds.Disconnect(start=at, clean=rng.random() < 0.5),
        lambda: kinds.NoStreams(**during),
        lambda: kinds.Silence(**during),
        lambda: kinds.Frozen(**stream),
        lambda: kinds.ClosingLost(**stream),
        lambda: kinds.ClosedFlagLost(**stream),
        lambda: kinds.Held(**stream, by=rng.choice((2_000, 20_000, 90_000)), merged=rng.random() < 0.5),
        lambda: kinds.OldCandle(**stream),
        lambda: kinds.Repeated(**stream),
        lambda: kinds.Swapped(**stream),
        lambda: kinds.Maintenance(**during),
        lambda: kinds.HtmlError(**rest),
        lambda: kinds.Reset(**rest),
        lambda: kinds.Truncated(**rest, honest=rng.random() < 0.5),
        lambda: kinds.Latency(**rest, seconds=rng.uniform(0.01, 0.1)),
        lambda: kinds.Status(**rest, status=rng.choice((500, 503, 504))),
        lambda: kinds.Duplicates(**rest, every=2),
        lambda: kinds.Disorder(**rest, newest_first=rng.random() < 0.5),
        lambda: kinds.Gap(**minutes, symbol=rng.choice(SYMBOLS)),
        lambda: kinds.Outage(**minutes),
    )
    return rng.choice(faults)()


def one_run(seed: int, hours: float, speed: float) -> tuple[list[Followed], list[str], int]:
    """Follow lines of one exchange through the faults of a seed; the lines, what is wrong with them, how many faults struck."""
    now = 1_717_200_010_000
    end = now + int(hours * 3_600_000)
    faults = drawn(seed, now, end)
    frame = ("1m", "5m", "3m")[seed % 3]
    with Simulator(SYMBOLS, seed=seed, now=now, start=now - 86_400_000, weight_limit=0, candles_every=2_000) as exchange:
        exchange.faults.add(*faults)
        trades = True if seed % 3 == 2 else None
        with follow(exchange, *SYMBOLS, timeframe=frame, speed=speed, silence=300, from_trades=trades) as lines:
            until = time.monotonic() + 60 + 3 * hours * 3600 / speed
            for line in lines:
                line.until(lambda line=line: line.bars and line.bars[-1].end > end + 10 * MINUTE, until - time.monotonic())
                line.until(lambda line=line: line.line.state is State.LIVE, 30)
        wrong = []
        for line in lines:
            try:
                line.check()
            except AssertionError as error:
                wrong.append(f"seed {seed}, {line.line.symbol} {line.line.frame}: {error}")
        struck = sum(exchange.faults.fired(fault) > 0 for fault in faults)
    return lines, wrong, struck


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="how many runs")
    parser.add_argument("--first", type=int, default=1_000, help="the first seed")
    parser.add_argument("--hours", type=float, default=6.0, help="of virtual time in each")
    parser.add_argument("--speed", type=float, default=600.0, help="how many times as fast as real time")
    arguments = parser.parse_args()
    began, total, bad, struck = time.monotonic(), Counter[str](), [], 0
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        lines, wrong, fired = one_run(seed, arguments.hours, arguments.speed)
        bad += wrong
        struck += fired
        for line in lines:
            stats = line.line.stats
            total.update({name: value for name, value in stats.items() if type(value) is int and name != "queued"})
        print(f"seed {seed}: {'WRONG' if wrong else 'right'}", *wrong, sep="\n", flush=True)
    series = arguments.seeds * len(SYMBOLS)
    took = time.monotonic() - began
    print(f"{series} series, {series * arguments.hours:,.0f} hours of the exchange, {struck} faults that struck, {took:.0f} s")
    print(", ".join(f"{name} {number:,}" for name, number in total.items()))
    print("every series is what the exchange has" if not bad else f"{len(bad)} series are wrong")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
