"""load_many on a Dask cluster: two worker processes, the same bars and errors, limits held, a killed worker an error."""

import pytest
from slowmarket import SlowMarket, bars_of, most_at_once

import cracktrader as ct
from cracktrader.errors import InvalidOption, QualityError, WorkerLost


@pytest.fixture
def executor(cluster):
    return cluster.get_executor(pure=False)


def test_bars_come_back_whole_and_in_order_from_both_workers(executor, diary):
    requests = [{"symbol": f"S{at:02}", "rows": at + 1} for at in range(40)]
    bars = ct.load_many(requests, source=SlowMarket, timeframe="1m", seconds=0.02, diary=diary, executor=executor).unwrap()
    assert bars == [bars_of(f"S{at:02}", at + 1) for at in range(40)]
    assert all(each.report.rows_in == at + 1 for at, each in enumerate(bars))
    workers = {line.split()[2] for line in diary.read_text().splitlines()}
    assert len(workers) == 2


def test_errors_come_back_whole(executor, tmp_path):
    bars = bars_of("A", 50)
    path = bars.but(volume=-bars.volume).to_csv(tmp_path / "a.csv")
    requests = [{"path": path}, {"path": tmp_path / "none.csv"}]
    dirty, missing = ct.load_many(requests, source="csv", symbol="A", timeframe="1m", validation="strict", executor=executor)
    assert isinstance(dirty.error, QualityError)
    assert dirty.error.report["negative_volume"].count == 50
    assert isinstance(missing.error, FileNotFoundError)


def test_limits_hold_across_the_workers(executor, diary):
    requests = [{"symbol": f"S{at}", "exchange": "x"} for at in range(8)]
    ct.load_many(requests, source=SlowMarket, timeframe="1m", seconds=0.03, diary=diary, per_host=2, executor=executor).unwrap()
    assert most_at_once(diary) == 2


def test_an_open_source_is_refused(executor):
    with pytest.raises(InvalidOption, match="open source"):
        ct.load_many([{"source": SlowMarket()}], timeframe="1m", executor=executor)


def test_what_does_not_pickle_is_the_error_of_one(executor, tmp_path):
    with (tmp_path / "file").open("w") as file:
        requests = [{"symbol": "A"}, {"symbol": "B", "exchange": file}]
        good, bad = ct.load_many(requests, source=SlowMarket, timeframe="1m", executor=executor)
    assert good.ok
    assert "exchange=TextIOWrapper does not pickle" in str(bad.error)


def test_an_interruption_cancels_what_has_not_begun(executor, diary):
    def enough(progress):
        if progress.done >= 4:
            raise KeyboardInterrupt

    requests = [{"symbol": f"S{at}"} for at in range(60)]
    with pytest.raises(KeyboardInterrupt):
        ct.load_many(requests, source=SlowMarket, timeframe="1m", seconds=0.1, diary=diary, executor=executor,
                     per_host=60, progress=enough)  # fmt: skip
    assert executor.submit(abs, -1).result() == 1  # it comes after what still runs
    assert diary.read_text().count("begin") < 30


def test_a_killed_worker_costs_one_series(executor, cluster):
    requests = [{"symbol": "A"}, {"symbol": "B", "fault": "die"}, *({"symbol": f"S{at}"} for at in range(10))]
    outcomes = ct.load_many(requests, source=SlowMarket, timeframe="1m", per_host=1, executor=executor)
    assert [outcome.ok for outcome in outcomes] == [True, False, *[True] * 10]
    assert isinstance(outcomes[1].error, WorkerLost)
    assert "SlowMarket B 1m" in str(outcomes[1].error)
    cluster.wait_for_workers(2, timeout=30)


# ── a catalog that all workers share ─────────────────────────────────────────────────────────────────


@pytest.fixture
def bucket():
    """A catalog in a bucket of an object store on this machine, that speaks S3."""
    moto = pytest.importorskip("moto.server", reason="moto, a server of the S3 protocol, is not installed")
    fs = pytest.importorskip("pyarrow.fs")
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    options = {
        "endpoint_override": f"{host}:{port}",
        "scheme": "http",
        "access_key": "key",
        "secret_key": "hush",
        "region": "us-east-1",
    }
    try:
        fs.S3FileSystem(allow_bucket_creation=True, **options).create_dir("bucket")
        yield ct.Catalog("s3://bucket/bars", **options)
    finally:
        server.stop()


@pytest.mark.parametrize("kind", ["folder", "bucket"])
def test_workers_share_a_catalog_and_fetch_nothing_twice(kind, executor, diary, tmp_path, request):
    catalog = tmp_path / "bars" if kind == "folder" else request.getfixturevalue("bucket")
    requests = [{"symbol": f"S{at}"} for at in range(8)]
    shared = {"source": SlowMarket, "timeframe": "1m", "end": "2024-01-01T00:10", "catalog": catalog, "diary": diary}
    first = ct.load_many(requests, **shared, executor=executor).unwrap()
    again = ct.load_many(requests, **shared, executor=executor).unwrap()
    here = ct.load_many(requests, **shared).unwrap()
    assert first == again == here == [bars_of(f"S{at}") for at in range(8)]
    assert diary.read_text().count("begin") == 8
