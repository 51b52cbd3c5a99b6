"""The multi-image step through the Workflows engine, with an engine that follows a script."""

from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from roboflow_workflows.errors import (
    ClientCausedStepExecutionError,
    ExecutionGraphStructureError,
    RuntimeInputError,
    WorkflowSyntaxError,
)
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import Batch, ImageParentMetadata, WorkflowImageData

from gemma4_block.blocks.multi_image import MultiImageBlock
from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, Prompt
from gemma4_block.engine.pool.pool import EnginePool
from gemma4_block.errors import CheckpointError, PromptError
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine, ScriptedProvider
from tests.blocks.template_crops import CROP_STEPS, TEMPLATE_INPUT, scene, template

Image = npt.NDArray[np.uint8]
Row = dict[str, Any]
Step = dict[str, Any]

OUTPUTS = (
    "output",
    "thinking",
    "finish_reason",
    "input_tokens",
    "output_tokens",
    "image_tokens",
    "error_status",
    "error_message",
    "inference_id",
    "model_id",
    "parsed",
    "image_count",
    "asked_images",
)
IMAGE = {"type": "WorkflowImage", "name": "image"}
STEP = {
    "type": "gemma4_block/gemma4_multi_image@v1",
    "name": "gemma",
    "images": "$inputs.image",
    "prompt": "What do they have in common?",
}
OF_CROPS = {"images": "$steps.crop.crops"}
THREE_NAMES = "There are 3 images: image 1, image 2, image 3, in this order.\n"


def grey(value: int) -> Image:
    """Return a small picture that is told from others by its grey."""
    return np.full((8, 12, 3), value, np.uint8)


def greys(prompt: Prompt) -> list[int]:
    """Return how grey the images of a prompt are, in order."""
    return [int(image[0, 0, 0]) for image in prompt.images]


def compile_workflow(provider: object, steps: list[Step], *inputs: Step) -> ExecutionEngine:
    """Compile a workflow that shows every output of the step."""
    selectors = [{"type": "JsonField", "name": name, "selector": f"$steps.gemma.{name}"} for name in OUTPUTS]
    specification = {"version": "1.0", "inputs": [IMAGE, *inputs], "steps": steps, "outputs": selectors}
    return ExecutionEngine.init(
        workflow_definition=specification, init_parameters={"gemma4_block.engine_provider": provider}
    )


def ask(provider: object, fields: Step, images: object, *inputs: Step, **parameters: object) -> list[Row]:
    """Run the step on images of the request."""
    engine = compile_workflow(provider, [{**STEP, **fields}], *inputs)
    rows: list[Row] = engine.run(runtime_parameters={"image": images, **parameters})
    return rows


def ask_crops(provider: object, fields: Step, images: list[Image], *between: Step) -> list[Row]:
    """Run the step on everything that looks like the template."""
    engine = compile_workflow(
        provider, [*CROP_STEPS, *between, {**STEP, **OF_CROPS, **fields}], TEMPLATE_INPUT
    )
    rows: list[Row] = engine.run(runtime_parameters={"image": images, "template": template()})
    return rows


def parameter(name: str) -> Step:
    """Declare a workflow input."""
    return {"type": "WorkflowParameter", "name": name}


@pytest.fixture
def engine() -> ScriptedEngine:
    """An engine that says how many images it sees."""
    return ScriptedEngine(lambda prompt: f"{len(prompt.images)} seen")


@pytest.fixture
def provider(engine: ScriptedEngine) -> ScriptedProvider:
    """A provider of that engine."""
    return ScriptedProvider(engine)


