"""The step through the Workflows engine, with an engine that follows a script."""

import base64
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt
import pytest
from roboflow_workflows.core_steps.loader import load_blocks as load_core_blocks
from roboflow_workflows.errors import (
    ClientCausedStepExecutionError,
    RuntimeInputError,
    RuntimeLimitsCausedStepExecutionError,
    WorkflowSyntaxError,
)
from roboflow_workflows.execution_engine.core import ExecutionEngine
from roboflow_workflows.execution_engine.entities.base import Batch, ImageParentMetadata, WorkflowImageData

import gemma4_block
from gemma4_block.contract import Answer, Capabilities, GenerationConfig, Prompt
from gemma4_block.errors import (
    CheckpointError,
    ConfigurationError,
    EngineError,
    OutOfMemoryError,
    PromptError,
)
from gemma4_block.settings import GenerationDefaults, Settings
from gemma4_block.testing import ScriptedEngine, ScriptedProvider
from tests.blocks.template_crops import CROP_STEPS, TEMPLATE_INPUT, scene, template

Image = npt.NDArray[np.uint8]
Row = dict[str, Any]

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
)
IMAGE = {"type": "WorkflowImage", "name": "image"}


def grey(value: int) -> Image:
    """Return a small picture that is told from others by its grey."""
    return np.full((8, 12, 3), value, np.uint8)


def ask(
    provider: ScriptedProvider,
    step: dict[str, object],
    *,
    images: object,
    inputs: tuple[dict[str, object], ...] = (),
    **parameters: object,
) -> list[Row]:
    """Run a workflow of one step."""
    specification = {
        "version": "1.0",
        "inputs": [IMAGE, *inputs],
        "steps": [{"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image", **step}],
        "outputs": [
            {"type": "JsonField", "name": name, "selector": f"$steps.gemma.{name}"} for name in OUTPUTS
        ],
    }
    return run(provider, specification, image=images, **parameters)


def run(provider: ScriptedProvider, specification: dict[str, object], **parameters: object) -> list[Row]:
    """Run a workflow."""
    engine = ExecutionEngine.init(
        workflow_definition=specification, init_parameters={"gemma4_block.engine_provider": provider}
    )
    rows: list[Row] = engine.run(runtime_parameters=parameters)
    return rows


def parameter(name: str) -> dict[str, object]:
    """Declare a workflow input."""
    return {"type": "WorkflowParameter", "name": name}


CAPTION: dict[str, object] = {"task_type": "caption"}
VQA: dict[str, object] = {"task_type": "visual-question-answering", "prompt": "What is it?"}


@pytest.fixture
def engine() -> ScriptedEngine:
    """An engine that says how grey the middle of the first image is."""
    return ScriptedEngine(lambda prompt: f"grey {prompt.images[0][0, 0, 0]}")


@pytest.fixture
def provider(engine: ScriptedEngine) -> ScriptedProvider:
    """A provider of that engine."""
    return ScriptedProvider(engine)


def test_every_output_is_there(provider: ScriptedProvider) -> None:
    """A row tells the answer, how it came about and which model gave it."""
    answer = Answer(
        text="a cat",
        thinking="ears",
        finish_reason="length",
        input_tokens=300,
        output_tokens=4,
        image_tokens=266,
    )
    provider = ScriptedProvider(ScriptedEngine([answer]))
    (row,) = ask(provider, {**CAPTION, "model_version": "gemma-4-e4b-it"}, images=grey(1))
    assert UUID(row.pop("inference_id")).version == 4
    assert row == {
        "output": "a cat",
        "thinking": "ears",
        "finish_reason": "length",
        "input_tokens": 300,
        "output_tokens": 4,
        "image_tokens": 266,
        "error_status": False,
        "error_message": None,
        "model_id": "gemma-4-e4b-it",
    }


def test_images_of_a_request_are_asked_in_one_call_and_answered_in_order(
    engine: ScriptedEngine, provider: ScriptedProvider
) -> None:
    """The model works on all images together, and no answer moves to another image."""
    rows = ask(provider, CAPTION, images=[grey(30), grey(10), grey(20)])
    assert [row["output"] for row in rows] == ["grey 30", "grey 10", "grey 20"]
    assert len(engine.calls) == 1
    assert len({row["inference_id"] for row in rows}) == 3


