"""What live tests share: nothing may be left running."""

import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cracktrader.live import HUB

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _nothing_is_left_running() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    until = time.monotonic() + 5
    while (left := set(threading.enumerate()) - before) and time.monotonic() < until:
        time.sleep(0.01)
    assert not left
    assert not HUB.running
