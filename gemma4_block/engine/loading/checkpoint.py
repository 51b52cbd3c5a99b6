"""Load a checkpoint directory: model, processor, adapter, preprocessing; every fault is named."""

from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import ImageSeqLength, Quantization
from gemma4_block.engine.family import (
    ChatTemplate,
    Detokenizer,
    ImageProcessor,
    LanguageModel,
    SamplingDefaults,
    SpecialTokens,
)
from gemma4_block.engine.gemma4 import open_gemma4
from gemma4_block.engine.hardware import Machine, inspect_machine, warn_of_spinning
from gemma4_block.engine.loading.adapter import apply_adapter
from gemma4_block.engine.loading.config import (
    dtype_of,
    load_config,
    trained_image_seq_lengths,
    weights_directory,
)
from gemma4_block.engine.loading.precision import (
    choose_dtype,
    choose_quantization,
    is_slow_in,
    make_4_bit_config,
)
from gemma4_block.engine.loading.slow_precision import warn_of_slow_4_bits, warn_of_slow_bfloat16
from gemma4_block.engine.loading.weight_files import measure_float32_bytes
from gemma4_block.errors import CheckpointError, OutOfMemoryError

if TYPE_CHECKING:
    from inference_models.models.common.roboflow.model_packages import InferenceConfig
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel, ProcessorMixin
    from transformers.tokenization_utils_tokenizers import TokenizersBackend


# transformers sets the default dtype of torch while it builds a model, which is the whole process's, and puts
# back what it found: of two that load at once, the second finds the first's, and leaves it there for good.
# Source: local_torch_dtype in transformers/modeling_utils.py of transformers 5.15.
_ONE_LOADS = Lock()


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

    """

    device: torch.device
    dtype: "torch.dtype | str" = "auto"
    quantization: Quantization = "auto"
    quantization_config: "BitsAndBytesConfig | None" = None
    trust_remote_code: bool = False
    local_files_only: bool = True


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
        image_seq_lengths: Visual token budgets it was trained for, smallest first.
        context_tokens: Positions that the model knows, for prompt and reply together.

    """

    model: LanguageModel
    template: ChatTemplate
    image_processor: ImageProcessor
    detokenizer: Detokenizer
    tokenizer: "TokenizersBackend"
    special_tokens: SpecialTokens
    sampling_defaults: SamplingDefaults
    inference_config: "InferenceConfig | None"
    image_seq_lengths: tuple[ImageSeqLength, ...]
    context_tokens: int


def load_checkpoint(directory: Path, options: LoadOptions) -> Checkpoint:
    """Load a directory of weights, or an adapter beside its `base/`.

    What makes the model slow here is told in the log: threads that are set up badly, once in this process,
    and a precision that the processor is slow in.

    Args:
        directory: Holds config.json and weights, or adapter_config.json and `base/`.
        options: How to load.

    Returns:
        The model in evaluation mode, with all that belongs to it.

    Raises:
        CheckpointError: Files are missing, damaged, of another model, or do not fit together.
        ConfigurationError: The precision cannot work on this device or model.
        OutOfMemoryError: The device's memory does not hold the weights.

    """
    warn_of_spinning(options.device)
    weights = weights_directory(directory)
    if not weights.is_dir() and weights != directory:
        raise CheckpointError(
            f"{directory} holds an adapter (adapter_config.json) but no folder base/ with the weights it was "
            "trained on. Put the base checkpoint, or a link to it, there."
        )
    config = load_config(weights, trust_remote_code=options.trust_remote_code)
    machine = inspect_machine(str(options.device))
    quantization_config = _choose_4_bits(options, config, machine)
    is_4_bit = quantization_config is not None and quantization_config.load_in_4bit
    float32_bytes = measure_float32_bytes(weights, "nf4" if is_4_bit else "none")
    dtype = choose_dtype(
        options.dtype, checkpoint=dtype_of(config), machine=machine, float32_bytes=float32_bytes
    )
    model: nn.Module = _load_weights(weights, options, config, dtype, quantization_config)
    if options.dtype == "auto" and is_slow_in(dtype, machine):
        warn_of_slow_bfloat16(directory, machine, float32_bytes)
    if is_4_bit and is_slow_in(torch.bfloat16, machine):
        warn_of_slow_4_bits(directory)
    if weights != directory:
        model = apply_adapter(model, directory, is_quantized=quantization_config is not None)
    opened = open_gemma4(model, _load_processor(weights, options))
    return Checkpoint(
        model=opened.model,
        template=opened.template,
        image_processor=opened.image_processor,
        detokenizer=opened.detokenizer,
        tokenizer=opened.tokenizer,
        special_tokens=opened.special_tokens,
        sampling_defaults=opened.sampling_defaults,
        inference_config=_load_inference_config(directory),
        image_seq_lengths=trained_image_seq_lengths(config),
        context_tokens=opened.context_tokens,
    )