def test_the_model_and_precision_reach_the_provider(provider: ScriptedProvider) -> None:
    """The step loads what its fields name."""
    ask(provider, {**CAPTION, "model_version": "my-project/3", "quantization": "nf4"}, images=grey(1))
    assert provider.requests == [("my-project/3", "nf4")]


@pytest.mark.parametrize("keep_alive", [None, 0, 2.5, "forever"])
def test_a_step_says_how_long_its_model_stays(provider: ScriptedProvider, keep_alive: object) -> None:
    """It is lent while the step asks, and given back for so long."""
    ask(provider, {**CAPTION, "keep_alive": keep_alive}, images=grey(1))
    assert provider.keep_alives == [keep_alive]
    assert provider.open_leases == 0


def test_the_smallest_model_is_the_default(provider: ScriptedProvider) -> None:
    """A step that names no model takes the one that fits most machines."""
    ask(provider, CAPTION, images=grey(1))
    assert provider.requests == [("gemma-4-e2b-it", "auto")]


def test_images_reach_the_engine_as_rgb(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """The host's images are BGR, the engine's RGB."""
    blue = np.zeros((4, 4, 3), np.uint8)
    blue[..., 0] = 255
    ask(provider, CAPTION, images=blue)
    assert engine.prompts[0].images[0][0, 0].tolist() == [0, 0, 255]


def test_a_system_prompt_becomes_the_system_turn(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """The system prompt is a turn of its own, never part of the question."""
    ask(provider, {**VQA, "system_prompt": "Be brief."}, images=grey(1))
    (prompt,) = engine.prompts
    assert (prompt.system, prompt.text) == ("Be brief.", "What is it?\nAnswer with a word or a short phrase.")


@pytest.mark.parametrize("system_prompt", [None, "", "  \n"])
def test_a_blank_system_prompt_means_no_system_turn(
    engine: ScriptedEngine, provider: ScriptedProvider, system_prompt: str | None
) -> None:
    """An empty field in the form adds nothing to the conversation."""
    ask(provider, {**CAPTION, "system_prompt": system_prompt}, images=grey(1))
    assert engine.prompts[0].system is None


def test_each_image_can_have_its_own_prompts(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """Batches of prompts and system prompts go with the images, one each."""
    texts = tuple(
        {"type": "WorkflowBatchInput", "name": name, "kind": ["string"]} for name in ("question", "role")
    )
    step = {
        "task_type": "unconstrained",
        "prompt": "$inputs.question",
        "system_prompt": "$inputs.role",
    }
    ask(
        provider,
        step,
        images=[grey(1), grey(2)],
        inputs=texts,
        question=["first?", "second?"],
        role=["one", "two"],
    )
    asked = [(prompt.text, prompt.system, prompt.images[0][0, 0, 0]) for prompt in engine.prompts]
    assert asked == [("first?", "one", 1), ("second?", "two", 2)]
    assert len(engine.calls) == 1


def test_an_empty_prompt_of_one_image_costs_only_its_own_answer(provider: ScriptedProvider) -> None:
    """Where each image has its own prompt, a bad one is that image's error."""
    question = {"type": "WorkflowBatchInput", "name": "question", "kind": ["string"]}
    rows = ask(
        provider,
        {"task_type": "unconstrained", "prompt": "$inputs.question"},
        images=[grey(1), grey(2), grey(3)],
        inputs=(question,),
        question=["first?", " ", "x" * 20_001],
    )
    assert [row["output"] for row in rows] == ["grey 1", None, None]
    assert [row["error_status"] for row in rows] == [False, True, True]
    assert rows[1]["error_message"] == (
        "task_type unconstrained needs a prompt, and it is empty. Write a question or an instruction, or "
        "choose a task that needs none, such as caption or ocr."
    )
    assert rows[2]["error_message"] == (
        "The prompt has 20001 characters; 20000 are allowed. Shorten it, or raise "
        "GEMMA4_BLOCK_MAX_PROMPT_CHARACTERS."
    )


def no_pixels() -> Image:
    """An array that holds no image."""
    return np.zeros((0, 7, 3), np.uint8)


def five_channels() -> Image:
    """An array that cannot be an image."""
    return np.zeros((4, 4, 5), np.uint8)


def damaged_base64() -> WorkflowImageData:
    """An image that fails when somebody looks at it, as an input that an earlier block passed on unread."""
    text = base64.b64encode(b"this is no PNG").decode()
    return WorkflowImageData(parent_metadata=ImageParentMetadata(parent_id="image"), base64_image=text)


@pytest.mark.parametrize(
    ("make_image", "message"),
    [
        (no_pixels, "The image has shape (0, 7, 3): it holds no pixels. Send at least 1 x 1."),
        (five_channels, "The image has shape (4, 4, 5); a numpy array must be (H, W) or (H, W, 1 | 3 | 4)."),
        (damaged_base64, "The image cannot be loaded: "),
    ],
)
def test_an_unreadable_image_costs_only_its_own_answer(
    engine: ScriptedEngine, provider: ScriptedProvider, make_image: Callable[[], object], message: str
) -> None:
    """The others are answered, and its row says what is wrong and counts nothing."""
    first, bad, last = ask(provider, CAPTION, images=[grey(1), make_image(), grey(3)])
    assert [first["output"], last["output"]] == ["grey 1", "grey 3"]
    assert bad.pop("error_message").startswith(message)
    assert bad.pop("inference_id")
    assert bad == {
        "output": None,
        "thinking": None,
        "finish_reason": None,
        "input_tokens": None,
        "output_tokens": None,
        "image_tokens": None,
        "error_status": True,
        "model_id": "gemma-4-e2b-it",
    }
    assert len(engine.calls) == 1


def test_an_engine_is_not_asked_when_no_image_can_be_read(
    engine: ScriptedEngine, provider: ScriptedProvider
) -> None:
    """Nothing to ask is no call."""
    (row,) = ask(provider, CAPTION, images=[no_pixels()])
    assert row["error_status"] is True
    assert engine.calls == []


def test_a_prompt_that_the_engine_refuses_costs_only_its_own_answer() -> None:
    """A typed error in the place of an answer becomes that row's error."""
    provider = ScriptedProvider(ScriptedEngine(["one", PromptError("too large"), "three"]))
    rows = ask(provider, CAPTION, images=[grey(1), grey(2), grey(3)])
    assert [row["output"] for row in rows] == ["one", None, "three"]
    assert [row["error_message"] for row in rows] == [None, "too large", None]


ASK_CROPS = {
    "type": "gemma4_block/gemma4@v1",
    "name": "gemma",
    "images": "$steps.crop.crops",
    "task_type": "caption",
}


def run_crops(provider: ScriptedProvider, images: list[Image]) -> list[Row]:
    """Ask about everything that looks like the template."""
    specification = {
        "version": "1.0",
        "inputs": [IMAGE, TEMPLATE_INPUT],
        "steps": [*CROP_STEPS, ASK_CROPS],
        "outputs": [
            {"type": "JsonField", "name": "answers", "selector": "$steps.gemma.output"},
            {"type": "JsonField", "name": "found", "selector": "$steps.found.predictions"},
        ],
    }
    return run(provider, specification, image=images, template=template())


def test_crops_of_all_images_are_asked_in_one_call() -> None:
    """Answers come back grouped by image, in the order of the crops; an image without crops has none."""
    engine = ScriptedEngine(["a", "b", "c", "d"])
    rows = run_crops(ScriptedProvider(engine), [scene(20, 80, 140), scene(), scene(50)])
    assert [row["answers"] for row in rows] == [["a", "b", "c"], [], ["d"]]
    assert [len(call.prompts) for call in engine.calls] == [4]


def test_no_crops_at_all_is_no_error_and_no_call(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """Frames in which the detector found nothing pass without the model."""
    rows = run_crops(provider, [scene(), scene()])
    assert [row["answers"] for row in rows] == [[], []]
    assert engine.calls == []
    assert provider.requests == []


def test_filtered_images_are_skipped(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """An image that a condition stopped is not asked about, and its row is empty."""
    first = {
        "type": "gemma4_block/gemma4@v1",
        "name": "check",
        "images": "$inputs.image",
        "task_type": "caption",
    }
    condition = {
        "type": "roboflow_core/continue_if@v1",
        "name": "only_two",
        "condition_statement": {
            "type": "StatementGroup",
            "statements": [
                {
                    "type": "BinaryStatement",
                    "left_operand": {"type": "DynamicOperand", "operand_name": "answer"},
                    "comparator": {"type": "=="},
                    "right_operand": {"type": "StaticOperand", "value": "grey 2"},
                }
            ],
        },
        "evaluation_parameters": {"answer": "$steps.check.output"},
        "next_steps": ["$steps.gemma"],
    }
    specification: dict[str, object] = {
        "version": "1.0",
        "inputs": [IMAGE],
        "steps": [first, condition, {**first, "name": "gemma"}],
        "outputs": [{"type": "JsonField", "name": "answer", "selector": "$steps.gemma.output"}],
    }
    rows = run(provider, specification, image=[grey(1), grey(2), grey(3)])
    assert [row["answer"] for row in rows] == [None, "grey 2", None]
    assert [len(call.prompts) for call in engine.calls] == [3, 1]


BAD_VALUES = [
    ("prompt", " ", "task_type unconstrained needs a prompt, and it is empty."),
    ("prompt", None, "task_type unconstrained needs a prompt, and it is empty."),
    ("prompt", "x" * 20_001, "The prompt has 20001 characters; 20000 are allowed."),
    ("system_prompt", "x" * 20_001, "The system prompt has 20001 characters; 20000 are allowed."),
    ("max_new_tokens", 0, "max_new_tokens is 0; it must be 1 or more."),
    ("max_new_tokens", 9000, "max_new_tokens is 9000; this machine allows 8192."),
    ("temperature", -1, "temperature is -1.0; it must be 0.001 to 100"),
    ("top_p", 0.5, "top_p is 0.5 while sampling is off"),
    ("top_k", 3, "top_k is 3 while sampling is off"),
    ("seed", 3, "seed is 3 while sampling is off"),
]
BAD_TYPES = [
    ("prompt", 7, "The prompt is a int; it must be text.", "valid string"),
    ("system_prompt", 7, "The system prompt is a int; it must be text.", "valid string"),
    ("model_version", 3, "model_version is 3: Input should be a valid string", "valid string"),
    (
        "quantization",
        "int4",
        "quantization is 'int4': Input should be 'auto', 'none', 'nf4', 'int8' or 'int8_tower'",
        "Input should be 'auto', 'none', 'nf4', 'int8' or 'int8_tower'",
    ),
    (
        "image_seq_length",
        100,
        "image_seq_length is 100: Input should be 'auto', 70, 140, 280, 560 or 1120",
        "Input should be 'auto', 70, 140, 280, 560 or 1120",
    ),
    (
        "max_new_tokens",
        "many",
        "max_new_tokens is 'many': Input should be a valid integer",
        "Input should be a valid integer",
    ),
    (
        "enable_thinking",
        "yes",
        "enable_thinking is 'yes': Input should be a valid boolean",
        "Input should be a valid boolean",
    ),
    (
        "keep_alive",
        -1,
        "keep_alive is -1: Input should be greater than or equal to 0",
        "Input should be greater than or equal to 0",
    ),
    (
        "unchanged_below",
        0,
        "unchanged_below is 0: Input should be greater than 0",
        "Input should be greater than 0",
    ),
]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [*BAD_VALUES, *((name, value, message) for name, value, _, message in BAD_TYPES)],
)
def test_an_input_that_cannot_work_is_refused_before_the_step_runs(
    engine: ScriptedEngine, provider: ScriptedProvider, name: str, value: object, message: str
) -> None:
    """The host checks inputs by the step's own rules, and the server answers 400 with the reason."""
    step = {"prompt": "What?", name: "$inputs.value"}
    with pytest.raises(RuntimeInputError) as caught:
        ask(provider, step, images=grey(1), inputs=(parameter("value"),), value=value)
    assert message in str(caught.value.inner_error)
    assert (engine.calls, provider.requests) == ([], [])


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        *BAD_VALUES,
        *((name, value, message) for name, value, message, _ in BAD_TYPES),
        ("colour", "red", "colour is 'red': Extra inputs are not permitted"),
    ],
)
def test_a_value_of_another_step_that_cannot_work_is_the_clients_error(
    engine: ScriptedEngine, provider: ScriptedProvider, name: str, value: object, message: str
) -> None:
    """What only the run knows is checked before the model is loaded, and answered with 422."""
    fields = {
        "task_type": "unconstrained",
        "prompt": "What?",
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
        "box_format": "yxyx_0_1000",
        "unchanged_below": None,
    }
    image = WorkflowImageData(parent_metadata=ImageParentMetadata(parent_id="image"), numpy_image=grey(1))
    block = gemma4_block.load_blocks()[0]
    with pytest.raises(ClientCausedStepExecutionError) as caught:
        block(provider).run(images=Batch.init(content=[image], indices=[(0,)]), **{**fields, name: value})
    assert message in caught.value.public_message
    assert caught.value.status_code == 422
    assert (engine.calls, provider.requests) == ([], [])


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({"task_type": "unconstrained"}, "task_type unconstrained needs a prompt, and it is empty."),
        (
            {"task_type": "visual-question-answering", "prompt": ""},
            "task_type visual-question-answering needs a prompt",
        ),
        ({"task_type": "caption", "prompt": "What?"}, "task_type caption brings its own question"),
        ({"task_type": "ocr", "prompt": "$inputs.question"}, "task_type ocr brings its own question"),
        ({"task_type": "$inputs.question", "prompt": "What?"}, "Input should be 'unconstrained'"),
        ({"prompt": "x" * 20_001}, "The prompt has 20001 characters; 20000 are allowed."),
        ({"prompt": "What?", "system_prompt": "x" * 20_001}, "The system prompt has 20001 characters;"),
        ({"prompt": "What?", "image_seq_length": 100}, "Input should be 'auto', 70, 140, 280, 560 or 1120"),
        (
            {"prompt": "What?", "quantization": "int4"},
            "Input should be 'auto', 'none', 'nf4', 'int8' or 'int8_tower'",
        ),
        ({"prompt": "What?", "max_new_tokens": 0}, "max_new_tokens is 0; it must be 1 or more."),
        ({"prompt": "What?", "max_new_tokens": 8193}, "max_new_tokens is 8193; this machine allows 8192."),
        ({"prompt": "What?", "max_new_tokens": True}, "Input should be a valid integer"),
        ({"prompt": "What?", "top_p": 0.9}, "top_p is 0.9 while sampling is off"),
        ({"prompt": "What?", "top_k": 9, "temperature": 0}, "top_k is 9 while sampling is off"),
        ({"prompt": "What?", "seed": 0}, "seed is 0 while sampling is off"),
        (
            {"prompt": "What?", "top_p": 1.5, "temperature": 1},
            "top_p is 1.5; it must be above 0 and at most 1.",
        ),
    ],
)
def test_a_step_that_cannot_work_does_not_compile(
    provider: ScriptedProvider, step: dict[str, object], message: str
) -> None:
    """What is wrong in the definition is found when it is compiled, and the server answers 400."""
    with pytest.raises(WorkflowSyntaxError) as caught:
        ask(provider, step, images=grey(1), inputs=(parameter("question"),), question="What?")
    assert message in str([error.model_dump() for error in caught.value.blocks_errors or []])


