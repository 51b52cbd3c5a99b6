"""Gemma 4 with Hugging Face transformers, as users of inference_models know it."""

import os
from collections.abc import Sequence
from threading import Event
from typing import TYPE_CHECKING

import torch
from transformers import BatchFeature
from typing_extensions import Self

from gemma4_block.contract import Answer, GenerationConfig, ImageSeqLength, Prompt, check_image_seq_length
from gemma4_block.engine.compat.arguments import Image, fill_generation, read_images, split_system_prompt
from gemma4_block.engine.compat.load_options import fill_load_options
from gemma4_block.engine.compat.location import find_adapter_base, find_directory
from gemma4_block.engine.hardware import find_device
from gemma4_block.engine.loading import Checkpoint, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.pool import set_log_level
from gemma4_block.errors import PromptError
from gemma4_block.images import ColorOrder
from gemma4_block.limits import Limits, ask
from gemma4_block.settings import Settings, get_generation_defaults, get_settings

if TYPE_CHECKING:
    from transformers import BitsAndBytesConfig


class Gemma4HF:
    """A loaded Gemma 4 checkpoint.

    `prompt` and its three stages keep the signatures of `inference_models`; `answer` takes many prompts.
    All methods may be called from many threads, which then share the model.

    Args:
        checkpoint: The loaded one.
        image_seq_length: Visual token budget where a call names none; None means the checkpoint's.
        settings: The operator's; None reads the environment.

    Attributes:
        engine: Runs the model; it profiles, forgets and closes.
        image_seq_length: As given.
        limits: What the operator allows to this process.

    """

    @classmethod
    def from_pretrained(  # noqa: PLR0917 - the signature users know
        cls,
        model_name_or_path: str | os.PathLike[str],
        device: torch.device | str | None = None,
        trust_remote_code: bool = False,  # noqa: FBT001, FBT002 - the signature users know
        local_files_only: bool = True,  # noqa: FBT001, FBT002
        quantization_config: "BitsAndBytesConfig | None" = None,
        disable_quantization: bool = False,  # noqa: FBT001, FBT002
        gemma_image_seq_length: int | None = None,
        *,
        dtype: torch.dtype | str | None = None,
    ) -> Self:
        """Load a checkpoint directory.

        The operator's settings hold as for the blocks; device and dtype where the call names none.

        Args:
            model_name_or_path: Directory of weights or of an adapter, see docs/adapters.md; or a model id.
            device: `auto` takes CUDA where there is one; or `cpu`, `cuda`, `cuda:1`. None means
                `GEMMA4_BLOCK_DEVICE`.
            trust_remote_code: Run code that the checkpoint brings.
            local_files_only: Look a hub id up in the Hugging Face cache only; False may download it.
            quantization_config: bitsandbytes settings; None means NF4 on CUDA and nothing on the CPU.
            disable_quantization: Keep the checkpoint's precision on CUDA too.
            gemma_image_seq_length: Visual token budget where a call names none; None means the checkpoint's.
            dtype: `bfloat16`, `float32`, or `auto`: the checkpoint's, but float32 on a CPU without bfloat16
                where that leaves a quarter of the free memory. None means `GEMMA4_BLOCK_DTYPE`.

        Returns:
            The loaded model, ready to answer.

        Raises:
            CheckpointError: Files are missing, damaged or do not fit together.
            ConfigurationError: The budget, device or precision cannot work.

        """
        length = None if gemma_image_seq_length is None else check_image_seq_length(gemma_image_seq_length)
        settings = get_settings()
        set_log_level(settings.log_level)
        # Before anything is downloaded.
        found_device = find_device(settings.device if device is None else str(device))
        directory = find_directory(model_name_or_path, local_files_only=local_files_only)
        base = find_adapter_base(directory)
        options = fill_load_options(
            directory if base is None else base,
            settings,
            device=found_device,
            dtype=dtype,
            quantization_config=quantization_config,
            disable_quantization=disable_quantization,
            trust_remote_code=trust_remote_code,
            local_files_only=local_files_only,
        )
        checkpoint = load_checkpoint(directory, options, base=base)
        return cls(checkpoint, image_seq_length=length, settings=settings)

    def __init__(
        self,
        checkpoint: Checkpoint,
        *,
        image_seq_length: ImageSeqLength | None = None,
        settings: Settings | None = None,
    ) -> None:
        settings = get_settings() if settings is None else settings
        self.image_seq_length = image_seq_length
        self.engine = LocalEngine(checkpoint, settings, image_seq_length=image_seq_length)
        self.limits = Limits.of_process(settings)

    def answer(
        self,
        prompts: Sequence[Prompt],
        generation: GenerationConfig,
        *,
        max_seconds: float | None = None,
        cancelled: Event | None = None,
    ) -> list[Answer | PromptError]:
        """Answer many prompts, each on its own, together with those of other threads; see `Engine.answer`.

        Args:
            prompts: Any number, with images of any sizes and counts.
            generation: How to answer all of them.
            max_seconds: The longest to wait; answers that are not ready then end where they stand. None means
                the operator's limit, which cannot be exceeded.
            cancelled: Set it from another thread to end all answers where they stand.

        Returns:
            One entry for each prompt, in the same order.

        Raises:
            EngineError: The engine failed.
            OutOfMemoryError: The device's memory does not hold one of the prompts alone.

        """
        return ask(
            self.engine,
            prompts,
            generation,
            limits=self.limits,
            max_seconds=max_seconds,
            cancelled=cancelled,
        )

    def prompt(  # noqa: PLR0917 - the signature users know
        self,
        images: Image | list[Image],
        prompt: str | None = None,
        input_color_format: ColorOrder | None = None,
        max_new_tokens: int | None = None,
        do_sample: bool | None = None,  # noqa: FBT001 - the signature users know
        skip_special_tokens: bool | None = None,  # noqa: FBT001
        enable_thinking: bool | None = None,  # noqa: FBT001
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        image_seq_length: int | None = None,
    ) -> list[str]:
        """Ask one question about one image, or about all images of a list together.

        Args:
            images: `(H, W, 3)` array, `(3, H, W)` or `(N, 3, H, W)` tensor, an image of Pillow, the path of a
                file, or a list of them.
            prompt: The question; a system prompt may follow it after `<system_prompt>`. None asks for a
                description.
            input_color_format: `rgb` or `bgr`; None means BGR for arrays and RGB for tensors.
            max_new_tokens: Most tokens of the reply.
            do_sample: Draw tokens by chance.
            skip_special_tokens: Return the answer alone; False returns the raw reply with thoughts and
                control tokens.
            enable_thinking: Let the model think first.
            temperature: With `do_sample` only.
            top_p: With `do_sample` only.
            top_k: With `do_sample` only.
            repetition_penalty: More than 1 makes repeats less likely.
            seed: With `do_sample` only.
            stop: Texts that end the answer.
            image_seq_length: Visual token budget of this call.

        Returns:
            A list of one answer. Where an option is None, the environment says
            (`INFERENCE_MODELS_GEMMA4_DEFAULT_*`), else the checkpoint.

        Raises:
            ConfigurationError: Options that cannot work together.
            PromptError: An image or the text is unusable.

        """
        inputs = self.pre_process_generation(
            images,
            prompt,
            input_color_format,
            enable_thinking=enable_thinking,
            image_seq_length=image_seq_length,
        )
        generated = self.generate(
            inputs,
            max_new_tokens,
            do_sample,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
        )
        return self.post_process_generation(generated, skip_special_tokens, stop=stop)

    def pre_process_generation(
        self,
        images: Image | list[Image],
        prompt: str | None = None,
        input_color_format: ColorOrder | None = None,
        image_size: tuple[int, int] | None = None,
        enable_thinking: bool | None = None,  # noqa: FBT001 - the signature users know
        *,
        image_seq_length: int | None = None,
    ) -> BatchFeature:
        """Build the model's inputs for one question; arguments as in `prompt`.

        Args:
            images: One image or several that belong to the question.
            prompt: The question, and a system prompt after `<system_prompt>`.
            input_color_format: Colour order of `images`.
            image_size: Width and height that replace those of inference_config.json.
            enable_thinking: Ask the template for the thinking form.
            image_seq_length: Visual token budget of this call.

        Returns:
            Tensors of one row on the model's device.

        Raises:
            PromptError: An image or the text is unusable.

        """
        defaults = get_generation_defaults()
        question, system = split_system_prompt(prompt)
        asked = Prompt(
            text=question,
            system=system,
            images=read_images(images, input_color_format, max_pixels=self.limits.max_image_pixels),
            image_seq_length=None if image_seq_length is None else check_image_seq_length(image_seq_length),
        )
        self.limits.check_prompt(asked)
        thinking = defaults.enable_thinking if enable_thinking is None else enable_thinking
        return BatchFeature(
            self.engine.prepare_inputs(asked, enable_thinking=thinking, image_size_wh=image_size)
        )

    def generate(
        self,
        inputs: BatchFeature | dict[str, torch.Tensor],
        max_new_tokens: int | None = None,
        do_sample: bool | None = None,  # noqa: FBT001 - the signature users know
        *,
        temperature: float | None = None,
        top_p: float | None = None,
        top_k: int | None = None,
        repetition_penalty: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> torch.Tensor:
        """Return the generated ids `(B, T)` int64 of prepared inputs; options as in `prompt`."""
        generation = fill_generation(
            max_new_tokens=max_new_tokens,
            do_sample=do_sample,
            temperature=temperature,
            top_p=top_p,
            top_k=top_k,
            repetition_penalty=repetition_penalty,
            seed=seed,
            stop=stop,
        )
        deadline = self.limits.find_deadline()
        return self.engine.generate_from_inputs(inputs, generation, deadline=deadline)

    def post_process_generation(
        self,
        generated_ids: torch.Tensor,
        skip_special_tokens: bool | None = None,  # noqa: FBT001 - the signature users know
        *,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Turn generated ids `(B, T)` into one text a row: the answer, or with False the raw reply.

        None is what `INFERENCE_MODELS_GEMMA4_DEFAULT_SKIP_SPECIAL_TOKENS` says.
        """
        default = get_generation_defaults().skip_special_tokens
        if default if skip_special_tokens is None else skip_special_tokens:
            return [reply.text for reply in self.engine.read_generated(generated_ids, stop)]
        return self.engine.read_generated_raw(generated_ids)
