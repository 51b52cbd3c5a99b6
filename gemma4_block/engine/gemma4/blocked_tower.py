"""Take patches through the vision tower in blocks that stay in a core's cache; only attention sees them all."""

from collections.abc import Sequence
from typing import Any, Final

import torch
from torch import nn
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.models.gemma4.modeling_gemma4 import (
    Gemma4RMSNorm,
    Gemma4VisionEncoderLayer,
    apply_multidimensional_rope,
)

from gemma4_block.engine.gemma4.frugal_norm import FrugalRMSNorm
from gemma4_block.engine.gemma4.gelu_table import GeluTable

# Of a block. Source: docs/measured.md.
_MOST_ROWS: Final = 256


class BlockedLayer(Gemma4VisionEncoderLayer):
    """A layer of the tower that takes a block of patches from one product to the next.

    What lies between two products is larger than a core's cache where all patches are taken at once, and
    clips, norms and activations wait for memory. Rows do not depend on each other. In bfloat16 with AMX a product
    of fewer rows may be added up in another order, so that a number in 15,000 is rounded otherwise.
    """

    def forward(
        self,
        hidden_states: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        **options: Any,  # noqa: ANN401 - of transformers
    ) -> torch.Tensor:
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
        assert position_ids is not None, "the tower says where its patches are"
        blocks = cut_evenly(hidden_states.shape[1], _MOST_ROWS)
        attention = self.self_attn
        attended, _ = sdpa_attention_forward(
            attention,
            *self._project(hidden_states, position_embeddings, position_ids, blocks),
            attention_mask,
            scaling=attention.scaling,
            **options,
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
        attention, cos_sin = self.self_attn, position_embeddings
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
                    turns = (part[:, rows] for part in cos_sin)
                    states = apply_multidimensional_rope(states, *turns, position_ids[:, rows])
                place[:, :, rows] = states.transpose(1, 2)
        return found

    def _go_on(self, residual: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of one block, both `(B, rows, hidden)`."""
        hidden_states: torch.Tensor = self.self_attn.o_proj(attended)
        hidden_states = residual + self.post_attention_layernorm(hidden_states)
        seen: torch.Tensor = self.mlp(self.pre_feedforward_layernorm(hidden_states))
        return hidden_states + self.post_feedforward_layernorm(seen)


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
