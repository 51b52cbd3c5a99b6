"""Layers in bfloat16 are packed in place when they are first used, and multiply to the same numbers."""

import copy
import gc
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from gemma4_block.engine.gemma4.packed_linear import PackedHead, PackedLinear, pack_weights, unpack_weights
from gemma4_block.engine.hardware import Packing, read_processor_features
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from tests.benchmarks.machine import read_memory
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.miniatures import build_miniature

multiplies_in_bfloat16 = pytest.mark.skipif(
    not (read_processor_features() or {}).get("avx512_bf16"), reason="the processor has no avx512_bf16"
)


def _make_layer(columns: int, rows: int, *, bias: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    return (
        nn.Sequential(nn.Linear(columns, rows, bias=bias))
        .to(torch.bfloat16)
        .requires_grad_(requires_grad=False)
    )


@multiplies_in_bfloat16
@pytest.mark.parametrize("shape", [(2, 1), (3,), (2, 2), (5, 1), (2, 4), (16,), (3, 7), (2, 150)])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("least_rows", [1, 4])
def test_products_are_those_of_a_plain_layer_to_the_bit(
    shape: tuple[int, ...],
    bias: bool,  # noqa: FBT001
    least_rows: int,
) -> None:
    """Of two rows and more; shapes and memory layout are the same."""
    plain = _make_layer(1536, 2048, bias=bias)
    packed = _make_layer(1536, 2048, bias=bias)
    pack_weights(packed, "all", least_rows=least_rows)
    given = torch.randn(*shape, 1536).to(torch.bfloat16)

    with torch.inference_mode():
        expected = plain(given)
        # torch multiplies two and three rows in another order than four.
        if given.shape[:-1].numel() < least_rows:
            filled = nn.functional.pad(given.reshape(-1, 1536), (0, 0, 0, 4 - given.shape[:-1].numel()))
            expected = plain(filled)[: given.shape[:-1].numel()].reshape(expected.shape)
        found = packed(given)

    assert type(packed[0]) is PackedLinear
    assert torch.equal(found, expected)
    assert found.is_contiguous()


@multiplies_in_bfloat16
@pytest.mark.parametrize("shape", [(), (1,), (1, 1)])
def test_a_filled_row_is_what_it_is_among_others(shape: tuple[int, ...]) -> None:
    """In torch a single row is added up in another order than in a batch, and may be rounded otherwise."""
    layer = _make_layer(1536, 2048)
    pack_weights(layer, "all", least_rows=4)
    given = torch.randn(*shape, 1536).to(torch.bfloat16)
    others = torch.randn(4, 1536).to(torch.bfloat16)

    with torch.inference_mode():
        found = layer(given)
        among = layer(torch.cat([given.reshape(1, 1536), others]))

    assert found.shape == (*shape, 2048)
    assert torch.equal(found.flatten(), among[0])


@multiplies_in_bfloat16
def test_no_rows_are_no_rows() -> None:
    """Whatever they are filled up to."""
    layer = _make_layer(32, 48)
    pack_weights(layer, "all")

    assert layer(torch.zeros(2, 0, 32, dtype=torch.bfloat16)).shape == (2, 0, 48)


@multiplies_in_bfloat16
def test_a_few_rows_are_filled_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Up to four, which take less time than one or two."""
    taken: list[int] = []
    multiply = torch.ops.mkldnn._linear_pointwise

    def note(rows: torch.Tensor, *others: object) -> torch.Tensor:
        taken.append(rows.shape[0])
        product: torch.Tensor = multiply(rows, *others)
        return product

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", note)
    layer = _make_layer(32, 32)
    pack_weights(layer, "all", least_rows=4)
    for count in (1, 2, 3, 4, 5):
        layer(torch.zeros(count, 32, dtype=torch.bfloat16))

    assert taken == [4, 4, 4, 4, 5]


@pytest.mark.parametrize(("packing", "dtype"), [("none", torch.bfloat16), ("all", torch.float32)])
def test_other_layers_stay_as_they_are(packing: Packing, dtype: torch.dtype) -> None:
    """Only what was measured to be faster is packed."""
    layer = _make_layer(32, 32).to(dtype)
    pack_weights(layer, packing)

    assert type(layer[0]) is nn.Linear


@pytest.mark.parametrize(
    ("packing", "expected"),
    [
        ("none", set()),
        ("tower", {"vision_tower"}),
        ("all", {"vision_tower", "language_model", "embed_vision", "lm_head"}),
    ],
)
def test_the_chosen_part_of_a_model_is_packed(packing: Packing, expected: set[str], tmp_path: Path) -> None:
    """With the tower alone, a single answer is written as before."""
    directory = build_miniature("e2b", tmp_path / "e2b", dtype=torch.bfloat16)
    options = LoadOptions(device=torch.device("cpu"), dtype="bfloat16", is_trained=True)
    model = load_checkpoint(directory, options).model.module  # type: ignore[attr-defined]
    pack_weights(model, packing)
    packed = {
        name.removeprefix("model.").split(".")[0]
        for name, one in model.named_modules()
        if isinstance(one, PackedLinear)
    }

    assert packed - {"audio_tower", "embed_audio"} == expected


def _make_tied(directory: Path, *, is_in_a_file: bool) -> nn.ModuleDict:
    torch.manual_seed(0)
    weights = torch.randn(4096, 64).to(torch.bfloat16)
    if is_in_a_file:
        save_file({"weight": weights}, directory / "file")
        weights = load_file(directory / "file")["weight"]
    model = nn.ModuleDict({"table": nn.Embedding(4096, 64), "head": nn.Linear(64, 4096, bias=False)})
    model["table"].weight = model["head"].weight = nn.Parameter(weights, requires_grad=False)
    return model


@multiplies_in_bfloat16
@pytest.mark.parametrize("rows", [1, 4, 40])
def test_a_layer_that_shares_the_table_of_tokens_is_packed_beside_it(tmp_path: Path, rows: int) -> None:
    """The table is read by the row, which a packed layer cannot give, and stays in its file."""
    model = _make_tied(tmp_path, is_in_a_file=True)
    table = model["table"].weight
    plain, ids = table.clone(), torch.tensor([0, 77, 4095])
    pack_weights(model, "all", least_rows=4)
    given = torch.randn(rows, 64).to(torch.bfloat16)
    with torch.inference_mode():
        found, looked_up = model["head"](given), model["table"](ids)
        expected = nn.functional.linear(nn.functional.pad(given, (0, 0, 0, max(0, 4 - rows))), plain)[:rows]

    assert type(model["head"]) is PackedHead
    assert model["head"].weight.is_mkldnn
    assert torch.equal(found, expected)
    assert torch.equal(looked_up, plain[ids])
    assert set(model.state_dict()) == {"table.weight", "head.weight"}
    unpack_weights(model)
    assert type(model["head"]) is nn.Linear
    assert model["head"].weight is model["table"].weight is table


def test_a_layer_that_shares_a_table_in_memory_stays_as_it_is(tmp_path: Path) -> None:
    """A copy of it would be kept beside it."""
    model = _make_tied(tmp_path, is_in_a_file=False)
    pack_weights(model, "all")
    given = torch.randn(4, 64).to(torch.bfloat16)
    expected = nn.functional.linear(given, model["table"].weight)

    assert torch.equal(model["head"](given), expected)
    assert type(model["head"]) is nn.Linear
    assert model["head"].weight is model["table"].weight


@multiplies_in_bfloat16
def test_a_packed_layer_becomes_plain_again() -> None:
    """Unused or used, by itself or as a copy, with the same weights."""
    plain = _make_layer(32, 48)
    layer = _make_layer(32, 48)
    pack_weights(layer, "all")
    unused = copy.deepcopy(layer)
    with torch.inference_mode():
        layer(torch.zeros(4, 32, dtype=torch.bfloat16))
    used = copy.deepcopy(layer)
    unpack_weights(layer)

    for found in (unused[0], used[0], layer[0]):
        assert type(found) is nn.Linear
        assert torch.equal(found.weight, plain[0].weight)


@multiplies_in_bfloat16
def test_packing_takes_the_place_of_the_weights(tmp_path: Path) -> None:
    """Neither the pages of the file nor the weights as they were stay in memory."""
    size = 4096
    save_file(
        {f"{name}.weight": torch.randn(size, size).to(torch.bfloat16) for name in "0123"}, tmp_path / "file"
    )
    model = nn.Sequential(*(nn.Linear(size, size, bias=False, device="meta") for _ in range(4)))
    model.load_state_dict(load_file(tmp_path / "file"), assign=True)
    pack_weights(model, "all")
    rows = torch.zeros(4, size, dtype=torch.bfloat16)
    weights = 4 * size * size * 2
    gc.collect()
    before = read_memory()["VmRSS"]
    with torch.inference_mode():
        model(rows)
    after = read_memory()["VmRSS"]

    assert weights * 0.8 < after - before < weights * 1.2


@multiplies_in_bfloat16
@pytest.mark.parametrize(("is_trained", "is_used"), [(False, True), (True, False)])
def test_a_model_is_packed_unless_it_is_trained(is_trained: bool, is_used: bool) -> None:  # noqa: FBT001
    """No gradient passes through packed weights."""
    options = LoadOptions(device=torch.device("cpu"), dtype="bfloat16", is_trained=is_trained)
    model = load_checkpoint(Path(DEMO_CHECKPOINT), options).model.module  # type: ignore[attr-defined]
    kinds = {type(module) for module in model.modules()}

    assert (PackedLinear in kinds) is is_used
