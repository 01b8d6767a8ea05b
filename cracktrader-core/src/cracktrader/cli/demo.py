"""``cracktrader demo``: the whole path once, with nothing from outside.

Where the ccxt source is installed, from an exchange on this machine: downloaded into a catalog, checked, repaired, traded.
Otherwise, or with ``--files``, from files with the faults that archives have.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cracktrader.errors import InvalidOption, PluginNotFound
from cracktrader.plugins.registry import default_registry

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(console: Console, out: Path | None, *, days: int, seed: int, files: bool) -> None:
    """Run the path, and leave reports and chart in ``out``."""
    began = time.perf_counter()
    folder = Path(tempfile.mkdtemp(prefix="cracktrader-demo-")) if out is None else out
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidOption(
            f"The folder {str(out)!r} can't be made: {error.strerror}.", hint="Choose another with --out."
        ) from error
    exchange = None
    if not files:
        try:
            exchange = default_registry().load("ccxt")
        except PluginNotFound:
            console.print('From files, since the ccxt source is not installed. pip install "cracktrader-core[ccxt]"')
    if exchange is None:
        from cracktrader.cli.demo_files import show_files

        show_files(console, folder, days=days, seed=seed)
    else:
        from cracktrader.cli.demo_exchange import show_exchange

        show_exchange(console, folder, exchange, days=days, seed=seed)
    console.rule(f"[bold]Done in {time.perf_counter() - began:.1f} s")
    console.print(f"Everything is in {folder}:", soft_wrap=True, highlight=False)
    for path in sorted(folder.iterdir()):
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) if path.is_dir() else path.stat().st_size
        console.print(f"  {path.name + '/' * path.is_dir():<28} {size:>12,} bytes", highlight=False)
    if not (folder / "chart.png").exists():
        console.print('No chart: matplotlib is not installed. pip install "cracktrader-core[plot]"')
