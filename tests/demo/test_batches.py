"""Training batches: what each token may see, where it stands, and what lies under a soft token."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GemmaTokenizer

import gemma4_block.demo
from gemma4_block.demo.scenes import Digit, Scene, Shape, draw_number
from gemma4_block.demo.training.batches import IGNORED, Batch, build_batch, draw_training_scene

CHECKPOINT_DIRECTORY = Path(gemma4_block.demo.__file__).parent / "checkpoint"
IMAGE_END_ID = 110


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    """Return the tokenizer of the shipped checkpoint."""
    return GemmaTokenizer.from_pretrained(CHECKPOINT_DIRECTORY)


@pytest.fixture(scope="module")
def batch(tokenizer: GemmaTokenizer) -> Batch:
    """Pack the numbers 407 and 8 with the questions about them, without thoughts."""
    scenes = [draw_number(np.random.default_rng(value), value=value) for value in (407, 8)]
    return build_batch(np.random.default_rng(5), scenes, tokenizer)


def question_starts(batch: Batch, row: int) -> list[int]:
    """Return where the questions of a row start, and where the last one ends."""
    assert batch.input_ids is not None
    assert batch.position_ids is not None
    shared = batch.input_ids[row].tolist().index(IMAGE_END_ID) + 1
    length = int((batch.input_ids[row] != 0).sum())
    starts = (batch.position_ids[row, :length] == shared).nonzero()[:, 0].tolist()
    return [*starts, length]


def test_positions_restart_after_the_image(batch: Batch) -> None:
    """Every question stands where it would if it were the only one."""
    assert batch.position_ids is not None
    for row in range(2):
        starts = question_starts(batch, row)
        # Three readings, a description, a stray question and a count.
        assert len(starts) == 7
        for start, end in itertools.pairwise(starts):
            expected = list(range(starts[0], starts[0] + end - start))
            assert batch.position_ids[row, start:end].tolist() == expected


def test_a_question_sees_the_image_and_itself_alone(batch: Batch) -> None:
    """A token sees all before the questions, what its own question says before it, and nothing else."""
    assert batch.mask is not None
    for row in range(2):
        starts = question_starts(batch, row)
        for start, end in itertools.pairwise(starts):
            for place in (start, end - 1):
                seen = batch.mask[row, 0, place].nonzero()[:, 0].tolist()
                assert seen == [*range(starts[0]), *range(start, place + 1)]


def test_padding_is_neither_seen_nor_learnt(batch: Batch) -> None:
    """Places after a row's end have no label, and no token of the row looks at them."""
    assert batch.mask is not None
    assert batch.labels is not None
    ends = [question_starts(batch, row)[-1] for row in range(2)]
    shorter = int(np.argmin(ends))
    end = ends[shorter]
    assert end < batch.labels.shape[1]
    assert (batch.labels[shorter, end:] == IGNORED).all()
    assert not batch.mask[shorter, 0, :end, end:].any()


def test_labels_are_the_answers_one_place_earlier(batch: Batch, tokenizer: GemmaTokenizer) -> None:
    """Only answers are learnt: each place predicts the next token, up to the end of the turn."""
    assert batch.labels is not None
    assert batch.input_ids is not None
    starts = question_starts(batch, 0)
    answers = []
    for start, end in itertools.pairwise(starts):
        learnt = batch.labels[0, start:end]
        places = (learnt != IGNORED).nonzero()[:, 0] + start
        assert torch.equal(batch.labels[0, places], batch.input_ids[0, places + 1])
        answers.append(tokenizer.decode(batch.labels[0, places]))
    assert answers[:4] == ["407<turn|>", "407<turn|>", "407<turn|>", "The number 407.<turn|>"]
    assert answers[5] == "0<turn|>"


def test_a_thinking_row_learns_thoughts_before_answers(tokenizer: GemmaTokenizer) -> None:
    """The system turn asks for thoughts, and the thought channel comes before the answer."""
    scenes = [draw_number(np.random.default_rng(value), value=value) for value in (407, 8)]
    batch = build_batch(np.random.default_rng(4), scenes, tokenizer)
    assert batch.input_ids is not None
    assert batch.labels is not None
    assert tokenizer.decode(batch.input_ids[0]).startswith(
        "<bos><|turn>system\n<|think|>\n<turn|>\n<|turn>user\n<|image>"
    )
    start, end = question_starts(batch, 0)[:2]
    learnt = batch.labels[0, start:end]
    assert tokenizer.decode(learnt[learnt != IGNORED]) == "<|channel>thought\n407<channel|>407<turn|>"


def test_truth_marks_the_tokens_under_a_shape() -> None:
    """A red square of 180 by 120 px covers three by two soft tokens of 60 px; one is its middle."""
    image = np.full((480, 480, 3), 250, dtype=np.uint8)
    scene = Scene(image=image, shapes=(Shape(kind="square", color="red", box_xyxy_px=(120, 60, 300, 180)),))
    truth = build_batch(np.random.default_rng(0), [scene]).truth
    # Eight tokens a row; red square is label 17 of 24, after the background.
    assert truth.kinds.shape == (64,)
    assert {place: int(kind) for place, kind in enumerate(truth.kinds) if kind} == dict.fromkeys(
        (10, 11, 12, 18, 19, 20), 18
    )
    assert truth.is_center.nonzero()[:, 0].tolist() == [19]
    # y1 120, x1 240, y2 380, x2 620 as hundreds and tens.
    assert truth.box_digits[19].tolist() == [[1, 2], [2, 4], [3, 8], [6, 2]]
    assert (truth.box_digits[torch.arange(64) != 19] == IGNORED).all()


def test_truth_marks_digits_after_the_labels() -> None:
    """Kind 25 is the digit 0, so 32 is the digit 7."""
    image = np.full((480, 480, 3), 250, dtype=np.uint8)
    scene = Scene(image=image, digits=(Digit(value=7, box_xyxy_px=(60, 60, 120, 180)),))
    truth = build_batch(np.random.default_rng(0), [scene]).truth
    assert truth.kinds.unique().tolist() == [0, 32]


def test_a_batch_without_a_tokenizer_has_no_text() -> None:
    """The tower learns from pixels and truth alone; patches of smaller images are padded with -1."""
    rng = np.random.default_rng(0)
    batch = build_batch(rng, [draw_training_scene(rng, 1.0) for _ in range(4)])
    assert (batch.input_ids, batch.labels, batch.position_ids, batch.mask) == (None, None, None, None)
    patches = (batch.image_position_ids[..., 0] >= 0).sum(dim=1)
    # Two by two patches of 12 px make a soft token.
    assert int(patches.sum()) == 4 * batch.truth.kinds.shape[0]
    assert batch.pixel_values.shape[1:] == (int(patches.max()), 3 * 12 * 12)


def test_the_easiest_scenes_hold_at_most_one_shape() -> None:
    """Difficulty 0 draws one large shape, none, a crop or a number."""
    rng = np.random.default_rng(0)
    assert max(len(draw_training_scene(rng, 0.0).shapes) for _ in range(60)) == 1
    assert max(len(draw_training_scene(rng, 1.0).shapes) for _ in range(60)) == 5
