"""The hub: one thread that comes when it is needed and goes with the last job; and the hand-over to other threads."""

import asyncio
import os
import subprocess
import sys
import threading
import time

import pytest

from cracktrader.live.handover import Bell, Handover
from cracktrader.live.hub import HUB, Job, in_thread


def wait_until(true, seconds: float = 5.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.002)


def test_one_thread_serves_every_job_and_ends_with_the_last_and_comes_again() -> None:
    for _ in range(2):
        threads, ended = set(), []

        async def work(_: Job, threads=threads, ended=ended) -> None:
            threads.add(threading.current_thread())
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0.01)  # cleaning up takes a while, and is waited for
                ended.append(True)

        jobs = [HUB.run(work, f"job {number}") for number in range(3)]
        wait_until(lambda threads=threads: threads)
        jobs[0].stop()
        assert HUB.running
        jobs[1].stop()
        jobs[1].stop()
        jobs[2].stop()
        assert not HUB.running
        assert len(ended) == 3
        assert len(threads) == 1
        assert not threads.pop().is_alive()


def test_a_job_that_fails_harms_no_other_and_can_stop_itself() -> None:
    heard = threading.Event()

    async def fail(_: Job) -> None:
        raise RuntimeError("broken")

    async def go_on(job: Job) -> None:
        await asyncio.sleep(0.05)
        job.stop()  # from within: nothing waits for itself
        heard.set()

    bad, good = HUB.run(fail, "bad"), HUB.run(go_on, "good")
    assert heard.wait(5)
    with pytest.raises(RuntimeError, match="broken"):
        bad.done.result(1)
    bad.stop()
    good.stop()


def test_the_last_job_can_stop_itself() -> None:
    async def stop(job: Job) -> None:
        job.stop()
        await asyncio.sleep(60)

    HUB.run(stop, "stop")
    wait_until(lambda: not HUB.running)


def test_what_blocks_runs_beside_the_loop_and_its_errors_come_back() -> None:
    answers = []

    async def ask(_: Job) -> None:
        answers.append(await in_thread(lambda: threading.current_thread().name))
        try:
            await in_thread(lambda: 1 // 0)
        except ZeroDivisionError as error:
            answers.append(error)

    job = HUB.run(ask, "ask")
    job.done.result(5)
    job.stop()
    assert answers[0] == "cracktrader-fetch"
    assert isinstance(answers[1], ZeroDivisionError)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_after_a_fork_the_child_has_a_hub_of_its_own() -> None:
    code = """
import os, asyncio, sys
from cracktrader.live.hub import HUB
async def work(job): return os.getpid()
job = HUB.run(work, "parent"); assert job.done.result(5) == os.getpid()
child = os.fork()
if not child:
    mine = HUB.run(work, "child")
    fine = mine.done.result(5) == os.getpid()
    job.stop(); mine.stop()
    os._exit(0 if fine and not HUB.running else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
job.stop(); assert not HUB.running
"""
    subprocess.run([sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], check=True, timeout=30)


def test_python_exits_at_once_with_a_job_that_nobody_stopped_and_it_cleans_up() -> None:
    code = """
import asyncio
from cracktrader.live.hub import HUB, in_thread
import time
async def work(job):
    try:
        await in_thread(lambda: time.sleep(60))
    finally:
        print("cleaned up", flush=True)
HUB.run(work, "left"); time.sleep(0.2)
"""
    done = subprocess.run([sys.executable, "-c", code], check=True, timeout=20, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("cleaned up\n", "")


def test_a_reader_is_woken_by_what_it_waits_for_and_by_nothing_else() -> None:
    bell = Bell()
    items: Handover[int] = Handover(2, bell)
    heard = bell.rings
    assert not bell.wait(heard, 0.01)
    threading.Timer(0.05, items.put, (7,)).start()
    assert bell.wait(heard, 10)
    assert (items.room, items.peek(), items.take(), items.take()) == (1, 7, 7, None)
    assert bell.wait(heard, 0)  # it rang before anybody asked