def _choose_4_bits(
    options: LoadOptions, config: "PreTrainedConfig", machine: Machine
) -> "BitsAndBytesConfig | None":
    if options.quantization_config is not None:
        return options.quantization_config
    quantization = choose_quantization(options.quantization, device=options.device, config=config)
    return make_4_bit_config(config, machine) if quantization == "nf4" else None


def _load_weights(
    directory: Path,
    options: LoadOptions,
    config: "PreTrainedConfig",
    dtype: torch.dtype,
    quantization_config: "BitsAndBytesConfig | None",
) -> "PreTrainedModel":
    if not any(directory.glob("*.safetensors")) and not any(directory.glob("*.bin")):
        raise CheckpointError(
            f"{directory} holds a config.json but no weights (*.safetensors). "
            "Finish the download or the copy."
        )
    try:
        with _ONE_LOADS:
            loaded, report = AutoModelForMultimodalLM.from_pretrained(
                directory,
                config=config,
                dtype=dtype,
                device_map=options.device,
                quantization_config=quantization_config,
                trust_remote_code=options.trust_remote_code,
                local_files_only=options.local_files_only,
                # Flash attention stops at a head size of 256 and the full layers have 512; eager is slow
                # and large.
                attn_implementation="sdpa",
                # The report below names the tensor; transformers would only point at its log.
                ignore_mismatched_sizes=True,
                output_loading_info=True,
            )
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"{options.device} has too little memory for the weights in {directory}. Choose quantization "
            "nf4, a smaller variant, or another device."
        ) from error
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"The weights in {directory} cannot be loaded: {error}. The file may be cut off; fetch it again."
        ) from error
    if report["mismatched_keys"]:
        name, given, expected = min(report["mismatched_keys"])
        raise CheckpointError(
            f"The weights in {directory} are of another model than its config.json: {name!r} is "
            f"{tuple(given)} where {tuple(expected)} is asked for. Put the files of one model together."
        )
    if report["missing_keys"]:
        names = sorted(report["missing_keys"])
        raise CheckpointError(
            f"The weights in {directory} lack {len(names)} tensors that its config.json asks for, first "
            f"{names[0]!r}. They would be random; fetch the files again."
        )
    model: PreTrainedModel = loaded
    _refuse_zeros(directory, model)
    return model


def _refuse_zeros(directory: Path, model: "PreTrainedModel") -> None:
    """Refuse weights that were never filled; the first rows of the matrices tell, and are read fast."""
    matrices = (weight for weight in model.parameters() if weight.ndim == 2 and weight.numel())  # noqa: PLR2004
    if not any(bool(weight[:1].any()) for weight in matrices):
        raise CheckpointError(
            f"The weights in {directory} are zero. The file was made and never filled; fetch it again."
        )


def _load_processor(directory: Path, options: LoadOptions) -> "ProcessorMixin":
    try:
        processor: ProcessorMixin = AutoProcessor.from_pretrained(
            directory, trust_remote_code=options.trust_remote_code, local_files_only=options.local_files_only
        )
        # Without the file transformers makes a tokenizer that knows no words.
        if not (directory / "tokenizer.json").is_file():
            raise FileNotFoundError("tokenizer.json is not there")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{directory} lacks tokenizer or processor files, or they are damaged: {error}. Fetch them again."
        ) from error
    return processor


def _load_inference_config(directory: Path) -> "InferenceConfig | None":
    path = directory / "inference_config.json"
    if not path.is_file():
        return None
    from inference_models.errors import BaseInferenceModelsError
    from inference_models.models.common.roboflow.model_packages import ResizeMode, parse_inference_config

    modes = {
        ResizeMode.STRETCH_TO,
        ResizeMode.LETTERBOX,
        ResizeMode.CENTER_CROP,
        ResizeMode.LETTERBOX_REFLECT_EDGES,
        ResizeMode.FIT_LONGER_EDGE,
    }
    try:
        return parse_inference_config(config_path=str(path), allowed_resize_modes=modes)
    except BaseInferenceModelsError as error:
        raise CheckpointError(f"{path} cannot be used: {error}") from error
