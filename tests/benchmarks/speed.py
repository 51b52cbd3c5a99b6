"""Time our engine beside its peers on a checkpoint of E2B's width.

    python -m tests.benchmarks.speed --budgets 70 280 --rows W1 W3 W8

The checkpoint has random weights, so answers mean nothing and always take all of their 32 tokens. The engines
take turns in one process, greedy and in bfloat16. `peer` is the Gemma4HF of inference_models, whose image
processor is told the budget by hand, because its own option does nothing; `plain` is transformers' `generate`
with sdpa. One line of JSON for each row; a ratio is the peer's median over ours.
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# Importing inference_models must not look for anything on the net.
os.environ.setdefault("OFFLINE_MODE", "true")

import cv2
import numpy as np
import torch
from rich.console import Console
from transformers import AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt, RgbImage
from gemma4_block.engine.gemma4_hf import Gemma4HF
from tests.miniatures import build_miniature

QUESTIONS = (
    "What is this?",
    "Describe it in detail.",
    "How many people are there?",
    "Is anything wrong here?",
)
_NEW_TOKENS = 32
_SIZES_WH = ((64, 64), (128, 96), (320, 240), (640, 480), (480, 640), (800, 600), (1280, 720), (200, 400))


class Contestant(Protocol):
    """An engine as the rows see it."""

    def ask(self, pairs: Sequence[tuple[RgbImage, str]]) -> list[int]:
        """Answer questions about images in one step, and return how many tokens each answer took."""

    def forget(self) -> None:
        """Drop what was kept of earlier images."""


class Ours:
    """`Gemma4HF.answer`."""

    def __init__(self, directory: Path, budget: ImageSeqLength) -> None:
        self._directory = directory
        self._budget = budget
        self._engine = Gemma4HF.from_pretrained(directory, device="cpu")

    def ask(self, pairs: Sequence[tuple[RgbImage, str]]) -> list[int]:
        """Ask all at once."""
        prompts = [Prompt(text=text, images=(image,), image_seq_length=self._budget) for image, text in pairs]
        answers = self._engine.answer(prompts, GenerationConfig(max_new_tokens=_NEW_TOKENS))
        return [answer.output_tokens for answer in answers if isinstance(answer, Answer)]

    def forget(self) -> None:
        """Empty the cache."""
        self._engine.forget()


class Peer:
    """`inference_models`' Gemma4HF, an image at a time."""

    def __init__(self, directory: Path, budget: ImageSeqLength) -> None:
        from inference_models.models.gemma4.gemma4_hf import Gemma4HF as PeerGemma4HF

        self._model = PeerGemma4HF.from_pretrained(str(directory), device=torch.device("cpu"))
        self._model._processor.image_processor.max_soft_tokens = budget

    def ask(self, pairs: Sequence[tuple[RgbImage, str]]) -> list[int]:
        """Ask one after the other."""
        counts = []
        for image, text in pairs:
            inputs = self._model.pre_process_generation(image, text, input_color_format="rgb")
            counts.append(self._model.generate(inputs, max_new_tokens=_NEW_TOKENS).shape[1])
        return counts

    def forget(self) -> None:
        """Keep nothing anyway."""


class Plain:
    """transformers' `generate`, an image at a time."""

    def __init__(self, directory: Path, budget: ImageSeqLength) -> None:
        self._processor = AutoProcessor.from_pretrained(directory)
        self._model = AutoModelForMultimodalLM.from_pretrained(
            directory, dtype="auto", attn_implementation="sdpa"
        ).eval()
        self._budget = budget

    def ask(self, pairs: Sequence[tuple[RgbImage, str]]) -> list[int]:
        """Ask one after the other."""
        counts = []
        for image, text in pairs:
            content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
            inputs = self._processor.apply_chat_template(
                [{"role": "user", "content": content}],
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
                add_generation_prompt=True,
                processor_kwargs={"images_kwargs": {"max_soft_tokens": self._budget}},
            )
            with torch.inference_mode():
                ids = self._model.generate(**inputs, max_new_tokens=_NEW_TOKENS, do_sample=False)
            counts.append(ids.shape[1] - inputs["input_ids"].shape[1])
        return counts

    def forget(self) -> None:
        """Keep nothing anyway."""


