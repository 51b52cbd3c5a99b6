"""Callers of many threads wait for a model that works in a thread of its own; none of them waits for ever."""

import contextlib
import gc
import linecache
import os
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread
from types import FrameType

import pytest

from gemma4_block.engine.scheduler import Request, Scheduler
from gemma4_block.errors import EngineError

from .fake_model import FakeModel, ended, make_request, make_scheduler, make_sequence

ROOT = Path(__file__).parents[3]


def run(scheduler: Scheduler, request: Request) -> None:
    """Serve a request whose sequences wait already."""
    with scheduler.serve(request):
        scheduler.wait(request)


def test_every_request_of_many_threads_gets_its_outcomes() -> None:
    """Sixteen callers, more prompts than sequences at once, different lengths of answers; nobody is left."""
    model = FakeModel()
    scheduler = make_scheduler(model)

    def ask(seed: int) -> Request:
        request = make_request(1 + seed % 5, tokens=1 + seed % 7, length=5 + seed, choices=seed % 4 == 0)
        run(scheduler, request)
        return request

    with ThreadPoolExecutor(16) as threads:
        requests = list(threads.map(ask, range(64)))
    scheduler.close()

    assert all(len(request.outcomes) == request.count for request in requests)
    assert all(count[0] <= 4 for kind, count in model.log if kind == "decode")
    assert not model.running


def test_a_deadline_ends_a_request_that_is_still_being_prepared() -> None:
    """Nothing is submitted, nobody works, and the caller does not wait for more than its time."""
    scheduler = make_scheduler(FakeModel())
    request = Request(2, deadline=time.monotonic() + 0.1)
    run(scheduler, request)
    scheduler.close()

    assert request.outcomes == {0: "deadline", 1: "deadline"}


def test_cancelling_ends_a_request_that_is_still_being_prepared() -> None:
    """Another thread says so."""
    scheduler = make_scheduler(FakeModel())
    cancelled = Event()
    request = Request(1, cancelled=cancelled)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(run, scheduler, request)
        cancelled.set()
        waiting.result(5)
    scheduler.close()

    assert request.outcomes == {0: "cancelled"}


