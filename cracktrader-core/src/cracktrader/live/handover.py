"""From the hub's thread to a reader in another: bounded, in order, and nobody looks twice for what is not there."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Generic, TypeVar

__all__ = ["Bell", "Handover"]

Item = TypeVar("Item")


class Bell:
    """Wakes one reader that waits for any of several hand-overs."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._rings = 0

    @property
    def rings(self) -> int:
        """How often it rang; what :meth:`wait` compares with."""
        return self._rings

    def ring(self) -> None:
        """Wake whoever waits."""
        with self._condition:
            self._rings += 1
            self._condition.notify_all()

    def wait(self, heard: int, seconds: float) -> bool:
        """Wait until it has rung more often than ``heard``; False where ``seconds`` passed before."""
        until = time.monotonic() + seconds
        with self._condition:
            while self._rings == heard:
                left = until - time.monotonic()
                if left <= 0 or not self._condition.wait(left):
                    return self._rings != heard
        return True


class Handover(Generic[Item]):
    """A bounded queue of one writer and one reader; the writer asks for :attr:`room` first, and never waits."""

    def __init__(self, size: int, bell: Bell) -> None:
        self.size = size
        self.bell = bell
        self._items: deque[Item] = deque()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def room(self) -> int:
        """How many more items there is room for."""
        return self.size - len(self._items)

    def put(self, item: Item) -> None:
        """Hand an item over and wake the reader."""
        self._items.append(item)
        self.bell.ring()

    def peek(self) -> Item | None:
        """The next item, left where it is; None where there is none."""
        try:
            return self._items[0]
        except IndexError:
            return None

    def take(self) -> Item | None:
        """The next item, None where there is none."""
        try:
            return self._items.popleft()
        except IndexError:
            return None
