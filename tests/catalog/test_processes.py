"""Many threads and two processes on one series: the source is asked once for each hour, and all see the same."""

import random
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from keptmarket import DAY, END, START, asked, bars_between, load

from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.catalog.intervals import merge
from cracktrader.timeframe import Timeframe

HERE = Path(__file__).parent

#: Loads random ranges with some threads at once, and checks each.
WORKER = """
import random, sys, warnings
sys.path.insert(0, {here!r})
warnings.simplefilter("error")
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from keptmarket import *

def task(seed):
    chance = random.Random(seed)
    for _ in range({loads}):
        start = START + chance.randrange(120 * 24) * HOUR
        end = start + chance.randrange(1, 30 * 24) * HOUR
        got = load(Path({root!r}), start, end, diary=Path({diary!r}), pause=0.01)
        assert got == bars_between("BTC/USDT", start, end), (start, end)

load(Path({root!r}), START, START + DAY, symbol="warm")  # everything is imported
print("ready", flush=True)
sys.stdin.readline()
with ThreadPoolExecutor(6) as pool:
    list(pool.map(task, range({first}, {first} + 6)))
"""


def once(diary):
    """No hour was asked for twice; what was, in all."""
    intervals = [(start, end) for _, start, end, _ in asked(diary)]
    joined = merge(intervals)
    assert sum(end - start for start, end in intervals) == sum(end - start for start, end in joined)
    return joined


def start_workers(tmp_path, count, loads):
    scripts = [
        WORKER.format(
            here=str(HERE), root=str(tmp_path / "catalog"), diary=str(tmp_path / "diary.txt"), first=10 * at, loads=loads
        )
        for at in range(count)
    ]
    return [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for script in scripts
    ]


def test_two_processes_of_many_threads_ask_for_each_hour_once(tmp_path):
    workers = start_workers(tmp_path, 2, loads=8)
    assert [worker.stdout.readline() for worker in workers] == [b"ready\n"] * 2
    for worker in workers:
        worker.stdin.write(b"go\n")
        worker.stdin.flush()  # both run now
    results = [worker.communicate(timeout=50) for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], results
    assert once(tmp_path / "diary.txt")


def test_of_many_threads_that_want_the_same_one_fetches(tmp_path):
    diary = tmp_path / "diary.txt"
    together = threading.Barrier(16)

    def task(_):
        together.wait()
        return load(tmp_path / "catalog", START, START + 90 * DAY, diary=diary, pause=0.2)

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(task, range(16)))
    assert len(asked(diary)) == 1
    assert all(answer == bars_between("BTC/USDT", START, START + 90 * DAY) for answer in answers)


def test_different_series_do_not_wait_for_each_other(tmp_path):
    def task(number):
        return load(tmp_path / "catalog", START, START + DAY, symbol=f"S{number}", pause=0.3)

    began = time.monotonic()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(task, range(8)))
    assert time.monotonic() - began < 8 * 0.3


def test_readers_see_whole_months_while_they_are_rewritten(tmp_path):
    root, diary = tmp_path / "catalog", tmp_path / "diary.txt"
    first = START + 40 * DAY
    load(root, START, first)
    done = threading.Event()

    def rewrite():
        try:
            for day in range(40, 120):  # each of these writes a month's file anew
                load(root, START + day * DAY, START + (day + 1) * DAY)
        finally:
            done.set()

    def read(seed):
        chance, reads = random.Random(seed), 0
        while not done.is_set():
            start = START + chance.randrange(30) * DAY
            got = load(root, start, first, diary=diary)
            assert got == bars_between("BTC/USDT", start, first)
            reads += 1
        return reads

    with ThreadPoolExecutor(4) as pool:
        writer = pool.submit(rewrite)
        readers = [pool.submit(read, seed) for seed in range(3)]
        writer.result()
        assert all(reader.result() for reader in readers)
    assert not asked(diary)


def test_a_reader_whose_file_was_replaced_looks_again_without_waiting_for_the_writer(tmp_path, monkeypatch):
    catalog = Catalog(tmp_path / "catalog")
    series = catalog.series(SeriesKey("KeptMarket", {}, "BTC/USDT", Timeframe("1h")))
    load(catalog, START, START + 10 * DAY)
    old = series.ledger()
    load(catalog, START + 10 * DAY, START + 20 * DAY)  # January's file is another now
    ledgers = iter([old])  # as read before that
    now = type(series).ledger
    monkeypatch.setattr(type(series), "ledger", lambda self: next(ledgers, None) or now(self))
    got = []
    reader = threading.Thread(target=lambda: got.append(load(catalog, START, START + 9 * DAY)), daemon=True)
    with series.lock():  # a writer, busy with something else
        reader.start()
        reader.join(10)
        assert got == [bars_between("BTC/USDT", START, START + 9 * DAY)]


def test_a_reader_of_what_is_held_does_not_wait_for_a_fetch(tmp_path):
    root, diary = tmp_path / "catalog", tmp_path / "diary.txt"
    load(root, START, START + DAY)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(load, root, START, END, pause=2.0, diary=diary)
        while not asked(diary):
            assert not slow.done()
            time.sleep(0.005)
        began = time.monotonic()
        load(root, START, START + DAY)
        assert time.monotonic() - began < 1
        slow.result()


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whoever_fails_gives_the_lock_back(tmp_path, error):
    def stop(rows):
        raise error("enough")

    with pytest.raises(error):
        load(tmp_path, START, START + DAY, progress=stop)
    assert load(tmp_path, START, START + DAY) == bars_between("BTC/USDT", START, START + DAY)
