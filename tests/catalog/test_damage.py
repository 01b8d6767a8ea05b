"""Damage of every kind: found, set aside, told of, fetched again; what can't be fetched again costs nothing else."""

import json
import os
import shutil

import numpy as np
import pytest
from keptmarket import DAY, START, asked, bars_between, load

import cracktrader as ct
from cracktrader.catalog import Catalog, CatalogWarning, SeriesKey, files
from cracktrader.catalog.series import DamagedFile
from cracktrader.errors import CatalogTooNew, TemporarySourceError
from cracktrader.plugins.memory import MemorySource
from cracktrader.timeframe import Timeframe
from cracktrader.times import isoformat, now_ms

FROM, TO = START, START + 90 * DAY  # January to March 2020: the last of them not whole
FEBRUARY, MARCH = START + 31 * DAY, START + 60 * DAY


class Kept:
    """A catalog of three months, and a way to look at it."""

    def __init__(self, folder):
        self.catalog = Catalog(folder / "catalog")
        self.diary = folder / "diary.txt"
        self.series = self.catalog.series(SeriesKey("KeptMarket", {}, "BTC/USDT", Timeframe("1h")))
        load(self.catalog, FROM, TO)
        self.folder = folder / "catalog" / self.series.folder
        self.january, self.february, self.march = (self.folder / file.name for file in self.series.ledger().files)
        self.ledger = self.folder / "ledger.json"

    def load(self, start=FROM, end=TO, **options):
        return load(self.catalog, start, end, diary=self.diary, **options)

    def asked(self):
        return [(start, end) for _, start, end, _ in asked(self.diary)]

    def aside(self):
        return sorted((self.folder / "damaged").glob("*"))


@pytest.fixture
def kept(tmp_path):
    return Kept(tmp_path)


def flipped(path, at, bit=0):
    data = bytearray(path.read_bytes())
    data[at] ^= 1 << bit
    path.write_bytes(data)


