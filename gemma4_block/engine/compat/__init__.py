"""The signatures that users of inference_models know, over the local engine."""

from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.compat.package import Gemma4Package

__all__ = ["Gemma4HF", "Gemma4Package"]
