"""Run a self-test on the embedded demo: exactness first, then speed, then memory."""

import gc
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch

import gemma4_block.demo
from gemma4_block.cli.bench import describe_machine, read_peak_bytes
from gemma4_block.cli.selftest.findings import Check, Findings, Memory, Speed
from gemma4_block.cli.selftest.uses import (
    FREE,
    ask,
    ask_from_threads,
    ask_one_by_one,
    ask_plainly,
    bound_uses,
    free_prompts,
)
from gemma4_block.contract import Prompt, Quantization
from gemma4_block.engine.footprint import forecast
from gemma4_block.engine.hardware import inspect_machine
from gemma4_block.engine.loading import LoadOptions, NewAdapter, PlainModel, load_checkpoint, read_model_files
from gemma4_block.engine.local import LocalEngine
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from gemma4_block.engine.loading import Checkpoint

_DEMO: Final = Path(gemma4_block.demo.__file__).parent / "checkpoint"
_GENERATE: Final = "transformers' generate"
_CPU: Final = torch.device("cpu")

Tell = Callable[[str], None]
"""Says what is done next."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Extent:
    """How much is done.

    Attributes:
        scenes: Pictures that questions are asked about.
        repeats: Of every row of the bench table.

    """

    scenes: int
    repeats: int


QUICK: Final = Extent(scenes=2, repeats=1)
WHOLE: Final = Extent(scenes=8, repeats=5)


def run_selftest(device: torch.device, extent: Extent, tell: Tell) -> Findings:
    """Test all of it.

    Args:
        device: Where the model works.
        extent: How much to do.
        tell: Called before each part.

    Returns:
        What was found.

    """
    started = time.perf_counter()
    settings = Settings(device=str(device))
    checks = list(_check_all(device, extent, settings, tell))
    if device.type == "cuda":
        # Not of the model that the answers were compared with.
        gc.collect()
        torch.cuda.reset_peak_memory_stats(device)
    with _open(device, settings) as engine:
        speeds = tuple(_time_all(engine, extent, tell))
        memory = _compare_memory(device, settings)
    return Findings(
        machine=_describe(device),
        checks=tuple(checks),
        speeds=speeds,
        memory=memory,
        seconds=time.perf_counter() - started,
    )


def _check_all(device: torch.device, extent: Extent, settings: Settings, tell: Tell) -> Iterator[Check]:
    prompts = free_prompts(extent.scenes)
    with _open(device, settings) as engine:
        tell(f"{_GENERATE} answers")
        right = ask_plainly(PlainModel(_DEMO, device), engine, prompts)
        ways: dict[str, Callable[..., list[str]]] = {
            "one prompt after the other": ask_one_by_one,
            "pictures that were seen before": ask_one_by_one,
            "a batch that shrinks": ask,
            "calls of many threads": ask_from_threads,
        }
        for name, way in ways.items():
            tell(name)
            yield _compare(name, _GENERATE, right, way(engine, prompts, FREE))
        yield from _check_bound(engine, tell)
        tell("an adapter beside the base")
        with tempfile.TemporaryDirectory() as folder:
            _write_adapter(Path(folder, "adapter"))
            with engine.adapted(Path(folder, "adapter")) as adapted:
                found = ask_from_threads(adapted, prompts[:2], FREE) + ask(engine, prompts[:2], FREE)
        yield _compare("an adapter that changes nothing", _GENERATE, right[:2] * 2, found)
    if device.type == "cuda":
        tell("without CUDA graphs")
        with _open(device, settings.model_copy(update={"cuda_graphs": False})) as engine:
            yield _compare("without CUDA graphs", _GENERATE, right, ask(engine, prompts, FREE))
        tell("4 bits")
        with _open(device, settings, quantization="nf4") as engine:
            alone = ask_one_by_one(engine, prompts[:2], FREE)
            yield _compare(
                "4 bits, twice the same", "itself", alone, ask_one_by_one(engine, prompts[:2], FREE)
            )


def _check_bound(engine: LocalEngine, tell: Tell) -> Iterator[Check]:
    with _open(_CPU, Settings(device="cpu")) as reference:
        for use in bound_uses():
            tell(use.name)
            right = ask_one_by_one(reference, use.prompts, use.generation)
            yield _compare(use.name, "the CPU, one by one", right, ask(engine, use.prompts, use.generation))


def _time_all(engine: LocalEngine, extent: Extent, tell: Tell) -> Iterator[Speed]:
    prompts = free_prompts(8)
    rows: dict[str, Sequence[Prompt]] = {
        "a text": prompts[-1:],
        "a picture": prompts[1:2],
        "eight pictures": [prompt for prompt in prompts if prompt.text == prompts[1].text],
    }
    for name, asked in rows.items():
        tell(f"timing {name}")
        engine.answer(asked, FREE)
        taken = []
        for _ in range(extent.repeats):
            engine.forget()
            started = time.perf_counter()
            answers, profile = engine.profile(asked, FREE)
            taken.append((time.perf_counter() - started, answers, profile))
        seconds, answers, profile = sorted(taken, key=lambda one: one[0])[(len(taken) - 1) // 2]
        tokens = sum(getattr(answer, "output_tokens", 0) for answer in answers)
        yield Speed(
            name=name,
            answers_per_s=len(asked) / seconds,
            tokens_per_s=tokens / seconds,
            stages={stage: 1000 * spent.seconds for stage, spent in profile.stages.items()},
        )


def _compare_memory(device: torch.device, settings: Settings) -> Memory:
    expected = forecast(
        read_model_files(_DEMO), machine=inspect_machine(str(device)), settings=settings, quantization="none"
    )
    is_gpu = device.type == "cuda"
    return Memory(
        estimated=None if expected.footprint is None else expected.footprint.needed,
        measured=torch.cuda.max_memory_allocated(device) if is_gpu else read_peak_bytes(Path("/")),
    )


def _compare(name: str, against: str, right: Sequence[str], found: Sequence[str]) -> Check:
    pairs = zip(right, found, strict=True)
    different = next(((one, other) for one, other in pairs if one != other), None)
    return Check(name=name, against=against, compared=len(found), different=different)


@contextmanager
def _open(
    device: torch.device, settings: Settings, *, quantization: Quantization = "none"
) -> Iterator[LocalEngine]:
    checkpoint = _load(device, quantization)
    engine = LocalEngine(checkpoint, settings)
    try:
        yield engine
    finally:
        engine.close()


def _load(device: torch.device, quantization: Quantization = "none") -> "Checkpoint":
    # Answers in float32 do not depend on what else is in their batch.
    return load_checkpoint(_DEMO, LoadOptions(device=device, dtype="float32", quantization=quantization))


def _write_adapter(directory: Path) -> None:
    """Write an adapter as it is before its training, with which the model answers as without."""
    adapter = NewAdapter(_load(_CPU).model, rank=4, seed=0)
    adapter.save(directory, base=str(_DEMO))


def _describe(device: torch.device) -> tuple[tuple[str, str], ...]:
    machine = describe_machine()
    versions = machine.pop("versions")
    assert isinstance(versions, dict)
    rows = {"device": str(device), "gpu": str(machine["gpu"] or "none"), "threads": str(machine["threads"])}
    rows["max_batch_size"] = str(machine["max_batch_size"])
    if device.type == "cuda":
        rows["compute capability"] = ".".join(map(str, torch.cuda.get_device_capability(device)))
    rows["CUDA of torch"] = str(torch.version.cuda)
    return (*rows.items(), *((name, str(version)) for name, version in versions.items()))
