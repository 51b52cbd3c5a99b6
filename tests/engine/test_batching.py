"""Prompts are padded on the left."""

import torch

from gemma4_block.engine.preprocess.prepared import mark_images, pad_images, pad_texts
from gemma4_block.engine.runner.vision import PreparedImage

CPU = torch.device("cpu")


def test_rows_are_padded_on_the_left_and_masked() -> None:
    """Padding is hidden by the mask; image places are marked."""
    inputs = pad_texts([[10, 11], [10, 11, 12, 13]], pad_token_id=0, device=CPU)

    assert inputs["input_ids"].tolist() == [[0, 0, 10, 11], [10, 11, 12, 13]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert mark_images(inputs["input_ids"], image_token_id=11).tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]


def test_images_are_padded_to_the_longest_with_places_that_count_as_padding() -> None:
    """The tower takes -1 for no patch."""
    images = [
        PreparedImage(
            key=(b"", (), 70, None),
            soft_tokens=1,
            pixel_values=torch.ones(count, 2),
            position_ids=torch.zeros(count, 2, dtype=torch.long),
        )
        for count in (1, 2)
    ]
    inputs = pad_images(images, device=CPU)

    assert inputs["pixel_values"].tolist() == [[[1, 1], [0, 0]], [[1, 1], [1, 1]]]
    assert inputs["image_position_ids"].tolist() == [[[0, 0], [-1, -1]], [[0, 0], [0, 0]]]
    assert pad_images([], device=CPU) == {}
