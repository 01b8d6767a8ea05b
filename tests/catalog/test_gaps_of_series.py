"""Gaps of a catalog: each has the class that the ledger, the series and the other symbols give evidence of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cracktrader as ct
from cracktrader.catalog import Catalog, CatalogWarning, SeriesKey
from cracktrader.catalog.transfer import keep
from cracktrader.catalog.upkeep import mend, select
from cracktrader.gaps import gaps_of
from cracktrader.quality.gaps import Gap
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, parse_time

MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000
START = 1_704_067_200_000
SYMBOLS = ("BTC/USD", "BTC/EUR", "ETH/USD", "LTC/USD")


def bars_at(ordinals: np.ndarray, timeframe: str = "1m") -> ct.Bars:
    frame = Timeframe(timeframe)
    time = frame.opening(frame.ordinal(START) + np.asarray(ordinals, np.int64))
    return ct.Bars(time, *[np.ones(len(time))] * 5, symbol="", timeframe=timeframe)


def put(catalog: Catalog, symbol: str, ordinals: np.ndarray, timeframe: str = "1m", exchange: str = "one") -> None:
    keep(
        catalog, SeriesKey("ccxt", {"exchange": exchange}, symbol, Timeframe(timeframe)), bars_at(ordinals, timeframe), origin="x"
    )


def gaps(catalog: Catalog, symbol: str, timeframe: str = "1m") -> list[Gap]:
    return next(
        found for series, found in gaps_of(select(catalog)) if (series.key.symbol, series.key.timeframe) == (symbol, timeframe)
    )


def without(count: int, *holes: tuple[int, int]) -> np.ndarray:
    """So many ordinals, but those in the half-open holes."""
    kept = np.ones(count, np.bool_)
    for start, end in holes:
        kept[start:end] = False
    return np.flatnonzero(kept)


# ── the other symbols ────────────────────────────────────────────────────────────────────────────────


def test_a_hole_in_every_symbol_is_an_outage(catalog: Catalog) -> None:
    for at, symbol in enumerate(SYMBOLS):
        put(catalog, symbol, without(2880, (1000 + at, 1400), (200 * at + 100, 200 * at + 102)))
    for symbol in SYMBOLS:
        long, short = sorted(gaps(catalog, symbol), key=lambda gap: -gap.missing)
        assert long.kind == "outage"
        assert long.evidence == "3 of 3 other symbols of the source lack their bars as well"
        assert short.kind == "no_trades"
        assert short.evidence.endswith("3 of 3 other symbols of the source traded")


def test_a_short_hole_is_an_outage_where_all_symbols_have_it(catalog: Catalog) -> None:
    for symbol in SYMBOLS:
        put(catalog, symbol, without(2880, (1000, 1002), (500, 502), (700, 702), (900, 902)))
    assert {gap.kind for gap in gaps(catalog, SYMBOLS[0])} == {"outage"}


def test_thin_symbols_that_are_quiet_together_by_chance_are_no_outage(catalog: Catalog) -> None:
    rng = np.random.default_rng(3)
    for symbol in SYMBOLS:
        put(catalog, symbol, np.flatnonzero(rng.random(20_000) < 0.5))
    found = [gap for symbol in SYMBOLS for gap in gaps(catalog, symbol)]
    assert len(found) > 10_000
    assert sum(gap.kind == "outage" for gap in found) < len(found) / 500


def test_other_sources_exchanges_and_times_are_no_evidence(catalog: Catalog) -> None:
    put(catalog, "BTC/USD", without(2880, (1000, 1003), (5, 8), (50, 53)))
    put(catalog, "ETH/USD", without(2880, (1000, 1003)), exchange="other")
    put(catalog, "LTC/USD", np.arange(500))  # ended before
    put(catalog, "XRP/USD", np.arange(1002, 2880))  # began later
    put(catalog, "BTC/USD", np.arange(200), "15m")  # itself
    found = gaps(catalog, "BTC/USD")
    assert [gap.kind for gap in found] == ["no_trades"] * 3
    assert [gap.evidence.endswith("1 of 1 other symbols of the source traded") for gap in found] == [True, True, False]


def test_a_longer_timeframe_tells_too_where_a_bar_of_it_lies_in_the_hole(catalog: Catalog) -> None:
    put(catalog, "BTC/USD", without(5 * 1440, (1200, 1800), (60, 63)))
    put(catalog, "ETH/USD", without(5 * 24, (20, 30)), "1h")
    short, long = gaps(catalog, "BTC/USD")
    assert (long.kind, long.evidence) == ("outage", "1 of 1 other symbols of the source lacks its bars as well")
    assert "other symbols" not in short.evidence


def test_the_hole_of_2018_04_04_is_an_outage(shared_data: Path, catalog: Catalog) -> None:
    symbols = ("BTC-USD", "BTC-EUR", "ETH-USD", "LTC-USD")
    for symbol in symbols:
        path = shared_data / f"coinbase_{symbol}_1m_2018-04-04_05.csv"
        bars = ct.load("csv", path=path, symbol=symbol, timeframe="1m", validation="off")
        keep(catalog, SeriesKey("coinbase", {}, symbol, Timeframe("1m")), bars, origin=path.name)
    found = gaps_of(select(catalog))
    assert {series.key.symbol for series, _ in found} == set(symbols)
    for _, each in found:
        longest = max(each, key=lambda gap: gap.missing)
        assert longest.kind == "outage"
        assert longest.evidence == "3 of 3 other symbols of the source lack their bars as well"
        assert isoformat(longest.end) == "2018-04-05T00:00:00Z"
        assert "2018-04-04T16:47" < isoformat(longest.start) < "2018-04-04T16:54"
        assert sum(gap.kind == "outage" for gap in each) == 1


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────


def test_what_was_never_fetched_is_told_from_what_had_no_bars(venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2023-12-25", end="2024-01-10")
    venue.load(catalog, start="2024-01-20", end="2024-02-01")
    (found,) = [each for _, each in gaps_of(select(catalog))]
    listed, never = [next(gap for gap in found if gap.kind == kind) for kind in ("before_listing", "never_fetched")]
    assert (listed.start, listed.end) == (parse_time("2023-12-25"), int(venue.bars.time[0]))
    assert (never.start, never.end, never.missing) == (parse_time("2024-01-10"), parse_time("2024-01-20"), 240)
    assert {gap.kind for gap in found} == {"before_listing", "never_fetched", "no_trades", "outage"}


def test_whoever_asked_from_the_beginning_asked_for_no_bar_before_the_first(venue, catalog: Catalog) -> None:
    venue.load(catalog, end="2024-01-10")
    (found,) = [each for _, each in gaps_of(select(catalog))]
    assert "before_listing" not in {gap.kind for gap in found}


@pytest.mark.parametrize("which", [0, 1, 2])
def test_what_damage_took_counts_as_never_fetched_also_at_the_ends(venue, catalog: Catalog, which: int) -> None:
    venue.load(catalog, start="2024-01-01", end="2024-04-01")
    (series,) = select(catalog)
    sorted(Path(str(series)).glob("*.parquet"))[which].write_bytes(b"PAR1")
    with pytest.warns(CatalogWarning, match="catalog repair"):
        assert gaps_of([series]) == []
    mend(series)
    ((_, found),) = gaps_of([series])
    (never,) = [gap for gap in found if gap.kind == "never_fetched"]
    months = ["2024-01-01", "2024-02-01", "2024-03-01", "2024-04-01"]
    assert (never.start, never.end) == (parse_time(months[which]), parse_time(months[which + 1]))


def test_a_range_without_any_bar_is_told(venue, catalog: Catalog) -> None:
    venue.load(catalog, start="2023-01-01", end="2023-01-05")
    ((_, found),) = gaps_of(select(catalog))
    assert [(gap.kind, gap.missing) for gap in found] == [("before_listing", 96)]


@given(
    fetched=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 60)), min_size=1, max_size=6),
    there=st.lists(st.booleans(), min_size=260, max_size=260),
)
def test_bars_and_gaps_fill_all_that_is_known_and_never_overlap(fetched, there, tmp_path_factory) -> None:
    from cracktrader.catalog.intervals import merge

    catalog = Catalog(tmp_path_factory.mktemp("catalog"))
    market = bars_at(np.flatnonzero(there), "1h")

    class Known(ct.DataSource):
        api = (1, 0)

        @ct.hookimpl
        def fetch_bars(self, request):
            return market[request.contains(market.time)]

    asked = [(START + first * HOUR, START + (first + count) * HOUR) for first, count in fetched]
    for start, end in asked:
        ct.load(Known(), symbol="X", timeframe="1h", start=start, end=end, catalog=catalog, validation="off")
    ((series, found),) = gaps_of(select(catalog))
    held = series.read(series.ledger()).time
    inside = np.zeros(len(held), np.bool_)
    for start, end in asked:
        inside |= (held >= start) & (held < end)
    assert inside.all()
    spans = [*((time, time + HOUR) for time in held.tolist()), *((gap.start, gap.end) for gap in found)]
    assert sum(end - start for start, end in spans) == max(end for _, end in asked) - min(start for start, _ in asked)
    assert merge(spans) == ((min(start for start, _ in asked), max(end for _, end in asked)),)
    assert all(gap.missing * HOUR == gap.end - gap.start for gap in found)
