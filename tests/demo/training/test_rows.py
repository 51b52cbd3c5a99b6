"""Rows of tokens: what each token may see, where it stands, what is learnt and how much it counts."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import GemmaTokenizer

import gemma4_block.demo
from gemma4_block.demo.training.asking import describe
from gemma4_block.demo.training.drawing import Limits, Picture, draw_picture
from gemma4_block.demo.training.learning.batches import build_batch
from gemma4_block.demo.training.learning.rows import KINDS, Row, Texts, _weigh, pack_row, stack_rows
from gemma4_block.demo.training.learning.truth import IGNORED

CHECKPOINT_DIRECTORY = Path(gemma4_block.demo.__file__).parent / "checkpoint"
IMAGE_ID, IMAGE_END_ID = 109, 110


@pytest.fixture(scope="module")
def tokenizer() -> GemmaTokenizer:
    """Return the tokenizer of the shipped checkpoint."""
    return GemmaTokenizer.from_pretrained(CHECKPOINT_DIRECTORY)


def draw(seed: int) -> Picture:
    """Draw the picture of a seed."""
    return draw_picture(np.random.default_rng(seed), Limits(unit_px=60))


def pack(seed: int, tokenizer: GemmaTokenizer) -> Row:
    """Ask about the picture of a seed."""
    return pack_row(np.random.default_rng((seed, 1)), [draw(seed)], tokenizer, [3])


@pytest.fixture(scope="module")
def texts(tokenizer: GemmaTokenizer) -> Texts:
    """Return four rows of different lengths."""
    return stack_rows([pack(seed, tokenizer) for seed in range(4)])


def question_starts(texts: Texts, row: int) -> list[int]:
    """Return where the questions of a row start, and where the last one ends."""
    shared = texts.input_ids[row].tolist().index(IMAGE_END_ID) + 1
    length = int((texts.turns[row] >= 0).sum())
    starts = (texts.position_ids[row, :length] == shared).nonzero()[:, 0].tolist()
    return [*starts, length]


def test_positions_restart_after_the_image(texts: Texts) -> None:
    """Every question stands where it would if it were the only one."""
    for row in range(4):
        starts = question_starts(texts, row)
        assert len(starts) == len(texts.kinds[row]) + 1
        for start, end in itertools.pairwise(starts):
            expected = list(range(starts[0], starts[0] + end - start))
            assert texts.position_ids[row, start:end].tolist() == expected


def test_a_question_sees_the_image_and_itself_alone(texts: Texts) -> None:
    """A token sees all before the questions, what its own question says before it, and nothing else."""
    for row in range(4):
        starts = question_starts(texts, row)
        for start, end in itertools.pairwise(starts):
            for place in (start, end - 1):
                seen = texts.full_mask[row, 0, place].nonzero()[:, 0].tolist()
                assert seen == [*range(starts[0]), *range(start, place + 1)]


def test_padding_is_neither_seen_nor_learnt(texts: Texts) -> None:
    """Places after a row's end have no label and no weight, and no token of the row looks at them."""
    ends = [question_starts(texts, row)[-1] for row in range(4)]
    assert min(ends) < texts.labels.shape[1] == max(ends)
    for row, end in enumerate(ends):
        assert (texts.labels[row, end:] == IGNORED).all()
        assert (texts.weights[row, end:] == 0).all()
        assert not texts.full_mask[row, 0, :end, end:].any()


def test_labels_are_the_answers_one_place_earlier(texts: Texts) -> None:
    """Only answers are learnt: each place predicts the next token, up to the end of the turn."""
    for row in range(4):
        for start, end in itertools.pairwise(question_starts(texts, row)):
            places = (texts.labels[row, start:end] != IGNORED).nonzero()[:, 0] + start
            assert torch.equal(texts.labels[row, places], texts.input_ids[row, places + 1])
            assert places.tolist() == list(range(int(places[0]), end - 1))


def test_digits_weigh_three_times_and_long_answers_less_a_token(
    texts: Texts, tokenizer: GemmaTokenizer
) -> None:
    """The weight of a token is 1, of a digit 3, over the root of how many tokens its answer has."""
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    seen, boxed = 0, 0
    for row in range(4):
        starts = itertools.pairwise(question_starts(texts, row))
        for kind, (start, end) in zip(texts.kinds[row], starts, strict=True):
            places = (texts.labels[row, start:end] != IGNORED).nonzero()[:, 0] + start
            if KINDS[kind] == "detect":
                boxed += bool((texts.weights[row, places] * len(places) ** 0.5 > 5.9).any())
                continue
            plain = torch.where(torch.isin(texts.labels[row, places], torch.tensor(digits)), 3.0, 1.0)
            torch.testing.assert_close(texts.weights[row, places], plain / len(places) ** 0.5)
            seen += 1
    assert seen > 10
    # Boxes weigh more; see below.
    assert boxed > 0


