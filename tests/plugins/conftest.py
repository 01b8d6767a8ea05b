"""Distributions as pip leaves them: a folder on ``sys.path`` with modules and ``*.dist-info``."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import cracktrader as ct

SOURCES, PLUGINS = "cracktrader.sources", "cracktrader.plugins"

#: A source that works; hostile ones are made of it by replacing a piece.
GOOD = """
    import cracktrader as ct

    class Source(ct.DataSource):
        api = (1, 0)

        @ct.hookimpl
        def fetch_bars(self, request):
            minutes = [request.timeframe.step * number for number in range(28_400_000, 28_400_010)]
            prices = [float(number) for number in range(1, 11)]
            yield ct.Bars(minutes, prices, prices, prices, prices, prices, symbol=request.symbol, timeframe="1m")
"""


class Site:
    """A folder that distributions are installed into."""

    good = GOOD

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(exist_ok=True)

    def module(self, name: str, code: str) -> None:
        (self.path / f"{name}.py").write_text(textwrap.dedent(code), "utf-8")
        importlib.invalidate_caches()

    def package(self, name: str, code: str) -> None:
        """A module within packages: ``a.b.c``."""
        folder = self.path.joinpath(*name.split(".")[:-1])
        folder.mkdir(parents=True)
        self.module(name.replace(".", "/"), code)

    def dist(self, name: str, entries: str = "", *, version: str = "1.0", metadata: str | bytes | None = None) -> Path:
        """Metadata of a distribution; ``entries`` is the text of its ``entry_points.txt``."""
        info = self.path / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        about = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" if metadata is None else metadata
        (info / "METADATA").write_bytes(about if isinstance(about, bytes) else about.encode())
        (info / "RECORD").write_text("")
        if entries:
            (info / "entry_points.txt").write_text(entries, "utf-8")
        importlib.invalidate_caches()
        return info

    def source(
        self, name: str, code: str = GOOD, *, dist: str | None = None, value: str | None = None, version: str = "1.0"
    ) -> str:
        """A distribution ``NAME-dist`` with one source NAME in a module ``NAME_module``; its name."""
        self.module(f"{name}_module", code)
        self.dist(dist or f"{name}-dist", f"[{SOURCES}]\n{name} = {value or f'{name}_module:Source'}\n", version=version)
        return name

    def plugin(self, name: str, code: str, *, value: str | None = None) -> str:
        """A distribution ``NAME-dist`` with one plugin across sources, the class Plugin; its full name."""
        self.module(f"{name}_module", code)
        self.dist(f"{name}-dist", f"[{PLUGINS}]\n{name} = {value or f'{name}_module:Plugin'}\n")
        return f"{name}-dist:{name}"

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of a process that has this folder on its path."""
        paths = os.pathsep.join([str(self.path), *(path for path in sys.path if path)])
        return {**os.environ, "PYTHONPATH": paths, "PYTHONUTF8": "1", **more}

    def run(self, code: str, **environ: str) -> str:
        """What a new process prints that has this folder on its path."""
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code)]
        done = subprocess.run(command, check=False, capture_output=True, timeout=120, env=self.environ(**environ))
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode()


def _made_site(path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    made = Site(path)
    monkeypatch.syspath_prepend(str(made.path))
    return made


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder at the head of ``sys.path``; its modules are forgotten afterwards."""
    yield _made_site(tmp_path / "site", monkeypatch)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def second_site(site, tmp_path, monkeypatch):
    """Another folder, before the first on ``sys.path``."""
    return _made_site(tmp_path / "second", monkeypatch)


@pytest.fixture
def registry(site) -> ct.Registry:
    """What is installed, whatever the variables of this environment say."""
    return ct.Registry(environ={})


@pytest.fixture
def request_() -> ct.BarRequest:
    return ct.BarRequest("BTC/USDT", "1m")


@pytest.fixture
def fetch(registry, request_):
    """The bars of a source by name."""

    def fetch(name: str, **options) -> ct.Bars:
        return ct.load(name, symbol="BTC/USDT", timeframe="1m", registry=registry, **options)

    return fetch
