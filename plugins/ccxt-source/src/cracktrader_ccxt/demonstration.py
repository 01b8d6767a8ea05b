"""An exchange on this machine to show the source with, on which a few things go wrong."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cracktrader.plugins.demonstration import Demonstration
from cracktrader.times import isoformat, parse_time
from cracktrader_ccxt.simulator import Simulator
from cracktrader_ccxt.simulator.faults import Disorder, Duplicates, Gap, Outage, Reset, Status, Truncated

__all__ = ["demonstration"]

_SYMBOLS = ("BTC/USDT", "ETH/USDT", "SOL/USDT")
_END = parse_time("2024-07-01")
_MINUTE = 60_000
_DAY = 1440 * _MINUTE


@contextmanager
def demonstration(days: int, seed: int) -> Iterator[Demonstration]:
    """The simulator as Binance, with the last ``days`` days of June 2024 and before; see :class:`Demonstration`."""
    start, middle = _END - days * _DAY, _END - days * _DAY // 2 // _DAY * _DAY
    outage = Outage(start=middle + 187 * _MINUTE, end=middle + 285 * _MINUTE)
    quiet = Gap(symbol="SOL/USDT", start=middle + _DAY // 3, end=middle + _DAY // 3 + 45 * _MINUTE)
    answers = (
        Status(status=429, retry_after=1, times=1, skip=3, path="*/klines"), Reset(times=2, skip=6, path="*/klines"),
        Truncated(times=1, skip=9, path="*/klines"), Disorder(times=3, path="*/klines"), Duplicates(times=3, path="*/klines"),
    )  # fmt: skip
    with Simulator(_SYMBOLS, seed=seed, now=_END + _DAY, start=start - 30 * _DAY, faults=(outage, quiet)) as exchange:
        exchange.faults.add(*answers)
        yield Demonstration(
            what="Binance's protocol, spoken by a simulator to unmodified ccxt",
            options={"exchange": "binance", "config": exchange.config("binance"), "venue": f"demo {seed}"},
            symbols=_SYMBOLS,
            start=isoformat(start),
            end=isoformat(_END),
            faults=(
                f"it was down on {isoformat(middle):.10} from 03:07 to 04:45: nobody has bars of that",
                "nobody traded SOL/USDT for 45 minutes",
                "one answer is 429, wait a second; two connections break, and one answer comes cut off",
                "some pages come out of order, and with rows twice",
            ),
            asked=lambda: len(exchange.requests.of("*/klines")),
        )
