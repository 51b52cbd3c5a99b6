"""The family Gemma 4: the model's modules, its template, its special tokens, its image patches."""

from gemma4_block.engine.gemma4.adapted_modules import ADAPTED_MODULES, find_module
from gemma4_block.engine.gemma4.adapted_parts import changes_vision, find_table, is_per_row
from gemma4_block.engine.gemma4.file_rules import CONFIG_RULES, FILE_RULES
from gemma4_block.engine.gemma4.int8_linear import round_language_model, round_tower
from gemma4_block.engine.gemma4.opening import OpenedGemma4, open_gemma4
from gemma4_block.engine.gemma4.packed_linear import unpack_weights
from gemma4_block.engine.gemma4.shape import shape_of
from gemma4_block.engine.gemma4.supported_config import find_unsupported

__all__ = [
    "ADAPTED_MODULES",
    "CONFIG_RULES",
    "FILE_RULES",
    "OpenedGemma4",
    "changes_vision",
    "find_module",
    "find_table",
    "find_unsupported",
    "is_per_row",
    "open_gemma4",
    "round_language_model",
    "round_tower",
    "shape_of",
    "unpack_weights",
]
