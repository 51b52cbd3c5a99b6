"""One of the classes, and how sure the model is of each."""

import json
from collections.abc import Callable

import pytest

from gemma4_block.contract import Answer, Choices
from gemma4_block.errors import AnswerError
from gemma4_block.tasks import TASKS, Classification, ClassScore, Result, TaskRequest

TASK = TASKS["classification"]
Ask = Callable[..., TaskRequest]
Say = Callable[..., Answer]


def test_the_wording_lists_the_classes(request_classes: Ask) -> None:
    """The demo checkpoint is trained on these words."""
    assert TASK.ask(request_classes("cat", "red dog")).text == (
        'Which one of these classes fits the image best: cat, red dog? Answer in JSON: {"class_name": "..."}'
    )


def test_every_class_is_one_alternative(request_classes: Ask) -> None:
    """Each is the whole answer as the model writes it, quotation marks and letters included."""
    constraint = TASK.ask(request_classes("cat", "cat tree", 'a "dog"', "größe")).constraint
    assert isinstance(constraint, Choices)
    assert constraint.groups == (
        (
            '{"class_name": "cat"}',
            '{"class_name": "cat tree"}',
            '{"class_name": "a \\"dog\\""}',
            '{"class_name": "größe"}',
        ),
    )
    (name,) = json.loads(constraint.schema.text)["properties"].values()
    assert name == {"enum": ["cat", "cat tree", 'a "dog"', "größe"]}


def test_the_answered_class_is_the_top_with_its_own_probability(request_classes: Ask, say: Say) -> None:
    """Where chance plays a part, the answer need not be the likeliest class."""
    answer = say('{"class_name": "dog"}', choice_probabilities=((0.7, 0.3),), group_probabilities=(1.0,))
    scores = (ClassScore(class_name="cat", confidence=0.7), ClassScore(class_name="dog", confidence=0.3))
    assert TASK.read(answer, request_classes("cat", "dog")) == Result(
        output='{"class_name": "dog", "confidence": 0.3}',
        parsed={"class_name": "dog", "confidence": 0.3},
        predictions=Classification(top=scores[1], scores=scores),
    )


def test_confidences_leave_room_for_none_of_the_classes(request_classes: Ask, say: Say) -> None:
    """A class is as likely as the model is to name it by itself, not as it is beside worse ones."""
    answer = say('{"class_name": "cat"}', choice_probabilities=((0.75, 0.25),), group_probabilities=(0.04,))
    predictions = TASK.read(answer, request_classes("cat", "dog")).predictions
    assert isinstance(predictions, Classification)
    assert [score.confidence for score in predictions.scores] == pytest.approx([0.03, 0.01])


def test_without_the_probability_of_the_group_there_is_no_confidence(request_classes: Ask, say: Say) -> None:
    """The best of classes that do not fit is not made to look sure."""
    answer = say('{"class_name": "dog"}', choice_probabilities=((0.3, 0.7),))
    predictions = TASK.read(answer, request_classes("cat", "dog")).predictions
    assert isinstance(predictions, Classification)
    assert predictions.top == ClassScore(class_name="dog", confidence=None)


@pytest.mark.parametrize(
    ("classes", "rest"),
    [
        (("cat", "dog"), None),
        (("cat", "other"), 1),
        (("None of these.", "cat"), 0),
        (("cat", "other", "Unknown"), 1),
        (("cat", "another", "other cat"), None),
    ],
    ids=["none", "other", "spelled otherwise", "the first of two", "names that hold the word"],
)
def test_a_class_for_what_fits_no_other_gets_what_they_leave(
    request_classes: Ask, classes: tuple[str, ...], rest: int | None
) -> None:
    """Such as `other`, however it is spelled; how likely the model is to begin its JSON does not count."""
    constraint = TASK.ask(request_classes(*classes)).constraint
    assert isinstance(constraint, Choices)
    assert (constraint.rest, constraint.lead) == (rest, '{"class_name": "')


@pytest.mark.parametrize(
    "text",
    ['{"class_name": "Traffic_Light."}', '```json\n{"class_name": "traffic light"}\n```'],
    ids=["spelling", "fence"],
)
def test_an_engine_that_cannot_score_gives_no_confidence(request_classes: Ask, say: Say, text: str) -> None:
    """The class is recognised as it is meant, and no number is made up."""
    result = TASK.read(say(text), request_classes("car", "traffic light"))
    assert result.parsed == {"class_name": "traffic light"}
    assert isinstance(result.predictions, Classification)
    assert result.predictions.top == ClassScore(class_name="traffic light", confidence=None)
    assert [score.confidence for score in result.predictions.scores] == [None, None]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"class_name": "bus"}', "is 'bus'; it must be one of car, Car"),
        ('{"class_name": "CAR"}', "is 'CAR'; it must be one of car, Car"),
        ('{"class_name": 3}', "is 3; it must be one of car, Car"),
        ('{"name": "car"}', "is None; it must be one of car, Car"),
        ('["car"]', "is None; it must be one of car, Car"),
        ("It is a car.", "holds no JSON"),
    ],
)
def test_an_answer_that_names_no_class_is_an_error(
    request_classes: Ask, say: Say, text: str, message: str
) -> None:
    """A class that was not asked for, or that could be two, is never guessed."""
    with pytest.raises(AnswerError, match=message) as caught:
        TASK.read(say(text), request_classes("car", "Car"))
    assert (caught.value.answer, caught.value.task) == (text, "classification")