def test_the_crops_of_each_frame_have_one_answer(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """Groups of all frames are asked about in one call, and no crop moves to another frame."""
    rows = ask_crops(provider, {}, [scene(20, 80, 140), scene(50)])
    assert [row["output"] for row in rows] == ["3 seen", "1 seen"]
    assert [row["image_count"] for row in rows] == [3, 1]
    assert [row["asked_images"] for row in rows] == [[1, 2, 3], [1]]
    assert [len(call.prompts) for call in engine.calls] == [2]
    assert all(np.array_equal(crop, template()[..., ::-1]) for crop in engine.prompts[0].images)


def test_a_frame_without_crops_is_no_error(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """Its row says that there was nothing to ask about, and its neighbours are answered."""
    first, empty, last = ask_crops(provider, {}, [scene(20, 80), scene(), scene(50)])
    assert [first["output"], last["output"]] == ["2 seen", "1 seen"]
    assert UUID(empty.pop("inference_id")).version == 4
    assert empty == {
        "output": None,
        "thinking": None,
        "finish_reason": None,
        "input_tokens": None,
        "output_tokens": None,
        "image_tokens": None,
        "error_status": False,
        "error_message": None,
        "model_id": "gemma-4-e2b-it",
        "parsed": None,
        "image_count": 0,
        "asked_images": [],
    }
    assert len(engine.prompts) == 2


def test_no_crops_at_all_load_no_model(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """Frames in which the detector found nothing pass without the model, each with its row."""
    rows = ask_crops(provider, {}, [scene(), scene()])
    assert [(row["output"], row["error_status"], row["image_count"]) for row in rows] == [
        (None, False, 0)
    ] * 2
    assert (engine.calls, provider.requests) == ([], [])


@pytest.mark.parametrize(
    ("height", "counts", "outputs"), [(5, [2, 1], ["2 seen", "1 seen"]), (50, [0, 0], [None] * 2)]
)
def test_crops_that_a_condition_stopped_are_left_out(
    provider: ScriptedProvider, height: int, counts: list[int], outputs: list[str | None]
) -> None:
    """They are not counted; a group of which none is left is empty."""
    higher = {
        "type": "BinaryStatement",
        "left_operand": {
            "type": "DynamicOperand",
            "operand_name": "crop",
            "operations": [{"type": "ExtractImageProperty", "property_name": "height"}],
        },
        "comparator": {"type": "(Number) >"},
        "right_operand": {"type": "StaticOperand", "value": height},
    }
    condition = {
        "type": "roboflow_core/continue_if@v1",
        "name": "high_enough",
        "condition_statement": {"type": "StatementGroup", "statements": [higher]},
        "evaluation_parameters": {"crop": "$steps.crop.crops"},
        "next_steps": ["$steps.gemma"],
    }
    rows = ask_crops(provider, {}, [scene(20, 80), scene(50)], condition)
    assert [row["image_count"] for row in rows] == counts
    assert [row["output"] for row in rows] == outputs


def test_photos_of_a_request_are_compared(engine: ScriptedEngine) -> None:
    """A list of input images is one group with one answer, and the prompt names them in order."""
    answer = Answer(
        text="image 2 is brighter",
        thinking="10, 200",
        finish_reason="length",
        input_tokens=600,
        output_tokens=9,
        image_tokens=540,
    )
    engine = ScriptedEngine([answer])
    fields = {"prompt": "What is different?", "system_prompt": "Be brief.", "model_version": "gemma-4-e4b-it"}
    (row,) = ask(ScriptedProvider(engine), fields, [grey(10), grey(200)])
    assert row.pop("inference_id")
    assert row == {
        "output": "image 2 is brighter",
        "thinking": "10, 200",
        "finish_reason": "length",
        "input_tokens": 600,
        "output_tokens": 9,
        "image_tokens": 540,
        "error_status": False,
        "error_message": None,
        "model_id": "gemma-4-e4b-it",
        "parsed": None,
        "image_count": 2,
        "asked_images": [1, 2],
    }
    (prompt,) = engine.prompts
    assert prompt.text == "There are 2 images: image 1, image 2, in this order.\nWhat is different?"
    assert (prompt.system, greys(prompt)) == ("Be brief.", [10, 200])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"prompt": "Which is red?"}, "Which is red?"),
        (
            {"prompt": "Which is red?", "task_type": "visual-question-answering"},
            "Which is red?\nAnswer with a word or a short phrase.",
        ),
        (
            {"prompt": None, "task_type": "structured-answering", "output_structure": {"red": "which one"}},
            'Answer about the images in JSON with these keys. "red": which one',
        ),
    ],
)
def test_every_task_names_the_images(
    engine: ScriptedEngine, provider: ScriptedProvider, fields: Step, text: str
) -> None:
    """The names come first, and the question is worded as the task does."""
    ask(provider, fields, [grey(1), grey(2), grey(3)])
    assert engine.prompts[0].text == THREE_NAMES + text


