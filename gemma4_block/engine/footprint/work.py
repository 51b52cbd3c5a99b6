"""The tensors that are alive at once while images and prompts are read, in bytes.

The numbers of tensors were counted with the demo and with a checkpoint of E2B's width, in transformers 5.15:
tests/engine/footprint/test_work.py counts again.
"""

from typing import Final

from gemma4_block.engine.shape import ModelShape

_FLOAT32: Final = 4
_INT64: Final = 8


def measure_image(shape: ModelShape, image_seq_length: int) -> int:
    """Return the size of an image that is ready for the tower: its patches, in float32."""
    return image_seq_length * shape.patches_per_token * shape.patch * _FLOAT32


def measure_tower(shape: ModelShape, image_seq_length: int, itemsize: int) -> int:
    """Return what one image takes on its way through the tower.

    Args:
        shape: Of the model.
        image_seq_length: Soft tokens that it becomes.
        itemsize: Of the tower's precision.

    Returns:
        The most at any time, a copy of its patches included.

    """
    patches = image_seq_length * shape.patches_per_token
    pixels = measure_image(shape, image_seq_length)
    if shape.tower is None:
        # Patches, two normed copies of them, and the states that they become.
        return pixels + patches * (2 * shape.patch + 4 * shape.hidden) * itemsize
    # Patches are shifted and then scaled before they are projected, into a copy each.
    prepared = 2 * pixels
    # In a layer: the residual, what is normed and clipped of it, and both halves of the MLP.
    layer = patches * (2 * shape.tower.intermediate + 5 * shape.tower.hidden) * itemsize
    # Behind the layers, patches are averaged by a matrix that says which belongs to which token. It is made
    # of integers and multiplied in float32, as the states are.
    matrix = patches * image_seq_length * (_INT64 + _FLOAT32)
    pooled = matrix + patches * shape.tower.hidden * (2 * itemsize + _FLOAT32)
    return pixels + max(prepared, layer, pooled)


def measure_text(shape: ModelShape, tokens: int, *, prompts: int, itemsize: int) -> int:
    """Return what prompts take on their way through the language model.

    Args:
        shape: Of the model.
        tokens: Of each prompt, those of images included.
        prompts: That are read at once.
        itemsize: Of the model's precision.

    Returns:
        The most at any time, without the KV cache.

    """
    # Gate, its activation and their product in the MLP; five states; two embeddings for single layers.
    states = 3 * shape.intermediate + 5 * shape.hidden + 2 * shape.layer_inputs
    mask = tokens**2
    # Before and after they are capped, and in float32.
    logits = 3 * shape.vocabulary * _FLOAT32
    return prompts * max(tokens * states * itemsize + mask, logits)


def measure_copied_experts(shape: ModelShape, *, itemsize: int) -> int:
    """Return what a GPU copies of a layer's experts for a pass over few tokens, see `gemma4.gpu_experts`.

    Args:
        shape: Of the model.
        itemsize: Of the model's precision.

    Returns:
        The most at any time: as much as all of them take; 0 where there are none.

    """
    return shape.expert_weights * itemsize


def measure_scores(shape: ModelShape, positions: int, *, itemsize: int) -> int:
    """Return what the logits of so many positions take while choices are scored.

    Admission counts no such work: choices are scored after their prompts are read, which takes more.

    Args:
        shape: Of the model.
        positions: Of all prompts that are scored at once.
        itemsize: Of the model's precision.

    Returns:
        The most at any time: logits in that precision, and in float32 where that is another.

    """
    each = _FLOAT32 if itemsize == _FLOAT32 else itemsize + _FLOAT32
    return positions * shape.vocabulary * each
