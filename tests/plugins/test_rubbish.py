"""Sources that load but fail at work: rubbish rows, and exceptions wherever the core calls them."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest

import cracktrader as ct
from cracktrader.errors import (
    DataError,
    MalformedData,
    NotSupported,
    PluginBroken,
    PluginDependencyMissing,
    SourceError,
    TemporarySourceError,
    UnsupportedMode,
)

REGISTRY = ct.Registry(entry_points=lambda group: (), environ={})
REQUEST = ct.BarRequest("BTC/USDT", "1m", start=28_400_000 * 60_000, end=28_400_010 * 60_000)


def bars(first: int = 28_400_000, rows: int = 3, timeframe: str = "1m") -> ct.Bars:
    times = [60_000 * (first + number) for number in range(rows)]
    ones = np.ones(rows)
    return ct.Bars(times, ones, ones, ones, ones, ones, symbol="BTC/USDT", timeframe=timeframe)


class Answers(ct.DataSource):
    """Returns, or does, what it is told."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        answer: object = None
        token: pydantic.SecretStr | None = None

    @ct.hookimpl
    def fetch_bars(self, request):
        answer = self.config.answer
        return answer() if callable(answer) else answer


def fetched(answer: object, **options: object) -> list[ct.Bars]:
    return list(REGISTRY.source(Answers, answer=answer, **options).bars(REQUEST))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────


class NoText:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class NoIteration:
    def __iter__(self):
        raise ZeroDivisionError("no iteration")


class NoStream:
    @property
    def __arrow_c_stream__(self):
        raise RuntimeError("no stream")


class BadStream:
    def __arrow_c_stream__(self, requested_schema=None):
        return "no capsule"


FRAME = bars().to_pandas()
RUBBISH = {
    "nothing": (None, DataError, "returned NoneType, which can't be read as bars"),
    "a number": (42, DataError, "returned int, which can't be read as bars: '42'"),
    "a text": ("rows", DataError, "returned str"),
    "bytes": (b"rows", DataError, "returned bytes"),
    "a mapping": ({"open": [1]}, DataError, "returned dict"),
    "an object": (object(), DataError, "returned object"),
    "an object without a text": (NoText(), DataError, "RuntimeError when asked for its text"),
    "an object that fails when walked over": (NoIteration(), SourceError, "ZeroDivisionError: no iteration"),
    "an object that fails when looked at": (NoStream(), SourceError, "RuntimeError: no stream"),
    "an Arrow stream that is none": (BadStream(), MalformedData, "returned BadStream, which can't be read as bars"),
    "a list of nothing": ([None], DataError, "returned NoneType"),
    "rows as tuples": ([(1, 2, 3, 4, 5, 6)], DataError, "returned tuple"),
    "chunks in chunks": ([[bars()]], DataError, "returned list"),
    "good, then bad": ([bars(), "bad"], DataError, "returned str"),
    "a frame without times": (FRAME.reset_index(drop=True), MalformedData, "neither a DatetimeIndex nor a column of times"),
    "a frame without prices": (FRAME.drop(columns=["open", "close"]), MalformedData, "no column for open, close"),
    "a frame of texts": (FRAME.assign(open="cheap"), MalformedData, "'open' holds something that is not a number"),
    "a frame with a missing time": (FRAME.set_axis(pd.DatetimeIndex([None, *FRAME.index[1:]])), MalformedData,
                                    "row 0 is missing"),
    "an empty table": (pa.table({}), MalformedData, "no column of times"),
    "a table of lists": (pa.table({"time": [1], "open": [[1]], "high": [1], "low": [1], "close": [1]}), MalformedData,
                         "'open' holds something that is not a number"),
    "bars of another timeframe": (bars(timeframe="1h"), DataError, "asked for BTC/USDT 1m .*, and returned Bars of 1h"),
}  # fmt: skip


@pytest.mark.parametrize("what", RUBBISH)
def test_rubbish_is_an_error_that_names_the_source_and_the_request(what) -> None:
    answer, kind, said = RUBBISH[what]
    with pytest.raises(kind, match=said) as caught:
        fetched(answer)
    assert "'Answers'" in caught.value.message
    assert caught.value.hint
    if not isinstance(caught.value, SourceError):
        assert "was asked for BTC/USDT 1m from 2023-12-31T05:20:00Z to 2023-12-31T05:30:00Z" in caught.value.message


def test_columns_of_different_lengths_are_refused_where_they_are_made() -> None:
    with pytest.raises(DataError, match=r"'open' has shape \(1,\), not \(2,\)"):
        fetched(lambda: ct.Bars([1, 2], [1], [1], [1], [1], [1], symbol="x", timeframe="1m"))


@pytest.mark.parametrize(
    "nothing",
    [[], (), iter([]), bars(rows=0), FRAME[:0], [bars(rows=0)] * 2],
    ids=["a list", "a tuple", "an iterator", "bars", "a frame", "empty chunks"],
)
def test_no_rows_are_no_error(nothing) -> None:
    assert sum(map(len, fetched(nothing))) == 0