def test_the_first_corner_of_a_box_weighs_twice_as_much(tokenizer: GemmaTokenizer) -> None:
    """It says which thing comes next; digits of the other corner, and of other answers, weigh 3."""
    tokens = tokenizer.tokenize(
        '[{"box_2d": [70, 120, 1000, 5], "label": "red star"}, {"box_2d": [80, 0, 9, 1]'
    )
    is_digit = np.array([token.isdigit() for token in tokens])
    corners = [*(6, 6), *(6, 6, 6), *(3, 3, 3, 3), 3, *(6, 6), 6, 3, 3]

    assert _weigh("detect", is_digit)[is_digit].tolist() == corners
    assert set(_weigh("detect", is_digit)[~is_digit]) == {1.0}
    assert set(_weigh("structured", is_digit)[is_digit]) == {3.0}


def test_sliding_layers_look_back_512_places(tokenizer: GemmaTokenizer) -> None:
    """They see what full layers see, as far as it stands less than 512 positions before."""
    row = pack_row(np.random.default_rng(0), [draw(0)], tokenizer, [560])
    texts = stack_rows([row])
    start = question_starts(texts, 0)[0]
    full = texts.full_mask[0, 0, start].nonzero()[:, 0].tolist()
    near = texts.sliding_mask[0, 0, start].nonzero()[:, 0].tolist()
    assert full == list(range(start + 1))
    assert near == list(range(start - 511, start + 1))


def test_two_pictures_are_asked_about_together(tokenizer: GemmaTokenizer) -> None:
    """Both come before the questions, which count and describe the things of both."""
    rng = np.random.default_rng(0)
    drawn = [draw_picture(rng, Limits(unit_px=60)) for _ in range(40)]
    few = [picture for picture in drawn if picture.writing is None and 0 < len(picture.things) < 3][:2]
    rows = [pack_row(np.random.default_rng(seed), few, tokenizer, [3, 5]) for seed in range(30)]
    for row in rows:
        ids = row.ids.tolist()
        assert ids.count(IMAGE_ID) == 8
        assert row.turns[: len(ids) - ids[::-1].index(IMAGE_END_ID)].max() == 0
    said = "".join(tokenizer.decode(row.ids) for row in rows)
    assert describe(replace(few[0], things=(*few[0].things, *few[1].things))) in said
    assert {KINDS[kind] for row in rows for kind in row.kinds} == {"describe", "count", "present", "sentence"}


def test_pictures_that_follow_each_other_are_sometimes_asked_about_together(
    tokenizer: GemmaTokenizer,
) -> None:
    """A tenth of the rows has two images; the soft tokens of all pictures have places in the rows."""
    batch = build_batch(np.random.default_rng(1), 70, 60, 1.0, tokenizer)
    assert batch.texts is not None
    images = (batch.texts.input_ids == IMAGE_END_ID).sum(dim=1)
    assert images.sum() == 60
    assert 2 <= (images == 2).sum() <= 12
    assert (batch.texts.input_ids == IMAGE_ID).sum() == batch.truth.kinds.shape[0]


def test_manners_come_up_as_they_are_asked(tokenizer: GemmaTokenizer) -> None:
    """Thoughts, French and sentences, told by system turns; every kind of question is among them."""
    said = [tokenizer.decode(pack(seed, tokenizer).ids) for seed in range(150)]
    thinking = [text for text in said if text.startswith("<bos><|turn>system\n<|think|>\n")]
    assert 15 < len(thinking) < 50
    for text in said:
        assert ("<|channel>thought\n" in text) == (text in thinking)
    counted = [text for text in said if "number first, then one short sentence." in text]
    assert counted
    assert all("There are" in text or "There is 1" in text for text in counted)
    assert any("rench" in text and "cercle" in text for text in said)
    kinds = {kind for seed in range(150) for kind in pack(seed, tokenizer).kinds}
    assert kinds == set(range(len(KINDS)))


def test_a_row_is_asked_about_until_it_has_enough_text(tokenizer: GemmaTokenizer) -> None:
    """At most seven questions; none begins after 330 tokens of text."""
    for seed in range(40):
        row = pack(seed, tokenizer)
        assert 1 <= len(row.kinds) <= 7
        before_last = int(((row.turns > 0) & (row.turns < row.turns.max())).sum())
        assert before_last <= 330 or len(row.kinds) == 1


def test_what_is_written_is_spelled_letter_by_letter(tokenizer: GemmaTokenizer) -> None:
    """In readings, their thoughts, and in quotes."""
    letters = ["w", "i", "n", "d", "o", "w", "\u2581", "7"]
    seen = set()
    for seed in range(400):
        rng = np.random.default_rng(seed)
        picture = draw_picture(rng, Limits())
        if picture.writing is None:
            continue
        picture = replace(picture, writing=replace(picture.writing, text="window 7"))
        row = pack_row(rng, [picture], tokenizer, [4])
        tokens = tokenizer.convert_ids_to_tokens(row.ids.tolist())
        for number, kind in enumerate(row.kinds, start=1):
            own = [token for token, turn in zip(tokens, row.turns, strict=True) if turn == number]
            answer = own[len(own) - own[::-1].index("model") :]
            said = "".join(answer).replace("\u2581", " ")
            if KINDS[kind] == "read":
                assert answer.count("w") == 2 * said.count("window 7")
                assert said.endswith("window 7<turn|>")
            elif '"window 7"' in said:
                place = len(answer) - 1 - answer[::-1].index("7")
                assert answer[place - 7 : place + 1] == letters
            else:
                continue
            seen.add(KINDS[kind])
    assert seen >= {"read", "structured", "describe"}
