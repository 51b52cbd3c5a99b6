"""Images travel without loss, at the size that the tower sees, and each once."""

import asyncio
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.gemma4.image_processing_gemma4 import (
    Gemma4ImageProcessor,
    get_aspect_ratio_preserving_size,
)

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt, RgbImage
from gemma4_block.engine.remote.image_urls import ImageUrls, encode, shrink
from gemma4_block.engine.remote.tower_size import TowerGeometry, find_geometry
from gemma4_block.errors import PromptError
from tests.engine.remote.conftest import Connect
from tests.engine.remote.fake_server import FakeServer, read_image

GOOGLE = TowerGeometry()
sides = st.integers(min_value=1, max_value=4000)
budgets = st.sampled_from(get_args(ImageSeqLength))


def draw(width: int, height: int) -> RgbImage:
    """Return noise, in which every pixel matters."""
    return np.random.default_rng(width * height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@given(sides, sides, budgets)
def test_the_size_is_that_of_the_processor(width: int, height: int, budget: ImageSeqLength) -> None:
    """For every image that it takes."""
    try:
        expected = get_aspect_ratio_preserving_size(height, width, 16, budget * 9, 3)
    except ValueError:
        return

    assert GOOGLE.find_size((width, height), budget) == expected[::-1]


@given(sides, sides, budgets)
def test_what_is_sent_is_never_larger_than_the_image_and_seen_as_it_is(
    width: int, height: int, budget: ImageSeqLength
) -> None:
    """A smaller one is not scaled again by the server."""
    sent = GOOGLE.find_sent_size((width, height), budget)

    assert sent[0] * sent[1] <= width * height
    assert GOOGLE.find_size(sent, budget) == GOOGLE.find_size((width, height), budget)
    assert sent in {(width, height), GOOGLE.find_size((width, height), budget)}


@pytest.mark.parametrize("budget", get_args(ImageSeqLength))
@pytest.mark.parametrize("size_wh", [(1000, 700), (640, 480), (700, 1900), (2000, 90)], ids=str)
def test_the_processor_sees_the_same_pixels_in_what_is_sent(
    size_wh: tuple[int, int], budget: ImageSeqLength
) -> None:
    """To the bit."""
    image = draw(*size_wh)
    sent = np.array(read_image(encode(image, GOOGLE.find_sent_size(size_wh, budget))))
    processor = Gemma4ImageProcessor(max_soft_tokens=budget)

    def see(picture: RgbImage) -> np.ndarray:
        return processor(images=[picture], return_tensors="np", input_data_format="channels_last")[
            "pixel_values"
        ]

    assert np.array_equal(see(image), see(sent))


def test_an_image_that_fits_is_sent_pixel_for_pixel() -> None:
    """In its own colours."""
    image = draw(31, 17)

    assert np.array_equal(np.array(read_image(encode(image, (31, 17)))), image)


def test_views_are_sent_as_they_look() -> None:
    """Crops and mirrored images are not contiguous."""
    view = draw(40, 30)[5:25, ::-1]
    view.flags.writeable = False

    assert np.array_equal(np.array(read_image(encode(view, (40, 20)))), view)
    assert shrink(view, (20, 10)).shape == (10, 20, 3)


def test_identical_images_are_encoded_once() -> None:
    """Also where they are different objects; another size is another image."""
    image = draw(60, 40)

    async def find() -> list[str]:
        urls = ImageUrls()
        asked = [(image, (60, 40)), (image.copy(), (60, 40)), (image, (30, 20)), (draw(40, 60), (40, 60))]
        return await asyncio.gather(*(urls.find(*one) for one in asked))

    same, again, smaller, other = asyncio.run(find())

    assert same is again
    assert len({same, smaller, other}) == 3


def test_images_of_a_prompt_are_sent_in_order_before_the_text(
    server: FakeServer, connect_to: Connect
) -> None:
    """With the budget that was asked for, at the size that it needs."""
    images = (draw(900, 600), draw(30, 20))
    prompt = Prompt(text="a", images=images, image_seq_length=70)
    (answer,) = connect_to(server).answer([prompt], GenerationConfig())
    content = server.streamed[0]["messages"][0]["content"]

    assert [part["type"] for part in content] == ["image_url", "image_url", "text"]
    assert [read_image(part["image_url"]["url"]).size for part in content[:2]] == [(480, 288), (30, 20)]
    assert server.streamed[0]["mm_processor_kwargs"] == {"max_soft_tokens": 70}
    assert isinstance(answer, Answer)
    assert answer.image_tokens == 60 + 60


def test_what_is_no_image_fails_in_its_own_place(server: FakeServer, connect_to: Connect) -> None:
    """As in this process."""
    bad = np.full((4, 4, 3), np.nan, np.float32)
    refused, answer = connect_to(server).answer(
        [Prompt(text="a", images=(bad,)), Prompt(text="b")],  # type: ignore[arg-type]
        GenerationConfig(),
    )

    assert isinstance(refused, PromptError)
    assert isinstance(answer, Answer)


def test_the_embedded_model_has_smaller_patches() -> None:
    """Its geometry comes from its own files."""
    assert (find_geometry("gemma-4-demo").unit_px, find_geometry("my-project/3").unit_px) == (32, 48)
