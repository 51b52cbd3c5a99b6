"""Turn prompts into tensors: cut images, render the template, encode choices."""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from gemma4_block.contract import Choices, Constraint, ImageSeqLength, JsonSchema, Prompt, RgbImage
from gemma4_block.engine.adapter_tag import AdapterTag
from gemma4_block.engine.budgets import TrainedBudgets
from gemma4_block.engine.family import ChatTemplate, ImageProcessor, SpecialTokens
from gemma4_block.engine.preprocess.prepared import (
    ChoiceIds,
    FeatureCache,
    PreparedImage,
    PreparedPrompt,
    count_shared,
    find_prefix,
    image_key,
)
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.images import to_rgb

if TYPE_CHECKING:
    from inference_models.models.common.roboflow.model_packages import InferenceConfig


class Preprocessor:
    """Prepares prompts for one checkpoint and adapter. May be used from many threads.

    Args:
        template: Renders and encodes texts.
        image_processor: Cuts images.
        special_tokens: Of the checkpoint.
        budgets: That it was trained for; others are moved to the nearest of them.
        context_tokens: Positions that the model knows, for prompt and answer together.
        inference_config: The host's preprocessing of a fine-tuned package, or None.
        image_seq_length: Visual token budget where a prompt names none; None means the checkpoint's.
        adapter: Answers the prompts; None for the base.

    """

    def __init__(
        self,
        template: ChatTemplate,
        image_processor: ImageProcessor,
        special_tokens: SpecialTokens,
        budgets: TrainedBudgets,
        *,
        context_tokens: int,
        inference_config: "InferenceConfig | None",
        image_seq_length: ImageSeqLength | None,
        adapter: AdapterTag | None = None,
    ) -> None:
        self._template = template
        self._image_processor = image_processor
        self._special_tokens = special_tokens
        self._budgets = budgets
        self._context_tokens = context_tokens
        self._inference_config = inference_config
        self._image_seq_length = image_seq_length
        self._adapter = adapter

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
            prompt: The question.
            enable_thinking: Ask the template for the thinking form.
            image_size_wh: Width and height that replace those of inference_config.json.
            features: Images whose features are cached need no pixels; None prepares the pixels of all.

        Returns:
            Ids and image tensors.

        Raises:
            PromptError: An image cannot be read, or the prompt is longer than the model's context.
            ConfigurationError: `image_size_wh` would do nothing.
            CheckpointError: The chat template cannot be used.

        """
        length = self._image_seq_length if prompt.image_seq_length is None else prompt.image_seq_length
        if length is None:
            length = self._image_processor.image_seq_length
        if prompt.images:
            length = self._budgets.choose(length)
        images = tuple(self._prepare_image(image, length, image_size_wh, features) for image in prompt.images)
        conversation = self._template.render(
            prompt, [image.soft_tokens for image in images], enable_thinking=enable_thinking
        )
        if len(conversation.input_ids) >= self._context_tokens:
            raise PromptError(
                f"The prompt becomes {len(conversation.input_ids)} tokens, {conversation.image_tokens} of "
                f"them of images; the model reads fewer than {self._context_tokens}. Shorten it, or lower "
                "image_seq_length."
            )
        prepared = PreparedPrompt(
            index=index,
            input_ids=conversation.input_ids,
            image_tokens=conversation.image_tokens,
            images=images,
            prefix_length=find_prefix(conversation.input_ids, self._special_tokens.image_id),
            schema=prompt.constraint.text if isinstance(prompt.constraint, JsonSchema) else None,
            needs_token_scores=prompt.needs_token_scores,
            adapter=self._adapter,
        )
        return self._add_choices(prepared, prompt.constraint)

    def _add_choices(self, prepared: PreparedPrompt, constraint: Constraint | None) -> PreparedPrompt:
        if not isinstance(constraint, Choices):
            return prepared
        encode = self._template.encode_text
        groups: ChoiceIds = tuple(tuple(encode(text) for text in group) for group in constraint.groups)
        # The last token of the lead may be another one where a text goes on behind it.
        lead = encode(constraint.lead)
        return replace(
            prepared,
            choices=groups,
            choice_texts=constraint.groups,
            lead_lengths=tuple(count_shared([lead, *group]) for group in groups),
            choice_rest=constraint.rest,
        )

    def _prepare_image(
        self,
        image: RgbImage,
        length: ImageSeqLength,
        image_size_wh: tuple[int, int] | None,
        features: FeatureCache | None,
    ) -> PreparedImage:
        image = to_rgb(image, "rgb")
        key = image_key(image, length, image_size_wh, self._adapter)
        seen = None if features is None else features.find(key)
        if seen is not None:
            return PreparedImage(key=key, soft_tokens=len(seen), features=seen)
        patches = self._image_processor.cut(self._bring_to_size(image, image_size_wh), length)
        return PreparedImage(
            key=key,
            soft_tokens=patches.soft_tokens,
            pixel_values=patches.pixel_values,
            position_ids=patches.position_ids,
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
