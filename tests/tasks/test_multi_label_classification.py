"""Which of the classes are there, and how sure the model is of each by itself."""

import json
from collections.abc import Callable

import pytest

from gemma4_block.contract import Answer, Choices
from gemma4_block.errors import AnswerError
from gemma4_block.tasks import TASKS, ClassScore, MultiLabelClassification, Result, TaskRequest

TASK = TASKS["multi-label-classification"]
Ask = Callable[..., TaskRequest]
Say = Callable[..., Answer]


def test_the_wording_lists_the_classes(request_classes: Ask) -> None:
    """The demo checkpoint is trained on these words."""
    assert TASK.ask(request_classes("cat", "red dog")).text == (
        "Which of these classes are in the image: cat, red dog? "
        "Answer in JSON with true or false for each class."
    )


def test_every_class_is_a_group_of_its_own(request_classes: Ask) -> None:
    """So each is true or false without regard to the others."""
    constraint = TASK.ask(request_classes("cat", 'a "dog"')).constraint
    assert isinstance(constraint, Choices)
    assert constraint.groups == (
        ('{"cat": true', '{"cat": false'),
        ('{"a \\"dog\\"": true', '{"a \\"dog\\"": false'),
    )
    schema = json.loads(constraint.schema.text)
    assert (list(schema["properties"]), schema["required"]) == (["cat", 'a "dog"'], ["cat", 'a "dog"'])


def test_each_class_has_the_probability_that_it_is_there(request_classes: Ask, say: Say) -> None:
    """Also a class that was denied; what was answered is what counts, by chance or not."""
    answer = say(
        '{"cat": true\n{"dog": false\n{"emu": true',
        choice_probabilities=((0.9, 0.1), (0.2, 0.8), (0.4, 0.6)),
    )
    result = TASK.read(answer, request_classes("cat", "dog", "emu"))
    assert result == Result(
        output='{"predicted_classes": [{"class": "cat", "confidence": 0.9}, '
        '{"class": "emu", "confidence": 0.4}]}',
        parsed={"cat": True, "dog": False, "emu": True},
        predictions=MultiLabelClassification(
            scores=(
                ClassScore(class_name="cat", confidence=0.9),
                ClassScore(class_name="dog", confidence=0.2),
                ClassScore(class_name="emu", confidence=0.4),
            ),
            present=("cat", "emu"),
        ),
    )


def test_an_engine_that_cannot_score_gives_no_confidence(request_classes: Ask, say: Say) -> None:
    """The classes come in the order asked, whatever the order of the answer, and no number is made up."""
    result = TASK.read(say('{"DOG": false, "cat": true}'), request_classes("cat", "dog"))
    assert result.output == '{"cat": true, "dog": false}'
    assert result.predictions == MultiLabelClassification(
        scores=(ClassScore(class_name="cat", confidence=None), ClassScore(class_name="dog", confidence=None)),
        present=("cat",),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"cat": true}', "does not say true or false for dog"),
        ('{"cat": 1, "dog": "yes"}', "does not say true or false for cat, dog"),
        ('["cat"]', "does not say true or false for cat, dog"),
        ("Both.", "holds no JSON"),
    ],
)
def test_a_class_without_an_answer_is_an_error(
    request_classes: Ask, say: Say, text: str, message: str
) -> None:
    """Silence is not the same as no."""
    with pytest.raises(AnswerError, match=message) as caught:
        TASK.read(say(text), request_classes("cat", "dog"))
    assert (caught.value.answer, caught.value.task) == (text, "multi-label-classification")


def test_an_answer_that_was_cut_off_says_what_helps(request_classes: Ask, say: Say) -> None:
    """A class that the answer did not come to is not absent."""
    with pytest.raises(AnswerError, match=r"for dog. The answer was cut off at max_new_tokens"):
        TASK.read(say('{"cat": true, "do', finish_reason="length"), request_classes("cat", "dog"))


def test_the_exact_spelling_of_a_class_counts(request_classes: Ask, say: Say) -> None:
    """A near spelling after it does not take its place."""
    result = TASK.read(say('{"cat": true, "Cat": false}'), request_classes("cat"))
    assert result.parsed == {"cat": True}
