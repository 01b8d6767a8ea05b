"""What loads: threads, a pool of processes, and a Dask cluster of two worker processes."""

import contextlib
import multiprocessing
import os
import sys
import threading
import warnings
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent))  # so that here and on workers it is the same module


@pytest.fixture
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    left = [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("cracktrader")]
    assert not left


@pytest.fixture(scope="session")
def processes():
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """A client of two worker processes; when the tests are over, none of them is there any more."""
    pytest.importorskip("distributed", reason="the extra `dask` is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Dask's own imports, on new Pythons
        import dask
        from distributed import Client, LocalCluster

    settings = {
        "distributed.scheduler.allowed-failures": 0,  # a task that kills its worker is not tried on another
        "temporary-directory": str(tmp_path_factory.mktemp("dask")),
        "distributed.admin.log-length": 10,
    }
    no_dashboard = {"dashboard_address": "127.0.0.1:0", "scheduler_kwargs": {"dashboard": False}}
    with (
        dask.config.set(settings),
        LocalCluster(n_workers=2, threads_per_worker=2, **no_dashboard) as local,
        Client(local) as client,
    ):
        workers = set(client.run(os.getpid).values())
        assert len(workers) == 2
        yield client
        workers |= set(client.run(os.getpid).values())  # one may have taken the place of another
    for pid in workers:
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).wait(10)


@pytest.fixture
def diary(tmp_path):
    return tmp_path / "diary.txt"
