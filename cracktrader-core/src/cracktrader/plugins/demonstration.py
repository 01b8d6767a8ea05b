"""What a source brings along to be shown without a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Demonstration"]


@dataclass(frozen=True, slots=True)
class Demonstration:
    """Something on this machine that a source can read from, while it is open.

    A source that has one offers a classmethod ``demonstration(days, seed)``, a context manager that yields this:
    ``options`` for the source; ``symbols``, of which there are bars of every timeframe in ``[start, end)``, ISO-8601;
    sentences about the ``faults`` that were put in; and how often it was asked for bars so far.
    """

    what: str
    options: Mapping[str, Any]
    symbols: Sequence[str]
    start: str
    end: str
    faults: Sequence[str]
    asked: Callable[[], int]