SAMPLED = GenerationConfig(max_new_tokens=512, do_sample=True, temperature=0.7, top_p=0.95, top_k=64)


@pytest.mark.parametrize(
    ("fields", "generation"),
    [
        ({}, GenerationConfig(max_new_tokens=512)),
        ({"temperature": None}, GenerationConfig(max_new_tokens=512)),
        ({"temperature": 0}, GenerationConfig(max_new_tokens=512)),
        ({"temperature": 0.0}, GenerationConfig(max_new_tokens=512)),
        ({"temperature": 0.7}, SAMPLED),
        (
            {"temperature": 2, "top_p": 0.5, "top_k": 3, "seed": 0},
            GenerationConfig(max_new_tokens=512, do_sample=True, temperature=2, top_p=0.5, top_k=3, seed=0),
        ),
        ({"max_new_tokens": 8192}, GenerationConfig(max_new_tokens=8192)),
        (
            {"enable_thinking": True},
            GenerationConfig(max_new_tokens=512, enable_thinking=True, max_thinking_tokens=1024),
        ),
        (
            {"enable_thinking": True, "max_thinking_tokens": 9},
            GenerationConfig(max_new_tokens=512, enable_thinking=True, max_thinking_tokens=9),
        ),
        ({"enable_thinking": False}, GenerationConfig(max_new_tokens=512)),
    ],
)
@pytest.mark.parametrize("are_selectors", [False, True], ids=["literals", "selectors"])
def test_fields_say_how_to_answer(
    engine: ScriptedEngine,
    provider: ScriptedProvider,
    fields: dict[str, object],
    generation: GenerationConfig,
    are_selectors: bool,  # noqa: FBT001 - a case
) -> None:
    """A field and an input that gives the same value have the same effect; 0 and None are no chance."""
    if are_selectors:
        selectors = {name: f"$inputs.{name}" for name in fields}
        inputs = tuple(parameter(name) for name in fields)
        ask(provider, {**CAPTION, **selectors}, images=grey(1), inputs=inputs, **fields)
    else:
        ask(provider, {**CAPTION, **fields}, images=grey(1))
    assert engine.calls[0].generation == generation


