"""Attend in bfloat16 on a CPU by products of oneDNN, where those of torch's fused attention are slow."""

from typing import Any, Final

import torch
from torch import nn

from gemma4_block.engine.gemma4.blocked_tower import cut_evenly
from gemma4_block.engine.gemma4.grouped_attention import MOST_POSITIONS_CPU, set_attention
from gemma4_block.engine.gemma4.grouped_attention import attend as attend_grouped

_NAME: Final = "gemma4_block_divided"
# Source of both: docs/measured.md. Of a head, for each thread; more of them leave the cache.
_MOST_SCORES: Final = 2**20
# Of a head, for each thread but the first: each of four steps wakes them all.
_LEAST_SCORES: Final = 400_000


def attend(  # noqa: PLR0917 - the order of transformers
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **options: Any,  # noqa: ANN401 - of transformers
) -> tuple[torch.Tensor, None]:
    """Attend as transformers' SDPA does, head by head where that is much work. Gradients do not pass.

    torch's fused attention multiplies by MKL, whose products in bfloat16 take six times what oneDNN's do on
    an AMD EPYC. oneDNN would round the scores to bfloat16, so they are multiplied in float32; only what they
    become is rounded, as in the fused attention.

    Args:
        module: The layer's attention.
        query: `(B, heads, Q, head_dim)`.
        key: `(B, shared, K, head_dim)`, where `heads` is a multiple of `shared`.
        value: As `key`.
        attention_mask: `(B, 1, Q, K)` bool; None where every query sees all, or those before it.
        scaling: Of the products; None means by the root of `head_dim`.
        **options: Passed on.

    Returns:
        `(B, Q, heads, head_dim)`, and no weights.

    """
    rows, heads, size, head_dim = query.shape
    shared = key.shape[1]
    threads, scores = torch.get_num_threads(), size * key.shape[2]
    is_much = size > MOST_POSITIONS_CPU and scores >= _LEAST_SCORES * (threads - 1)
    is_causal = attention_mask is None and module.is_causal
    if not is_much or is_causal or query.dtype != torch.bfloat16:
        return attend_grouped(module, query, key, value, attention_mask, scaling=scaling, **options)
    attended = query.new_empty(rows, size, heads, head_dim)
    blocks = cut_evenly(size, max(1, _MOST_SCORES * threads // key.shape[2]))
    scale = head_dim**-0.5 if scaling is None else scaling
    for row in range(rows):
        # In the order of a projection, where heads alternate, products would take a hundred times as long.
        keys = key[row].float().contiguous()
        for block in blocks:
            hidden = None if attention_mask is None else _weigh(attention_mask[row, 0, block])
            for head in range(heads):
                _attend_head(
                    query[row, head, block].float().mul_(scale),
                    keys[head * shared // heads],
                    value[row, head * shared // heads],
                    hidden,
                    attended[row, block, head],
                )
    return attended, None


def divide_attention(model: Any) -> None:  # noqa: ANN401 - one of several classes
    """Let the language model and the vision tower of `model`, if it has one, attend by `attend`."""
    set_attention(model.get_decoder(), _NAME, attend)
    tower = getattr(model.model, "vision_tower", None)
    if tower is not None:
        set_attention(tower, _NAME, attend)


def _weigh(mask: torch.Tensor) -> torch.Tensor:
    """Return what is added to scores: adding is faster than filling in.

    No infinity, because padding may see nothing at all, and what is no number would spread from there.
    """
    return torch.zeros(mask.shape).masked_fill_(~mask, torch.finfo(torch.float32).min)


def _attend_head(
    queries: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    hidden: torch.Tensor | None,
    attended: torch.Tensor,
) -> None:
    """Fill in `attended`, `(Q, head_dim)`; `hidden` is `(Q, K)`."""
    scores = torch.ops.mkldnn._linear_pointwise(queries, keys, None, "none", [], "")  # noqa: SLF001
    if hidden is not None:
        scores.add_(hidden)
    torch.softmax(scores, dim=-1, out=scores)
    torch.mm(scores.to(values.dtype), values, out=attended)
