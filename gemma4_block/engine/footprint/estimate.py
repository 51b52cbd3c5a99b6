"""Estimate what an engine takes of memory from what its files say, before any weight is read."""

from dataclasses import dataclass
from typing import Final

import torch

from gemma4_block.contract import DEFAULT_MAX_NEW_TOKENS, ImageSeqLength
from gemma4_block.engine.footprint.footprint import Footprint
from gemma4_block.engine.footprint.work import (
    measure_copied_experts,
    measure_image,
    measure_text,
    measure_tower,
)
from gemma4_block.engine.hardware import Machine
from gemma4_block.engine.loading import ModelFiles, Precision, WeightCounts
from gemma4_block.engine.local import BATCHES_AHEAD
from gemma4_block.engine.runner import find_bucket
from gemma4_block.settings import Settings

# Of a question and a system prompt, our choice; most tasks word theirs in fewer.
_TEXT_TOKENS: Final = 256

# What follows is measured by tests/benchmarks/footprint.py with torch 2.15 on an AMD EPYC, see
# docs/measured.md.
# A thread's part of glibc's heap keeps pieces of what was given back, which the next stage cannot use.
_HEAP_FACTOR: Final = 1.7
# Modules that are imported late, a Python tokenizer, torch's pools of threads.
_FRAMEWORK: Final = 27_000_000
# oneDNN's kernels for bfloat16, which it makes for each shape: once, and for each number of prompts.
_KERNELS: Final = 15_000_000
_KERNELS_PER_PROMPT: Final = 5_000_000
# Both in the tokenizers library, with Gemma's 262,144 entries and twice as many merges: 117 MB.
_PER_WORD: Final = 450
# bitsandbytes packs 4-bit layers anew for AVX-512 when they are first used, and keeps both.
_REPACKED: Final = 1.17
# cuBLAS's work space and what the allocator rounds up. Our choice: nothing was measured on a GPU.
_CUDA_FRAMEWORK: Final = 250_000_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What an engine is asked at once.

    Attributes:
        prompts: Each with an image of the same budget.
        prepared: How many images are ready at once, those that are being read included.
        image_seq_length: Of each image.
        text_tokens: Of the text of each prompt.
        new_tokens: Of each answer.

    """

    prompts: int
    prepared: int
    image_seq_length: ImageSeqLength
    text_tokens: int = _TEXT_TOKENS
    new_tokens: int = DEFAULT_MAX_NEW_TOKENS


def plan_workload(settings: Settings, device: torch.device, image_seq_length: ImageSeqLength) -> Workload:
    """Return what memory must hold at once for requests to be answered.

    Args:
        settings: The operator's.
        device: Where the model works. A GPU that runs out is asked for less at a time, so that one prompt
            is enough there; a process that runs out of main memory is killed.
        image_seq_length: Of every image.

    Returns:
        Prompts with a text and an answer of usual length. Longer ones are answered as far as the KV cache
        fits into half of what is free; see the scheduler.

    """
    if device.type == "cuda":
        return Workload(prompts=1, prepared=0, image_seq_length=image_seq_length)
    return Workload(
        prompts=settings.max_batch_size,
        prepared=BATCHES_AHEAD * settings.max_batch_size,
        image_seq_length=image_seq_length,
    )


def estimate(
    files: ModelFiles,
    weights: WeightCounts,
    precision: Precision,
    *,
    machine: Machine,
    workload: Workload,
    settings: Settings,
) -> Footprint:
    """Estimate what an engine takes.

    Args:
        files: What the model's files say.
        weights: How many there are.
        precision: In which it is loaded.
        machine: Where it works.
        workload: What it is asked at once.
        settings: The operator's; they limit what is kept of earlier prompts.

    Returns:
        Each part in bytes.

    """
    shape, size = files.shape, precision.dtype.itemsize
    is_cpu = machine.device.type == "cpu"
    held = weights.measure(precision.dtype, precision.quantization)
    is_mapped = is_cpu and weights.stay_in_files(precision.dtype, precision.quantization)
    # Beside a rounded output layer the table of tokens is read by the row as well.
    unread = weights.by_row + weights.unused + weights.count_doubled(precision.quantization)
    left = unread * size if is_mapped else 0
    if is_cpu and precision.quantization == "nf4" and machine.has_bfloat16:
        held += round(_REPACKED * weights.linear)
    read = workload.image_seq_length + workload.text_tokens
    kv_cache = workload.prompts * shape.count_cached(read + workload.new_tokens) * size
    # A sequence that joins a batch copies the batch's cache.
    copies = kv_cache if workload.prompts > 1 else 0
    if not is_cpu and settings.cuda_graphs:
        # Graphs have places of their own, for sizes that are rounded up.
        bucket = find_bucket(workload.prompts, read + workload.new_tokens)
        copies += bucket.rows * shape.count_cached(bucket.places) * size
    work = measure_tower(shape, workload.image_seq_length, size) + measure_text(
        shape, read, prompts=workload.prompts, itemsize=size
    )
    if not is_cpu:
        work += measure_copied_experts(shape, itemsize=size)
    return Footprint(
        weights=held - left,
        left_in_files=left,
        read_pages=0 if is_mapped or not is_cpu else weights.file_bytes,
        mapped=held - left - _measure_moved(weights, precision, machine) if is_mapped else 0,
        kv_cache=kv_cache + copies,
        work=round(work * _HEAP_FACTOR) if is_cpu else work,
        images=workload.prepared * measure_image(shape, workload.image_seq_length),
        caches=settings.vision_cache_bytes + settings.prefix_cache_bytes,
        framework=_measure_framework(files, precision, machine, workload),
    )


def _measure_moved(weights: WeightCounts, precision: Precision, machine: Machine) -> int:
    """Return the bytes of layers that leave the pages of their files: rounded, or packed when first used."""
    language = weights.linear + weights.table if machine.packing == "all" else 0
    tower = weights.tower if machine.packing != "none" else 0
    rounded = weights.count_packed(precision.quantization) + weights.count_doubled(precision.quantization)
    match precision.quantization:
        case "int8":
            packed = tower
        case "int8_tower":
            packed = 0
        case _:
            packed = language + tower
    if precision.dtype != torch.bfloat16:
        packed = 0
    return rounded * torch.int8.itemsize + packed * precision.dtype.itemsize


def _measure_framework(files: ModelFiles, precision: Precision, machine: Machine, workload: Workload) -> int:
    if machine.device.type != "cpu":
        return _CUDA_FRAMEWORK
    has_kernels = precision.dtype == torch.bfloat16 and machine.has_bfloat16
    kernels = _KERNELS + workload.prompts * _KERNELS_PER_PROMPT if has_kernels else 0
    return _FRAMEWORK + kernels + _PER_WORD * files.shape.vocabulary
