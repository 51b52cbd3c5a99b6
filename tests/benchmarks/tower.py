"""Time the vision tower on one thread beside its floor, in blocks and as it was before.

    python -m tests.benchmarks.tower --dtype bfloat16 --budget 280

The checkpoint has E2B's tower and random weights, and each image fills its budget, as a picture of 960x672
pixels does. Contestants take turns in one process. One line of JSON for the machine; one with the seconds of
processor time that an image takes, medians of all turns, and the floor, which is that of the products of
matrices, attention's included; one with those of several crops, one by one and at once, where they are asked
for; and one with the share of each operation, by torch's profiler.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile
from transformers.activations import ACT2FN
from transformers.models.gemma4.modeling_gemma4 import Gemma4RMSNorm, Gemma4VisionEncoderLayer

from gemma4_block.contract import IMAGE_SEQ_LENGTHS
from gemma4_block.engine.family import LanguageModel, Patches
from gemma4_block.engine.gemma4.blocked_tower import BlockedLayer
from gemma4_block.engine.gemma4.frugal_norm import FrugalRMSNorm
from gemma4_block.engine.gemma4.model import Gemma4Model
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.settings import Dtype
from tests.benchmarks.endless import build_endless
from tests.benchmarks.floors import Floors
from tests.benchmarks.machine import measure_machine
from tests.benchmarks.workloads import QUESTIONS, photo

_DTYPES: tuple[Dtype, ...] = ("bfloat16", "float32")
_SIZE_WH = (960, 672)
_LEAST_SHARE = 0.01


def main() -> None:
    """Build the checkpoint, let the contestants take turns, and print what they took."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dtype", choices=_DTYPES, default="bfloat16")
    parser.add_argument("--budget", type=int, choices=IMAGE_SEQ_LENGTHS, default=280)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--crops", type=int, default=1, help="more than one to time them at once")
    parser.add_argument(
        "--directory", type=Path, help="a checkpoint; without it one is built and removed again"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    dtype = getattr(torch, options.dtype)
    with tempfile.TemporaryDirectory() as folder:
        directory = options.directory or build_endless("e2b-width", Path(folder) / "e2b-width", dtype=dtype)
        machine = measure_machine(dtype)
        _print({"machine": machine.to_json()})
        checkpoint = load_checkpoint(directory, LoadOptions(device=torch.device("cpu"), dtype=dtype))
        images = [photo(seed, _SIZE_WH) for seed in range(options.crops)]
        floor = Floors(directory, machine).of_step([(images[0], QUESTIONS[0])], options.budget).vision
        crops = [checkpoint.image_processor.cut(image, options.budget) for image in images]
        _compare(checkpoint.model, crops, floor, options.turns)


def _compare(model: LanguageModel, crops: list[Patches], floor_s: float, turns: int) -> None:
    contestants: dict[str, Callable[[], object]] = {
        "blocks": lambda: _see(model, crops[:1]),
        "before": lambda: _see_as_before(model, crops[:1]),
    }
    found = _take_turns(contestants, turns)
    _print({"patches": len(crops[0].pixel_values), "floor_s": round(floor_s, 3), "s": found})
    if len(crops) > 1:
        together: dict[str, Callable[[], object]] = {
            "one by one": lambda: [_see(model, [crop]) for crop in crops],
            "at once": lambda: _see(model, crops),
        }
        _print({"crops": len(crops), "s": _take_turns(together, turns)})
    _print({"shares": {name: _share(work) for name, work in contestants.items()}})


@torch.inference_mode()
def _see(model: LanguageModel, crops: list[Patches]) -> object:
    pixels, positions = ([getattr(crop, name) for crop in crops] for name in ("pixel_values", "position_ids"))
    return model.encode_images(torch.stack(pixels), torch.stack(positions))


def _see_as_before(model: LanguageModel, crops: list[Patches]) -> object:
    with _whole(_module_of(model)):
        return _see(model, crops)


def _module_of(model: LanguageModel) -> nn.Module:
    assert isinstance(model, Gemma4Model)
    module: nn.Module = model.module
    return module


@contextmanager
def _whole(module: Any) -> Iterator[None]:  # noqa: ANN401 - of transformers
    """Let layers take all patches at once inside, with the parts of transformers."""
    layers = [layer for layer in module.modules() if isinstance(layer, BlockedLayer)]
    norms = [norm for layer in layers for norm in layer.modules() if isinstance(norm, FrugalRMSNorm)]
    activations = [layer.mlp.act_fn for layer in layers]
    plain = [ACT2FN[layer.config.hidden_activation] for layer in layers]
    tower = module.model.vision_tower
    attention = tower.config._attn_implementation
    _turn(layers, Gemma4VisionEncoderLayer, norms, Gemma4RMSNorm, plain)
    tower.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        _turn(layers, BlockedLayer, norms, FrugalRMSNorm, activations)
        tower.set_attn_implementation(attention)


def _turn(
    layers: list[Any], layer_kind: type, norms: list[Any], norm_kind: type, activations: list[nn.Module]
) -> None:
    for layer, activation in zip(layers, activations, strict=True):
        layer.__class__, layer.mlp.act_fn = layer_kind, activation
    for norm in norms:
        norm.__class__ = norm_kind


def _take_turns(contestants: Mapping[str, Callable[[], object]], turns: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for work in contestants.values():
        work()
    for _ in range(turns):
        for name, work in contestants.items():
            started = time.process_time()
            work()
            times[name].append(time.process_time() - started)
    return {name: round(statistics.median(found), 3) for name, found in times.items()}


def _share(work: Callable[[], object]) -> dict[str, float]:
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        work()
    times = {event.key: event.self_cpu_time_total for event in profiled.key_averages()}
    shares = {name: found / sum(times.values()) for name, found in times.items()}
    ordered = sorted(shares.items(), key=lambda item: -item[1])
    return {name: round(share, 3) for name, share in ordered if share > _LEAST_SHARE}


def _print(line: object) -> None:
    print(json.dumps(line), flush=True)  # noqa: T201 - a command


if __name__ == "__main__":
    main()
