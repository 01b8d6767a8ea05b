"""The command line."""

__all__ = ["main"]


def main() -> None:
    """Run the command line on the arguments of the process."""
    from cracktrader.cli.app import app

    app(prog_name="cracktrader")
