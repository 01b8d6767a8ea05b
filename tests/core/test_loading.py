"""Loading: chunks of any kind become checked bars of the range, with where they came from; what was opened is closed."""

import inspect
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.bars import Bars, Flag
from cracktrader.errors import (
    CracktraderError,
    DataError,
    InvalidOption,
    InvalidRange,
    InvalidTimeframe,
    QualityError,
    SourceError,
)
from cracktrader.loading import load, source
from cracktrader.plugins import Registry
from cracktrader.plugins.options import _OF_LOADS
from cracktrader.quality import CustomCheck, Validation
from cracktrader.times import isoformat, now_ms, parse_time

MINUTE = 60_000
START = 1_704_067_200_000


def none_installed() -> Registry:
    return Registry(entry_points=lambda group: [], environ={})


def make(rows: int = 10, *, start: int = START, **changes) -> Bars:
    column = np.arange(rows, dtype=np.float64) % 3 + 100
    arguments = {
        "time": start + MINUTE * np.arange(rows), "open": column, "high": column + 0.5, "low": column - 0.5, "close": column,
        "volume": np.arange(rows) + 1.0, "symbol": "BTC/USDT", "timeframe": "1m",
    }  # fmt: skip
    return Bars(**arguments | changes)


class Chunks(ct.DataSource):
    """Gives what it is told to, whatever was asked for, and remembers what was done with it."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        chunks: Any = ()
        now: int = 4_000_000_000_000

    def __init__(self, config=None, /, **options):
        super().__init__(config, **options)
        self.requests, self.closed = [], 0
        made.append(self)

    @ct.hookimpl
    def fetch_bars(self, request):
        self.requests.append(request)
        for chunk in self.config.chunks() if callable(self.config.chunks) else self.config.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    @ct.hookimpl
    def server_time(self):
        return self.config.now

    @ct.hookimpl
    def close(self):
        self.closed += 1


made: list[Chunks] = []


@pytest.fixture(autouse=True)
def forget():
    made.clear()


def loaded(chunks, **options) -> Bars:
    return load(Chunks, **{"symbol": "BTC/USDT", "timeframe": "1m", "registry": none_installed(), "chunks": chunks} | options)


# ── chunks ───────────────────────────────────────────────────────────────────────────────────────────

KINDS = {
    "Bars": lambda bars: bars,
    "pandas": Bars.to_pandas,
    "pandas with epochs": lambda bars: (
        bars.to_pandas().drop(columns="flags").assign(unix=bars.time // 1000).reset_index(drop=True)
    ),
    "Arrow": Bars.to_arrow,
    "batch": lambda bars: bars.to_arrow().to_batches()[0],
    "reader": lambda bars: bars.to_arrow().to_reader(),
    "polars": pl.DataFrame,
}


@pytest.mark.parametrize("kind", KINDS)
def test_chunks_of_every_kind_become_the_same_bars(kind):
    bars = make()
    assert loaded([KINDS[kind](bars[:4]), KINDS[kind](bars[4:])]) == bars
    assert loaded(lambda: [KINDS[kind](bars)]) == bars


@given(st.lists(st.sampled_from(sorted(KINDS)), min_size=1, max_size=6), st.lists(st.integers(1, 3), min_size=6, max_size=6))
def test_mixtures_of_chunks_become_the_same_bars(kinds, sizes):
    edges = np.cumsum([0, *sizes])
    chunks = [KINDS[kind](make(20)[edges[at] : edges[at + 1]]) for at, kind in enumerate(kinds)]
    assert loaded(chunks) == make(20)[: edges[len(kinds)]]


def test_chunks_are_of_the_symbol_and_source_that_were_asked_for():
    bars = loaded([make(3, symbol="XBTUSD", source="elsewhere")], symbol="BTC/USDT")
    assert (bars.symbol, bars.timeframe, bars.source) == ("BTC/USDT", "1m", "Chunks")
    assert loaded([make(3)], symbol=None).symbol == "BTC/USDT"


def test_columns_that_only_some_chunks_have_are_nan_in_the_others():
    bars = loaded([make(4)[:2].but(extra={"trades": [1, 2]}), make(4)[2:]])
    np.testing.assert_array_equal(bars["trades"], [1, 2, np.nan, np.nan])


@pytest.mark.parametrize("chunks", [[], [make(0)], [make(0), make(0).to_pandas()]])
def test_nothing_is_no_bars_with_a_report(chunks):
    bars = loaded(chunks)
    assert (len(bars), bars.symbol, bars.timeframe, bars.source) == (0, "BTC/USDT", "1m", "Chunks")
    assert bars.report["gap"].count == 0
    assert bars.report.rows_in == 0


@pytest.mark.parametrize("chunk", [5, "bars", {"open": [1]}, make(3, timeframe="1h"), make(3).to_pandas().drop(columns="close")],
                         ids=["number", "text", "mapping", "other timeframe", "no close"])  # fmt: skip
def test_a_chunk_that_is_no_bars_is_told_with_the_source_and_the_source_is_closed(chunk):
    with pytest.raises(DataError, match="'Chunks'"):
        loaded([make(3), chunk])
    assert made[0].closed == 1


# ── the range ────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(-3, 13), st.integers(0, 13), st.lists(st.integers(0, 10), max_size=3))
def test_rows_outside_the_range_are_cut_whatever_the_source_sends(first, length, cuts):
    edges = [0, *sorted(cuts), 10]
    bars = loaded(
        [make()[a:b] for a, b in pairwise(edges)],
        start=START + MINUTE * first, end=START + MINUTE * (first + length),
    )  # fmt: skip
    assert bars.time.tolist() == [time for time in make().time.tolist() if first <= (time - START) // MINUTE < first + length]


def test_the_source_is_asked_for_the_range_on_the_grid():
    loaded([], start="2024-01-01T00:00:30", end="2024-01-02", limit=5)
    assert made[0].requests == [ct.BarRequest("BTC/USDT", "1m", "2024-01-01T00:01", "2024-01-02", 5)]


@given(st.integers(1, 12), st.lists(st.integers(0, 10), max_size=4))
def test_a_limit_is_the_first_bars_of_a_range_with_a_start_else_the_last(limit, cuts):
    edges = [0, *sorted(cuts), 10]
    chunks = [make()[a:b] for a, b in pairwise(edges)]
    assert loaded(chunks, limit=limit) == make()[-limit:]
    assert loaded(chunks, limit=limit, end=START + 8 * MINUTE) == make()[max(0, 8 - limit) : 8]
    assert loaded(chunks, limit=limit, start=START + 2 * MINUTE) == make()[2 : 2 + limit]


def test_no_more_chunks_are_asked_for_than_the_limit_needs():
    taken = []

    def chunks():
        for row in range(10):
            taken.append(row)
            yield make()[row : row + 1]

    assert len(loaded(chunks, start=START, limit=3)) == 3
    assert taken == [0, 1, 2]


def test_a_range_of_the_seventies_is_loaded_as_asked():
    start = parse_time("1971-01-01")
    bars = make(300, start=start)
    assert loaded([bars], start="1971-01-01T00:10", end="1971-01-01T00:20") == bars[10:20]
    hours = loaded([bars], start="1971-01-01", end="1971-01-01T02:00", compression=60)
    assert [isoformat(time) for time in hours.time] == ["1971-01-01T00:00:00Z", "1971-01-01T01:00:00Z"]


# ── compression ──────────────────────────────────────────────────────────────────────────────────────


def test_compression_makes_longer_bars_on_the_calendar_grid():
    bars = loaded([make(20)], compression=5)
    assert bars == make(20).resample("5m")
    assert bars.report.rows_in == 20
    assert bars.provenance["resampled_from"] == "1m"


@given(st.integers(1, 5), st.booleans())
def test_range_and_limit_count_the_longer_bars(limit, with_start):
    longer = make(60).resample("5m")
    if with_start:
        assert loaded([make(60)], compression=5, limit=limit, start=START + 3 * MINUTE) == longer[1 : 1 + limit]
    else:
        assert loaded([make(60)], compression=5, limit=limit) == longer[-limit:]
    assert loaded([make(60)], compression=5, start=START + MINUTE, end=START + 16 * MINUTE) == longer[1:4]


def test_a_longer_bar_that_is_not_over_is_left_out():
    bars = loaded([make(13)], compression=5, now=START + 13 * MINUTE)
    assert bars == make(10).resample("5m")
    assert loaded([make(13)], compression=5)[-1].flags == Flag.SUSPECT


@pytest.mark.parametrize("compression", [0, -1, 1.5, "2"])
def test_a_compression_that_makes_no_bar_is_refused(compression):
    with pytest.raises(InvalidTimeframe, match="can't be multiplied"):
        loaded([make()], compression=compression)


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────


def test_bars_are_checked_and_repaired_by_the_rules_and_the_clock_of_the_source():
    raw = make(20, volume=[-1.0] + [1.0] * 19)[np.delete(np.arange(20), 5)]
    bars = loaded([raw], now=START + 18 * MINUTE)
    assert {finding.check: finding.count for finding in bars.report} == {
        "negative_volume": 1,
        "future": 1,
        "unclosed": 1,
        "gap": 1,
    }
    assert len(bars) == 18
    assert loaded([raw], validation="off") == raw
    assert loaded([raw], validation=Validation(gap="ignore", negative_volume="drop")).time.tolist() == raw.time.tolist()[1:]


def test_the_report_knows_the_request():
    report = loaded([make()], start=START - 5 * MINUTE, limit=7).report
    assert report.request == {"symbol": "BTC/USDT", "timeframe": "1m", "start": "2023-12-31T23:55:00Z", "end": None, "limit": 7}
    assert "the source has none before" in report.notes[0]


def test_a_quality_error_carries_the_report_and_the_source_is_closed():
    with pytest.raises(QualityError, match="negative_volume: 1") as caught:
        loaded([make(volume=[-1.0] * 1 + [1.0] * 9)], validation="strict")
    report = caught.value.report
    assert (report.source, report.symbol, report["negative_volume"].count) == ("Chunks", "BTC/USDT", 1)
    assert report.provenance["plugin"].endswith(":Chunks")
    assert made[0].closed == 1


def test_the_checks_of_plugins_run_with_their_own_policy_and_hear_of_the_report():
    heard = []

    class Plugin:
        @ct.hookimpl
        def quality_checks(self):
            return [CustomCheck("odd_volume", lambda bars: bars.volume % 2 == 1, policy="quarantine")]

        @ct.hookimpl
        def bars_loaded(self, request, bars, report):
            heard.append((request.symbol, len(bars), report["odd_volume"].count))

    registry = none_installed()
    registry.add_plugin("mine", Plugin())
    bars = loaded([make()], registry=registry, validation=Validation(gap="ignore"))
    assert bars.volume.tolist() == [2, 4, 6, 8, 10]
    assert bars.report.quarantine.reasons == ("odd_volume",) * 5
    assert heard == [("BTC/USDT", 5, 5)]
    with pytest.raises(QualityError, match="odd_volume: 5"):
        loaded([make()], registry=registry, validation=Validation(odd_volume="raise"))


# ── provenance ───────────────────────────────────────────────────────────────────────────────────────


def test_where_the_bars_come_from_is_told():
    before = now_ms() // 1000 * 1000
    bars = loaded([make()])
    assert bars.provenance["plugin"].endswith(":Chunks")
    assert "plugin_version" in bars.provenance
    assert before <= parse_time(bars.provenance["loaded_at"]) <= now_ms()
    assert bars.report.provenance == dict(bars.provenance)


def test_what_chunks_say_is_joined_where_it_is_a_list_and_else_the_last_counts():
    said = [
        {"files": ["a.csv"], "page": 1, "host": "x"},
        {"files": ["b.csv", "a.csv"], "page": 2},
        {"files": ("c.csv",), "notes": ["n"]},
    ]
    bars = loaded([make(9)[3 * at : 3 * at + 3].but(provenance=provenance) for at, provenance in enumerate(said)])
    assert {key: bars.provenance[key] for key in ("files", "page", "host", "notes")} == {
        "files": ["a.csv", "b.csv", "c.csv"], "page": 2, "host": "x", "notes": ["n"],
    }  # fmt: skip
    assert bars.report.notes == ("n",)


def test_one_chunk_may_say_a_word_where_another_says_a_list():
    said = [{"files": "a.csv"}, {"files": ["b.csv"]}, {"files": "c.csv"}]
    bars = loaded([make(3)[at : at + 1].but(provenance=provenance) for at, provenance in enumerate(said)])
    assert bars.provenance["files"] == ["a.csv", "b.csv", "c.csv"]


def test_what_chunks_say_of_an_earlier_load_does_not_hide_this_one():
    earlier = {"plugin": "elsewhere", "plugin_version": "9", "loaded_at": "1999-01-01T00:00:00Z", "file": "x"}
    bars = loaded([make().but(provenance=earlier)])
    assert bars.provenance["plugin"].endswith(":Chunks")
    assert bars.provenance["loaded_at"] > "2020"
    assert bars.provenance["file"] == "x"


# ── what is opened is closed ─────────────────────────────────────────────────────────────────────────


def test_a_source_that_was_made_for_the_load_is_closed():
    loaded([make()])
    assert [each.closed for each in made] == [1]


@pytest.mark.parametrize("failure", [ValueError("broken"), SourceError("gone"), KeyError("x")])
def test_it_is_closed_on_failure_too_and_the_failure_is_told_in_our_words(failure):
    with pytest.raises(SourceError) as caught:
        loaded([make(), failure])
    assert str(failure.args[0]) in str(caught.value)
    assert made[0].closed == 1


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"timeframe": "7x"}, InvalidTimeframe),
        ({"timeframe": None}, InvalidTimeframe),
        ({"limit": 0}, InvalidRange),
        ({"start": "2024-02-01", "end": "2024-01-01"}, InvalidRange),
        ({"validation": "stric"}, InvalidOption),
        ({"compression": 0}, InvalidTimeframe),
    ],
)
def test_a_request_that_makes_no_sense_leaves_nothing_open_and_asks_for_nothing(options, error):
    with pytest.raises(error):
        loaded([make()], **options)
    assert all(each.closed == 1 and each.requests == [] for each in made)


def test_a_shared_source_stays_open_for_whoever_made_it():
    with source(Chunks, registry=none_installed(), chunks=[make()]) as shared:
        for _ in range(2):
            assert load(shared, symbol="BTC/USDT", timeframe="1m") == make()
        with pytest.raises(CracktraderError):
            load(shared, symbol="BTC/USDT", timeframe="7x")
        assert made[0].closed == 0
    assert [each.closed for each in made] == [1]


def test_an_object_of_the_user_stays_open_too():
    mine = Chunks(chunks=[make()])
    for _ in range(2):
        assert load(mine, symbol="BTC/USDT", timeframe="1m", registry=none_installed()) == make()
    assert (mine.closed, len(mine.requests)) == (0, 2)


def test_a_configured_source_takes_no_more_options():
    for configured in (source(Chunks, registry=none_installed()), Chunks()):
        with pytest.raises(InvalidOption, match="configured already; chunks can't be changed"):
            load(configured, symbol="X", timeframe="1m", chunks=[], registry=none_installed())
    assert all(each.closed == 0 for each in made)


def test_options_of_the_source_are_its_own():
    with pytest.raises(InvalidOption, match=r"has no option 'chunk'\. Did you mean 'chunks'\?"):
        loaded([], chunk=[])


@pytest.mark.parametrize(
    ("option", "meant"), [("strat", "start"), ("sybmol", "symbol"), ("timefrme", "timeframe"), ("vaildation", "validation")]
)
def test_a_misspelt_option_of_the_load_is_guessed(option: str, meant: str):
    with pytest.raises(InvalidOption, match=rf"has no option '{option}'\. Did you mean '{meant}'\?"):
        loaded([], **{option: "2024-01-01"})


@pytest.mark.parametrize("option", _OF_LOADS)
def test_an_option_of_the_load_is_no_option_of_the_source(option: str):
    assert option in inspect.signature(load).parameters
    with pytest.raises(InvalidOption, match=f"has no option '{option}'.\nGive it to ct.load or ct.feed"):
        source(Chunks, registry=none_installed(), **{option: "1"})