def test_nothing_is_lost_that_is_submitted_while_a_request_ends() -> None:
    """Prompts become ready at the very moment of a deadline; every one has an outcome, nobody hangs."""
    interval = sys.getswitchinterval()
    scheduler = make_scheduler(FakeModel())
    hung: list[int] = []

    def feed(request: Request) -> None:
        for place in range(request.count):
            scheduler.submit(make_sequence(request, place, tokens=3))

    sys.setswitchinterval(5e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            for attempt in range(400):
                request = Request(6, deadline=time.monotonic() + attempt % 20 * 1e-4)
                with scheduler.serve(request):
                    feeding = threads.submit(feed, request)
                    if not request.done.wait(5):
                        hung.append(attempt)
                    feeding.result(5)
    finally:
        sys.setswitchinterval(interval)
    scheduler.close()

    assert hung == []


def test_an_interrupted_caller_withdraws_its_own_work_and_nothing_else() -> None:
    """Ctrl-C while it waits: the model lets its sequences go at the next step, the other one is answered."""
    model = FakeModel(before=lambda _: time.sleep(0.001))
    scheduler = make_scheduler(model)
    own, other = make_request(1, tokens=10**6), make_request(1, tokens=200)

    def interrupted() -> None:
        with scheduler.serve(own):
            while not model.log:
                time.sleep(0.001)
            raise KeyboardInterrupt

    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(run, scheduler, other)
        with pytest.raises(KeyboardInterrupt):
            interrupted()
        asked.result(20)
    scheduler.close()

    assert [len(one.output_ids) for one in ended(other)] == [200]
    assert model.log[-1] == ("decode", (1,))


def _lines_of_a_caller(scheduler: Scheduler, request: Request, stop_at: int) -> int:
    """Run a request, interrupt it at so many executed lines of the room, and return how many there were."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        nonlocal seen
        code = frame.f_code.co_filename
        if "gemma4_block/engine/scheduler/" not in code:
            return None
        # Python looks for Ctrl-C at calls and loops, not between a block and the release of its lock.
        if event == "line" and "with self._" not in linecache.getline(code, frame.f_lineno):
            seen += 1
            if seen == stop_at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        with scheduler.serve(request):
            for place in range(request.count):
                scheduler.submit(make_sequence(request, place, tokens=3))
            scheduler.wait(request)
    finally:
        sys.settrace(None)
    return seen


def test_an_interrupt_anywhere_leaves_no_other_caller_waiting() -> None:
    """At every line that a caller executes: the other request gets whole answers, and later ones too."""
    scheduler = make_scheduler(FakeModel())
    lines = _lines_of_a_caller(scheduler, Request(2), stop_at=0)
    lost: list[int] = []
    for line in range(1, lines + 1):
        own, other, later = Request(2), make_request(3, tokens=4), make_request(1, tokens=4)
        helper = Thread(target=run, args=(scheduler, other), daemon=True)
        helper.start()
        with contextlib.suppress(KeyboardInterrupt):
            _lines_of_a_caller(scheduler, own, stop_at=line)
        helper.join(timeout=5)
        after = Thread(target=run, args=(scheduler, later), daemon=True)
        after.start()
        after.join(timeout=5)
        whole = [one for one in (*ended(other), *ended(later)) if len(one.output_ids) == 4]
        if helper.is_alive() or after.is_alive() or len(whole) != 4:
            lost.append(line)
    scheduler.close()

    assert lines > 40
    assert lost == []


def test_a_closed_scheduler_fails_who_waits_and_refuses_who_comes() -> None:
    """Its thread has ended."""
    model = FakeModel(before=lambda _: time.sleep(0.001))
    scheduler = make_scheduler(model)
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(run, scheduler, make_request(1, tokens=10**6))
        while not model.log:
            time.sleep(0.001)
        scheduler.close()
        with pytest.raises(EngineError, match="closed"):
            asked.result(5)
    with pytest.raises(EngineError, match="closed"):
        run(scheduler, make_request(1))

    assert scheduler._thread is not None
    assert not scheduler._thread.is_alive()
    assert not model.running


def test_a_scheduler_that_nobody_holds_ends_its_thread_and_frees_the_model() -> None:
    """Whoever forgets to close loses no memory."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    run(scheduler, make_request(1))
    thread, gone = scheduler._thread, weakref.ref(model)
    assert thread is not None
    del scheduler, model
    gc.collect()
    thread.join(5)

    assert not thread.is_alive()
    assert gone() is None


def test_a_fault_of_our_own_fails_the_callers_and_not_the_thread() -> None:
    """They would wait for ever; later requests are answered."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    admission = scheduler._loop._admission
    fits = admission.fits
    admission.fits = lambda *_: 1 / 0  # type: ignore[assignment, method-assign, return-value]
    with pytest.raises(EngineError, match="ZeroDivisionError"):
        run(scheduler, make_request(1))
    admission.fits = fits  # type: ignore[method-assign]
    later = make_request(1)
    run(scheduler, later)
    scheduler.close()

    assert len(ended(later)) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_is_refused_and_does_not_wait_for_a_thread_that_it_has_not() -> None:
    """The child is told what to do; the parent goes on."""
    scheduler = make_scheduler(FakeModel())
    run(scheduler, make_request(1))
    child = os.fork()
    if child == 0:
        try:
            run(scheduler, make_request(4))
        except EngineError as error:
            os._exit(0 if "forked" in str(error) else 2)
        os._exit(1)
    deadline = time.monotonic() + 20
    status = None
    while status is None and time.monotonic() < deadline:
        ended_child, code = os.waitpid(child, os.WNOHANG)
        status = code if ended_child else None
        time.sleep(0.01)
    if status is None:
        os.kill(child, 9)
        os.waitpid(child, 0)
    later = make_request(4)
    run(scheduler, later)
    scheduler.close()

    assert status == 0
    assert len(ended(later)) == 4


_AT_EXIT = """
import signal, sys, threading, time
import torch
from tests.engine.scheduler.fake_model import FakeModel, make_request, make_scheduler

matrix = torch.rand(1200, 1200)

def work(kind):
    for _ in range(20):
        matrix @ matrix
    started.set()

started = threading.Event()
scheduler = make_scheduler(FakeModel(before=work))
request = make_request(1, tokens=10**6)
with scheduler.serve(request):
    started.wait()
    {ending}
"""


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        pytest.param("pass", 0, id="the program ends"),
        pytest.param("raise KeyboardInterrupt", 130, id="Ctrl-C"),
        pytest.param("sys.exit(3)", 3, id="it exits with a code of its own"),
    ],
)
def test_a_program_may_end_while_the_model_works(ending: str, code: int) -> None:
    """The interpreter waits for the pass that is under way; without that torch aborts the process."""
    script = _AT_EXIT.replace("{ending}", ending)
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )

    # The interpreter ends itself by the signal where it was interrupted.
    assert done.returncode in {code, -signal.SIGINT if code == 130 else code}, done.stderr
