"""Score the averaged weights on held-out pictures while training, cheaply.

An answer that is chosen greedily is right to the letter where, given the right answer up to each place, the
likeliest token is the right one at all of them. So one pass says what generating would.
"""

from collections import defaultdict
from collections.abc import Mapping

import numpy as np
import torch

from gemma4_block.demo.training.learning.architecture import IMAGE_SEQ_LENGTHS
from gemma4_block.demo.training.learning.batches import Batch, build_batch
from gemma4_block.demo.training.learning.rows import KINDS
from gemma4_block.demo.training.learning.trainer import Trainer
from gemma4_block.demo.training.learning.truth import IGNORED

# Follows the seed where a training step's number would: none gets as far.
_HELD_OUT_STREAM = 2**31 + 1
_BATCHES = (8, 3, 3)
_ROWS = (16, 9, 5)


@torch.no_grad()
def score(trainer: Trainer) -> Mapping[str, float]:
    """Return the held-out losses of the heads in the tower's stage, later the share of right answers by kind.

    Of detections the digits count apart: `detect` is right where number, classes and order of the boxes are.
    """
    is_tower = trainer.plan.is_tower(trainer.step)
    found: dict[str, list[float]] = defaultdict(list)
    with trainer.averaged():
        for length, batches, rows in zip(IMAGE_SEQ_LENGTHS, _BATCHES, _ROWS, strict=True):
            rng = np.random.default_rng((trainer.plan.seed, _HELD_OUT_STREAM, length))
            for _ in range(batches):
                batch = build_batch(rng, length, rows, 1.0, None if is_tower else trainer.tokenizer)
                if is_tower:
                    for name, loss in trainer.losses(batch).items():
                        found[f"{name}@{length}"].append(float(loss))
                else:
                    _score_answers(trainer, batch, found)
    return {name: float(np.mean(values)) for name, values in sorted(found.items())}


def _score_answers(trainer: Trainer, batch: Batch, found: dict[str, list[float]]) -> None:
    texts = batch.texts
    assert texts is not None
    digits = torch.tensor(trainer.tokenizer.convert_tokens_to_ids(list("0123456789")))
    logits = trainer.predict(batch)
    is_right = torch.ones_like(texts.labels, dtype=torch.bool)
    is_answer = texts.labels != IGNORED
    is_right[is_answer] = logits.argmax(dim=-1) == texts.labels[is_answer]
    is_digit = torch.isin(texts.labels, digits)
    for row, kinds in enumerate(texts.kinds):
        for number, kind in enumerate(kinds, start=1):
            name = f"{KINDS[kind]}@{batch.image_seq_length}"
            own, digit = texts.turns[row] == number, is_digit[row]
            if KINDS[kind] == "detect":
                found[name].append(float(is_right[row, own & ~digit].all()))
                if bool((own & digit).any()):
                    found[f"detect digits@{batch.image_seq_length}"].append(
                        float(is_right[row, own & digit].float().mean())
                    )
            else:
                found[name].append(float(is_right[row, own].all()))
