"""What a catalog answers, and what it asks its source for."""

from __future__ import annotations

import json
import pickle
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.bars import Flag
from cracktrader.catalog import Catalog, Fetch, Ledger, SeriesKey
from cracktrader.catalog.answering import LATE, SETTLING
from cracktrader.catalog.intervals import intersect, merge
from cracktrader.errors import ConfigurationError, InvalidOption, TemporarySourceError
from cracktrader.loading import keep

from .conftest import DAY, HOUR, Venue, hours

START = int(np.datetime64("2024-01-01", "ms").astype(np.int64))


def ledger_of(catalog: Catalog):
    (series,) = catalog.all()
    return series.ledger()


def asked_for(venue: Venue) -> list[tuple[int, int]]:
    return [(START - 10**12 if request.start is None else request.start, request.end) for request in venue.requests]


def moved_to(monkeypatch: pytest.MonkeyPatch, now: int) -> None:
    for room in ("cracktrader.catalog.answering", "cracktrader.loading", "cracktrader.times"):
        monkeypatch.setattr(f"{room}.now_ms", lambda: now)


# ── the same bars as without a catalog, and each interval once ───────────────────────────────────────


def test_a_second_load_asks_the_source_for_nothing(venue: Venue, catalog: Catalog) -> None:
    asked = {"start": "2024-01-10", "end": "2024-02-20"}
    first = venue.load(catalog, **asked)
    assert len(venue.requests) == 1
    second = venue.load(catalog, **asked)
    assert len(venue.requests) == 1
    assert first == second == venue.direct(**asked)
    assert not first.flags.any()


def test_what_is_held_is_told_in_the_provenance(venue: Venue, catalog: Catalog) -> None:
    bars = venue.load(catalog, start="2024-01-10", end="2024-01-12")
    assert bars.provenance["catalog"] == catalog.root
    assert bars.provenance["fetched_at"].endswith("Z")
    assert "plugin" in bars.provenance


ranges = st.tuples(st.integers(-200, 3200), st.integers(0, 900)).map(lambda one: {"start": START + one[0] * HOUR,
                                                                                 "end": START + sum(one) * HOUR})  # fmt: skip
heads = st.tuples(st.integers(-200, 3200), st.integers(1, 400)).map(lambda one: {"start": START + one[0] * HOUR, "limit": one[1]})
tails = st.tuples(st.integers(-200, 3200), st.integers(1, 400)).map(lambda one: {"end": START + one[0] * HOUR, "limit": one[1]})
both = st.tuples(ranges, st.integers(1, 400)).map(lambda one: {**one[0], "limit": one[1]})
everything = st.just({})


@given(st.lists(ranges | st.just({"end": START + 1000 * HOUR}), min_size=1, max_size=8), st.integers(1, 500))
def test_ranges_in_any_order_equal_a_direct_fetch_and_no_interval_is_fetched_twice(asked, chunk) -> None:
    venue = Venue(hours("2024-01-01", 3000, holes=0.1), chunk=chunk)
    with tempfile.TemporaryDirectory() as folder:
        for one in asked:
            assert venue.load(Path(folder), **one) == venue.direct(**one)
        fetched = asked_for(venue)
        for i, one in enumerate(fetched):
            assert not intersect([one], fetched[:i])
        before = len(venue.requests)
        for one in asked:
            venue.load(Path(folder), **one)
        assert len(venue.requests) == before


@given(st.lists(ranges | heads | tails | both | everything, min_size=1, max_size=6), st.integers(1, 500))
def test_limits_and_open_ends_equal_a_direct_fetch(asked, chunk) -> None:
    venue = Venue(hours("2024-01-01", 3000, holes=0.1), chunk=chunk)
    with tempfile.TemporaryDirectory() as folder:
        for one in asked:
            assert venue.load(Path(folder), **one) == venue.direct(**one), one


