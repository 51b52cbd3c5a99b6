"""The uses of the engine that a self-test compares, each with what is right for it."""

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from gemma4_block.contract import Answer, Choices, Engine, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.errors import PromptError

if TYPE_CHECKING:
    from gemma4_block.engine.loading import PlainModel
    from gemma4_block.engine.local import LocalEngine

FREE: Final = GenerationConfig(max_new_tokens=32)
_QUESTIONS: Final = ("How many shapes are there?", "Describe the picture.", "Read the number.")
COUNT: Final = JsonSchema(
    text=json.dumps(
        {
            "type": "object",
            "properties": {
                "number_of_shapes": {"type": "integer", "minimum": 0, "maximum": 20},
                "colour": {"enum": ["red", "blue", "yellow"]},
            },
            "required": ["number_of_shapes", "colour"],
            "additionalProperties": False,
        }
    )
)
CHOICES: Final = Choices(groups=(("red", "blue", "a circle"), ("yes", "no")), schema=JsonSchema(text="{}"))
# Probabilities are told to so many decimals; kernels of a GPU add in another order.
_DECIMALS: Final = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """Prompts that are asked in one call with some options."""

    name: str
    prompts: tuple[Prompt, ...]
    generation: GenerationConfig


def free_prompts(scenes: int) -> tuple[Prompt, ...]:
    """Return questions about so many drawn scenes, and one without a picture."""
    images = [
        draw_scene(np.random.default_rng(seed), shape_count=1 + seed % 4).image for seed in range(scenes)
    ]
    asked = [Prompt(text=text, images=(image,)) for image in images for text in _QUESTIONS]
    return (*asked, Prompt(text="Hello"))


def bound_uses() -> tuple[Use, ...]:
    """Return the uses that transformers' own `generate` cannot be asked for."""
    images = [draw_scene(np.random.default_rng(seed), shape_count=2).image for seed in range(3)]
    described = tuple(Prompt(text=_QUESTIONS[1], images=(image,)) for image in images)
    counted = tuple(Prompt(text="Count", images=(image,), constraint=COUNT) for image in images)
    chosen = tuple(Prompt(text="Choose", images=(image,), constraint=CHOICES) for image in images)
    thinks = GenerationConfig(max_new_tokens=16, enable_thinking=True, max_thinking_tokens=6)
    return (
        Use(name="answers held to a JSON Schema", prompts=counted, generation=FREE),
        Use(name="choices that are scored", prompts=chosen, generation=GenerationConfig()),
        Use(name="thoughts", prompts=(*described[:1], *chosen[:1]), generation=thinks),
        Use(
            name="tokens drawn by a seed",
            prompts=described,
            generation=GenerationConfig(max_new_tokens=16, do_sample=True, seed=7),
        ),
        Use(
            name="penalised repeats",
            prompts=described,
            generation=GenerationConfig(max_new_tokens=16, repetition_penalty=1.3),
        ),
    )


def ask(engine: Engine, prompts: Sequence[Prompt], generation: GenerationConfig) -> list[str]:
    """Return the answers of one call, each with all that must be equal."""
    return [_write(answer) for answer in engine.answer(prompts, generation)]


def ask_one_by_one(engine: Engine, prompts: Sequence[Prompt], generation: GenerationConfig) -> list[str]:
    """Return the answers of a call for each prompt."""
    return [text for prompt in prompts for text in ask(engine, [prompt], generation)]


def ask_from_threads(engine: Engine, prompts: Sequence[Prompt], generation: GenerationConfig) -> list[str]:
    """Return the answers of a call for each prompt, all of them at the same time."""
    with ThreadPoolExecutor(len(prompts)) as threads:
        found = threads.map(lambda prompt: ask(engine, [prompt], generation), prompts)
        return [text for texts in found for text in texts]


def ask_plainly(plain: "PlainModel", engine: "LocalEngine", prompts: Sequence[Prompt]) -> list[str]:
    """Return what transformers' own `generate` answers to each prompt alone."""
    texts = []
    for prompt in prompts:
        inputs = engine.prepare_inputs(prompt, enable_thinking=False, image_size_wh=None)
        ids = plain.generate(inputs, max_new_tokens=FREE.max_new_tokens)
        texts += [reply.text for reply in engine.read_generated(ids, stop=())]
    return texts


def _write(answer: Answer | PromptError) -> str:
    if isinstance(answer, PromptError):
        return f"failed: {answer}"
    text = f"{answer.thinking} / {answer.text}" if answer.thinking else answer.text
    for group in answer.choice_probabilities or ():
        text += f" {[round(one, _DECIMALS) + 0.0 for one in group]}"
    return text
