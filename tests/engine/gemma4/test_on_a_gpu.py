"""What is done otherwise on a GPU is the same within rounding."""

import pytest
import torch
from transformers import Gemma4TextConfig
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm, Gemma4TextExperts

from gemma4_block.engine.gemma4.fused_norm import FusedRMSNorm, fuse_norms
from gemma4_block.engine.gemma4.gpu_experts import count_tokens_without_waiting, mix


@pytest.mark.parametrize("with_scale", [True, False])
@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.bfloat16, 2**-8)], ids=["float32", "bfloat16"]
)
def test_a_fused_norm_is_that_of_transformers(
    *, with_scale: bool, dtype: torch.dtype, tolerance: float
) -> None:
    """In bfloat16 but for the last bit."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(Gemma4RMSNorm(48, with_scale=with_scale)).to(dtype)
    if with_scale:
        torch.nn.init.uniform_(model[0].weight, 0.1, 9.0)
    states = (20 * torch.randn(2, 3, 48)).to(dtype)
    expected = model(states)
    fuse_norms(model)

    assert type(model[0]) is FusedRMSNorm
    torch.testing.assert_close(model(states), expected, rtol=tolerance, atol=1e-6)


@pytest.mark.parametrize("tokens", [1, 4, 5, 40], ids=["one", "few", "many", "more than experts"])
def test_experts_are_those_of_transformers_however_many_tokens_there_are(tokens: int) -> None:
    """Of up to four tokens by copies of their experts' weights, of more where the weights are."""
    torch.manual_seed(0)
    config = Gemma4TextConfig(
        hidden_size=32,
        num_experts=8,
        top_k_experts=2,
        moe_intermediate_size=16,
        experts_implementation="eager",
    )
    experts = Gemma4TextExperts(config)
    for weight in experts.parameters():
        torch.nn.init.normal_(weight, std=0.2)
    states, chances = torch.randn(tokens, 32), torch.rand(tokens, 8)
    weights, chosen = chances.topk(2)
    with torch.no_grad():
        expected = experts(states, chosen, weights)
        found = mix(experts, states, chosen, weights)

    assert count_tokens_without_waiting(experts=8, chosen=2) == 4
    torch.testing.assert_close(found, expected)
