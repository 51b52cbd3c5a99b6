"""Measure what each precision costs on this machine's processor: loading, memory, reading and writing.

    python -m tests.benchmarks.precision

The checkpoint has E2B's widths and tower, 7 text layers and random weights. The precisions take turns, each
time in a process of its own and on one thread. One line of JSON for each: medians, and the spread of what was
timed.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import numpy as np
import torch
import transformers.models.gemma4.modeling_gemma4  # noqa: F401 - an import is no part of loading
from rich.console import Console

from gemma4_block.contract import Answer, GenerationConfig, LocalModel, Prompt
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.engine.profiling import Profile, Stage
from gemma4_block.settings import Dtype, Settings
from tests.benchmarks.machine import read_memory
from tests.miniatures import build_miniature

PRECISIONS: dict[str, tuple[Dtype, str]] = {
    "bfloat16": ("bfloat16", "none"),
    "float32": ("float32", "none"),
    "int8": ("bfloat16", "int8"),
    "int8 with the tower": ("bfloat16", "int8_tower"),
    "nf4": ("bfloat16", "nf4"),
    "nf4 beside float32": ("float32", "nf4"),
}
"""`nf4 beside float32`: what stays whole is in float32."""

_STEPS = 8
_LONG_TEXT = "How many shapes are there? " * 40
_GB = 1e9


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What one process measured.

    Attributes:
        load_s: Of a file that the system has in its cache. Weights that stay as they are in the file are read
            where they are first used, so loading them takes no time.
        weights_gb: Parameters and buffers.
        private_gb: What the process takes more than before and the system cannot take back; weights that stay
            as they are in the file are not in it.
        peak_gb: The most that it took more than before, with those parts of the file that it was reading,
            which the system can take back.
        vision_ms: An image of 640x480 pixels through the tower, for 63 tokens.
        prefill_ms: A prompt of text.
        input_tokens: How long it is.
        decode_1_ms: A step of one answer.
        decode_8_ms: A step of eight answers together.

    """

    load_s: float
    weights_gb: float
    private_gb: float
    peak_gb: float
    vision_ms: float
    prefill_ms: float
    input_tokens: int
    decode_1_ms: float
    decode_8_ms: float


def measure(directory: Path, precision: str) -> Measurement:
    """Load a checkpoint and ask it, in this process, which must not have done so before."""
    dtype, quantization = PRECISIONS[precision]
    before = read_memory()
    started = time.perf_counter()
    engine = load_local(
        LocalModel(directory=directory, quantization=quantization),
        Settings(device="cpu", dtype=dtype, max_batch_size=8),
    )
    load_s = time.perf_counter() - started
    after = read_memory()
    assert isinstance(engine, LocalEngine)
    model = engine.checkpoint.model.module
    tensors = [*model.parameters(), *model.buffers()]
    # The first pass reads the file and is not timed.
    _ask(engine, [Prompt(text="Hello")], new_tokens=2)
    image = np.random.default_rng(0).integers(0, 256, (480, 640, 3), dtype=np.uint8)
    seeing, _ = _ask(engine, [Prompt(text="Hello", images=(image,), image_seq_length=70)], new_tokens=1)
    reading, tokens = _ask(engine, [Prompt(text=_LONG_TEXT)], new_tokens=1)
    one, _ = _ask(engine, [Prompt(text="Question 0")], new_tokens=_STEPS + 1)
    eight, _ = _ask(engine, [Prompt(text=f"Question {place}") for place in range(8)], new_tokens=_STEPS + 1)
    engine.close()
    return Measurement(
        load_s=load_s,
        weights_gb=sum(tensor.nbytes for tensor in tensors) / _GB,
        private_gb=(after["RssAnon"] - before["RssAnon"]) / _GB,
        peak_gb=(after["VmHWM"] - before["VmRSS"]) / _GB,
        vision_ms=_milliseconds(seeing, "vision"),
        prefill_ms=_milliseconds(reading, "prefill"),
        input_tokens=tokens,
        decode_1_ms=_milliseconds(one, "decode"),
        decode_8_ms=_milliseconds(eight, "decode"),
    )


def _ask(engine: LocalEngine, prompts: Sequence[Prompt], *, new_tokens: int) -> tuple[Profile, int]:
    """Return where the time went, and the tokens of the first prompt."""
    answers, profile = engine.profile(prompts, GenerationConfig(max_new_tokens=new_tokens))
    found = [answer for answer in answers if isinstance(answer, Answer)]
    assert [answer.output_tokens for answer in found] == [new_tokens] * len(prompts)
    return profile, found[0].input_tokens


def _milliseconds(profile: Profile, stage: Stage) -> float:
    spent = profile.stages[stage]
    return 1e3 * spent.seconds / spent.passes


def _measure_apart(directory: Path, precision: str) -> Measurement:
    """Measure in a new process."""
    command = [sys.executable, "-m", __spec__.name, "--directory", str(directory), "--only", precision]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    printed = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout  # noqa: S603
    return Measurement(**json.loads(printed.splitlines()[-1]))


def _summarize(precision: str, found: Sequence[Measurement]) -> dict[str, object]:
    values = {
        field.name: [getattr(measurement, field.name) for measurement in found]
        for field in fields(Measurement)
    }
    return {
        "precision": precision,
        **{name: round(statistics.median(numbers), 2) for name, numbers in values.items()},
        "spread": {
            name: round(max(numbers) - min(numbers), 2)
            for name, numbers in values.items()
            if name.endswith(("_s", "_ms"))
        },
        "repeats": len(found),
        "threads": 1,
        "torch": torch.__version__,
        "cpu": platform.machine(),
        "features": [
            name
            for name in ("avx2", "avx512_f", "avx512_bf16", "amx_bf16", "bf16")
            if torch.cpu.get_capabilities().get(name)
        ],
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the checkpoint, let the precisions take turns, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--precisions", nargs="+", choices=PRECISIONS, default=list(PRECISIONS))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--directory", type=Path, help="a checkpoint; without it one is built and removed again"
    )
    parser.add_argument("--only", choices=PRECISIONS, help="measure one precision once, in this process")
    options = parser.parse_args(arguments)
    console = Console()

    def say(found: dict[str, object]) -> None:
        console.print(json.dumps(found), soft_wrap=True, highlight=False, markup=False)

    if options.only is not None:
        say(asdict(measure(options.directory, options.only)))
        return
    with tempfile.TemporaryDirectory() as folder:
        directory = options.directory or build_miniature(
            "e2b-width", Path(folder) / "e2b-width", dtype=torch.bfloat16
        )
        found: dict[str, list[Measurement]] = {precision: [] for precision in options.precisions}
        for _ in range(options.repeats):
            for precision, measurements in found.items():
                measurements.append(_measure_apart(directory, precision))
        for precision, measurements in found.items():
            say(_summarize(precision, measurements))


if __name__ == "__main__":
    main()
