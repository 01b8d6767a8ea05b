"""The display: a bar on a terminal, lines elsewhere and few of them, nothing unless asked for."""

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr
from pathlib import Path

import pytest

from cracktrader import progress as module
from cracktrader.progress import Progress, display

PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import cracktrader as ct
from slowmarket import SlowMarket
requests = [{{"symbol": f"S{{at}}", "rows": 1000}} for at in range(7)]
ct.load_many(requests, source=SlowMarket, timeframe="1m", seconds=0.1, max_workers=2, PROGRESS)
"""


def run(progress, **options):
    return subprocess.run([sys.executable, "-c", PROGRAM.replace("PROGRESS", progress)], check=True, **options)


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 10, 0, 0, 0.0), "0 of 10 series, 0 rows, 0 rows/s"),
        (Progress(5, 10, 0, 12_000, 60.0), "5 of 10 series, 12,000 rows, 200 rows/s, 0:01:00 left"),
        (Progress(9, 9, 2, 1_000, 0.5), "9 of 9 series, 2 failed, 1,000 rows, 2,000 rows/s, took 0:00:00"),
    ],
)
def test_progress_tells_series_rows_and_time(progress, text):
    assert str(progress) == text


def test_nothing_is_shown_unless_asked_for():
    assert run("", capture_output=True).stderr == b""


def test_lines_go_to_standard_error_and_the_last_one_always():
    done = run("progress=True", capture_output=True, text=True)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith("7 of 7 series, 7,000 rows, ")


def test_there_are_no_more_lines_than_one_in_a_while(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    shown = io.StringIO()
    with redirect_stderr(shown), display(True) as watch:
        for done in range(1001):
            now[0] = done / 10
            watch(Progress(done, 1000, 0, done, now[0]))
    lines = shown.getvalue().splitlines()
    assert 10 <= len(lines) <= 11
    assert lines[0].startswith("100 of 1,000")
    assert lines[-1].startswith("1,000 of 1,000")


@pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are a POSIX matter")
def test_a_terminal_sees_a_bar():
    ours, theirs = os.openpty()
    run("progress=True", stderr=theirs, env=os.environ | {"TERM": "xterm", "COLUMNS": "120"})
    os.close(theirs)
    shown = os.read(ours, 100_000).decode()
    os.close(ours)
    assert "━" in shown
    assert re.search("[1-6] of 7 series", shown)
    assert "7 of 7 series, 7,000 rows" in shown
