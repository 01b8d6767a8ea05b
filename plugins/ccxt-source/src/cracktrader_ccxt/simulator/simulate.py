"""``cracktrader simulate``: the simulator as a command."""

from __future__ import annotations

import json
import threading
import time
from typing import Annotated

import typer

from cracktrader_ccxt.simulator.pointing import EXCHANGES
from cracktrader_ccxt.simulator.server import Simulator
from cracktrader_ccxt.simulator.venue import SYMBOLS

__all__ = ["simulate"]


def simulate(
    port: Annotated[int, typer.Option(help="Where to listen on 127.0.0.1; 0 takes a free one.", min=0, max=65535)] = 0,
    symbols: Annotated[str, typer.Option(help="What is listed, separated by commas.")] = ",".join(SYMBOLS),
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 7,
    now: Annotated[str, typer.Option(help="The exchange's time at the start; the real time if left out.")] = "",
    speed: Annotated[float, typer.Option(help="Seconds that pass there in a real second.", min=0.001, max=1e6)] = 1.0,
    weight_limit: Annotated[int | None, typer.Option(help="Request weight a minute; 0 for no limit.", min=0)] = None,
    seconds: Annotated[float | None, typer.Option(help="End after that many real seconds.", min=0)] = None,
) -> None:
    """Run an exchange on 127.0.0.1 that ccxt and ccxt.pro clients talk to.

    Prints what their constructors need to find it, and runs until it is interrupted.
    """
    listed = [symbol.strip() for symbol in symbols.split(",") if symbol.strip()]
    at = now or int(time.time() * 1000)
    with Simulator(listed, port=port, seed=seed, now=at, speed=speed, weight_limit=weight_limit) as exchange:
        typer.echo(f"An exchange at {exchange.url}: {', '.join(exchange.symbols)}.")
        for name in EXCHANGES:
            typer.echo(f"ccxt.{name}({json.dumps(exchange.config(name))})")
        typer.echo("Ctrl-C ends it.")
        try:
            threading.Event().wait(seconds)
        except KeyboardInterrupt:
            typer.echo(f"Ended after {len(exchange.requests):,} requests.", err=True)
