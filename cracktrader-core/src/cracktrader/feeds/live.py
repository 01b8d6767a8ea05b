"""LiveFeed: history in bulk, then each bar as it closes."""

from __future__ import annotations

import datetime as dt
import time
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import backtrader as bt
import numpy as np

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import CracktraderError, InvalidOption, UnsupportedMode
from cracktrader.events import OHLCVCandle
from cracktrader.feeds.base import Feed
from cracktrader.feeds.stamps import stamped, to_backtrader_dates
from cracktrader.live.following import Failed, LiveLine, Said
from cracktrader.live.line import Deliver, Ended, State
from cracktrader.live.longer import Longer
from cracktrader.live.settings import LiveSettings
from cracktrader.plugins.source import Source
from cracktrader.store.live_store import LiveStore, is_resampled
from cracktrader.timeframe import Timeframe

if TYPE_CHECKING:
    from cracktrader.store.streaming_feed import StreamingFeed

__all__ = ["LiveFeed"]

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001  # backtrader's times have no zone and are UTC


class LiveFeed(Feed):
    """A feed that goes on: ``dataname`` is its history, ``source`` what it follows; ``ct.feed(…, live=True)`` makes one.

    Bars go out once they have closed, in order, none missing and none twice; :mod:`cracktrader.live.line` says how. Extra
    columns of the history are NaN in bars that came live. ``qcheck`` is how long backtrader sleeps at most between two looks at
    its other duties, in seconds; a bar wakes it at once.

    ``notify_data`` hears DELAYED, LIVE, CONNBROKEN, DISCONNECTED and NOTSUBSCRIBED, ``notify_store`` why. Where the line can't go
    on, what the source raised comes out of ``cerebro.run()``.
    """

    params = (
        ("source", None),
        ("settings", LiveSettings()),
        ("until", None),
        ("parts", None),
        ("fill", True),
        ("fill_limit", 60),
        ("owns_source", False),
        ("catalog", None),
        ("qcheck", 0.5),
    )

    _line: LiveLine | None = None

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if not isinstance(self.p.source, Source) or not isinstance(self.p.dataname, Bars):
            raise InvalidOption("A live feed needs a source and Bars to begin with.", hint="Make it with ct.feed(…, live=True).")
        self._frame = Timeframe(self.p.parts or self._target)
        self._own_streaming: StreamingFeed | None = None
        self._over = self._waits = False
        self._failure: Exception | None = None
        self._ready: deque[OHLCVCandle] = deque()
        self._held: float | None = None
        if self.p.owns_source:
            weakref.finalize(self, self.p.source.close)

    # ── what users look at ───────────────────────────────────────────────────────────────────────────

    @property
    def bars(self) -> Bars:
        """The history that this feed begins with; may be empty."""
        history: Bars = self.p.dataname
        return history

    @property
    def stats(self) -> dict[str, Any]:
        """What happened to the live line so far; see :attr:`cracktrader.live.LiveLine.stats`."""
        return self._line.stats if self._line is not None else {}

    @property
    def forming(self) -> OHLCVCandle | None:
        """The candle that forms now, as it was shown last; it will change."""
        return self._line.forming if self._line is not None else None

    @property
    def streaming(self) -> StreamingFeed:
        """Trades, tickers and order books of the same source."""
        from cracktrader.store.streaming_feed import StreamingFeed

        if self._own_streaming is None:
            self._own_streaming = StreamingFeed(self.p.source, record=self.p.settings.record)
        return self._own_streaming

    _streaming = streaming

    # ── as backtrader runs it ────────────────────────────────────────────────────────────────────────

    def islive(self) -> bool:
        return True

    def setenvironment(self, env: Any) -> None:
        super().setenvironment(env)
        self._store = LiveStore.of(env)
        self._store.feeds.append(self)

    def clone(self, **kwargs: Any) -> Any:
        return LiveClone(dataname=self, **kwargs)

    def start(self) -> None:
        super().start()
        if self._env._dooptimize:
            raise UnsupportedMode(
                "An optimisation runs over the same bars many times; a live feed has each of them once.",
                hint="Optimise on history: leave live=True out.",
            )
        bars, p = self.bars, self.p
        self._longer = Longer(self._frame, self._target) if self._frame != self._target else None
        self._line = LiveLine(
            p.source, self.symbol, self._frame, p.settings,
            begin=self._target.next(int(bars.time[-1])) if len(bars) else None, grid=self._target,
            last=bars[-1] if len(bars) else None, until=p.until,
            fill=p.fill, fill_limit=p.fill_limit, bell=self._store.bell, catalog=p.catalog,
        )  # fmt: skip
        self._failure, self._held, self._over = None, None, False
        self._ready.clear()
        self._hold_back()
        self._qcheck = self.p.qcheck
        self.put_notification(self.DELAYED)
        self._line.start()

    def _hold_back(self) -> None:
        """Let the last bars of the history wait for other feeds, whose history was loaded earlier and ends before."""
        ends = [feed._target.next(int(feed.bars.time[-1])) for feed in self._store.feeds if len(feed.bars)]
        if len(self.bars):
            free = int(np.searchsorted(self._target.next(self.bars.time), min(ends), side="right"))
            self._dates = self._dates[:free]
            self._ready.extend(self.bars[free:])

    def _start(self) -> None:
        super()._start()
        if self._env._exactbars < 1 and self._may_fill_at_once():
            self._fill()
            self.home()

    def _loads_by_itself(self) -> bool:
        return type(self)._load is not LiveFeed._load

    def stop(self) -> None:
        """Nothing is left running after this."""
        if self._line is not None:
            self._line.stop()
        if self._own_streaming is not None:
            self._own_streaming.close()
            self._own_streaming = None
        if self.p.owns_source:
            self.p.source.close()
        super().stop()

    # ── bars ─────────────────────────────────────────────────────────────────────────────────────────

    def _load(self) -> bool | None:  # type: ignore[override]  # None: not yet
        """The next bar; None where none has closed yet, after waiting for up to ``qcheck``; False once there are no more."""
        if self._next_row < len(self._dates):
            return super()._load()
        waits, self._waits = self._waits or self._env.p.oldsync, False  # the old way says nothing about waiting
        until = time.monotonic() + (self._qcheck if waits else 0.0)
        while True:
            heard = self._store.bell.rings
            if self._take() and self._may_go():
                self._write(self._ready.popleft())
                self._held = None
                self._store.delivered_in = self._store.round
                return True
            if self._over and not self._ready:
                return False
            left = until - time.monotonic()
            if left <= 0 or self._store.delivered_in == self._store.round or self.notifs or self._store.has_news:
                return None
            self._store.bell.wait(heard, min(left, self._hold_left() or left))  # once it has waited enough, only others wake it

    def _take(self) -> bool:
        """Look at what has come until it is a bar; False where there is none. States are told on the way."""
        if self._failure is not None and not self.notifs:
            raise self._failure
        line = self._line
        assert line is not None  # noqa: S101  # for type checkers: started
        while not self._ready:
            frontier = line.frontier  # first this: bars are put before it is moved
            item = line.take()
            if isinstance(item, Deliver):
                self._ready.extend([item.candle] if self._longer is None else self._longer.add(item.candle, item.reached))
            elif isinstance(item, Said):
                self._tell(item)
            elif item is not None:
                self._end(item)
                return False
            else:
                self._ready.extend(self._longer.over(frontier) if self._longer is not None else ())
                break
        return bool(self._ready)

    def _end(self, item: Failed | Ended) -> None:
        if isinstance(item, Failed):
            self._fail(item)
        else:
            self._over = True

    def _tell(self, said: Said) -> None:
        status = {
            State.LIVE: self.LIVE,
            State.DELAYED: self.DELAYED,
            State.BROKEN: self.CONNBROKEN,
            State.ENDED: self.DISCONNECTED,
        }
        if said.state is not None:
            self.put_notification(status[said.state])
        self._store.put_notification(f"{self._name}: {said.text}", feed=self._name)

    def _fail(self, failed: Failed) -> None:
        self._failure = failed.error
        self.put_notification(self.NOTSUBSCRIBED if failed.refused else self.DISCONNECTED)
        text = failed.error.message if isinstance(failed.error, CracktraderError) else str(failed.error)
        self._store.put_notification(f"{self._name}: {text}", feed=self._name, error=failed.error)

    def _write(self, candle: OHLCVCandle) -> None:
        lines = self.lines
        for name in (*PRICES, "volume"):
            getattr(lines, name)[0] = float(getattr(candle, name))
        moment = stamped(np.array([candle.time], np.int64), candle.timeframe, self.p.stamp)
        lines.datetime[0] = float(to_backtrader_dates(moment)[0])

    # ── together with other feeds ────────────────────────────────────────────────────────────────────

    def haslivedata(self) -> bool:
        return self.is_ready()

    def is_ready(self) -> bool:
        """Whether backtrader would get something now."""
        if self._failure is not None:
            return True
        if _is_led(self):
            return False  # it has, once others have
        if len(self) < self.buflen() or self._next_row < len(self._dates):
            return True
        if self._ready:
            return self._may_go()
        return self._line is not None and bool(self._line.items)

    def do_qcheck(self, onoff: bool, qlapse: float) -> None:
        # backtrader doesn't wait while some feeds are live and others aren't, and then runs in circles at full speed.
        super().do_qcheck(onoff or not any(map(self._is_busy, self._env.datas)), qlapse)
        self._waits = True

    def _is_busy(self, data: Any) -> bool:
        """Whether a feed may have a bar now, as far as can be told: other people's may, if they had one in the last round."""
        ours = isinstance(data, (Feed, LiveClone))
        return bool(data.haslivedata() or (not ours and self._store.moved(data)))

    @property
    def is_over(self) -> bool:
        """Whether every bar has been given to backtrader, and no more will come."""
        return self._over and not self._ready and len(self) >= self.buflen()

    def next(self, datamaster: Any = None, ticks: bool = True) -> Any:
        if datamaster is None and _must_wait(self, self._store):
            if not self._ready and self._next_row >= len(self._dates):
                self._take()  # what is to be told need not wait
            return _others(self)
        return super().next(datamaster=datamaster, ticks=ticks)

    def _may_go(self) -> bool:
        """Whether every other live feed has come as far as the bar that is next here, or won't for a while."""
        end = self._ready[0].end
        behind = [feed for feed in self._store.feeds if feed is not self and not feed.has_reached(end)]
        if not behind:
            return True
        if self._held is None:
            self._held = time.monotonic()
        if any(feed.catches_up for feed in behind):
            return False
        return self._hold_left() <= 0

    def _hold_left(self) -> float:
        """How many seconds a bar that waits for others waits at most."""
        if self._held is None:
            return float(self.p.qcheck or 0.5)
        return max(0.0, self._held + float(self.p.settings.align) - time.monotonic())

    def has_reached(self, end: int) -> bool:
        """Whether no bar that ends until then can come any more, or it is here already, or nothing comes at present."""
        line = self._line
        if line is None or self._failure is not None or self._over or line.state is State.BROKEN:
            return True
        frontier = line.frontier  # first this, then the others: they are put before it is moved
        here = len(self) < self.buflen() or self._next_row < len(self._dates) or self._ready or line.bars_waiting
        return bool(here) or self._target.next(max(frontier, line.reached)) > end

    @property
    def catches_up(self) -> bool:
        """Whether bars that are over have yet to come here."""
        return self._line is not None and self._line.state is State.DELAYED

    # ── resampling ───────────────────────────────────────────────────────────────────────────────────

    def _known_until(self) -> dt.datetime:
        """Every bar that ends until then has been given to backtrader; UTC."""
        line = self._line
        if line is None or len(self) < self.buflen() or self._next_row < len(self._dates):
            return bt.num2date(self.lines.datetime[0]) if len(self) else _EPOCH
        frontier = line.frontier
        known_ms = line.reached if line.bars_waiting or self._ready else max(frontier, line.reached)
        return _EPOCH + dt.timedelta(milliseconds=known_ms)

    def _timeoffset(self) -> dt.timedelta:
        """From the machine's clock to a little after what is known: resamplers take it for now, and close no bar too early."""
        little = dt.timedelta(milliseconds=min(self._frame.shortest // 2, 1_000))
        return self._known_until() + little - dt.datetime.now(dt.UTC).replace(tzinfo=None)

    def _check(self, forcedata: Any = None) -> None:
        if _may_check(self, forcedata, self._known_until):
            super()._check(forcedata=forcedata)


class LiveClone(bt.feed.DataClone):  # type: ignore[misc]
    """The same live feed once more, for a resampler of its own."""

    def next(self, datamaster: Any = None, ticks: bool = True) -> Any:
        if datamaster is None and _must_wait(self, self.data._store):
            return _others(self)
        return super().next(datamaster=datamaster, ticks=ticks)

    def _check(self, forcedata: Any = None) -> None:
        if _may_check(self, forcedata, self.data._known_until):
            super()._check(forcedata=forcedata)

    def _timeoffset(self) -> dt.timedelta:
        offset: dt.timedelta = self.data._timeoffset()
        return offset

    def haslivedata(self) -> bool:
        return bool(len(self) < self.buflen() and not _is_led(self))


# A live feed that is resampled beside others that aren't is led by them: its bars come with theirs, as in a backtest. backtrader
# looks for the time of a step among the others alone, and fails where none of them has a bar.


def _is_led(data: Any) -> bool:
    return is_resampled(data) and not all(map(is_resampled, data._env.datas))


def _must_wait(data: Any, store: LiveStore) -> bool:
    return _is_led(data) and not store.has_stepped()


def _others(data: Any) -> bool | None:
    """What a feed that waits for others answers: not yet, or never again."""
    return False if all(_is_over(other) for other in data._env.datas if not is_resampled(other)) else None


def _may_check(data: Any, forcedata: Any, known_until: Callable[[], dt.datetime]) -> bool:
    """Whether a resampler may look at the clock: not at one that is ahead of the bars that are known.

    Those of days and longer never: they deliver nothing then, but forget where the day ends, and join it to the next one.
    """
    if data._timeframe >= bt.TimeFrame.Days:
        return False
    if forcedata is None:
        return not _is_led(data)
    return bool(forcedata.datetime[0] <= bt.date2num(known_until()))


def _is_over(data: Any) -> bool:
    """Whether nothing more comes, as far as can be told; of other people's feeds it can't."""
    if isinstance(data, LiveFeed):
        return data.is_over
    if isinstance(data, bt.feed.DataClone):
        return _is_over(data.data)
    return isinstance(data, Feed) and not data.haslivedata()
