"""Let the host's model manager know the engines of this package: list them, and close them."""

from typing import Any

from inference.core.managers.base import ModelManager
from inference.core.managers.decorators.fixed_size_cache import WithFixedSizeCache
from inference.core.managers.entities import ModelDescription

from gemma4_block.engine.pool import EnginePool
from gemma4_block.hosting.engines import close_model

# What the host calls the task of its own vision-language models.
_TASK = "vlm"


class WithEngines(WithFixedSizeCache):
    """The host's models, so many at most, and the engines of a pool, as far as listing and closing go.

    Args:
        model_manager: The host's.
        max_size: Most models of the host at the same time; engines do not count.
        pool: Holds the engines.

    """

    def __init__(self, model_manager: ModelManager, *, max_size: int, pool: EnginePool) -> None:
        super().__init__(model_manager, max_size=max_size)
        self._pool = pool

    def describe_models(self) -> list[ModelDescription]:
        """Return the host's models, and the engines that are ready."""
        ours = [
            ModelDescription(
                model_id=status.name, task_type=_TASK, batch_size=None, input_height=None, input_width=None
            )
            for status in self._pool.list_engines()
            if status.state == "ready"
        ]
        return [*super().describe_models(), *ours]

    def remove(self, model_id: str, delete_from_disk: bool = True) -> Any:  # noqa: ANN401, FBT001, FBT002 - the host's
        """Close a model, whosever it is; files of ours are never deleted."""
        close_model(self._pool, model_id)
        return super().remove(model_id, delete_from_disk=delete_from_disk)

    def clear(self) -> None:
        """Close all models."""
        for status in self._pool.list_engines():
            self._pool.unload(status.reference)
        super().clear()