def test_a_hole_in_the_middle_is_found_and_nothing_else_is_fetched(venue: Venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2024-01-01", end="2024-01-10")
    venue.load(catalog, start="2024-03-01", end="2024-03-10")
    venue.requests.clear()
    bars = venue.load(catalog, start="2024-01-05", end="2024-03-05")
    assert [(str(r.to_dict()["start"]), str(r.to_dict()["end"])) for r in venue.requests] == [
        ("2024-01-10T00:00:00Z", "2024-03-01T00:00:00Z")
    ]
    assert bars == venue.direct(start="2024-01-05", end="2024-03-05")


def test_a_day_without_bars_is_known_to_be_empty(venue: Venue, catalog: Catalog) -> None:
    empty = next(day for day in range(START, START + 100 * DAY, DAY) if not len(venue.bars.between(day, day + DAY)))
    assert not len(venue.load(catalog, start=empty, end=empty + DAY))
    assert not len(venue.load(catalog, start=empty, end=empty + DAY))
    assert len(venue.requests) == 1
    assert ledger_of(catalog).coverage == ((empty, empty + DAY),)


def test_before_the_first_bar_is_fetched_once(venue: Venue, catalog: Catalog) -> None:
    venue.load(catalog, end="2024-02-01")
    venue.load(catalog, start="2001-01-01", end="2024-01-20")
    assert len(venue.requests) == 1


def test_the_last_bars_go_on_from_those_that_are_held(venue: Venue, catalog: Catalog) -> None:
    venue.load(catalog, end="2024-02-01", limit=50)
    venue.load(catalog, end="2024-02-02", limit=60)
    assert venue.requests[1].start == venue.requests[0].end
    assert sum(len(venue.direct(start=r.start, end=r.end, limit=r.limit)) for r in venue.requests) < 100


def test_an_empty_range_asks_for_nothing(venue: Venue, catalog: Catalog) -> None:
    assert not len(venue.load(catalog, start="2024-01-10", end="2024-01-10"))
    assert not venue.requests


def test_series_are_told_apart(tmp_path: Path) -> None:
    one, other = hours("2024-01-01", 50), hours("2024-01-01", 50, seed=2)
    minutes = hours("2024-01-01", 50, seed=3).but(timeframe="1m")
    asked = {"validation": "off", "catalog": tmp_path, "end": "2025-01-01"}
    for bars, symbol in ((one, "BTC/USDT"), (other, "btc/usdt")):
        held = ct.load(Venue(bars).source(), symbol=symbol, timeframe="1h", **asked)
        assert (held.close == bars.close).all()
    assert (ct.load(Venue(minutes).source(), symbol="BTC/USDT", timeframe="1m", **asked).close == minutes.close).all()
    assert (ct.load(Venue(other).source(), symbol="BTC/USDT", timeframe="1h", **asked).close == one.close).all()
    assert len(list(Catalog(tmp_path).all())) == 3


# ── what is written ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("timeframe", "files"),
    [("1m", ["2024-01"]), ("12h", ["2024-01", "2024-02", "2024-03"]), ("1d", ["2024"]), ("1M", ["2024", "2025"])],
)
def test_a_file_holds_a_month_or_a_year(timeframe: str, files: list[str], tmp_path: Path) -> None:
    frame = ct.Timeframe(timeframe)
    stop = {"1m": "2024-01-05", "12h": "2024-03-05", "1d": "2024-12-31", "1M": "2025-05-01"}[timeframe]
    time = frame.openings(START, int(np.datetime64(stop, "ms").astype(np.int64)))
    price = np.full(len(time), 5.25)
    bars = ct.Bars(time, price, price, price, price, price, symbol="BTC/USDT", timeframe=timeframe)
    assert Venue(bars).load(tmp_path, timeframe=timeframe, end="2025-12-01") == bars
    ledger = ledger_of(Catalog(tmp_path))
    assert [file.period for file in ledger.files] == files
    assert sum(file.rows for file in ledger.files) == len(bars)


