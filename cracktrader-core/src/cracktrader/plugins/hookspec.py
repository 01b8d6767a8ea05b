"""The plugin API: what a source may implement, and what a plugin across all sources may.

Hooks are pluggy hooks: an implementation names only the arguments that it wants, so a later core can add
arguments without breaking plugins written for an earlier one. :data:`API` counts up with this file: the
minor number for an addition, the major one for a change that breaks plugins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pluggy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    import typer

    from cracktrader.bars import Bars
    from cracktrader.events import OHLCVCandle, OrderBook, Ticker, Trade
    from cracktrader.quality import CustomCheck, QualityReport
    from cracktrader.request import BarRequest

__all__ = ["API", "PROJECT", "PluginHooks", "SourceHooks", "hookimpl"]

#: The version of the plugin API that this core offers: (major, minor).
API: Final = (1, 0)
PROJECT: Final = "cracktrader"

_spec = pluggy.HookspecMarker(PROJECT)

#: Marks a method as the implementation of a hook; without the mark the method is not one.
hookimpl = pluggy.HookimplMarker(PROJECT)


class SourceHooks:
    """What a data source may offer. :meth:`fetch_bars` is required, everything else is optional.

    In ``cracktrader.plugins``, the group for plugins that cut across sources, an implementation of one of
    these must be a wrapper (``@hookimpl(wrapper=True)``) and wraps the calls of every source.
    """

    @_spec(firstresult=True)
    def fetch_bars(self, request: BarRequest) -> Any:
        """The bars of ``request``, oldest first.

        Returns ``Bars``, a pandas frame, anything with ``__arrow_c_stream__``, or an iterator of those, which
        keeps memory bounded. ``request.start`` and ``request.end`` are epoch milliseconds UTC on the grid of
        ``request.timeframe``, half-open, None where open; ``request.symbol`` is the user's spelling. Raises
        :class:`UnknownSymbol`, :class:`UnsupportedTimeframe`, :class:`TemporarySourceError` for what is worth
        another try, :class:`PermanentSourceError` for what is not. A range without bars is no error.
        """

    @_spec(firstresult=True)
    def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:  # type: ignore[empty-body]
        """Candles as they change; ``closed`` says which will not change any more, and is True only where the venue says so.

        An async generator, as all streams: it runs in the one event loop of the hub, beside others, and must not block. Each
        candle is a new object. It raises :class:`TemporarySourceError` where the connection is lost, and is then called again;
        what is raised for a symbol or timeframe that will never stream ends the feed. When it is closed, it unsubscribes.
        """

    @_spec(firstresult=True)
    def stream_trades(self, symbol: str) -> AsyncIterator[Trade]:  # type: ignore[empty-body]
        """Trades as they happen."""

    @_spec(firstresult=True)
    def stream_ticker(self, symbol: str) -> AsyncIterator[Ticker]:  # type: ignore[empty-body]
        """The ticker as it changes."""

    @_spec(firstresult=True)
    def stream_order_book(self, symbol: str, limit: int) -> AsyncIterator[OrderBook]:  # type: ignore[empty-body]
        """The order book as it changes, at most ``limit`` levels a side."""

    @_spec(firstresult=True)
    async def close_streams(self) -> None:
        """Give back what the streams held, such as sockets. Awaited in the streams' loop when the last of them has been closed.

        Streams may be opened again after it.
        """

    @_spec(firstresult=True)
    def list_symbols(self) -> Sequence[str]:  # type: ignore[empty-body]
        """The symbols that the source has."""

    @_spec(firstresult=True)
    def list_timeframes(self) -> Sequence[str]:  # type: ignore[empty-body]
        """The timeframes that the source has."""

    @_spec(firstresult=True)
    def server_time(self) -> int:  # type: ignore[empty-body]
        """The source's own clock, in epoch milliseconds UTC: it decides which bar is closed."""

    @_spec
    def close(self) -> None:
        """Give back connections and files. Called once, also after a failure."""


class PluginHooks:
    """What a plugin of the group ``cracktrader.plugins`` may do besides wrapping the calls of sources."""

    @_spec
    def quality_checks(self) -> Iterable[CustomCheck]:  # type: ignore[empty-body]
        """Checks that every load runs, made with :func:`cracktrader.check`."""

    @_spec
    def bars_loaded(self, request: BarRequest, bars: Bars, report: QualityReport | None) -> None:
        """Hear of every load that succeeded. What is raised here is warned about, and harms no load."""

    @_spec
    def cli_commands(self, app: typer.Typer) -> None:
        """Add commands to the command line."""
