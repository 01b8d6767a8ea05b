"""load_many in threads: results in order, each bars or its error, limits kept, and an end that leaves nothing behind."""

import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from slowmarket import SlowMarket, bars_of, most_at_once

import cracktrader as ct
from cracktrader.errors import CracktraderError, InvalidOption, InvalidTimeframe, SourceError

pytestmark = pytest.mark.usefixtures("no_thread_is_left")
MINUTES = {"source": SlowMarket, "timeframe": "1m"}


def symbols(number):
    return [{"symbol": f"S{at:04}"} for at in range(number)]


def test_outcomes_are_in_the_order_of_the_requests_whoever_is_done_first():
    requests = [{"symbol": f"S{at}", "seconds": (5 - at) / 20} for at in range(5)]
    outcomes = ct.load_many(requests, **MINUTES)
    assert [outcome.bars for outcome in outcomes] == [bars_of(f"S{at}") for at in range(5)]
    assert [outcome.request["symbol"] for outcome in outcomes] == [f"S{at}" for at in range(5)]
    assert outcomes.unwrap() == [bars_of(f"S{at}") for at in range(5)]
    assert not outcomes.failed


def test_no_request_is_no_outcome():
    assert ct.load_many([]) == []
    assert ct.load_many([]).unwrap() == []


def test_a_request_has_the_last_word_over_what_is_shared():
    bars = ct.load_many([{"symbol": "A"}, {"symbol": "B", "rows": 3, "timeframe": "5m"}], **MINUTES, rows=20, compression=1)
    assert len(bars[0].unwrap()) == 20
    assert isinstance(bars[1].error, CracktraderError)  # one-minute bars are no five-minute bars


def test_requests_may_come_from_a_generator_and_are_not_changed():
    requests = symbols(3)
    kept = [dict(request) for request in requests]
    assert len(ct.load_many((request for request in requests), **MINUTES)) == 3
    assert requests == kept


def test_the_bars_are_those_of_load_with_their_report(tmp_path):
    path = bars_of("A", 50).to_csv(tmp_path / "a.csv")
    request = {"path": path, "symbol": "A", "timeframe": "1m", "validation": "report", "limit": 20}
    (outcome,) = ct.load_many([request], source="csv")
    alone = ct.load("csv", **request)
    assert outcome.unwrap() == alone
    assert outcome.bars.report.to_dict().keys() == alone.report.to_dict().keys()
    assert outcome.label == "csv A 1m"


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────


def test_an_error_loses_no_other_series():
    requests = [{"symbol": "A"}, {"symbol": "B", "fault": "raise"}, {"symbol": "C"}, {"symbol": "D", "timeframe": "7x"}]
    outcomes = ct.load_many(requests, **MINUTES)
    assert [outcome.ok for outcome in outcomes] == [True, False, True, False]
    assert [type(outcome.error) for outcome in outcomes.failed] == [CracktraderError, InvalidTimeframe]
    assert outcomes[1].error.context["symbol"] == "B"
    with pytest.raises(CracktraderError, match="no B today"):
        outcomes[1].unwrap()


def test_unwrapping_all_raises_the_first_error_and_names_every_other():
    requests = [{"symbol": name, "fault": "raise" if name in "BDE" else None} for name in "ABCDE"]
    outcomes = ct.load_many(requests, **MINUTES)
    for _ in range(2):  # asking again says nothing twice
        with pytest.raises(CracktraderError, match="no B today") as caught:
            outcomes.unwrap()
        assert caught.value.__notes__ == [
            "3 of 5 series failed. This is SlowMarket B 1m; the others are:\n"
            "- SlowMarket D 1m: CracktraderError: no D today\n"
            "- SlowMarket E 1m: CracktraderError: no E today"
        ]


def test_an_error_does_not_keep_what_was_loaded_before_it():
    alive = []

    class Failing(SlowMarket):
        @ct.hookimpl
        def fetch_bars(self, request):
            chunk = bars_of(request.symbol, 1000)
            alive.append(weakref.ref(chunk))
            yield chunk
            raise ValueError("enough")

    (outcome,) = ct.load_many([{"symbol": "A"}], source=Failing, timeframe="1m")
    gc.collect()
    assert isinstance(outcome.error, SourceError)
    assert alive[0]() is None


@pytest.mark.parametrize(
    ("requests", "shared", "said"),
    [
        ([{"symbol": "A"}], {}, "Request 1 does not say which source"),
        ([{"source": SlowMarket}, "BTC/USDT"], {}, "Request 2 is no mapping but str"),
        ([{}], {"source": SlowMarket, "max_workers": 0}, "max_workers=0"),
        ([{}], {"source": SlowMarket, "per_host": True}, "per_host=True"),
        ([{}], {"source": SlowMarket, "per_host": 1.5}, "per_host=1.5"),
    ],
)
def test_what_can_not_be_a_request_is_refused_before_anything_is_loaded(requests, shared, said):
    with pytest.raises(InvalidOption, match=said):
        ct.load_many(requests, **shared)


def test_secrets_do_not_show_in_outcomes():
    (outcome,) = ct.load_many([{"symbol": "A", "exchange": "hush"}], **MINUTES)
    assert "hush" not in repr(outcome)


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────


def test_threads_share_an_open_source_which_stays_open():
    with ct.source(SlowMarket, rows=5) as shared:
        assert ct.load_many(symbols(20), source=shared, timeframe="1m").unwrap() == [bars_of(f"S{at:04}", 5) for at in range(20)]
        assert len(ct.load(shared, symbol="A", timeframe="1m")) == 5
    mine = SlowMarket(rows=5)
    assert all(outcome.ok for outcome in ct.load_many(symbols(3), source=mine, timeframe="1m"))


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_run_at_once_than_there_are_workers(most, diary):
    ct.load_many(symbols(9), **MINUTES, seconds=0.05, diary=diary, max_workers=most).unwrap()
    assert min(2, most) <= most_at_once(diary) <= most


