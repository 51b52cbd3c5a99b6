"""The host's list of models, and its calls that unload them, know the engines of a pool."""

from pathlib import Path

import pytest

from gemma4_block.contract import LocalModel, ModelReference, Quantization
from gemma4_block.engine.pool import EnginePool
from gemma4_block.settings import Settings
from gemma4_block.testing import ScriptedEngine


class _HostModel:
    """What the host's manager asks of a model."""

    task_type = "object-detection"

    def clear_cache(self, *, delete_from_disk: bool) -> None:
        """Nothing is kept."""


class _HostRegistry:
    """Gives the host's manager its models."""

    def get_model(self, *_: object, **__: object) -> object:
        """Return a class of models."""
        return lambda **_: _HostModel()


@pytest.fixture
def pool() -> EnginePool:
    """A pool with two models that are ready."""

    def find(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:  # noqa: ARG001 - the signature is given
        return LocalModel(directory=Path("/models") / model_version, quantization=quantization)

    pool = EnginePool(Settings(device="cpu"), find=find, make=lambda *_: ScriptedEngine("yes"))
    for name in ("first", "second"):
        with pool.lease(name, "none"):
            pass
    return pool


def test_the_host_lists_and_closes_engines(pool: EnginePool) -> None:
    """`/model/registry`, `/model/remove` and `/model/clear` ask the manager."""
    import inference.core  # noqa: F401 - before anything of the host
    from inference.core.managers.base import ModelManager

    from gemma4_block.hosting.model_registry import WithEngines

    manager = WithEngines(ModelManager(model_registry=_HostRegistry()), max_size=8, pool=pool)
    manager.add_model("shapes/1", None)
    names = [(model.model_id, model.task_type) for model in manager.describe_models()]
    assert names == [("shapes/1", "object-detection"), ("first", "vlm"), ("second", "vlm")]

    manager.remove("first")
    assert [model.model_id for model in manager.describe_models()] == ["shapes/1", "second"]
    manager.remove("shapes/1")
    assert [model.model_id for model in manager.describe_models()] == ["second"]
    manager.clear()
    assert manager.describe_models() == []