@pytest.mark.parametrize(
    "answer",
    [bars(), [bars()], iter([bars()]), FRAME, [FRAME], FRAME.reset_index(), bars().to_arrow(), bars().to_arrow().to_reader(),
     (bars()[:1], FRAME[1:])],
    ids=lambda answer: type(answer).__name__,
)  # fmt: skip
def test_every_allowed_answer_gives_the_same_bars(answer) -> None:
    assert ct.Bars.concat(fetched(answer)) == bars()


def test_rows_out_of_the_range_are_cut_off() -> None:
    assert ct.Bars.concat(fetched(bars(28_399_990, 40))) == bars(28_400_000, 10)


def test_a_record_batch_reader_is_read_batch_by_batch() -> None:
    taken = []

    def batches():
        for batch in bars(rows=4).to_arrow().to_batches(max_chunksize=2):
            taken.append(batch)
            yield batch

    schema = bars().to_arrow().schema
    chunks = REGISTRY.source(Answers, answer=lambda: pa.RecordBatchReader.from_batches(schema, batches())).bars(REQUEST)
    assert len(next(chunks)) == 2
    assert len(taken) == 1


def test_the_chunks_before_a_failure_arrive_and_the_failure_is_told() -> None:
    def half():
        yield bars()
        raise KeyError("page 2")

    chunks = REGISTRY.source(Answers, answer=half).bars(REQUEST)
    assert next(chunks) == bars()
    with pytest.raises(SourceError, match="'Answers' failed: KeyError: 'page 2'"):
        next(chunks)


def test_a_fetch_that_is_given_up_gives_back_what_it_holds() -> None:
    events = []

    def chunks():
        try:
            yield bars()
            yield bars()
        finally:
            events.append("given back")

    for limit in (None, 1):
        fetching = REGISTRY.source(Answers, answer=chunks).bars(REQUEST.but(limit=limit))
        next(fetching)
        fetching.close()
    assert events == ["given back"] * 2


def test_rubbish_is_caught_by_the_checks_where_its_form_is_right() -> None:
    times = [180_000, 60_000, 60_000, 60_000, 90_000]
    ones = np.ones(5)
    dirty = ct.Bars(times, [1, np.nan, 1, 1, 1], ones, ones, ones, ones, symbol="x", timeframe="1m")
    loaded = ct.load(Answers(answer=dirty), symbol="x", timeframe="1m", registry=REGISTRY, validation=ct.Validation(max_loss=1.0))
    assert (np.diff(loaded.time) > 0).all()
    assert all(loaded.report[check].count for check in ("unordered", "duplicate_time", "off_grid", "not_finite"))


# ── exceptions ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "error",
    [ValueError("bad"), KeyError("k"), ZeroDivisionError(), OSError(2, "gone"), AssertionError(), SystemExit(3)],
    ids=lambda error: type(error).__name__,
)
def test_whatever_a_fetch_raises_comes_out_as_a_source_error(error) -> None:
    def fail():
        raise error

    with pytest.raises(SourceError) as caught:
        fetched(fail)
    assert caught.value.message.startswith(f"The source 'Answers' failed: {type(error).__name__}")
    assert caught.value.__cause__ is error
    assert "Answers" in caught.value.hint


def test_errors_in_our_own_words_go_through_untouched() -> None:
    def fail():
        raise TemporarySourceError("Busy.", hint="Try again.")

    with pytest.raises(TemporarySourceError, match=r"^Busy\.\nTry again\.$"):
        fetched(fail)


def test_a_keyboard_interrupt_goes_through() -> None:
    def interrupt():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fetched(interrupt)


def test_a_library_that_is_missed_only_at_the_first_fetch_is_a_missing_dependency(site, registry, fetch) -> None:
    site.source("late", site.good.replace("minutes = ", "import no_such_client\n            minutes = "))
    assert {entry.name: error for entry, error in registry.check()}["late"] is None
    with pytest.raises(PluginDependencyMissing) as caught:
        fetch("late")
    assert "'late' is installed (late-dist 1.0 (late_module:Source)), but it needs the module 'no_such_client'" in str(
        caught.value
    )
    assert "pip install --upgrade late-dist" in caught.value.hint


def test_a_missing_library_of_a_bare_class_is_told_with_its_own_name() -> None:
    def fail():
        import no_such_client  # noqa: F401

    with pytest.raises(PluginDependencyMissing, match="pip install no_such_client"):
        fetched(fail)


def test_a_secret_in_a_strangers_exception_does_not_show() -> None:
    def fail():
        raise ConnectionError("GET https://example.invalid/?token=hunter22 failed")

    with pytest.raises(SourceError) as caught:
        fetched(fail, token="hunter22")
    assert "hunter22" not in str(caught.value)
    assert "token=**********" in str(caught.value)