@pytest.mark.parametrize(
    ("fields", "generation"),
    [
        (
            {},
            GenerationConfig(
                max_new_tokens=100,
                do_sample=True,
                temperature=0.5,
                top_p=0.8,
                top_k=7,
                enable_thinking=True,
                max_thinking_tokens=60,
            ),
        ),
        (
            {"top_p": 0.3, "enable_thinking": False},
            GenerationConfig(max_new_tokens=100, do_sample=True, temperature=0.5, top_p=0.3, top_k=7),
        ),
        (
            {"temperature": 0},
            GenerationConfig(max_new_tokens=100, enable_thinking=True, max_thinking_tokens=60),
        ),
        (
            {"max_new_tokens": 50, "max_thinking_tokens": 5, "temperature": 0},
            GenerationConfig(max_new_tokens=50, enable_thinking=True, max_thinking_tokens=5),
        ),
    ],
)
def test_empty_fields_take_the_operators_defaults(
    engine: ScriptedEngine,
    provider: ScriptedProvider,
    monkeypatch: pytest.MonkeyPatch,
    fields: dict[str, object],
    generation: GenerationConfig,
) -> None:
    """The environment of the machine decides where the workflow does not, up to the machine's own limit."""
    defaults = GenerationDefaults(
        max_new_tokens=4000, do_sample=True, temperature=0.5, top_p=0.8, top_k=7, enable_thinking=True
    )
    settings = Settings(max_new_tokens=100, max_thinking_tokens=60)
    monkeypatch.setattr("gemma4_block.fields.get_generation_defaults", lambda: defaults)
    monkeypatch.setattr("gemma4_block.fields.get_settings", lambda: settings)
    ask(provider, {**CAPTION, **fields}, images=grey(1))
    assert engine.calls[0].generation == generation


