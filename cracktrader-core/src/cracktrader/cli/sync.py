"""``cracktrader sync``: what it runs on, and the table that it ends with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager

from rich import box
from rich.table import Table

from cracktrader.errors import InvalidOption
from cracktrader.syncing import Synced

__all__ = ["executor_at", "table_of"]


@contextmanager
def executor_at(address: str | None) -> Iterator[Executor | None]:
    """The workers of a Dask cluster; None, which means threads, without an address."""
    if address is None:
        yield None
        return
    try:
        from distributed import Client
    except ImportError:
        raise InvalidOption(
            "--dask needs dask.distributed, which is not installed.", hint='Run: pip install "cracktrader-core[dask]"'
        ) from None
    try:
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InvalidOption(
            f"There is no Dask scheduler at {address!r}: {error}.", hint="Give its address, such as tcp://127.0.0.1:8786."
        ) from error
    with client:
        yield client.get_executor(pure=False)


def table_of(series: Sequence[Synced]) -> Table:
    """What was fetched, and what failed and why."""
    table = Table(box=box.SIMPLE_HEAD, show_footer=True)
    failed = [each for each in series if each.error is not None]
    fetched = sum(each.fetched for each in series)
    table.add_column("series", f"{len(series):,} series, {len(failed):,} failed")
    table.add_column("fetched", f"{fetched:,}", justify="right", no_wrap=True)
    table.add_column("held", f"{sum(each.held for each in series):,}", justify="right", no_wrap=True)
    table.add_column("")
    for each in series:
        name = " ".join(filter(None, [each.table, each.symbol, each.timeframe]))
        held, said = (f"{each.held:,}", "") if each.error is None else ("", f"{type(each.error).__name__}: {each.error}")
        table.add_row(name, f"{each.fetched:,}", held, said)
    return table
