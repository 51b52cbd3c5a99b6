"""The rooms of an engine one by one, for tests that enter at one of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForMultimodalLM

from gemma4_block.contract import GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.byte_cache import ByteCache
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.preprocess import PreparedPrompt, make_model_inputs
from gemma4_block.engine.profiling import StageClock
from gemma4_block.engine.runner import ForwardPasses
from gemma4_block.engine.runner.prefill import Prefilled, Prefiller
from gemma4_block.engine.sampling import Sampler
from gemma4_block.engine.scheduler import Request, Sequence

FRAMES = [draw_scene(np.random.default_rng(seed)).image for seed in range(2)]
# Shorter and longer than the window of the miniatures, and than what is worth a pass of its own.
QUESTIONS = ("Hi", "Count the shapes, please", "Describe the image. " * 9, "Read the number that you see")
NEW_TOKENS = 10


def prepare(engine: LocalEngine, *prompts: Prompt) -> list[PreparedPrompt]:
    """Prepare the prompts of a call, with the pixels of all images."""
    return [
        engine.preprocessor.prepare(place, prompt, enable_thinking=False)
        for place, prompt in enumerate(prompts)
    ]


def make_inputs(checkpoint: Checkpoint, *prepared: PreparedPrompt) -> dict[str, torch.Tensor]:
    """Return what transformers' model takes for prompts."""
    return make_model_inputs(
        prepared,
        pad_token_id=checkpoint.special_tokens.pad_id,
        image_token_id=checkpoint.special_tokens.image_id,
        device=checkpoint.model.device,
    )


def make_passes(checkpoint: Checkpoint) -> ForwardPasses:
    """Return how a model is run over batches."""
    tokens = checkpoint.special_tokens
    return ForwardPasses(
        checkpoint.model, pad_id=tokens.pad_id, image_id=tokens.image_id, adapters=checkpoint.adapters
    )


def make_sequences(checkpoint: Checkpoint, *prepared: PreparedPrompt) -> list[Sequence]:
    """Return a greedy answer to each prompt of a call, of which nothing is generated yet."""
    request, generation = Request(len(prepared)), GenerationConfig()
    return [
        Sequence(
            request,
            prompt,
            generation,
            checkpoint.special_tokens,
            Sampler(generation, checkpoint.sampling_defaults),
        )
        for prompt in prepared
    ]


@torch.inference_mode()
def prefill(checkpoint: Checkpoint, *prepared: PreparedPrompt, prefix_cache_bytes: int = 10**9) -> Prefilled:
    """Read the prompts of a call, by a model that has seen nothing yet."""
    prefiller = Prefiller(
        make_passes(checkpoint),
        features=ByteCache(10**9),
        prefixes=ByteCache(prefix_cache_bytes),
        clock=StageClock(checkpoint.model.device),
    )
    return prefiller.read(make_sequences(checkpoint, *prepared))


def ask_plainly(directory: Path, engine: LocalEngine, prompts: Iterable[Prompt]) -> list[str]:
    """Return what transformers' own `generate` answers to each prompt alone."""
    model = AutoModelForMultimodalLM.from_pretrained(directory, dtype="float32").eval()
    texts = []
    for prompt in prompts:
        (prepared,) = prepare(engine, prompt)
        inputs = make_inputs(engine.checkpoint, prepared)
        with torch.inference_mode():
            ids = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False)
        replies = engine.read_generated(ids[:, len(prepared.input_ids) :], stop=())
        texts += [reply.text for reply in replies]
    return texts