def test_a_structured_answer_is_held_to_its_form() -> None:
    """The answer is constrained, and arrives as a value."""
    engine = ScriptedEngine(['{"same": true}'])
    fields = {"prompt": None, "task_type": "structured-answering", "output_structure": {"same": "yes or no"}}
    (row,) = ask(ScriptedProvider(engine), fields, [grey(1), grey(2)])
    assert row["parsed"] == {"same": True}
    assert isinstance(engine.prompts[0].constraint, JsonSchema)


def test_an_unreadable_answer_is_an_error_with_its_text() -> None:
    """What the model said is kept, and so is what it was asked about."""
    fields = {"prompt": None, "task_type": "structured-answering", "output_structure": {"same": "yes or no"}}
    (row,) = ask(ScriptedProvider(ScriptedEngine(["no idea"])), fields, [grey(1), grey(2)])
    assert (row["output"], row["error_status"], row["asked_images"]) == ("no idea", True, [1, 2])


def test_a_group_with_too_many_images_is_refused_alone() -> None:
    """Its row says how many there are, how many are allowed and what to do; others are answered."""
    engine = ScriptedEngine(["one"])
    crowded, small = ask_crops(ScriptedProvider(engine), {"max_images": 2}, [scene(20, 80, 140), scene(50)])
    assert (crowded["output"], crowded["error_status"], crowded["asked_images"]) == (None, True, [])
    assert crowded["image_count"] == 3
    assert crowded["error_message"] == (
        "The group has 3 images; max_images allows 2. Raise max_images, filter the images before this step, "
        "or set when_too_many to sample to ask about some of them, evenly spread."
    )
    assert (small["output"], small["error_status"]) == ("one", False)


def test_eight_images_are_the_default(provider: ScriptedProvider) -> None:
    """A step that does not say takes 8, and no more."""
    (row,) = ask(provider, {}, [grey(value) for value in range(8)])
    assert row["output"] == "8 seen"
    (row,) = ask(provider, {}, [grey(value) for value in range(9)])
    assert row["error_message"].startswith("The group has 9 images; max_images allows 8.")


