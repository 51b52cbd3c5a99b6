"""From a directory of files to a model in memory: config, precision, weights, adapters."""

from gemma4_block.engine.loading.adapter_bank import AdapterBank
from gemma4_block.engine.loading.adapter_files import AdapterFiles
from gemma4_block.engine.loading.adapter_fit import Adapter, read_adapter
from gemma4_block.engine.loading.checkpoint import (
    Checkpoint,
    LoadOptions,
    load_checkpoint,
    load_inference_config,
)
from gemma4_block.engine.loading.config import load_config, weights_directory
from gemma4_block.engine.loading.forecast import (
    Precision,
    find_weights_gb,
    forecast_precision,
    forecast_variant_precision,
)
from gemma4_block.engine.loading.precision import SLOW_BFLOAT16, choose_quantization, is_slow_in
from gemma4_block.engine.loading.weight_files import measure_float32_bytes

__all__ = [
    "SLOW_BFLOAT16",
    "Adapter",
    "AdapterBank",
    "AdapterFiles",
    "Checkpoint",
    "LoadOptions",
    "Precision",
    "choose_quantization",
    "find_weights_gb",
    "forecast_precision",
    "forecast_variant_precision",
    "is_slow_in",
    "load_checkpoint",
    "load_config",
    "load_inference_config",
    "measure_float32_bytes",
    "read_adapter",
    "weights_directory",
]
