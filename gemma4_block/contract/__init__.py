"""The values that pass between rooms, and what an engine is."""

from gemma4_block.contract.answer import Answer, FinishReason, TokenScore
from gemma4_block.contract.engine import (
    AdaptableEngine,
    Capabilities,
    Engine,
    EngineProvider,
    HeldAdapter,
    KeepAlive,
    LocalModel,
    ModelReference,
    Quantization,
    ServedModel,
)
from gemma4_block.contract.generation import (
    DEFAULT_MAX_NEW_TOKENS,
    REPETITION_PENALTY_RANGE,
    TEMPERATURE_RANGE,
    GenerationConfig,
)
from gemma4_block.contract.prompt import (
    IMAGE_SEQ_LENGTHS,
    Choices,
    Constraint,
    ImageSeqLength,
    JsonSchema,
    Prompt,
    RgbImage,
    check_image_seq_length,
)

__all__ = [
    "DEFAULT_MAX_NEW_TOKENS",
    "IMAGE_SEQ_LENGTHS",
    "REPETITION_PENALTY_RANGE",
    "TEMPERATURE_RANGE",
    "AdaptableEngine",
    "Answer",
    "Capabilities",
    "Choices",
    "Constraint",
    "Engine",
    "EngineProvider",
    "FinishReason",
    "GenerationConfig",
    "HeldAdapter",
    "ImageSeqLength",
    "JsonSchema",
    "KeepAlive",
    "LocalModel",
    "ModelReference",
    "Prompt",
    "Quantization",
    "RgbImage",
    "ServedModel",
    "TokenScore",
    "check_image_seq_length",
]
