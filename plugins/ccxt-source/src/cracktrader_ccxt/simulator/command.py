"""What adds ``cracktrader simulate``: a plugin across sources, which every load imports, so nothing heavy is imported here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cracktrader.plugins import hookimpl

if TYPE_CHECKING:
    import typer

__all__ = ["SimulateCommand"]


class SimulateCommand:
    """Adds the command."""

    api = (1, 0)

    @hookimpl
    def cli_commands(self, app: typer.Typer) -> None:
        from cracktrader_ccxt.simulator.simulate import simulate

        app.command("simulate")(simulate)