DAMAGES = {
    "truncated": lambda path, other: path.write_bytes(path.read_bytes()[:-100]),
    "cut to nothing": lambda path, other: path.write_bytes(b""),
    "longer": lambda path, other: path.write_bytes(path.read_bytes() + b"\0"),
    "foreign": lambda path, other: path.write_text("<html>Please log in to this network.</html>"),
    "zeros": lambda path, other: path.write_bytes(bytes(path.stat().st_size)),
    "absent": lambda path, other: path.unlink(),
    "another month": lambda path, other: shutil.copy(other, path),
    "a flipped bit at the start": lambda path, other: flipped(path, 1),
    "a flipped bit in a page": lambda path, other: flipped(path, path.stat().st_size // 3),
    "a flipped bit in the footer": lambda path, other: flipped(path, path.stat().st_size - 300),
    "a flipped bit at the end": lambda path, other: flipped(path, path.stat().st_size - 1),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_set_aside_told_of_and_fetched_again(kept, damage):
    DAMAGES[damage](kept.february, kept.march)
    with pytest.warns(CatalogWarning, match=r"BTC/USDT 1h from KeptMarket was damaged: .* never fetched") as told:
        assert kept.load() == bars_between("BTC/USDT", FROM, TO)
    assert len(told) == 1
    assert kept.asked() == [(FEBRUARY, MARCH)]
    assert [path.name.endswith(kept.february.name) for path in kept.aside()] == ([] if damage == "absent" else [True])
    assert kept.series.ledger().incidents[0]["file"] == kept.february.name
    assert kept.load() == bars_between("BTC/USDT", FROM, TO)  # and that was that
    assert len(kept.asked()) == 1


def test_the_file_of_another_series_is_found(kept):
    load(kept.catalog, FROM, TO, symbol="ETH/USDT")
    eth = next(
        kept.catalog.series(SeriesKey("KeptMarket", {}, "ETH/USDT", Timeframe("1h"))).store._root.glob("*/*/ETH*/*/2020-02*")
    )
    shutil.copy(eth, kept.february)
    with pytest.warns(CatalogWarning, match="was damaged"):
        assert kept.load() == bars_between("BTC/USDT", FROM, TO)


def test_where_the_source_fails_other_periods_answer_and_nothing_is_lost(kept):
    damaged = kept.february.read_bytes()[:-1]
    kept.february.write_bytes(damaged)
    with pytest.warns(CatalogWarning, match="was damaged"), pytest.raises(TemporarySourceError):
        kept.load(fails=True)
    assert kept.load(FROM, FEBRUARY, fails=True) == bars_between("BTC/USDT", FROM, FEBRUARY)
    assert kept.load(MARCH, TO, fails=True) == bars_between("BTC/USDT", MARCH, TO)
    assert kept.aside()[0].read_bytes() == damaged
    with pytest.raises(TemporarySourceError):
        kept.load(fails=True)
    assert kept.load() == bars_between("BTC/USDT", FROM, TO)


def test_several_damaged_files_are_mended_in_one_load(kept):
    kept.january.unlink()
    flipped(kept.march, 50)
    with pytest.warns(CatalogWarning) as told:
        assert kept.load() == bars_between("BTC/USDT", FROM, TO)
    assert len(told) == 2


def test_a_damaged_file_is_found_when_a_fetch_has_to_add_to_it(kept):
    flipped(kept.march, 50)
    with pytest.warns(CatalogWarning, match="was damaged"):
        assert kept.load(TO, TO + DAY) == bars_between("BTC/USDT", TO, TO + DAY)
    assert kept.load(fails=False) == bars_between("BTC/USDT", FROM, TO)


# ── while a process runs ─────────────────────────────────────────────────────────────────────────────


def test_a_file_that_changes_after_it_was_verified_is_found_even_with_its_times_set_back(kept):
    about = kept.february.stat()
    data = bytearray(kept.february.read_bytes())
    data[len(data) // 2] ^= 1
    with kept.february.open("r+b") as file:  # in place: the same inode, size and time of change
        file.write(data)
    os.utime(kept.february, ns=(about.st_atime_ns, about.st_mtime_ns))
    with pytest.warns(CatalogWarning, match="digest"):
        assert load(kept.catalog, FROM, TO) == bars_between("BTC/USDT", FROM, TO)


def test_no_byte_of_a_file_can_change_unnoticed(kept):
    """In pages, headers and footer alike: pyarrow would end the whole process over some of these, so it must not see them."""
    good = kept.february.read_bytes()
    file = kept.series.ledger().files[1]
    for at in [*range(0, len(good), 41), *range(len(good) - 200, len(good))]:
        flipped(kept.february, at, at % 8)
        with pytest.raises(DamagedFile):
            kept.series.check(file)
        with pytest.raises(DamagedFile):
            kept.series.read(kept.series.ledger(), FEBRUARY, FEBRUARY + DAY)
        kept.february.write_bytes(good)


def test_a_damaged_footer_is_harmless_where_the_ledger_is_lost_too(kept):
    good = kept.february.read_bytes()
    for at in range(len(good) - 300, len(good), 40):
        flipped(kept.february, at)
        kept.ledger.unlink()
        with pytest.warns(CatalogWarning, match="not there"):
            assert kept.load(FROM, FEBRUARY) == bars_between("BTC/USDT", FROM, FEBRUARY)
        assert not kept.february.exists()
        kept.february.write_bytes(good)


# ── the ledger ───────────────────────────────────────────────────────────────────────────────────────

LEDGERS = {
    "truncated": lambda text: text[: len(text) // 2],
    "cut to nothing": lambda text: "",
    "foreign": lambda text: "<html>Please log in to this network.</html>",
    "deep": lambda text: "[" * 100_000,
    "a list": lambda text: "[]",
    "a number changed": lambda text: text.replace('"rows":', '"rows":1', 1),
    "of an older version": lambda text: text.replace('"schema":1', '"schema":0', 1),
    "without a schema": lambda text: text.replace('"schema":1', '"schema":null', 1),
    "of a series that was copied": lambda text: text.replace("BTC/USDT", "ETH/USDT", 1),
}


@pytest.mark.parametrize("damage", LEDGERS)
def test_a_damaged_ledger_is_made_again_of_the_files(kept, damage):
    broken = LEDGERS[damage](kept.ledger.read_text())
    kept.ledger.write_text(broken)
    with pytest.warns(CatalogWarning, match=r"ledger.json can't be read.*A new one was made of .*, with 1,\d\d\d bars"):
        assert kept.load(fails=True) == bars_between("BTC/USDT", FROM, TO)
    assert [path.read_text() for path in kept.aside()] == [broken]
    assert kept.load(fails=True) == bars_between("BTC/USDT", FROM, TO)


def test_an_absent_ledger_is_made_again_of_the_files(kept):
    kept.ledger.unlink()
    with pytest.warns(CatalogWarning, match="not there, though data files are"):
        assert kept.load(fails=True) == bars_between("BTC/USDT", FROM, TO)


def test_every_bit_of_a_ledger_matters(kept):
    good = kept.ledger.read_bytes()
    found = kept.series.ledger()
    for at in range(0, len(good), 7):
        broken = bytearray(good)
        broken[at] ^= 1 << at % 8
        kept.ledger.write_bytes(broken)
        try:
            assert kept.series.ledger() == found  # a space where a line ended
        except ct.errors.CatalogError:
            continue


def test_the_whole_folder_of_another_series_is_found_and_its_files_are_kept(kept):
    load(kept.catalog, FROM, TO, symbol="ETH/USDT")
    other = kept.catalog.series(SeriesKey("KeptMarket", {}, "ETH/USDT", Timeframe("1h")))
    shutil.rmtree(kept.folder)
    shutil.copytree(kept.folder.parents[1] / other.folder.split("/")[-2] / "1h", kept.folder)
    with pytest.warns(CatalogWarning, match="is that of another series, ETH/USDT 1h from KeptMarket"):
        assert kept.load() == bars_between("BTC/USDT", FROM, TO)
    assert len(kept.aside()) == 4  # three months and their ledger
    assert load(kept.catalog, FROM, TO, symbol="ETH/USDT", fails=True) == bars_between("ETH/USDT", FROM, TO)


def test_ledger_and_file_damaged_at_once_cost_that_file_only(kept):
    kept.ledger.write_text("")
    flipped(kept.february, 400)
    with pytest.warns(CatalogWarning):
        assert kept.load() == bars_between("BTC/USDT", FROM, TO)
    assert kept.asked() == [(FEBRUARY, MARCH)]


def test_bars_that_were_fresh_are_fresh_after_a_ledger_was_made_again(tmp_path):
    """What may still be corrected is asked for again, whatever happened to the ledger."""
    now = now_ms() // 60_000 * 60_000
    base = bars_between("X", START, START + 3 * DAY)[:30]
    for version in (0, 1):
        young = base.but(time=now - 60_000 * np.arange(30, 0, -1), timeframe="1m", volume=base.volume + version)
        options = {"bars": young, "symbol": "X", "timeframe": "1m", "start": isoformat(now - 1_800_000), "end": isoformat(now)}
        got = ct.load(Identical, **options, validation="off", catalog=Catalog(tmp_path, ttl=0))
        assert np.array_equal(got.volume, young.volume)
        if version == 0:
            next(tmp_path.rglob("ledger.json")).unlink()
            with pytest.warns(CatalogWarning, match="not there"):
                ct.load(Identical, **options, validation="off", catalog=Catalog(tmp_path, ttl=3600))


class Identical(MemorySource):
    def identity(self):
        return {}


def test_what_a_newer_version_wrote_is_left_alone(kept):
    said = json.loads(kept.ledger.read_text()) | {"schema": 2, "files": {"another": "layout"}}
    kept.ledger.write_text(json.dumps(said))
    before = {path.name: path.read_bytes() for path in kept.folder.iterdir()}
    with pytest.raises(CatalogTooNew, match=r"newer version of cracktrader \(schema 2; this one knows 1\)[^$]*pip install"):
        kept.load()
    assert {path.name: path.read_bytes() for path in kept.folder.iterdir()} == before


def test_files_of_a_newer_version_are_left_alone_where_the_ledger_is_lost(kept):
    bars = bars_between("BTC/USDT", FEBRUARY, MARCH)
    said = {"schema": 2, "series": kept.series.key.to_dict(), "period": "2020-02", "written": 0, "coverage": [], "provenance": {}}
    data = files.encode(bars, said)
    newer = kept.folder / f"2020-02.{files.digest(data)[:16]}.parquet"
    newer.write_bytes(data)
    kept.ledger.unlink()
    with pytest.raises(CatalogTooNew, match="schema 2"):
        kept.load()
    assert newer.exists()
    assert not kept.aside()


def test_a_damaged_series_does_not_hide_the_others(kept):
    load(kept.catalog, FROM, TO, symbol="ETH/USDT")
    kept.ledger.write_text("{")
    with pytest.warns(CatalogWarning, match="left out"):
        assert [series.key.symbol for series in kept.catalog.all()] == ["ETH/USDT"]
