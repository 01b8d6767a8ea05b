"""What the tests of the http source share: a server, and loading from it as it is."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import cracktrader as ct

sys.path.insert(0, str(Path(__file__).parent))  # for httpmarket.py

from httpmarket import Server


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _own_queues(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test waits in the queues of whoever runs it, and no proxy is between it and its server."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def load() -> Callable[..., ct.Bars]:
    """``ct.load("http", …)`` without checks, catalog or long waits."""

    def loaded(url: str | None = None, **options: Any) -> ct.Bars:
        usual: dict[str, Any] = {"symbol": "BTC/USDT", "timeframe": "1h", "validation": "off", "catalog": False, "backoff": 0.01}
        return ct.load("http", **({} if url is None else {"url": url}), **(usual | options))

    return loaded
