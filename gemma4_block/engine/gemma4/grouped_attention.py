"""Attend without a copy of the keys for every head that shares them."""

from collections.abc import Callable
from typing import Any, Final

import torch
from torch import nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

_NAME: Final = "gemma4_block_grouped"
MOST_POSITIONS_CPU: Final = 64
"""New tokens of a row that are grouped on a CPU, where more of them are hardly faster.

Source: docs/measured.md."""
# On a GPU more were not measured.
_MOST_POSITIONS: Final = 1


def attend(  # noqa: PLR0917 - the order of transformers
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,  # noqa: ANN401 - of transformers
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' SDPA does; of few tokens, the heads that share keys are more queries of one.

    transformers repeats the keys and values for every head that uses them wherever there is a mask: with
    E2B's eight heads over one, eight times what the KV cache holds is written and read for each layer. And
    products of one row, which is what a head has of one token, are slow on a CPU.

    Args:
        module: The layer's attention.
        query: `(B, heads, Q, head_dim)`.
        key: `(B, shared, K, head_dim)`, where `heads` is a multiple of `shared`.
        value: As `key`.
        attention_mask: `(B, 1, Q, K)` bool; None where every query sees all, or those before it.
        scaling: Of the products.
        **options: Passed on.

    Returns:
        `(B, Q, heads, head_dim)`, and no weights.

    """
    rows, heads, size, head_dim = query.shape
    shared = key.shape[1]
    most = MOST_POSITIONS_CPU if query.device.type == "cpu" else _MOST_POSITIONS
    if size > most or heads == shared or (size > 1 and attention_mask is None):
        found: tuple[torch.Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, **options
        )
        return found
    if size > 1 and attention_mask is not None:
        attention_mask = attention_mask.repeat(1, 1, heads // shared, 1)
    attended = nn.functional.scaled_dot_product_attention(
        query.reshape(rows, shared, -1, head_dim), key, value, attn_mask=attention_mask, scale=scaling
    )
    return attended.reshape(rows, heads, size, head_dim).transpose(1, 2).contiguous(), None


def group_attention(model: Any) -> None:  # noqa: ANN401 - one of several classes
    """Let the language model of `model` attend by `attend`."""
    set_attention(model.get_decoder(), _NAME, attend)


def set_attention(part: Any, name: str, attention: Callable[..., Any]) -> None:  # noqa: ANN401 - of transformers
    """Let a part of a model attend by a function, under a name of its own and with masks as for SDPA."""
    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    part.set_attn_implementation(name)
