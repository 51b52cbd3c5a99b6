"""The family Gemma 4: the model's modules, its template, its special tokens, its image patches."""

from gemma4_block.engine.gemma4.opening import MODEL_TYPES, OpenedGemma4, open_gemma4
from gemma4_block.engine.gemma4.supported_config import find_unsupported

__all__ = ["MODEL_TYPES", "OpenedGemma4", "find_unsupported", "open_gemma4"]
