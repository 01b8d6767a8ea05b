"""The line of closed candles of one symbol: a state machine that is told what happens, and says what to do.

It has no clock, no thread and no connection. Whoever drives it calls the ``on_…`` methods with what happened and the
source's time, then takes what :meth:`CandleLine.take` gives: bars to deliver, fetches to make, a stream to restart, a state to
tell. The same events at the same times always give the same answers, so hours of faults can be tested in seconds.

What it rests on is the cursor, the opening of the next bar to go out. The bar there goes out once its values are final: the
stream called it closed, or it was fetched after its end and ``grace``. A later bar waits in any case. So there is no gap and no
duplicate whatever the stream does, and the beginning, where the history ends, is a hole like any other.
"""

from __future__ import annotations

import math
import random
from collections import OrderedDict
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final, TypeAlias

from cracktrader.bars import Flag
from cracktrader.events import OHLCVCandle
from cracktrader.live.settings import Counts, LiveSettings
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat

__all__ = ["CandleLine", "Deliver", "Ended", "Fetch", "Note", "Output", "Restart", "State", "StateChange", "is_sane"]

#: So many bars before the cursor are fetched again with it: whether they were revised is seen by the way.
_OVERLAP: Final = 2
#: A fetch asks for at most so many bars.
_CHUNK: Final = 1_000
#: So many bars wait, or are remembered; what is beyond is fetched when its turn comes.
_KEPT: Final = 2_000
_REMEMBERED: Final = 64
#: A fetched bar with less volume than the stream had shown is old, and is asked for again, so often.
_DISBELIEVED: Final = 5
#: A stream that was opened so many milliseconds ago, and was not refused, counts as open though it has said nothing.
_SETTLED: Final = 1_000
#: Waiting between fetches, in milliseconds.
_SOON: Final = 250
_LATEST: Final = 30_000


class State(Enum):
    """Where a line stands."""

    DELAYED = "delayed"  #: bars that are over have yet to go out
    LIVE = "live"  #: every bar that is over has gone out
    BROKEN = "broken"  #: the stream is down, or bars can't be had
    ENDED = "ended"  #: the end that was asked for has been reached


@dataclass(frozen=True, slots=True)
class Deliver:
    """A closed bar; the next one opens at ``reached`` or later."""

    candle: OHLCVCandle
    reached: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Ask the source for the bars that open in ``[start, end)``, and tell the answer; ``sent`` is when this was said."""

    start: int
    end: int
    sent: int


@dataclass(frozen=True, slots=True)
class Restart:
    """Close the stream and open it again: it seems dead."""

    why: str


@dataclass(frozen=True, slots=True)
class StateChange:
    """The line's state is another one."""

    state: State
    why: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something that somebody should hear of."""

    text: str


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing more will come."""


Output: TypeAlias = "Deliver | Fetch | Restart | StateChange | Note | Ended"


def is_sane(candle: OHLCVCandle) -> bool:
    """Whether a market can make such a candle."""
    prices = (candle.open, candle.high, candle.low, candle.close)
    return (
        all(map(math.isfinite, prices))
        and 0 <= candle.volume < math.inf
        and candle.low <= min(prices)
        and candle.high >= max(prices)
    )


