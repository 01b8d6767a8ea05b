"""The budget of a host, by itself: turns, stops, other processes, clocks that jump, homes that can't be written to."""

from __future__ import annotations

import itertools
import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cracktrader.plugins.hosts import HostBudget, retry_after


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of one's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "cracktrader" / "hosts"


def another(host: str) -> HostBudget:
    """The budget as another process has it."""
    return HostBudget(host)


def test_turns_are_spaced_whoever_takes_them() -> None:
    def take(one: HostBudget) -> list[float]:
        return [wait + time.time() for wait in (one.turn(0.1) for _ in range(10))]

    with ThreadPoolExecutor(4) as pool:
        at = sorted(turn for turns in pool.map(take, [another("a.example") for _ in range(4)]) for turn in turns)
    assert len(at) == 40
    assert at[-1] - at[0] >= 3.9
    assert all(later - earlier > 0.08 for earlier, later in itertools.pairwise(at))


def test_hosts_don_t_wait_for_each_other() -> None:
    assert [another(host).turn(60) for host in ("a.example", "b.example")] == [0, 0]


def test_a_stop_counts_for_all_and_the_longest_wins() -> None:
    one, other = another("a.example"), another("a.example")
    assert other.stopped() == 0
    one.stop(100)
    other.stop(10)
    for _ in range(2):
        assert 98 < other.stopped() <= 100
        assert 98 < (third := another("a.example")).stopped() <= 100
        assert 98 < third.stopped() <= 100
    assert 98 < another("a.example").turn(0.1) <= 100


def test_a_ban_of_three_days_is_kept_and_one_of_a_century_is_not() -> None:
    one = another("a.example")
    one.stop(3 * 86_400)
    assert one.stopped() > 2.9 * 86_400
    one.stop(1e9)
    assert one.stopped() <= 4 * 86_400


def test_a_clock_that_was_put_back_leaves_turns_and_stops_as_far_away_as_they_were(cache: Path) -> None:
    another("a.example").turn(0.1)
    (path,) = cache.glob("*.json")
    ahead = time.time() + 7200
    path.write_text(json.dumps([ahead + 3, ahead - 1, ahead]))
    assert 2 < another("a.example").turn(0.1) <= 3
    path.write_text(json.dumps([ahead, ahead + 50, ahead]))
    assert 49 < another("a.example").stopped() <= 50


def test_a_slow_exchange_is_asked_slowly() -> None:
    one = another("a.example")
    assert one.turn(1200) == 0
    assert one.turn(1200) > 1199


@pytest.mark.parametrize("text", ["", "nonsense", "[1]", '{"a": 1}', "[null, null]"])
def test_a_damaged_file_is_written_anew(text: str, cache: Path) -> None:
    one = another("a.example")
    one.turn(0.1)
    (path,) = cache.glob("*.json")
    path.write_text(text)
    assert another("a.example").turn(5) == 0
    assert another("a.example").turn(5) > 4


def test_without_a_place_to_write_a_process_keeps_its_own_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    one = another("a.example")
    assert one.turn(5) == 0
    assert one.turn(5) > 4
    one.stop(50)
    assert one.stopped() > 49


def test_retry_after_is_seconds_or_a_date() -> None:
    texts = ["7", "0.5", None, "soon", "inf"]
    assert [retry_after(text) for text in texts] == [7, 0.5, None, None, None]
    assert 0 <= (retry_after("Fri, 31 Dec 1999 23:59:59 GMT") or 0) < 1
