"""Ctrl-C in a real process: it stops at the next chunk, leaves no thread, and KeyboardInterrupt reaches the caller."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """
import sys, threading, time
sys.path.insert(0, {here!r})
import cracktrader as ct
from slowmarket import SlowMarket
{imports}

if __name__ == "__main__":
    print("go", flush=True)
    try:
        {load}
    except KeyboardInterrupt:
        print("interrupted", *sorted(thread.name for thread in threading.enumerate()), flush=True)
"""


def loading(diary, more):
    """A call that would load for hours."""
    return (
        'ct.load_many([{"symbol": f"S{at}"} for at in range(100)], source=SlowMarket, timeframe="1m", seconds=0.05,'
        f" chunks=10_000, diary={str(diary)!r}, {more})"
    )


def start(tmp_path, load, imports=""):
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.format(here=str(Path(__file__).parent), load=load, imports=imports))
    return subprocess.Popen(
        [sys.executable, program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="signals to another process are a POSIX matter")
@pytest.mark.parametrize("progress", [True, False])
def test_ctrl_c_ends_threads_at_their_next_chunk(tmp_path, diary, progress):
    running = start(tmp_path, loading(diary, f"progress={progress}"))
    wait_for(lambda: diary.exists() and diary.read_text().count("chunk") > 20)
    running.send_signal(signal.SIGINT)
    said, complained = running.communicate(timeout=20)
    assert said.split() == ["go", "interrupted", "MainThread"], complained
    assert running.returncode == 0
    assert "Traceback" not in complained
    lines = diary.read_text()
    assert lines.count("begin") == lines.count("end") <= 16


@pytest.mark.skipif(os.name == "nt", reason="signals to another process are a POSIX matter")
def test_ctrl_c_on_a_terminal_reaches_a_pool_of_processes_too(tmp_path, diary):
    load = "with ProcessPoolExecutor(2) as pool: " + loading(diary, "executor=pool")
    running = start(tmp_path, load, "from concurrent.futures import ProcessPoolExecutor")
    wait_for(lambda: diary.exists() and diary.read_text().count("chunk") > 5)
    os.killpg(running.pid, signal.SIGINT)  # what a terminal does: all processes of the group hear it
    said, _ = running.communicate(timeout=20)
    assert "interrupted MainThread" in said
