"""Say what of the model an adapter is trained on."""

from typing import Final

from torch import nn

from gemma4_block.engine.family import LanguageModel
from gemma4_block.engine.gemma4.model import Gemma4Model

ADAPTED_MODULES: Final = r".*\blanguage_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj)"
"""The names, as a pattern, of the linear layers of the language model that PEFT can adapt.

Those of the tower are wrapped in a class that it does not know, and the experts of 26B-A4B are no layers."""


def find_module(model: LanguageModel) -> nn.Module:
    """Return the transformers model behind a loaded Gemma 4."""
    assert isinstance(model, Gemma4Model), "loading makes no other"
    module: nn.Module = model.module
    return module
