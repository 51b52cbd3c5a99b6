"""Compare the estimated memory of an engine with what its process takes, in a fresh process for each.

    python -m tests.benchmarks.footprint

It makes a checkpoint of E2B's width in bfloat16, loads it in both precisions and in 8 bits, and asks it about
images with budgets of 70 and 280; it takes about ten minutes. Memory is what the kernel counts as resident,
above what the imported libraries take. Needs Linux.
"""

import importlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from math import isqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import numpy as np
import torch

from gemma4_block.contract import (
    GenerationConfig,
    ImageSeqLength,
    Prompt,
    Quantization,
    check_image_seq_length,
)
from tests.benchmarks.endless import build_endless
from tests.benchmarks.loading import LIBRARIES
from tests.benchmarks.machine import read_memory

_ROOT = Path(__file__).parents[2]
_NEW_TOKENS = 8
_TEXT_TOKENS = 20
_BUDGETS: tuple[ImageSeqLength, ...] = (70, 280)
_PRECISIONS: tuple[tuple[str, Quantization], ...] = (
    ("bfloat16", "none"),
    ("float32", "none"),
    ("bfloat16", "int8"),
)
_GB = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """What was estimated and what was measured, in bytes, of loading and of answering."""

    loading_estimated: int
    loading_measured: int
    answering_estimated: int
    answering_measured: int

    @property
    def peak_ratio(self) -> float:
        """What was estimated of the peak of both, as a share of what was measured."""
        estimated = max(self.loading_estimated, self.answering_estimated)
        return estimated / max(self.loading_measured, self.answering_measured)

    @property
    def answering_ratio(self) -> float:
        """The same of answering alone."""
        return self.answering_estimated / self.answering_measured


def compare(
    directory: Path, dtype: str, budget: ImageSeqLength, prompts: int, quantization: Quantization = "none"
) -> Comparison:
    """Load and ask a checkpoint in a fresh process, one thread and nothing kept of earlier prompts."""
    command = [sys.executable, "-m", "tests.benchmarks.footprint"]
    command += [str(directory), dtype, str(budget), str(prompts), quantization]
    done = subprocess.run(command, cwd=_ROOT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return Comparison(**json.loads(done.stdout.splitlines()[-1]))


def measure(
    directory: Path, dtype: str, budget: ImageSeqLength, prompts: int, quantization: Quantization
) -> Comparison:
    """Do it in this process, which has loaded nothing before."""
    for library in LIBRARIES:
        importlib.import_module(library)
    from gemma4_block.engine.footprint import Workload, estimate
    from gemma4_block.engine.hardware import inspect_machine
    from gemma4_block.engine.loading import (
        LoadOptions,
        Precision,
        load_checkpoint,
        read_model_files,
    )
    from gemma4_block.engine.local import LocalEngine
    from gemma4_block.settings import Settings

    settings = Settings(vision_cache_bytes=0, prefix_cache_bytes=0, max_batch_size=prompts)
    files = read_model_files(directory)
    assert files.weights is not None
    estimated = estimate(
        files,
        files.weights,
        Precision(dtype=getattr(torch, dtype), quantization=quantization),
        machine=inspect_machine("cpu"),
        workload=Workload(
            prompts=prompts,
            prepared=prompts,
            image_seq_length=budget,
            text_tokens=_TEXT_TOKENS,
            new_tokens=_NEW_TOKENS,
        ),
        settings=settings,
    )
    rng = np.random.default_rng(0)
    # A patch has three channels; both are squares.
    side = int(budget**0.5) * isqrt(files.shape.patch // 3) * isqrt(files.shape.patches_per_token)
    before = read_memory()["VmRSS"]
    _forget_peak()
    options = LoadOptions(device=torch.device("cpu"), dtype=dtype, quantization=quantization)
    engine = LocalEngine(load_checkpoint(directory, options), settings)
    loading = read_memory()["VmHWM"]
    _forget_peak()
    asked = [
        Prompt(
            text="What is it?",
            images=(rng.integers(0, 256, (side, side, 3), np.uint8),),
            image_seq_length=budget,
        )
        for _ in range(prompts)
    ]
    engine.answer(asked, GenerationConfig(max_new_tokens=_NEW_TOKENS))
    answering = read_memory()["VmHWM"]
    engine.close()
    return Comparison(
        loading_estimated=estimated.loading_peak,
        loading_measured=loading - before,
        answering_estimated=estimated.needed,
        answering_measured=answering - before,
    )


def _forget_peak() -> None:
    """Let the kernel count the peak from now on."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def _compare_all() -> None:
    with TemporaryDirectory() as folder:
        directory = build_endless("e2b-width", Path(folder) / "e2b-width", dtype=torch.bfloat16)
        for dtype, quantization in _PRECISIONS:
            for budget in _BUDGETS:
                found = compare(directory, dtype, budget, 1, quantization)
                line = {"dtype": dtype, "quantization": quantization, "budget": budget}
                sizes = {name: round(size / _GB, 3) for name, size in asdict(found).items()}
                print(json.dumps({**line, **sizes, "ratio": found.peak_ratio}), flush=True)  # noqa: T201


if __name__ == "__main__":
    if len(sys.argv) == 1:
        _compare_all()
    else:
        path, precision, length, count, bits = sys.argv[1:]
        compared = measure(
            Path(path),
            precision,
            check_image_seq_length(int(length)),
            int(count),
            cast("Quantization", bits),
        )
        print(json.dumps(asdict(compared)))  # noqa: T201