@pytest.mark.parametrize(
    ("step", "trained", "length"),
    [
        (CAPTION, (70, 140, 280, 560, 1120), 140),
        ({"task_type": "ocr"}, (70, 140, 280, 560, 1120), 1120),
        ({"task_type": "ocr"}, (70, 140), 140),
        (CAPTION, (280,), 280),
        ({**CAPTION, "image_seq_length": "auto"}, (70,), 70),
        ({**CAPTION, "image_seq_length": 560}, (70, 140), 560),
    ],
)
def test_the_budget_suits_task_and_checkpoint_unless_it_is_given(
    step: dict[str, object], trained: tuple[Any, ...], length: int
) -> None:
    """`auto` is the task's wish within what the checkpoint was trained for; a number is a number."""
    engine = ScriptedEngine(["a"], capabilities=Capabilities(image_seq_lengths=trained))
    ask(ScriptedProvider(engine), step, images=np.zeros((1080, 1920, 3), np.uint8))
    assert engine.prompts[0].image_seq_length == length


@pytest.mark.parametrize(("given", "lengths"), [("auto", [70, 280, 140]), (560, [560, 560, 560])])
def test_a_small_image_has_a_small_budget_of_its_own(given: object, lengths: list[int]) -> None:
    """`auto` looks at each image of a batch; a number is for all of them."""
    engine = ScriptedEngine(["a", "b", "c"])
    sizes = [(64, 64), (480, 640), (400, 400)]
    images = [np.zeros((*size, 3), np.uint8) for size in sizes]
    ask(ScriptedProvider(engine), {**VQA, "image_seq_length": given}, images=images)
    assert [prompt.image_seq_length for prompt in engine.prompts] == lengths
    assert len(engine.calls) == 1