class FailsToClose(ct.DataSource):
    """Gives bars; closing it fails."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        fetch_fails: bool = False

    @ct.hookimpl
    def fetch_bars(self, request):
        if self.config.fetch_fails:
            raise ValueError("the first failure")
        return bars()

    @ct.hookimpl
    def close(self):
        raise OSError("the second failure")


def load_and_close(**options: object) -> ct.Bars:
    return ct.load(FailsToClose, symbol="BTC/USDT", timeframe="1m", registry=REGISTRY, **options)


def test_failing_to_close_loses_no_bars_and_is_warned_about() -> None:
    with pytest.warns(ct.PluginWarning, match=r"Closing the source 'FailsToClose' failed.*OSError: the second failure"):
        loaded = load_and_close()
    assert len(loaded) == 3


def test_failing_to_close_does_not_hide_what_failed_before() -> None:
    with pytest.warns(ct.PluginWarning), pytest.raises(SourceError, match="the first failure"):
        load_and_close(fetch_fails=True)


def test_a_source_is_closed_once_and_refuses_work_afterwards() -> None:
    opened = REGISTRY.source(FailsToClose)
    with pytest.warns(ct.PluginWarning):
        opened.close()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened.close()
    with pytest.raises(UnsupportedMode, match="'FailsToClose' was closed; it can't be used any more"):
        next(opened.bars(REQUEST))


class SaysRubbish(ct.DataSource):
    """Optional hooks with rubbish in their answers."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        answer: object = None

    @ct.hookimpl
    def fetch_bars(self, request):
        return bars()

    @ct.hookimpl
    def list_symbols(self):
        return self.config.answer

    list_timeframes = list_symbols

    @ct.hookimpl
    def server_time(self):
        return self.config.answer


@pytest.mark.parametrize("answer", [None, 5, "BTC/USDT", [1, 2], [None]])
def test_rubbish_about_itself_is_an_error_of_the_plugin(answer) -> None:
    opened = REGISTRY.source(SaysRubbish, answer=answer)
    for ask in (opened.symbols, opened.timeframes):
        with pytest.raises((PluginBroken, SourceError), match="SaysRubbish"):
            ask()


def test_a_clock_that_is_none_is_an_error_of_the_source() -> None:
    with pytest.raises(SourceError, match="'SaysRubbish' failed"):
        REGISTRY.source(SaysRubbish, answer="noon").now()


def test_what_is_not_offered_says_what_is() -> None:
    opened = REGISTRY.source(Answers)
    with pytest.raises(NotSupported, match="can't answer list_symbols") as caught:
        opened.symbols()
    assert caught.value.hint == "It offers: fetch_bars."
    with pytest.raises(NotSupported):
        opened.call("no_such_hook")
    assert not opened.offers("__class__")


# ── options ──────────────────────────────────────────────────────────────────────────────────────────


class Options(ct.DataSource):
    """Options of several kinds."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        path: str
        size: int = pydantic.Field(default=3, ge=1)
        start_at: str | None = None
        token: pydantic.SecretStr | None = None

        @pydantic.field_validator("start_at")
        @classmethod
        def _readable(cls, value: str) -> str:
            from cracktrader.times import parse_time

            return str(parse_time(value))

        @pydantic.field_validator("path")
        @classmethod
        def _kind(cls, value: str) -> str:
            if value.startswith(".."):
                raise ValueError(f"{value!r} leads out of the folder...")
            return value

    @ct.hookimpl
    def fetch_bars(self, request):
        return []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "The source 'Options' can't use these options: 'path' is missing."),
        ({"path": "a", "sise": 1}, "The source 'Options' has no option 'sise'. Did you mean 'size'?"),
        ({"path": "a", "size": 0}, "can't use these options: 'size': Input should be greater than or equal to 1."),
        ({"size": "x"}, "'path' is missing; 'size': Input should be a valid integer"),
        ({"path": "../a"}, "'path': '../a' leads out of the folder."),
        ({"path": "a", "start_at": "soon"}, "'start_at': 'soon' is not a time."),
    ],
)
def test_wrong_options_are_told_in_a_sentence(options, said) -> None:
    with pytest.raises(ct.CracktraderError) as caught:
        REGISTRY.source(Options, **options)
    assert said in caught.value.message
    assert caught.value.code == "CT001"
    assert caught.value.hint


def test_an_error_of_ours_within_an_option_keeps_its_hint() -> None:
    with pytest.raises(ct.CracktraderError) as caught:
        REGISTRY.source(Options, path="a", start_at="soon")
    assert caught.value.hint.startswith("Give ISO-8601 text")


def test_a_secret_of_the_wrong_type_does_not_show() -> None:
    with pytest.raises(ct.CracktraderError) as caught:
        REGISTRY.source(Options, path="a", token=["hunter22"])
    assert "hunter22" not in str(caught.value)
    assert "'token'" in str(caught.value)
