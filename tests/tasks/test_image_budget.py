"""How closely images are looked at where nobody said."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers.models.gemma4.image_processing_gemma4 import get_aspect_ratio_preserving_size

from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength, RgbImage
from gemma4_block.tasks import fit_image_seq_length

BUDGETS = st.sampled_from(IMAGE_SEQ_LENGTHS)


def picture(width: int, height: int) -> RgbImage:
    """Return a black image, which takes no memory however large it is."""
    return np.broadcast_to(np.zeros(3, np.uint8), (height, width, 3))


@pytest.mark.parametrize(
    ("width", "height", "length"),
    [
        pytest.param(1, 1, 70, id="one pixel"),
        pytest.param(64, 64, 70, id="a small crop"),
        pytest.param(384, 384, 70, id="8 x 8 tokens"),
        pytest.param(385, 384, 140, id="one pixel too wide"),
        pytest.param(384, 385, 140, id="one pixel too high"),
        pytest.param(528, 528, 140, id="11 x 11 tokens"),
        pytest.param(529, 529, 280, id="one more pixel"),
        pytest.param(336, 480, 70, id="70 tokens to the pixel"),
        pytest.param(640, 480, 280, id="VGA"),
        pytest.param(1104, 1104, 560, id="23 x 23 tokens"),
        pytest.param(1105, 1105, 1120, id="beyond 23 x 23 tokens"),
        pytest.param(1920, 1080, 1120, id="full HD"),
        pytest.param(4000, 3000, 1120, id="larger than any budget"),
        pytest.param(3000, 100, 280, id="a strip"),
    ],
)
def test_the_smallest_budget_that_does_not_shrink_the_image_is_taken(
    width: int, height: int, length: ImageSeqLength
) -> None:
    """One soft token is 48 x 48 pixels, and a larger budget than that would only scale the image up."""
    assert fit_image_seq_length(1120, IMAGE_SEQ_LENGTHS, [picture(width, height)]) == length


@pytest.mark.parametrize(
    ("wish", "trained", "length"),
    [
        pytest.param(140, IMAGE_SEQ_LENGTHS, 140, id="the wish is a limit"),
        pytest.param(560, (70, 140), 140, id="trained for less"),
        pytest.param(70, (280, 560), 280, id="trained for more"),
        pytest.param(1120, (70, 560), 560, id="trained for some"),
    ],
)
def test_a_large_image_has_what_the_task_wants(
    wish: ImageSeqLength, trained: tuple[ImageSeqLength, ...], length: ImageSeqLength
) -> None:
    """The largest trained budget that is not above the wish, else the smallest trained one."""
    assert fit_image_seq_length(wish, trained, [picture(4000, 3000)]) == length


def test_a_budget_that_the_checkpoint_was_not_trained_for_is_passed_over() -> None:
    """A crop for which 140 would do has the next larger one."""
    assert fit_image_seq_length(1120, (70, 280, 560), [picture(400, 400)]) == 280


@pytest.mark.parametrize("order", [1, -1])
def test_the_largest_image_of_a_prompt_decides(order: int) -> None:
    """All images of a prompt have one budget, and none of them is shrunk for the others."""
    images = [picture(64, 64), picture(400, 400), picture(64, 48)][::order]
    assert fit_image_seq_length(280, IMAGE_SEQ_LENGTHS, images) == 140


@given(
    wish=BUDGETS,
    trained=st.sets(BUDGETS, min_size=1),
    # Of a strip that becomes less than one token high, the task's own budget is taken.
    height=st.integers(1, 3000),
    aspect=st.floats(1 / 7, 7),
)
def test_the_image_processor_agrees(
    wish: ImageSeqLength, trained: set[ImageSeqLength], height: int, aspect: float
) -> None:
    """Transformers' own arithmetic keeps what we say is kept, and would shrink it at any smaller budget."""
    width = max(1, round(height * aspect))
    chosen = fit_image_seq_length(wish, tuple(sorted(trained)), [picture(width, height)])

    def is_kept(length: int) -> bool:
        size = get_aspect_ratio_preserving_size(height, width, 16, length * 9, 3)
        return size[0] >= height and size[1] >= width

    offered = [length for length in sorted(trained) if length <= wish] or [min(trained)]
    assert chosen in offered
    assert is_kept(chosen) or chosen == offered[-1]
    assert not any(is_kept(length) for length in offered if length < chosen)
