"""Requests share a model: in turn, together, within memory, and none waits for ever."""

import logging
import time
from threading import Event

import pytest
import torch

from gemma4_block.engine.scheduler import Request, Sequence
from gemma4_block.engine.scheduler.loop import MOST_OVERTAKES
from gemma4_block.errors import EngineError, OutOfMemoryError

from .fake_model import Bench, FakeModel, ended, make_request, make_sequence


def test_a_request_is_worked_on_in_batches_and_ends() -> None:
    """Sequences that end make room for those that wait, between steps."""
    model = FakeModel()
    request = make_request(6, tokens=2)
    Bench(model).run(request)

    assert sorted(request.outcomes) == list(range(6))
    assert model.log == [
        ("prefill", (0, 1, 2, 3)),
        ("decode", (4,)),
        ("prefill", (4, 5)),
        ("decode", (2,)),
    ]


def test_a_request_with_nothing_to_ask_is_done() -> None:
    """It does not wait."""
    assert Request(0).done.is_set()


def test_requests_take_turns_so_a_small_one_does_not_wait_for_a_large_one() -> None:
    """A request of one prompt is in the first batch that is made after it came."""
    model = FakeModel()
    bench = Bench(model)
    large, small = make_request(40, tokens=3), Request(1)
    small.waiting.append(make_sequence(small, 0, tokens=1, length=11))

    def come_late(_: str) -> None:
        if len(model.log) == 3 and not small.turn:
            bench.open(small)

    model.before = come_late
    bench.run(large)

    assert small.done.is_set()
    assert len(model.begun) > 9
    assert model.begun[1] == (4, 5, 6, 7)
    assert 0 in model.begun[2]


def test_what_is_scored_does_not_wait_for_room_among_answers() -> None:
    """Four long answers are running; a choice is made between their steps."""
    model = FakeModel()
    bench = Bench(model)
    long, choice = make_request(4, tokens=50), make_request(1, choices=True)
    bench.run(long, choice)

    assert ("score", (0,)) in model.log[:3]
    assert ended(choice)[0].choice_scores == (0.0,)


def test_lengths_that_differ_much_do_not_begin_together() -> None:
    """No more than a third of a batch is padding."""
    model = FakeModel()
    request = Request(4)
    for place, length in enumerate((10, 10, 100, 110)):
        request.waiting.append(make_sequence(request, place, tokens=1, length=length))
    Bench(model).run(request)

    assert model.begun == [(0, 1), (2, 3)]


def test_a_very_long_prompt_is_not_padded_out_to() -> None:
    """Short ones that came with it wait until it is done: three sequences of it would be padding."""
    model = FakeModel()
    bench = Bench(model)
    long, short = make_request(1, tokens=5, length=50_000), make_request(3, tokens=2)
    bench.open(long)
    bench.loop.turn()
    bench.open(short)
    bench.finish(long, short)

    assert [count for kind, count in model.log[:5] if kind == "decode"] == [(1,)] * 4
    assert len(short.outcomes) == 3


def test_a_prompt_that_does_not_fit_does_not_stop_those_behind_it() -> None:
    """Five long answers are running; short questions are answered while a very long prompt waits."""
    model = FakeModel()
    bench = Bench(model, max_sequences=8)
    running = make_request(5, tokens=500, length=100)
    long = make_request(1, tokens=1, length=20_000)
    short = [make_request(1, tokens=2, length=100) for _ in range(3)]
    bench.open(running)
    bench.loop.turn()
    bench.open(long, *short)
    bench.finish(*short)

    assert len([kind for kind, _ in model.log if kind == "decode"]) < 10
    assert not long.done.is_set()
    bench.finish(long, running)
    assert len(ended(long)) == 1


def test_a_prompt_that_does_not_fit_is_not_overtaken_for_ever() -> None:
    """After so many others nobody begins before it, what is running ends, and it is read."""
    model = FakeModel()
    bench = Bench(model, max_sequences=8)
    long = make_request(1, tokens=1, length=20_000)
    short = [make_request(1, tokens=3, length=100) for _ in range(MOST_OVERTAKES + 40)]
    first = make_request(1, tokens=3, length=100)
    bench.open(first)
    bench.loop.turn()
    bench.open(long, *short)
    bench.finish(long)
    answered = sum(request.done.is_set() for request in short)

    assert MOST_OVERTAKES <= answered < MOST_OVERTAKES + 8
    bench.finish(*short)


