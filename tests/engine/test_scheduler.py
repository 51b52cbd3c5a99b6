"""Calls share a model: in turn, together, within memory, and none waits for ever."""

import contextlib
import linecache
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event, Thread
from types import FrameType

import pytest
import torch

from gemma4_block.engine.preprocess.prepared import PreparedPrompt
from gemma4_block.engine.scheduler.request import Call, Job
from gemma4_block.engine.scheduler.scheduler import Scheduler
from gemma4_block.errors import EngineError, OutOfMemoryError

from .fake_model import FakeModel, Reply, make_call, make_scheduler, queue_up


def test_a_call_is_worked_on_in_batches_and_ends() -> None:
    """Rows that end make room for those that wait, between steps."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    call = make_call(scheduler, 6, tokens=2)
    scheduler.run(call)

    assert sorted(call.outcomes) == list(range(6))
    assert model.log[0] == ("start", (0, 1, 2, 3))
    assert model.log[1:] == [("step", (4,)), ("start", (4, 5)), ("step", (2,))]


def test_a_call_with_nothing_to_ask_is_done() -> None:
    """It does not wait."""
    make_scheduler(FakeModel()).run(Call(count=0))


def test_calls_take_turns_so_a_small_one_does_not_wait_for_a_large_one() -> None:
    """A call of one prompt is in the first batch that is made after it came."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    large = make_call(scheduler, 40, tokens=3)
    small: list[Call] = []

    def come_late(_: str) -> None:
        if not small and len(model.log) == 3:
            small.append(make_call(scheduler, 1, tokens=1, start=100))
            scheduler._calls.append(small[0])

    model.before = come_late
    scheduler.run(large)
    begun = [places for kind, places in model.log if kind == "start"]

    assert [100 in places for places in begun].index(True) == 2
    assert len(begun) > 9


def test_every_call_of_many_threads_gets_its_outcomes() -> None:
    """Sixteen callers, more prompts than rows, different lengths of answers; nobody is left."""
    model = FakeModel()
    scheduler = make_scheduler(model)

    def run(seed: int) -> Call:
        call = make_call(scheduler, 1 + seed % 5, tokens=1 + seed % 7, length=5 + seed, choices=seed % 4 == 0)
        scheduler.run(call)
        return call

    with ThreadPoolExecutor(16) as threads:
        calls = list(threads.map(run, range(64)))

    assert all(len(call.outcomes) == call.count for call in calls)
    assert all(rows[0] <= 4 for kind, rows in model.log if kind == "step")
    assert not scheduler._calls
    assert not scheduler._working


def test_what_is_scored_does_not_wait_for_room_among_replies() -> None:
    """Four long replies are running; a choice is made between their steps."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    long, choice = make_call(scheduler, 4, tokens=50), make_call(scheduler, 1, start=9, choices=True)
    queue_up(scheduler, choice)
    scheduler.run(long)

    assert ("score", (9,)) in model.log[:3]


def test_lengths_that_differ_much_do_not_begin_together() -> None:
    """No more than a third of a batch is padding."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    call = make_call(scheduler, 2, length=10)
    for place, length in ((2, 100), (3, 110)):
        prompt = PreparedPrompt(index=place, input_ids=(1,) * length, image_tokens=0, images=())
        scheduler.submit(Job(call=call, prompt=prompt, row=Reply(1)))  # type: ignore[arg-type]
    call.count = 4
    scheduler.run(call)

    assert [places for kind, places in model.log if kind == "start"] == [(0, 1), (2, 3)]


def test_work_goes_on_with_half_when_memory_runs_out_and_the_limit_is_learnt() -> None:
    """Room for two rows of ten: four do not fit, then two begin at a time, also in later calls."""
    model = FakeModel(cells=25)
    scheduler = make_scheduler(model)
    failures: list[str] = []
    model.before = failures.append
    first = make_call(scheduler, 6, tokens=1)
    scheduler.run(first)
    starts = failures.count("start")
    begun = [places for kind, places in model.log if kind == "start"]
    second = make_call(scheduler, 4, tokens=1)
    scheduler.run(second)

    assert begun == [(0, 1), (2, 3), (4, 5)]
    assert starts == len(begun) + 1
    assert failures.count("start") == starts + 2
    assert len(first.outcomes) + len(second.outcomes) == 10


