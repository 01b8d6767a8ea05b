"""Recordings: every raw event of a live run with its time of arrival, one JSON object a line.

``at`` is the machine's time of arrival and ``there`` the source's clock, in epoch milliseconds; ``kind`` says what it was:
``candle``, ``trade``, ``ticker``, ``book``, an answer to a fetch (``bars``), or the stream's ``up`` and ``down``.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from cracktrader.errors import InvalidOption, MalformedData, SourceNotFound
from cracktrader.events import Event, OHLCVCandle, OrderBook, Ticker, Trade
from cracktrader.live.clock import SourceClock, machine_ms

__all__ = ["Recorder", "read_recording", "recorder"]

logger: Final = logging.getLogger("cracktrader.live")
_KINDS: Final[dict[type[Event], str]] = {OHLCVCandle: "candle", Trade: "trade", Ticker: "ticker", OrderBook: "book"}
#: Recordings that are being written, by file: several lines write into one. Only the hub's thread looks here.
_OPEN: Final[dict[Path, Recorder]] = {}


class Recorder:
    """Appends to one file."""

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file: IO[str] = path.open("a", encoding="utf-8", buffering=1)
        except OSError as error:
            raise InvalidOption(
                f"The recording {str(path)!r} can't be written: {error.strerror}.", hint="Name a file that can."
            ) from error
        self._path = path
        self.users = 0
        self._full = False

    def note(self, kind: str, clock: SourceClock, **facts: Any) -> None:
        """Write down something that happened."""
        line = {"at": round(machine_ms(), 3), "there": clock.now(), "kind": kind, **facts}
        try:
            if not self._full:
                self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        except OSError as error:  # a full disk must not stop a strategy that trades
            self._full = True
            logger.error("The recording %s ends here: %s", self._path, error)

    def event(self, event: Event, clock: SourceClock) -> None:
        """Write down an event of a stream."""
        self.note(_KINDS[type(event)], clock, **event)

    def close(self) -> None:
        """Give it back; the last one closes the file."""
        self.users -= 1
        if not self.users:
            _OPEN.pop(self._path, None)
            with contextlib.suppress(OSError):
                self._file.close()


def recorder(path: Path) -> Recorder:
    """The recorder of a file, to be closed; in the hub's thread only."""
    path = path.expanduser().absolute()
    found = _OPEN.get(path) or _OPEN.setdefault(path, Recorder(path))
    found.users += 1
    return found


def read_recording(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a recording; a last line that was cut off is left out.

    Raises :class:`~cracktrader.errors.SourceNotFound`, :class:`~cracktrader.errors.MalformedData`.
    """
    try:
        file = path.expanduser().open(encoding="utf-8")
    except OSError as error:
        raise SourceNotFound(
            f"The recording {str(path)!r} can't be read: {error.strerror}.", hint="Is the path right?"
        ) from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith("\n"):
                return  # whoever wrote it was ended here
            try:
                yield json.loads(line)
            except ValueError as error:
                raise MalformedData(
                    f"Line {number} of {str(path)!r} is no JSON.", hint="Is it a recording of cracktrader?"
                ) from error
