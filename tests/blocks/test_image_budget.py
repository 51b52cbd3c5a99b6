"""How closely the embedded model looks at images of different sizes, through the Workflows engine."""

from typing import Any

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import numpy as np
import pytest
from roboflow_workflows.execution_engine.core import ExecutionEngine

from gemma4_block.engine.pool.pool import EnginePool
from gemma4_block.settings import Settings
from tests.demo_copies import copy_demo

# Width and height: a small crop, a large one, a frame.
SIZES_WH = [(64, 64), (400, 400), (640, 480)]


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> EnginePool:
    """A pool that knows the embedded model as one that was trained for all budgets, as Google's are."""
    root = tmp_path_factory.mktemp("models")
    copy_demo(root / "demo")
    copy_demo(root / "small", (70, 140))
    return EnginePool(Settings(device="cpu", model_roots=(root,)))


def ask(pool: EnginePool, block: str, sizes_wh: list[tuple[int, int]], **fields: object) -> list[Any]:
    """Return the image tokens of each row."""
    engine = ExecutionEngine.init(
        workflow_definition={
            "version": "1.0",
            "inputs": [{"type": "WorkflowImage", "name": "image"}],
            "steps": [
                {
                    "type": f"gemma4_block/{block}",
                    "name": "gemma",
                    "images": "$inputs.image",
                    "prompt": "How many shapes are there?",
                    "task_type": "unconstrained",
                    "model_version": "demo",
                    "max_new_tokens": 1,
                    **fields,
                }
            ],
            "outputs": [
                {"type": "JsonField", "name": name, "selector": f"$steps.gemma.{name}"}
                for name in ("image_tokens", "error_message")
            ],
        },
        init_parameters={"gemma4_block.engine_provider": pool},
    )
    images = [np.full((height, width, 3), 128, np.uint8) for width, height in sizes_wh]
    rows = engine.run(runtime_parameters={"image": images})
    assert {row["error_message"] for row in rows} == {None}
    return [row["image_tokens"] for row in rows]


def test_a_small_crop_becomes_few_tokens(pool: EnginePool) -> None:
    """A crop that fits into 70 or 140 tokens becomes no more, a frame as many as the task wants."""
    assert ask(pool, "gemma4@v1", SIZES_WH) == [64, 121, 266]


def test_a_trained_number_is_taken_as_it_is(pool: EnginePool) -> None:
    """Whoever asks for more tokens than a crop needs gets them."""
    assert ask(pool, "gemma4@v1", SIZES_WH, image_seq_length=280) == [256, 256, 266]


def test_another_number_becomes_the_nearest(pool: EnginePool) -> None:
    """A model that was trained for 70 and 140 is not asked at 1120."""
    asked = {"image_seq_length": 1120, "model_version": "small"}
    assert ask(pool, "gemma4@v1", SIZES_WH[1:], **asked) == [121, 130]
    assert ask(pool, "gemma4_multi_image@v1", SIZES_WH[1:], **asked) == [121 + 130]


def test_the_largest_image_of_a_question_decides(pool: EnginePool) -> None:
    """Two small crops become few tokens each; beside a frame they become as many as it does."""
    assert ask(pool, "gemma4_multi_image@v1", SIZES_WH[:1] * 2) == [2 * 64]
    assert ask(pool, "gemma4_multi_image@v1", [SIZES_WH[0], SIZES_WH[2]]) == [256 + 266]
