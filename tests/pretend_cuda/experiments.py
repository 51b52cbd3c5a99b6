"""What is done with the engine on the pretended GPU: uses, counts, steps, memory."""

import logging
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

import gemma4_block.demo
from gemma4_block.blocks.unchanged_frames import FramePlace, UnchangedFrames
from gemma4_block.contract import Prompt, RgbImage
from gemma4_block.engine.loading import Checkpoint, LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.runner.placed import Bucket, PlacedBatch, read_forms
from gemma4_block.settings import Settings
from tests.engine.rooms import make_passes, prepare
from tests.miniatures import Shape, build_miniature, save_adapter
from tests.pretend_cuda.device import CUDA, TALLY, PretendCuda
from tests.pretend_cuda.four_bits import let_weights_pretend, list_layers
from tests.pretend_cuda.install import REPLAYS
from tests.pretend_cuda.peaks import measure_peaks, measure_peaks_of_experts
from tests.pretend_cuda.report import Counts, FourBits, Guesses, Report, Use
from tests.pretend_cuda.steps import Stepper, count_steps, look, take_places
from tests.pretend_cuda.uses import A_FEW, FRAMES, OF_A_MINIATURE, OF_EXPERTS, OF_THE_DEMO
from tests.pretend_cuda.uses import Use as UseOfAnEngine

DEMO: Final = Path(gemma4_block.demo.__file__).parent / "checkpoint"
_CPU: Final = torch.device("cpu")
# More than a graph may have of the miniature with experts.
_MOST_ROWS: Final = 5
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
    let_weights_pretend()
    with tempfile.TemporaryDirectory() as folder, PretendCuda():
        uses = _compare(DEMO, OF_THE_DEMO, Path(folder), "demo")
        uses |= _compare(DEMO, A_FEW, Path(folder), "demo in 4 bits", "nf4")
        for shape in _SHAPES:
            directory = build_miniature(shape, Path(folder, shape))
            adapter = save_adapter(directory, Path(folder, f"{shape}-adapter"), target_modules=_ADAPTED)
            uses |= _compare(directory, OF_A_MINIATURE, adapter, shape) | _take_places(shape, directory)
        unified = build_miniature("12b", Path(folder, "12b"))
        uses |= _compare(unified, A_FEW, Path(folder), "12b")
        experts = build_miniature("26b-a4b", Path(folder, "26b-a4b"))
        uses |= _compare(experts, OF_EXPERTS, Path(folder), "26b-a4b") | _take_places("26b-a4b", experts)
        four_bits = load(DEMO, CUDA, "nf4")
        counts = dict(_count("demo", load(DEMO, CUDA), FRAMES))
        counts |= dict(_count("26b-a4b", load(experts, CUDA), ()))
        counts |= dict(_count("demo in 4 bits", four_bits, FRAMES))
        steps, operations = _repeat()
        return Report(
            uses=uses,
            counts=counts,
            steps=steps,
            operations=operations,
            looks=_look(),
            guesses=_guess(),
            peaks=measure_peaks(DEMO) | measure_peaks_of_experts(experts),
            four_bits=_describe_4_bits(four_bits),
            warnings=heard.said,
        )


def load(directory: Path, device: torch.device, quantization: str = "none") -> Checkpoint:
    """Load a checkpoint in float32."""
    return load_checkpoint(
        directory,
        LoadOptions(device=device, dtype="float32", quantization=quantization),  # type: ignore[arg-type]
    )


@contextmanager
def open_engine(
    directory: Path, device: torch.device, quantization: str, *, graphs: bool
) -> Iterator[LocalEngine]:
    """Lend an engine that is loaded for this."""
    engine = LocalEngine(load(directory, device, quantization), Settings(cuda_graphs=graphs))
    try:
        yield engine
    finally:
        engine.close()


def _compare(
    directory: Path, uses: dict[str, UseOfAnEngine], adapter: Path, of: str, quantization: str = "none"
) -> dict[str, Use]:
    with open_engine(directory, _CPU, quantization, graphs=True) as engine:
        right = {name: use(engine, adapter) for name, use in uses.items()}
    with open_engine(directory, CUDA, quantization, graphs=False) as engine:
        plain = {name: use(engine, adapter) for name, use in uses.items()}
    with open_engine(directory, CUDA, quantization, graphs=True) as engine:
        found = {}
        for name, use in uses.items():
            REPLAYS.clear()
            graphs = use(engine, adapter)
            found[f"{of}, {name}"] = Use(
                cpu=right[name], graphs=graphs, plain=plain[name], replays=len(REPLAYS)
            )
    return found


def _count(of: str, checkpoint: Checkpoint, images: Sequence[RgbImage]) -> Iterator[tuple[str, Counts]]:
    """Yield what a step takes, of one row, of some in a graph that has room for one more, and of many."""
    prompts = [
        Prompt(text=f"Describe the picture.{' Please.' * place}", images=tuple(images[place % 3 :][:1]))
        for place in range(_MOST_ROWS)
    ]
    for name, graphs in (("plain", False), ("graphs", True)):
        stepper = Stepper(checkpoint, graphs=graphs)
        for rows in (1, 3, _MOST_ROWS):
            yield f"{of}, {name}, rows: {rows}", stepper.count(*prompts[:rows])


def _take_places(of: str, directory: Path) -> dict[str, Use]:
    """Let rows of different lengths take each other's places."""
    prompts = [Prompt(text="Count " * times) for times in (20, 35, 2, 12)]
    cpu = take_places(Stepper(load(directory, _CPU), graphs=False), *prompts)
    checkpoint = load(directory, CUDA)
    plain = take_places(Stepper(checkpoint, graphs=False), *prompts)
    REPLAYS.clear()
    graphs = take_places(Stepper(checkpoint, graphs=True), *prompts)
    return {f"{of}, taken places": Use(cpu=cpu, graphs=graphs, plain=plain, replays=len(REPLAYS))}


def _look() -> list[int]:
    """Look at a picture of a video, at the same with a little noise, and at another."""
    frames, place = UnchangedFrames(), FramePlace(video="a", box_xywh_px=(0, 0, 1, 1))
    noisy = FRAMES[0].copy()
    noisy[::7, ::5] ^= 1
    stepper = Stepper(load(DEMO, CUDA), graphs=True)
    return [
        look(stepper, Prompt(text=text, images=(frames.replace(picture, place, 70, below_percent=3),)))
        for text, picture in (("Describe it", FRAMES[0]), ("Describe it", noisy), ("Describe it", FRAMES[1]))
    ]


def _guess() -> Guesses:
    """Answer the same twice where every token of the second answer could be guessed."""
    prompt = Prompt(text="Describe the picture.", images=(FRAMES[0],))
    cpu, cuda = (Stepper(load(DEMO, device), graphs=True, guessed_tokens=7) for device in (_CPU, CUDA))
    return Guesses(
        cpu=[count_steps(cpu, prompt) for _ in range(2)], cuda=[count_steps(cuda, prompt) for _ in range(2)]
    )


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


def _describe_4_bits(checkpoint: Checkpoint) -> FourBits:
    layers = list_layers(checkpoint.model.module)  # type: ignore[attr-defined]
    return FourBits(
        kinds=sorted({name.rsplit(".", 1)[-1] for name in layers}),
        elsewhere=[name for name in layers if not name.startswith("model.language_model.")],
        weights=sorted({f"{one.weight.device} {one.weight.dtype}" for one in layers.values()}),
        compute_dtypes=sorted({str(one.compute_dtype) for one in layers.values()}),
    )
