"""The same weights as transformers alone runs them: what this engine's answers are compared with."""

from collections.abc import Mapping
from pathlib import Path

import torch
from transformers import AutoModelForMultimodalLM

from gemma4_block.engine.loading.weights import ONE_LOADS


class PlainModel:
    """A checkpoint in float32 behind transformers' own `generate`, with nothing of this package in between.

    Args:
        directory: Of weights.
        device: Where they go.

    """

    def __init__(self, directory: Path, device: torch.device) -> None:
        with ONE_LOADS:
            self._model = AutoModelForMultimodalLM.from_pretrained(
                directory, dtype=torch.float32, device_map=device, local_files_only=True
            ).eval()

    @torch.inference_mode()
    def generate(self, inputs: Mapping[str, torch.Tensor], *, max_new_tokens: int) -> torch.Tensor:
        """Return the likeliest continuation of one prompt.

        Args:
            inputs: The model's own, of one row; see `LocalEngine.prepare_inputs`.
            max_new_tokens: Most tokens of it.

        Returns:
            `(1, T)` int64 without the prompt.

        """
        ids: torch.Tensor = self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
        return ids[:, inputs["input_ids"].shape[1] :]
