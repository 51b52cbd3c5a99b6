"""Layers in 8 bits: exact whole numbers, scales for rows and channels, with and without oneDNN."""

import copy
from collections.abc import Mapping

import pytest
import torch
from torch import nn

from gemma4_block.engine.gemma4 import int8_linear
from gemma4_block.engine.gemma4.int8_linear import Int8Linear, round_language_model
from gemma4_block.engine.hardware import read_processor_features
from gemma4_block.errors import ConfigurationError

_PREFIX = "model.language_model.layer"


class _Model(nn.Module):
    """One layer where the language model has its own, and one elsewhere."""

    def __init__(self, columns: int, rows: int, dtype: torch.dtype) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.model = nn.ModuleDict(
            {"language_model": nn.ModuleDict({"layer": nn.Linear(columns, rows, bias=False)})}
        )
        self.elsewhere = nn.Linear(columns, rows, bias=False)
        self.to(dtype).requires_grad_(requires_grad=False)

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        product: torch.Tensor = self.get_submodule(_PREFIX)(given)
        return product


def _round(
    columns: int = 96,
    rows: int = 64,
    dtype: torch.dtype = torch.float32,
    features: Mapping[str, object] | None = None,
) -> _Model:
    model = _Model(columns, rows, dtype)
    round_language_model(model, dtype, read_processor_features() or {} if features is None else features)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1, 1), (3, 1), (2, 40), (), (0,)])
def test_products_are_near_those_of_a_plain_layer(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Within 3 %, in the precision of the input; only layers of the language model are rounded."""
    plain, model = _Model(96, 64, dtype), _round(dtype=dtype)
    given = torch.randn(*shape, 96).to(dtype)

    found, expected = model(given), plain(given)

    assert type(model.get_submodule(_PREFIX)) is Int8Linear
    assert type(model.elsewhere) is nn.Linear
    assert (found.dtype, found.shape) == (dtype, expected.shape)
    assert (found - expected).float().norm() <= 0.03 * expected.float().norm()


def test_layers_of_many_outputs_are_rounded_as_small_ones_are() -> None:
    """Some hundred rows at a time, so that never all of them are in float32."""
    plain, model = _Model(8, 600, torch.float32), _round(8, 600)
    given = torch.randn(2, 8)

    error = (model(given) - plain(given)).norm(dim=0) / plain(given).norm(dim=0).mean()

    assert float(error.max()) < 0.05


def test_every_row_has_a_scale_of_its_own() -> None:
    """A neighbour that is a thousand times larger changes nothing."""
    model = _round()
    given = torch.randn(2, 96)

    assert torch.equal(model(given)[:1], model(torch.cat([given[:1], 1000 * given[1:]]))[:1])


def test_a_row_of_zeroes_stays_one() -> None:
    """Though it has no largest number."""
    assert torch.equal(_round()(torch.zeros(2, 96)), torch.zeros(2, 64))


def test_what_is_no_number_stays_none() -> None:
    """An answer from it is refused later, and not made up."""
    assert _round()(torch.full((1, 96), torch.nan)).isnan().all()


def test_extremes_do_not_overflow() -> None:
    """Sums of the largest products are exact; without VNNI two of 8 bits would not fit."""
    model = _round(columns=256, features={})
    layer = model.get_submodule(_PREFIX)
    assert isinstance(layer, Int8Linear)
    assert layer.input_levels == 63
    plain = nn.Linear(256, 64, bias=False)
    plain.weight = nn.Parameter(torch.ones(64, 256), requires_grad=False)
    model.model["language_model"]["layer"] = plain
    round_language_model(model, torch.float32, {})

    torch.testing.assert_close(model(torch.ones(3, 256)), torch.full((3, 64), 256.0))


@pytest.mark.parametrize("rows", [1, 4, 70])
def test_torch_multiplies_to_the_same_where_onednn_cannot(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The operations of oneDNN are not public, and may leave torch."""
    fast = _round(dtype=torch.bfloat16)
    monkeypatch.setattr(int8_linear, "has_onednn_products", lambda: False)
    slow = _round(dtype=torch.bfloat16)
    given = torch.randn(rows, 96).to(torch.bfloat16)

    assert not slow.get_submodule(_PREFIX).weight.is_mkldnn  # type: ignore[union-attr]
    assert torch.equal(fast(given), slow(given))


def test_a_layer_is_not_copied() -> None:
    """What peft fills it with would be weights of another kind."""
    with pytest.raises(ConfigurationError, match="Choose quantization none"):
        copy.deepcopy(_round())
