"""The arithmetic of pages by itself: whatever an exchange makes of a question, every bar of a range comes once, or an error."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.errors import TemporarySourceError
from cracktrader_ccxt.candles import Columns, Page, page_of
from cracktrader_ccxt.facts import Answers
from cracktrader_ccxt.pager import Pager, Span, latest, windows

HOUR = ct.Timeframe("1h")
STEP = 3_600_000


class Exchange:
    """Bars at some of the hours, and a rule by which it answers; at most ``cap`` rows at once."""

    def __init__(self, hours: list[int], answers: Answers, cap: int, *, newest: bool = False, early: int = 0) -> None:
        self.time = np.array(sorted(hours), np.int64) * STEP
        self.answers, self.cap, self.newest, self.early = answers, cap, newest, early
        self.asked = 0

    def page(self, start: int, end: int) -> Page:
        self.asked += 1
        since = max(0, start - self.early * STEP)
        found = self.time[self.time >= since]
        if self.answers == "window":
            found = found[found < end]
        found = found[-self.cap :][::-1] if self.newest else found[: self.cap]
        return page_of((found, *(found.astype(float) for _ in range(5))), start, end)

    def expected(self, start: int, end: int) -> list[int]:
        return self.time[(self.time >= start) & (self.time < end)].tolist()


def nothing_older(page: Page) -> None:
    """The verdict on an exchange that hears ``since``."""


def fetched(pager: Pager, start: int, end: int) -> list[int]:
    columns = [one for span in windows(HOUR, start, end, lambda: pager.size) for one in pager.window(span)]
    assert all(len(one[0]) for one in columns)
    return [int(time) for one in columns for time in one[0]]


@given(
    hours=st.lists(st.integers(0, 120), unique=True),
    span=st.tuples(st.integers(0, 120), st.integers(0, 120)),
    size=st.integers(1, 30),
    cap=st.integers(1, 40),
    rule=st.sampled_from(["first", "window", "newest"]),
    early=st.integers(0, 2),
    told=st.booleans(),
)
def test_every_bar_of_a_range_once_in_order(
    hours: list[int], span: tuple[int, int], size: int, cap: int, rule: str, early: int, told: bool
) -> None:
    answers: Answers = "first" if rule == "first" else "window"
    exchange = Exchange(hours, answers, max(cap, early + 1), newest=rule == "newest", early=early)
    pager = Pager(exchange.page, HOUR, answers if told else "unknown", size, nothing_older)
    start, end = min(span) * STEP, max(span) * STEP
    assert fetched(pager, start, end) == exchange.expected(start, end)
    assert exchange.asked <= 6 * 121 + 2, "It was asked again and again."


@given(
    hours=st.lists(st.integers(0, 120), unique=True), end=st.integers(1, 130), limit=st.integers(1, 60), size=st.integers(1, 30)
)
def test_the_last_bars(hours: list[int], end: int, limit: int, size: int) -> None:
    exchange = Exchange(hours, "first", 50)
    pager = Pager(exchange.page, HOUR, "first", size, nothing_older)

    def fetch(start: int, stop: int) -> Iterator[Columns]:
        for span in windows(HOUR, start, stop, lambda: pager.size):
            yield from pager.window(span)

    found = [int(time) for one in latest(fetch, HOUR, end * STEP, limit, lambda: 0) for time in one[0]]
    assert found[-limit:] == exchange.expected(0, end * STEP)[-limit:]
    assert found == sorted(set(found))


def test_a_cap_is_learned_and_a_gap_is_none() -> None:
    full = Exchange(list(range(1000)), "first", 10)
    pager = Pager(full.page, HOUR, "first", 100, nothing_older)
    fetched(pager, 0, 1000 * STEP)
    assert pager.size == 10
    assert full.asked <= 111
    holes = Exchange([hour for hour in range(1000) if hour % 10 < 8], "window", 100)
    pager = Pager(holes.page, HOUR, "window", 100, nothing_older)
    fetched(pager, 0, 1000 * STEP)
    assert pager.size == 100


def test_an_exchange_that_answers_without_sense_ends_in_an_error() -> None:
    def page(start: int, end: int) -> Page:
        time = np.array([(start + end) // 2 // STEP * STEP], np.int64)
        return page_of((time, *(time.astype(float) for _ in range(5))), start, end)

    pager = Pager(page, HOUR, "unknown", 100_000, nothing_older)
    with pytest.raises(TemporarySourceError, match="sent so few at a time"):
        pager.window((0, 100_000 * STEP))


class Spoilt(Exchange):
    """An exchange of which some answers, by their number, are another page: None stands for an empty one."""

    def __init__(self, answers: Answers, wrong: dict[int, tuple[int, int] | None], hours: int = 400) -> None:
        super().__init__(list(range(hours)), answers, 20)
        self.wrong = wrong

    def page(self, start: int, end: int) -> Page:
        number = self.asked
        if number not in self.wrong:
            return super().page(start, end)
        self.asked += 1
        first, stop = self.wrong[number] or (0, 0)
        found = np.arange(first, stop) * STEP
        return page_of((found, *(found.astype(float) for _ in range(5))), start, end)


@pytest.mark.parametrize("answers", ["first", "window", "unknown"])
@pytest.mark.parametrize("wrong", [None, (380, 400), (85, 95)])
def test_a_page_that_says_that_nothing_is_there_is_not_believed_once(answers: Answers, wrong: tuple[int, int] | None) -> None:
    for number in (0, 2, 3):
        exchange = Spoilt(answers, {number: wrong})
        pager = Pager(exchange.page, HOUR, answers, 20, nothing_older)
        assert fetched(pager, 0, 300 * STEP) == exchange.expected(0, 300 * STEP)
    assert exchange.asked <= 15 + 4


@pytest.mark.parametrize("answers", ["first", "window"])
def test_pages_of_ever_other_places_are_an_error(answers: Answers) -> None:
    exchange = Spoilt(answers, {number: (300 + number, 400) for number in range(2, 9)})
    with pytest.raises(TemporarySourceError, match="whether there are any is not known"):
        fetched(Pager(exchange.page, HOUR, answers, 20, nothing_older), 0, 300 * STEP)


@pytest.mark.parametrize(("wrong", "other"), [(None, 200), ((380, 400), 200)])
@pytest.mark.parametrize("empty_first", [True, False])
def test_rows_out_of_a_stretch_that_was_called_empty_are_an_error(
    wrong: tuple[int, int] | None, other: int, *, empty_first: bool
) -> None:
    """As windows that are asked for side by side are answered, in either order."""
    spans = [(40 * STEP, 60 * STEP), (other * STEP, (other + 20) * STEP)]
    lies = (0, 1) if empty_first else (1, 2)
    exchange = Spoilt("first", dict.fromkeys(lies, wrong))
    pager = Pager(exchange.page, HOUR, "first", 20, nothing_older)
    if empty_first and wrong is not None:  # what is called empty is not asked for any more by who comes later
        assert pager.window(spans[0]) == []
        time = np.arange(other, other + 20) * STEP
        with pytest.raises(TemporarySourceError, match="bars between may be missing"):
            pager._left_open(page_of((time, *(time.astype(float) for _ in range(5))), *spans[1]), Span(*spans[1]))
        return
    pager.window(spans[not empty_first])
    with pytest.raises(TemporarySourceError, match="bars between may be missing"):
        pager.window(spans[empty_first])


@pytest.mark.parametrize("timeframe", ["1w", "1M", "3M"])
def test_windows_of_calendar_bars_meet(timeframe: str) -> None:
    frame = ct.Timeframe(timeframe)
    start, end = frame.ceil(1_577_836_800_000), frame.ceil(1_717_200_000_000)
    parts = list(windows(frame, start, end, lambda: 7))
    assert parts[0][0] == start
    assert parts[-1][1] == end
    assert all(one[1] == other[0] for one, other in itertools.pairwise(parts))
    assert all(len(frame.openings(*part)) <= 7 for part in parts)
