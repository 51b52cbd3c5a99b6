"""Load a checkpoint directory: model, processor, adapter, preprocessing; every fault is named."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from gemma4_block.contract import Quantization
from gemma4_block.engine.budgets import TrainedBudgets
from gemma4_block.engine.family import (
    ChatTemplate,
    Detokenizer,
    ImageProcessor,
    LanguageModel,
    SamplingDefaults,
    SpecialTokens,
)
from gemma4_block.engine.gemma4 import FILE_RULES, open_gemma4, round_language_model, round_tower
from gemma4_block.engine.hardware import inspect_machine, read_processor_features, warn_of_spinning
from gemma4_block.engine.loading.adapter import apply_adapter
from gemma4_block.engine.loading.adapter_bank import AdapterBank
from gemma4_block.engine.loading.checked_json import check_present
from gemma4_block.engine.loading.config import (
    dtype_of,
    has_experts,
    load_config,
    read_shape,
    trained_image_seq_lengths,
    weights_directory,
)
from gemma4_block.engine.loading.naming import naming
from gemma4_block.engine.loading.precision import (
    choose_dtype,
    choose_quantization,
    is_8_bit,
    is_slow_in,
    make_4_bit_config,
)
from gemma4_block.engine.loading.processor import load_processor
from gemma4_block.engine.loading.slow_precision import warn_of_slow_4_bits, warn_of_slow_bfloat16
from gemma4_block.engine.loading.weight_counts import count_weights
from gemma4_block.engine.loading.weights import load_weights
from gemma4_block.errors import CheckpointError, ConfigurationError

if TYPE_CHECKING:
    from inference_models.models.common.roboflow.model_packages import InferenceConfig
    from transformers import BitsAndBytesConfig, PreTrainedConfig
    from transformers.tokenization_utils_tokenizers import TokenizersBackend


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadOptions:
    """How to load; a checkpoint loaded twice with equal options is the same model.

    Attributes:
        device: Where the weights go.
        dtype: `auto`, `bfloat16`, `float32` or the torch dtype; see `choose_dtype`.
        quantization: Used where `quantization_config` is None.
        quantization_config: The caller's own bitsandbytes settings; they win.
        trust_remote_code: Run code that the checkpoint brings.
        local_files_only: Never ask a hub.
        is_trained: Whether gradients must pass through the model; its layers stay plain ones then.

    """

    device: torch.device
    dtype: "torch.dtype | str" = "auto"
    quantization: Quantization = "auto"
    quantization_config: "BitsAndBytesConfig | None" = None
    trust_remote_code: bool = False
    local_files_only: bool = True
    is_trained: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Checkpoint:
    """A loaded checkpoint, whatever its family.

    Attributes:
        model: On its device.
        template: Writes prompts.
        image_processor: Cuts images.
        detokenizer: Reads replies.
        tokenizer: Of the text model.
        special_tokens: The ids that steer.
        sampling_defaults: What its generation config says.
        inference_config: The host's preprocessing of a fine-tuned package, or None.
        budgets: Visual token budgets that it was trained for, smallest first.
        context_tokens: Positions that the model knows, for prompt and reply together.
        adapters: Takes adapters that are put beside the model.

    """

    model: LanguageModel
    template: ChatTemplate
    image_processor: ImageProcessor
    detokenizer: Detokenizer
    tokenizer: "TokenizersBackend"
    special_tokens: SpecialTokens
    sampling_defaults: SamplingDefaults
    inference_config: "InferenceConfig | None"
    budgets: TrainedBudgets
    context_tokens: int
    adapters: AdapterBank


def load_checkpoint(directory: Path, options: LoadOptions, *, base: Path | None = None) -> Checkpoint:
    """Load a directory of weights, or an adapter, which is merged into its base where it can be.

    What makes the model slow here is told in the log: threads that are set up badly, once in this process,
    and a precision that the processor is slow in.

    Args:
        directory: Holds config.json and weights, or adapter_config.json.
        options: How to load.
        base: Of the adapter; None means its `base/`.

    Returns:
        The model in evaluation mode, with all that belongs to it.

    Raises:
        CheckpointError: Files are missing, damaged, of another model, or do not fit together.
        ConfigurationError: The precision cannot work on this device or model.
        OutOfMemoryError: The device's memory does not hold the weights.

    """
    warn_of_spinning(options.device)
    weights = weights_directory(directory) if base is None else base
    if not weights.is_dir() and weights != directory:
        raise CheckpointError(
            f"{directory} holds an adapter (adapter_config.json) but no folder base/ with the weights it was "
            "trained on. Put the base checkpoint, or a link to it, there."
        )
    config = load_config(weights, trust_remote_code=options.trust_remote_code)
    check_present(weights, FILE_RULES)
    machine = inspect_machine(str(options.device))
    quantization = _choose_quantization(options, config)
    quantization_config = options.quantization_config
    if quantization == "nf4":
        quantization_config = make_4_bit_config(config, machine)
    is_4_bit = quantization_config is not None and quantization_config.load_in_4bit
    counts = count_weights(weights, read_shape(weights, config))
    float32_bytes = (
        None if counts is None else counts.measure(torch.float32, "nf4" if is_4_bit else quantization)
    )
    dtype = choose_dtype(
        options.dtype, checkpoint=dtype_of(config), machine=machine, float32_bytes=float32_bytes
    )
    # What becomes 8 bits is read from the pages of its file, layer by layer, and is never whole in memory.
    stored = None if counts is None or not is_8_bit(quantization) else counts.stored
    model: nn.Module = load_weights(
        weights,
        config,
        device=options.device,
        dtype=dtype if stored is None else stored,
        quantization_config=quantization_config,
        trust_remote_code=options.trust_remote_code,
        local_files_only=options.local_files_only,
    )
    if is_8_bit(quantization):
        _round_to_8_bits(model, dtype, quantization)
    if options.dtype == "auto" and is_slow_in(dtype, machine):
        warn_of_slow_bfloat16(directory, machine, float32_bytes)
    if is_4_bit and is_slow_in(torch.bfloat16, machine):
        warn_of_slow_4_bits(directory)
    if weights != directory:
        is_quantized = quantization_config is not None or is_8_bit(quantization)
        model = apply_adapter(model, directory, base=weights, is_quantized=is_quantized)
    processor = load_processor(
        weights, trust_remote_code=options.trust_remote_code, local_files_only=options.local_files_only
    )
    opened = open_gemma4(weights, model, processor, is_trained=options.is_trained)
    return Checkpoint(
        model=opened.model,
        template=opened.template,
        image_processor=opened.image_processor,
        detokenizer=opened.detokenizer,
        tokenizer=opened.tokenizer,
        special_tokens=opened.special_tokens,
        sampling_defaults=opened.sampling_defaults,
        inference_config=load_inference_config(directory),
        budgets=TrainedBudgets(str(directory), trained_image_seq_lengths(config)),
        context_tokens=opened.context_tokens,
        adapters=AdapterBank(model, weights),
    )


def _choose_quantization(options: LoadOptions, config: "PreTrainedConfig") -> Quantization:
    """Return any but `auto`; `none` where the caller's own settings win."""
    if options.quantization_config is not None:
        return "none"
    quantization = choose_quantization(
        options.quantization, device=options.device, has_experts=has_experts(config)
    )
    if options.is_trained and is_8_bit(quantization):
        raise ConfigurationError(
            f"quantization {quantization} was asked for a base to train on, and no gradient passes through "
            "whole numbers. Train on quantization none or nf4."
        )
    return quantization


def _round_to_8_bits(model: nn.Module, dtype: torch.dtype, quantization: Quantization) -> None:
    features = read_processor_features() or {}
    round_language_model(model, dtype, features)
    if quantization == "int8_tower":
        round_tower(model, dtype, features)
    # What stays whole may have been read in the precision of the files.
    model.to(dtype)


def load_inference_config(directory: Path) -> "InferenceConfig | None":
    """Return the host's preprocessing of a fine-tuned package.

    Args:
        directory: Of weights or of an adapter.

    Returns:
        What its inference_config.json says; None where there is no such file.

    Raises:
        CheckpointError: The file is damaged.

    """
    path = directory / "inference_config.json"
    if not path.is_file():
        return None
    from inference_models.models.common.roboflow.model_packages import ResizeMode, parse_inference_config

    modes = {
        ResizeMode.STRETCH_TO,
        ResizeMode.LETTERBOX,
        ResizeMode.CENTER_CROP,
        ResizeMode.LETTERBOX_REFLECT_EDGES,
        ResizeMode.FIT_LONGER_EDGE,
    }
    with naming(path):
        config: InferenceConfig = parse_inference_config(config_path=str(path), allowed_resize_modes=modes)
    return config
