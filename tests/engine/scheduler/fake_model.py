"""A model that generates tokens of nothing, for tests of those that share it."""

import time
from collections.abc import Callable
from threading import Event

import torch

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.family import SamplingDefaults, SpecialTokens
from gemma4_block.engine.preprocess import PreparedPrompt
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.sampling import Sampler
from gemma4_block.engine.scheduler import Admission, Request, Scheduler, Sequence
from gemma4_block.engine.scheduler.fairness import Pacer
from gemma4_block.engine.scheduler.loop import ModelLoop
from gemma4_block.engine.scheduler.queue import RequestQueue

TOKENS = SpecialTokens(
    stop_ids=frozenset({9}),
    end_of_turn=9,
    pad_id=0,
    image_id=8,
    opens_thought=None,
    closes_thought=None,
    control_ids=frozenset({0, 8, 9}),
)


class FakeModel:
    """Generates tokens; runs out of memory above so many cells, and does what it is told before it works.

    A cell is a place of the batch: sequences times the tokens of the longest.
    """

    def __init__(self, *, cells: int = 10**9, before: Callable[[str], None] = lambda _: None) -> None:
        self.cells = cells
        self.before = before
        self.running: list[Sequence] = []
        self.kept = 0
        self.keeps = 0
        self.log: list[tuple[str, tuple[int, ...]]] = []

    def prefill(self, sequences: list[Sequence]) -> None:
        """Read prompts."""
        self.before("prefill")
        self._check_memory([*self.running, *sequences])
        self.log.append(("prefill", tuple(one.prompt.index for one in sequences)))
        for sequence in sequences:
            sequence.mark_prefilled()
            sequence.accept(1)
        self.running += [one for one in sequences if one.state == "running"]

    def score(self, sequences: list[Sequence]) -> None:
        """Score choices."""
        self.before("score")
        self._check_memory([*self.running, *sequences])
        self.log.append(("score", tuple(one.prompt.index for one in sequences)))
        for sequence in sequences:
            sequence.take_choice_scores([0.0])

    def decode(self) -> None:
        """Generate a token for every sequence."""
        self.before("decode")
        self._check_memory(self.running)
        self.log.append(("decode", (len(self.running),)))
        for sequence in self.running:
            assert len(sequence.uncached_ids) == 1
            sequence.mark_cached(1)
            sequence.accept(1)
        self.drop_stopped()

    def drop_stopped(self) -> None:
        """Let sequences go."""
        self.running = [one for one in self.running if one.state == "running"]

    def clear(self) -> None:
        """Let all sequences go."""
        self.running = []

    def release_caches(self) -> bool:
        """Drop what is kept."""
        self.kept, had = 0, self.kept
        return bool(had)

    @property
    def begun(self) -> list[tuple[int, ...]]:
        """Which prompts were read at a time."""
        return [places for kind, places in self.log if kind == "prefill"]

    def _check_memory(self, sequences: list[Sequence]) -> None:
        is_too_much = len(sequences) * max(one.length for one in sequences) + self.kept > self.cells
        # What is seen is kept, whatever becomes of the rest.
        self.kept += self.keeps
        if is_too_much:
            raise torch.OutOfMemoryError


class Bench:
    """A queue and a loop without a thread, and a clock that stands still: busy machines change nothing."""

    def __init__(
        self,
        model: FakeModel,
        *,
        max_sequences: int = 4,
        now: Callable[[], float] = lambda: 0.0,
        free: Callable[[], int | None] = lambda: None,
    ) -> None:
        self.queue = RequestQueue()
        self.admission = make_admission(max_sequences, now=now, free=free)
        clock = StageClock(torch.device("cpu"))
        self.loop = ModelLoop(self.queue, model, clock, self.admission, Pacer(now))

    def open(self, *requests: Request) -> None:
        """Serve requests from now on."""
        for request in requests:
            self.queue.open(request)

    def run(self, *requests: Request) -> None:
        """Serve requests until all of them are done."""
        self.open(*requests)
        self.finish(*requests)

    def finish(self, *requests: Request) -> None:
        """Work until requests that are served are done."""
        for _ in range(100_000):
            if all(request.done.is_set() for request in requests):
                return
            self.loop.turn()
        raise AssertionError("the requests are never done")


def make_admission(
    max_sequences: int = 4,
    *,
    now: Callable[[], float] = time.monotonic,
    free: Callable[[], int | None] = lambda: None,
) -> Admission:
    """Make an admission for which a token takes a byte."""
    return Admission(max_sequences, measure=lambda length: length, read_free=free, now=now)


def make_scheduler(model: FakeModel, *, max_sequences: int = 4) -> Scheduler:
    """Make a scheduler of the fake model, with its thread."""
    return Scheduler(model, StageClock(torch.device("cpu")), make_admission(max_sequences))


def make_sequence(
    request: Request, place: int, *, tokens: int = 2, length: int = 10, choices: bool = False
) -> Sequence:
    """Make a sequence that ends after so many tokens."""
    generation = GenerationConfig(max_new_tokens=tokens)
    prompt = PreparedPrompt(
        index=place,
        input_ids=(1,) * length,
        image_tokens=0,
        images=(),
        choices=(((1,),),) if choices else (),
    )
    return Sequence(request, prompt, generation, TOKENS, Sampler(generation, SamplingDefaults()))


def make_request(
    count: int,
    *,
    tokens: int = 2,
    length: int = 10,
    choices: bool = False,
    deadline: float | None = None,
    cancelled: Event | None = None,
) -> Request:
    """Make a request whose sequences wait already."""
    request = Request(count, deadline=deadline, cancelled=cancelled)
    for place in range(count):
        request.waiting.append(make_sequence(request, place, tokens=tokens, length=length, choices=choices))
    return request


def ended(request: Request) -> list[Sequence]:
    """Return the sequences of a request that have ended, in order."""
    return [one for _, one in sorted(request.outcomes.items()) if isinstance(one, Sequence)]