def test_replies_go_on_where_they_were_when_memory_runs_out_in_the_middle() -> None:
    """What was written counts; nothing is written twice."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    call = make_call(scheduler, 4, tokens=6)
    failed: list[int] = []

    def fail_once(kind: str) -> None:
        if kind == "step" and len(model.log) == 3 and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError

    model.before = fail_once
    scheduler.run(call)

    assert failed
    for outcome in call.outcomes.values():
        assert isinstance(outcome, Job)
        assert len(outcome.row.ids) == 6


def test_a_prompt_that_does_not_fit_alone_fails_its_call_and_no_other() -> None:
    """The caller is told what to do; the neighbour gets its answer."""
    model = FakeModel(cells=50)
    model.keeps = 1
    scheduler = make_scheduler(model)
    huge, small = make_call(scheduler, 1, length=60), make_call(scheduler, 1, length=10)
    with pytest.raises(OutOfMemoryError, match="image_seq_length"):
        scheduler.run(huge)
    scheduler.run(small)

    assert len(small.outcomes) == 1


def test_an_error_of_the_model_reaches_all_callers_of_its_batch_and_nobody_else() -> None:
    """Those whose replies were running when a new batch fails go on."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    good, bad = make_call(scheduler, 1, tokens=5), make_call(scheduler, 1, length=300, start=7)

    def break_where_long(jobs: Sequence[Job]) -> None:
        if jobs[0].length > 90:
            raise ValueError("broken")
        FakeModel.start(model, jobs)

    model.start = break_where_long  # type: ignore[method-assign]
    queue_up(scheduler, bad)
    scheduler.run(good)
    (outcome,) = good.outcomes.values()

    assert isinstance(outcome, Job)
    assert len(outcome.row.ids) == 5
    assert isinstance(bad.error, EngineError)
    assert "ValueError: broken" in str(bad.error)


def test_a_late_call_ends_where_it_stands_and_the_others_go_on() -> None:
    """Running, waiting and unprepared alike; the deadline is looked at between steps."""
    model = FakeModel()
    scheduler = make_scheduler(model, max_rows=2)
    late, other = make_call(scheduler, 3, tokens=1000), make_call(scheduler, 1, tokens=40)
    late.deadline = time.monotonic() + 0.2
    model.before = lambda _: time.sleep(0.005)
    queue_up(scheduler, other)
    scheduler.run(late)
    scheduler._calls.remove(other)
    scheduler.run(other)
    reasons = {
        place: outcome.row.finish_reason
        for place, outcome in late.outcomes.items()
        if isinstance(outcome, Job)
    }

    assert reasons == dict.fromkeys(range(3), "deadline")
    (done,) = other.outcomes.values()
    assert isinstance(done, Job)
    assert len(done.row.ids) == 40


def test_a_cancelled_call_stops_between_two_steps() -> None:
    """Another thread says so; what was written stays."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    cancelled = Event()
    call = make_call(scheduler, 1, tokens=10**6)
    call.cancelled = cancelled
    model.before = lambda _: cancelled.set() if len(model.log) == 5 else None
    scheduler.run(call)
    (outcome,) = call.outcomes.values()

    assert isinstance(outcome, Job)
    assert (outcome.row.finish_reason, len(outcome.row.ids)) == ("cancelled", 6)


def test_an_interrupted_leader_leaves_the_work_of_others_to_them() -> None:
    """Ctrl-C in one thread: its own call is gone, the other one is read again and answered."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    own, other = make_call(scheduler, 1, tokens=9), make_call(scheduler, 1, tokens=9, start=5)
    interrupted: list[int] = []

    def interrupt(kind: str) -> None:
        if kind == "step" and len(model.log) == 4 and not interrupted:
            interrupted.append(1)
            raise KeyboardInterrupt

    model.before = interrupt
    queue_up(scheduler, other)
    with pytest.raises(KeyboardInterrupt):
        scheduler.run(own)
    scheduler._calls.remove(other)
    scheduler.run(other)
    (outcome,) = other.outcomes.values()

    assert isinstance(outcome, Job)
    assert len(outcome.row.ids) == 9
    assert not scheduler._working


