"""A catalog in an object store: S3 as a real server on loopback speaks it, and a store of fsspec's."""

import json
import threading
import time
import urllib.parse

import pytest
from keptmarket import DAY, START, KeptMarket, asked, bars_between, load

import cracktrader as ct
from cracktrader.catalog import Catalog, CatalogWarning, SeriesKey
from cracktrader.catalog.ledger import Ledger
from cracktrader.errors import CatalogError, CatalogUnwritable, ConfigurationError
from cracktrader.timeframe import Timeframe

moto = pytest.importorskip("moto.server", reason="moto is not installed")
KEY = SeriesKey("KeptMarket", {}, "BTC/USDT", Timeframe("1h"))
SECRET = "Zm9v/YmFy+c2VjcmV0"
FEBRUARY, MARCH, APRIL = START + 31 * DAY, START + 60 * DAY, START + 91 * DAY
QUARTER = bars_between("BTC/USDT", START, APRIL)


@pytest.fixture(scope="module")
def endpoint():
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield "http://{}:{}".format(*server.get_host_and_port())
    finally:
        server.stop()


@pytest.fixture
def options(endpoint):
    return {"access_key": "AKIAEXAMPLE", "secret_key": SECRET, "endpoint_override": endpoint, "region": "us-east-1"}


@pytest.fixture
def s3(options):
    """The files of the store themselves."""
    from pyarrow import fs

    return fs.S3FileSystem(**options, allow_bucket_creation=True, allow_bucket_deletion=True)


@pytest.fixture
def bucket(s3):
    s3.create_dir("market")
    yield "market"
    s3.delete_dir_contents("market")
    s3.delete_dir("market")


@pytest.fixture(params=["s3", "memory"])
def catalog(request, tmp_path):
    """The same tests for S3, which pyarrow speaks, and for a store that fsspec knows."""
    if request.param == "s3":
        request.getfixturevalue("bucket")
        return Catalog("s3://market/bars/of all", **request.getfixturevalue("options"))
    return Catalog(f"memory://{tmp_path.name}")


def test_what_was_fetched_is_not_fetched_again_and_ranges_grow(catalog, tmp_path):
    diary = tmp_path / "diary.txt"
    for start, end in (MARCH, MARCH + DAY), (FEBRUARY, MARCH), (START, APRIL), (START, APRIL):
        assert load(catalog, start, end, diary=diary) == bars_between("BTC/USDT", start, end)
    assert [(start, end) for _, start, end, _ in asked(diary)] == [
        (MARCH, MARCH + DAY), (FEBRUARY, MARCH), (START, FEBRUARY), (MARCH + DAY, APRIL)
    ]  # fmt: skip
    assert [series.key for series in catalog.all()] == [KEY]


