"""A few rows are multiplied the other way round, with the same results, in float32 on a CPU only."""

from pathlib import Path

import pytest
import torch
from torch import nn

from gemma4_block.engine.gemma4.few_row_linear import FewRowsLinear, speed_up_few_rows
from gemma4_block.engine.loading.checkpoint import LoadOptions, load_checkpoint

from .conftest import DEMO_CHECKPOINT


@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 3), (2, 2), (4, 1), (5, 1), (2, 4), (3, 7), (2,), ()])
@pytest.mark.parametrize("bias", [True, False])
def test_products_are_those_of_a_plain_layer(shape: tuple[int, ...], bias: bool) -> None:  # noqa: FBT001
    """Shapes, memory layout and numbers; more rows, one row and a bias go the usual way."""
    torch.manual_seed(0)
    plain = nn.Linear(24, 40, bias=bias)
    layer = nn.Sequential(nn.Linear(24, 40, bias=bias))
    layer[0].load_state_dict(plain.state_dict())
    speed_up_few_rows(layer)
    given = torch.randn(*shape, 24)

    assert type(layer[0]) is FewRowsLinear
    with torch.inference_mode():
        found = layer(given)
        torch.testing.assert_close(found, plain(given), atol=1e-5, rtol=1e-5)
    assert found.is_contiguous()


@pytest.mark.parametrize(("dtype", "is_used"), [("float32", True), ("bfloat16", False)])
def test_a_model_is_loaded_with_it_where_it_helps(dtype: str, is_used: bool) -> None:  # noqa: FBT001
    """Layers of the text model and the head; in bfloat16 none."""
    options = LoadOptions(device=torch.device("cpu"), dtype=dtype)
    model = load_checkpoint(Path(DEMO_CHECKPOINT), options).model
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.Linear)}

    assert (FewRowsLinear in kinds) is is_used
    assert (type(model.get_output_embeddings()) is FewRowsLinear) is is_used


def test_the_fast_way_is_taken_for_two_to_eight_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted over all but the last dimension."""
    layer = FewRowsLinear(8, 8, bias=False)
    taken: list[int] = []
    multiply = torch.mm

    def note(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        taken.append(other.shape[1])
        return multiply(one, other)

    monkeypatch.setattr(torch, "mm", note)
    for shape in ((1, 1), (2, 1), (1, 3), (4, 1), (5, 1), (2, 4), (9, 1)):
        layer(torch.zeros(*shape, 8))

    assert taken == [4, 4, 4, 8, 8]
