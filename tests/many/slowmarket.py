"""A source that takes its time, for tests; a module of its own, so that worker processes can import it too."""

import os
import time
from pathlib import Path

import numpy as np

import cracktrader as ct

START = 1_704_067_200_000


class SlowMarket(ct.DataSource):
    """Bars of any symbol, ``seconds`` after they are asked for, chunk by chunk; keeps a diary of who was here when."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        rows: int = 10
        chunks: int = 1
        seconds: float = 0.0
        exchange: str | None = None
        diary: Path | None = None
        fault: str | None = None
        listed: tuple[str, ...] = ()

    @ct.hookimpl
    def fetch_bars(self, request):
        self.write(f"begin {request.symbol}")
        try:
            for chunk in range(self.config.chunks):
                time.sleep(self.config.seconds)
                self.write(f"chunk {request.symbol}")
                if self.config.fault == "raise":
                    raise ct.CracktraderError(f"no {request.symbol} today", hint="Try tomorrow.", symbol=request.symbol)
                if self.config.fault == "die":
                    os._exit(9)
                yield bars_of(request.symbol, self.config.rows, chunk)
        finally:
            self.write(f"end {request.symbol}")

    @ct.hookimpl
    def list_symbols(self):
        return self.config.listed

    def write(self, line):
        if self.config.diary is not None:
            with self.config.diary.open("a") as diary:  # one short write in append mode is whole
                diary.write(f"{line} {os.getpid()}\n")


def bars_of(symbol, rows=10, chunk=0):
    times = START + 60_000 * (np.arange(rows) + chunk * rows)
    price = np.full(rows, 100.0 + len(symbol))
    return ct.Bars(times, price, price, price, price, np.arange(rows) + 1.0, symbol=symbol, timeframe="1m")


def most_at_once(diary, belongs=lambda symbol: True):
    """The most symbols that were being loaded at the same moment, by a diary."""
    now = most = 0
    for line in diary.read_text().splitlines():
        what, symbol, _ = line.split()
        if what != "chunk" and belongs(symbol):
            now += 1 if what == "begin" else -1
            most = max(most, now)
    return most
