"""What the server hands to a dialect, and what a dialect hands back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from cracktrader.timeframe import Timeframe
from cracktrader_ccxt.simulator.pages import Rows

__all__ = ["JSON", "Answer", "Dialect", "Page", "Question", "Refused"]

JSON: Final = "application/json;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Question:
    """A request: ``now`` is the exchange's time when it came, ``says`` that time as the exchange tells it."""

    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    now: int
    says: int
    late: int | None = None

    def bars_at(self, frame: Timeframe) -> int:
        """The time as bars are concerned: where they are late, they are closed and that many milliseconds old."""
        return self.now if self.late is None else frame.floor(self.now + 1 - self.late) - 1


@dataclass(slots=True)
class Answer:
    """A body with its status and headers."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = JSON


@dataclass(slots=True)
class Page:
    """Rows between what comes before and after them: faults can get at the rows."""

    rows: list[Rows]
    before: bytes = b"["
    after: bytes = b"]"
    headers: dict[str, str] = field(default_factory=dict)

    def joined(self) -> bytes:
        """The body; each row ends with a comma, the last one's is dropped."""
        return self.before + b"".join(rows.joined() for rows in self.rows)[:-1] + self.after


class Refused(Exception):  # noqa: N818  # an answer, not an error of ours
    """The dialect says no."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Dialect(Protocol):
    """How one exchange speaks."""

    name: str
    limit: int  #: The weight that may be used in a minute; 0 for no limit.

    def concerns(self, path: str) -> bool:
        """Whether a path is this exchange's."""

    def weight(self, question: Question) -> int:
        """What a request costs."""

    def headers(self, used: int) -> dict[str, str]:
        """How it tells what was used in the minute."""

    def symbol(self, question: Question) -> str | None:
        """The unified symbol that a request asks for."""

    def answer(self, question: Question) -> Answer | Page:
        """Answer; raises :class:`Refused`."""

    def refusal(self, status: int, until: int) -> Answer:
        """The exchange's own words with that status; ``until`` is when it will answer again, epoch milliseconds."""

    def maintenance(self, question: Question) -> Answer:
        """What is answered in maintenance."""

    def forget(self) -> None:
        """The market has changed."""
