"""Measure how likely the model finds an answer, from the tokens of the prompt and of the answer behind it."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.nn import functional

from gemma4_block.engine.family import LanguageModel
from gemma4_block.engine.preprocess import FeatureCache, PreparedImage, pad_texts


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """An example as tokens.

    Attributes:
        input_ids: Of the prompt, up to where the answer begins; image placeholders included.
        images: Of the prompt.
        answer_ids: What the model is to say, its end of turn included.

    """

    input_ids: tuple[int, ...]
    images: tuple[PreparedImage, ...]
    answer_ids: tuple[int, ...]


def answer_losses(
    model: LanguageModel, rows: Sequence[Row], features: FeatureCache, *, pad_id: int
) -> torch.Tensor:
    """Return how unlikely the model finds each answer: the mean over its tokens of -log p.

    Args:
        model: With the adapter, if there is one.
        rows: At least one.
        features: What the tower, which is not trained, sees in images; new ones are put there.
        pad_id: Fills shorter texts on the left.

    Returns:
        `(B,)` float32, with gradients where they are on.

    """
    # The last token of an answer is only predicted.
    inputs = pad_texts(
        [row.input_ids + row.answer_ids[:-1] for row in rows], pad_token_id=pad_id, device=model.device
    )
    seen = [_see(model, image, features) for row in rows for image in row.images]
    longest = max(len(row.answer_ids) for row in rows)
    logits = model.predict(inputs["input_ids"], inputs["attention_mask"], seen, last=longest)
    losses = []
    for row, predicted in zip(rows, logits, strict=True):
        answer = torch.tensor(row.answer_ids, device=logits.device)
        losses.append(functional.cross_entropy(predicted[-len(answer) :], answer))
    return torch.stack(losses)


@torch.no_grad()
def _see(model: LanguageModel, image: PreparedImage, features: FeatureCache) -> torch.Tensor:
    seen = features.find(image.key) if image.features is None else image.features
    if seen is None:
        assert image.pixel_values is not None
        assert image.position_ids is not None, "an image has pixels or features"
        (encoded,) = model.encode_images(image.pixel_values[None], image.position_ids[None])
        features.keep(image.key, encoded)
        return encoded
    return seen
