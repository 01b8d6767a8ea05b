"""What an author says of a source, and what every test of the contract asks it with."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, NoReturn, TypeAlias

import numpy as np
import pytest

from cracktrader.bars import PRICES, Bars
from cracktrader.errors import CracktraderError
from cracktrader.interchange import iter_bars
from cracktrader.plugins.discovery import Origin
from cracktrader.plugins.registry import Registry
from cracktrader.plugins.source import DataSource, Source
from cracktrader.request import BarRequest
from cracktrader.times import TimeLike, isoformat

__all__ = ["HEAVY_MODULES", "SECRET", "ContractBase", "MakeSource"]

#: What stands in every secret option while it is looked for where it must not show.
SECRET = "c0ntract-s3cret-marker"  # noqa: S105 - nobody's

#: Libraries that take so long to import that nobody should pay for them who only names a source.
HEAVY_MODULES = frozenset({
    "IPython", "aiohttp", "backtrader", "boto3", "botocore", "ccxt", "cryptography", "dask", "duckdb", "grpc", "h5py", "httpx",
    "keras", "matplotlib", "numba", "openpyxl", "pandas", "polars", "psycopg", "psycopg2", "pyarrow", "pymongo", "pymysql",
    "pyspark", "requests", "rich", "scipy", "selenium", "sklearn", "sqlalchemy", "statsmodels", "tables", "tensorflow", "torch",
    "tornado", "typer", "urllib3", "websockets", "xarray", "yfinance", "zmq",
})  # fmt: skip

MakeSource: TypeAlias = Callable[..., Source]

_NOT_SAID: Any = object()


class ContractBase:
    """What the tests of the contract need to know of a source; see :class:`~cracktrader.testing.SourceContract`."""

    #: The name of the source's entry point; None for a class that has none.
    name: ClassVar[str | None] = _NOT_SAID
    #: A symbol and a timeframe that the source has …
    symbol: ClassVar[str] = _NOT_SAID
    timeframe: ClassVar[str] = _NOT_SAID
    #: … and a range, ``start`` inclusive and ``end`` exclusive, in which it has at least eight bars of them, all closed.
    start: ClassVar[TimeLike] = _NOT_SAID
    end: ClassVar[TimeLike] = _NOT_SAID
    #: The bars of that range, where they are known from elsewhere.
    expected: ClassVar[Bars | None] = None
    #: A symbol that the source does not have; None where it takes any, because it has one series without a name.
    unknown_symbol: ClassVar[str | None] = "NO-SUCH/SYMBOL"
    #: Another symbol that it has, with other bars in the same range.
    other_symbol: ClassVar[str | None] = None
    #: A timeframe that it does not have; found by itself where the source lists those that it has.
    unknown_timeframe: ClassVar[str | None] = None
    #: Whether it may be asked without a start or an end; False where that would fetch too much for a test.
    open_ends: ClassVar[bool] = True
    #: The option that says how much is handed over at once, and values of it to try.
    chunk_option: ClassVar[str | None] = None
    chunk_values: ClassVar[Sequence[Any]] = (1, 2, 7, 1_000_000)
    #: Options in which ``SECRET`` stands where a secret belongs, such as ``{"url": f"db://user:{SECRET}@host"}``;
    #: the options of type ``SecretStr`` are found by themselves.
    secret_options: ClassVar[Mapping[str, Any]] = {}
    #: Options that are no secret although their name sounds like one.
    not_secret: ClassVar[Sequence[str]] = ()
    #: CPU time that importing the entry point's module may take, in milliseconds, and what it must not import.
    import_budget_ms: ClassVar[float] = 60.0
    heavy_modules: ClassVar[frozenset[str]] = HEAVY_MODULES

    @pytest.fixture
    def make_source(self) -> Callable[..., Source | DataSource]:
        """Makes the source, with options besides the usual ones; override it where there are options to give."""
        name = self._said("name")
        if name is None:
            pytest.fail("A source without an entry point needs a fixture make_source that makes it.")
        return lambda **options: Registry(environ={}).source(name, **options)

    @pytest.fixture
    def made(self) -> Iterator[list[Source]]:
        """The sources that a test made; closed at its end."""
        sources: list[Source] = []
        yield sources
        for source in sources:
            source.close()

    @pytest.fixture
    def make(self, make_source: Callable[..., Source | DataSource], made: list[Source]) -> MakeSource:
        """``make_source`` as the tests use it: without plugins that wrap its calls, and closed at the end."""

        def make(**options: Any) -> Source:
            source = make_source(**options)
            plugin = source.plugin if isinstance(source, Source) else source
            if not isinstance(plugin, DataSource):
                pytest.fail(f"make_source must return a Source or a DataSource, not {type(source).__name__}.")
            cls = type(plugin)
            origin = source.origin if isinstance(source, Source) else Origin(entry_point=f"{cls.__module__}:{cls.__qualname__}")
            made.append(Source(plugin, name=source.name if isinstance(source, Source) else cls.__name__, origin=origin))
            return made[-1]

        return make

    @pytest.fixture
    def source(self, make: MakeSource) -> Source:
        """The source with its usual options."""
        return make()

    @pytest.fixture
    def whole(self, source: Source) -> Bars:
        """The bars of the range from ``start`` to ``end``."""
        bars = self.fetch(source)
        if len(bars) < 8:
            pytest.fail(
                f"The source has {len(bars)} bars of {self.request()}; the contract needs at least 8. Choose another range, or"
                " is something wrong with the source?"
            )
        return bars

    # ── asking ───────────────────────────────────────────────────────────────────────────────────────

    def request(self, start: Any = _NOT_SAID, end: Any = _NOT_SAID, **changes: Any) -> BarRequest:
        """A request for the symbol and timeframe, of the whole range unless said otherwise."""
        start = self._said("start") if start is _NOT_SAID else start
        end = self._said("end") if end is _NOT_SAID else end
        first, stop = (None if time is None else _plain(time) for time in (start, end))
        options = {"symbol": self._said("symbol"), "timeframe": self._said("timeframe")} | changes
        return BarRequest(start=first, end=stop, **options)

    def fetch(self, source: Source, start: Any = _NOT_SAID, end: Any = _NOT_SAID, **changes: Any) -> Bars:
        """What a user of the source gets, whole and sorted: the order is another test's business."""
        request = self.request(start, end, **changes)
        return _joined(list(source.bars(request)), request).in_order()

    def delivered(self, source: Source, start: Any = _NOT_SAID, end: Any = _NOT_SAID) -> Bars:
        """What the plugin itself hands over, before the core cuts off what was not asked for."""
        request = self.request(start, end)
        answer = source.call("fetch_bars", request=request)
        return _joined(list(iter_bars(answer, symbol=request.symbol, timeframe=request.timeframe)), request)

    # ── judging ──────────────────────────────────────────────────────────────────────────────────────

    def assert_same(self, bars: Bars, wanted: Bars, what: str) -> None:
        """Both hold the same rows; the message says where they part."""
        if bars == wanted:
            return
        pytest.fail(f"{what}: {_difference(bars, wanted)}", pytrace=False)

    def assert_helpful(self, error: CracktraderError) -> None:
        """An error that a user can act on, and that comes back whole from another process."""
        assert error.message.strip(), f"{type(error).__name__} has no message."
        assert error.hint.strip(), f"{type(error).__name__} has no hint: say what to do next. It says: {error.message}"
        copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
        assert (type(copy), str(copy)) == (type(error), str(error)), "The error does not survive pickling."

    @classmethod
    def _said(cls, attribute: str) -> Any:
        value = getattr(cls, attribute)
        if value is _NOT_SAID:
            _not_said(cls, attribute)
        return value