@pytest.mark.parametrize(
    "values",
    [
        [0.1, 0.2, 0.3], [1e-8, 123456.12345678, 0.00000001], [1 / 3, 2 / 3, 1.0], [1e300, 1e-300, 5.0], [np.nan, 1.0, 2.0],
        [np.inf, -np.inf, 0.0], [-0.0, 0.0, 1.0], [2.0**53, 2.0**53 - 1, 1.0], [1e17, 2e17, 3e17], [-5.5, -1e-8, 12.0],
    ],
)  # fmt: skip
def test_every_float_comes_back_bit_for_bit(values: list[float], tmp_path: Path) -> None:
    column = np.array(values)
    time = START + HOUR * np.arange(len(values))
    bars = ct.Bars(time, *[column] * 5, symbol="BTC/USDT", timeframe="1h", extra={"funding": column})
    held = Venue(bars).load(tmp_path, end="2025-01-01")
    again = Venue(bars).load(tmp_path, end="2025-01-01")
    for one in (held, again):
        for name in ("open", "high", "low", "close", "volume", "funding"):
            assert one[name].tobytes() == column.tobytes(), name


@given(st.lists(st.floats() | st.decimals(-(10**9), 10**9, places=8).map(float), min_size=1, max_size=50))
def test_any_float_comes_back_bit_for_bit(values) -> None:
    column = np.array(values)
    bars = ct.Bars(START + HOUR * np.arange(len(values)), *[column] * 5, symbol="BTC/USDT", timeframe="1h")
    with tempfile.TemporaryDirectory() as folder:
        Venue(bars).load(Path(folder), end="2025-01-01")
        held = Venue(bars).load(Path(folder), end="2025-01-01")
    assert np.array_equal(held.close, column, equal_nan=True)
    assert np.array_equal(np.signbit(held.close[~np.isnan(column)]), np.signbit(column[~np.isnan(column)]))


def test_raw_bars_stay_raw_and_are_checked_on_reading(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 100)
    spoilt = bars.high.copy()
    spoilt[50] = bars.low[50] - 1
    venue = Venue(bars.but(high=spoilt))
    asked = {"end": "2024-01-05", "catalog": tmp_path}
    mended = venue.load(**asked, validation="repair")
    assert mended.report["ohlc_order"].count == 1
    raw = venue.load(**asked, validation="off")
    assert raw.high[50] == spoilt[50]
    assert venue.load(**asked, validation="repair") == mended
    assert len(venue.requests) == 1


def test_rows_that_the_checks_take_out_are_kept_beside_the_data_with_the_reason(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 100)
    close = bars.close.copy()
    close[50] = -1
    venue = Venue(bars.but(close=close))
    for _ in range(2):
        report = venue.load(tmp_path, end="2024-01-05", validation=ct.Validation(non_positive_price="quarantine")).report
        assert len(report.quarantine) == 1
    (series,) = Catalog(tmp_path).all()
    (line,) = series.quarantine()
    assert line.startswith("2024-01-03T02:00:00Z,")
    assert line.endswith(",-1.0," + str(bars.volume[50]) + ",non_positive_price")


def test_duplicates_and_disorder_are_left_for_the_checks(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 40)
    mixed = ct.Bars.concat([bars[:20], bars[10:12], bars[20:]])
    venue = Venue(mixed, chunk=5)
    held = venue.load(tmp_path, end="2024-01-05")
    assert len(held) == 42
    assert venue.load(tmp_path, end="2024-01-05", validation="repair") == bars


def test_extra_columns_come_back_even_where_only_some_files_have_them(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 24 * 60)
    late = bars.time >= START + 31 * DAY
    first = Venue(bars[~late])
    second = Venue(bars[late].but(extra={"trades": np.arange(late.sum(), dtype=float)}))
    first.load(tmp_path, end="2024-02-01")
    second.load(tmp_path, start="2024-02-01", end="2024-03-01")
    held = first.load(tmp_path, end="2024-03-01")
    assert np.isnan(held.extra["trades"][~late]).all()
    assert (held.extra["trades"][late] == np.arange(late.sum())).all()


