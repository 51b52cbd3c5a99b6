"""The truth about soft tokens: what is marked under each patch."""

import numpy as np
import torch

from gemma4_block.demo.training.drawing import Letter, Picture, Thing, Writing
from gemma4_block.demo.training.learning.batches import build_batch
from gemma4_block.demo.training.learning.truth import CHARS, IGNORED, find_truth


def picture_with(
    box: tuple[int, int, int, int], thing: Thing | None, writing: Writing | None = None
) -> Picture:
    """Return a picture of 480 by 240 px in which a thing owns all of its box."""
    owners = np.full((240, 480), -1, dtype=np.int16)
    x1, y1, x2, y2 = box
    owners[y1:y2, x1:x2] = -1 if thing is None else 0
    return Picture(
        image=np.full((240, 480, 3), 250, dtype=np.uint8),
        things=() if thing is None else (thing,),
        owners=owners,
        writing=writing,
    )


def test_patches_under_a_thing_are_marked() -> None:
    """Of 4 by 8 soft tokens of 60 px, four patches each, a square of 90 by 60 px covers six patches."""
    box = (120, 60, 210, 120)
    truth = find_truth(picture_with(box, Thing(kind="square", color="red", box_xyxy_px=box)), 4, 8)
    # Square is the second of the kinds, after the background; red the fifth colour.
    assert truth.kinds.shape == (32, 4)
    assert truth.kinds[10].tolist() == [2, 2, 2, 2]
    assert truth.kinds[11].tolist() == [2, 0, 2, 0]
    assert int((truth.kinds > 0).sum()) == 6
    assert truth.colors[11].tolist() == [4, IGNORED, 4, IGNORED]
    # The middle is at x 165, y 90: the lower right patch of the tenth token.
    assert truth.is_center.nonzero().tolist() == [[10, 3]]
    # y1 250, x1 250, y2 500, x2 440 as hundreds and tens.
    assert truth.box_digits[10, 3].tolist() == [[2, 5], [2, 5], [5, 0], [4, 4]]
    assert torch.equal(truth.thing_orders == 0, truth.kinds > 0)
    assert torch.equal((truth.box_digits != IGNORED).all(-1).all(-1), truth.kinds > 0)
    assert bool((truth.box_digits[truth.kinds > 0] == truth.box_digits[10, 3]).all())


def test_an_everyday_thing_has_no_colour() -> None:
    """A backpack is the sixth kind, after four shapes and the apple."""
    box = (0, 0, 480, 240)
    truth = find_truth(picture_with(box, Thing(kind="backpack", color=None, box_xyxy_px=box)), 2, 4)
    assert truth.kinds.unique().tolist() == [6]
    assert (truth.colors == IGNORED).all()


def test_a_thing_smaller_than_a_patch_is_marked_at_its_middle() -> None:
    """However small, it has a patch."""
    box = (61, 61, 64, 64)
    truth = find_truth(picture_with(box, Thing(kind="circle", color="blue", box_xyxy_px=box)), 4, 8)
    assert truth.kinds.nonzero().tolist() == [[9, 0]]


def test_letters_are_marked_where_they_stand() -> None:
    """The patches whose middles lie in a letter's box, and the one of its own middle."""
    writing = Writing(
        text="B7",
        letters=(
            Letter(char="B", box_xyxy_px=(0, 0, 30, 60)),
            Letter(char="7", box_xyxy_px=(35, 5, 45, 15)),
        ),
    )
    truth = find_truth(picture_with((0, 0, 0, 0), None, writing), 4, 8)
    b, seven = 1 + CHARS.index("B"), 1 + CHARS.index("7")
    assert truth.chars[0].tolist() == [b, seven, b, 0]
    assert int((truth.chars > 0).sum()) == 3
    assert truth.letter_orders[0].tolist() == [0, 1, 0, IGNORED]
    assert int((truth.letter_orders != IGNORED).sum()) == 3


def test_a_batch_joins_the_truths_and_pads_the_patches() -> None:
    """Four patches make a soft token; patches of smaller images are padded with -1."""
    batch = build_batch(np.random.default_rng(0), 70, 4, 1.0)
    assert batch.texts is None
    patches = (batch.image_position_ids[..., 0] >= 0).sum(dim=1)
    assert int(patches.sum()) == 4 * batch.truth.kinds.shape[0]
    assert batch.pixel_values.shape == (4, int(patches.max()), 3 * 16 * 16)
    assert int(patches.max()) <= 4 * 70
    assert 0 <= float(batch.pixel_values.min()) < float(batch.pixel_values.max()) <= 1
    assert torch.equal(batch.image_position_ids[0, :2], torch.tensor([[0, 0], [1, 0]]))


def test_soft_tokens_know_their_own_place() -> None:
    """The middles of two rows and four columns, as shares of the picture, row by row."""
    picture = Picture(
        image=np.zeros((64, 128, 3), np.uint8), things=(), owners=np.full((64, 128), -1, np.int16)
    )
    places = find_truth(picture, 2, 4).places
    assert places.tolist() == [[y, x] for y in (0.25, 0.75) for x in (0.125, 0.375, 0.625, 0.875)]


def test_things_know_how_many_of_their_kind_come_before() -> None:
    """Of four in a row: by kind, by colour and by both; a pictogram has a kind only."""
    boxes = [(120 * place, 60, 120 * place + 60, 120) for place in range(4)]
    looks = [("square", "red"), ("square", "blue"), ("cat", None), ("square", "red")]
    owners = np.full((240, 480), -1, dtype=np.int16)
    for place, (x1, y1, x2, y2) in enumerate(boxes):
        owners[y1:y2, x1:x2] = place
    picture = Picture(
        image=np.zeros((240, 480, 3), np.uint8),
        things=tuple(
            Thing(kind=kind, color=color, box_xyxy_px=box)
            for (kind, color), box in zip(looks, boxes, strict=True)
        ),
        owners=owners,
    )
    ranks = find_truth(picture, 4, 8).ranks
    assert ranks[[8, 10, 12, 14], 0].tolist() == [[0, 0, 0], [1, 0, 0], [0, IGNORED, 0], [2, 1, 1]]
    assert bool((ranks[[9, 11, 13, 15]] == IGNORED).all())
