"""The commands: ``cracktrader --help``.

Nothing heavy is imported at the top: help and the listing of sources must answer at once, and with any
plugin in any state.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperGroup

from cracktrader import __version__
from cracktrader.cli.catalog import app as catalog
from cracktrader.errors import (
    CatalogError,
    ConfigurationError,
    CracktraderError,
    DataError,
    InvalidOption,
    NoData,
    PluginError,
    QualityError,
    SourceError,
)

if TYPE_CHECKING:
    from rich.console import Console

    from cracktrader.bars import Bars

__all__ = ["EXIT_CODES", "app"]

#: What the exit status means, by the family of the error; 1 is where ``check`` found errors or ``sync`` could not load all.
EXIT_CODES: Final[dict[type[CracktraderError], int]] = {
    ConfigurationError: 2, PluginError: 3, SourceError: 4, DataError: 5, CatalogError: 6,
}  # fmt: skip
_EPILOG: Final = (
    "Exit status: 0 done, 1 `check` found errors or `sync` could not load all, 2 wrong option, 3 plugin, 4 source, 5 data,"
    " 6 catalog, 130 interrupted."
    " Options of sources are written key=value; `cracktrader schema SOURCE` lists them."
)


class Commands(TyperGroup):
    """Tells errors in one paragraph, and finds the commands that plugins add when one is named."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CracktraderError as error:
            _fail(error, debug=bool(ctx.params.get("debug")))
        except KeyboardInterrupt:
            typer.echo("Interrupted.", err=True)
            raise typer.Exit(130) from None

    def get_command(self, ctx: Any, name: str) -> Any:
        return super().get_command(ctx, name) or _plugin_command(ctx, name)


app = typer.Typer(
    name="cracktrader",
    cls=Commands,
    help="Market data you can trust, from any source.",
    epilog=_EPILOG,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(catalog, name="catalog")

Settings = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="symbol=, timeframe=, start=, end=, limit=, "
                     "compression=, validation=, catalog=, and the source's own options.", show_default=False)]  # fmt: skip
SourceName = Annotated[str, typer.Argument(metavar="SOURCE", help="The source's name; see `cracktrader sources`.")]
Policies = Annotated[list[str] | None, typer.Option("--policy", metavar="CHECK=POLICY[:LIMIT]", help="Override a check, such as "
                     "gap=ignore or extreme_move=raise:0.3; may be repeated.", show_default=False)]  # fmt: skip


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"cracktrader {__version__}")
        raise typer.Exit