def test_work_goes_on_with_half_when_memory_runs_out_and_the_limit_is_learnt() -> None:
    """Room for two prompts of ten: four do not fit, then two begin at a time, in later requests too."""
    model = FakeModel(cells=25)
    bench = Bench(model)
    tried: list[str] = []
    model.before = tried.append
    first, second = make_request(6, tokens=1), make_request(4, tokens=1)
    bench.run(first)
    begun = list(model.begun)
    times = tried.count("prefill")
    bench.run(second)

    assert begun == [(0, 1), (2, 3), (4, 5)]
    assert times == len(begun) + 1
    assert tried.count("prefill") == times + 2
    assert len(ended(first)) + len(ended(second)) == 10


def test_running_out_of_memory_puts_back_the_youngest_and_leaves_the_others_running() -> None:
    """Four of ten tokens fit, four of eleven do not: three go on without being read again."""
    model = FakeModel(cells=45)
    request = make_request(4, tokens=6)
    Bench(model).run(request)

    # 4 sequences of 11 tokens fit, of 12 they do not; 3 of 15 do.
    assert model.begun == [(0, 1, 2, 3), (3,)]
    assert [one.output_ids for one in ended(request)] == [[1] * 6] * 4
    assert [count for kind, count in model.log if kind == "decode"][:3] == [(4,), (3,), (3,)]


