"""Time decode steps of a few rows, or single products: with the faster products, the usual way, in 8 bits.

    python -m tests.benchmarks.few_rows --dtype bfloat16
    python -m tests.benchmarks.few_rows --products

The checkpoint has E2B's widths, 7 text layers and random weights. Contestants take turns on one thread. One
line of JSON for the machine, and one for each number of rows: milliseconds a step, medians of five turns; or
milliseconds a product by weights that are larger than the caches, the least of five turns for each copy.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from gemma4_block.contract import GenerationConfig, LocalModel, Prompt, Quantization
from gemma4_block.engine.gemma4 import round_language_model, unpack_weights
from gemma4_block.engine.gemma4.few_row_linear import FewRowsLinear
from gemma4_block.engine.gemma4.packed_linear import pack_weights
from gemma4_block.engine.hardware import choose_least_rows, read_processor_features
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Dtype, Settings
from tests.benchmarks.endless import build_endless
from tests.benchmarks.machine import measure_machine

_TURNS = 5
_TOKENS = 16
_ENGINES: dict[str, Quantization] = {"ours": "none", "plain": "none", "int8": "int8"}
_DTYPES: tuple[Dtype, ...] = ("bfloat16", "float32")
_SHAPES = ((12288, 1536), (1536, 12288), (2048, 1536))
_ROWS = (1, 2, 4, 8, 16, 64, 288)
_BYTES_OF_COPIES = 4e8
_ROUNDED = "model.language_model"


def main() -> None:
    """Build the checkpoint, time the steps, and print a line for each number of rows."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16")
    parser.add_argument(
        "--directory", type=Path, help="a checkpoint; without it one is built and removed again"
    )
    parser.add_argument("--products", action="store_true", help="time products of matrices in bfloat16")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.products:
        print(json.dumps({"machine": measure_machine(torch.bfloat16).to_json()}), flush=True)  # noqa: T201
        for shape in _SHAPES:
            time_products(*shape)
        return
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as folder:
        directory = options.directory or build_endless("e2b-width", Path(folder) / "e2b-width", dtype=dtype)
        machine = measure_machine(dtype)
        print(json.dumps({"machine": machine.to_json()}), flush=True)  # noqa: T201 - a command
        engines = {name: _load(directory, options.dtype, precision) for name, precision in _ENGINES.items()}
        _make_plain(engines["plain"].checkpoint.model.module)
        for rows in (1, 2, 4, 8):
            print(json.dumps({"rows": rows, "ms_a_step": _time(engines, rows)}), flush=True)  # noqa: T201


@torch.inference_mode()
def time_products(outputs: int, inputs: int) -> None:
    """Print a line for each number of rows of the products by weights of one shape."""
    features = read_processor_features() or {}
    copies = max(2, int(_BYTES_OF_COPIES / (2 * outputs * inputs)))
    layers = [nn.Linear(inputs, outputs, bias=False, dtype=torch.bfloat16) for _ in range(copies)]
    packed, rounded = nn.ModuleList(map(_copy, layers)), nn.ModuleDict()
    pack_weights(packed, "all", least_rows=choose_least_rows(features))
    # The names by which layers of the language model are known.
    rounded["model"] = nn.ModuleDict({"language_model": nn.ModuleList(map(_copy, layers))})
    round_language_model(rounded, torch.bfloat16, features)
    contestants = {
        "plain": layers,
        "packed": list(packed),
        "int8": list(rounded.get_submodule(_ROUNDED).children()),
    }
    for count in _ROWS:
        rows = torch.randn(count, inputs).to(torch.bfloat16)
        best = {name: [float("inf")] * copies for name in contestants}
        for _ in range(_TURNS):
            for name, ones in contestants.items():
                best[name] = [
                    min(known, _time_once(partial(one, rows)))
                    for known, one in zip(best[name], ones, strict=True)
                ]
        found = {name: round(1000 * statistics.mean(times), 3) for name, times in best.items()}
        print(json.dumps({"shape": [outputs, inputs], "rows": count, "ms": found}), flush=True)  # noqa: T201


def _copy(layer: nn.Linear) -> nn.Linear:
    copied = nn.Linear(layer.in_features, layer.out_features, bias=False, device="meta")
    copied.weight = nn.Parameter(layer.weight.detach().clone(), requires_grad=False)
    return copied


def _time_once(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


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
