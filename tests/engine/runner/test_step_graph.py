"""A real graph on a real GPU; tests/engine/test_pretended_gpu.py has what can be shown without one."""

import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.runner.step_graph import StepGraph
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.rooms import FRAMES

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def test_a_replay_does_the_step_with_what_is_at_its_addresses() -> None:
    """The input and the state are changed between replays, and the graph knows both by address only."""
    state, given = torch.zeros(2, device="cuda"), torch.ones(2, device="cuda")

    def step() -> torch.Tensor:
        state.add_(given)
        return state * 10

    graph = StepGraph(step, torch.cuda.graph_pool_handle())
    state.zero_()
    given.fill_(2)
    assert graph.replay().tolist() == [20, 20]
    assert graph.replay().tolist() == [40, 40]


def test_graphs_answer_as_steps_without() -> None:
    """A batch that shrinks while it is decoded."""
    prompts = [Prompt(text=text, images=(frame,)) for frame in FRAMES for text in ("Count", "Describe it")]
    found = []
    for graphs in (True, False):
        checkpoint = load_checkpoint(
            DEMO_CHECKPOINT, LoadOptions(device=torch.device("cuda"), dtype="float32", quantization="none")
        )
        engine = LocalEngine(checkpoint, Settings(cuda_graphs=graphs))
        answers = engine.answer(prompts, GenerationConfig(max_new_tokens=32))
        found.append([answer.text for answer in answers if isinstance(answer, Answer)])
        engine.close()

    assert found[0] == found[1]
    assert len(found[0]) == len(prompts)
