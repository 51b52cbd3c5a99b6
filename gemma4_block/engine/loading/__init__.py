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
from gemma4_block.engine.loading.config import has_experts, load_config, weights_directory
from gemma4_block.engine.loading.forecast import (
    ModelFiles,
    Precision,
    forecast_precision,
    read_model_files,
)
from gemma4_block.engine.loading.new_adapter import NewAdapter
from gemma4_block.engine.loading.plain_model import PlainModel
from gemma4_block.engine.loading.precision import SLOW_BFLOAT16, choose_quantization, is_slow_in
from gemma4_block.engine.loading.slow_precision import warn_of_slow_bfloat16
from gemma4_block.engine.loading.weight_counts import WeightCounts

__all__ = [
    "SLOW_BFLOAT16",
    "Adapter",
    "AdapterBank",
    "AdapterFiles",
    "Checkpoint",
    "LoadOptions",
    "ModelFiles",
    "NewAdapter",
    "PlainModel",
    "Precision",
    "WeightCounts",
    "choose_quantization",
    "forecast_precision",
    "has_experts",
    "is_slow_in",
    "load_checkpoint",
    "load_config",
    "load_inference_config",
    "read_adapter",
    "read_model_files",
    "warn_of_slow_bfloat16",
    "weights_directory",
]