def _not_said(cls: type, attribute: str) -> NoReturn:
    pytest.fail(f"The contract needs to know: write `{attribute} = …` into the class {cls.__name__}.", pytrace=False)


def _plain(time: Any) -> Any:
    return int(time) if isinstance(time, np.integer) else time


def _joined(chunks: Sequence[Bars], request: BarRequest) -> Bars:
    return Bars.concat(chunks) if chunks else Bars.empty(request.symbol, request.timeframe)


def _difference(bars: Bars, wanted: Bars) -> str:
    if bars.columns != wanted.columns:
        return f"the columns are {', '.join(bars.columns)}, not {', '.join(wanted.columns)}."
    if len(bars) != len(wanted):
        return f"there are {_span(bars)}, not {_span(wanted)}."
    for name in ("time", *PRICES, "volume", *bars.extra, "flags"):
        differs = bars[name] != wanted[name]
        if name not in ("time", "flags"):
            differs &= ~(np.isnan(bars[name]) & np.isnan(wanted[name]))
        if differs.any():
            row = int(np.flatnonzero(differs)[0])
            return f"row {row} ({isoformat(wanted.time[row])}) has the {name} {bars[name][row]}, not {wanted[name][row]}."
    return f"they are bars of {bars.symbol} {bars.timeframe}, not of {wanted.symbol} {wanted.timeframe}."


def _span(bars: Bars) -> str:
    return f"{len(bars)} bars ({isoformat(bars.time[0])} to {isoformat(bars.time[-1])})" if len(bars) else "no bars"
