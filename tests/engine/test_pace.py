"""Prompts of some callers hold up the answers of others only for a while."""

from collections.abc import Sequence

import pytest

from gemma4_block.engine.scheduler.request import Call, Job
from gemma4_block.engine.scheduler.scheduler import Scheduler

from .fake_model import FakeModel, make_call, make_scheduler, queue_up


class SlowModel(FakeModel):
    """Takes time on a clock of its own: for each prompt it reads, and for each step whatever its rows."""

    def __init__(self, *, read_s: float, step_s: float) -> None:
        super().__init__()
        self.read_s = read_s
        self.step_s = step_s
        self.now_s = 0.0

    def start(self, jobs: Sequence[Job]) -> None:
        """Read prompts."""
        super().start(jobs)
        self.now_s += self.read_s * len(jobs)

    def step(self) -> None:
        """Write a token of every row."""
        super().step()
        self.now_s += self.step_s

    @property
    def begun(self) -> list[int]:
        """How many prompts were read at a time."""
        return [len(places) for kind, places in self.log if kind == "start"]

    def steps_before(self, start: int) -> int:
        """How many steps there were between a start and the one before."""
        places = [place for place, (kind, _) in enumerate(self.log) if kind == "start"]
        return places[start] - places[start - 1] - 1


def run_one_after_eight(model: SlowModel, *, tokens: int) -> list[float]:
    """Ask nine times: once alone, and eight times at once; return when the eight had their answers."""
    scheduler = make_scheduler(model, max_rows=16, now=lambda: model.now_s)
    scheduler.run(make_call(scheduler, 1, tokens=1))
    model.log.clear()
    calls = [make_call(scheduler, 1, tokens=tokens, start=place) for place in range(8)]
    ended: dict[int, float] = {}
    for place, call in enumerate(calls):
        call.after_outcome = lambda place=place: ended.update({place: model.now_s})  # type: ignore[misc]
    queue_up(scheduler, *calls[1:])
    _run_all(scheduler, calls)
    return [ended[place] for place in range(8)]


def _run_all(scheduler: Scheduler, calls: Sequence[Call]) -> None:
    scheduler.run(calls[0])
    for call in calls[1:]:
        scheduler._calls.remove(call)
        scheduler.run(call)


def test_where_reading_is_slow_the_first_answers_do_not_wait_for_the_last_prompt() -> None:
    """Four are answered before the next four are read."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    ended = run_one_after_eight(model, tokens=32)

    assert model.begun == [4, 4]
    assert model.steps_before(1) == 31
    assert sum(ended) / 8 < 0.8 * max(ended)


def test_where_reading_is_fast_all_begin_together() -> None:
    """Eight prompts that take less than a second are one batch."""
    model = SlowModel(read_s=0.1, step_s=0.1)
    run_one_after_eight(model, tokens=32)

    assert model.begun == [8]


def test_the_prompts_of_one_call_begin_together_however_slow() -> None:
    """Nobody else waits for them."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    scheduler = make_scheduler(model, max_rows=16, now=lambda: model.now_s)
    scheduler.run(make_call(scheduler, 1, tokens=1))
    scheduler.run(make_call(scheduler, 8, tokens=4))

    assert model.begun == [1, 8]


@pytest.mark.parametrize(("read_s", "steps"), [(3.0, 24), (1.0, 8), (0.0625, 1)])
def test_answers_are_written_for_as_long_as_others_were_read(read_s: float, steps: int) -> None:
    """A caller who comes while others write is read at once, and the next one after as much writing."""
    model = SlowModel(read_s=read_s, step_s=0.125)
    scheduler = make_scheduler(model, max_rows=16, now=lambda: model.now_s)
    long = make_call(scheduler, 1, tokens=1000)
    late = [make_call(scheduler, 1, tokens=1000, start=1 + place) for place in range(2)]

    def come(kind: str) -> None:
        if kind == "step" and late and len(model.log) in (5, 7):
            queue_up(scheduler, late.pop(0))
        if len(model.log) > 100:
            for call in scheduler._calls:
                call.cancelled.set()

    model.before = come
    scheduler.run(long)

    assert model.begun == [1, 1, 1]
    assert model.steps_before(1) <= 6
    assert model.steps_before(2) == steps


def test_a_call_goes_on_with_its_own_prompts_when_nobody_else_writes() -> None:
    """Rows that end make room at once, whatever was owed to others who are gone."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    scheduler = make_scheduler(model, max_rows=2, now=lambda: model.now_s)
    scheduler.run(make_call(scheduler, 6, tokens=3))

    assert model.begun == [2, 2, 2]
    assert [model.steps_before(start) for start in (1, 2)] == [2, 2]
