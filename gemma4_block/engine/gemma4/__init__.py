"""The family Gemma 4: the model's modules, its template, its special tokens, its image patches."""

from gemma4_block.engine.gemma4.opening import MODEL_TYPES, OpenedGemma4, open_gemma4

__all__ = ["MODEL_TYPES", "OpenedGemma4", "open_gemma4"]