def test_damage_is_found_set_aside_and_fetched_again(catalog):
    load(catalog, START, APRIL)
    series = catalog.series(KEY)
    january, february, march = series.ledger().files
    catalog.store.write(series.path(january.name), b"")
    data = bytearray(catalog.store.read(series.path(february.name)))
    data[len(data) // 2] ^= 4
    catalog.store.write(series.path(february.name), bytes(data))
    catalog.store.delete(series.path(march.name))
    with pytest.warns(CatalogWarning) as told:
        assert load(catalog, START, APRIL) == QUARTER
    assert len(told) == 3
    kept = [name.partition(".")[2] for name, _ in catalog.store.files(series.path("damaged"))]
    assert sorted(kept) == sorted([january.name, february.name])


def test_a_lost_ledger_is_made_again(catalog):
    load(catalog, START, APRIL)
    series = catalog.series(KEY)
    catalog.store.delete(series.path("ledger.json"))
    with pytest.warns(CatalogWarning, match="not there, though data files are"):
        assert load(catalog, START, APRIL, fails=True) == QUARTER
    catalog.store.write(series.path("ledger.json"), b"{")
    with pytest.warns(CatalogWarning, match="can't be read"):
        assert load(catalog, START, APRIL, fails=True) == QUARTER


def test_a_series_is_removed_with_all_its_objects(catalog):
    for symbol in ("BTC/USDT", "ETH/USDT"):
        load(catalog, START, APRIL, symbol=symbol)
    catalog.store.delete(catalog.series(KEY).folder)
    assert [series.key.symbol for series in catalog.all()] == ["ETH/USDT"]
    assert not catalog.series(KEY).ledger().fetches
    assert load(catalog, START, APRIL, symbol="ETH/USDT", fails=True) == bars_between("ETH/USDT", START, APRIL)


def test_two_machines_at_once_lose_a_record_at_most(catalog):
    """Each holds a lock of its own: here, two writers that both began with the same ledger."""
    load(catalog, START, START + 10 * DAY)
    one, other = catalog.series(KEY), catalog.series(KEY)
    both = one.ledger()

    def commit(series, first, last):
        from cracktrader.catalog import Fetch

        start, end = START + first * DAY, START + last * DAY
        bars = bars_between("BTC/USDT", start, end)
        series.commit(both, bars, Fetch(start, end, len(bars), "", end + 10**9, end))

    commit(one, 10, 40)
    commit(other, 20, 25)
    ledger = catalog.series(KEY).ledger()
    assert ledger.coverage == ((START, START + 10 * DAY), (START + 20 * DAY, START + 25 * DAY))  # the first one's is lost
    for file in ledger.files:
        one.check(file)
    assert one.read(both) == bars_between("BTC/USDT", START, START + 10 * DAY)  # whoever still has the old ledger can read
    assert load(catalog, START, APRIL) == QUARTER
    assert one.sweep(one.ledger()) > 0  # as `compact` does
    assert load(catalog, START, APRIL, fails=True) == QUARTER


# ── S3 alone ─────────────────────────────────────────────────────────────────────────────────────────


def test_options_in_the_url_and_in_the_environment(bucket, options, endpoint, monkeypatch):
    load(Catalog("s3://market/bars", **options), START, APRIL)
    key, secret, at = "AKIAEXAMPLE", urllib.parse.quote(SECRET, safe=""), urllib.parse.quote(endpoint, safe="")
    url = f"s3://{key}:{secret}@market/bars?endpoint_override={at}&region=us-east-1&allow_bucket_creation=false"
    assert load(url, START, APRIL, fails=True) == QUARTER
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    assert load("s3://market/bars", START, APRIL, fails=True) == QUARTER
    monkeypatch.setenv("CRACKTRADER_CATALOG", "s3://market/bars/")
    assert load(True, START, APRIL, fails=True) == QUARTER


def test_keys_appear_nowhere(bucket, options, s3, endpoint):
    from pyarrow import fs

    at = urllib.parse.quote(endpoint, safe="")
    url = f"s3://AKIAEXAMPLE:{urllib.parse.quote(SECRET, safe='')}@market/bars?endpoint_override={at}&region=us-east-1"
    for catalog in (Catalog(url), Catalog("s3://market/bars", **options)):
        got = load(catalog, START, APRIL)
        shown = f"{catalog!r} {catalog.root} {catalog.store!r} {catalog.series(KEY)} {json.dumps(dict(got.provenance))}"
        assert SECRET not in urllib.parse.unquote(shown)
        assert "AKIA" not in shown
    for info in s3.get_file_info(fs.FileSelector("market", recursive=True)):
        assert "AKIA" not in info.path
        if info.type == fs.FileType.File:
            data = s3.open_input_stream(info.path).read()
            assert b"AKIA" not in data
            assert SECRET.encode() not in data


@pytest.mark.parametrize("url", ["s3://AKIAEXAMPLE:{}@market/bars", "s3://market/bars?secret_key={}&access_key=AKIAEXAMPLE&x=1"])
def test_keys_do_not_appear_in_errors(url):
    for secret in (SECRET, urllib.parse.quote(SECRET, safe="")):
        told = url.format(secret) + ("&" if "?" in url else "?") + "region=us-east-1&no_such_option=1"
        with pytest.raises(ConfigurationError) as caught:
            Catalog(told)
        assert "YmFy" not in str(caught.value)
        assert "AKIA" not in str(caught.value)


def test_a_bucket_that_is_not_there_is_said(options):
    began = time.monotonic()
    with pytest.raises(CatalogUnwritable, match=r"s3://nowhere/bars.*bucket") as caught:
        load(Catalog("s3://nowhere/bars", **options), START, APRIL)
    assert "AKIA" not in str(caught.value)
    assert time.monotonic() - began < 10


def test_a_store_that_is_not_there_is_said_within_seconds(options):
    began = time.monotonic()
    catalog = Catalog("s3://market/bars", **options | {"endpoint_override": "http://127.0.0.1:9"})
    with pytest.raises(CatalogError, match=r"s3://market/bars.*can't be read.*onnect") as caught:
        load(catalog, START, APRIL)
    assert "Is the store there, and are you let in" in str(caught.value)
    assert "AKIA" not in str(caught.value)
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("url", ["s3://", "nosuchstore://bars", "s3://a:b/c"])
def test_urls_that_name_no_store(url):
    with pytest.raises(ConfigurationError, match="can't be opened"):
        Catalog(url)


def test_a_folder_takes_no_options(tmp_path):
    with pytest.raises(ConfigurationError, match="takes no options"):
        Catalog(tmp_path, region="eu")


def test_many_loads_share_a_catalog_in_a_store(bucket, options):
    catalog = Catalog("s3://market/bars", **options)
    requests = [{"symbol": f"S{number % 4}", "start": "2020-01-01", "end": "2020-02-01"} for number in range(12)]
    every = ct.load_many(requests, source=KeptMarket, timeframe="1h", catalog=catalog, validation="off").unwrap()
    assert [bars == bars_between(f"S{number % 4}", START, FEBRUARY) for number, bars in enumerate(every)] == [True] * 12
    assert len(list(catalog.all())) == 4


def test_a_ledger_that_is_replaced_while_it_is_read_is_not_taken_for_damaged(bucket, options):
    series = Catalog("s3://market/bars", **options).series(KEY)
    ledgers = [Ledger(KEY, incidents=({"reason": "x" * (7919 * number % 3001)},)) for number in range(150)]
    series.save(ledgers[0])
    writer = threading.Thread(target=lambda: [series.save(ledger) for ledger in ledgers])
    writer.start()
    read = []
    try:
        while writer.is_alive():
            read.append(series.ledger())
    finally:
        writer.join()
    assert len(read) > 10
    assert all(ledger in ledgers for ledger in read)
