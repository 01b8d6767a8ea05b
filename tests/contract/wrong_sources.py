"""A right source, and sources that break one promise each, with the tests of the contract that must notice.

The names of tests are given without their ``test_``.
"""

from __future__ import annotations

import itertools
import logging
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydantic
from pydantic import BaseModel, ConfigDict, SecretStr

import cracktrader as ct
from cracktrader.errors import NoData, NotSupported, PermanentSourceError, UnknownSymbol, UnsupportedTimeframe

SECRET = "c0ntract-s3cret-marker"  # the contract's own; importing that here would bring pytest along
START = 1_704_067_200_000
HOUR = 3_600_000


def series(symbol: str, seed: int) -> ct.Bars:
    rng = np.random.default_rng(seed)
    close = 100 + rng.integers(-2, 3, 40).cumsum().astype(float)
    time = START + HOUR * np.arange(40)
    bars = ct.Bars(time, close, close + 2, close - 2, close + 1, np.full(40, 5.0), symbol=symbol, timeframe="1h")
    return bars[np.arange(40) // 2 != 8]  # a hole of two bars


DATA = {"BTC/USDT": series("BTC/USDT", 1), "ETH/USDT": series("ETH/USDT", 2)}


#: Every source, with the names of the tests that must notice it, and what the contract is told besides.
SOURCES: dict[type[ct.DataSource], tuple[set[str], dict[str, Any]]] = {}


def noticed_by(*tests: str, told: dict[str, Any] | None = None) -> Any:
    def note(cls: type[ct.DataSource]) -> type[ct.DataSource]:
        SOURCES[cls] = set(tests), told or {}
        return cls

    return note


@noticed_by()
class Right(ct.DataSource):
    """Keeps every promise."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        chunk_size: int = pydantic.Field(default=5, ge=1)
        token: SecretStr | None = None

    @ct.hookimpl
    def fetch_bars(self, request: Any) -> Any:
        return self.chunks(self.cut(self.series(request), request))

    def series(self, request: Any) -> ct.Bars:
        if request.symbol not in DATA:
            raise UnknownSymbol(f"There is no {request.symbol!r}.", hint=f"There are {', '.join(DATA)}.")
        if request.timeframe != "1h":
            raise UnsupportedTimeframe(f"There are no bars of {request.timeframe}.", hint="There are bars of 1h.")
        return DATA[request.symbol]

    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(request.start, request.end)

    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        size = self.config.chunk_size
        for first in range(0, len(bars), size):
            yield bars[first : first + size]


# ── ranges ───────────────────────────────────────────────────────────────────────────────────────────


@noticed_by("end_is_exclusive")
class SendsOneAfterTheEnd(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(request.start, None if request.end is None else request.end + 1)


@noticed_by("start_is_inclusive")
class SendsOneBeforeTheStart(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(None if request.start is None else request.start - 3 * HOUR, request.end)


@noticed_by(
    "a_catalog_in_front_changes_nothing",
    "end_is_exclusive",
    "inner_ranges_are_slices_of_the_whole",
    "adjacent_ranges_join",
    "the_range_holds_the_expected_bars",
)
class LosesTheLastBar(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(request.start, None if request.end is None else request.end - HOUR)


@noticed_by(
    "a_catalog_in_front_changes_nothing",
    "start_is_inclusive",
    "inner_ranges_are_slices_of_the_whole",
    "adjacent_ranges_join",
    "the_range_holds_the_expected_bars",
    "two_fetches_may_run_in_turns",
)
class LosesTheFirstBar(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(None if request.start is None else request.start + 1, request.end)


@noticed_by("start_is_inclusive", "end_is_exclusive")
class IgnoresTheRange(Right):
    """The core cuts it right, but every request costs everything."""

    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars


@noticed_by(
    "a_catalog_in_front_changes_nothing",
    "adjacent_ranges_join",
    "start_is_inclusive",
    "a_range_may_be_open",
    "an_empty_range_is_no_error",
    told={"expected": None},
)
class OnlyHasTheLatest(Right):
    """An exchange that ignores the start and gives the last bars before the end."""

    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(None, request.end)[-10:]


@noticed_by("an_empty_range_is_no_error")
class FailsOnAnEmptyRange(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        found = super().cut(bars, request)
        if not len(found):
            raise NoData("There is nothing.", hint="Ask for something else.")
        return found


@noticed_by("an_empty_range_is_no_error")
class FailsOnAHole(Right):
    """A stretch without bars in the middle of the data is taken for the end of it."""

    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        found = super().cut(bars, request)
        if not len(found) and request.start != request.end and bars.time[0] < request.start < bars.time[-1]:
            raise IndexError("list index out of range")
        return found


@noticed_by("a_range_may_be_open", "an_empty_range_is_no_error", "a_limit_without_a_start_gives_the_last_bars")
class NeedsAStart(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return bars.between(request.start + 0, request.end)


@noticed_by("a_limit_without_a_start_gives_the_last_bars")
class TakesTheLimitFromTheWrongSide(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        return super().cut(bars, request)[: request.limit]


@noticed_by("the_range_holds_the_expected_bars")
class WrongValues(Right):
    def series(self, request: Any) -> ct.Bars:
        bars = super().series(request)
        return bars.but(volume=bars.volume * 1000)


# ── order, chunks, types ─────────────────────────────────────────────────────────────────────────────


@noticed_by(
    "bars_come_oldest_first_and_once",
    "a_limit_with_a_start_gives_the_first_bars",
    "a_limit_without_a_start_gives_the_last_bars",
    "two_fetches_may_run_in_turns",
)
class NewestFirst(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        return super().chunks(bars[::-1])


@noticed_by(
    "a_catalog_in_front_changes_nothing",
    "bars_come_oldest_first_and_once",
    "inner_ranges_are_slices_of_the_whole",
    "adjacent_ranges_join",
    "the_range_holds_the_expected_bars",
    "the_chunk_size_does_not_matter",
    "a_range_may_be_open",
    "two_fetches_may_run_in_turns",
    "a_fetch_may_be_given_up",
    "a_limit_without_a_start_gives_the_last_bars",
)
class RepeatsTheBarAtTheBorderOfChunks(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        size = self.config.chunk_size
        for first in range(0, len(bars), size):
            yield bars[max(0, first - 1) : first + size]


@noticed_by(
    "the_chunk_size_does_not_matter",
    "inner_ranges_are_slices_of_the_whole",
    "adjacent_ranges_join",
    "a_range_may_be_open",
    "a_limit_without_a_start_gives_the_last_bars",
    "end_is_exclusive",
    "two_fetches_may_run_in_turns",
    "a_fetch_may_be_given_up",
    told={"expected": None},
)
class LosesAnUnfilledChunk(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        return (chunk for chunk in super().chunks(bars) if len(chunk) == self.config.chunk_size)


@noticed_by(
    "bars_open_on_the_grid",
    "the_range_holds_the_expected_bars",
    "start_is_inclusive",
    "end_is_exclusive",
    "inner_ranges_are_slices_of_the_whole",
    "an_empty_range_is_no_error",
    "two_fetches_may_run_in_turns",
)
class StampsTheClose(Right):
    def cut(self, bars: ct.Bars, request: Any) -> ct.Bars:
        found = super().cut(bars, request)
        return found.but(time=found.time + HOUR - 1)


@noticed_by("prices_and_volumes_are_numbers", "the_range_holds_the_expected_bars")
class MissingPrices(Right):
    def series(self, request: Any) -> ct.Bars:
        bars = super().series(request)
        return bars.but(open=np.where(np.arange(len(bars)) % 7 == 3, np.nan, bars.open))


@noticed_by("provenance_is_plain_json")
class ProvenanceThatIsNoJson(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request).but(provenance={"fetched": np.datetime64("2024-01-01")})


@noticed_by(
    "a_catalog_in_front_changes_nothing",
    "the_range_holds_the_expected_bars",
    "inner_ranges_are_slices_of_the_whole",
    "adjacent_ranges_join",
    "a_range_may_be_open",
    "a_limit_with_a_start_gives_the_first_bars",
    "a_limit_without_a_start_gives_the_last_bars",
    "the_chunk_size_does_not_matter",
    "the_same_question_has_the_same_answer",
    "loading_gives_the_same_bars_checked",
    "two_threads_at_once_get_the_same",
    "two_fetches_may_run_in_turns",
    "a_fetch_may_be_given_up",
    "a_with_block_closes",
    "it_can_be_rebuilt_in_another_process",
)
class AnswersDifferently(Right):
    """Every answer is a little other than the one before."""

    count = itertools.count(1000)

    def series(self, request: Any) -> ct.Bars:
        bars = super().series(request)
        return bars.but(volume=bars.volume + next(self.count))


@noticed_by(
    "the_same_question_has_the_same_answer",
    "a_limit_without_a_start_gives_the_last_bars",
    "a_range_may_be_open",
    "adjacent_ranges_join",
    "inner_ranges_are_slices_of_the_whole",
    "two_fetches_may_run_in_turns",
)
class WritesIntoWhatItHandedOut(Right):
    """One buffer for all fetches."""

    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        if not hasattr(self, "buffer"):
            self.buffer = np.zeros(100)
        self.buffer[:] = -1
        self.buffer[: len(bars)] = bars.open
        yield bars.but(open=self.buffer[: len(bars)])


# ── symbols and errors ───────────────────────────────────────────────────────────────────────────────


@noticed_by("an_unknown_symbol_is_an_error_that_says_so", "symbols_are_told_apart")
class IgnoresTheSymbol(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request.but(symbol="BTC/USDT"))


@noticed_by("an_unknown_symbol_is_an_error_that_says_so")
class EmptyForAnUnknownSymbol(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request) if request.symbol in DATA else DATA["BTC/USDT"][:0]


@noticed_by("an_unknown_symbol_is_an_error_that_says_so")
class KeyErrorForAnUnknownSymbol(Right):
    def series(self, request: Any) -> ct.Bars:
        DATA[request.symbol]
        return super().series(request)


@noticed_by("an_unknown_symbol_is_an_error_that_says_so")
class ErrorWithoutAHint(Right):
    def series(self, request: Any) -> ct.Bars:
        if request.symbol not in DATA:
            raise UnknownSymbol(f"There is no {request.symbol!r}.")
        return super().series(request)


@noticed_by("an_unknown_symbol_is_an_error_that_says_so")
class ErrorThatDoesNotSayWhich(Right):
    def series(self, request: Any) -> ct.Bars:
        if request.symbol not in DATA:
            raise UnknownSymbol("There is no such symbol.", hint="Try another.")
        return super().series(request)


@noticed_by("a_timeframe_that_it_does_not_have_is_refused")
class IgnoresTheTimeframe(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request.but(timeframe=ct.Timeframe("1h"))).but(timeframe=request.timeframe)


# ── options and secrets ──────────────────────────────────────────────────────────────────────────────


@noticed_by("an_unknown_option_is_refused_with_what_is_known")
class TakesAnyOption(Right):
    class Config(Right.Config):
        model_config = ConfigDict(extra="allow")


@noticed_by("options_can_not_be_changed")
class OptionsThatChange(Right):
    class Config(Right.Config):
        model_config = ConfigDict(frozen=False)


@noticed_by("missing_options_are_named")
class FailsOverMissingOptions(Right):
    class Config(Right.Config):
        path: str

        @pydantic.model_validator(mode="before")
        @classmethod
        def _path(cls, values: Any) -> Any:
            return {**values, "path": str(values["path"])}


@noticed_by("options_have_a_schema")
class OptionsWithoutSchema(Right):
    class Config(Right.Config):
        anything: np.ndarray = None  # type: ignore[assignment]


@noticed_by(
    "options_that_sound_secret_are_typed_as_secrets", "secrets_show_nowhere", told={"secret_options": {"api_key": SECRET}}
)
class SecretAsPlainText(Right):
    class Config(Right.Config):
        api_key: str | None = None


@noticed_by("secrets_show_nowhere")
class SecretInTheRepr(Right):
    def __repr__(self) -> str:
        token = self.config.token
        return f"<SecretInTheRepr {token.get_secret_value() if token else ''}>"


@noticed_by("secrets_show_nowhere")
class SecretInAnError(Right):
    def series(self, request: Any) -> ct.Bars:
        if request.symbol not in DATA:
            raise UnknownSymbol(f"{request.symbol}: GET /?token={reveal(self)}", hint="See there.")
        return super().series(request)


@noticed_by("secrets_show_nowhere")
class SecretInAnOptionError(Right):
    class Config(Right.Config):
        @pydantic.field_validator("token", mode="before")
        @classmethod
        def _text(cls, value: Any) -> Any:
            if not isinstance(value, str):
                raise ValueError(f"{value!r} is no token")
            return value


@noticed_by("secrets_show_nowhere")
class SecretInTheProvenance(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request).but(provenance={"url": f"http://example.invalid/?token={reveal(self)}"})


@noticed_by("secrets_show_nowhere")
class SecretInTheLog(Right):
    def series(self, request: Any) -> ct.Bars:
        logging.getLogger(__name__).debug("token %s", reveal(self))
        return super().series(request)


@noticed_by("secrets_show_nowhere")
class SecretInAWarning(Right):
    def series(self, request: Any) -> ct.Bars:
        if self.config.token:
            warnings.warn(f"token {reveal(self)} is old", stacklevel=2)
        return super().series(request)


@noticed_by("secrets_show_nowhere")
class SecretPrinted(Right):
    def series(self, request: Any) -> ct.Bars:
        print("token", reveal(self))
        return super().series(request)


@noticed_by("secrets_show_nowhere", told={"secret_options": {"url": f"db://user:{SECRET}@host"}})
class SecretInAUrl(Right):
    """No option of type SecretStr at all; the author says where the secret goes."""

    class Config(ct.SourceConfig):
        chunk_size: int = 5
        url: str = ""


def reveal(source: Right) -> str:
    return source.config.token.get_secret_value() if source.config.token else ""


# ── hooks ────────────────────────────────────────────────────────────────────────────────────────────


@noticed_by("listed_symbols_hold_the_one_that_it_has")
class OffersWhatItCanNot(Right):
    @ct.hookimpl
    def list_symbols(self) -> list[str]:
        raise NotSupported("Not yet.", hint="Wait.")


@noticed_by("listed_symbols_hold_the_one_that_it_has")
class ListsOtherSymbols(Right):
    @ct.hookimpl
    def list_symbols(self) -> list[str]:
        return ["BTCUSDT", "ETHUSDT"]


@noticed_by("listed_symbols_hold_the_one_that_it_has")
class ListsSymbolsAsText(Right):
    @ct.hookimpl
    def list_symbols(self) -> Any:
        return "BTC/USDT"


@noticed_by("listed_timeframes_hold_the_one_that_it_has", "a_timeframe_that_it_does_not_have_is_refused")
class ListsOtherTimeframes(Right):
    def series(self, request: Any) -> ct.Bars:
        return super().series(request.but(timeframe=ct.Timeframe("1h"))).but(timeframe=request.timeframe)

    @ct.hookimpl
    def list_timeframes(self) -> list[str]:
        return ["1m", "1d"]


@noticed_by("a_catalog_in_front_changes_nothing", "server_time_is_in_milliseconds")
class ServerTimeInSeconds(Right):
    @ct.hookimpl
    def server_time(self) -> int:
        return 1_800_000_000


@noticed_by("streams_are_async_iterators[stream_trades]")
class StreamAsCoroutine(Right):
    @ct.hookimpl
    async def stream_trades(self, symbol: str) -> list[Any]:
        return []


@noticed_by()
class RightStream(Right):
    @ct.hookimpl
    async def stream_candles(self, symbol: str) -> Any:
        yield symbol


# ── sharing and closing ──────────────────────────────────────────────────────────────────────────────


@noticed_by("two_fetches_may_run_in_turns", "a_fetch_may_be_given_up", "a_limit_with_a_start_gives_the_first_bars")
class OneCursorForAll(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        self.at = getattr(self, "at", 0)
        while self.at < len(bars):
            self.at, first = self.at + self.config.chunk_size, self.at
            yield bars[first : self.at]
        self.at = 0


@noticed_by("two_threads_at_once_get_the_same", "two_fetches_may_run_in_turns")
class OneFetchAtATime(Right):
    """A second thread is sent away."""

    def __init__(self, config: Any = None, /, **options: Any) -> None:
        super().__init__(config, **options)
        self.lock, self.sent_away = threading.Lock(), threading.Event()

    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        if not self.lock.acquire(blocking=False):
            self.sent_away.set()
            raise PermanentSourceError("Busy.", hint="Come back later.")
        try:
            if threading.current_thread() is not threading.main_thread():
                self.sent_away.wait(10)  # there is another one
            yield from super().chunks(bars)
        finally:
            self.lock.release()


@noticed_by("a_fetch_may_be_given_up", "two_fetches_may_run_in_turns", "a_limit_with_a_start_gives_the_first_bars")
class KeepsALockWhenGivenUp(Right):
    busy = False

    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        if self.busy:
            raise PermanentSourceError("Busy.", hint="Come back later.")
        self.busy = True
        yield from super().chunks(bars)
        self.busy = False


@noticed_by("closing_twice_is_harmless")
class CanOnlyCloseWhatWasOpened(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        self.connection = "open"
        return super().chunks(bars)

    @ct.hookimpl
    def close(self) -> None:
        del self.connection


@noticed_by("closing_gives_everything_back")
class LeavesAFileOpen(Right):
    def chunks(self, bars: ct.Bars) -> Iterator[Any]:
        if not hasattr(self, "file"):
            self.file = open(__file__)  # noqa: SIM115 - that is what is wrong with it
        return super().chunks(bars)


@noticed_by("it_can_be_rebuilt_in_another_process", "secrets_show_nowhere")
class OptionsThatDoNotPickle(Right):
    class Config(Right.Config):
        clock: Any = pydantic.Field(default_factory=lambda: lambda: 0)


# ── packaging ────────────────────────────────────────────────────────────────────────────────────────


@noticed_by("it_says_for_which_api_it_was_written")
class NoApi(Right):
    api = None  # type: ignore[assignment]


@noticed_by("it_says_for_which_api_it_was_written")
class OlderApi(Right):
    api = (0, 9)


@noticed_by("it_is_found_by_name", told={"name": "nobody"})
class IsNotInstalled(Right):
    pass


@noticed_by("it_is_found_by_name", told={"name": "memory"})
class IsAnotherOne(Right):
    """The entry point loads another class than the one that is tested."""


@noticed_by()
class OptionsThatAreNoSourceConfig(Right):
    """Any pydantic model will do, if it keeps the promises."""

    class Config(BaseModel):
        model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
        chunk_size: int = 5
