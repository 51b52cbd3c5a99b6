"""The model's work without the scheduler's thread: what joins and leaves, and when, is said step by step."""

from functools import partial
from typing import Final

import torch

from gemma4_block.contract import Prompt
from gemma4_block.engine.adapted import make_preprocessor
from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.hardware import read_free_memory
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner import ModelRunner, make_graphs
from gemma4_block.engine.scheduler import Sequence
from tests.engine.rooms import make_passes, make_sequences
from tests.pretend_cuda.device import TALLY
from tests.pretend_cuda.install import REPLAYS
from tests.pretend_cuda.report import Counts, Outcome

_KEPT: Final = 10**8
# By then a graph is captured, and the tokens that are read are those that were drawn.
_FIRST: Final = 2
_MEASURED: Final = 4


class Stepper:
    """Greedy answers of one model, with nothing else beside them.

    Args:
        checkpoint: Of the model.
        graphs: Whether steps are graphs where they can be.
        guessed_tokens: See `Settings.guessed_tokens`.

    """

    def __init__(self, checkpoint: Checkpoint, *, graphs: bool, guessed_tokens: int = 0) -> None:
        model = checkpoint.model
        self._checkpoint = checkpoint
        self._preprocessor = make_preprocessor(checkpoint, None)
        self._runner = ModelRunner(
            make_passes(checkpoint),
            guessed_tokens,
            features=ByteCache(_KEPT),
            prefixes=ByteCache(_KEPT),
            clock=StageClock(model.device),
            graphs=make_graphs(model, read_free=partial(read_free_memory, model.device), are_wanted=graphs),
        )

    @torch.no_grad()
    def begin(self, *prompts: Prompt) -> list[Sequence]:
        """Read prompts together, and let them join what runs."""
        prepared = [
            self._preprocessor.prepare(place, prompt, enable_thinking=False)
            for place, prompt in enumerate(prompts)
        ]
        sequences = make_sequences(self._checkpoint, *prepared)
        for sequence in sequences:
            sequence.admit()
        self._runner.prefill(sequences)
        return sequences

    @torch.no_grad()
    def step(self, times: int = 1) -> None:
        """Decode so many times."""
        for _ in range(times):
            self._runner.decode()

    def cancel(self, sequence: Sequence) -> None:
        """Let one leave between two steps, as the scheduler does with one that nobody waits for."""
        sequence.finish("cancelled")
        self._runner.drop_stopped()

    def count(self, *prompts: Prompt) -> Counts:
        """Return what a step of an answer to these prompts takes; each of several takes the same."""
        running = self.begin(*prompts)
        self.step(_FIRST)
        found = set()
        for _ in range(_MEASURED):
            TALLY.clear()
            replays = len(REPLAYS)
            self.step()
            found.add(
                Counts(
                    kernels=TALLY.kernels.total(),
                    launches=TALLY.launches,
                    waits=TALLY.waits.total(),
                    copies=TALLY.copies.total(),
                    replays=len(REPLAYS) - replays,
                )
            )
        assert all(one.state == "running" for one in running), "an answer ended before it was counted"
        for one in running:
            self.cancel(one)
        (counts,) = found
        return counts


def take_places(stepper: Stepper, first: Prompt, *others: Prompt) -> Outcome:
    """Return the tokens of answers of which the first goes on, while the others take each other's place.

    Each of the others leaves after three steps, and the next joins a step later.
    """
    (staying,) = stepper.begin(first)
    ids = []
    for prompt in others:
        (passing,) = stepper.begin(prompt)
        stepper.step(3)
        ids.append(passing.output_ids)
        stepper.cancel(passing)
        stepper.step()
    stepper.cancel(staying)
    return Outcome(texts=[str(one) for one in (staying.output_ids, *ids)], scores=[])


def count_steps(stepper: Stepper, prompt: Prompt) -> int:
    """Return how many steps an answer takes from its second token on."""
    (sequence,) = stepper.begin(prompt)
    steps = 0
    while sequence.state == "running":
        stepper.step()
        steps += 1
    return steps


def look(stepper: Stepper, prompt: Prompt) -> int:
    """Return how many kernels reading a prompt takes, and forget it."""
    TALLY.clear()
    (sequence,) = stepper.begin(prompt)
    kernels = TALLY.kernels.total()
    stepper.cancel(sequence)
    return kernels