def test_the_learnt_limit_is_given_up_when_memory_does_not_run_out_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Two short prompts met one lack of memory; later eight run at once again, and the log says so."""
    now = [0.0]
    model = FakeModel()
    bench = Bench(model, max_sequences=8, now=lambda: now[0])
    failed: list[int] = []

    def fail_once(_: str) -> None:
        if not failed:
            failed.append(1)
            raise torch.OutOfMemoryError

    model.before = fail_once
    bench.run(make_request(2, tokens=2))
    model.log.clear()
    with caplog.at_level(logging.WARNING):
        bench.run(make_request(8, tokens=2))
        limited = list(model.begun)
        model.log.clear()
        now[0] = 60.0
        bench.run(make_request(8, tokens=2))

    assert max(len(places) for places in limited) == 1
    assert model.begun == [tuple(range(8))]
    assert "as much is worked on at once as before" in caplog.text


def test_what_memory_will_not_hold_in_the_end_does_not_begin() -> None:
    """Prompt and answer may grow to 110 bytes each, of 500 that are free half may be used: two begin."""
    model = FakeModel()
    bench = Bench(model, free=lambda: 500 - sum(one.length for one in model.running))
    bench.run(make_request(4, tokens=100))

    assert model.begun == [(0, 1), (2, 3)]


def test_answers_go_on_where_they_were_when_memory_runs_out_in_the_middle() -> None:
    """What was generated counts; nothing is generated twice."""
    model = FakeModel()
    request = make_request(4, tokens=6)
    failed: list[int] = []

    def fail_once(kind: str) -> None:
        if kind == "decode" and len(model.log) == 3 and not failed:
            failed.append(1)
            raise torch.OutOfMemoryError

    model.before = fail_once
    Bench(model).run(request)

    assert failed
    assert [len(one.output_ids) for one in ended(request)] == [6] * 4


def test_where_memory_does_not_even_hold_the_copies_all_are_read_again() -> None:
    """Taking the youngest out of the batch may fail as well."""
    model = FakeModel()
    request = make_request(3, tokens=6)
    failed: list[str] = []

    def fail_once(kind: str) -> None:
        if kind == "decode" and len(model.log) == 3 and not failed:
            failed.append(kind)
            raise torch.OutOfMemoryError

    def fail_to_drop() -> None:
        if failed == ["decode"]:
            failed.append("drop")
            raise torch.OutOfMemoryError
        FakeModel.drop_stopped(model)

    model.before = fail_once
    model.drop_stopped = fail_to_drop  # type: ignore[method-assign]
    Bench(model).run(request)

    assert failed == ["decode", "drop"]
    assert [len(one.output_ids) for one in ended(request)] == [6] * 3


def test_a_prompt_that_does_not_fit_alone_fails_its_request_and_no_other() -> None:
    """The caller is told what to do; the neighbour gets its answer."""
    model = FakeModel(cells=50)
    model.keeps = 1
    bench = Bench(model)
    huge, small = make_request(1, length=60), make_request(1, length=10)
    bench.run(huge)
    bench.run(small)

    assert isinstance(huge.error, OutOfMemoryError)
    assert "image_seq_length" in str(huge.error)
    assert len(ended(small)) == 1


def test_what_is_kept_goes_before_a_prompt_is_refused() -> None:
    """Caches take memory that a single prompt may need."""
    model = FakeModel(cells=100)
    model.kept = 50
    request = make_request(1, length=80)
    Bench(model).run(request)

    assert len(ended(request)) == 1
    assert model.kept == 0


def test_an_error_of_the_model_reaches_all_callers_of_its_batch_and_nobody_else() -> None:
    """Those whose answers are running when a new batch fails go on, and are not read again."""
    model = FakeModel()
    bench = Bench(model)
    good, bad = make_request(1, tokens=5), make_request(1, length=300)

    def break_where_long(sequences: list[Sequence]) -> None:
        if sequences[0].length > 90:
            raise ValueError("broken")
        FakeModel.prefill(model, sequences)

    model.prefill = break_where_long  # type: ignore[method-assign]
    bench.run(good, bad)

    assert [len(one.output_ids) for one in ended(good)] == [5]
    assert model.begun == [(0,)]
    assert isinstance(bad.error, EngineError)
    assert "ValueError: broken" in str(bad.error)


def test_a_step_that_fails_fails_all_that_were_running() -> None:
    """Nobody knows what became of them; later requests are answered."""
    model = FakeModel()
    bench = Bench(model)
    one, other, later = make_request(1, tokens=5), make_request(2, tokens=5), make_request(1)

    def fail_once(kind: str) -> None:
        if kind == "decode":
            model.before = lambda _: None
            raise ValueError("broken")

    model.before = fail_once
    bench.run(one, other)
    bench.run(later)

    assert all(isinstance(request.error, EngineError) for request in (one, other))
    assert one.error is not other.error
    assert len(ended(later)) == 1


def test_a_late_request_ends_where_it_stands_and_the_others_go_on() -> None:
    """Running, waiting and unprepared alike; the deadline is looked at between steps."""
    model = FakeModel()
    bench = Bench(model, max_sequences=2)
    late = make_request(3, tokens=1000, deadline=time.monotonic() + 0.2)
    late.count = 4
    other = make_request(1, tokens=40)
    model.before = lambda _: time.sleep(0.005)
    bench.run(late, other)

    assert [one.finish_reason for one in ended(late)] == ["deadline"] * 3
    assert late.outcomes[3] == "deadline"
    assert [len(one.output_ids) for one in ended(other)] == [40]


def test_a_cancelled_request_stops_between_two_steps() -> None:
    """Another thread says so; what was generated stays."""
    model = FakeModel()
    cancelled = Event()
    request = make_request(1, tokens=10**6, cancelled=cancelled)
    model.before = lambda _: cancelled.set() if len(model.log) == 5 else None
    Bench(model).run(request)
    (sequence,) = ended(request)

    assert (sequence.finish_reason, len(sequence.output_ids)) == ("cancelled", 6)
    assert not model.running


def test_a_withdrawn_request_is_let_go_at_the_next_step() -> None:
    """Its caller has gone; nothing of it is generated any more, and others go on."""
    model = FakeModel()
    bench = Bench(model)
    gone, other = make_request(2, tokens=10**6), make_request(1, tokens=30)
    bench.open(gone, other)
    bench.loop.turn()
    bench.queue.withdraw(gone)
    bench.finish(other)

    assert [count for kind, count in model.log if kind == "decode"][:2] == [(3,), (1,)]
    assert len(ended(other)) == 1


def test_what_is_prepared_too_late_is_not_worked_on() -> None:
    """Its request is over; its place has an outcome already."""
    model = FakeModel()
    bench = Bench(model)
    late = Request(1, deadline=time.monotonic() - 1)
    bench.run(late)
    bench.queue.submit(make_sequence(late, 0))
    bench.loop.turn()

    assert late.outcomes == {0: "deadline"}
    assert model.log == []


def test_what_ended_before_memory_ran_out_has_ended() -> None:
    """An answer that is whole is not begun again, and gets no further token."""
    model = FakeModel()
    request = make_request(2, tokens=3)
    failed: list[int] = []

    def fail_after_the_step() -> None:
        FakeModel.decode(model)
        if not failed:
            failed.append(1)
            model.running[0].finish("stop")
            raise torch.OutOfMemoryError

    model.decode = fail_after_the_step  # type: ignore[method-assign]
    Bench(model).run(request)

    assert sorted(len(one.output_ids) for one in ended(request)) == [2, 3]


def test_images_go_as_soon_as_a_sequence_has_ended() -> None:
    """They are large, and the caller only reads tokens."""
    request = make_request(1, tokens=1)
    request.waiting[0].prompt = type(request.waiting[0].prompt)(
        index=0,
        input_ids=(1,),
        image_tokens=0,
        images=("image",),  # type: ignore[arg-type]
    )
    Bench(FakeModel()).run(request)

    assert ended(request)[0].prompt.images == ()