def test_no_more_than_per_host_ask_one_exchange_while_others_pass(diary):
    requests = [{"symbol": f"{exchange}{at}", "exchange": exchange} for exchange in ("slow", "fast") for at in range(8)]
    ct.load_many(requests, **MINUTES, seconds=0.05, diary=diary, per_host=2).unwrap()
    assert most_at_once(diary, lambda symbol: symbol.startswith("slow")) == 2
    assert most_at_once(diary, lambda symbol: symbol.startswith("fast")) == 2
    assert most_at_once(diary) > 2


def test_open_sources_of_one_exchange_share_its_limit(diary):
    with ct.source(SlowMarket, exchange="x", diary=diary, seconds=0.02) as one, SlowMarketOf("x", diary) as other:
        requests = [{"source": source, "symbol": f"S{at}"} for at, source in enumerate([one, other] * 4)]
        ct.load_many(requests, timeframe="1m", per_host=2).unwrap()
    assert most_at_once(diary) == 2


def SlowMarketOf(exchange, diary):
    return ct.source(SlowMarket, exchange=exchange, diary=diary, seconds=0.02)


def test_one_host_by_any_path_is_one_host(tmp_path):
    from cracktrader.many import job_of

    def host(**asked):
        return job_of({"source": "csv", **asked}, 1, None).host

    assert host(path="https://user:secret@example.org/a.csv") == host(path="https://example.org/b.csv")
    assert host(path="https://example.org/a.csv") != host(path="https://example.com/a.csv")
    assert host(path="a.csv") != host(path="b.csv")
    assert host(path="http://[no") == host(url="http://[no")
    assert host() == host()


def test_thousands_of_requests_are_not_submitted_at_once():
    class Counting(ThreadPoolExecutor):
        waiting = most = 0
        lock = threading.Lock()

        def submit(self, *arguments):
            future = super().submit(*arguments)
            with self.lock:
                self.waiting += 1
                self.most = max(self.most, self.waiting)
            future.add_done_callback(self.done)
            return future

        def done(self, _):
            with self.lock:
                self.waiting -= 1

    with Counting(4) as executor:
        outcomes = ct.load_many(symbols(2000), source="memory", bars=bars_of("X", 1), timeframe="1m",
                                executor=executor, per_host=1000)  # fmt: skip
        assert len(outcomes.failed) == 2000  # of unknown symbols
        assert executor.most <= 256
        assert executor.submit(len, "it is still open").result() == 16


# ── progress and the end ─────────────────────────────────────────────────────────────────────────────


def test_progress_counts_series_and_rows_as_they_come():
    seen = []
    requests = [*symbols(6), {"symbol": "X", "fault": "raise"}]
    ct.load_many(requests, **MINUTES, chunks=3, seconds=0.1, progress=seen.append, max_workers=2)
    last = seen[-1]
    assert (last.done, last.total, last.failed, last.rows) == (7, 7, 1, 180)
    for name in ("done", "rows", "failed", "seconds"):
        values = [getattr(progress, name) for progress in seen]
        assert values == sorted(values)
    assert seen[0].seconds < last.seconds
    assert last.seconds_left == 0
    assert last.rows_per_second == pytest.approx(180 / last.seconds)


def test_rows_count_before_their_series_is_done():
    seen = []
    ct.load_many([{"symbol": "A"}], **MINUTES, chunks=10, seconds=0.1, progress=seen.append)
    assert any(0 < progress.rows < 100 and progress.done == 0 for progress in seen)


def test_what_the_display_raises_ends_everything(diary):
    def enough(progress):
        if progress.done:
            raise LookupError("enough")

    requests = [{"symbol": "quick"}, *({"symbol": f"S{at}", "chunks": 1000, "seconds": 0.01} for at in range(50))]
    with pytest.raises(LookupError, match="enough"):
        ct.load_many(requests, **MINUTES, diary=diary, max_workers=4, progress=enough)
    lines = diary.read_text().split("\n")
    begun = {line.split()[1] for line in lines if line.startswith("begin")}
    assert len(begun) <= 8  # the others had not begun
    assert {line.split()[1] for line in lines if line.startswith("end")} == begun  # and these are over
    assert len(lines) < 100


def test_an_executor_of_threads_that_was_passed_is_idle_and_open_after_an_interruption(diary):
    def enough(progress):
        raise KeyboardInterrupt

    with ThreadPoolExecutor(2) as executor:
        with pytest.raises(KeyboardInterrupt):
            ct.load_many(symbols(50), **MINUTES, chunks=1000, seconds=0.01, diary=diary, executor=executor, progress=enough)
        assert diary.read_text().count("begin") == diary.read_text().count("end")
        assert executor.submit(abs, -1).result() == 1


def test_an_executor_that_is_shut_down_is_the_error_of_each():
    executor = ThreadPoolExecutor(1)
    executor.shutdown()
    outcomes = ct.load_many(symbols(3), **MINUTES, executor=executor)
    assert all("shutdown" in str(outcome.error) for outcome in outcomes)


def test_load_many_works_where_it_is_not_the_main_thread():
    with ThreadPoolExecutor(2) as outer:
        both = [outer.submit(ct.load_many, symbols(5), **MINUTES) for _ in range(2)]
        assert [len(future.result().unwrap()) for future in both] == [5, 5]
