"""Steps whose answers are JSON, through the Workflows engine, with an engine that follows a script."""

import json
from collections.abc import Sequence
from typing import Any

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from roboflow_workflows.errors import (
    ClientCausedStepExecutionError,
    ReferenceTypeError,
    RuntimeInputError,
    WorkflowSyntaxError,
)
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import Batch, ImageParentMetadata, WorkflowImageData

import gemma4_block
from gemma4_block.cli.workflows import one_step_workflow
from gemma4_block.contract import Answer, Choices, FinishReason, JsonSchema
from gemma4_block.errors import PromptError
from gemma4_block.reading import DEFAULT_BOX_FORMAT
from gemma4_block.settings import Settings
from gemma4_block.tasks import TaskType
from gemma4_block.testing import ScriptedEngine, ScriptedProvider

STRUCTURED = ("predictions", "parsed", "count", "classes", "output", "error_status", "error_message")
CLASSES = ["cat", "dog"]
IMAGE = np.zeros((100, 200, 3), np.uint8)


def ask(
    engine: ScriptedEngine,
    step: dict[str, object],
    *,
    image_count: int = 1,
    inputs: dict[str, object] | None = None,
    outputs: Sequence[str] = STRUCTURED,
) -> list[dict[str, Any]]:
    """Run a workflow of one step."""
    given = {} if inputs is None else inputs
    workflow = ExecutionEngine.init(
        workflow_definition={
            "version": "1.0",
            "inputs": [
                {"type": "WorkflowImage", "name": "image"},
                *({"type": "WorkflowParameter", "name": name} for name in given),
            ],
            "steps": [{"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image", **step}],
            "outputs": [
                {"type": "JsonField", "name": name, "selector": f"$steps.gemma.{name}"} for name in outputs
            ],
        },
        init_parameters={"gemma4_block.engine_provider": ScriptedProvider(engine)},
    )
    rows: list[dict[str, Any]] = workflow.run(
        runtime_parameters={"image": [IMAGE] * image_count, **given}, serialize_results=True
    )
    return rows


def answer(text: str, finish_reason: FinishReason = "stop") -> Answer:
    """Say something without measuring it."""
    return Answer(
        text=text,
        thinking="",
        finish_reason=finish_reason,
        input_tokens=1,
        output_tokens=1,
        image_tokens=0,
    )


@pytest.mark.parametrize(
    ("task_type", "text", "parsed", "count"),
    [
        ("classification", '{"class_name": "dog"}', {"class_name": "dog"}, None),
        ("multi-label-classification", '{"cat": true, "dog": false}', {"cat": True, "dog": False}, None),
        ("counting", '{"cat": 2, "dog": 3}', {"cat": 2, "dog": 3}, 5),
        (
            "object-detection",
            '[{"box_2d": [0, 0, 500, 500], "label": "cat"}]',
            [{"box_2d": [0, 0, 500, 500], "label": "cat"}],
            1,
        ),
    ],
)
@pytest.mark.parametrize("is_selector", [False, True], ids=["literal", "selector"])
def test_classes_reach_the_task_and_come_out(
    task_type: TaskType,
    text: str,
    parsed: object,
    count: int | None,
    is_selector: bool,  # noqa: FBT001 - a case
) -> None:
    """Written in the step or given at run time, they have the same effect."""
    engine = ScriptedEngine([text])
    classes: object = "$inputs.classes" if is_selector else CLASSES
    inputs: dict[str, object] | None = {"classes": CLASSES} if is_selector else None
    (row,) = ask(engine, {"task_type": task_type, "classes": classes}, inputs=inputs)
    assert "cat, dog" in engine.prompts[0].text
    assert isinstance(engine.prompts[0].constraint, Choices | JsonSchema)
    assert (row["error_message"], row["error_status"]) == (None, False)
    assert (row["parsed"], row["count"], row["classes"]) == (parsed, count, CLASSES)


