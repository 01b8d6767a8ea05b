"""LiveStore: what the live feeds of one Cerebro share, and who ends them, whatever ended the run."""

from __future__ import annotations

import weakref
from collections import deque
from typing import Any, Protocol

from cracktrader.live.handover import Bell

__all__ = ["LiveStore", "is_resampled"]


class _LiveFeed(Protocol):
    """What a store needs of its feeds."""

    def stop(self) -> None: ...
    def is_ready(self) -> bool: ...


def is_resampled(data: Any) -> bool:
    """Whether backtrader makes longer bars of a feed's, and shows only these."""
    return bool(data.resampling and not data.replaying)


class LiveStore:
    """The store of a Cerebro's live feeds, in the way of ``bt.Store``, which is one object for the whole process and so no base.

    All feeds ring one bell: whoever waits for a bar is woken by that of any other. ``notify_store`` hears what happens to them.
    """

    def __init__(self, cerebro: Any) -> None:
        self._cerebro = weakref.proxy(cerebro)
        self._lengths: list[int] = []
        self._moved: set[int] = set()
        self.bell = Bell()
        self.feeds: list[Any] = []
        self.round = 0  #: how often Cerebro has gone round
        self.delivered_in = -1  #: the last round in which a live feed had a bar
        self._notes: deque[tuple[str, tuple[Any, ...], dict[str, Any]]] = deque()

    @classmethod
    def of(cls, cerebro: Any) -> LiveStore:
        """The store of this Cerebro, made with its first live feed."""
        for store in cerebro.stores:
            if isinstance(store, LiveStore):
                return store
        made = cls(cerebro)
        cerebro.addstore(made)
        made._guard(cerebro)
        return made

    def _guard(self, cerebro: Any) -> None:
        """backtrader stops its feeds only where a run comes to its end; an exception, or Ctrl-C, must stop these as well."""
        run = cerebro.runstrategies

        def guarded(*arguments: Any, **options: Any) -> Any:
            try:
                return run(*arguments, **options)
            except BaseException:
                for feed in self.feeds:
                    feed.stop()
                raise

        cerebro.runstrategies = guarded

    # ── as backtrader asks its stores ────────────────────────────────────────────────────────────────

    def start(self, data: Any = None, broker: Any = None) -> None:
        """The run begins."""

    def stop(self) -> None:
        """The run has ended."""

    def put_notification(self, message: str, *arguments: Any, **facts: Any) -> None:
        """Tell ``notify_store``."""
        self._notes.append((message, arguments, facts))

    def get_notifications(self) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
        """What is to be told; asked at the beginning of each of Cerebro's rounds."""
        self.round += 1
        lengths = [len(data) for data in self._cerebro.datas]
        before = self._lengths if len(self._lengths) == len(lengths) else [-1] * len(lengths)
        self._moved = {place for place, length in enumerate(lengths) if length != before[place]}
        self._lengths = lengths
        return [self._notes.popleft() for _ in range(len(self._notes))]

    # ── between the feeds ────────────────────────────────────────────────────────────────────────────

    def moved(self, data: Any) -> bool:
        """Whether a feed of any kind had a bar in the last round."""
        return self._cerebro.datas.index(data) in self._moved

    def has_stepped(self) -> bool:
        """Whether a feed that is not resampled has had a bar in this round."""
        return any(
            len(data) > length for data, length in zip(self._cerebro.datas, self._lengths, strict=False) if not is_resampled(data)
        )

    @property
    def has_news(self) -> bool:
        """Whether Cerebro should go round now."""
        return bool(self._notes) or any(feed.is_ready() for feed in self.feeds)
