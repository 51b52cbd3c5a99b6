"""Gemma 4 for Python programs: the class of `inference_models`, with a method for each task."""

from typing import TypeVar, overload

from gemma4_block.engine.compat import Image
from gemma4_block.images import ColorOrder
from gemma4_block.python.arguments import read_prompt, read_structure
from gemma4_block.python.asking import Failure, Inquiry, ask_about
from gemma4_block.python.class_tasks import ClassTasks
from gemma4_block.python.options import AS_USUAL, TaskOptions
from gemma4_block.reading import JsonValue
from gemma4_block.tasks import OutputStructure

_OneOfMany = TypeVar("_OneOfMany", bound=Image)


class Gemma4HF(ClassTasks):
    """A loaded Gemma 4 checkpoint that knows the tasks of the blocks.

    A task takes one image: the path of a file, an image of Pillow, an array `(H, W, 3)` or a tensor
    `(3, H, W)`. It returns what the whole answer says. Where the image cannot be asked about it raises
    `PromptError`, and where the answer is cut off or does not say what the task needs `AnswerError`, whose
    `answer` is what the model wrote.

    A task takes a list of images as well. Each is asked about by itself, all in one batch, and a list of
    results comes back in the same order, with the errors of single images in their places.

    Methods may be called from many threads, which then share the model.

    Example:
        >>> import numpy as np
        >>> from gemma4_block.demo.scenes import draw_scene
        >>> picture = draw_scene(np.random.default_rng(1), shape_count=2).image[..., ::-1]
        >>> model = Gemma4HF.from_pretrained("gemma-4-demo")
        >>> found = model.detect(picture, ["orange triangle", "purple star"])
        >>> sorted(found.data["class_name"].tolist())
        ['orange triangle', 'purple star']
        >>> model.count(picture, ["purple star", "red square"])
        {'purple star': 1, 'red square': 0}
        >>> model.caption([picture, "missing.png"])
        ['1 orange triangle, 1 purple star.', PromptError('There is no image file missing.png. Give the ...
        >>> model.extract(picture, {"star": {"type": "boolean"}}, prompt="Is there a star?")
        {'star': True}

    """

    @overload
    def caption(
        self, images: Image, *, input_color_format: ColorOrder | None = None, options: TaskOptions = AS_USUAL
    ) -> str: ...

    @overload
    def caption(
        self,
        images: list[_OneOfMany],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> list[str | Failure]: ...

    def caption(
        self,
        images: Image | list[_OneOfMany],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> str | list[str | Failure]:
        """Describe the image in a sentence.

        Args:
            images: One, or a list of any number.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            The text.

        Raises:
            ConfigurationError: The options cannot work.
            PromptError: The image cannot be asked about.
            AnswerError: The answer is cut off.

        """
        inquiry = Inquiry(task_type="caption")
        return ask_about(
            self,
            inquiry,
            images,
            lambda result: result.output,
            color_format=input_color_format,
            options=options,
        )

    @overload
    def read_text(
        self, images: Image, *, input_color_format: ColorOrder | None = None, options: TaskOptions = AS_USUAL
    ) -> str: ...

    @overload
    def read_text(
        self,
        images: list[_OneOfMany],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> list[str | Failure]: ...

    def read_text(
        self,
        images: Image | list[_OneOfMany],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> str | list[str | Failure]:
        """Read the text in the image.

        Args:
            images: One, or a list of any number.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            The text.

        Raises:
            ConfigurationError: The options cannot work.
            PromptError: The image cannot be asked about.
            AnswerError: The answer is cut off.

        """
        inquiry = Inquiry(task_type="ocr")
        return ask_about(
            self,
            inquiry,
            images,
            lambda result: result.output,
            color_format=input_color_format,
            options=options,
        )

    @overload
    def extract(
        self,
        images: Image,
        schema: OutputStructure,
        prompt: str | None = None,
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> JsonValue: ...

    @overload
    def extract(
        self,
        images: list[_OneOfMany],
        schema: OutputStructure,
        prompt: str | None = None,
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> "list[JsonValue | Failure]": ...

    def extract(
        self,
        images: Image | list[_OneOfMany],
        schema: OutputStructure,
        prompt: str | None = None,
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> "JsonValue | list[JsonValue | Failure]":
        """Answer with facts about the image in the given form.

        Args:
            images: One, or a list of any number.
            schema: Fields, as in `{"color": "color of the car"}`, or a JSON Schema; docs/workflow.md says
                which is which.
            prompt: What to look for, where the form does not say it.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            A value of this form.

        Raises:
            ConfigurationError: Schema or options cannot work.
            PromptError: The image cannot be asked about, or something is missing.
            AnswerError: The answer is cut off, or does not say what the task needs.

        """
        inquiry = Inquiry(
            task_type="structured-answering",
            prompt=read_prompt(prompt),
            output_structure=read_structure(schema),
        )
        return ask_about(
            self,
            inquiry,
            images,
            lambda result: result.parsed,
            color_format=input_color_format,
            options=options,
        )