def test_what_is_kept_goes_before_a_prompt_is_refused() -> None:
    """Caches take memory that a single prompt may need."""
    model = FakeModel(cells=100)
    scheduler = make_scheduler(model)
    model.kept = 50
    call = make_call(scheduler, 1, length=80)
    scheduler.run(call)

    assert len(call.outcomes) == 1
    assert model.kept == 0


def test_a_very_long_prompt_is_not_padded_out_to() -> None:
    """Short ones wait until it is done: three rows of it would be padding."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    long, short = make_call(scheduler, 1, tokens=5, length=50_000), make_call(scheduler, 3, start=5)
    queue_up(scheduler, short)
    short.turn = 10**9
    scheduler.run(long)
    scheduler._calls.remove(short)
    scheduler.run(short)

    assert all(rows == (1,) for kind, rows in model.log[:5] if kind == "step")
    assert len(short.outcomes) == 3


def test_what_ended_before_memory_ran_out_has_ended() -> None:
    """A reply that is whole is not begun again, and gets no further token."""
    model = FakeModel()
    scheduler = make_scheduler(model)
    call = make_call(scheduler, 2, tokens=3)
    failed: list[int] = []

    def fail_after_the_step() -> None:
        FakeModel.step(model)
        if not failed:
            failed.append(1)
            model.rows[0].end("stop")
            raise torch.OutOfMemoryError

    model.step = fail_after_the_step  # type: ignore[method-assign]
    scheduler.run(call)
    lengths = sorted(len(one.row.ids) for one in call.outcomes.values() if isinstance(one, Job))

    assert lengths == [2, 3]


def _lines_of_a_leader(scheduler: Scheduler, call: Call, stop_at: int) -> int:
    """Run a call, interrupt it at so many executed lines of the scheduler, and return how many there were."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., object] | None:
        nonlocal seen
        code = frame.f_code.co_filename
        if not code.endswith(
            ("gemma4_block/engine/scheduler/scheduler.py", "gemma4_block/engine/scheduler/request.py")
        ):
            return None
        # Python looks for Ctrl-C at calls and loops, not between a block and the release of its lock.
        if event == "line" and "with self._changed" not in linecache.getline(code, frame.f_lineno):
            seen += 1
            if seen == stop_at:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        scheduler.run(call)
    finally:
        sys.settrace(None)
    return seen


def test_an_interrupt_anywhere_leaves_no_other_caller_waiting() -> None:
    """At every line that a leader executes: the other call still gets whole answers."""

    def make() -> tuple[Scheduler, Call, Call]:
        scheduler = make_scheduler(FakeModel())
        own, other = make_call(scheduler, 2, tokens=3), make_call(scheduler, 3, tokens=4, start=5)
        queue_up(scheduler, other)
        return scheduler, own, other

    scheduler, own, _ = make()
    lines = _lines_of_a_leader(scheduler, own, stop_at=0)
    lost: list[int] = []
    for line in range(1, lines + 1):
        scheduler, own, other = make()
        with contextlib.suppress(KeyboardInterrupt):
            _lines_of_a_leader(scheduler, own, stop_at=line)
        helper = Thread(target=scheduler.run, args=(other,), daemon=True)
        scheduler._calls = [call for call in scheduler._calls if call is not other]
        helper.start()
        helper.join(timeout=5)
        whole = [one for one in other.outcomes.values() if isinstance(one, Job) and len(one.row.ids) == 4]
        if helper.is_alive() or len(whole) != 3:
            lost.append(line)

    assert lines > 100
    assert lost == []
