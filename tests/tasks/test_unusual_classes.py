"""Classes may hold whatever their users call things."""

import json
import math
from collections.abc import Callable

import pytest
from jsonschema import Draft202012Validator

from gemma4_block.contract import Answer, Choices, JsonSchema, TokenScore
from gemma4_block.json_schema import compile_schema
from gemma4_block.reading import JsonValue
from gemma4_block.tasks import (
    TASKS,
    Classification,
    Detections,
    MultiLabelClassification,
    TaskRequest,
    TaskType,
)

CLASSES = (
    "cat",
    "cat tree",
    "Cat",
    'a "dog"',
    "red, or blue",
    "größe 5 €",
    "红色的车",
    "\N{DOG FACE}",
    "two\nlines",
    "back\\slash",
    'x"}, {"y": [1]',
    "null",
    "\N{LINE SEPARATOR}x",
)
Ask = Callable[..., TaskRequest]
Say = Callable[..., Answer]


def schema_of(task: TaskType, request: TaskRequest) -> Draft202012Validator:
    """Return what checks an answer, after our own grammar has taken the schema."""
    constraint = TASKS[task].ask(request).constraint
    schema = constraint.schema if isinstance(constraint, Choices) else constraint
    assert isinstance(schema, JsonSchema)
    assert len(schema.text) <= 20_000
    compile_schema(schema.text)
    return Draft202012Validator(json.loads(schema.text))


@pytest.mark.parametrize("chosen", CLASSES)
@pytest.mark.parametrize("is_scored", [True, False], ids=["scored", "unscored"])
def test_each_class_can_be_the_one(
    request_classes: Ask,
    say: Say,
    chosen: str,
    is_scored: bool,  # noqa: FBT001 - a case
) -> None:
    """What is written for a class is read as that class, also where another begins with it."""
    request, place = request_classes(*CLASSES), CLASSES.index(chosen)
    constraint = TASKS["classification"].ask(request).constraint
    assert isinstance(constraint, Choices)
    text = constraint.groups[0][place]
    assert schema_of("classification", request).is_valid(json.loads(text))
    probabilities = tuple(0.9 if name == chosen else 0.1 / (len(CLASSES) - 1) for name in CLASSES)
    answer = (
        say(text, choice_probabilities=(probabilities,), group_probabilities=(1.0,))
        if is_scored
        else say(text)
    )
    result = TASKS["classification"].read(answer, request)
    measured = {"confidence": 0.9} if is_scored else {}
    assert result.parsed == {"class_name": chosen, **measured}
    assert json.loads(result.output) == result.parsed
    assert isinstance(result.predictions, Classification)
    assert result.predictions.top.confidence == (0.9 if is_scored else None)


@pytest.mark.parametrize(
    ("answer", "is_allowed"),
    [
        ({"class_name": "CAT"}, False),
        ({}, False),
        ({"class_name": "cat", "confidence": 1}, False),
        ("cat", False),
    ],
    ids=str,
)
def test_nothing_else_can_be_the_one(
    request_classes: Ask,
    answer: JsonValue,
    is_allowed: bool,  # noqa: FBT001 - a case
) -> None:
    """An engine that cannot score is held to the same answers."""
    assert schema_of("classification", request_classes(*CLASSES)).is_valid(answer) is is_allowed


@pytest.mark.parametrize("is_scored", [True, False], ids=["scored", "unscored"])
def test_each_class_can_be_there_or_not(
    request_classes: Ask,
    say: Say,
    is_scored: bool,  # noqa: FBT001 - a case
) -> None:
    """A line break in a class does not shift the answers of the others."""
    request = request_classes(*CLASSES)
    said = {name: place % 3 == 0 for place, name in enumerate(CLASSES)}
    validator = schema_of("multi-label-classification", request)
    assert validator.is_valid(said)
    assert not any(validator.is_valid({**said, name: 1}) for name in CLASSES)
    constraint = TASKS["multi-label-classification"].ask(request).constraint
    assert isinstance(constraint, Choices)
    groups = constraint.groups
    lines = [group[0 if is_there else 1] for group, is_there in zip(groups, said.values(), strict=True)]
    scored = say("\n".join(lines), choice_probabilities=((0.8, 0.2),) * len(CLASSES))
    result = TASKS["multi-label-classification"].read(scored if is_scored else say(json.dumps(said)), request)
    assert result.parsed == said
    assert isinstance(result.predictions, MultiLabelClassification)
    assert result.predictions.present == tuple(name for name in CLASSES if said[name])


def test_each_class_can_be_counted(request_classes: Ask, say: Say) -> None:
    """No number goes to another class."""
    counts: dict[str, JsonValue] = {name: place for place, name in enumerate(CLASSES)}
    request = request_classes(*CLASSES)
    assert schema_of("counting", request).is_valid(counts)
    result = TASKS["counting"].read(say(json.dumps(counts, ensure_ascii=False)), request)
    assert (result.parsed, result.count) == (counts, sum(range(len(CLASSES))))


@pytest.mark.parametrize("is_ascii", [True, False], ids=["escaped", "as it is"])
def test_each_class_can_be_a_box_with_its_own_confidence(
    request_classes: Ask,
    say: Say,
    is_ascii: bool,  # noqa: FBT001 - a case
) -> None:
    """Brackets and quotation marks in a class do not look like the end of an entry."""
    entries = [
        json.dumps({"box_2d": [0, 0, 500, 500], "label": name}, ensure_ascii=is_ascii) for name in CLASSES
    ]
    text = f"[{', '.join(entries)}]"
    scores, start = [], 1
    for place, entry in enumerate(entries):
        probability = (place + 1) / 100
        end = start + len(entry)
        scores.append(
            TokenScore(start=start, end=end, log_probability=0.0, free_log_probability=math.log(probability))
        )
        start = end + 2
    request = request_classes(*CLASSES)
    assert schema_of("object-detection", request).is_valid(json.loads(text))
    result = TASKS["object-detection"].read(say(text, token_scores=tuple(scores)), request)
    assert isinstance(result.predictions, Detections)
    found = result.predictions.items
    assert tuple(item.class_name for item in found) == CLASSES
    # One token is the whole entry, the label among it.
    expected = [(place + 1) / 100 for place in range(len(CLASSES))]
    assert [item.confidence for item in found] == pytest.approx(expected)
