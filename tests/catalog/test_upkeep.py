"""Upkeep: whatever state a series is in, it is found, told, mended, and nothing else is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cracktrader.bars import Bars
from cracktrader.catalog import Catalog, CatalogWarning, SeriesStore
from cracktrader.catalog.intervals import BEGINNING
from cracktrader.catalog.store import FolderStore
from cracktrader.catalog.upkeep import compact, copy, mend, remove, select, verify
from cracktrader.errors import CatalogDamaged, CatalogTooNew, ConfigurationError

ASKED = {"start": "2024-01-01", "end": "2024-04-01"}


def only(catalog: Catalog) -> SeriesStore:
    (series,) = select(catalog)
    return series


def folder(series: SeriesStore) -> Path:
    return Path(str(series))


def files(series: SeriesStore) -> list[Path]:
    return sorted(folder(series).glob("*.parquet"))


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0x10
    path.write_bytes(data)


@pytest.fixture
def series(venue, catalog: Catalog) -> SeriesStore:
    """Three months of hours, in three files."""
    venue.load(catalog, **ASKED)
    return only(catalog)


@pytest.fixture
def two(venue, catalog: Catalog) -> Catalog:
    """A catalog of two symbols."""
    both = Bars.concat([venue.bars])
    venue.load(catalog, **ASKED)
    venue.bars = both.but(symbol="ETH/USDT")
    venue.load(catalog, symbol="ETH/USDT", **ASKED)
    return catalog


# ── finding ──────────────────────────────────────────────────────────────────────────────────────────


def test_series_are_selected_by_patterns(two: Catalog) -> None:
    assert [series.key.symbol for series in select(two)] == ["BTC/USDT", "ETH/USDT"]
    assert [series.key.symbol for series in select(two, symbol="ETH/*")] == ["ETH/USDT"]
    assert len(select(two, source="Counted", timeframe="1?")) == 2
    assert not select(two, timeframe="1d")


@pytest.mark.parametrize("harm", ["cut", "flipped", "gone"])
def test_a_series_is_found_by_its_files_where_its_ledger_tells_nothing(series: SeriesStore, catalog: Catalog, harm: str) -> None:
    ledger = folder(series) / "ledger.json"
    if harm == "gone":
        ledger.unlink()
    else:
        text = ledger.read_text()
        ledger.write_text(text[:30] if harm == "cut" else text.replace("BTC/USDT", "BTC/USDX"))
    assert only(catalog).key == series.key


def test_a_folder_that_tells_nothing_is_warned_about(series: SeriesStore, catalog: Catalog) -> None:
    strange = Path(catalog.root) / "somewhere" / "else"
    strange.mkdir(parents=True)
    (strange / "ledger.json").write_bytes((folder(series) / "ledger.json").read_bytes())
    with pytest.warns(CatalogWarning, match="somewhere/else does not tell which series it is"):
        assert only(catalog).key == series.key


# ── verifying and mending ────────────────────────────────────────────────────────────────────────────


def test_a_sound_series_is_sound_and_verifying_changes_nothing(series: SeriesStore) -> None:
    before = {path: path.stat().st_mtime_ns for path in folder(series).iterdir()}
    assert verify(series) == []
    assert {path: path.stat().st_mtime_ns for path in folder(series).iterdir()} == before


def test_a_damaged_file_is_told_and_set_aside_and_the_others_stay(series: SeriesStore, venue, catalog: Catalog) -> None:
    flip(files(series)[1])
    assert [damage.name for damage in verify(series)] == [files(series)[1].name]
    assert len(files(series)) == 3
    mend(series)
    assert verify(series) == []
    assert len(files(series)) == 2
    assert len(list((folder(series) / "damaged").iterdir())) == 1
    assert series.ledger().incidents[-1]["lost"] == [[1706745600000, 1709251200000]]
    assert venue.load(catalog, **ASKED) == venue.direct(**ASKED)
    assert len(venue.requests) == 2


def test_a_file_that_a_writer_replaces_meanwhile_is_no_damage(series: SeriesStore, venue, catalog: Catalog, monkeypatch) -> None:
    check = SeriesStore.check

    def while_writing(self, file) -> None:
        monkeypatch.setattr(SeriesStore, "check", check)
        venue.load(catalog, start="2024-03-31", end="2024-04-05")
        venue.load(catalog, start="2023-12-01", end="2024-01-02")
        for old in files_before:
            old.unlink(missing_ok=True) if old.name not in {one.name for one in self.ledger().files} else None
        check(self, file)

    files_before = files(series)
    venue.bars = Bars.concat([venue.bars[:1].but(time=venue.bars.time[:1] - 3_600_000), venue.bars])
    monkeypatch.setattr(SeriesStore, "check", while_writing)
    assert verify(series) == []
    assert not (folder(series) / "damaged").exists()


def test_a_lost_ledger_is_made_again_of_the_files(series: SeriesStore, venue, catalog: Catalog) -> None:
    (folder(series) / "ledger.json").unlink()
    assert [damage.name for damage in verify(series)] == ["ledger.json"]
    mend(series)
    assert verify(series) == []
    assert venue.load(catalog, **ASKED) == venue.direct(**ASKED)
    assert len(venue.requests) == 1


def test_a_lost_ledger_does_not_vouch_for_the_file_that_is_lost_with_it(series: SeriesStore, venue, catalog: Catalog) -> None:
    venue.load(catalog, end="2024-04-01")  # from the beginning
    assert series.ledger().coverage[0][0] == BEGINNING
    (folder(series) / "ledger.json").unlink()
    files(series)[0].unlink()
    mend(series)
    assert series.ledger().coverage[0][0] >= 1706745600000
    assert venue.load(catalog, end="2024-04-01") == venue.direct(end="2024-04-01")


@pytest.fixture
def revised(series: SeriesStore, venue, catalog: Catalog) -> SeriesStore:
    venue.bars = venue.bars.but(close=venue.bars.close + 0.01)
    venue.load(catalog.but(recheck=5), **ASKED)
    assert len(series.ledger().revisions) == 1
    return series


def test_revisions_outlive_their_ledger(revised: SeriesStore) -> None:
    before = revised.ledger().revisions
    (folder(revised) / "ledger.json").unlink()
    mend(revised)
    compact(revised)
    assert revised.ledger().revisions == before
    assert verify(revised) == []


def test_a_damaged_file_of_revisions_is_set_aside_and_no_bar_with_it(revised: SeriesStore) -> None:
    before = revised.ledger()
    flip(folder(revised) / before.revisions[0].name)
    mend(revised)
    after = revised.ledger()
    assert verify(revised) == []
    assert (after.revisions, after.files, after.coverage) == ((), before.files, before.coverage)


def test_what_a_newer_version_wrote_is_not_touched(series: SeriesStore) -> None:
    ledger = folder(series) / "ledger.json"
    ledger.write_text(re.sub(r'"schema":1\b', '"schema":2', ledger.read_text()))
    before = ledger.read_bytes()
    for work in (verify, mend, compact):
        with pytest.raises(CatalogTooNew):
            work(series)
    assert ledger.read_bytes() == before


# ── compacting, removing and copying ─────────────────────────────────────────────────────────────────


def test_compacting_keeps_every_bar_and_all_coverage(venue, catalog: Catalog) -> None:
    for day in range(1, 29):
        venue.load(catalog, start=f"2024-01-{day:02}", end=f"2024-01-{day + 1:02}")
    series = only(catalog)
    before = series.ledger()
    orphan = folder(series) / "2024-01.feedfeedfeedfeed.parquet"
    orphan.write_bytes(files(series)[0].read_bytes())
    assert compact(series) == (27, 1)
    after = series.ledger()
    assert not orphan.exists()
    assert len(after.fetches) == 1
    assert (after.coverage, after.files, after.rows) == (before.coverage, before.files, before.rows)
    assert compact(series) == (0, 0)


def test_removing_a_series_leaves_the_others(two: Catalog) -> None:
    gone, stays = select(two)
    flip(files(gone)[0])
    mend(gone)
    remove(gone)
    assert [series.key for series in select(two)] == [stays.key]
    assert not [path for path in folder(gone).rglob("*") if path.is_file() and path.name != ".lock"]
    assert verify(stays) == []


def test_a_series_is_copied_whole(revised: SeriesStore, catalog: Catalog, tmp_path: Path) -> None:
    other = Catalog(tmp_path / "other")
    revised.note_quarantine(revised.read(revised.ledger())[:1], ["spike"])
    assert copy(revised, other)
    copied = only(other)
    assert copied.ledger() == revised.ledger()
    assert copied.read(copied.ledger()) == revised.read(revised.ledger())
    assert copied.quarantine() == revised.quarantine()
    assert verify(copied) == []
    assert not copy(revised, other)


def test_an_interrupted_copy_is_made_anew(revised: SeriesStore, tmp_path: Path, monkeypatch) -> None:
    other = Catalog(tmp_path / "other")
    with monkeypatch.context() as patch:
        patch.setattr(FolderStore, "write", interrupted_after(3, FolderStore.write))
        with pytest.raises(KeyboardInterrupt):
            copy(revised, other)
    assert len(files(only(other))) == 2
    assert copy(revised, other)
    assert only(other).ledger() == revised.ledger()


def interrupted_after(times: int, function):
    calls = []

    def called(*arguments):
        calls.append(arguments)
        if len(calls) > times:
            raise KeyboardInterrupt
        return function(*arguments)

    return called


def test_a_catalog_is_not_copied_to_itself(series: SeriesStore, catalog: Catalog) -> None:
    with pytest.raises(ConfigurationError, match="itself"):
        copy(series, catalog)


def test_a_series_goes_to_an_object_store_and_back(revised: SeriesStore, venue, tmp_path: Path) -> None:
    remote, back = Catalog("memory://bucket/bars"), Catalog(tmp_path / "back")
    assert copy(revised, remote)
    assert verify(only(remote)) == []
    assert not copy(revised, remote)
    assert copy(only(remote), back)
    assert only(back).ledger() == revised.ledger()
    before = len(venue.requests)
    assert len(venue.load(back, **ASKED)) == revised.ledger().rows
    assert len(venue.requests) == before
    remove(only(remote))
    assert select(remote) == []


def test_a_damaged_file_is_not_copied(series: SeriesStore, tmp_path: Path) -> None:
    flip(files(series)[2])
    with pytest.raises(CatalogDamaged, match=r"2024-03.* is damaged"):
        copy(series, Catalog(tmp_path / "other"))


def test_the_ledger_of_a_removed_series_is_empty_before_its_files_go(series: SeriesStore, monkeypatch) -> None:
    def interrupted(path: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(series.store, "delete", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove(series)
    assert json.loads((folder(series) / "ledger.json").read_text())["files"] == []
    assert verify(series) == []
