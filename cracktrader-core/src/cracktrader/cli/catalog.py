"""The commands of the catalog: ``cracktrader catalog --help``."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cracktrader.errors import ConfigurationError, CracktraderError, InvalidOption

if TYPE_CHECKING:
    from rich.console import Console

    from cracktrader.catalog import Catalog, SeriesStore
    from cracktrader.quality.gaps import Gap

__all__ = ["app"]

app = typer.Typer(
    help="Look after the local store of bars. Series are chosen by patterns; where none is given, all are meant.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Root = Annotated[str | None, typer.Option("--catalog", metavar="ROOT", help="A folder, or the URL of an object store; the usual"
                 " one if left out.", show_default=False)]  # fmt: skip
Source = Annotated[str, typer.Option(metavar="PATTERN", help="Only of sources with such a name.")]
Symbol = Annotated[str, typer.Option(metavar="PATTERN", help="Only such symbols, as in 'BTC/*'.")]
Timeframe = Annotated[str, typer.Option(metavar="PATTERN", help="Only such timeframes.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Settings = Annotated[list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Options of the source.", show_default=False)]


# ── looking ──────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def ls(root: Root = None, source: Source = "*", symbol: Symbol = "*", timeframe: Timeframe = "*", as_json: Json = False) -> None:
    """List the series: from when to when, how many bars, and what of the time was fetched."""
    from cracktrader.cli.holdings import in_short, series_table

    found = _chosen(root, source, symbol, timeframe)
    if as_json:
        typer.echo(json.dumps([in_short(series) for series in found], indent=2))
    elif found:
        console = _console()
        console.print(series_table(found, blocks=console.encoding.lower().startswith("utf")))


@app.command()
def info(
    root: Root = None, source: Source = "*", symbol: Symbol = "*", timeframe: Timeframe = "*", as_json: Json = False
) -> None:
    """Show all that is known of series: files, fetches, revisions, damage, quarantine, provenance."""
    from cracktrader.cli.holdings import details_table, in_detail

    found = _chosen(root, source, symbol, timeframe)
    if as_json:
        typer.echo(json.dumps([in_detail(series) for series in found], indent=2))
    else:
        _for_each(found, lambda series: _console().print(details_table(series)))


@app.command()
def gaps(
    root: Root = None, source: Source = "*", symbol: Symbol = "*", timeframe: Timeframe = "*", as_json: Json = False
) -> None:
    """List the holes, each with its class and the evidence.

    All symbols of a source are evidence, whether or not they are chosen. The exit status is 1 where a series is damaged.
    """
    from cracktrader.catalog.upkeep import select
    from cracktrader.cli.holdings import gaps_table
    from cracktrader.gaps import gaps_of

    chosen = _chosen(root, source, symbol, timeframe)
    with _warnings_told():
        found = gaps_of(chosen, select(_catalog(root), source))
    if as_json:
        rows = [series.key.to_dict() | {"gaps": [gap.to_dict() for gap in each]} for series, each in found]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for series, each in found:
            _console().print(gaps_table(series, each))
    if len(found) < len(chosen):
        raise typer.Exit(1)


@app.command()
def verify(
    root: Root = None, source: Source = "*", symbol: Symbol = "*", timeframe: Timeframe = "*", as_json: Json = False
) -> None:
    """Read every file and ledger, and say what is not as it was written.

    Changes nothing. The exit status is 1 where anything is damaged.
    """
    from cracktrader.catalog.upkeep import verify

    damaged: list[dict[str, Any]] = []

    def look(series: SeriesStore) -> None:
        if found := verify(series):
            files = [{"file": damage.name, "reason": damage.reason} for damage in found]
            damaged.append(series.key.to_dict() | {"folder": str(series), "damage": files})
        for damage in found if not as_json else ():
            typer.echo(f"{series.key}: {damage.name}: {damage.reason}")

    found = _chosen(root, source, symbol, timeframe)
    try:
        _for_each(found, look)
    finally:
        remedy = "; mend them with: cracktrader catalog repair" if damaged else ""
        typer.echo(json.dumps(damaged, indent=2) if as_json else f"{len(found):,} series, {len(damaged):,} damaged{remedy}")
    if damaged:
        raise typer.Exit(1)


# ── mending ──────────────────────────────────────────────────────────────────────────────────────────


@app.command()
def repair(
    settings: Settings = None,
    root: Root = None,
    source: Source = "*",
    symbol: Symbol = "*",
    timeframe: Timeframe = "*",
    fetch: Annotated[bool, typer.Option(help="Fetch again what is missing.")] = True,
    ask_for_gaps: Annotated[bool, typer.Option("--gaps", help="Ask again for holes that the source left, too.")] = False,
) -> None:
    """Set damaged files aside, rebuild lost ledgers, and fetch again what is missing.

    Each source is made of the options that its series were fetched with; secrets are not among them, and are given here.
    Damaged files are kept in the series' folder `damaged`. The exit status is 1 where something could not be fetched.
    """
    from cracktrader.catalog.upkeep import mend
    from cracktrader.gaps import gaps_of

    catalog, kinds = _catalog(root), {"never_fetched", *(("no_trades", "outage") if ask_for_gaps else ())}
    options = _pairs(settings)

    def work(series: SeriesStore) -> None:
        for damage in mend(series):
            typer.echo(f"{series.key}: {damage.name}: {damage.reason} It was {'set aside' if damage.file else 'made again'}.")
        wanted = [gap for _, found in gaps_of([series]) for gap in found if gap.kind in kinds]
        if wanted and fetch:
            _ask_again(catalog, series, wanted, options)
        elif wanted:
            typer.echo(f"{series.key}: {sum(gap.missing for gap in wanted):,} bars are missing.")

    found = _chosen(root, source, symbol, timeframe)
    _for_each(found, work)
    typer.echo(f"{len(found):,} series are sound.")


def _ask_again(catalog: Catalog, series: SeriesStore, wanted: list[Gap], options: dict[str, Any]) -> None:
    from cracktrader.gaps import ask_again
    from cracktrader.loading import source
    from cracktrader.plugins.registry import default_registry
    from cracktrader.plugins.source import option_names

    key = series.key
    model = default_registry().load(key.source).Config
    # A source may be known by more than its options, such as a database without the URL that holds the password.
    known = key.identity if model.model_config.get("extra") == "allow" else option_names(model)
    with source(key.source, **{name: value for name, value in key.identity.items() if name in known} | options) as opened:
        if opened.identity != key.identity:
            raise ConfigurationError(
                f"With these options, {key.source!r} is known as {dict(opened.identity)}, and would read other data.",
                hint=f"The series was fetched with {dict(key.identity)}.",
            )
        came = ask_again(catalog, opened, series, wanted)
    typer.echo(f"{key}: of {sum(gap.missing for gap in wanted):,} missing bars, {came:,} came.")


@app.command()
def compact(root: Root = None, source: Source = "*", symbol: Symbol = "*", timeframe: Timeframe = "*") -> None:
    """Join the records of fetches, and delete what interrupted writers left behind; no bar is lost."""
    from cracktrader.catalog.upkeep import compact

    done = []
    _for_each(_chosen(root, source, symbol, timeframe), lambda series: done.append(compact(series)))
    records, files = (sum(counts) for counts in zip((0, 0), *done, strict=True))
    typer.echo(f"{len(done):,} series: {records:,} records of fetches joined, {files:,} files left behind deleted")


@app.command()
def rm(
    root: Root = None,
    source: Source = "*",
    symbol: Symbol = "*",
    timeframe: Timeframe = "*",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
) -> None:
    """Delete series with all that was kept of them."""
    from cracktrader.catalog.upkeep import remove

    if (source, symbol, timeframe) == ("*", "*", "*"):
        raise InvalidOption(
            "Which series are to be deleted?", hint="Choose them: --symbol 'BTC/*'. All of them are --symbol '**'."
        )
    found = _chosen(root, source, symbol, timeframe)
    for series in found:
        typer.echo(series.key)
    if found and not yes:
        typer.confirm(f"Delete {len(found):,} series for good?", abort=True)
    _for_each(found, remove)
    typer.echo(f"{len(found):,} series deleted")


# ── in and out ───────────────────────────────────────────────────────────────────────────────────────


@app.command()
def export(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .csv or .parquet file for one series, or a folder.")],
    root: Root = None,
    source: Source = "*",
    symbol: Symbol = "*",
    timeframe: Timeframe = "*",
    suffix: Annotated[str, typer.Option("--format", help="parquet or csv, in a folder.")] = "parquet",
) -> None:
    """Write series to files, as their sources sent them; `cracktrader load` writes them checked and repaired.

    Each file is whole or not there; one of the same name is replaced. A Parquet file can be imported again as it is.
    """
    from cracktrader.catalog.transfer import export

    found = _chosen(root, source, symbol, timeframe)
    single = out.suffix.lower() in (".csv", ".parquet")
    if suffix not in ("parquet", "csv"):
        raise InvalidOption(f"Bars can't be written as {suffix!r}.", hint="Say --format parquet or --format csv.")
    if single and len(found) > 1:
        raise InvalidOption(f"{len(found):,} series don't go into one file.", hint="Choose one, or name a folder.")
    if not single:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidOption(f"The folder {str(out)!r} can't be made: {error.strerror}.", hint="Name another.") from error

    def work(series: SeriesStore) -> None:
        path = out if single else out / f"{series.folder.replace('/', '_')}.{suffix}"
        typer.echo(f"{series.key}: {export(series, path):,} bars written to {path}")

    _for_each(found, work)


@app.command("import")
def import_(
    path: Annotated[Path, typer.Argument(help="A .csv, .parquet, .feather, .json(.gz) file, or a folder, such as freqtrade's.")],
    settings: Settings = None,
    whose: Annotated[str | None, typer.Option("--as", metavar="SOURCE", help="For whose loads the bars shall be the answer; its"
                     " options follow, as in: --as ccxt exchange=binance", show_default=False)] = None,
    symbol: Annotated[str | None, typer.Option(help="Of which symbol one file is.", show_default=False)] = None,
    timeframe: Annotated[str | None, typer.Option(help="Of which timeframe one file is.", show_default=False)] = None,
    csv: Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="How to read CSV: an option of the source `csv`; may"
                   " be repeated.", show_default=False)] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace what was fetched, too.")] = False,
    root: Root = None,
) -> None:  # fmt: skip
    """Take bars from files, as if their source had been asked for the time from the first to the last of them.

    Loads of that time are then answered without a fetch. What was fetched stays as it is, unless told to overwrite it.
    Of freqtrade's folders, candles are taken for `ccxt exchange=FOLDER`; mark prices, funding rates and trades are not.
    """
    from cracktrader.cli.importing import Importer, files_in

    files = files_in(path)
    if (symbol or timeframe) and path.is_dir():
        raise InvalidOption("--symbol and --timeframe are for one file.", hint="The files of a folder say it by their names.")
    if settings and whose is None:
        raise InvalidOption(f"Whose option is {settings[0]!r}?", hint="Name the source: --as ccxt exchange=binance")
    importer = Importer(_catalog(root), whose, _pairs(settings), overwrite=overwrite)

    def work(file: Path) -> None:
        key, held, kept = importer.take(file, symbol, timeframe, _pairs(csv))
        left = f"; {held - kept:,} lie where the catalog was filled already, or are not over" if held > kept else ""
        typer.echo(f"{file.name}: {kept:,} bars of {key} imported{left}")

    _for_each(files, work)


@app.command()
def migrate(
    to: Annotated[str | None, typer.Option(metavar="ROOT", help="Copy the series into this catalog.", show_default=False)] = None,
    root: Root = None,
    source: Source = "*",
    symbol: Symbol = "*",
    timeframe: Timeframe = "*",
) -> None:
    """Bring a catalog to the form that this version writes, or copy it to another root.

    A copy is checked file by file; series that are there already are left as they are, and nothing is deleted here.
    """
    from cracktrader.catalog import Catalog
    from cracktrader.catalog.ledger import SCHEMA
    from cracktrader.catalog.upkeep import copy

    found = _chosen(root, source, symbol, timeframe)
    if to is None:
        _for_each(found, lambda series: series.ledger())
        typer.echo(f"{len(found):,} series have the form of this version (schema {SCHEMA}): there is nothing to do")
        return
    target = Catalog(to)

    def work(series: SeriesStore) -> None:
        typer.echo(f"{series.key}: {'copied' if copy(series, target) else f'is in {target.root} already, and was left as it is'}")

    _for_each(found, work)


# ── what the commands share ──────────────────────────────────────────────────────────────────────────


def _catalog(root: str | None) -> Catalog:
    from cracktrader.catalog import Catalog

    return Catalog(root)


def _chosen(root: str | None, source: str, symbol: str, timeframe: str) -> list[SeriesStore]:
    """The series that fit the patterns; says so where none does."""
    from cracktrader.catalog.upkeep import select

    catalog = _catalog(root)
    with _warnings_told():
        found = select(catalog, source, symbol, timeframe)
    if not found:
        typer.echo(f"There is no such series in {catalog.root}.", err=True)
    return found


def _for_each(things: Iterable[Any], work: Callable[[Any], object]) -> None:
    """Do something to each; where that fails, say so, go on with the others, and leave with status 1 in the end."""
    failed = 0
    for thing in things:
        try:
            work(thing)
        except CracktraderError as error:
            failed += 1
            typer.echo(f"error {error.code}: {getattr(thing, 'key', thing)}: {error}", err=True)
    if failed:
        raise typer.Exit(1)


@contextmanager
def _warnings_told() -> Iterator[None]:
    """What a catalog warns about, without the line of code that did."""
    from cracktrader.catalog import CatalogWarning

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CatalogWarning)
        yield
    for warning in caught:
        typer.echo(f"warning: {warning.message}", err=True)


def _pairs(settings: list[str] | None) -> dict[str, Any]:
    from cracktrader.cli.settings import pairs

    return pairs(settings)


def _console() -> Console:
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)
