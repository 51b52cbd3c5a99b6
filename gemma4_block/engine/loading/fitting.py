"""Say whether weights have the shapes that a config asks for, before memory is taken for either."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import AutoModelForMultimodalLM

from gemma4_block.engine.loading.naming import naming
from gemma4_block.engine.loading.weight_files import TensorHead
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from transformers import PreTrainedConfig


def refuse_other_shapes(directory: Path, config: "PreTrainedConfig", heads: Mapping[str, TensorHead]) -> None:
    """Refuse weights that do not fit their config; transformers would take memory for what is asked.

    Args:
        directory: Of the weights.
        config: Of the model.
        heads: Of all weights, which no quantization has packed.

    Raises:
        CheckpointError: A tensor has another shape, or most of the model is not there.

    """
    path = directory / "config.json"
    with naming(path), torch.device("meta"):
        asked = AutoModelForMultimodalLM.from_config(config).state_dict()
    for name, tensor in asked.items():
        head = heads.get(name)
        if head is not None and head.shape != tuple(tensor.shape):
            raise CheckpointError(
                f"{head.file} is of another model than {path}: {name!r} is {head.shape} where "
                f"{tuple(tensor.shape)} is asked for. Put the files of one model together."
            )
    held = sum(head.numel for head in heads.values())
    # Weights that are shared or renamed while they are loaded are not found by name, but they are never as
    # many again as all that the files hold.
    not_found = {name: tensor for name, tensor in asked.items() if name not in heads}
    if sum(tensor.numel() for tensor in not_found.values()) > held:
        largest = max(not_found, key=lambda name: not_found[name].numel())
        raise CheckpointError(
            f"The weights in {directory} ({', '.join(sorted({head.file.name for head in heads.values()}))}) "
            f"lack {len(not_found)} tensors that {path} asks for, the largest {largest!r}. They would "
            "be random; fetch the files again."
        )