def test_each_fetch_is_written_down(venue: Venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2024-01-10", end="2024-01-12")
    (fetch,) = ledger_of(catalog).fetches
    assert (fetch.start, fetch.end) == (START + 9 * DAY, START + 11 * DAY)
    assert fetch.rows == len(venue.bars.between("2024-01-10", "2024-01-12"))
    assert fetch.request["symbol"] == "BTC/USDT"
    assert fetch.complete
    assert fetch.digest
    assert fetch.at


def test_many_fetches_are_joined_and_still_cover_the_same() -> None:
    ledger = Ledger(SeriesKey("test", {}, "BTC/USDT", ct.Timeframe("1h")))
    for number in range(900):
        start = START + number * HOUR
        ledger = ledger.with_fetch(Fetch(start, start + HOUR, 1, str(number), start + DAY, start + HOUR))
    assert len(ledger.fetches) <= 401
    assert ledger.coverage == ((START, START + 900 * HOUR),)
    assert sum(fetch.rows for fetch in ledger.fetches) == 900
    assert sum(fetch.fetches for fetch in ledger.fetches) == 900
    assert Ledger.from_json(ledger.to_json(), "here") == ledger


# ── recent bars ──────────────────────────────────────────────────────────────────────────────────────


def test_a_bar_that_is_not_over_is_never_kept(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    venue = Venue(hours("2024-01-01", 100))
    now = START + 50 * HOUR + 1
    moved_to(monkeypatch, now)
    venue.clock = now
    held = venue.load(catalog, end="2024-02-01")
    assert held.time[-1] == START + 49 * HOUR
    assert ledger_of(catalog).coverage[-1][1] == START + 50 * HOUR


def test_the_sources_clock_decides_what_is_over(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    venue = Venue(hours("2024-01-01", 100))
    moved_to(monkeypatch, START + 60 * HOUR)  # this machine's is ten hours fast
    venue.clock = START + 50 * HOUR + 1
    assert venue.load(catalog, end="2024-02-01").time[-1] == START + 49 * HOUR
    moved_to(monkeypatch, START + 20 * HOUR)  # and now it is slow: what is held was over all the same
    assert len(venue.load(catalog, end=START + 15 * HOUR, validation="repair")) == 15


def test_recent_bars_are_asked_for_again_after_their_ttl_and_older_ones_never(monkeypatch, make_catalog) -> None:
    venue = Venue(hours("2024-01-01", 200))
    catalog = make_catalog(ttl=600)
    now = START + 50 * HOUR + 60_000
    for after, requests in ((0, 1), (300_000, 1), (700_000, 2), (800_000, 2)):
        venue.clock = now + after
        moved_to(monkeypatch, now + after)
        venue.load(catalog, end=START + 50 * HOUR)
        assert len(venue.requests) == requests, after
    assert venue.requests[1].start == START + 49 * HOUR  # only the hour that might have been corrected
    venue.clock = now + SETTLING + 10 * HOUR
    moved_to(monkeypatch, venue.clock)
    venue.load(catalog, end=START + 50 * HOUR)
    venue.load(catalog, end=START + 50 * HOUR)
    assert len(venue.requests) == 3  # once more, now that it has settled


def test_an_empty_end_is_not_believed_until_it_is_old(monkeypatch: pytest.MonkeyPatch, catalog: Catalog) -> None:
    bars = hours("2024-01-01", 100)
    late = Venue(bars[:50])  # a source that is behind with its data
    late.clock = START + 90 * HOUR
    moved_to(monkeypatch, late.clock)
    assert len(late.load(catalog)) == 50
    assert ledger_of(catalog).coverage[-1][1] == START + 50 * HOUR
    caught_up = Venue(bars)
    caught_up.clock = START + 95 * HOUR
    moved_to(monkeypatch, caught_up.clock)
    assert len(caught_up.load(catalog)) == 95
    caught_up.clock = START + 100 * HOUR + 2 * LATE
    moved_to(monkeypatch, caught_up.clock)
    caught_up.load(catalog)
    assert ledger_of(catalog).coverage[-1][1] == START + 100 * HOUR + LATE


def test_a_revision_replaces_the_row_is_flagged_and_the_old_value_kept(make_catalog) -> None:
    bars = hours("2024-01-01", 24 * 40)
    venue = Venue(bars)
    asked = {"start": "2024-01-01", "end": "2024-02-10"}
    venue.load(make_catalog(), **asked)
    close = bars.close.copy()
    close[-3] += 1
    venue.bars = bars.but(close=close)
    assert (venue.load(make_catalog(), **asked).close == bars.close).all()
    venue.requests.clear()
    revised = venue.load(make_catalog(recheck=5), **asked)
    assert [(request.start, request.end) for request in venue.requests] == [(bars.time[-5], START + 40 * DAY)]
    assert (revised.close == close).all()
    assert np.flatnonzero(revised.flags & Flag.REVISED).tolist() == [len(bars) - 3]
    ledger = ledger_of(make_catalog())
    (log,) = ledger.revisions
    assert (log.rows, log.first) == (1, bars.time[-3])
    old = ct.Bars.from_parquet(next(Path(make_catalog().root).rglob(log.name)), symbol="BTC/USDT", timeframe="1h")
    assert old.close.tolist() == [bars.close[-3]]
    again = venue.load(make_catalog(recheck=5), **asked)
    assert (again.flags == revised.flags).all()  # it stays flagged, and is not revised again
    assert len(ledger_of(make_catalog()).revisions) == 1


def test_a_bar_that_the_source_has_no_more_is_kept_and_suspect(make_catalog) -> None:
    bars = hours("2024-01-01", 48)
    venue = Venue(bars)
    asked = {"start": "2024-01-01", "end": "2024-01-03"}
    venue.load(make_catalog(), **asked)
    venue.bars = bars[np.arange(48) != 45]
    held = venue.load(make_catalog(recheck=5), **asked)
    assert held.close.tolist() == bars.close.tolist()
    assert np.flatnonzero(held.flags).tolist() == [45]
    assert held.flags[45] == Flag.SUSPECT


# ── interruptions ────────────────────────────────────────────────────────────────────────────────────


def test_what_came_before_a_failure_is_kept_and_the_next_load_goes_on(venue: Venue, catalog: Catalog) -> None:
    venue.breaks_after = 10
    with pytest.raises(TemporarySourceError):
        venue.load(catalog, start="2024-01-01", end="2024-03-01")
    (fetch,) = ledger_of(catalog).fetches
    assert not fetch.complete
    assert fetch.rows == 70
    venue.breaks_after = None
    whole = venue.load(catalog, start="2024-01-01", end="2024-03-01")
    assert venue.requests[1].start == fetch.end == venue.bars.time[69] + HOUR
    assert whole == venue.direct(start="2024-01-01", end="2024-03-01")


def test_progress_hears_of_every_chunk_and_can_end_the_load(venue: Venue, catalog: Catalog) -> None:
    heard: list[int] = []
    venue.load(catalog, start="2024-01-01", end="2024-01-05", progress=heard.append)
    assert sum(heard) == len(venue.bars.between("2024-01-01", "2024-01-05"))

    class Enough(Exception):
        pass

    def stop(rows: int) -> None:
        if len(heard) > 20:
            raise Enough
        heard.append(rows)

    with pytest.raises(Enough):
        venue.load(catalog, start="2024-01-05", end="2024-03-01", progress=stop)
    assert ledger_of(catalog).rows > sum(heard[:3])


# ── where a source lacks a timeframe ─────────────────────────────────────────────────────────────────


def test_a_timeframe_that_lacks_is_made_of_one_that_divides_it(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 240)
    memory = ct.source("memory", bars=bars)
    four = ct.load(memory, symbol="BTC/USDT", timeframe="4h", start="2024-01-02", end="2024-01-05")
    assert four == bars.resample("4h").between("2024-01-02", "2024-01-05")
    assert four.provenance["resampled_from"] == "1h"
    with pytest.raises(ct.CracktraderError, match="1m"):
        ct.load(memory, symbol="BTC/USDT", timeframe="1m")


# ── how it is asked for ──────────────────────────────────────────────────────────────────────────────


def test_a_source_over_a_network_is_kept_unless_told_otherwise(venue: Venue, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CRACKTRADER_CATALOG", str(tmp_path / "usual"))
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "start": "2024-01-01", "end": "2024-01-03"}
    ct.load(venue.source(), **asked)
    assert not (tmp_path / "usual").exists()
    ct.load(venue.source(remote=True), **asked, catalog=False)
    assert not (tmp_path / "usual").exists()
    for _ in range(2):
        ct.load(venue.source(remote=True), **asked)
    assert len(venue.requests) == 3
    assert ct.load(venue.source(), **asked, catalog=True) == ct.load(venue.source(), **asked)
    assert Catalog.of(True).root == str(tmp_path / "usual")


def test_a_catalog_pickles(make_catalog) -> None:
    catalog = pickle.loads(pickle.dumps(make_catalog(ttl=5, recheck=2)))
    assert (catalog.root, catalog.ttl, catalog.recheck) == (make_catalog().root, 5.0, 2)


@pytest.mark.parametrize(
    "told",
    [
        {"cache_enabled": True, "cache_ttl": 3600, "cache_path": "there"},
        {"local_storage": True, "storage_path": "there", "storage_format": "parquet"},
        {"cache_enabled": True, "local_storage": True, "cache_path": "there"},
        {"cache_path": "there"},
        {"catalog": "there", "cache_ttl": 1800},
    ],
)
def test_the_options_of_the_guide_mean_the_catalog(told, venue: Venue, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        venue.load(**{"catalog": None} | told, start="2024-01-01", end="2024-01-03")
    assert len(venue.requests) == 1
    assert ledger_of(Catalog("there")).rows


def test_the_guides_cache_can_be_turned_off(venue: Venue) -> None:
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "start": "2024-01-01", "end": "2024-01-03"}
    for _ in range(2):
        ct.load(venue.source(remote=True), **asked, cache_enabled=False)
    assert len(venue.requests) == 2


@pytest.mark.parametrize(
    "told",
    [
        {"storage_format": "csv", "local_storage": True},
        {"cache_path": "here", "storage_path": "there"},
        {"catalog": "here", "cache_path": "there"},
        {"cache_enabled": True, "cache_ttl": -5},
    ],
)
def test_options_of_the_guide_that_make_no_sense_are_refused(told, venue: Venue) -> None:
    with pytest.raises(ConfigurationError) as error:
        venue.load(**{"catalog": None} | told, end="2024-01-03")
    assert error.value.hint
    assert not venue.requests


@pytest.mark.parametrize("settings", [{"ttl": -1}, {"ttl": float("nan")}, {"recheck": -1}, {"recheck": 1.5}, {"endpoint": "x"}])
def test_wrong_settings_are_refused(settings, make_catalog) -> None:
    with pytest.raises(ConfigurationError):
        make_catalog(**settings)


def test_a_source_of_an_open_file_can_not_be_kept(tmp_path: Path) -> None:
    bars = hours("2024-01-01", 10)
    with pytest.raises(InvalidOption, match=r"'bars'.*catalog") as told:
        ct.load("memory", bars=bars, symbol="BTC/USDT", timeframe="1h", catalog=tmp_path)
    assert "catalog=False" in told.value.hint


def test_the_ledger_is_readable_by_people(venue: Venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2024-01-10", end="2024-01-12")
    (path,) = Path(catalog.root).rglob("ledger.json")
    said = json.loads(path.read_text())
    assert said["series"]["symbol"] == "BTC/USDT"
    assert said["schema"] == 1
    assert merge([(fetch["start"], fetch["end"]) for fetch in said["fetches"]])


def test_a_series_can_be_brought_up_to_date_without_reading_it(venue: Venue, catalog: Catalog) -> None:
    asked = {"symbol": "BTC/USDT", "timeframe": "1h", "start": "2024-01-01", "end": "2024-03-01", "catalog": catalog}
    ledger = keep(venue.source(), **asked)
    assert ledger.rows == len(venue.bars.between("2024-01-01", "2024-03-01"))
    assert keep(venue.source(), **asked) == ledger
    assert len(venue.requests) == 1
    with pytest.raises(InvalidOption, match="without a catalog"):
        keep(venue.source(), **asked | {"catalog": False})
