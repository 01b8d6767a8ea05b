"""``cracktrader watch``: live lines before one's eyes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from cracktrader.cli.settings import pairs
from cracktrader.errors import CracktraderError, InvalidOption, NotSupported
from cracktrader.live.following import Failed, LiveLine, Said
from cracktrader.live.handover import Bell
from cracktrader.live.line import Deliver, Ended
from cracktrader.live.settings import LiveSettings
from cracktrader.plugins.registry import default_registry
from cracktrader.store.streaming_feed import StreamingFeed
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

__all__ = ["watch"]

_REFRESH = 0.25


def watch(console: Console, source: str, settings: Iterable[str] | None, seconds: float | None) -> None:
    """Follow the symbols that are given: a table on a terminal, elsewhere a line for each bar and change of state."""
    options = pairs(settings)
    symbols = options.pop("symbol", "")
    symbols = symbols if isinstance(symbols, list) else [symbols]
    if (timeframe := options.pop("timeframe", None)) is None:
        raise InvalidOption("No timeframe was given.", hint="Say how long a bar lasts: timeframe=1m.")
    chosen = LiveSettings.of({name: options.pop(name) for name in set(LiveSettings.model_fields) & set(options)})
    bell = Bell()
    with contextlib.ExitStack() as stack:
        opened = stack.enter_context(default_registry().source(source, **options))
        lines = [LiveLine(opened, symbol, Timeframe(timeframe), chosen, bell=bell) for symbol in symbols]
        tickers = stack.enter_context(StreamingFeed(opened))
        with contextlib.suppress(NotSupported):
            for symbol in symbols:
                tickers.subscribe_ticker(symbol)
        for line in lines:
            stack.callback(line.stop)
            line.start()
        with contextlib.suppress(KeyboardInterrupt):  # that is how one ends it
            _follow(console, lines, tickers, bell, None if seconds is None else time.monotonic() + seconds)


def _follow(console: Console, lines: list[LiveLine], tickers: StreamingFeed, bell: Bell, until: float | None) -> None:
    from rich.live import Live

    shown = (
        Live(console=console, auto_refresh=False, get_renderable=lambda: _table(lines, tickers)) if console.is_terminal else None
    )
    with shown or contextlib.nullcontext():
        while (left := 3600.0 if until is None else until - time.monotonic()) > 0:
            heard = bell.rings
            for line in lines:
                while (item := line.take()) is not None:
                    _tell(console, line, item, quiet=shown is not None)
            if shown is not None:
                shown.refresh()
            bell.wait(heard, min(left, _REFRESH if shown is not None else left))


def _tell(console: Console, line: LiveLine, item: Any, *, quiet: bool) -> None:
    if isinstance(item, Failed):
        raise item.error
    if isinstance(item, Ended) or (quiet and not isinstance(item, Said)):
        return
    text = f"{line.symbol} {line.frame}"
    if isinstance(item, Deliver):
        bar = item.candle
        text += f"  {isoformat(bar.time)}  {bar.open:.10g} {bar.high:.10g} {bar.low:.10g} {bar.close:.10g}  {bar.volume:.10g}"
        text += "  (no trades)" if bar.flags & 1 else ""
    else:
        text += f"  {item.state.value if item.state else 'note'}: {item.text}"
    console.print(text, highlight=False, soft_wrap=True)


def _table(lines: list[LiveLine], tickers: StreamingFeed) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    for name in ("symbol", "state", "last bar", "close", "now", "spread", "age s", "ready ms", "bars", "healed", "reconnects"):
        table.add_column(name, justify="left" if name in ("symbol", "state", "last bar") else "right")
    for line in lines:
        stats, forming = line.stats, line.forming
        table.add_row(
            f"{line.symbol} {line.frame}",
            stats["state"],
            isoformat(line.last.time) if line.last else "",
            f"{line.last.close:.10g}" if line.last else "",
            f"{forming.close:.10g}" if forming else "",
            _spread(tickers, line.symbol),
            "" if stats["age"] is None else f"{stats['age']:.1f}",
            f"{stats['ready_ms'].get('median', '')}",
            *(f"{stats[name]:,}" for name in ("bars", "healed", "reconnects")),
        )
    return table


def _spread(tickers: StreamingFeed, symbol: str) -> str:
    try:
        ticker = tickers.get_ticker(symbol)
    except CracktraderError:
        return ""  # not of this symbol
    return f"{ticker.ask - ticker.bid:.6g}" if ticker is not None and ticker.ask and ticker.bid else ""
