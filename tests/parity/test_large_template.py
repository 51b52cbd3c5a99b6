"""The same confidences where a template begins answers with an empty thought, as that of 12B to 31B does.

The embedded checkpoint answers with such a template as well, though it was not trained for it.
"""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from gemma4_block.contract import Answer, GenerationConfig, LocalModel
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.remote import RemoteEngine, connect
from gemma4_block.servers import Server
from gemma4_block.settings import Settings
from gemma4_block.tasks import TaskType
from tests.parity.cases import BUDGETS, GREEDY, THINKING, ask, draw
from tests.parity.likeness import TOLERANCE, numbers, without_numbers
from tests.parity.test_parity import DEMO_CHECKPOINT, needs_vllm
from tests.parity.vllm_server import MODEL, running_vllm

_TASKS: tuple[TaskType, ...] = (
    "classification",
    "multi-label-classification",
    "object-detection",
    "visual-question-answering",
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded checkpoint with a template that drops thoughts and begins answers with an empty one."""
    found = tmp_path_factory.mktemp("large") / "checkpoint"
    shutil.copytree(DEMO_CHECKPOINT, found)
    template = found / "chat_template.jinja"
    text = template.read_text(encoding="utf-8")
    for old, new in (
        (
            "render(message['content'], role)",
            "(without_thoughts(message['content']) if role == 'model' else render(message['content'], role))",
        ),
        (
            "{{- '<|turn>model\\n' -}}",
            "{{- '<|turn>model\\n' + ('' if thinking else '<|channel>thought\\n<channel|>') -}}",
        ),
    ):
        assert text.count(old) == 1
        text = text.replace(old, new)
    dropping = (
        "{%- macro without_thoughts(text) -%}{%- for part in text.split('<channel|>') -%}"
        "{{- part.split('<|channel>')[0] -}}{%- endfor -%}{%- endmacro -%}"
    )
    template.write_text(dropping + text, encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def local(checkpoint: Path) -> Iterator[LocalEngine]:
    """It in this process."""
    settings = Settings(device="cpu", dtype="float32")
    engine = load_local(LocalModel(directory=checkpoint, quantization="none"), settings)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def remote(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RemoteEngine]:
    """It on vLLM."""
    with running_vllm(checkpoint, tmp_path_factory.mktemp("vllm") / "log") as url:
        engine = connect(Server(model_id=MODEL, urls=(url,), model=MODEL, image_seq_lengths=BUDGETS))
        yield engine
        engine.close()


@needs_vllm
@pytest.mark.parametrize("generation", [GREEDY, THINKING], ids=["thoughts off", "thoughts on"])
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("task", _TASKS)
def test_both_engines_are_as_sure(
    local: LocalEngine, remote: RemoteEngine, task: TaskType, seed: int, generation: GenerationConfig
) -> None:
    """In every field."""
    prompt = ask(task, draw(seed + 130, shape_count=seed + 1), BUDGETS[seed])
    (here,), (there,) = (engine.answer([prompt], generation) for engine in (local, remote))
    assert isinstance(here, Answer)
    if generation.enable_thinking and not here.thinking:
        # VLLM holds no answer to its schema where a model that may think does not; docs/servers.md says so.
        return
    assert isinstance(there, Answer)

    assert without_numbers(there) == without_numbers(here)
    assert numbers(there) == pytest.approx(numbers(here), abs=TOLERANCE)
    assert task == "visual-question-answering" or numbers(there)
