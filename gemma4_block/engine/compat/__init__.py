"""The signatures that users of inference_models know, over the local engine."""

from gemma4_block.engine.compat.arguments import Image, read_image
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF

__all__ = ["Gemma4HF", "Image", "read_image"]