@pytest.mark.parametrize("is_selector", [False, True], ids=["literal", "selector"])
@pytest.mark.parametrize(
    "structure",
    [
        {"color": "of the car"},
        {
            "type": "object",
            "properties": {"color": {"$ref": "#/$defs/c"}},
            "$defs": {"c": {"enum": ["red"]}},
        },
    ],
    ids=["fields", "schema"],
)
def test_a_structure_reaches_the_task(
    structure: dict[str, object],
    is_selector: bool,  # noqa: FBT001 - a case
) -> None:
    """Written in the step or given at run time, it has the same effect; the prompt is optional."""
    engine = ScriptedEngine(['{"color": "red"}'])
    given: object = "$inputs.structure" if is_selector else structure
    inputs: dict[str, object] | None = {"structure": structure} if is_selector else None
    (row,) = ask(engine, {"task_type": "structured-answering", "output_structure": given}, inputs=inputs)
    constraint = engine.prompts[0].constraint
    assert isinstance(constraint, JsonSchema)
    assert list(json.loads(constraint.text)["properties"]) == ["color"]
    assert (row["parsed"], row["classes"], row["count"]) == ({"color": "red"}, None, None)


UNIQUE = {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}


@pytest.mark.parametrize(
    ("second", "parsed", "problem"),
    [
        pytest.param("[1, 2]", [1, 2], None, id="better"),
        pytest.param(
            "[3, 3]",
            None,
            "[3, 3] has non-unique elements",
            id="no better",
        ),
        pytest.param(
            answer("[3", "length"),
            None,
            "[1, 1] has non-unique elements",
            id="cut off",
        ),
        pytest.param(
            PromptError("No room."),
            None,
            "[1, 1] has non-unique elements",
            id="refused",
        ),
    ],
)
def test_an_answer_that_does_not_match_is_asked_for_once_more(
    second: str | Answer | PromptError, parsed: object, problem: str | None
) -> None:
    """With what was wrong; the row says what came of it, and its neighbours are not asked again."""
    engine = ScriptedEngine(["[1, 1]", "[7]", second])
    rows = ask(engine, {"task_type": "structured-answering", "output_structure": UNIQUE}, image_count=2)

    assert [len(call.prompts) for call in engine.calls] == [2, 1]
    assert "This was answered: [1, 1]\n" in engine.prompts[2].text
    assert engine.prompts[2].images[0] is engine.prompts[0].images[0]
    assert [row["parsed"] for row in rows] == [parsed, [7]]
    assert [row["error_status"] for row in rows] == [problem is not None, False]
    if problem is not None:
        assert rows[0]["error_message"].startswith(f"The answer does not match the JSON Schema: {problem}.")


def test_the_tokens_of_both_tries_are_counted() -> None:
    """A second try is work too."""
    engine = ScriptedEngine([answer("[1, 1]"), answer("[1, 2]")])
    (row,) = ask(
        engine,
        {"task_type": "structured-answering", "output_structure": UNIQUE},
        outputs=("input_tokens", "output_tokens", "image_tokens"),
    )

    assert row == {"input_tokens": 2, "output_tokens": 2, "image_tokens": 0}


@pytest.mark.parametrize("is_selector", [False, True], ids=["literal", "selector"])
def test_the_box_format_says_how_boxes_are_read(is_selector: bool) -> None:  # noqa: FBT001 - a case
    """The same numbers are another place where x comes first."""
    text = '[{"box_2d": [0, 500, 500, 1000], "label": "cat"}]'
    places = []
    for box_format in (DEFAULT_BOX_FORMAT, "xyxy_0_1000"):
        step = {"task_type": "object-detection", "classes": CLASSES, "box_format": box_format}
        inputs: dict[str, object] | None = None
        if is_selector:
            step, inputs = {**step, "box_format": "$inputs.form"}, {"form": box_format}
        (row,) = ask(ScriptedEngine([text]), step, inputs=inputs)
        (box,) = row["predictions"]["predictions"]
        places.append((box["x"], box["y"]))
    assert places == [(150, 25), (50, 75)]


