"""Put a new adapter on a loaded model, to be trained, and write it in the form that any engine reads."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from gemma4_block.engine.family import LanguageModel
from gemma4_block.engine.gemma4 import ADAPTED_MODULES, find_module

if TYPE_CHECKING:
    from peft import PeftModel


class NewAdapter:
    """A LoRA adapter on the language model of a loaded checkpoint; the tower stays as it is.

    The model answers with it from now on, without any difference until it is trained.

    Args:
        model: Loaded, without an adapter.
        rank: Of its matrices.
        seed: Of its first weights.

    Attributes:
        adapted: The model with it, as PEFT sees it.

    """

    def __init__(self, model: LanguageModel, *, rank: int, seed: int) -> None:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=rank, lora_alpha=rank, target_modules=ADAPTED_MODULES, bias="none")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.adapted = cast("PeftModel", get_peft_model(find_module(model), config))

    @property
    def parameters(self) -> Sequence[nn.Parameter]:
        """What is trained."""
        return [parameter for _, parameter in self._trained()]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return its weights by name."""
        return {name: parameter.detach() for name, parameter in self._trained()}

    def load_state_dict(self, state: Mapping[str, torch.Tensor]) -> None:
        """Take up weights that `state_dict` returned."""
        with torch.no_grad():
            for name, parameter in self._trained():
                parameter.copy_(state[name])

    def save(self, directory: Path, *, base: str) -> None:
        """Write it as PEFT does.

        Args:
            directory: Is made.
            base: Id or directory of the model that it belongs to.

        """
        config = self.adapted.peft_config["default"]
        config.base_model_name_or_path = base
        partial = directory / "partial"
        tensors = {name: parameter.detach() for name, parameter in self._trained()}
        # Left to itself PEFT asks the whole model for its tensors, and on processors with bfloat16
        # bitsandbytes then spoils the 4-bit layers of a base that is in use.
        self.adapted.save_pretrained(str(partial), save_embedding_layers=False, state_dict=tensors)
        for name in ("adapter_model.safetensors", "adapter_config.json"):
            # The weights come from a temporary file, which only its owner may read.
            (partial / name).chmod((partial / "adapter_config.json").stat().st_mode)
            (partial / name).replace(directory / name)
        shutil.rmtree(partial)

    def _trained(self) -> list[tuple[str, nn.Parameter]]:
        return [(name, one) for name, one in self.adapted.named_parameters() if one.requires_grad]
