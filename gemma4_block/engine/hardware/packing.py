"""Say which linear layers in bfloat16 a processor multiplies faster from another layout of their weights."""

from collections.abc import Mapping
from typing import Literal

import torch

Packing = Literal["none", "tower", "all"]
"""Of which part of a model: none, the vision tower, or all of it."""


def choose_packing(features: Mapping[str, object]) -> Packing:
    """Return which layers are packed.

    With AMX two to eight packed rows take three quarters of the time, but a single one, as in every step of a
    single answer, takes 16 % longer, so that only the tower is, which always has many. Without it all numbers
    of rows are faster. Source: docs/measured.md; ARM was not measured.

    Args:
        features: Of the processor, as `torch.cpu.get_capabilities` names them.

    Returns:
        The part.

    Example:
        >>> choose_packing({"avx512_bf16": True})
        'all'
        >>> choose_packing({"avx512_bf16": True, "amx_bf16": True})
        'tower'
        >>> choose_packing({"bf16": True})
        'none'

    """
    if not torch.backends.mkldnn.is_available():
        return "none"
    if features.get("amx_bf16"):
        return "tower"
    return "all" if features.get("avx512_bf16") else "none"


def choose_least_rows(features: Mapping[str, object]) -> int:
    """Return to how many rows products of packed weights are filled up.

    One or two rows take longer than four on an EPYC without AVX-VNNI (Zen 4), and less on one with it (Zen
    5). Source: docs/measured.md.

    Args:
        features: Of the processor, as `torch.cpu.get_capabilities` names them.

    Returns:
        The least number of rows.

    Example:
        >>> choose_least_rows({"avx512_bf16": True})
        4
        >>> choose_least_rows({"avx512_bf16": True, "avx_vnni": True})
        1

    """
    return 1 if features.get("avx_vnni") else 4


def attends_slowly(features: Mapping[str, object]) -> bool:
    """Say whether the products inside torch's fused attention in bfloat16 are slower than oneDNN's.

    They are MKL's, which has none in bfloat16 for an AMD EPYC; with AMX they are others. Source:
    docs/measured.md.

    Args:
        features: Of the processor, as `torch.cpu.get_capabilities` names them.

    Returns:
        Whether to multiply by oneDNN instead.

    Example:
        >>> attends_slowly({"avx512_bf16": True})
        True
        >>> attends_slowly({"avx512_bf16": True, "amx_bf16": True})
        False

    """
    return choose_packing(features) == "all"