@pytest.mark.parametrize(
    ("failure", "raised", "status_code"),
    [
        (ConfigurationError("no such model"), ClientCausedStepExecutionError, 422),
        (CheckpointError("no such weights"), ClientCausedStepExecutionError, 422),
        (OutOfMemoryError("too little memory"), RuntimeLimitsCausedStepExecutionError, 507),
    ],
)
def test_failures_reach_the_client_with_their_meaning(
    failure: CheckpointError, raised: type[Any], status_code: int
) -> None:
    """The model that a request names is the client's affair, memory is the machine's; both say what to do."""
    for provider in (
        ScriptedProvider(ScriptedEngine([]), failure=failure),
        ScriptedProvider(ScriptedEngine([], failure=failure)),
    ):
        with pytest.raises(raised) as caught:
            ask(provider, CAPTION, images=grey(1))
        assert (caught.value.status_code, caught.value.block_id) == (status_code, "gemma")
        assert caught.value.public_message == str(failure)
        # What is told has a copy without folders of the machine; the cause is logged.
        assert (type(caught.value.inner_error), str(caught.value.inner_error)) == (
            type(failure),
            str(failure),
        )
        assert caught.value.__cause__ is failure


def test_a_failing_engine_is_no_answer() -> None:
    """What the engine cannot do goes up as the server's error, not into a row, and without a traceback."""
    provider = ScriptedProvider(ScriptedEngine([], failure=EngineError("broken")))
    with pytest.raises(RuntimeLimitsCausedStepExecutionError, match="broken") as caught:
        ask(provider, CAPTION, images=grey(1))
    assert caught.value.status_code == 500


def test_the_short_name_of_the_block_works(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """`Gemma4Block` is the same step as `gemma4_block/gemma4@v1`."""
    (row,) = ask(provider, {**CAPTION, "type": "Gemma4Block"}, images=grey(5))
    assert row["output"] == "grey 5"
    assert engine.prompts[0].text == "Describe the image in one short sentence."


def test_blocks_are_the_same_at_every_call() -> None:
    """The host loads the blocks again for every new workflow and compares classes."""
    assert gemma4_block.load_blocks() == gemma4_block.load_blocks()
    assert not set(gemma4_block.load_blocks()) & set(load_core_blocks())


def test_prompts_are_typed(engine: ScriptedEngine, provider: ScriptedProvider) -> None:
    """What reaches the engine is a whole prompt."""
    ask(provider, VQA, images=grey(9))
    (prompt,) = engine.prompts
    assert isinstance(prompt, Prompt)
    assert [image.shape for image in prompt.images] == [(8, 12, 3)]
