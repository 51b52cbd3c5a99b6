"""How long and how hard."""

import pytest

from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning import Plan


@pytest.mark.parametrize(
    ("plan", "examples", "steps"),
    [
        (Plan(epochs=1, batch_size=4), 8, 2),
        (Plan(epochs=3, batch_size=4), 9, 9),
        (Plan(epochs=1, batch_size=2, gradient_accumulation_steps=2), 9, 3),
    ],
    ids=["whole steps", "a last step with one example", "steps of two passes"],
)
def test_every_example_is_learnt_once_an_epoch(plan: Plan, examples: int, steps: int) -> None:
    """The last step of an epoch has what is left."""
    assert plan.count_steps(examples) == steps


@pytest.mark.parametrize(
    "name", ["epochs", "batch_size", "gradient_accumulation_steps", "learning_rate", "rank"]
)
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_numbers_are_above_0(name: str, value: float) -> None:
    """The message names the one that is not."""
    with pytest.raises(ConfigurationError, match=f"{name} is {value}"):
        Plan(**{name: value})
