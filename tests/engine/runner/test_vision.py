"""Every image is seen once, without padding, and what was seen is kept within bounds."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.preprocess.prepared import image_key
from gemma4_block.settings import Settings
from tests.demo_copies import copy_demo
from tests.miniatures import Shape, build_miniature

CPU = LoadOptions(device=torch.device("cpu"))
SHAPES: tuple[Shape, ...] = ("e2b", "26b-a4b", "31b")


def load(directory: Path, **settings: int) -> tuple[Gemma4HF, Callable[[], list[int]]]:
    """Load an engine that tells how many images the tower read at each call."""
    checkpoint = load_checkpoint(directory, CPU)
    reads: list[int] = []

    def count(_: torch.nn.Module, __: object, inputs: dict[str, torch.Tensor], ___: object) -> None:
        reads.append(len(inputs["pixel_values"]))

    checkpoint.model.module.model.vision_tower.register_forward_hook(count, with_kwargs=True)
    return Gemma4HF(checkpoint, settings=Settings(**settings)), lambda: reads  # type: ignore[arg-type]


def ask(engine: Gemma4HF, *prompts: Prompt) -> list[str]:
    """Return the texts of a few tokens each."""
    answers = engine.answer(list(prompts), GenerationConfig(max_new_tokens=6))
    return [answer.text if isinstance(answer, Answer) else str(answer) for answer in answers]


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_are_the_same_with_and_without_what_was_seen(shape: Shape, tmp_path: Path) -> None:
    """The first time, again, and with a cache that keeps nothing."""
    directory = build_miniature(shape, tmp_path / shape)
    images = [draw_scene(np.random.default_rng(seed)).image for seed in range(3)]
    prompts = [
        Prompt(text="Count", images=(images[0],)),
        Prompt(text="Describe it, please.", images=(images[1], images[0])),
        Prompt(text="Count", images=(images[2],), image_seq_length=140),
        Prompt(text="Hello"),
    ]
    engine, reads = load(directory)
    forgetful, forgetful_reads = load(directory, vision_cache_bytes=0, prefix_cache_bytes=0)
    first, again, plain, plain_again = (
        ask(engine, *prompts),
        ask(engine, *prompts),
        *(ask(forgetful, *prompts) for _ in range(2)),
    )

    assert first == again == plain == plain_again
    # The first image is in two prompts, which may begin together or not.
    assert len(reads()) == 3
    assert len(forgetful_reads()) >= 6


@pytest.mark.parametrize("shape", SHAPES)
def test_features_without_padding_are_those_of_the_padded_image(shape: Shape, tmp_path: Path) -> None:
    """What transformers gives for a padded row with its mask."""
    directory = build_miniature(shape, tmp_path / shape)
    model = AutoModelForMultimodalLM.from_pretrained(directory, dtype="float32")
    engine, _ = load(directory)
    image = draw_scene(np.random.default_rng(1)).image
    encoded = AutoProcessor.from_pretrained(directory).image_processor(
        images=[image], max_soft_tokens=280, return_tensors="pt", input_data_format="channels_last"
    )
    assert (encoded["image_position_ids"] == -1).any()
    with torch.inference_mode():
        (expected,) = model.get_image_features(
            pixel_values=encoded["pixel_values"],
            image_position_ids=encoded["image_position_ids"],
            return_dict=True,
        ).pooler_output
    ask(engine, Prompt(text="Hello", images=(image,), image_seq_length=280))
    found = engine.engine._features.find(image_key(image, 280, None, None))

    assert found is not None
    # Measured: below 1e-6; what is unpadded adds up in another order.
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "budget"),
    [
        pytest.param(lambda image: image.copy(), 70, id="the same"),
        pytest.param(lambda image: np.where(image == image[0, 0], 0, image), 70, id="other pixels"),
        pytest.param(lambda image: image.reshape(image.shape[1], image.shape[0], 3), 70, id="other shape"),
        pytest.param(lambda image: image.copy(), 140, id="other budget"),
    ],
)
def test_only_the_same_image_at_the_same_budget_is_taken_for_seen(
    changed: Callable[[RgbImage], RgbImage], budget: ImageSeqLength, tmp_path: Path
) -> None:
    """Pixels, shape and budget make an image."""
    engine, reads = load(copy_demo(tmp_path / "demo"))
    image = np.ascontiguousarray(draw_scene(np.random.default_rng(5)).image[:160, :200])
    other = changed(image).astype(np.uint8)
    ask(engine, Prompt(text="Count", images=(image,), image_seq_length=70))
    ask(engine, Prompt(text="Count", images=(other,), image_seq_length=budget))

    is_same = other.shape == image.shape and bool((other == image).all()) and budget == 70
    assert len(reads()) == (1 if is_same else 2)
