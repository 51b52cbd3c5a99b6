"""How long and how hard to train an adapter."""

from dataclasses import dataclass

from gemma4_block.errors import ConfigurationError


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """How to train; a run goes on only under the plan that it was begun with.

    Most defaults are those of Google's own guide. Source:
    https://ai.google.dev/gemma/docs/core/huggingface_vision_finetune_qlora.

    Attributes:
        epochs: How often every example is learnt.
        batch_size: Examples of one pass through the model.
        gradient_accumulation_steps: Passes of one step, for more examples than memory holds at once.
        learning_rate: After the warm-up, from where it falls to nothing along half a cosine.
        rank: Of the adapter's matrices; `lora_alpha` is the same number.
        seed: Of the adapter's first weights and of the order of examples.

    """

    epochs: int = 3
    batch_size: int = 4
    gradient_accumulation_steps: int = 1
    learning_rate: float = 2e-4
    rank: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be trained with.

        Raises:
            ConfigurationError: A number is not above 0.

        """
        for name in ("epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "rank"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigurationError(f"{name} is {value}; it must be above 0.")

    @property
    def examples_a_step(self) -> int:
        """How many examples one step of the optimizer learns from."""
        return self.batch_size * self.gradient_accumulation_steps

    def count_steps(self, examples: int) -> int:
        """Return how many steps so many examples take; the last of an epoch may have fewer examples.

        >>> Plan(epochs=2, batch_size=4).count_steps(10)
        6
        """
        return self.epochs * -(-examples // self.examples_a_step)
