"""A disk that is full and a folder that can't be written: said clearly, nothing lost, and what is held is still read."""

import os
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import pytest
from keptmarket import DAY, END, START, bars_between, load

import cracktrader as ct
from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.timeframe import Timeframe

HERE = Path(__file__).parent
KEY = SeriesKey("KeptMarket", {}, "BTC/USDT", Timeframe("1h"))
JANUARY = bars_between("BTC/USDT", START, START + 31 * DAY)


@pytest.fixture
def public():
    """A folder that everybody finds; those of pytest are for its user only."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


def for_reading(public):
    """Let everyone read, and nobody but root write."""
    for path in (public, *public.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)


def in_a_process(script, **arguments):
    """Run a script in a process that has not to be like this one; what it printed."""
    told = "".join(f"{name} = {value!r}\n" for name, value in arguments.items())
    start = (
        f"import os, sys, warnings\nsys.path.insert(0, {str(HERE)!r})\nwarnings.simplefilter('error')\nfrom keptmarket import *\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"{start}{told}{script}"], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def whole(root):
    """Every file is what the ledger says, and nothing else lies about."""
    series = Catalog(root).series(KEY)
    ledger = series.ledger()
    for file in ledger.files:
        series.check(file)
    named = {file.name for file in ledger.files} | {"ledger.json", ".lock"}
    assert {name for name, _ in series.store.files(series.folder)} <= named
    return ledger


FULL = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
try:
    load(root, START, END)
except ct.errors.CatalogUnwritable as error:
    print(error.code, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="this system has no limit on the size of files")
@pytest.mark.parametrize("room", [100, 6_000])
def test_no_room_is_said_clearly_and_costs_nothing(tmp_path, room):
    root = str(tmp_path / "catalog")
    load(root, START, START + 31 * DAY)
    before = whole(root)
    said = in_a_process(FULL, root=root, room=room)
    assert "CT401 The catalog can't write" in said
    assert "File too large" in said
    assert "What it held before is unharmed. Make room or rights" in said
    assert whole(root).coverage[0] >= before.coverage[0]
    assert load(root, START, START + 31 * DAY) == JANUARY
    assert load(root, START, END) == bars_between("BTC/USDT", START, END)  # there is room again
    whole(root)


def test_a_full_file_system(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)]
    if not hasattr(os, "geteuid") or os.geteuid() or subprocess.run(mounting, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk, and not everywhere")
    try:
        load(disk, START, START + 31 * DAY)
        with pytest.raises(ct.errors.CatalogUnwritable, match="No space left on device") as caught:
            load(disk, START, END)
        assert str(disk) in str(caught.value)
        assert whole(disk).rows >= len(JANUARY)
        assert load(disk, START, START + 31 * DAY) == JANUARY
    finally:
        subprocess.run(["umount", str(disk)], check=True)


#: Be somebody who may not write, after all that it takes was imported: the interpreter's own folder may be root's.
NOBODY = """
load(Path(warm), START, START + DAY)
load(Path(warm), START, START + 2 * DAY)
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
READ_ONLY = """
assert load(root, START, START + 31 * DAY) == bars_between("BTC/USDT", START, START + 31 * DAY)
for name, start, end in ("BTC/USDT", START, START + 32 * DAY), ("NEW/USDT", START, START + DAY):
    try:
        load(root, start, end, symbol=name)
    except ct.errors.CatalogUnwritable as error:
        print(error.code, error)
print([series.key.symbol for series in Catalog(root).all()])
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users to change to")
def test_a_read_only_folder_is_read_without_a_lock(tmp_path, public):
    root = public / "catalog"
    load(root, START, START + 31 * DAY)
    for lock in root.rglob(".lock"):
        lock.unlink()
    for_reading(public)
    said = in_a_process(NOBODY + READ_ONLY, root=str(root), warm=str(tmp_path))
    assert said.count("CT401 The catalog can't write") == 2
    assert said.count("Permission denied") == 2
    assert "['BTC/USDT']" in said
    assert not list(root.rglob(".lock"))


DAMAGED = """
try:
    load(root, START, START + 31 * DAY)
except ct.errors.CatalogUnwritable as error:
    print(error)
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users to change to")
def test_damage_in_a_read_only_folder_is_said(tmp_path, public):
    root = public / "catalog"
    load(root, START, START + 31 * DAY)
    next(root.rglob("2020-01*")).write_bytes(b"?")
    for_reading(public)
    said = in_a_process(NOBODY + DAMAGED, root=str(root), warm=str(tmp_path))
    assert "of BTC/USDT 1h from KeptMarket is damaged: it has 1 bytes" in said
    assert "Permission denied" in said


QUARANTINED = """
rules = ct.Validation(negative_volume="quarantine")
bars = ct.load(
    "csv", path=path, symbol="X", timeframe="1h", start="2020-01-01", end="2020-02-01", catalog=root, validation=rules
)
print(len(bars.report.quarantine.bars))
"""


@pytest.mark.skipif(not hasattr(os, "setuid"), reason="this system has no users to change to")
def test_what_checks_take_out_of_a_read_only_folder_is_in_the_report(tmp_path, public):
    root, path = public / "catalog", public / "bad.csv"
    volume = JANUARY.volume.copy()
    volume[7] = -1.0
    JANUARY.but(volume=volume, symbol="X").to_csv(path)
    rules = ct.Validation(negative_volume="quarantine")
    ct.load(
        "csv", path=str(path), symbol="X", timeframe="1h", start="2020-01-01", end="2020-02-01", catalog=root, validation=rules
    )
    next(root.rglob("quarantine.csv")).unlink()
    for_reading(public)
    assert in_a_process(NOBODY + QUARANTINED, root=str(root), path=str(path), warm=str(tmp_path)) == "1\n"


def test_a_file_where_the_folder_should_be(tmp_path):
    (tmp_path / "catalog").write_text("")
    with pytest.raises(ct.errors.ConfigurationError, match="it is a file"):
        Catalog(tmp_path / "catalog")


def test_all_is_quick_to_say_no(tmp_path):
    began = time.monotonic()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not list(Catalog(tmp_path / "nowhere").all())
    assert time.monotonic() - began < 1
    assert not (tmp_path / "nowhere").exists()
