"""What is said of a model that is not for everything."""

from pathlib import Path

import pytest

from gemma4_block.catalogue import VARIANTS
from gemma4_block.contract import LocalModel, ModelReference, ServedModel
from gemma4_block.engine.pool import find_caution, make_engine
from gemma4_block.engine.pool.cautions import _log_once
from gemma4_block.settings import Settings
from tests.demo_copies import DEMO_CHECKPOINT

EMBEDDED = LocalModel(directory=DEMO_CHECKPOINT, quantization="none")


@pytest.mark.parametrize(
    "reference",
    [
        EMBEDDED,
        LocalModel(directory=DEMO_CHECKPOINT, quantization="none", adapter=Path("/adapters/mine")),
        ServedModel(server="gemma-4-demo", model="demo"),
    ],
    ids=["embedded", "an adapter of it", "on a server"],
)
def test_the_embedded_model_is_not_for_photographs(reference: ModelReference) -> None:
    """Wherever it answers, and a model that is for them is named with the command that fetches it."""
    caution = find_caution(reference)

    assert "drawn things only" in caution
    assert "gemma4-block pull gemma-4-e2b-it" in caution
    assert "\n" not in caution


@pytest.mark.parametrize(
    "reference",
    [
        LocalModel(directory=Path("/models/gemma-4-e2b-it"), quantization="none"),
        ServedModel(server="gemma-4-31b-it", model="big"),
        ServedModel(server="my-project/3", model="plates"),
    ],
    ids=["a directory", "a variant", "a model of the user's"],
)
def test_nothing_is_said_of_others(reference: ModelReference) -> None:
    """They know photographs."""
    assert find_caution(reference) == ""
    assert [variant.model_id for variant in VARIANTS if variant.caution] == ["gemma-4-demo"]


def test_the_log_says_it_once_in_a_process(caplog: pytest.LogCaptureFixture) -> None:
    """A server that loads the model again does not repeat it."""
    _log_once.cache_clear()
    for _ in range(2):
        make_engine(EMBEDDED, Settings(device="cpu")).close()

    assert caplog.messages == [find_caution(EMBEDDED)]
