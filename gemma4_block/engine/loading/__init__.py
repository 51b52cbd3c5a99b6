"""From a directory of files to a model in memory: config, precision, weights, adapter."""

from gemma4_block.engine.loading.checkpoint import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.loading.config import load_config, weights_directory
from gemma4_block.engine.loading.forecast import (
    Precision,
    find_weights_gb,
    forecast_precision,
    forecast_variant_precision,
    forecast_weights_bytes,
)
from gemma4_block.engine.loading.new_adapter import NewAdapter
from gemma4_block.engine.loading.precision import SLOW_BFLOAT16, choose_quantization, is_slow_in
from gemma4_block.engine.loading.weight_files import measure_float32_bytes

__all__ = [
    "SLOW_BFLOAT16",
    "Checkpoint",
    "LoadOptions",
    "NewAdapter",
    "Precision",
    "choose_quantization",
    "find_weights_gb",
    "forecast_precision",
    "forecast_variant_precision",
    "forecast_weights_bytes",
    "is_slow_in",
    "load_checkpoint",
    "load_config",
    "measure_float32_bytes",
    "weights_directory",
]
