"""Time decode steps of a few rows: with the faster products, the usual way, and in 8 bits.

    python -m tests.benchmarks.few_rows --dtype bfloat16

The checkpoint has E2B's widths, 7 text layers and random weights. The engines take turns on one thread. One
line of JSON for the machine, and one for each number of rows: milliseconds a step, medians of five turns.
"""

import argparse
import json
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from gemma4_block.contract import GenerationConfig, LocalModel, Prompt, Quantization
from gemma4_block.engine.gemma4 import unpack_weights
from gemma4_block.engine.gemma4.few_row_linear import FewRowsLinear
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Dtype, Settings
from tests.benchmarks.endless import build_endless
from tests.benchmarks.machine import measure_machine

_TURNS = 5
_TOKENS = 16
_ENGINES: dict[str, Quantization] = {"ours": "none", "plain": "none", "int8": "int8"}
_DTYPES: tuple[Dtype, ...] = ("bfloat16", "float32")


def main() -> None:
    """Build the checkpoint, time the steps, and print a line for each number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16")
    parser.add_argument(
        "--directory", type=Path, help="a checkpoint; without it one is built and removed again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as folder:
        directory = options.directory or build_endless("e2b-width", Path(folder) / "e2b-width", dtype=dtype)
        machine = measure_machine(dtype)
        print(json.dumps({"machine": machine.to_json()}), flush=True)  # noqa: T201 - a command
        engines = {name: _load(directory, options.dtype, precision) for name, precision in _ENGINES.items()}
        _make_plain(engines["plain"].checkpoint.model.module)
        for rows in (1, 2, 4, 8):
            print(json.dumps({"rows": rows, "ms_a_step": _time(engines, rows)}), flush=True)  # noqa: T201


def _load(directory: Path, dtype: Dtype, quantization: Quantization) -> LocalEngine:
    engine = load_local(
        LocalModel(directory=directory, quantization=quantization),
        Settings(device="cpu", dtype=dtype, max_batch_size=8),
    )
    assert isinstance(engine, LocalEngine)
    return engine


def _make_plain(model: nn.Module) -> None:
    unpack_weights(model)
    for module in model.modules():
        if isinstance(module, FewRowsLinear):
            module.__class__ = nn.Linear


def _time(engines: dict[str, LocalEngine], rows: int) -> dict[str, float]:
    prompts = [Prompt(text=f"Question {row}") for row in range(rows)]
    times: dict[str, list[float]] = {name: [] for name in engines}
    for _ in range(_TURNS):
        for name, engine in engines.items():
            _, profile = engine.profile(prompts, GenerationConfig(max_new_tokens=_TOKENS))
            decode = profile.stages["decode"]
            times[name].append(1000 * decode.seconds / decode.passes)
    return {name: round(statistics.median(found), 1) for name, found in times.items()}


if __name__ == "__main__":
    main()
