"""Say in the log that a model is in a precision that this processor is slow in."""

import logging
from pathlib import Path
from typing import Final

from gemma4_block.engine.hardware.machine import Machine
from gemma4_block.engine.loading.precision import SLOW_BFLOAT16

_LOGGER: Final = logging.getLogger(__name__)
_GB: Final = 1e9


def warn_of_slow_bfloat16(directory: Path, machine: Machine, float32_bytes: int | None) -> None:
    """Say in the log that a checkpoint stays in bfloat16 though the processor is slow in it, and why."""
    needed = "an unknown amount" if float32_bytes is None else f"{float32_bytes / _GB:.2f} GB"
    free = "unknown" if machine.free_bytes is None else f"{machine.free_bytes / _GB:.2f} GB"
    _LOGGER.warning(
        "This processor has no bfloat16, and %s stays in it, because float32 takes %s and should leave a "
        "quarter of the free memory (%s): %s. Free memory, choose a smaller variant, or insist with "
        'GEMMA4_BLOCK_DTYPE=float32 (dtype="float32" in Python).',
        directory,
        needed,
        free,
        SLOW_BFLOAT16,
    )


def warn_of_slow_4_bits(directory: Path) -> None:
    """Say in the log that 4 bits cost time on this processor."""
    # Source: measured by tests/benchmarks/precision.py on one thread of an EPYC without AVX-512.
    _LOGGER.warning(
        "%s is in 4 bits, which save memory on this processor and cost time: answers are written 8 times "
        "slower, because bitsandbytes is fast with avx512_bf16 only. Where memory allows, choose "
        "quantization none.",
        directory,
    )
