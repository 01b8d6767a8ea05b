"""Loading many: what it costs over loading one after another, and what workers bring."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from measuring import Result, side_by_side

import cracktrader as ct

__all__ = ["dask", "many"]

_BARS = ct.Bars([0], [1.0], [1.0], [1.0], [1.0], [1.0], symbol="X", timeframe="1m")


class Slow(ct.DataSource):
    """A source that takes a fifth of a second, as an exchange does; workers import it from here."""

    api = (1, 0)

    @ct.hookimpl
    def fetch_bars(self, request: ct.BarRequest) -> ct.Bars:
        time.sleep(0.2)
        price = np.full(1000, 100.0)
        return ct.Bars(60_000 * np.arange(1000), price, price, price, price, price, symbol=request.symbol, timeframe="1m")


def many(_rows: int) -> Iterator[Result]:
    """What load_many costs for each series, over loading them one after another."""
    requests = [{"symbol": "X"}] * 500
    shared = {"timeframe": "1m", "bars": _BARS}
    ours, plain = side_by_side(
        lambda: ct.load_many(requests, source="memory", **shared).unwrap(),
        lambda: [ct.load("memory", **request, **shared) for request in requests],
    )
    cost = (ours - plain) / len(requests) * 1000
    yield Result("many", f"500 small series in threads: {ours / 500 * 1000:.2f} ms each; one after another"
                 f" {plain / 500 * 1000:.2f} ms; ms over that", cost, "< 2", cost < 2)  # fmt: skip


def dask(_rows: int) -> Iterator[Result]:
    """200 series of a slow source on a Dask cluster of one, two and four worker processes."""
    from distributed import Client, LocalCluster

    requests = [{"symbol": f"S{at}"} for at in range(200)]
    taken = []
    for workers in (1, 2, 4):
        with LocalCluster(n_workers=workers, threads_per_worker=4, dashboard_address=":0") as cluster, Client(cluster) as client:
            executor = client.get_executor(pure=False)
            for wanted in (requests[: 4 * workers], requests):  # first, every worker imports what it needs
                began = time.perf_counter()
                ct.load_many(wanted, source=Slow, timeframe="1m", executor=executor, per_host=200).unwrap()
                seconds = time.perf_counter() - began
            taken.append(seconds)
    told = ", ".join(f"{workers} in {seconds:.1f} s" for workers, seconds in zip((1, 2, 4), taken, strict=True))
    yield Result("dask", f"200 slow series on worker processes of four threads: {told}; times faster with four",
                 taken[0] / taken[2], ">= 2.5", taken[0] / taken[2] >= 2.5)  # fmt: skip
