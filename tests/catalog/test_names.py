"""Names of folders: nothing escapes the root, no two series share a folder, and secrets are in none of them."""

import json
import re
import string
from pathlib import Path, PureWindowsPath

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from keptmarket import DAY, START, KeptMarket, bars_between, load
from pydantic import Field, SecretBytes, SecretStr

import cracktrader as ct
from cracktrader.catalog import Catalog, SeriesKey
from cracktrader.catalog.naming import identity_name, name_of, timeframe_name
from cracktrader.timeframe import Timeframe

TEXTS = st.text(st.characters(), max_size=80) | st.text(string.ascii_letters + "./\\~:_- 1", max_size=12)
WEIRD = ["../../etc/passwd", "CON", "con.usdt", "CON.USDT", "nul", "COM1.txt", "btc", "BTC", "Btc", "", " ", ".", "..",
         "A" * 5000, "比特币", "é", "é", "\0", "a\nb", "~", "~11b4defb0e96", "BTC_USDT~11b4defb0e96", "LPT¹", "/", "\\", "C:\\",
         "\ud800", "BTC.", "BTC/USDT", "BTC_USDT", "BTC:USDT"]  # fmt: skip


def safe(name):
    """Whether any file system takes this as the name of one folder."""
    assert re.fullmatch(r"[A-Za-z0-9._~-]{1,80}", name), name
    assert name.strip(".") == name
    assert not re.match(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\.|$)", name), name
    assert PureWindowsPath(name).parts == (name,)


@given(TEXTS, st.sampled_from(["symbol", "source"]))
@example("con.usdt", "symbol")
@example("CON.USDT", "symbol")
def test_a_name_is_safe_everywhere(text, kind):
    safe(name_of(text, kind))


@pytest.mark.parametrize("text", WEIRD)
def test_weird_names_are_safe(text):
    safe(name_of(text, "symbol"))
    safe(name_of(text, "source"))
    safe(identity_name({"exchange": text}))


@given(TEXTS, TEXTS)
@example("btc", "BTC")
@example("BTC", "BTC ")
@example("BTC/USDT", name_of("BTC/USDT", "symbol"))
def test_no_two_texts_share_a_name_even_where_case_does_not_count(one, other):
    if one != other:
        assert name_of(one, "symbol").lower() != name_of(other, "symbol").lower()
        assert identity_name({"a": one}).lower() != identity_name({"a": other}).lower()


def test_all_weird_names_differ():
    assert len({name_of(text, "symbol").lower() for text in WEIRD}) == len(set(WEIRD))


def test_minutes_and_months_differ_where_case_does_not_count():
    frames = [f"{amount}{unit}" for unit in "smhdwM" for amount in (1, 2, 3, 4, 6, 12)]
    names = {timeframe_name(Timeframe(frame)).lower() for frame in frames}
    assert len(names) == len({Timeframe(frame) for frame in frames})
    for name in names:
        safe(name)


@given(st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.lists(TEXTS), max_size=4))
def test_an_identity_is_a_safe_name_and_survives_its_ledger(identity):
    safe(identity_name(identity))
    key = SeriesKey("csv", identity, "X", Timeframe("1h"))
    assert SeriesKey.from_dict(json.loads(json.dumps(key.to_dict()))) == key


@pytest.mark.parametrize("symbol", ["../../../escaped", "/escaped", "..\\..\\escaped", "CON", "比特币", "A" * 3000, "a\nb", ""])
def test_a_load_stays_in_its_folder(tmp_path, symbol):
    root = tmp_path / "inside" / "catalog"
    assert load(root, START, START + DAY, symbol=symbol) == bars_between(symbol, START, START + DAY)
    assert load(root, START, START + DAY, symbol=symbol, fails=True) == bars_between(symbol, START, START + DAY)
    assert [path.name for path in tmp_path.iterdir()] == ["inside"]
    assert [path.name for path in (tmp_path / "inside").iterdir()] == ["catalog"]
    assert [series.key.symbol for series in Catalog(root).all()] == [symbol]


