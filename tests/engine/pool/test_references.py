"""Which engine a name and a precision mean."""

from pathlib import Path
from unittest.mock import Mock

import pytest

from gemma4_block.contract import LocalModel
from gemma4_block.engine.compat import Gemma4HF, gemma4_hf
from gemma4_block.engine.pool import find_reference
from gemma4_block.errors import ConfigurationError, EngineError
from gemma4_block.settings import Settings

WHOLE = ["gemma-4-26b-a4b-it", "gemma-4-demo"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The operator's, with a directory for the 26B, whose files nobody reads here."""
    directory = tmp_path / "gemma-4-26b-a4b-it"
    directory.mkdir()
    (directory / "config.json").write_text("{}", encoding="utf-8")
    (directory / "model.safetensors").write_bytes(b"\x02" + bytes(7) + b"{}")
    return Settings(device="cpu", model_roots=(tmp_path,))


@pytest.mark.parametrize("model_id", WHOLE)
def test_a_variant_without_a_4_bit_size_is_refused_in_4_bits(settings: Settings, model_id: str) -> None:
    """The table of models says no, and the message says why."""
    with pytest.raises(ConfigurationError, match=rf"nf4 was asked for {model_id}: .*Use quantization none"):
        find_reference(model_id, "nf4", settings)


@pytest.mark.parametrize("model_id", WHOLE)
def test_it_is_whole_by_default(settings: Settings, model_id: str) -> None:
    """`auto` and `none` are the same engine, on a GPU too."""
    found = [find_reference(model_id, quantization, settings) for quantization in ("auto", "none")]
    assert found[0] == found[1]
    assert isinstance(found[0], LocalModel)
    assert found[0].quantization == "none"


@pytest.mark.parametrize(
    ("model", "disable_quantization", "quantization"),
    [
        ("gemma-4-demo", False, "none"),
        # An adapter is as exact as the weights that it is put on.
        ("gemma-4-demo-dutch", False, "none"),
        ("a directory", False, "auto"),
        ("a directory", True, "none"),
    ],
)
def test_python_keeps_the_same_variants_whole(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    model: str,
    quantization: str,
    *,
    disable_quantization: bool,
) -> None:
    """`from_pretrained` decides as a step does."""
    load = Mock(side_effect=EngineError("not loaded"))
    monkeypatch.setattr(gemma4_hf, "load_checkpoint", load)
    named = tmp_path if model == "a directory" else model
    with pytest.raises(EngineError, match="not loaded"):
        Gemma4HF.from_pretrained(named, device="cpu", disable_quantization=disable_quantization)
    (_, options), _ = load.call_args
    assert options.quantization == quantization
