"""What is done with the engine on the pretended GPU: uses, counts, steps, memory."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

import gemma4_block.demo
from gemma4_block.contract import GenerationConfig, Prompt
from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.runner.placed import Bucket, PlacedBatch, read_forms
from gemma4_block.settings import Settings
from tests.engine.rooms import make_passes, prepare
from tests.miniatures import Shape, build_miniature, save_adapter
from tests.pretend_cuda.device import CUDA, TALLY, PretendCuda
from tests.pretend_cuda.install import REPLAYS
from tests.pretend_cuda.peaks import measure_peaks
from tests.pretend_cuda.report import Counts, Report, Use
from tests.pretend_cuda.uses import FRAMES, OF_A_MINIATURE, OF_THE_DEMO, ask
from tests.pretend_cuda.uses import Use as UseOfAnEngine

DEMO: Final = Path(gemma4_block.demo.__file__).parent / "checkpoint"
_CPU: Final = torch.device("cpu")
_SHAPES: Final[tuple[Shape, ...]] = ("e2b", "31b")
_ADAPTED: Final = r".*language_model.*\.(q_proj|up_proj)"


class _Heard(logging.Handler):
    """Keeps what was logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.said.append(record.getMessage())


def run_all() -> Report:
    """Do all of it."""
    heard = _Heard()
    logging.getLogger("gemma4_block").addHandler(heard)
    with tempfile.TemporaryDirectory() as folder, PretendCuda():
        uses = _compare(DEMO, OF_THE_DEMO, Path(folder), "demo")
        for shape in _SHAPES:
            directory = build_miniature(shape, Path(folder, shape))
            adapter = save_adapter(directory, Path(folder, f"{shape}-adapter"), target_modules=_ADAPTED)
            uses |= _compare(directory, OF_A_MINIATURE, adapter, shape)
        counts = dict(_count())
        steps, operations = _repeat()
        return Report(
            uses=uses,
            counts=counts,
            steps=steps,
            operations=operations,
            peaks=measure_peaks(DEMO),
            four_bits=_try_4_bits(),
            warnings=heard.said,
        )


def load(directory: Path, device: torch.device, quantization: str = "none") -> Checkpoint:
    """Load a checkpoint in float32."""
    return load_checkpoint(
        directory,
        LoadOptions(device=device, dtype="float32", quantization=quantization),  # type: ignore[arg-type]
    )


@contextmanager
def open_engine(directory: Path, device: torch.device, *, graphs: bool) -> Iterator[LocalEngine]:
    """Lend an engine that is loaded for this."""
    engine = LocalEngine(load(directory, device), Settings(cuda_graphs=graphs))
    try:
        yield engine
    finally:
        engine.close()


def _compare(directory: Path, uses: dict[str, UseOfAnEngine], adapter: Path, of: str) -> dict[str, Use]:
    with open_engine(directory, _CPU, graphs=True) as engine:
        right = {name: use(engine, adapter) for name, use in uses.items()}
    with open_engine(directory, CUDA, graphs=False) as engine:
        plain = {name: use(engine, adapter) for name, use in uses.items()}
    with open_engine(directory, CUDA, graphs=True) as engine:
        found = {}
        for name, use in uses.items():
            REPLAYS.clear()
            graphs = use(engine, adapter)
            found[f"{of}, {name}"] = Use(
                cpu=right[name], graphs=graphs, plain=plain[name], replays=len(REPLAYS)
            )
    return found


def _count() -> Iterator[tuple[str, Counts]]:
    """Yield what a token takes, by the difference between a longer answer and a shorter one."""
    prompts = [Prompt(text="Describe the picture.", images=(frame,)) for frame in FRAMES]
    for name, graphs in (("plain", False), ("graphs", True)):
        with open_engine(DEMO, CUDA, graphs=graphs) as engine:
            for rows in (1, 3):
                # The graph is captured by then.
                ask(engine, prompts[:rows], max_new_tokens=8)
                short, long = (_tally(engine, prompts[:rows], tokens) for tokens in (4, 8))
                yield (
                    f"{name}, rows: {rows}",
                    Counts(**{key: (long[key] - short[key]) / 4 for key in short}),
                )


def _tally(engine: LocalEngine, prompts: Sequence[Prompt], tokens: int) -> dict[str, float]:
    engine.forget()
    TALLY.clear()
    ask(engine, prompts, max_new_tokens=tokens)
    return {
        "kernels": TALLY.kernels.total(),
        "launches": TALLY.launches,
        "waits": TALLY.waits.total(),
        "copies": TALLY.copies.total(),
    }


def _repeat() -> tuple[int, int]:
    """Return how many different steps there are among 100 of one batch, and the operations of each."""
    checkpoint = load(DEMO, CUDA)
    engine = LocalEngine(checkpoint, Settings())
    prepared = prepare(engine, Prompt(text="Count the shapes"), Prompt(text="Hello, please count all"))
    with torch.no_grad():
        texts = [one.input_ids for one in prepared]
        batch, _, _ = make_passes(checkpoint).prefill(texts, [], prefix_lengths=[0, 0])
        forms, bucket = read_forms(batch.cache), Bucket(rows=2, places=512)
        storages = [
            (torch.zeros(size, device=CUDA), torch.zeros(size, device=CUDA))
            for size in (form.count_values(bucket) for form in forms)
        ]
        placed = PlacedBatch(bucket, forms, storages)
        placed.load(batch)
        found = []
        for _ in range(100):
            with TALLY.recorded() as operations:
                masks = placed.find_masks()
                model = checkpoint.model
                logits = model.read_tokens(placed.ids, masks, placed.positions, placed.cache, last=1)
                placed.ids.copy_(logits[:, -1].argmax(dim=-1, keepdim=True))
                placed.advance()
            found.append(tuple(operations))
    engine.close()
    return len(set(found)), len(found[0])


def _try_4_bits() -> str:
    """Return what the demo says in 4 bits, or what stands in the way."""
    try:
        engine = LocalEngine(load(DEMO, CUDA, "nf4"), Settings())
    except Exception as error:  # noqa: BLE001 - bitsandbytes fails in its own ways without a GPU
        return f"not loaded: {type(error).__name__}: {error}"
    try:
        answers = engine.answer([Prompt(text="Hello")], GenerationConfig(max_new_tokens=4))
        return f"answered: {answers[0]}"
    except Exception as error:  # noqa: BLE001 - as above
        return f"not run: {type(error).__name__}: {error}"
    finally:
        engine.close()
