"""What monitoring is told: names that stay, figures that are right, and nothing of any request."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from gemma4_block.asking import Question, ask_all
from gemma4_block.contract import GenerationConfig, LocalModel, ModelReference, Quantization, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import CheckpointError, EngineBusyError, PromptError
from gemma4_block.hosting.metrics import publish_metrics
from gemma4_block.limits import Limits
from gemma4_block.meter import Meter, get_meter, use_meter
from gemma4_block.settings import Settings
from gemma4_block.tasks import TASKS, TaskRequest
from gemma4_block.testing import ScriptedEngine

_PAGE = Path(__file__).parents[2] / "docs" / "operating.md"
_SETTINGS = Settings(device="cpu")


@pytest.fixture
def registry() -> Iterator[CollectorRegistry]:
    """A registry of this test alone; afterwards nothing counts again."""
    yield CollectorRegistry()
    use_meter(Meter())


def _read(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(f"gemma4_block_{name}", labels)


def _scene() -> RgbImage:
    return draw_scene(np.random.default_rng(7)).image


def test_the_table_of_metrics_is_what_the_endpoint_has(registry: CollectorRegistry) -> None:
    """Dashboards name them, so none is renamed or dropped by accident."""
    pool = EnginePool(_SETTINGS)
    publish_metrics(pool, registry)
    kinds = {"counter": "_total"}
    expected = [
        (f"{family.name}{kinds.get(family.type, '')}", family.type, family.documentation)
        for family in registry.collect()
    ]
    table = re.findall(
        r"^\| `(gemma4_block_\w+)(?:\{[\w,]+\})?` \| (\w+) \| (.+) \|$", _PAGE.read_text(), re.MULTILINE
    )

    assert sorted(table) == sorted(expected)


def test_an_answer_is_counted_with_all_that_it_took(registry: CollectorRegistry) -> None:
    """Loads, tokens, stages and caches, as the answers themselves say."""
    pool = EnginePool(_SETTINGS)
    publish_metrics(pool, registry)
    task = TASKS["unconstrained"]
    answers = []
    for prompt in ("What shapes are in the picture?", "What colour is the background?"):
        with pool.lease("gemma-4-demo") as engine:
            budget = engine.capabilities.image_seq_lengths[0]
            request = TaskRequest(images=(_scene(),), image_seq_length=budget, prompt=prompt)
            questions = [Question(request=request, prompt=task.ask(request)), PromptError("No.")]
            limits = Limits.of_requests(_SETTINGS)
            answers += ask_all(engine, task, questions, GenerationConfig(max_new_tokens=8), limits=limits)
            nbytes = engine.nbytes
    first, second = answers[0], answers[2]
    assert not isinstance(first, PromptError)
    assert not isinstance(second, PromptError)

    assert _read(registry, "answers_total") == 2
    assert _read(registry, "input_tokens_total") == first.input_tokens + second.input_tokens
    assert _read(registry, "output_tokens_total") == first.output_tokens + second.output_tokens
    assert _read(registry, "refusals_total", kind="PromptError") == 2
    assert _read(registry, "loads_total", model="gemma-4-demo", outcome="loaded") == 1
    assert _read(registry, "engines", state="ready") == 1
    assert _read(registry, "engine_bytes", model="gemma-4-demo") == nbytes
    for stage in ("preprocess", "vision", "prefill", "decode", "read"):
        seconds = _read(registry, "stage_seconds_total", stage=stage)
        assert seconds is not None
        assert seconds > 0
    assert _read(registry, "batch_rows_count", stage="vision") == 1
    assert _read(registry, "cache_lookups_total", cache="prefix", result="miss") == 1
    assert _read(registry, "cache_lookups_total", cache="prefix", result="hit") == 1
    assert (_read(registry, "prompts"), _read(registry, "running_rows")) == (0, 0)

    pool.close()
    assert _read(registry, "closings_total", model="gemma-4-demo") == 1
    assert _read(registry, "engines", state="ready") == 0
    assert b"shapes" not in generate_latest(registry)


def test_a_load_that_failed_is_counted(registry: CollectorRegistry) -> None:
    """An operator sees it without the log."""

    def fail(reference: ModelReference, settings: Settings) -> ScriptedEngine:  # noqa: ARG001 - the signature is given
        raise CheckpointError("It is damaged.")

    pool = EnginePool(_SETTINGS, make=fail)
    publish_metrics(pool, registry)
    with pytest.raises(CheckpointError), pool.lease("gemma-4-demo"):
        pass
    assert _read(registry, "loads_total", model="gemma-4-demo", outcome="failed") == 1
    assert _read(registry, "engines", state="failed") == 1


@pytest.mark.parametrize(
    ("name", "label"),
    [
        pytest.param("gemma-4-e2b-it", "gemma-4-e2b-it", id="id"),
        pytest.param("google/gemma-4-E2B-it", "gemma-4-e2b-it", id="hub name"),
        pytest.param("my-project/3", "my-project/3", id="project and version"),
        pytest.param("./mine", "mine", id="a way to write it"),
        pytest.param("mine//", "mine", id="another way"),
        pytest.param("/models/mine", "mine", id="whole path"),
    ],
)
def test_a_model_has_one_name_however_it_was_written(
    registry: CollectorRegistry, name: str, label: str
) -> None:
    """A request cannot make up names, of which each would be kept for ever."""

    def find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:  # noqa: ARG001 - the signature is given
        return LocalModel(directory=Path("/models") / Path(model_version).name, quantization="none")

    pool = EnginePool(_SETTINGS, find=find, make=lambda *_: ScriptedEngine("yes"))
    publish_metrics(pool, registry)
    with pool.lease(name):
        pass
    assert _read(registry, "engine_bytes", model=label) == 0
    assert _read(registry, "loads_total", model=label, outcome="loaded") == 1


def test_nothing_counts_where_no_endpoint_is() -> None:
    """A program that has no endpoint does not even import the client."""
    code = (
        "import inference.core, sys, gemma4_block; gemma4_block.load_blocks(); "
        "from gemma4_block.meter import Meter, get_meter; "
        "print('gemma4_block.hosting.metrics' in sys.modules, type(get_meter()) is Meter)"
    )
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "True"]
    assert type(get_meter()) is Meter


def test_a_step_that_is_refused_is_counted_by_its_error(registry: CollectorRegistry) -> None:
    """Under the name of the class, which the table of errors has."""
    from gemma4_block.blocks._host import errors_for_host

    publish_metrics(EnginePool(_SETTINGS), registry)
    with pytest.raises(Exception, match="Too many"), errors_for_host("step"):
        raise EngineBusyError("Too many.")
    assert _read(registry, "refusals_total", kind="EngineBusyError") == 1
