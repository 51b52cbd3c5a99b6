"""Multiply by the experts of few tokens on a GPU without telling the host which they are."""

from typing import Any, Final

import torch
from transformers.integrations.moe import (
    ExpertsInterface,
    batched_mm_experts_forward,
    grouped_mm_experts_forward,
)

_NAME: Final = "gemma4_block_few_tokens"


def mix(
    module: Any,  # noqa: ANN401 - of transformers
    hidden_states: torch.Tensor,
    top_k_index: torch.Tensor,
    top_k_weights: torch.Tensor,
) -> torch.Tensor:
    """Add up what the chosen experts make of each token, by one of two ways of transformers.

    Of few tokens, the weights of their experts are copied side by side and multiplied at once: the host need
    not know which they are, and `batched_mm` copies no more than one layer's experts all together. Of more,
    `grouped_mm` multiplies by each expert where its weights are, and outside compute capabilities 9.0 and
    10.0, or in float32, the host waits to be told where the tokens of one end. transformers' `generate`
    chooses in the same way. Source: `_grouped_mm_cuda` in GroupedBlas.cpp of torch 2.10; for a prompt of
    128 tokens and single steps https://huggingface.co/datasets/docs-benchmarks/experts-backends: a GPU wrote
    16 tokens in 499 ms instead of 774, and in 97 where steps were compiled and in graphs.

    Args:
        module: Experts of a layer.
        hidden_states: `(T, hidden)`.
        top_k_index: `(T, k)` int64, the experts of each token.
        top_k_weights: `(T, k)`, how much each of them counts.

    Returns:
        `(T, hidden)`.

    """
    most = count_tokens_without_waiting(experts=module.num_experts, chosen=top_k_index.shape[-1])
    multiply = batched_mm_experts_forward if len(hidden_states) <= most else grouped_mm_experts_forward
    mixed: torch.Tensor = multiply(module, hidden_states, top_k_index, top_k_weights)
    return mixed


def count_tokens_without_waiting(*, experts: int, chosen: int) -> int:
    """Return the most tokens that `mix` reads at once without a wait of the host.

    >>> count_tokens_without_waiting(experts=128, chosen=8)
    16
    """
    return experts // chosen


def mix_on_gpu(model: Any) -> None:  # noqa: ANN401 - one of several classes
    """Let the language model of `model` use its experts by `mix`; one without any stays as it is."""
    decoder = model.get_decoder()
    if getattr(decoder.config, "enable_moe_block", False):
        ExpertsInterface.register(_NAME, mix)
        decoder.set_experts_implementation(_NAME)
