"""load_many on a pool of processes: requests go there, bars and errors come back whole, a dead worker is an error."""

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import pytest
from slowmarket import SlowMarket, bars_of, most_at_once

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidOption, QualityError, WorkerLost

HOURS = {"source": "csv", "timeframe": "1m"}


@pytest.fixture
def files(tmp_path):
    """Five series in files; the third has a negative volume."""
    found = []
    for at in range(5):
        bars = bars_of(f"S{at}", 100)
        volume = bars.volume.copy()
        volume[7] = -1.0 if at == 2 else 1.0
        path = bars.but(volume=volume).to_csv(tmp_path / f"{at}.csv")
        found.append({"path": path, "symbol": f"S{at}"})
    return found


def test_bars_come_back_whole_and_in_order(files, processes):
    there = ct.load_many(files, **HOURS, executor=processes).unwrap()
    here = ct.load_many(files, **HOURS).unwrap()
    assert there == here
    for one, other in zip(there, here, strict=True):
        told, known = ({**bars.report.to_dict(), "provenance": None} for bars in (one, other))
        assert told == known
        assert {**one.provenance, "loaded_at": 0} == {**other.provenance, "loaded_at": 0}
    assert there[2].report["negative_volume"].count == 1


def test_errors_come_back_whole(files, processes):
    outcomes = ct.load_many([*files, {"path": "nowhere.csv"}], **HOURS, validation="strict", executor=processes)
    assert [outcome.ok for outcome in outcomes] == [True, True, False, True, True, False]
    error = outcomes[2].error
    assert isinstance(error, QualityError)
    assert error.report["negative_volume"].count == 1
    assert isinstance(outcomes[5].error, FileNotFoundError)
    assert "nowhere.csv" in str(outcomes[5].error)


def test_a_class_travels_and_the_source_is_made_anew(processes):
    requests = [{"symbol": "A", "rows": 3}, {"symbol": "B", "fault": "raise"}]
    good, bad = ct.load_many(requests, source=SlowMarket, timeframe="1m", executor=processes)
    assert good.unwrap() == bars_of("A", 3)
    assert isinstance(bad.error, CracktraderError)
    assert bad.error.context["symbol"] == "B"
    assert bad.error.hint == "Try tomorrow."


def test_limits_hold_on_processes(processes, diary):
    requests = [{"symbol": f"{exchange}{at}", "exchange": exchange} for exchange in "ab" for at in range(4)]
    ct.load_many(requests, source=SlowMarket, timeframe="1m", seconds=0.05, diary=diary, per_host=1, executor=processes).unwrap()
    assert most_at_once(diary, lambda symbol: symbol.startswith("a")) == 1
    assert most_at_once(diary, lambda symbol: symbol.startswith("b")) == 1


def test_an_open_source_is_refused_before_anything_is_loaded(processes):
    for opened in (ct.source(SlowMarket), SlowMarket()):
        with pytest.raises(InvalidOption, match=r"Request 2 has an open source.*\n.*made anew there"):
            ct.load_many([{"source": SlowMarket}, {"source": opened}], executor=processes, timeframe="1m")


def test_what_does_not_pickle_is_named(processes):
    requests = [{"symbol": "A"}, {"symbol": "B", "exchange": lambda: None}]
    good, bad = ct.load_many(requests, source=SlowMarket, timeframe="1m", executor=processes)
    assert good.ok
    assert isinstance(bad.error, InvalidOption)
    assert "SlowMarket B 1m can't be sent to another process: exchange=function does not pickle." in str(bad.error)


def test_progress_counts_what_other_processes_load(processes):
    seen = []
    ct.load_many([{"symbol": "A"}, {"symbol": "B"}], source=SlowMarket, timeframe="1m", executor=processes, progress=seen.append)
    assert (seen[-1].done, seen[-1].rows) == (2, 20)


def test_a_worker_that_dies_costs_what_it_had_and_nothing_that_was_done():
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        requests = [{"symbol": "A"}, {"symbol": "B", "fault": "die"}, {"symbol": "C"}]
        outcomes = ct.load_many(requests, source=SlowMarket, timeframe="1m", executor=pool, max_workers=1)
    assert outcomes[0].unwrap() == bars_of("A")
    for outcome in outcomes[1:]:
        assert isinstance(outcome.error, WorkerLost)
        assert outcome.label in str(outcome.error)
