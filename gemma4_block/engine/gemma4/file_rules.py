"""Which rules the files of a Gemma 4 checkpoint are held to."""

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel

from gemma4_block.engine.gemma4.config_rules import (
    Gemma4ConfigRules,
    Gemma4UnifiedConfigRules,
    GenerationConfigRules,
)
from gemma4_block.engine.gemma4.processor_rules import (
    ProcessorConfigRules,
    TokenizerConfigRules,
    TokenizerRules,
)

CONFIG_RULES: Final[Mapping[str, type[Gemma4ConfigRules | Gemma4UnifiedConfigRules]]] = {
    "gemma4": Gemma4ConfigRules,
    "gemma4_unified": Gemma4UnifiedConfigRules,
}
"""Of config.json, by its `model_type`; the family has no others."""

FILE_RULES: Final[Mapping[str, type[BaseModel]]] = {
    "generation_config.json": GenerationConfigRules,
    "processor_config.json": ProcessorConfigRules,
    "tokenizer_config.json": TokenizerConfigRules,
    "tokenizer.json": TokenizerRules,
}
"""Of the files beside it, by their names."""
