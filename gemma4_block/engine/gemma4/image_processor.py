"""Cut images into the patches of Gemma 4's vision tower."""

from typing import Any

from gemma4_block.contract import ImageSeqLength, RgbImage, check_image_seq_length
from gemma4_block.engine.family import Patches


class Gemma4ImageProcessor:
    """The checkpoint's own image processor, with the visual token budget given at every call.

    Args:
        processor: The transformers image processor.
        patches_per_token: How many patches become one soft token.

    """

    def __init__(self, processor: Any, *, patches_per_token: int) -> None:  # noqa: ANN401 - a foreign object
        self._processor = processor
        self._patches_per_token = patches_per_token

    @property
    def image_seq_length(self) -> ImageSeqLength:
        """The visual token budget that the checkpoint's processor_config.json says."""
        return check_image_seq_length(self._processor.max_soft_tokens)

    def cut(self, image: RgbImage, image_seq_length: ImageSeqLength) -> Patches:
        """Scale an image to its budget and cut it; the settings of the shared processor stay as they are."""
        encoded = self._processor(
            images=[image],
            # A budget that is set on the processor is ignored where the call names another, and other
            # threads use the same object.
            max_soft_tokens=image_seq_length,
            return_tensors="pt",
            input_data_format="channels_last",
        )
        positions = encoded["image_position_ids"][0]
        is_patch = (positions != -1).all(dim=-1)
        return Patches(
            pixel_values=encoded["pixel_values"][0][is_patch],
            position_ids=positions[is_patch],
            soft_tokens=int(encoded["num_soft_tokens_per_image"][0]),
        )

    def count_soft_tokens(self, patches: int) -> int:
        """Return how many soft tokens so many patches become."""
        return patches // self._patches_per_token
