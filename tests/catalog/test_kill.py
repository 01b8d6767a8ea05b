"""A writer is killed at every step on files, and at hundreds of random moments: what it leaves behind is always right."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from keptmarket import DAY, END, START, bars_between, load

from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.timeframe import Timeframe

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no SIGKILL and no fork")
HERE = Path(__file__).parent
KEY = SeriesKey("KeptMarket", {}, "BTC/USDT", Timeframe("1h"))


@pytest.fixture
def root(tmp_path):
    """A folder in memory where there is one: what a process wrote outlives it there too, and there is time for more kills."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def kill():
    """Start a writer and kill it; True where it was killed, False where it was through before."""
    command = [sys.executable, str(HERE / "victim.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def order(root, seed, how, number):
            process.stdin.write(f"{root} {seed} {how} {number}\n")
            process.stdin.flush()
            ended = int(process.stdout.readline())
            assert ended in (0, -signal.SIGKILL)
            return ended != 0

        yield order
        process.stdin.close()
        assert process.wait(10) == 0


def check(root):
    """What the ledger says is covered is there, is the source's, and nothing is damaged; how many bars."""
    series = Catalog(root).series(KEY)
    ledger = series.ledger()
    for file in ledger.files:
        series.check(file)
    held = series.read(ledger)
    covered = [bars_between("BTC/USDT", *interval) for interval in ledger.coverage]
    assert held == (covered[0].concat(covered) if covered else held[:0])
    assert ledger.rows == len(held)
    return len(held)


def leftovers(root):
    """Files that no ledger names."""
    series = Catalog(root).series(KEY)
    names = {name for name, _ in series.store.files(series.folder)}
    return names - {file.name for file in series.ledger().files} - {"ledger.json", ".lock"}


def finish(root):
    """The next load completes, and all is as it would be without a catalog."""
    assert load(root, START, END) == bars_between("BTC/USDT", START, END)
    check(root)
    assert not leftovers(root)


def test_killed_before_every_step_on_files(kill, root):
    step, killed = 0, True
    while killed:
        step += 1
        folder = root / str(step)
        killed = kill(folder, 7, "step", step)
        check(folder)
        if step % 10 == 0:
            finish(folder)
        shutil.rmtree(folder, ignore_errors=True)
    assert step > 40


def test_killed_at_random_moments(kill, root):
    chance = random.Random()
    kills = torn = 0
    until = time.monotonic() + 6
    while time.monotonic() < until:
        folder = root / str(kills)
        for _ in range(12):  # one after the other in the same catalog
            kills += kill(folder, chance.randrange(10**6), "ms", chance.uniform(0, 50))
            check(folder)
            torn += bool(leftovers(folder))
        finish(folder)
    assert kills > 20
    assert torn, "no writer was killed while it wrote"


def test_the_lock_of_a_dead_process_does_not_block(tmp_path):
    diary = tmp_path / "diary.txt"
    script = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
from pathlib import Path
from keptmarket import *
load(Path({str(tmp_path / "catalog")!r}), START, START + DAY, diary=Path({str(diary)!r}), pause=60)
"""
    with subprocess.Popen([sys.executable, "-c", script]) as process:
        until = time.monotonic() + 20
        while not diary.exists() and time.monotonic() < until:
            time.sleep(0.01)
        process.kill()
    assert diary.exists()  # it was fetching, which is done under the lock
    began = time.monotonic()
    assert load(tmp_path / "catalog", START, START + DAY) == bars_between("BTC/USDT", START, START + DAY)
    assert time.monotonic() - began < 5
