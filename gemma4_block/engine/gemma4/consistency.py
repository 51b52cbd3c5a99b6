"""Refuse files of a checkpoint that are sound each alone and do not belong together."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gemma4_block.errors import CheckpointError


def refuse_mixed_files(directory: Path, config: Any, processor: Any) -> None:  # noqa: ANN401 - foreign objects
    """Refuse a tokenizer or an image processor of another model than config.json's.

    Args:
        directory: Of the checkpoint.
        config: Of the whole model.
        processor: The transformers processor.

    Raises:
        CheckpointError: Two files differ in a value that both name.

    """
    for said, expected, found, place in _pairs(config, processor):
        if expected != found:
            raise CheckpointError(
                f"{directory / 'config.json'} says {said} {expected!r}, and {place} says {found!r}. "
                "Put the files of one model together."
            )
    pad_id = processor.tokenizer.pad_token_id
    size = config.get_text_config().vocab_size
    if pad_id is not None and pad_id >= size:
        raise CheckpointError(
            f"{directory / 'tokenizer_config.json'} says pad_token {processor.tokenizer.pad_token!r}, "
            f"whose id {pad_id} is outside vocab_size {size}. Use the file that came with the weights."
        )


def _pairs(config: Any, processor: Any) -> Iterator[tuple[str, object, object, str]]:  # noqa: ANN401
    """Yield what config.json says, its value, the other file's value, and where that is."""
    tokenizer, images = processor.tokenizer, processor.image_processor
    ids = (
        ("text_config.bos_token_id", config.get_text_config().bos_token_id, "bos_token"),
        ("image_token_id", config.image_token_id, "image_token"),
        ("boi_token_id", config.boi_token_id, "boi_token"),
        ("eoi_token_id", config.eoi_token_id, "eoi_token"),
    )
    for said, expected, name in ids:
        token = getattr(tokenizer, name)
        found = tokenizer.convert_tokens_to_ids(token)
        yield said, expected, found, f"tokenizer_config.json ({name} {token!r}) with tokenizer.json"
    for name in ("patch_size", "pooling_kernel_size"):
        place = f"processor_config.json (image_processor.{name})"
        yield f"vision_config.{name}", getattr(config.vision_config, name), getattr(images, name), place
