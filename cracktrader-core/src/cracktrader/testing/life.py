"""The contract, part three: hooks, sharing, closing, and life in another process."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from cracktrader.bars import Bars
from cracktrader.errors import NotSupported
from cracktrader.plugins.hooking import hook_names
from cracktrader.plugins.source import PluginWarning, Source
from cracktrader.testing.base import ContractBase, MakeSource
from cracktrader.testing.child import fetch_elsewhere
from cracktrader.timeframe import Timeframe

__all__ = ["LifeContract"]

_STREAMS = ("stream_candles", "stream_trades", "stream_ticker", "stream_order_book")


class LifeContract(ContractBase):
    """Hooks work or are not offered; a source can be shared, left and closed."""

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────────

    def test_hooks_that_are_not_offered_say_so(self, source: Source) -> None:
        """A hook that can only fail should not be there: its absence is how the core knows."""
        for hook in hook_names():
            if not source.offers(hook):
                with pytest.raises(NotSupported):
                    source.call(hook)

    def test_listed_symbols_hold_the_one_that_it_has(self, source: Source) -> None:
        """As users spell them. Where there is one series without a name, there may be none, or an error that says so."""
        if source.offers("list_symbols"):
            try:
                symbols = source.symbols()
            except NotSupported as error:
                self.assert_helpful(error)
                symbols = ()
            if self.unknown_symbol is None and not symbols:
                return
            assert self.symbol in symbols, f"{self.symbol!r} is not among the symbols: {', '.join(symbols[:20])}."
            assert len(set(symbols)) == len(symbols), "A symbol is listed twice."

    def test_listed_timeframes_hold_the_one_that_it_has(self, source: Source) -> None:
        """In any spelling that ``Timeframe`` reads."""
        if source.offers("list_timeframes"):
            timeframes = [Timeframe(text) for text in source.timeframes()]
            assert Timeframe(self.timeframe) in timeframes, f"{self.timeframe!r} is not among: {', '.join(timeframes)}."

    def test_server_time_is_in_milliseconds(self, source: Source, whole: Bars) -> None:
        """An int, and later than the bars that are closed: it decides which bar may be stored."""
        if source.offers("server_time"):
            now = source.call("server_time")
            assert isinstance(now, int), f"server_time returned {now!r}, not an int."
            assert not isinstance(now, bool)
            assert now > whole.time[-1], f"server_time says {now} (milliseconds), but there is a bar of {whole.time[-1]}."

    @pytest.mark.parametrize("hook", _STREAMS)
    def test_streams_are_async_iterators(self, source: Source, hook: str) -> None:
        """What a stream hook returns is for ``async for``; nothing is awaited before."""
        if not source.offers(hook):
            return
        more: dict[str, dict[str, Any]] = {"stream_candles": {"timeframe": self.timeframe}, "stream_order_book": {"limit": 5}}
        arguments = {"symbol": self.symbol, **more.get(hook, {})}

        async def ask() -> bool:
            stream = source.call(hook, **arguments)
            if inspect.iscoroutine(stream):
                stream.close()
                return False
            if inspect.isasyncgen(stream):
                await stream.aclose()
            return hasattr(stream, "__aiter__")

        assert asyncio.run(ask()), f"{hook} must be an async generator (`async def` with `yield`), or return an async iterator."

    # ── sharing ──────────────────────────────────────────────────────────────────────────────────────

    def test_two_threads_at_once_get_the_same(self, source: Source, whole: Bars) -> None:
        """One source serves many loads side by side."""
        ready = threading.Barrier(2, timeout=60)

        def fetch(_: int) -> Bars:
            ready.wait()
            return self.fetch(source)

        with ThreadPoolExecutor(2) as pool:
            for number, bars in enumerate(pool.map(fetch, range(2)), start=1):
                self.assert_same(bars, whole, f"Thread {number}, with another one fetching beside it,")

    def test_two_fetches_may_run_in_turns(self, make: MakeSource, whole: Bars) -> None:
        """Chunks of two requests, taken alternately: no cursor is shared."""
        source = make(**({self.chunk_option: self.chunk_values[0]} if self.chunk_option else {}))
        one, other = source.bars(self.request()), source.bars(self.request(start=whole.time[1]))
        chunks: tuple[list[Bars], list[Bars]] = ([], [])
        while True:
            pair = next(one, None), next(other, None)
            for taken, chunk in zip(chunks, pair, strict=True):
                taken.extend([chunk] if chunk is not None else [])
            if pair == (None, None):
                break
        for taken, wanted, which in zip(chunks, (whole, whole[1:]), ("first", "second"), strict=True):
            self.assert_same(Bars.concat(taken), wanted, f"The {which} of two fetches in turns")

    def test_a_fetch_may_be_given_up(self, make: MakeSource, whole: Bars) -> None:
        """Whoever has enough after the first chunk leaves nothing locked behind."""
        source = make(**({self.chunk_option: self.chunk_values[0]} if self.chunk_option else {}))
        chunks = source.bars(self.request())
        next(chunks, None)
        chunks.close()  # type: ignore[attr-defined]  # a generator, whose type the core does not promise
        self.assert_same(self.fetch(source), whole, "After a fetch that was given up")

    # ── closing ──────────────────────────────────────────────────────────────────────────────────────

    def test_closing_twice_is_harmless(self, make: MakeSource) -> None:
        """And closing a source that was never used, too."""
        with warnings.catch_warnings():
            warnings.simplefilter("error", PluginWarning)
            for used in (False, True):
                source = make()
                if used:
                    self.fetch(source)
                source.close()
                source.close()

    def test_a_with_block_closes(self, make: MakeSource, whole: Bars) -> None:
        """``with ct.source(…) as source:``, and afterwards a new source works as before."""
        with make() as source:
            self.assert_same(self.fetch(source), whole, "In a with block")
        self.assert_same(self.fetch(make()), whole, "With a new source, after the first was closed")

    def test_closing_gives_everything_back(self, make: MakeSource, made: list[Source]) -> None:
        """No file and no socket stays open: Python would warn of it."""
        gc.freeze()  # whatever others left behind is not looked at: that takes long, and is not this source's
        try:
            with warnings.catch_warnings(record=True) as warned:
                warnings.simplefilter("always", ResourceWarning)
                source = make()
                self.fetch(source)
                source.close()
                made.clear()
                del source
                gc.collect()
        finally:
            gc.unfreeze()
        leaks = [str(warning.message) for warning in warned if issubclass(warning.category, ResourceWarning)]
        assert not leaks, f"Something was left open: {'; '.join(leaks)}."

    # ── other processes ──────────────────────────────────────────────────────────────────────────────

    def test_it_can_be_rebuilt_in_another_process(self, source: Source, whole: Bars) -> None:
        """Class and options pickle, and give the same bars there: loads may be spread over processes and machines."""
        options, bars = fetch_elsewhere(source, self.request())
        assert options == repr(source.config), "The options are others after pickling."
        assert bars is not None, "The source gave no bars there."
        self.assert_same(bars, whole, "In another process")
