"""Reading: from the configuration through files, blocks and rows to Bars, a few blocks side by side."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import pyarrow as pa

from cracktrader.bars import Bars
from cracktrader.errors import NotSupported
from cracktrader.request import BarRequest
from cracktrader_csv.assembly import Assembly, Series
from cracktrader_csv.config import CsvConfig
from cracktrader_csv.files import opened
from cracktrader_csv.opening import find_inputs
from cracktrader_csv.parsing import Filter, Parser, Rows
from cracktrader_csv.unpacking import Member, members

__all__ = ["read_bars", "read_symbols"]


def read_bars(config: CsvConfig, request: BarRequest) -> Iterator[Bars]:
    """The bars of a request, chunk by chunk; memory is bounded by a few blocks of ``chunk_bytes``.

    Only a compressed file that is ordered newest first has to be held, as far as it is wanted, before it can be turned.
    """
    notes: list[str] = []
    inputs = find_inputs(config, request, notes)
    series = Series(config, request, inputs[0].stem, lambda: read_symbols(config), notes)
    texts = (text for one in inputs for text in members(one, config, request, notes))
    with contextlib.closing(_parsed(texts, series)) as results:
        for assembly, rows in results:
            yield from assembly.finish() if rows is None else assembly.take(rows)
    series.finish()
    if notes:  # also where no bar came that they could go with
        yield Bars.empty(series.label, request.timeframe, provenance={"notes": notes})


def read_symbols(config: CsvConfig) -> list[str]:
    """The symbols in all files, in the order of their first rows; raises :class:`NotSupported` without such a column."""
    symbols: dict[str, None] = {}
    known = False
    for one in find_inputs(config, None, []):
        for text in members(one, config, None, []):
            with opened(text, config) as file:
                if file.plan is not None and file.plan.symbol is not None:
                    known = True
                    for block in file.forward():
                        symbols |= dict.fromkeys(Parser(file.plan, Filter(), True, file.line_at).symbols(block))
    if not known:
        raise NotSupported("The files have no column of symbols.", hint="Each file is one series: name it with symbol='…'.")
    return list(symbols)


def _parsed(texts: Iterable[Member], series: Series) -> Generator[tuple[Assembly, Rows | None]]:
    """The rows of all texts, block by block in order, None at the end of each; a few are parsed ahead, side by side."""
    workers = min(max(1, pa.cpu_count()), 8)
    ahead: deque[tuple[Assembly, Future[Rows] | None]] = deque()
    with ThreadPoolExecutor(workers, "cracktrader-csv") as pool:
        try:
            for text in texts:
                with opened(text, series.config) as file:
                    if file.plan is None:
                        continue
                    if file.plan.symbol is None:
                        series.doubt(text.name, listed=text.listed)
                    assembly = Assembly(series, file.plan, turned=file.held(file.plan))
                    parser = Parser(file.plan, series.filter_of(file.plan), series.config.bad_lines == "skip", file.line_at)
                    for block in file.blocks(parser):
                        ahead.append((assembly, pool.submit(parser.parse, block)))
                        while len(ahead) > workers + 1:
                            yield _result(ahead.popleft())
                    ahead.append((assembly, None))
            while ahead:
                yield _result(ahead.popleft())
        finally:
            pool.shutdown(cancel_futures=True)


def _result(entry: tuple[Assembly, Future[Rows] | None]) -> tuple[Assembly, Rows | None]:
    assembly, future = entry
    return assembly, None if future is None else future.result()
