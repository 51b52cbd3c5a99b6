"""Kinds of processors: what one multiplies with decides which engine is fast on it."""

from collections.abc import Mapping
from typing import Literal, get_args

import torch

ProcessorKind = Literal["amx", "avx512_bf16", "avx512", "avx2", "other"]
"""By the best that it has for large products: tiles of bfloat16, vectors of bfloat16, 512 bits of float32,
256 bits of float32, or none of them."""

KINDS: tuple[ProcessorKind, ...] = get_args(ProcessorKind)

# Names in torch.cpu.get_capabilities, the best first.
_FEATURES: Mapping[ProcessorKind, str] = {
    "amx": "amx_bf16",
    "avx512_bf16": "avx512_bf16",
    "avx512": "avx512_f",
    "avx2": "avx2",
}


def find_processor_kind() -> ProcessorKind:
    """Return the kind of this machine's processor."""
    return kind_of(torch.cpu.get_capabilities())


def kind_of(capabilities: Mapping[str, object]) -> ProcessorKind:
    """Return the kind of a processor with some features.

    >>> kind_of({"avx2": True, "avx512_f": True, "avx512_bf16": True, "amx_bf16": False})
    'avx512_bf16'
    >>> kind_of({"neon": True})
    'other'
    """
    for kind, feature in _FEATURES.items():
        if capabilities.get(feature):
            return kind
    return "other"