def test_the_default_stays_below_the_operators_limit(
    provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the machine allows less than 8, a step that does not say takes that."""
    settings = Settings(max_images_per_prompt=2)
    monkeypatch.setattr("gemma4_block.blocks.fields.get_settings", lambda: settings)
    (row,) = ask(provider, {}, [grey(1), grey(2), grey(3)])
    assert row["error_message"].startswith("The group has 3 images; max_images allows 2.")
    with pytest.raises(WorkflowSyntaxError) as caught:
        ask(provider, {"max_images": 3}, grey(1))
    assert "max_images is 3; this machine allows 1 to 2." in str(
        [error.model_dump() for error in caught.value.blocks_errors or []]
    )


@pytest.mark.parametrize(
    ("count", "limit", "asked"),
    [
        (10, 4, [1, 4, 7, 10]),
        (5, 2, [1, 5]),
        (9, 1, [5]),
        (3, 3, [1, 2, 3]),
        (9, 8, [1, 2, 3, 4, 6, 7, 8, 9]),
    ],
)
@pytest.mark.parametrize("are_selectors", [False, True], ids=["literals", "selectors"])
def test_a_long_sequence_is_sampled_evenly(  # noqa: PLR0917 - cases
    engine: ScriptedEngine,
    provider: ScriptedProvider,
    count: int,
    limit: int,
    asked: list[int],
    are_selectors: bool,  # noqa: FBT001 - a case
) -> None:
    """First and last are in, others evenly between them; the row says which, the prompt counts its own."""
    values = {"max_images": limit, "when_too_many": "sample"}
    images = [grey(number) for number in range(1, count + 1)]
    if are_selectors:
        selectors = {name: f"$inputs.{name}" for name in values}
        (row,) = ask(provider, selectors, images, *map(parameter, values), **values)
    else:
        (row,) = ask(provider, values, images)
    (prompt,) = engine.prompts
    assert (row["image_count"], row["asked_images"], greys(prompt)) == (count, asked, asked)
    assert f"image {limit}" in prompt.text
    assert f"image {limit + 1}" not in prompt.text


def unreadable() -> Image:
    """An array that holds no image."""
    return np.zeros((0, 7, 3), np.uint8)


def test_a_bad_image_costs_its_group_and_is_named(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """The error says which of the images it is."""
    (row,) = ask(provider, {}, [grey(1), unreadable(), grey(3)])
    assert row["error_message"] == (
        "Image 2 of 3: The image has shape (0, 7, 3): it holds no pixels. Send at least 1 x 1."
    )
    assert (row["error_status"], row["image_count"], row["asked_images"]) == (True, 3, [])
    assert engine.calls == []


def workflow_image(pixels: Image) -> WorkflowImageData:
    """Return an image as the host hands it on."""
    return WorkflowImageData(parent_metadata=ImageParentMetadata(parent_id="image"), numpy_image=pixels)


FIELDS: Step = {
    "task_type": "unconstrained",
    "prompt": "What?",
    "output_structure": None,
    "max_images": 2,
    "when_too_many": "refuse",
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
}


def run_groups(provider: ScriptedProvider, groups: list[list[object]], **fields: object) -> list[Row]:
    """Run the block itself on groups, as the host does."""
    batches = [
        Batch.init(content=group, indices=[(row, place) for place in range(len(group))])
        for row, group in enumerate(groups)
    ]
    indices = [(row,) for row in range(len(groups))]
    rows: list[Row] = MultiImageBlock(provider).run(
        images=Batch.init(content=batches, indices=indices), **{**FIELDS, **fields}
    )
    return rows


@pytest.mark.parametrize("name", ["classes", "box_format", "colour"])
def test_a_field_that_the_step_does_not_have_is_refused(name: str) -> None:
    """A name that the form does not offer is a mistake, also one of the Gemma 4 step."""
    provider = ScriptedProvider(ScriptedEngine(["unasked"]))
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        run_groups(provider, [[workflow_image(grey(1))]], **{name: "yxyx_0_1000"})
    assert caught.value.public_message == f"{name} is 'yxyx_0_1000': Extra inputs are not permitted"
    assert provider.requests == []


def test_groups_keep_their_places_whatever_happens_to_others() -> None:
    """A bad image, a crowd, an empty group and a refusal by the engine each have their own row."""
    one, bad = workflow_image(grey(1)), workflow_image(unreadable())
    engine = ScriptedEngine(["first", PromptError("too large"), "last"])
    groups = [[one], [one, bad], [one, one, one], [], [one], [one, None, one]]
    rows = run_groups(ScriptedProvider(engine), groups)
    assert [row["output"] for row in rows] == ["first", None, None, None, None, "last"]
    assert [row["error_status"] for row in rows] == [False, True, True, False, True, False]
    assert [row["image_count"] for row in rows] == [1, 2, 3, 0, 1, 2]
    assert [row["asked_images"] for row in rows] == [[1], [], [], [], [], [1, 2]]
    assert rows[1]["error_message"].startswith("Image 2 of 2: ")
    assert rows[4]["error_message"] == "too large"
    assert [len(call.prompts) for call in engine.calls] == [3]


def test_an_image_that_is_not_in_the_sample_is_not_looked_at() -> None:
    """What the model does not see cannot cost the answer."""
    one, bad = workflow_image(grey(1)), workflow_image(unreadable())
    (row,) = run_groups(ScriptedProvider(ScriptedEngine(["fine"])), [[one, bad, one]], when_too_many="sample")
    assert (row["output"], row["asked_images"]) == ("fine", [1, 3])


def test_what_is_no_image_is_named() -> None:
    """A list of other values is refused with what it holds."""
    (row,) = run_groups(ScriptedProvider(ScriptedEngine([])), [[workflow_image(grey(1)), "photo.png"]])
    assert row["error_message"] == "Image 2 of 2 is a str; connect images, or lists of images."


def test_the_frames_of_a_buffer_are_one_group(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """The window of a video is asked about as it moves, the newest frame first, as the buffer keeps it."""
    buffer = {
        "type": "roboflow_core/buffer@v1",
        "name": "window",
        "data": "$inputs.image",
        "length": 3,
        "pad": True,
    }
    workflow = compile_workflow(provider, [buffer, {**STEP, "images": "$steps.window.output"}])
    rows = [workflow.run(runtime_parameters={"image": grey(value)})[0] for value in range(1, 5)]
    assert [row["output"] for row in rows] == ["1 seen", "2 seen", "3 seen", "3 seen"]
    assert [greys(prompt) for prompt in engine.prompts] == [[1], [2, 1], [3, 2, 1], [4, 3, 2]]


@pytest.mark.parametrize("are_selectors", [False, True], ids=["literals", "selectors"])
def test_every_field_reaches_the_engine(
    engine: ScriptedEngine,
    provider: ScriptedProvider,
    are_selectors: bool,  # noqa: FBT001 - a case
) -> None:
    """A field and an input that gives the same value have the same effect."""
    values: Step = {
        "prompt": "Which is older?",
        "system_prompt": "Be brief.",
        "model_version": "my-project/3",
        "quantization": "nf4",
        "keep_alive": 30,
        "image_seq_length": 70,
        "max_new_tokens": 9,
        "temperature": 0.7,
        "top_p": 0.5,
        "top_k": 3,
        "seed": 1,
        "enable_thinking": True,
        "max_thinking_tokens": 5,
    }
    if are_selectors:
        selectors = {name: f"$inputs.{name}" for name in values}
        ask(provider, selectors, [grey(1), grey(2)], *map(parameter, values), **values)
    else:
        ask(provider, values, [grey(1), grey(2)])
    (call,) = engine.calls
    (prompt,) = call.prompts
    assert prompt.text.endswith("\nWhich is older?")
    assert (prompt.system, prompt.image_seq_length) == ("Be brief.", 70)
    assert provider.requests == [("my-project/3", "nf4")]
    assert provider.keep_alives == [30]
    assert call.generation == GenerationConfig(
        max_new_tokens=9,
        do_sample=True,
        temperature=0.7,
        top_p=0.5,
        top_k=3,
        seed=1,
        enable_thinking=True,
        max_thinking_tokens=5,
    )


BAD_VALUES = [
    ("prompt", " ", "task_type unconstrained needs a prompt, and it is empty."),
    ("system_prompt", "x" * 20_001, "The system prompt has 20001 characters; 20000 are allowed."),
    ("max_images", 0, "max_images is 0; this machine allows 1 to 32."),
    ("max_images", 33, "max_images is 33; this machine allows 1 to 32."),
    ("max_new_tokens", 9000, "max_new_tokens is 9000; this machine allows 8192."),
    ("top_p", 0.5, "top_p is 0.5 while sampling is off"),
]
ONLY_KNOWN_TO_THE_RUN = [
    ("output_structure", {"a": "b"}, "an output_structure would do nothing"),
    ("max_images", "many", "max_images is 'many': Input should be a valid integer"),
    ("max_images", True, "max_images is True: Input should be a valid integer"),
    ("when_too_many", "drop", "when_too_many is 'drop': Input should be 'refuse' or 'sample'"),
]


@pytest.mark.parametrize(("name", "value", "message"), [*BAD_VALUES, *ONLY_KNOWN_TO_THE_RUN])
def test_a_value_of_another_step_that_cannot_work_is_the_clients_error(
    engine: ScriptedEngine, provider: ScriptedProvider, name: str, value: object, message: str
) -> None:
    """What only the run knows is checked before the model is loaded, and answered with 422."""
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        run_groups(provider, [[workflow_image(grey(1))]], **{name: value})
    assert message in caught.value.public_message
    assert caught.value.status_code == 422
    assert (engine.calls, provider.requests) == ([], [])


@pytest.mark.parametrize(("name", "value", "message"), BAD_VALUES)
def test_an_input_that_cannot_work_is_refused_before_the_step_runs(
    provider: ScriptedProvider, name: str, value: object, message: str
) -> None:
    """The host checks inputs by the step's own rules, and the server answers 400 with the reason."""
    with pytest.raises(RuntimeInputError) as caught:
        ask(provider, {name: "$inputs.value"}, grey(1), parameter("value"), value=value)
    assert message in str(caught.value.inner_error)


def test_a_question_of_its_own_for_each_image_does_not_compile(provider: ScriptedProvider) -> None:
    """One question is about the whole group; the host refuses one of another level."""
    questions = {"type": "WorkflowBatchInput", "name": "questions", "kind": ["string"]}
    with pytest.raises(ExecutionGraphStructureError, match="do not accept batch-oriented inputs"):
        ask(provider, {"prompt": "$inputs.questions"}, [grey(1), grey(2)], questions, questions=["a?", "b?"])


def test_a_model_that_cannot_be_loaded_is_the_clients_error() -> None:
    """The message of the pool reaches the client with the name of the step."""
    provider = ScriptedProvider(ScriptedEngine([]), failure=CheckpointError("no such weights"))
    with pytest.raises(ClientCausedStepExecutionError, match="no such weights") as caught:
        ask(provider, {}, grey(1))
    assert (caught.value.status_code, caught.value.block_id) == (422, "gemma")


def test_the_short_name_of_the_block_works(provider: ScriptedProvider) -> None:
    """`Gemma4MultiImage` is the same step."""
    (row,) = ask(provider, {"type": "Gemma4MultiImage"}, [grey(1), grey(2)])
    assert row["output"] == "2 seen"


@pytest.mark.parametrize(("given", "lengths"), [("auto", [70, 280]), (560, [560, 560])])
def test_the_largest_image_of_a_group_decides_its_budget(
    engine: ScriptedEngine, provider: ScriptedProvider, given: object, lengths: list[int]
) -> None:
    """`auto` shrinks no image of a group and gives small ones no more than they need."""
    small, large = np.zeros((64, 64, 3), np.uint8), np.zeros((480, 640, 3), np.uint8)
    for images in ([small, small], [small, large]):
        ask(provider, {"image_seq_length": given}, images)
    assert [prompt.image_seq_length for prompt in engine.prompts] == lengths


@pytest.mark.slow
def test_the_demo_checkpoint_sees_all_images() -> None:
    """It was trained on single images, so its answers mean nothing here; but it reads every image."""
    provider = EnginePool(Settings(device="cpu"))
    fields = {"model_version": "gemma-4-demo", "max_new_tokens": 4}
    (single,) = ask(provider, fields, [grey(10)])
    (triple,) = ask(provider, fields, [grey(10), grey(200), grey(90)])
    assert [single["error_message"], triple["error_message"]] == [None, None]
    assert triple["image_tokens"] == 3 * single["image_tokens"] > 0
    assert triple["input_tokens"] > triple["image_tokens"]
