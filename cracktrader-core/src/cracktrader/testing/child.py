"""What the contract runs in a process of its own: an import that is measured, a source that is rebuilt.

``python -m cracktrader.testing.child import MODULE`` prints JSON; ``… fetch`` reads a pickle from its standard input and
writes one to its standard output.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from cracktrader.bars import Bars
    from cracktrader.plugins.source import Source
    from cracktrader.request import BarRequest

__all__ = ["Import", "fetch_elsewhere", "measure_import"]


class Import(NamedTuple):
    """What importing a module took: CPU time in milliseconds, and which modules it brought along."""

    cpu_ms: float
    modules: frozenset[str]


def measure_import(module: str, budget_ms: float) -> Import:
    """What ``module`` costs on top of ``cracktrader.plugins.source``, with byte code compiled; the least of a few tries."""
    return _measure_import(module, budget_ms, tuple(sys.path))


@cache
def _measure_import(module: str, budget_ms: float, path: tuple[str, ...]) -> Import:
    least = None
    for attempt in range(5):  # the first one may have to compile, and the machine may be busy
        told = json.loads(_run(["import", module], path))
        found = Import(told["cpu_ms"], frozenset(told["modules"]))
        least = found if least is None else min(least, found, key=lambda one: one.cpu_ms)
        clear = least.cpu_ms > 3 * budget_ms or least.cpu_ms <= budget_ms
        if (attempt and clear) or least.cpu_ms <= budget_ms / 2:
            break
    assert least is not None
    return least


def fetch_elsewhere(source: Source, request: BarRequest) -> tuple[str, Bars | None]:
    """Rebuild a source from its class and options in another process; its options as text there, and its bars."""
    parcel = pickle.dumps((type(source.plugin), source.config, request))
    answer: tuple[str, Bars | None] = pickle.loads(_run(["fetch"], tuple(sys.path), parcel))  # noqa: S301 - our own child's
    return answer


def _run(arguments: Sequence[str], path: Sequence[str], given: bytes = b"") -> bytes:
    """Run this module elsewhere, with the same import path; raises RuntimeError with what it said where it fails."""
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(folder or str(Path.cwd()) for folder in path)}
    if environ.pop("PYTHONDONTWRITEBYTECODE", ""):  # what users have is compiled
        environ["PYTHONPYCACHEPREFIX"] = _bytecode_folder().name
    command = [sys.executable, "-m", __name__, *arguments]
    done = subprocess.run(command, input=given, capture_output=True, env=environ, check=False)  # noqa: S603
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip())
    return done.stdout


@cache
def _bytecode_folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="cracktrader-bytecode-")  # removed when this process ends


def _import(module: str) -> None:
    import cracktrader.plugins.source

    known = {*sys.modules, cracktrader.plugins.source.__name__}
    started = time.process_time()
    importlib.import_module(module)
    spent = time.process_time() - started
    sys.stdout.write(json.dumps({"cpu_ms": spent * 1000, "modules": sorted(set(sys.modules) - known)}))


def _fetch() -> None:
    from cracktrader.bars import Bars
    from cracktrader.plugins.discovery import Origin
    from cracktrader.plugins.source import Source

    cls, config, request = pickle.load(sys.stdin.buffer)  # noqa: S301 - our own parent's
    said: Any = sys.stdout.buffer
    sys.stdout = sys.stderr  # a source that prints must not spoil the answer
    with Source(cls(config), name=cls.__name__, origin=Origin(entry_point=cls.__qualname__)) as source:
        chunks = list(source.bars(request))
        said.write(pickle.dumps((repr(source.config), Bars.concat(chunks) if chunks else None)))


if __name__ == "__main__":
    if sys.argv[1] == "import":
        _import(sys.argv[2])
    else:
        _fetch()
