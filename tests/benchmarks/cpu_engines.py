"""W11: ours beside the engines that people run on a processor, OpenVINO GenAI and llama.cpp, by precision.

Each of them is asked about text, about one image at 140 and at 280 tokens, and about eight texts at once.
Ours reads the same questions in every precision that it has on a processor.
"""

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

from gemma4_block.contract import (
    Answer,
    Engine,
    GenerationConfig,
    ImageSeqLength,
    LocalModel,
    Prompt,
    Quantization,
    RgbImage,
)
from gemma4_block.engine.pool import load_local
from gemma4_block.settings import Settings
from tests.benchmarks.child import Child, running_child
from tests.benchmarks.contestants import dtype_name
from tests.benchmarks.floors import Floors
from tests.benchmarks.llama_process import LlamaBuild, LlamaServer, convert, running_llama
from tests.benchmarks.reports import Report, Turns, time_in_turns
from tests.benchmarks.rows import check_counts
from tests.benchmarks.workloads import NEW_TOKENS, QUESTIONS, photo

_OPENVINO_WORKER = Path(__file__).with_name("openvino_contestant.py")
# The names that `optimum-cli export openvino --weight-format` has for them.
OPENVINO_PRECISIONS = ("fp16", "int8", "int4")
LLAMA_PRECISIONS = ("bf16", "q8_0", "q4_0")
_TEXT = (
    "A conveyor belt carries bottles past a camera. Some have no cap, some have a torn label, and a few lie "
    "on their side. Say in order what a worker should do with each of them, and why that is so."
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is asked.

    Attributes:
        name: For the report.
        questions: How many at once.
        budget: Visual token budget; what is asked without an image has the first there is.
        has_image: Whether a picture of 640x480 pixels comes with each.

    """

    name: str
    questions: int = 1
    budget: ImageSeqLength = 140
    has_image: bool = False

    def draw(self, seed: int) -> tuple[list[str], list[RgbImage]]:
        """Return questions and images that were not asked about before."""
        names = range(self.questions * seed, self.questions * (seed + 1))
        if self.has_image:
            return [QUESTIONS[0] for _ in names], [photo(name) for name in names]
        # They begin differently, so that nothing of one helps with another.
        return [f"Case {name}. {_TEXT}" for name in names], []


CASES = (
    Case(name="text"),
    Case(name="eight texts", questions=8),
    Case(name="image at 140", budget=140, has_image=True),
    Case(name="image at 280", budget=280, has_image=True),
)

Ask = Callable[[Sequence[str], Sequence[RgbImage], ImageSeqLength], list[int]]
"""Answers questions, about one image each or none, and returns how many tokens each answer took."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CpuEngines:
    """Which of them to time.

    Attributes:
        openvino_python: Of an environment with `openvino-genai` and `optimum-intel`; None leaves it out.
        llama: Where llama.cpp is; None leaves it out.
        precisions: Of ours, besides the checkpoint's own.
        converted: Folder for the checkpoint in the forms of both, which a later run finds there again.

    """

    openvino_python: Path | None
    llama: LlamaBuild | None
    precisions: Sequence[Quantization]
    converted: Path

    @property
    def has_any(self) -> bool:
        """Whether there is any of them."""
        return self.openvino_python is not None or self.llama is not None


def time_cpu_engines(
    which: CpuEngines,
    floors: Floors,
    directory: Path,
    turns: Turns,
    *,
    threads: int,
    cases: Sequence[Case] = CASES,
) -> Iterator[Report]:
    """W11: all engines take turns, each in a process or an engine of its own that stays loaded.

    Args:
        which: Of the others.
        floors: Of the checkpoint.
        directory: Of the checkpoint.
        turns: How often, of each case.
        threads: Of each engine.
        cases: What to ask.

    Yields:
        A report for each case. `ours` is our engine in the checkpoint's own precision.

    """
    with ExitStack() as stack:
        askers = {name: stack.enter_context(engine) for name, engine in _engines(which, directory, threads)}
        seeds = count()
        for case in cases:
            for name, ask in tuple(askers.items()):
                # Libraries prepare themselves for a shape when they meet it.
                if not answers(name, partial(_play, ask, case.budget, case.draw(next(seeds)))):
                    del askers[name]
            times = time_in_turns(
                {name: partial(_play, ask, case.budget) for name, ask in askers.items()},
                lambda _, case=case: case.draw(next(seeds)),
                turns,
            )
            yield Report(
                row="W11",
                case=case.name,
                budget=case.budget,
                times_s=times,
                goals=[],
                floor_s=_floor_s(floors, case),
            )


def answers(name: str, play: Callable[[], None]) -> bool:
    """Say whether an engine answers at all; one of the others that does not is no reason to time none."""
    try:
        play()
    except Exception as error:
        if name == "ours":
            raise
        print(f"{name} is left out of W11: {error}", file=sys.stderr)  # noqa: T201
        return False
    return True


def _play(ask: Ask, budget: ImageSeqLength, work: tuple[list[str], list[RgbImage]]) -> None:
    check_counts(ask(*work, budget))


def _floor_s(floors: Floors, case: Case) -> float:
    """Return the floor of a case; that of texts is the floor of writing, without reading the questions."""
    texts, images = case.draw(0)
    if images:
        return floors.of_step(list(zip(images, texts, strict=True)), case.budget).total_s
    readings = floors.read([(photo(0), text) for text in texts], case.budget)
    return floors.of_decoding(readings, NEW_TOKENS)


def find_converted(which: CpuEngines, directory: Path) -> Path:
    """Return the folder for what is made of a checkpoint, named after its config; weights follow from it."""
    config = (directory / "config.json").read_bytes()
    return which.converted / hashlib.sha256(config).hexdigest()[:16]


def _engines(
    which: CpuEngines, directory: Path, threads: int
) -> Iterator[tuple[str, AbstractContextManager[Ask]]]:
    converted = find_converted(which, directory)
    yield "ours", _running_ours(directory, "none")
    for precision in which.precisions:
        yield f"ours {precision}", _running_ours(directory, precision)
    if which.openvino_python is not None:
        for precision in OPENVINO_PRECISIONS:
            yield (
                f"OpenVINO {precision}",
                _running_openvino(which.openvino_python, directory, converted, precision, threads),
            )
    if which.llama is not None:
        for precision in LLAMA_PRECISIONS:
            yield (
                f"llama.cpp {precision}",
                _running_llama(which.llama, directory, converted, precision, threads),
            )


@contextmanager
def _running_ours(directory: Path, quantization: Quantization) -> Iterator[Ask]:
    settings = Settings(device="cpu", dtype=dtype_name(directory), max_batch_size=8)
    engine = load_local(LocalModel(directory=directory, quantization=quantization), settings)
    yield partial(ask_ours, engine)
    engine.close()


def ask_ours(
    engine: Engine, texts: Sequence[str], images: Sequence[RgbImage], budget: ImageSeqLength
) -> list[int]:
    """Ask our engine all at once."""
    prompts = [
        Prompt(text=text, images=tuple(images[place : place + 1]), image_seq_length=budget)
        for place, text in enumerate(texts)
    ]
    answers = engine.answer(prompts, GenerationConfig(max_new_tokens=NEW_TOKENS))
    return [answer.output_tokens for answer in answers if isinstance(answer, Answer)]


@contextmanager
def _running_openvino(
    python: Path, directory: Path, converted: Path, precision: str, threads: int
) -> Iterator[Ask]:
    """Export a checkpoint, which takes minutes, and start a process that answers with it."""
    folder = converted / f"openvino-{precision}"
    if not folder.is_dir():
        unfinished = folder.with_suffix(".unfinished")
        command = [python.with_name("optimum-cli"), "export", "openvino", "--model", directory]
        command += ["--task", "image-text-to-text", "--weight-format", precision, unfinished]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        unfinished.rename(folder)
    arguments = (folder, str(threads))
    with running_child(python, _OPENVINO_WORKER, *arguments, threads=threads, variables={}) as child:
        yield partial(_ask_child, child)


def _ask_child(
    child: Child, texts: Sequence[str], images: Sequence[RgbImage], budget: ImageSeqLength
) -> list[int]:
    return child.ask(texts, images, budget=budget, max_new_tokens=NEW_TOKENS)


@contextmanager
def _running_llama(
    build: LlamaBuild, directory: Path, converted: Path, precision: str, threads: int
) -> Iterator[Ask]:
    """Convert a checkpoint, and start a server for each budget."""
    budgets = dict.fromkeys(case.budget for case in CASES)
    folder = converted / "llama"
    folder.mkdir(parents=True, exist_ok=True)
    convert(build, directory, folder, precision)
    with ExitStack() as stack:
        servers: Mapping[ImageSeqLength, LlamaServer] = {
            budget: stack.enter_context(running_llama(build, folder, precision, budget, threads=threads))
            for budget in budgets
        }

        def ask(texts: Sequence[str], images: Sequence[RgbImage], budget: ImageSeqLength) -> list[int]:
            return servers[budget].ask(texts, images, max_new_tokens=NEW_TOKENS)

        yield ask
