"""The answer to learn has the form that the model is held to when it is asked."""

import pytest

from gemma4_block.contract import Choices, Constraint, JsonSchema, Prompt
from gemma4_block.errors import ConfigurationError
from gemma4_block.finetuning.targets import write_target

CARS = JsonSchema(
    text='{"type": "object", "properties": {"cars": {"type": "integer"}}, "required": ["cars"]}'
)
CAT_OR_DOG = Choices(groups=(('{"class_name": "cat"}', '{"class_name": "dog"}'),), schema=CARS)
EACH = Choices(groups=(("yes", "no"), ("yes", "no")), schema=CARS)


@pytest.mark.parametrize(
    ("constraint", "suffix", "expected"),
    [
        pytest.param(None, " two cars\n", "two cars", id="text"),
        pytest.param(CARS, '{"cars":2}', '{"cars": 2}', id="JSON in another form"),
        pytest.param(CAT_OR_DOG, '{"class_name": "dog"}', '{"class_name": "dog"}', id="choice"),
    ],
)
def test_an_answer_is_written_as_the_model_will(
    constraint: Constraint | None, suffix: str, expected: str
) -> None:
    """JSON as `json.dumps` writes it, no white space around."""
    assert write_target(Prompt(text="?", constraint=constraint), suffix) == expected


@pytest.mark.parametrize(
    ("constraint", "suffix", "problem"),
    [
        pytest.param(None, " \n", "suffix is empty", id="nothing"),
        pytest.param(CARS, "two", "which is no JSON", id="no JSON"),
        pytest.param(CARS, '{"cars": "two"}', "does not match the form", id="other JSON"),
        pytest.param(CAT_OR_DOG, "cat", 'answers one of {"class_name": "cat"}', id="no choice"),
        pytest.param(EACH, "yes", "every class on its own", id="several groups"),
    ],
)
def test_an_answer_that_could_not_be_given_is_refused(
    constraint: Constraint | None, suffix: str, problem: str
) -> None:
    """Nothing is learnt that the task would then forbid."""
    with pytest.raises(ConfigurationError, match=problem):
        write_target(Prompt(text="?", constraint=constraint), suffix)
