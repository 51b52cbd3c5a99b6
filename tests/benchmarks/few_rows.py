"""Time decode steps of a few rows in float32, with and without the faster product.

    python -m tests.benchmarks.few_rows

The checkpoint has E2B's widths, 7 text layers and random weights. The two engines take turns on one thread.
One line of JSON for each number of rows: milliseconds a step, medians of five turns.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn

from gemma4_block.contract import GenerationConfig, Prompt
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.gemma4.few_row_linear import FewRowsLinear
from tests.benchmarks.endless import build_endless

_TURNS = 5
_TOKENS = 16


def main() -> None:
    """Build the checkpoint, time the steps, and print a line for each number of rows."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        directory = build_endless("e2b-width", Path(folder) / "e2b-width", dtype=torch.float32)
        engines = {name: Gemma4HF.from_pretrained(directory, device="cpu") for name in ("faster", "plain")}
    for module in engines["plain"]._service._passes.model.modules():
        if isinstance(module, FewRowsLinear):
            module.__class__ = nn.Linear
    for rows in (1, 2, 4, 8):
        prompts = [Prompt(text=f"Question {row}") for row in range(rows)]
        times: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(_TURNS):
            for name, engine in engines.items():
                _, profile = engine.profile(prompts, GenerationConfig(max_new_tokens=_TOKENS))
                decode = profile.stages["decode"]
                times[name].append(1000 * decode.seconds / decode.passes)
        medians = {name: round(statistics.median(found)) for name, found in times.items()}
        print(json.dumps({"rows": rows, "ms_a_step": medians}), flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    main()