def test_series_that_differ_in_case_only_are_two(tmp_path):
    for symbol in ("btc", "BTC", "Btc"):
        load(tmp_path, START, START + DAY, symbol=symbol)
    for symbol in ("btc", "BTC", "Btc"):
        assert load(tmp_path, START, START + DAY, symbol=symbol, fails=True) == bars_between(symbol, START, START + DAY)
    names = [path.name.lower() for path in next(tmp_path.glob("*/*")).iterdir()]
    assert len(names) == len(set(names)) == 3


def test_an_identity_of_tuples_and_nan_is_found_again(tmp_path):
    class Odd(KeptMarket):
        def identity(self):
            return {"columns": ("time", "open"), "fill": float("nan"), "nested": {"a": (1, 2)}}

    for fails in (False, True):
        bars = ct.load(Odd, symbol="X", timeframe="1h", start="2020-01-01", end="2020-01-02", catalog=tmp_path, fails=fails)
        assert len(bars) == 24


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────


class Secretive(ct.DataSource):
    """A source with secrets wherever users put them."""

    api = (1, 0)

    class Config(ct.SourceConfig):
        url: str
        token: SecretStr | None = None
        raw: SecretBytes | None = None
        api_key: str = ""
        password: str = ""
        headers: dict[str, str] = Field(default_factory=dict)
        params: dict[str, str] = Field(default_factory=dict)
        endpoints: list[str] = Field(default_factory=list)
        proxy: dict[str, dict[str, str]] = Field(default_factory=dict)
        fails: bool = False

        # what says which data it is, though a careless search would take it for a secret
        author: str = ""
        key_column: str = ""
        signal: str = ""

    def identity(self):
        said = dict(super().identity())
        said.pop("fails", None)
        return said

    @ct.hookimpl
    def fetch_bars(self, request):
        if self.config.fails:
            raise ct.errors.TemporarySourceError("The line is down.", hint="Try again.")
        noise = sum(f"{self.config.author}{self.config.key_column}{self.config.params.get('signal')}".encode())
        bars = bars_between(request.symbol, request.start, request.end)
        return bars.but(volume=np.full(len(bars), float(noise)))


def ask(root, **options):
    return ct.load(Secretive, symbol="X", timeframe="1h", start="2020-01-01", end="2020-01-05", catalog=root, **options)


def test_secrets_are_nowhere_on_disk(tmp_path):
    ask(
        tmp_path,
        url="https://alice:s3cretUSER@example.org/v1?apikey=s3cretQUERY&symbol=X&X-Amz-Signature=s3cretSIG&sig=s3cretSAS",
        token="s3cretTOKEN",
        raw=b"s3cretRAW",
        api_key="s3cretKEY",
        password="s3cretPASS",
        headers={"Authorization": "Bearer s3cretHEADER", "X-Api-Key": "s3cretAPI", "Accept": "text/csv"},
        params={"access_token": "s3cretPARAM", "pwd": "s3cretPWD"},
        endpoints=["https://bob:s3cretLIST@example.org/", "postgresql://u:s3cretDSN@db/x?password=s3cretDSNQUERY"],
        proxy={"https": {"password": "s3cretPROXY", "url": "http://c:s3cretNESTED@proxy:1"}},
    )
    kept = "".join(f"{path.relative_to(tmp_path)}\n" for path in tmp_path.rglob("*"))
    kept += "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file())
    assert set(re.findall("s3cret[A-Z]*", kept)) == set()
    assert "alice" not in kept
    assert "text/csv" in kept


def test_a_new_key_does_not_fetch_all_again(tmp_path):
    ask(tmp_path, url="https://a:1@x.org/?access_token=1", api_key="1", headers={"Authorization": "1"}, token="111")
    ask(tmp_path, url="https://a:2@x.org/?access_token=2", api_key="2", headers={"Authorization": "2"}, token="222", fails=True)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"author": "a"}, {"author": "b"}),
        ({"key_column": "a"}, {"key_column": "b"}),
        ({"params": {"signal": "a"}}, {"params": {"signal": "b"}}),
    ],
)
def test_options_that_only_look_like_secrets_keep_series_apart(tmp_path, one, other):
    first, second = ask(tmp_path, url="x", **one), ask(tmp_path, url="x", **other)
    assert not np.array_equal(first.volume, second.volume)
    assert len(list(Catalog(tmp_path).all())) == 2


def test_the_catalog_of_a_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert Catalog("~/bars").root == str(Path(tmp_path) / "bars")
