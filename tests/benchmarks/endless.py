"""Checkpoints that never end an answer by themselves, so that all engines write as many tokens."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GenerationConfig

from tests.miniatures import Shape, build_miniature

# The output layer has the same weights.
_EMBEDDINGS = "model.language_model.embed_tokens.weight"


def build_endless(shape: Shape, directory: Path, *, dtype: torch.dtype = torch.float32) -> Path:
    """Write a miniature whose logits of all tokens that end an answer are 0, and return its directory.

    Some of the others are always above 0.
    """
    build_miniature(shape, directory, dtype=dtype)
    ends = {AutoTokenizer.from_pretrained(directory).eos_token_id}
    ends.update(GenerationConfig.from_pretrained(directory).eos_token_id)
    tensors = load_file(directory / "model.safetensors")
    tensors[_EMBEDDINGS][sorted(ends)] = 0
    # What was read may still be mapped from the old file.
    save_file(tensors, directory / "endless.safetensors", metadata={"format": "pt"})
    return (directory / "endless.safetensors").replace(directory / "model.safetensors").parent
