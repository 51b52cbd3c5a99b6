"""Turn prompts into tensors, in threads of their own, a little ahead of the model."""

from gemma4_block.engine.preprocess.model_inputs import make_model_inputs, pad_texts, read_model_inputs
from gemma4_block.engine.preprocess.prefetcher import Prefetcher
from gemma4_block.engine.preprocess.prepared import FeatureCache, ImageKey, PreparedImage, PreparedPrompt
from gemma4_block.engine.preprocess.preprocessor import Preprocessor

__all__ = [
    "FeatureCache",
    "ImageKey",
    "Prefetcher",
    "PreparedImage",
    "PreparedPrompt",
    "Preprocessor",
    "make_model_inputs",
    "pad_texts",
    "read_model_inputs",
]