class CandleLine:
    """The closed candles of one symbol and timeframe, in order, none missing, none twice.

    ``cursor`` is the opening of the first bar wanted, ``last`` the bar before it, ``until`` where the line ends. All times are
    epoch milliseconds UTC by the source's clock, and ``now`` never runs backwards. :attr:`wake_at` says when
    :meth:`on_time` wants to be called next, if nothing happens before; :attr:`room`, how many bars may go out, is for the driver
    to set. Without ``fetchable`` no bar can be had but those of the
    stream; what it has not proven whole is flagged SUSPECT.
    """

    def __init__(
        self,
        timeframe: Timeframe,
        settings: LiveSettings,
        *,
        cursor: int,
        now: int,
        last: OHLCVCandle | None = None,
        until: int | None = None,
        fetchable: bool = True,
        fill: bool = True,
        fill_limit: int = 60,
        seed: int = 0,
    ) -> None:
        self.frame = timeframe
        self.cursor = cursor
        self.counts = Counts()
        self.state = State.DELAYED
        self.wake_at: int | None = now
        self.room = 1 << 60
        self.forming: OHLCVCandle | None = None
        self._confirm, self._fetchable = settings.confirm, fetchable
        self._grace, self._silence = int(settings.grace * 1000), int(settings.silence * 1000)
        self._patience = int(settings.patience * 1000)
        self._until, self._fill, self._fill_limit = until, fill, fill_limit
        self._random = random.Random(seed)  # noqa: S311  # to spread requests, not to hide anything
        self._out: list[Output] = []
        self._last = last
        self._run = 0  # intervals without trades since the last bar with some
        self._seen: dict[int, OHLCVCandle] = {}  # what the stream said last of bars that are not final
        self._final: dict[int, OHLCVCandle] = {}
        self._newest = -1  # the latest opening that the stream has shown
        self._forms = False  # the stream shows bars while they form
        self._absent: set[int] = set()
        self._doubted: dict[int, int] = {}
        self._given: OrderedDict[int, OHLCVCandle] = OrderedDict()
        if last is not None and last.timeframe == timeframe and not last.flags & (Flag.REPAIRED | Flag.FILLED):
            self._given[last.time] = last
        # the stream
        self._up: int | None = None  # opened at
        self._there: int | None = None  # heard for the first time since
        self._down: int | None = now
        self._losses = 0  # since it was last heard
        self._ever_up = False
        self._heard = now
        self._probed = now
        self._baseline: dict[int, float] = {}
        self._suspected: int | None = None
        # fetching
        self._pending: Fetch | None = None
        self._retry = now
        self._failures = 0
        self._stuck: int | None = None
        self._stuck_why = ""

    def take(self) -> list[Output]:
        """What is to be done now, in this order."""
        taken, self._out = self._out, []
        return taken

    @property
    def finished(self) -> bool:
        """Whether nothing more will come."""
        return self.state is State.ENDED

    # ── what happens ─────────────────────────────────────────────────────────────────────────────────

    def on_candle(self, candle: OHLCVCandle, now: int, *, forms: bool = True) -> None:
        """The stream shows a candle; it has shown the same one before, while it formed, where ``forms``."""
        self._alive(now)
        time = self.frame.floor(candle.time)
        if time != candle.time or time > now or not is_sane(candle):
            self.counts.rejected += 1
            return
        self._newest = max(self._newest, time)
        if time < self.cursor:
            self._late(candle)
            return
        if candle.closed and self.frame.next(time) <= now:
            self._seen.pop(time, None)
            known = self._final.get(time)
            if known is not None:
                self.counts.late += 1
            if known is not None and candle.volume >= known.volume:
                self._final[time] = candle  # it has not gone out yet: the last word counts
            elif known is None and len(self._final) < _KEPT:
                self._final[time] = candle
        elif time not in self._final:
            self._forms = self._forms or (forms and not candle.closed)
            self._note_forming(candle)
        self._advance(now)

    def on_trade(self, now: int) -> None:
        """The stream shows something that is no candle, but proves that it is alive."""
        self._alive(now)

    def on_fetched(self, fetch: Fetch, candles: list[OHLCVCandle], now: int) -> None:
        """The answer to a :class:`Fetch`: bars in any order, the one that forms may be among them."""
        self._pending, self._failures = None, 0
        rows: dict[int, OHLCVCandle] = {}
        wrong: dict[int, OHLCVCandle] = {}
        for candle in candles:
            kept = rows if candle.time == self.frame.floor(candle.time) and is_sane(candle) else wrong
            kept[candle.time] = candle
        self._refuse(wrong, fetch)
        self._look_for_revisions(rows, fetch)
        before = self.cursor
        self._look_for_silence(rows, fetch, now)  # before what is fetched counts as known
        self._learn(rows, fetch)
        known = before in self._final or before in self._absent
        if not known and now >= self._due(before):
            believed = self._due(before) + self._grace
            if before not in self._seen and fetch.sent < believed:
                self._retry = believed  # nothing yet; then it will be believed that there is nothing
            else:
                self._get_stuck(now, f"The source does not show the bar of {isoformat(before)} yet.")
        self._advance(now)

    def on_fetch_failed(self, fetch: Fetch, why: str, now: int) -> None:  # noqa: ARG002  # the answer to it
        """A :class:`Fetch` found nothing out."""
        self._pending = None
        self.counts.failed_fetches += 1
        if now >= self._due(self.cursor):
            self._get_stuck(now, why)
        self._advance(now)

    def on_unfetchable(self, now: int) -> None:
        """The source can't fetch such bars at all: what the stream says is all there is."""
        self._pending, self._fetchable = None, False
        self._advance(now)

    def on_up(self, now: int) -> None:
        """The stream was opened; whether it works is seen later."""
        self._up = self._heard = now
        self._there = None
        if not self._losses:
            self._down = None
        self._suspected = None
        self._baseline.clear()
        if self._ever_up:
            self.counts.reconnects += 1
        self._ever_up = True
        self._advance(now)

    def on_down(self, why: str, now: int) -> None:
        """The stream has ended, or failed."""
        self._up = self._there = None
        self._losses += 1
        if self._down is None:
            self._down = now
        self._note(f"The stream was lost: {why}")
        self._advance(now)

    def on_failed(self) -> None:
        """Something happened that nothing mends: the line is over."""
        self.state, self.wake_at = State.ENDED, None

    def on_time(self, now: int) -> None:
        """Some time has passed."""
        self._advance(now)

    # ── the stream ───────────────────────────────────────────────────────────────────────────────────

    def _alive(self, now: int) -> None:
        self.counts.messages += 1
        self._heard = now
        if self._there is None:
            self._there = now
        self._losses = 0
        self._down = self._suspected = None

    def _note_forming(self, candle: OHLCVCandle) -> None:
        time = candle.time
        known = self._seen.get(time)
        if known is not None and known.volume > candle.volume:  # an older state, come late
            self.counts.late += 1
            return
        if known is not None or len(self._seen) < _KEPT:
            self._seen[time] = candle
        if self.forming is None or time >= self.forming.time:
            self.forming = candle

    def _late(self, candle: OHLCVCandle) -> None:
        self.counts.late += 1
        given = self._given.get(candle.time)
        if given is not None and candle.closed and not _same(given, candle) and candle.volume >= given.volume:
            self._revised(given, candle)

    def _look_for_silence(self, rows: dict[int, OHLCVCandle], fetch: Fetch, now: int) -> None:
        """Does the fetch show trades that the stream should have shown?"""
        if self._up is None or fetch.sent - self._heard < self._silence:
            return
        for time, row in rows.items():
            if not self._forms and self.frame.next(time) + self._silence > fetch.sent:
                continue  # this stream shows bars when they are over
            shown = max((bars[time].volume for bars in (self._seen, self._final) if time in bars), default=-1.0)
            if shown < 0 and time in self._given and self._newest >= time:
                shown = self._given[time].volume
            known = self._baseline.get(time, 0.0 if shown >= 0 or time >= self._up else math.inf)
            known = max(known, shown)
            if row.volume > known and self._suspected is None:
                self._suspected = now
            self._baseline[time] = row.volume
        for time in [time for time in self._baseline if time < self.cursor - 4 * self.frame.shortest]:
            del self._baseline[time]

    # ── what fetching shows ──────────────────────────────────────────────────────────────────────────

    def _learn(self, rows: dict[int, OHLCVCandle], fetch: Fetch) -> None:
        """Take the bars of a fetch that are final, and see where there are none."""
        latest = max(rows, default=-1)
        time = self.cursor
        while (end := self.frame.next(time)) + self._grace <= fetch.sent and time < fetch.end:
            row, seen = rows.get(time), self._seen.get(time)
            if time in self._final:
                pass
            elif row is not None:
                if seen is not None and row.volume < seen.volume and self._doubted.get(time, 0) < _DISBELIEVED:
                    self._doubted[time] = self._doubted.get(time, 0) + 1  # the source answers with what it knew a while ago
                else:
                    self.counts.confirmed += seen is not None
                    self.counts.healed += seen is None
                    self._final[time] = row if row.closed else replace(row, closed=True)
            elif latest > time or (fetch.sent >= end + 2 * self._grace and (seen is None or not seen.volume)):
                self._absent.add(time)
            time = end

    def _refuse(self, wrong: dict[int, OHLCVCandle], fetch: Fetch) -> None:
        """Say which of the bars that are due can't be true."""
        for time, candle in wrong.items():
            if self.cursor <= time and self._due(time) <= fetch.sent:
                self.counts.rejected += 1
                self._note(f"The source's bar of {isoformat(time)} can't be true, and counts as none: {candle!r}.")

    def _look_for_revisions(self, rows: dict[int, OHLCVCandle], fetch: Fetch) -> None:
        for time, row in rows.items():
            given = self._given.get(time)
            if given is None or self.frame.next(time) + self._grace > fetch.sent or _same(given, row):
                continue
            if row.volume >= given.volume or fetch.sent >= self.frame.next(time) + 2 * self._grace:
                self._revised(given, row)

    def _revised(self, given: OHLCVCandle, row: OHLCVCandle) -> None:
        self.counts.revised += 1
        self._given[given.time] = row
        self._note(
            f"The source has revised the bar of {isoformat(given.time)} after it went out: close {given.close:.10g} is now"
            f" {row.close:.10g}, volume {given.volume:.10g} is now {row.volume:.10g}."
        )

    def _get_stuck(self, now: int, why: str) -> None:
        if self._stuck is None:
            self._stuck = now
        self._stuck_why = why
        wait = min(_SOON * 2**self._failures, _LATEST)
        self._failures = min(self._failures + 1, 16)
        self._retry = now + int(wait * (0.75 + self._random.random() / 2))

    # ── going on ─────────────────────────────────────────────────────────────────────────────────────

    def _due(self, time: int) -> int:
        return self.frame.next(time) + self._grace

    def _advance(self, now: int) -> None:
        """Let everything out that may go out, then see what to ask for and what to tell."""
        if self.finished:
            return
        self.wake_at = None
        while self.room > 0 and self._step(now):
            self._stuck, self._failures, self._retry = None, 0, now
            if self._up is not None:
                self._down = None  # whatever it says, nothing is missing
        if self._until is not None and self.cursor >= self._until:
            self._change(State.ENDED, "The end that was asked for has been reached.")
            self._out.append(Ended())
            self.wake_at = None
            return
        self._watch(now)
        self._judge(now)

    def _step(self, now: int) -> bool:
        """Deal with the bar at the cursor; False where it has to wait."""
        time = self.cursor
        if self._until is not None and time >= self._until:
            return False
        if time in self._final:
            self._deliver(self._final.pop(time))
            return True
        due = self._due(time)
        if time in self._absent:
            self._absent.discard(time)
            self._leave_empty(time)
            return True
        seen = self._seen.get(time)
        whole = not self._confirm and self._there is not None and self._there <= time
        if whole and seen is not None and (now >= due or (self._newest > time and self.frame.next(time) <= now)):
            self._deliver(replace(seen, closed=True))
            return True
        if now < due:
            self._wake(due)
            return False
        if not self._fetchable:
            return self._do_without(time, seen)
        self._ask(now)
        return False

    def _ask(self, now: int) -> None:
        if self._pending is not None:
            return
        if now < self._retry:
            self._wake(self._retry)
            return
        number = self.frame.ordinal(self.cursor)
        start, end = self.frame.opening(number - _OVERLAP), self.frame.opening(number + _CHUNK)
        self._fetch(start, min(end, self.frame.next(now)), now)

    def _fetch(self, start: int, end: int, now: int) -> None:
        self._pending, self._probed = Fetch(start, end, now), now  # whatever it is for, it shows whether the stream lags behind
        self.counts.fetches += 1
        self._out.append(self._pending)

    def _do_without(self, time: int, seen: OHLCVCandle | None) -> bool:
        """The bar can't be fetched: give what the stream showed of it, and say that it may be less than all."""
        whole = self._there is not None and self._there <= time
        if not whole and self._last is None:
            self._move(time)  # the line begins with the first bar that the stream shows all of
        elif seen is not None:
            self.counts.uncertain += 1
            self._deliver(replace(seen, closed=True, flags=seen.flags | Flag.SUSPECT))
        elif whole:
            self._leave_empty(time)
        else:
            self.counts.lost += 1
            self._note(f"Nothing can be learnt of the bar of {isoformat(time)}: the stream was down, and it can't be fetched.")
            self._move(time)
        return True

    def _deliver(self, candle: OHLCVCandle) -> None:
        self._last, self._run = candle, 0
        self._give(candle)

    def _leave_empty(self, time: int) -> None:
        """There were no trades: fill, or skip."""
        self._run += 1
        last = self._last
        if not self._fill or last is None or self._run > self._fill_limit:
            self.counts.skipped += 1
            self._move(time)
            return
        self.counts.filled += 1
        price = last.close
        self._give(OHLCVCandle(last.symbol, self.frame, time, price, price, price, price, 0.0, flags=int(Flag.FILLED)))

    def _give(self, candle: OHLCVCandle) -> None:
        self.counts.bars += 1
        self.room -= 1
        self._given[candle.time] = candle
        if len(self._given) > _REMEMBERED:
            self._given.popitem(last=False)
        self._move(candle.time)
        self._out.append(Deliver(candle, self.cursor))

    def _move(self, time: int) -> None:
        for kept in (self._seen, self._final, self._doubted):
            kept.pop(time, None)
        self._absent.discard(time)
        self.cursor = self.frame.next(time)

    # ── the watchdog and the state ───────────────────────────────────────────────────────────────────

    def _watch(self, now: int) -> None:
        """Probe a stream that is silent, and restart one that is dead."""
        if self._up is None:
            return
        if self._suspected is not None:
            if now < self._suspected + self._grace:
                self._wake(self._suspected + self._grace)
                return
            self._suspected = self._up = self._there = None
            self._down = self._down or now
            self._out.append(Restart("it says nothing while the source goes on"))
            return
        due = max(self._heard, self._probed) + self._silence
        if now < due:
            self._wake(due)
        elif self._fetchable and self._pending is None:
            self.counts.probes += 1
            number = self.frame.ordinal(self.cursor)
            self._fetch(self.frame.opening(number - _OVERLAP), self.frame.next(now), now)
            self._wake(now + self._silence)

    def _judge(self, now: int) -> None:
        """Tell the state where it has changed."""
        patience = self._patience
        if self._up is not None and self._down is not None:  # opened again after a failure: does it hold?
            if now - self._up >= patience:
                self._down = None
            else:
                self._wake(self._up + patience)
        for since, why in ((self._stuck, self._stuck_why), (self._down, "The stream is down.")):
            if since is not None and now - since >= patience:
                self._change(State.BROKEN, why)
                return
            if since is not None:
                self._wake(since + patience)
        if now < self._due(self.cursor):
            settled = self._there is not None or (self._up is not None and now >= self._up + _SETTLED)
            if self._up is not None and not settled:
                self._wake(self._up + _SETTLED)
            if settled and self._up is not None and self._down is None:
                self._change(State.LIVE, "Every bar that is over has gone out.")
        elif self.state is State.BROKEN and self._stuck is None:
            self._change(State.DELAYED, "Bars come again.")

    def _change(self, state: State, why: str) -> None:
        if state is not self.state:
            self.state = state
            self._out.append(StateChange(state, why))

    def _note(self, text: str) -> None:
        self._out.append(Note(text))

    def _wake(self, time: int) -> None:
        self.wake_at = time if self.wake_at is None else min(self.wake_at, time)


def _same(one: OHLCVCandle, other: OHLCVCandle) -> bool:
    return (one.open, one.high, one.low, one.close, one.volume) == (other.open, other.high, other.low, other.close, other.volume)
