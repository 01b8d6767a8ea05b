"""Whose clock counts: the source's, wherever this machine's may be; and what a source keeps no more is not called known."""

from typing import ClassVar

import numpy as np
import pytest

import cracktrader as ct
from cracktrader.errors import NotSupported, TemporarySourceError, UnsupportedTimeframe
from cracktrader.times import isoformat, parse_time

STEP = 300_000


def bars_between(start: int, end: int) -> ct.Bars:
    time = np.arange(start, end, STEP)
    value = 100 + time // STEP % 7.0
    return ct.Bars(time, value, value + 1, value - 1, value, value, symbol="BTC/USDT", timeframe="5m")


class Elsewhere(ct.DataSource):
    """A market of its own time, which has bars of five minutes, of the last ``days`` days."""

    api = (1, 0)
    now: ClassVar[int]
    days: ClassVar[int] = 30
    down: ClassVar[bool] = False
    asked: ClassVar[list[ct.BarRequest]]

    @ct.hookimpl
    def fetch_bars(self, request):
        if request.timeframe != "5m":
            raise UnsupportedTimeframe("There are bars of 5m only.")
        self.asked.append(request)
        kept = self.now // STEP * STEP - self.days * 86_400_000
        if request.start is not None and request.start < kept:
            raise NotSupported("That is kept no more.")
        end = min(self.now if request.end is None else request.end, self.now)
        start = max(kept, request.start or 0)
        if request.limit is not None and request.start is None:
            start = max(start, end // STEP * STEP - request.limit * STEP)
        yield bars_between(start, max(start, end)).but(provenance={"kept_from": isoformat(kept)} if start == kept else {})

    @ct.hookimpl
    def list_timeframes(self):
        return ["5m"]

    @ct.hookimpl
    def server_time(self):
        if self.down:
            raise TemporarySourceError("down")
        return self.now


@pytest.fixture(params=["2024-01-01T12:07", "2100-01-01T12:07"], ids=["behind", "ahead"])
def there(request) -> int:
    """The source's time, years from this machine's."""
    Elsewhere.now, Elsewhere.asked, Elsewhere.down = parse_time(request.param), [], False
    return Elsewhere.now


def load(tmp_path, timeframe="5m", **options):
    return ct.load(Elsewhere, symbol="BTC/USDT", timeframe=timeframe, catalog=tmp_path, validation="off", **options)


def ago(there: int, minutes: int) -> int:
    return there // STEP * STEP - minutes * 60_000


@pytest.mark.parametrize("ends", ["", "end", "later"])
def test_every_bar_that_is_over_there_comes_whatever_the_clock_here(tmp_path, there, ends):
    end = {} if not ends else {"end": isoformat(ago(there, 0 if ends == "end" else -600))}
    for _ in range(2):
        got = load(tmp_path, start=isoformat(ago(there, 120)), **end)
        assert got == bars_between(ago(there, 120), ago(there, 0))


def test_a_longer_bar_is_over_when_it_is_over_there(tmp_path, there):
    for _ in range(2):
        got = load(tmp_path, "10m", start=isoformat(ago(there, 125)))
        assert isoformat(got.time[-1]).endswith("11:50:00Z")
        assert len(got) == 12
        assert not got.flags.any()


def test_what_is_held_is_answered_while_the_source_is_down(tmp_path, there):
    start, end = isoformat(ago(there, 3000)), isoformat(ago(there, 2000))
    wanted = load(tmp_path, start=start, end=end)
    Elsewhere.down = True
    if ago(there, 0) < parse_time("2050"):  # what lies ahead of this clock can't be told to be over
        assert load(tmp_path, start=start, end=end) == wanted


@pytest.mark.parametrize("asked", [{}, {"limit": 100_000}])
def test_what_lies_before_all_that_a_source_keeps_is_not_known(tmp_path, there, asked):
    kept = ago(there, 30 * 1440)
    assert load(tmp_path, **asked) == bars_between(kept, ago(there, 0))
    assert load(tmp_path, **asked) == bars_between(kept, ago(there, 0))
    with pytest.raises(NotSupported):
        load(tmp_path, start=isoformat(kept - 86_400_000))
    Elsewhere.asked.clear()
    got = load(tmp_path, start=isoformat(kept), end=isoformat(kept + 86_400_000))
    assert got == bars_between(kept, kept + 86_400_000)
    assert not Elsewhere.asked
