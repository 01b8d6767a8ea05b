"""The ``http`` source itself; the work is done in :mod:`cracktrader_http.fetching`."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from cracktrader.errors import NotSupported
from cracktrader.plugins import DataSource, hookimpl
from cracktrader.plugins.identity import identity_of
from cracktrader.times import now_ms
from cracktrader_http.config import HOW_ONLY, HttpConfig
from cracktrader_http.presets import read_preset

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.events import OHLCVCandle
    from cracktrader.request import BarRequest
    from cracktrader_http.transport import Transport

__all__ = ["HttpSource"]


class HttpSource(DataSource):
    """Bars from any HTTP API that returns candles: declared by options, or known as a preset."""

    api = (1, 0)
    Config = HttpConfig
    remote = True
    config: HttpConfig

    def __init__(self, config: HttpConfig | None = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self._lock = threading.Lock()
        self._opened: Transport | None = None

    # requests takes 0.1 s to import: only whoever asks an API pays for it.

    @hookimpl
    def fetch_bars(self, request: BarRequest) -> Iterator[Bars]:
        from cracktrader_http.fetching import read_bars

        return read_bars(self.config, self._transport(), request)

    @hookimpl
    def stream_candles(self, symbol: str, timeframe: str) -> AsyncIterator[OHLCVCandle]:
        from cracktrader_http.streaming import stream_candles

        return stream_candles(self.config, self._transport(), symbol, timeframe)

    @hookimpl
    def list_timeframes(self) -> Sequence[str]:
        if not self.config.timeframes:
            raise NotSupported(
                "It is not known which timeframes the API has.", hint="Say it with the option timeframes={'1h': '60', …}."
            )
        return tuple(self.config.timeframes)

    @hookimpl
    def server_time(self) -> int:
        return now_ms() if self._opened is None else self._opened.clock()

    @hookimpl
    def close(self) -> None:
        if self._opened is not None:
            self._opened.close()

    def identity(self) -> Mapping[str, Any]:
        """What is asked, and how it is read; not how it is fetched, and not what the preset says by itself."""
        fields = HttpConfig.model_fields
        preset = HttpConfig(**read_preset(self.config.preset)) if self.config.preset else None
        said = {name for name in fields if name not in HOW_ONLY}
        if preset is not None:
            said = {name for name in said if getattr(self.config, name) != getattr(preset, name)} | {"preset"}
        unsaid = {name: fields[name].get_default(call_default_factory=True) for name in set(fields) - said - {"url"}}
        identity = identity_of(self.config.model_copy(update=unsaid))
        if "url" not in said:
            del identity["url"]
        return identity

    def _transport(self) -> Transport:
        from cracktrader_http.transport import Transport

        with self._lock:
            if self._opened is None:
                self._opened = Transport(self.config)
            return self._opened