@pytest.mark.parametrize(
    ("task_type", "text"),
    [
        ("classification", '{"class_name": "dog"}'),
        ("multi-label-classification", '{"cat": true, "dog": false}'),
        ("counting", '{"cat": 2, "dog": 3}'),
        ("object-detection", "[]"),
        ("structured-answering", '{"serial": "7"}'),
    ],
)
@pytest.mark.parametrize("bad", ["It is hard to tell.", '{"serial": 99999999999999999999}'])
def test_one_bad_answer_leaves_the_batch_whole(task_type: TaskType, text: str, bad: str) -> None:
    """Its row says why and keeps the text; its neighbours have their values."""
    needs = {"output_structure": {"serial": "as printed"}}
    needs_classes: dict[str, object] = {"classes": CLASSES}
    step = {"task_type": task_type, **(needs if task_type == "structured-answering" else needs_classes)}
    first, second, third = ask(ScriptedEngine([text, bad, text]), step, image_count=3)
    assert (first["error_status"], second["error_status"], third["error_status"]) == (False, True, False)
    assert first["parsed"] == third["parsed"]
    assert first["parsed"] is not None
    assert (second["predictions"], second["parsed"], second["count"]) == (None, None, None)
    assert second["output"] == bad
    assert f"answer to {task_type}" in second["error_message"]


def test_boxes_of_an_answer_that_was_cut_off_are_there_and_the_cut_is_told() -> None:
    """Whoever ignores the status has fewer boxes, never wrong ones."""
    text = '[{"box_2d": [0, 0, 500, 500], "label": "cat"}, {"box_2d": [1'
    engine = ScriptedEngine([answer(text, "length")])
    (row,) = ask(engine, {"task_type": "object-detection", "classes": CLASSES})
    assert len(row["predictions"]["predictions"]) == row["count"] == 1
    assert row["error_status"] is True
    assert "Raise max_new_tokens" in row["error_message"]


def test_predictions_belong_to_the_row() -> None:
    """The id in the predictions is that of the answer, and every image has its own."""
    workflow = ExecutionEngine.init(
        workflow_definition=one_step_workflow(
            {"task_type": "classification", "classes": CLASSES},
            outputs={name: name for name in ("predictions", "inference_id")},
        ),
        init_parameters={
            "gemma4_block.engine_provider": ScriptedProvider(ScriptedEngine(['{"class_name": "cat"}'] * 2))
        },
    )
    rows = workflow.run(runtime_parameters={"image": [IMAGE] * 2})
    ids = [row["inference_id"] for row in rows]
    assert [row["predictions"]["inference_id"] for row in rows] == ids
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("task_type", "is_connected"),
    [
        ("object-detection", True),
        ("classification", False),
        ("multi-label-classification", False),
    ],
)
def test_steps_connect_to_what_the_task_gives(
    task_type: TaskType,
    is_connected: bool,  # noqa: FBT001 - a case
) -> None:
    """A crop of a classification is refused when the workflow is compiled."""
    specification: dict[str, Any] = {
        "version": "1.0",
        "inputs": [{"type": "WorkflowImage", "name": "image"}],
        "steps": [
            {
                "type": "gemma4_block/gemma4@v1",
                "name": "gemma",
                "images": "$inputs.image",
                "task_type": task_type,
                "classes": CLASSES,
            },
            {
                "type": "roboflow_core/dynamic_crop@v1",
                "name": "crop",
                "images": "$inputs.image",
                "predictions": "$steps.gemma.predictions",
            },
        ],
        "outputs": [{"type": "JsonField", "name": "crops", "selector": "$steps.crop.crops"}],
    }
    parameters = {"gemma4_block.engine_provider": ScriptedProvider(ScriptedEngine([]))}
    if is_connected:
        ExecutionEngine.init(workflow_definition=specification, init_parameters=parameters)
    else:
        with pytest.raises(ReferenceTypeError, match="predictions"):
            ExecutionEngine.init(workflow_definition=specification, init_parameters=parameters)


