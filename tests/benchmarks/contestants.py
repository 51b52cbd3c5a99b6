"""The engines that are timed, each behind the same three methods."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt, RgbImage
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.profiling import Profile, Stage
from tests.benchmarks.workloads import NEW_TOKENS, Step


class Contestant(Protocol):
    """An engine as the rows see it.

    Attributes:
        has_caches: Whether a question can be answered faster because of an earlier one.

    """

    has_caches: bool = True

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Answer one step, and return how many tokens each answer took. May be called from many threads."""

    def ask_at_once(self, steps: Sequence[Step], budget: ImageSeqLength) -> list[int]:
        """Answer steps that the host runs at the same time, each in a thread of its own."""
        with ThreadPoolExecutor(len(steps)) as threads:
            answered = list(threads.map(lambda step: self.ask(step, budget), steps))
        return [count for counts in answered for count in counts]

    def forget(self) -> None:
        """Drop what was kept of earlier images."""


class Ours(Contestant):
    """`Gemma4HF.answer`, which also says where its time went."""

    def __init__(self, directory: Path) -> None:
        self.engine = Gemma4HF.from_pretrained(directory, device="cpu", dtype=dtype_name(directory))
        self._profiles: list[Profile] = []

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Ask all at once."""
        prompts = [Prompt(text=text, images=(image,), image_seq_length=budget) for image, text in step]
        answers, profile = self.engine.profile(prompts, GenerationConfig(max_new_tokens=max_new_tokens))
        self._profiles.append(profile)
        return [answer.output_tokens for answer in answers if isinstance(answer, Answer)]

    def forget(self) -> None:
        """Empty the caches."""
        self.engine.forget()

    def take_stages(self) -> dict[Stage, float]:
        """Return the seconds of each stage since the last time, of whichever step spent most in it.

        Steps that are asked at once share their work, and each counts it in full.
        """
        profiles, self._profiles = self._profiles, []
        spent = [(stage, time.seconds) for profile in profiles for stage, time in profile.stages.items()]
        return {stage: max(seconds for name, seconds in spent if name == stage) for stage, _ in spent}


class Peer(Contestant):
    """`inference_models`' Gemma4HF, an image at a time behind its own lock."""

    has_caches = False

    def __init__(self, directory: Path) -> None:
        from inference_models.models.gemma4.gemma4_hf import Gemma4HF as PeerGemma4HF

        self._model = PeerGemma4HF.from_pretrained(str(directory), device=torch.device("cpu"))

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Ask one after the other."""
        # Its own option for the budget does nothing.
        self._model._processor.image_processor.max_soft_tokens = budget
        counts = []
        for image, text in step:
            inputs = self._model.pre_process_generation(image, text, input_color_format="rgb")
            counts.append(self._model.generate(inputs, max_new_tokens=max_new_tokens).shape[1])
        return counts


class Plain(Contestant):
    """transformers' `generate` with sdpa, an image at a time behind a lock."""

    has_caches = False

    def __init__(self, directory: Path) -> None:
        self._processor = AutoProcessor.from_pretrained(directory)
        self._model = AutoModelForMultimodalLM.from_pretrained(
            directory, dtype="auto", attn_implementation="sdpa"
        ).eval()
        self._lock = Lock()

    def ask(self, step: Step, budget: ImageSeqLength, max_new_tokens: int = NEW_TOKENS) -> list[int]:
        """Ask one after the other."""
        counts = []
        for image, text in step:
            inputs = process(self._processor, image, text, budget)
            with self._lock, torch.inference_mode():
                ids = self._model.generate(**inputs, max_new_tokens=max_new_tokens, do_sample=False)
            counts.append(ids.shape[1] - inputs["input_ids"].shape[1])
        return counts


def dtype_name(directory: Path) -> str:
    """Return the precision of a checkpoint, which the peers take as it is, and `auto` might not."""
    name: str = json.loads((directory / "config.json").read_text(encoding="utf-8"))["dtype"]
    return name


def process(processor: Any, image: RgbImage, text: str, budget: ImageSeqLength) -> Any:  # noqa: ANN401
    """Return what transformers' own processor makes of a question."""
    content = [{"type": "image", "image": image}, {"type": "text", "text": text}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
        add_generation_prompt=True,
        processor_kwargs={"images_kwargs": {"max_soft_tokens": budget}},
    )


MAKERS: Mapping[str, Callable[[Path], Contestant]] = {"ours": Ours, "peer": Peer, "plain": Plain}
"""The engines that run in this process, by name."""
