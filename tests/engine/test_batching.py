"""Prompts are grouped by budget and padded on the left."""

import torch

from gemma4_block.contract import ImageSeqLength
from gemma4_block.engine.batching import PreparedPrompt, group_prompts, pad_batch


def _prepared(index: int, length: int, budget: ImageSeqLength | None = None) -> PreparedPrompt:
    features = {} if budget is None else {"pixel_values": torch.full((1, 2), float(index))}
    return PreparedPrompt(
        index=index,
        input_ids=tuple(range(10, 10 + length)),
        image_tokens=0,
        image_seq_length=budget,
        image_features=features,
    )


def test_a_batch_holds_one_budget_and_neighbours_in_length() -> None:
    """Different budgets pad differently; sorting keeps padding short."""
    prompts = [_prepared(0, 9, 70), _prepared(1, 3, 280), _prepared(2, 5, 70), _prepared(3, 4)]
    groups = [[prompt.index for prompt in group] for group in group_prompts(prompts, max_batch_size=8)]

    assert groups == [[2, 0], [1], [3]]


def test_a_batch_is_no_larger_than_allowed() -> None:
    """GEMMA4_BLOCK_MAX_BATCH_SIZE bounds memory."""
    prompts = [_prepared(index, 5, 70) for index in range(7)]

    assert [len(group) for group in group_prompts(prompts, max_batch_size=3)] == [3, 3, 1]


def test_rows_are_padded_on_the_left_and_masked() -> None:
    """Padding is hidden by the mask; image places are marked."""
    inputs = pad_batch(
        [_prepared(0, 2, 70), _prepared(1, 4, 70)],
        pad_token_id=0,
        image_token_id=11,
        device=torch.device("cpu"),
    )

    assert inputs["input_ids"].tolist() == [[0, 0, 10, 11], [10, 11, 12, 13]]
    assert inputs["attention_mask"].tolist() == [[0, 0, 1, 1], [1, 1, 1, 1]]
    assert inputs["mm_token_type_ids"].tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    assert inputs["pixel_values"].tolist() == [[0.0, 0.0], [1.0, 1.0]]