BAD_VALUES: list[tuple[str, object, str]] = [
    ("classes", [], "needs classes, and there are none"),
    ("classes", ["cat", " "], "Class 2 of 2 is blank"),
    ("classes", ["cat", "dog", "cat"], "The class 'cat' is there twice"),
    ("classes", ["x" * 201], "has 201 characters; 200 are allowed"),
    ("classes", ["a\ud800"], "half a surrogate pair"),
    ("classes", [f"class {place}" for place in range(257)], "There are 257 classes; this machine allows 256"),
    ("classes", ["cat", 3], "nput should be a valid string"),
    ("classes", "cat", "nput should be a valid "),
    ("output_structure", {}, "needs an output_structure, and it is empty"),
    ("output_structure", {"type": "array", "items": {"type": "banana"}}, "'banana' is not valid"),
    ("output_structure", {"type": ["banana"]}, "which leaves no choice"),
    ("output_structure", {"color": None}, "is null. The value of a field is its description"),
    ("output_structure", {"type": "string", "enum": [1]}, "The JSON Schema cannot be used: Unsatisfiable"),
    ("output_structure", {"anyOf": [{"$ref": "https://example.com/a.json"}]}, "which is not in it"),
    ("output_structure", {"enum": ["x" * 20_001]}, "20000 are allowed"),
    ("output_structure", ["color"], "nput should be a valid dictionary"),
    ("box_format", "xywh", "nput should be 'yxyx_0_1000', 'xyxy_0_1000', 'xyxy_0_1' or 'xyxy_pixels'"),
]


def step_for(name: str) -> dict[str, object]:
    """Return a step that looks at a field."""
    if name == "output_structure":
        return {"task_type": "structured-answering"}
    return {"task_type": "object-detection", "classes": CLASSES}


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_a_value_that_cannot_work_does_not_compile(name: str, value: object, message: str) -> None:
    """What is wrong in the definition is found before anything runs."""
    engine = ScriptedEngine([])
    with pytest.raises(WorkflowSyntaxError) as caught:
        ask(engine, {**step_for(name), name: value})
    assert message in str([error.model_dump() for error in caught.value.blocks_errors or []])


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_an_input_that_cannot_work_is_refused(name: str, value: object, message: str) -> None:
    """The host checks inputs by the step's own rules."""
    engine = ScriptedEngine([])
    with pytest.raises(RuntimeInputError) as caught:
        ask(engine, {**step_for(name), name: "$inputs.value"}, inputs={"value": value})
    assert message in str(caught.value.inner_error)
    assert engine.calls == []


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_a_value_of_another_step_that_cannot_work_is_refused(name: str, value: object, message: str) -> None:
    """What only the run knows is checked before the model is loaded, and answered with 422."""
    fields: dict[str, object] = {
        "prompt": None,
        "model_version": "gemma-4-demo",
        "system_prompt": None,
        "image_seq_length": "auto",
        "max_new_tokens": None,
        "temperature": None,
        "top_p": None,
        "top_k": None,
        "seed": None,
        "enable_thinking": None,
        "max_thinking_tokens": None,
        "quantization": "auto",
        "keep_alive": None,
        "classes": None,
        "output_structure": None,
        "box_format": DEFAULT_BOX_FORMAT,
        "unchanged_below": None,
    }
    image = WorkflowImageData(parent_metadata=ImageParentMetadata(parent_id="image"), numpy_image=IMAGE)
    provider = ScriptedProvider(ScriptedEngine([]))
    step = gemma4_block.load_blocks()[0](provider)
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        step.run(
            images=Batch.init(content=[image], indices=[(0,)]), **{**fields, **step_for(name), name: value}
        )
    assert message in caught.value.public_message
    assert (caught.value.status_code, provider.requests) == (422, [])


@pytest.mark.parametrize(
    ("settings", "step", "message"),
    [
        (
            Settings(max_classes=1),
            {"task_type": "counting", "classes": ["two", "of them"]},
            "There are 2 classes; this machine allows 1.",
        ),
        (
            Settings(max_schema_characters=20),
            {"task_type": "structured-answering", "output_structure": {"short": "or not"}},
            "20 are allowed",
        ),
        (
            Settings(max_thinking_tokens=9),
            {"task_type": "caption", "enable_thinking": True, "max_thinking_tokens": 10},
            "max_thinking_tokens is 10; this machine allows 9.",
        ),
    ],
)
def test_the_operators_limits_hold(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, step: dict[str, object], message: str
) -> None:
    """A request cannot ask for more than the machine allows."""
    monkeypatch.setattr("gemma4_block.fields.get_settings", lambda: settings)
    with pytest.raises(WorkflowSyntaxError) as caught:
        ask(ScriptedEngine([]), step)
    assert message in str([error.model_dump() for error in caught.value.blocks_errors or []])