@app.callback()
def _main(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", envvar="CRACKTRADER_DEBUG")
    ] = False,  # Commands.invoke reads it
    version: Annotated[  # answered before anything else
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    pass


@app.command()
def demo(
    out: Annotated[Path | None, typer.Option(help="The folder to leave everything in; a temporary one if left out.")] = None,
    days: Annotated[int, typer.Option(help="How many days of bars.", min=2, max=365)] = 30,
    seed: Annotated[int, typer.Option(help="Another seed, another market.")] = 7,
    files: Annotated[bool, typer.Option("--files", help="From files with dirty rows instead of an exchange.")] = False,
) -> None:
    """Make a market, and run the whole path over it.

    Starts an exchange on this machine, downloads from it into a catalog, checks, repairs and trades on two timeframes, and
    leaves report, statistics and chart on disk. Run again with the same --out, the catalog has everything. Needs no network.
    """
    from cracktrader.cli.demo import run

    run(_console(), out, days=days, seed=seed, files=files)


@app.command()
def sources(
    source: Annotated[str | None, typer.Argument(metavar="[SOURCE]", help="Only this one.", show_default=False)] = None,
    exchanges: Annotated[
        bool, typer.Option("--exchanges", help="What each exchange that SOURCE reads from offers; asks none of them.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Load each one too, and say what is wrong with it.")] = False,
) -> None:
    """List the installed sources.

    Imports none of them, unless told to check.
    """
    from cracktrader.plugins.discovery import Discovery

    if exchanges:
        from cracktrader.cli.schema import exchanges_of, exchanges_table

        offered = exchanges_of(source)
        typer.echo(json.dumps(offered, indent=2) if as_json else exchanges_table(offered))
        return
    if check:
        from cracktrader.plugins.registry import default_registry

        outcomes = default_registry().check()
    else:
        outcomes = [(entry, None) for entry in Discovery().entries()]
    rows: list[dict[str, Any]] = []
    for entry, problem in outcomes:
        if source not in (None, entry.name):
            continue
        state = "denied" if entry.denied else "duplicate" if entry.duplicate else "ok" if check else "installed"
        state = f"broken ({problem.code})" if problem and not entry.denied else state
        rows.append({"name": entry.name, "distribution": entry.distribution, "version": entry.version, "entry_point": entry.value,
                     "state": state, "problem": str(problem) if problem else None})  # fmt: skip
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    columns = ("name", "distribution", "version", "state")
    widths = {column: max(len(row[column]) for row in [*rows, {column: column}]) for column in columns}
    for row in [{column: column for column in columns}, *rows]:
        typer.echo("  ".join(f"{row[column]:<{widths[column]}}" for column in columns).rstrip())
        if row.get("problem"):
            typer.echo("    " + row["problem"].replace("\n", "\n    "))


@app.command()
def schema(source: SourceName, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the options of a source, and what it offers."""
    from cracktrader.cli.schema import describe, table

    about = describe(source)
    if as_json:
        typer.echo(json.dumps(about, indent=2))
    else:
        _console().print(table(about))


@app.command()
def load(
    source: SourceName,
    settings: Settings = None,
    out: Annotated[
        str | None, typer.Option("-o", "--out", help="A .csv or .parquet file to write, or a table: DATABASE-URL#TABLE.")
    ] = None,
    policy: Policies = None,
) -> None:
    """Load bars into a file, or show them.

    They are checked and repaired first; what was found is shown.
    """
    from cracktrader.cli.settings import load_bars, writer

    write = writer(out)  # a wrong file name should not cost a download
    bars = load_bars(source, settings, policy)
    console = _console()
    console.print(bars.report)
    if write is None:
        _show_last(console, bars)
    elif not len(bars):
        raise NoData(
            f"There are no bars in this range; {'the table' if '://' in (out or '') else out} was not written.",
            hint="Ask for another range, or leave it out.",
        )
    else:
        console.print(f"{len(bars):,} bars written to {write(bars)}", soft_wrap=True, highlight=False)


@app.command()
def check(
    source: SourceName,
    settings: Settings = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page with charts.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the report as JSON.")] = None,
    policy: Policies = None,
) -> None:
    """Check bars and report what is wrong.

    The exit status is 1 where errors were found.
    """
    from cracktrader.cli.settings import load_bars

    try:
        report = load_bars(source, settings, policy).report
        failure: QualityError | None = None
    except QualityError as error:
        report, failure = error.report, error
    if report is None or not report.findings:
        raise InvalidOption(
            "Nothing was checked: every check is turned off.", hint="Leave out validation=off, or choose another."
        )
    console = _console()
    console.print(report)
    for path, write in ((html, report.to_html), (json_file, report.to_json)):
        if path is not None:
            write(path)
            console.print(f"report written to {path}", soft_wrap=True, highlight=False)
    if failure is not None:
        typer.echo(str(failure), err=True)
    if failure is not None or not report.ok:
        raise typer.Exit(1)


@app.command()
def backtest(
    source: SourceName,
    settings: Settings = None,
    strategy: Annotated[str, typer.Option(help="sma-cross, buy-and-hold, module:Class or file.py:Class.")] = "sma-cross",
    param: Annotated[list[str] | None, typer.Option(metavar="NAME=VALUE", help="A parameter of the strategy; may be repeated.",
                                                   show_default=False)] = None,
    cash: Annotated[float, typer.Option(help="The cash to begin with.", min=0.01)] = 10_000.0,
    commission: Annotated[float, typer.Option(help="Of each trade's value.", min=0, max=0.5)] = 0.001,
    percent: Annotated[float, typer.Option(help="How much of the cash an order takes; 0 for backtrader's one unit.",
                                           min=0, max=100)] = 95.0,
    plot: Annotated[Path | None, typer.Option(help="A picture file to draw the run into (.png, .svg, .pdf).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    policy: Policies = None,
) -> None:  # fmt: skip
    """Run a strategy over the bars of a source."""
    from cracktrader.cli.backtest import find_strategy, run, statistics_table
    from cracktrader.cli.settings import load_bars, pairs

    chosen = find_strategy(strategy)
    bars = load_bars(source, settings, policy)
    statistics = run(bars, chosen, pairs(param), cash=cash, commission=commission, percent=percent, plot=plot)
    if as_json:
        typer.echo(json.dumps(statistics, indent=2))
        return
    console = _console()
    console.print(bars.report)
    console.print(statistics_table(statistics))
    if plot is not None:
        console.print(f"chart written to {plot}", soft_wrap=True, highlight=False)


@app.command()
def sync(
    declaration: Annotated[
        Path, typer.Argument(metavar="FILE.toml", help="What to keep: a table [series.NAME] for each source.")
    ],
    dask: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Load on the Dask cluster with this scheduler.")] = None,
    workers: Annotated[int | None, typer.Option(help="How many series at once.", min=1)] = None,
    per_host: Annotated[int | None, typer.Option(help="How many of one exchange or server at once.", min=1)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Bring a declared set of series up to date in the catalog.

    What was interrupted goes on where it stopped. The exit status is 1 where a series failed.
    """
    from cracktrader.cli.sync import executor_at, table_of
    from cracktrader.running import PER_HOST
    from cracktrader.syncing import sync as bring

    with executor_at(dask) as executor:
        series = bring(declaration, max_workers=workers, per_host=per_host or PER_HOST, executor=executor, progress=not as_json)
    if as_json:
        typer.echo(json.dumps([each.to_dict() for each in series], indent=2))
    else:
        _console().print(table_of(series))
    if any(each.error is not None for each in series):
        raise typer.Exit(1)


@app.command()
def watch(
    source: SourceName,
    settings: Settings = None,
    seconds: Annotated[float | None, typer.Option("--for", metavar="SECONDS", help="End by itself after so long.", min=0)] = None,
) -> None:
    """Follow symbols live: each bar as it closes, the state of the line, its delays.

    symbol= may be repeated. A table on a terminal, elsewhere a line for each bar; Ctrl-C ends it.
    """
    from cracktrader.cli.watch import watch as follow

    follow(_console(), source, settings, seconds)


# ── what the commands share ──────────────────────────────────────────────────────────────────────────


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)


def _show_last(console: Console, bars: Bars, most: int = 10) -> None:
    from rich import box
    from rich.table import Table

    from cracktrader.bars import Flag
    from cracktrader.times import isoformat

    if not len(bars):
        console.print("No bars in this range.")
        return
    label = f"{bars.symbol or 'no symbol'} {bars.timeframe}"
    table = Table(
        box=box.SIMPLE_HEAD, title=f"the last {min(most, len(bars))} of {len(bars):,} bars of {label}", title_justify="left"
    )
    for name in ("time", "open", "high", "low", "close", "volume", "flags"):
        table.add_column(name, justify="left" if name in ("time", "flags") else "right")
    for candle in bars[-most:]:
        numbers = [f"{candle[name]:.10g}" for name in ("open", "high", "low", "close", "volume")]
        table.add_row(isoformat(candle.time), *numbers, (Flag(candle.flags).name or "").lower() if candle.flags else "")
    console.print(table)


def _plugin_command(ctx: Any, name: str) -> Any:
    """The command that an installed package adds under this name."""
    from cracktrader.plugins.registry import default_registry

    theirs = typer.Typer()
    if (function := default_registry().command(name)) is not None:
        theirs.command(name)(function)
    else:
        default_registry().notify("cli_commands", app=theirs)
    if not (theirs.registered_commands or theirs.registered_groups):
        return None
    found = typer.main.get_command(theirs)
    if isinstance(found, TyperGroup):
        return found.get_command(ctx, name)
    return found if found.name == name else None


def _fail(error: CracktraderError, *, debug: bool) -> NoReturn:
    """Say what happened and what to do, in one paragraph, and leave with the status of the error's family."""
    status = next((code for family, code in EXIT_CODES.items() if isinstance(error, family)), 1)
    if debug:
        import traceback

        traceback.print_exception(error)
    typer.echo(f"error {error.code}: {error}", err=True)
    raise typer.Exit(status)
