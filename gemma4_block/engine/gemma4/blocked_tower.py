"""Take patches through the vision tower on a CPU in blocks; only attention sees them all at once."""

from collections.abc import Sequence
from typing import Any, Final, cast

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4RMSNorm,
    Gemma4VisionEncoderLayer,
    apply_multidimensional_rope,
)

from gemma4_block.engine.gemma4.frugal_norm import FrugalRMSNorm
from gemma4_block.engine.gemma4.gelu_table import GeluTable

# Of a block. In float32 MKL brings the weights into another layout for every product, so that more rows are
# faster. Source: docs/measured.md.
_MOST_ROWS: Final = 512
_MOST_ROWS_FLOAT32: Final = 1280


class BlockedLayer(Gemma4VisionEncoderLayer):
    """A layer of the tower that takes a block of patches from one product to the next.

    What lies between two products of all patches at once is so large that every clip, norm and activation
    waits for memory, which the system gives anew each time. Rows do not depend on each other; with AMX a
    product of few hundred rows may be added up in another order, so that a number in 15,000 is rounded
    otherwise.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: Any = None,  # noqa: ANN401 - transformers names other types than it gives
        attention_mask: torch.Tensor | None = None,
        position_ids: Any = None,  # noqa: ANN401
        **options: Any,  # noqa: ANN401
    ) -> Any:  # noqa: ANN401
        """Do as the base does with SDPA. Gradients do not pass.

        Args:
            hidden_states: `(B, patches, hidden)`.
            position_embeddings: Cosines and sines, both `(B, patches, head_dim)`.
            attention_mask: `(B, 1, patches, patches)` bool; None where every patch sees all.
            position_ids: Column and row of each patch, `(B, patches, 2)`.
            **options: Passed on to attention.

        Returns:
            As `hidden_states`.

        """
        most = _MOST_ROWS if hidden_states.dtype == torch.bfloat16 else _MOST_ROWS_FLOAT32
        blocks = cut_evenly(hidden_states.shape[1], most)
        if len(blocks) == 1:
            return super().forward(
                hidden_states, position_embeddings, attention_mask, position_ids, **options
            )
        attention = self.self_attn
        queries, keys, values = self._project(hidden_states, position_embeddings, position_ids, blocks)
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(
            attention.config._attn_implementation,  # noqa: SLF001 - as transformers does
            sdpa_attention_forward,
        )
        attended, _ = attend(
            attention, queries, keys, values, attention_mask, scaling=attention.scaling, **options
        )
        found = torch.empty_like(hidden_states)
        for rows in blocks:
            found[:, rows] = self._go_on(hidden_states[:, rows], attended[:, rows].flatten(2))
        return found

    def _project(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        position_ids: torch.Tensor,
        blocks: Sequence[slice],
    ) -> Sequence[torch.Tensor]:
        """Return queries, keys and values, each `(B, heads, patches, head_dim)`."""
        attention, (cos, sin) = self.self_attn, position_embeddings
        batch, patches, _ = hidden_states.shape
        heads, shared = attention.config.num_attention_heads, attention.config.num_key_value_heads
        found = [
            hidden_states.new_empty(batch, count, patches, attention.head_dim)
            for count in (heads, shared, shared)
        ]
        queries, keys, values = found
        for rows in blocks:
            normed = self.input_layernorm(hidden_states[:, rows])
            for place, projection, norm in (
                (queries, attention.q_proj, attention.q_norm),
                (keys, attention.k_proj, attention.k_norm),
                (values, attention.v_proj, attention.v_norm),
            ):
                states = norm(projection(normed).unflatten(-1, (-1, attention.head_dim)))
                if place is not values:
                    states = apply_multidimensional_rope(
                        states, cos[:, rows], sin[:, rows], position_ids[:, rows]
                    )
                place[:, :, rows] = states.transpose(1, 2)
        return found

    def _go_on(self, residual: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of one block, both `(B, rows, hidden)`."""
        hidden_states: torch.Tensor = self.self_attn.o_proj(attended)
        hidden_states = residual + self.post_attention_layernorm(hidden_states)
        seen = self.mlp(self.pre_feedforward_layernorm(hidden_states))
        return hidden_states + cast("torch.Tensor", self.post_feedforward_layernorm(seen))


def block_tower(model: nn.Module) -> None:
    """Turn the layers of the tower, if there is one, into faster ones for a CPU, which pass no gradients."""
    layers = [module for module in model.modules() if type(module) is Gemma4VisionEncoderLayer]
    table: GeluTable | None = None
    for layer in layers:
        layer.__class__ = BlockedLayer
        for part in layer.modules():
            if type(part) is Gemma4RMSNorm:
                part.__class__ = FrugalRMSNorm
        if layer.input_layernorm.weight.dtype == torch.bfloat16:
            # All layers activate in the same way, and a single table stays in the cache.
            table = table or GeluTable(layer.mlp.act_fn)
            layer.mlp.act_fn = table


def cut_evenly(count: int, most: int) -> list[slice]:
    """Cut so many rows into as few blocks as there can be, of nearly the same size.

    A small block at the end would be multiplied by other kernels.

    >>> cut_evenly(630, 256)
    [slice(0, 210, None), slice(210, 420, None), slice(420, 630, None)]
    >>> cut_evenly(5, 2)
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    blocks = -(-count // most)
    size = -(-count // blocks)
    return [slice(start, min(start + size, count)) for start in range(0, count, size)]
