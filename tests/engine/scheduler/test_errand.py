"""Work on the model is done by the model's thread, between two passes."""

from threading import Event, Thread, current_thread

import pytest

from gemma4_block.engine.scheduler import Request
from gemma4_block.errors import EngineError
from tests.engine.scheduler.fake_model import FakeModel, make_scheduler, make_sequence

TIMEOUT_S = 20


def test_an_errand_is_run_by_the_model_s_thread() -> None:
    """It cannot overlap with a pass, and its result goes to who sent it."""
    scheduler = make_scheduler(FakeModel())
    assert scheduler.between_passes(lambda: current_thread().name) == "gemma4-block-model"
    scheduler.close()


def test_an_errand_is_run_while_sequences_are_decoded() -> None:
    """It does not wait until nothing is running, and what is running goes on."""
    passes: list[str] = []
    model = FakeModel(before=passes.append)
    scheduler = make_scheduler(model)
    request = Request(1)
    with scheduler.serve(request):
        scheduler.submit(make_sequence(request, 0, tokens=100_000))
        running = scheduler.between_passes(lambda: len(model.running))
        while not running:
            running = scheduler.between_passes(lambda: len(model.running))
        before = len(passes)
        while len(passes) == before:
            pass
    scheduler.close()
    assert running == 1


def test_an_errand_that_fails_harms_nobody_else() -> None:
    """Its error is raised where it was sent, and the thread goes on."""
    scheduler = make_scheduler(FakeModel())

    def fail() -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        scheduler.between_passes(fail)
    assert scheduler.between_passes(lambda: 1) == 1
    scheduler.close()


def test_a_closed_scheduler_takes_no_errands() -> None:
    """Neither one that comes later nor one that waits."""
    may_go_on, is_inside = Event(), Event()
    errors: list[EngineError] = []
    scheduler = make_scheduler(FakeModel())

    def hold() -> None:
        is_inside.set()
        assert may_go_on.wait(TIMEOUT_S)

    def send(work: object) -> None:
        try:
            scheduler.between_passes(work)  # type: ignore[arg-type]
        except EngineError as error:
            errors.append(error)

    threads = [Thread(target=send, args=(work,)) for work in (hold, lambda: None)]
    threads[0].start()
    assert is_inside.wait(TIMEOUT_S)
    threads[1].start()
    while not scheduler._queue._errands:
        pass
    closing = Thread(target=scheduler.close)
    closing.start()
    threads[1].join(TIMEOUT_S)
    may_go_on.set()
    for thread in (threads[0], closing):
        thread.join(TIMEOUT_S)
    with pytest.raises(EngineError, match="closed"):
        scheduler.between_passes(lambda: None)
    assert ["closed" in str(error) for error in errors] == [True]
