"""Turn prompts into tensors: check, preprocess, encode images, render; a prompt that fails fails alone."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from gemma4_block.contract import Choices, ImageSeqLength, JsonSchema, Prompt, RgbImage
from gemma4_block.engine.gemma4.template import Renderer
from gemma4_block.engine.loading.checkpoint import Checkpoint
from gemma4_block.engine.preprocess.prepared import ChoiceIds, PreparedPrompt, find_prefix
from gemma4_block.engine.runner.vision import FeatureCache, PreparedImage, image_key
from gemma4_block.engine.sampling.grammar import Grammars
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.images import to_rgb
from gemma4_block.text_check import check_text

if TYPE_CHECKING:
    from inference_models.models.common.roboflow.model_packages import InferenceConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How large a prompt may be; see the settings of the same names."""

    max_prompt_characters: int
    max_image_pixels: int


class Preparer:
    """Prepares prompts for one checkpoint."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        limits: Limits,
        grammars: Grammars,
        features: FeatureCache,
        image_seq_length: ImageSeqLength | None,
    ) -> None:
        self._processor = checkpoint.processor
        self._inference_config = checkpoint.inference_config
        self._renderer = Renderer(checkpoint.processor)
        self._limits = limits
        self._grammars = grammars
        self._features = features
        self._context_tokens = checkpoint.context_tokens
        self._image_seq_length = image_seq_length

    def prepare(
        self,
        index: int,
        prompt: Prompt,
        *,
        enable_thinking: bool,
        image_size_wh: tuple[int, int] | None = None,
        features: FeatureCache | None = None,
    ) -> PreparedPrompt:
        """Prepare one prompt.

        Args:
            index: Its place in the call.
            prompt: What is asked.
            enable_thinking: Ask the template for the thinking form.
            image_size_wh: Width and height that replace those of inference_config.json.
            features: Images that the tower has read need no pixels; None prepares the pixels of all.

        Returns:
            Ids and image tensors.

        Raises:
            PromptError: Its text is empty or too long, an image cannot be read or is too large, or its schema
                cannot be used.
            ConfigurationError: `image_size_wh` would do nothing.

        """
        self._check_text(prompt)
        self._check_schema(prompt)
        length = self._image_seq_length if prompt.image_seq_length is None else prompt.image_seq_length
        if length is None:
            length = self._processor.image_processor.max_soft_tokens
        images = tuple(self._prepare_image(image, length, image_size_wh, features) for image in prompt.images)
        conversation = self._renderer.render(
            prompt, [image.soft_tokens for image in images], enable_thinking=enable_thinking
        )
        if len(conversation.input_ids) >= self._context_tokens:
            raise PromptError(
                f"The prompt becomes {len(conversation.input_ids)} tokens, {conversation.image_tokens} of "
                f"them of images; the model reads fewer than {self._context_tokens}. Shorten it, or lower "
                "image_seq_length."
            )
        return PreparedPrompt(
            index=index,
            input_ids=conversation.input_ids,
            image_tokens=conversation.image_tokens,
            images=images,
            prefix_length=find_prefix(conversation.input_ids, self._processor.image_token_id),
            schema=prompt.constraint.text if isinstance(prompt.constraint, JsonSchema) else None,
            choices=self._encode_choices(prompt),
            choice_texts=prompt.constraint.groups if isinstance(prompt.constraint, Choices) else (),
            needs_token_scores=prompt.needs_token_scores,
        )

    def _check_text(self, prompt: Prompt) -> None:
        if not prompt.text.strip():
            raise PromptError("The prompt is empty; write a question or an instruction.")
        for name, text in (("prompt", prompt.text), ("system prompt", prompt.system or "")):
            check_text(name, text, max_characters=self._limits.max_prompt_characters)

    def _check_schema(self, prompt: Prompt) -> None:
        # What is chosen from needs no grammar here: its schema is for engines that cannot score.
        if isinstance(prompt.constraint, JsonSchema):
            try:
                self._grammars.start(prompt.constraint.text)
            except ConfigurationError as error:
                raise PromptError(str(error)) from error

    def _encode_choices(self, prompt: Prompt) -> ChoiceIds:
        if not isinstance(prompt.constraint, Choices):
            return ()
        encode = self._renderer.encode_text
        return tuple(tuple(encode(text) for text in group) for group in prompt.constraint.groups)

    def _prepare_image(
        self,
        image: RgbImage,
        length: ImageSeqLength,
        image_size_wh: tuple[int, int] | None,
        features: FeatureCache | None,
    ) -> PreparedImage:
        image = to_rgb(image, "rgb")
        self._check_size(image)
        key = image_key(image, length, image_size_wh)
        seen = None if features is None else features.find(key)
        if seen is not None:
            return PreparedImage(key=key, soft_tokens=len(seen), features=seen)
        # The budget is given at every call: what is set on a processor may be ignored or shared.
        # Source: facts tried on transformers 5.15.1.
        encoded = self._processor.image_processor(
            images=[self._bring_to_size(image, image_size_wh)],
            max_soft_tokens=length,
            return_tensors="pt",
            input_data_format="channels_last",
        )
        positions = encoded["image_position_ids"][0]
        is_patch = (positions != -1).all(dim=-1)
        return PreparedImage(
            key=key,
            soft_tokens=int(encoded["num_soft_tokens_per_image"][0]),
            pixel_values=encoded["pixel_values"][0][is_patch],
            position_ids=positions[is_patch],
        )

    def _check_size(self, image: RgbImage) -> None:
        height, width = image.shape[:2]
        if height * width > self._limits.max_image_pixels:
            raise PromptError(
                f"The image is {width} x {height} pixels; {self._limits.max_image_pixels} in all are "
                "allowed. Shrink it first, or raise GEMMA4_BLOCK_MAX_IMAGE_PIXELS."
            )

    def _bring_to_size(self, image: RgbImage, image_size_wh: tuple[int, int] | None) -> RgbImage:
        if self._inference_config is None:
            if image_size_wh is not None:
                raise ConfigurationError(
                    f"image_size is {image_size_wh}; the checkpoint has no inference_config.json whose "
                    "size it could replace. Leave it out and use image_seq_length."
                )
            return image
        return _preprocess_as_host(image, self._inference_config, image_size_wh)


def _preprocess_as_host(
    image: RgbImage, config: "InferenceConfig", image_size_wh: tuple[int, int] | None
) -> RgbImage:
    """Crop, resize or letterbox as the package says, through the host's own code."""
    from inference_models.errors import BaseInferenceModelsError
    from inference_models.models.common.roboflow.model_packages import ColorMode
    from inference_models.models.common.roboflow.pre_processing import pre_process_network_input_to_image_list

    # Gemma 4's processor scales by itself and wants RGB; only the geometry is taken from the package.
    network_input = config.network_input.model_copy(
        update={"color_mode": ColorMode.RGB, "scaling_factor": None, "normalization": None}
    )
    try:
        (tensor,), _ = pre_process_network_input_to_image_list(
            images=image,
            image_pre_processing=config.image_pre_processing,
            network_input=network_input,
            target_device=torch.device("cpu"),
            input_color_format="rgb",
            image_size_wh=image_size_wh,
        )
    except BaseInferenceModelsError as error:
        raise PromptError(f"inference_config.json cannot be applied to this image: {error}") from error
    return to_rgb(tensor.clamp(0, 255).round().to(torch.uint8), "rgb")
