"""What a fine-tuning tells: how far it is, and how good the model was and is."""

from dataclasses import dataclass
from typing import Protocol

from gemma4_block.finetuning.dataset import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Judgement:
    """What a model does with examples.

    Attributes:
        exact: Share of the answers that are what they should be, to the letter, 0 to 1.
        loss: Mean over the examples of -log p a token of the right answer.
        answers: Of each example, in order; why there is none in the place of one that could not be made.

    """

    exact: float
    loss: float
    answers: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The model without and with its new adapter, on examples that it did not learn from.

    Attributes:
        examples: Of the folder `valid`, in order.
        before: Without.
        after: With.

    """

    examples: tuple[Example, ...]
    before: Judgement
    after: Judgement


class Watcher(Protocol):
    """Is told how far a fine-tuning is."""

    def begin(self, stage: str, total: int, done: int = 0) -> None:
        """Hear of a stage, how many parts it has, and how many of them an earlier run has done."""

    def advance(self, loss: float | None = None) -> None:
        """Hear that one more part is done, and of a training its loss."""
