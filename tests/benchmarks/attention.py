"""Time attention on one thread or several: as transformers does it, grouped, and divided.

    python -m tests.benchmarks.attention --dtype bfloat16 --threads 1

Shapes are those of E2B: a decode step, the text after an image that was seen, a prompt, and the tower. One
line of JSON for the machine, and one for each shape: milliseconds, medians of turns.
"""

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from gemma4_block.engine.gemma4 import divided_attention, grouped_attention
from gemma4_block.settings import Dtype
from tests.benchmarks.machine import measure_machine

_DTYPES: tuple[Dtype, ...] = ("bfloat16", "float32")
_TURNS = 9
_WAYS: dict[str, Callable[..., Any]] = {
    "transformers": sdpa_attention_forward,
    "grouped": grouped_attention.attend,
    "divided": divided_attention.attend,
}


@dataclass(frozen=True)
class _Shape:
    rows: int
    heads: int
    shared: int
    queries: int
    keys: int
    head_dim: int
    is_masked: bool


_SHAPES = {
    "decode one": _Shape(1, 8, 1, 1, 340, 256, is_masked=False),
    "decode four": _Shape(4, 8, 1, 1, 340, 256, is_masked=True),
    "decode eight": _Shape(8, 8, 1, 1, 340, 256, is_masked=True),
    "5 tokens after an image": _Shape(1, 8, 1, 5, 340, 256, is_masked=True),
    "16 tokens after an image": _Shape(1, 8, 1, 16, 340, 256, is_masked=True),
    "prompt": _Shape(1, 8, 1, 290, 290, 256, is_masked=True),
    "prompt of four images": _Shape(1, 8, 1, 1100, 1100, 256, is_masked=True),
    "tower at 70": _Shape(1, 12, 12, 630, 630, 64, is_masked=False),
    "tower at 280": _Shape(1, 12, 12, 2520, 2520, 64, is_masked=False),
}


def main() -> None:
    """Time every way for every shape."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    dtype = getattr(torch, options.dtype)
    print(json.dumps({"machine": measure_machine(dtype).to_json()}), flush=True)  # noqa: T201 - a command
    for name, shape in _SHAPES.items():
        found = time_ways(shape, dtype)
        print(json.dumps({"shape": name, "ms": found}), flush=True)  # noqa: T201


@torch.inference_mode()
def time_ways(shape: _Shape, dtype: torch.dtype) -> dict[str, float]:
    """Return milliseconds of each way."""
    generator = torch.Generator().manual_seed(0)
    query, key, value = (
        torch.nn.functional.normalize(
            torch.randn(shape.rows, length, count, shape.head_dim, generator=generator), dim=-1
        )
        .mul(shape.head_dim**0.5)
        .to(dtype)
        .transpose(1, 2)
        .contiguous()
        for count, length in (
            (shape.heads, shape.queries),
            (shape.shared, shape.keys),
            (shape.shared, shape.keys),
        )
    )
    mask = None
    if shape.is_masked:
        seen = torch.ones(shape.queries, shape.keys, dtype=torch.bool).tril(shape.keys - shape.queries)
        mask = seen.repeat(shape.rows, 1, 1, 1)
    module = SimpleNamespace(num_key_value_groups=shape.heads // shape.shared, is_causal=False)
    times: dict[str, list[float]] = {name: [] for name in _WAYS}
    for _ in range(_TURNS + 1):
        for name, attend in _WAYS.items():
            started = time.perf_counter()
            attend(module, query, key, value, mask, scaling=1.0)
            times[name].append(1000 * (time.perf_counter() - started))
    return {name: round(statistics.median(found[1:]), 3) for name, found in times.items()}


if __name__ == "__main__":
    main()