def photo(seed: int, size_wh: tuple[int, int] = (640, 480)) -> RgbImage:
    """Draw noise at several scales: detail everywhere, as in a photo."""
    rng = np.random.default_rng(seed)
    layers = [rng.random((2**power, 2**power, 3)) for power in (2, 4, 6, 8)]
    mixed = np.mean([cv2.resize(layer, size_wh, interpolation=cv2.INTER_CUBIC) for layer in layers], axis=0)
    return (255 * mixed.clip(0, 1)).astype(np.uint8)


def one_question(engine: Contestant, seed: int, _: ImageSeqLength) -> list[int]:
    """W1: one image, one question."""
    engine.forget()
    return engine.ask([(photo(seed), QUESTIONS[0])])


def many_crops(engine: Contestant, seed: int, budget: ImageSeqLength) -> list[int]:
    """W2: eight different crops (four at 280), one question, one step."""
    engine.forget()
    sizes = _SIZES_WH if budget == 70 else _SIZES_WH[2:6]
    return engine.ask([(photo(seed + place, size), QUESTIONS[0]) for place, size in enumerate(sizes)])


def many_questions(engine: Contestant, seed: int, _: ImageSeqLength) -> list[int]:
    """W3: one frame, four questions in four steps of one workflow."""
    engine.forget()
    frame = photo(seed)
    return [count for question in QUESTIONS for count in engine.ask([(frame, question)])]


def asked_again(engine: Contestant, seed: int, _: ImageSeqLength) -> list[int]:
    """W8: another question about a frame that was asked about before; only the second is timed."""
    return engine.ask([(photo(seed), QUESTIONS[1])])


ROWS: Mapping[str, Callable[[Contestant, int, ImageSeqLength], list[int]]] = {
    "W1": one_question,
    "W2": many_crops,
    "W3": many_questions,
    "W8": asked_again,
}


def time_row(
    name: str, engines: Mapping[str, Contestant], budget: ImageSeqLength, repeats: int
) -> dict[str, Any]:
    """Let the engines take turns, and return medians, spreads and the ratio to ours."""
    times: dict[str, list[float]] = {engine: [] for engine in engines}
    for repeat in range(repeats):
        for engine, contestant in engines.items():
            if name == "W8":
                contestant.forget()
                contestant.ask([(photo(repeat), QUESTIONS[0])])
            started = time.perf_counter()
            counts = ROWS[name](contestant, repeat, budget)
            times[engine].append(time.perf_counter() - started)
            assert set(counts) == {_NEW_TOKENS}, f"{engine} answered with {counts} tokens"
    medians = {engine: statistics.median(found) for engine, found in times.items()}
    return {
        "row": name,
        "budget": budget,
        "seconds": {engine: round(median, 3) for engine, median in medians.items()},
        "spread": {engine: round(max(found) - min(found), 3) for engine, found in times.items()},
        "ratio": {
            engine: round(median / medians["ours"], 2)
            for engine, median in medians.items()
            if engine != "ours"
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the checkpoint, time the rows, and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=sorted(ROWS), default=sorted(ROWS))
    parser.add_argument("--budgets", nargs="+", type=int, choices=(70, 280), default=[70, 280])
    parser.add_argument("--engines", nargs="+", choices=("peer", "plain"), default=["peer", "plain"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    console = Console()
    makers: dict[str, type[Ours | Peer | Plain]] = {"ours": Ours, "peer": Peer, "plain": Plain}
    with tempfile.TemporaryDirectory() as folder:
        directory = build_miniature("e2b-width", Path(folder) / "e2b-width", dtype=torch.bfloat16)
        for budget in options.budgets:
            engines = {name: makers[name](directory, budget) for name in ("ours", *options.engines)}
            for name in options.rows:
                found = time_row(name, engines, budget, options.repeats)
                found |= {"threads": options.threads, "torch": torch.__version__, "cpu": platform.machine()}
                console.print(json.dumps(found), soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    main()
