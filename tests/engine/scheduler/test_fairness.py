"""Prompts of some callers hold up the answers of others only for a while."""

from dataclasses import replace
from threading import Event

import pytest

from gemma4_block.engine.preprocess import PreparedImage
from gemma4_block.engine.scheduler import Sequence

from .fake_model import Bench, FakeModel, make_request


class SlowModel(FakeModel):
    """Takes time on a clock of its own: for each prompt it reads, and for each step whatever its rows."""

    def __init__(self, *, read_s: float, step_s: float) -> None:
        super().__init__()
        self.read_s = read_s
        self.step_s = step_s
        self.now_s = 0.0

    def prefill(self, sequences: list[Sequence]) -> None:
        """Read prompts."""
        super().prefill(sequences)
        self.now_s += self.read_s * len(sequences)

    def decode(self) -> None:
        """Generate a token of every sequence."""
        super().decode()
        self.now_s += self.step_s

    @property
    def counts(self) -> list[int]:
        """How many prompts were read at a time."""
        return [len(places) for places in self.begun]

    def steps_before(self, prefill: int) -> int:
        """How many steps there were between a prefill and the one before."""
        places = [place for place, (kind, _) in enumerate(self.log) if kind == "prefill"]
        return places[prefill] - places[prefill - 1] - 1


def run_one_after_eight(model: SlowModel, *, tokens: int) -> list[float]:
    """Ask nine times: once alone, and eight times at once; return when the eight had their answers."""
    bench = Bench(model, max_sequences=16, now=lambda: model.now_s)
    bench.run(make_request(1, tokens=1))
    model.log.clear()
    requests = [make_request(1, tokens=tokens) for _ in range(8)]
    ended: dict[int, float] = {}
    for place, request in enumerate(requests):
        request.on_outcome = lambda place=place: ended.update({place: model.now_s})  # type: ignore[misc]
    bench.run(*requests)
    return [ended[place] for place in range(8)]


def test_where_reading_is_slow_the_first_answers_do_not_wait_for_the_last_prompt() -> None:
    """Four are answered before the next four are read."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    ended = run_one_after_eight(model, tokens=32)

    assert model.counts == [4, 4]
    assert model.steps_before(1) == 31
    assert sum(ended) / 8 < 0.8 * max(ended)


def test_where_reading_is_fast_all_begin_together() -> None:
    """Eight prompts that take less than a second are one batch."""
    model = SlowModel(read_s=0.1, step_s=0.1)
    run_one_after_eight(model, tokens=32)

    assert model.counts == [8]


def test_the_prompts_of_one_request_begin_together_however_slow() -> None:
    """Nobody else waits for them."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    bench = Bench(model, max_sequences=16, now=lambda: model.now_s)
    bench.run(make_request(1, tokens=1))
    bench.run(make_request(8, tokens=4))

    assert model.counts == [1, 8]


@pytest.mark.parametrize(("read_s", "steps"), [(3.0, 24), (1.0, 8), (0.0625, 1)])
def test_answers_are_generated_for_as_long_as_others_were_read(read_s: float, steps: int) -> None:
    """A caller who comes while others generate is read at once, and the next one after as much generating."""
    model = SlowModel(read_s=read_s, step_s=0.125)
    bench = Bench(model, max_sequences=16, now=lambda: model.now_s)
    enough = Event()
    long = make_request(1, tokens=1000, cancelled=enough)
    late = [make_request(1, tokens=1000, cancelled=enough) for _ in range(2)]

    def come(kind: str) -> None:
        if kind == "decode" and late and len(model.log) in (5, 7):
            bench.open(late.pop(0))
        if len(model.log) > 100:
            enough.set()

    model.before = come
    bench.run(long)

    assert model.counts == [1, 1, 1]
    assert model.steps_before(1) <= 6
    assert model.steps_before(2) == steps


def test_a_request_goes_on_with_its_own_prompts_when_nobody_else_generates() -> None:
    """Sequences that end make room at once, whatever was owed to others who are gone."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    bench = Bench(model, max_sequences=2, now=lambda: model.now_s)
    bench.run(make_request(6, tokens=3))

    assert model.counts == [2, 2, 2]
    assert [model.steps_before(prefill) for prefill in (1, 2)] == [2, 2]


def test_another_question_about_a_known_image_is_not_held_back() -> None:
    """Its prefill is short: the first two are read alone, and those about the same image right after them."""
    model = SlowModel(read_s=3.0, step_s=0.1)
    bench = Bench(model, max_sequences=16, now=lambda: model.now_s)
    frames = [
        PreparedImage(key=(bytes([place]), (1, 1), 70, None, None), soft_tokens=1) for place in range(2)
    ]
    asked = [make_request(1, tokens=100) for _ in range(4)]
    for request, frame in zip(asked, (frames[0], frames[0], frames[0], frames[1]), strict=True):
        sequence = request.waiting[0]
        sequence.prompt = replace(sequence.prompt, images=(frame,))
    bench.open(*asked[:2])
    bench.loop.turn()
    bench.open(*asked[2:])
    bench.finish(*asked)

    assert model.counts == [2, 1, 1]
    assert model.steps_before(1) == 1
    assert model.steps_before(2) > 50
