"""The tasks that are asked with classes, as methods of the model."""

from collections.abc import Sequence
from typing import TypeVar, overload

from supervision import Classifications, Detections

from gemma4_block.engine import compat
from gemma4_block.engine.compat import Image
from gemma4_block.images import ColorOrder
from gemma4_block.python.arguments import read_classes
from gemma4_block.python.asking import Failure, Inquiry, ask_about
from gemma4_block.python.options import AS_USUAL, TaskOptions
from gemma4_block.python.predictions import to_classifications, to_counts, to_detections

_OneOfMany = TypeVar("_OneOfMany", bound=Image)


class ClassTasks(compat.Gemma4HF):
    """A loaded checkpoint that finds, tells apart and counts objects of the classes that a caller names."""

    @overload
    def detect(
        self,
        images: Image,
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> Detections: ...

    @overload
    def detect(
        self,
        images: list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> list[Detections | Failure]: ...

    def detect(
        self,
        images: Image | list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> Detections | list[Detections | Failure]:
        """Find the objects of the given classes.

        Args:
            images: One, or a list of any number.
            classes: The names of what may be answered, each once.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            Boxes in pixels of the image, x right, y down, with measured confidences; the names are in
            `data["class_name"]`, and a class's id is its place in `classes`. There may be none.

        Raises:
            ConfigurationError: Classes or options cannot work.
            PromptError: The image cannot be asked about, or something is missing.
            AnswerError: The answer is cut off, or does not say what the task needs.

        """
        named = read_classes(classes)
        inquiry = Inquiry(task_type="object-detection", classes=named)
        return ask_about(
            self,
            inquiry,
            images,
            lambda result: to_detections(result, named),
            color_format=input_color_format,
            options=options,
        )

    @overload
    def classify(
        self,
        images: Image,
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> Classifications: ...

    @overload
    def classify(
        self,
        images: list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> list[Classifications | Failure]: ...

    def classify(
        self,
        images: Image | list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> Classifications | list[Classifications | Failure]:
        """Say which one of the classes fits.

        Args:
            images: One, or a list of any number.
            classes: The names of what may be answered, each once.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            The measured probability of every class in the order given, which add up to at most 1: the rest is
            the probability of none of them. `get_top_k(1)` is the answer.

        Raises:
            ConfigurationError: Classes or options cannot work.
            PromptError: The image cannot be asked about, or something is missing.
            AnswerError: The answer is cut off, or does not say what the task needs.

        """
        named = read_classes(classes)
        inquiry = Inquiry(task_type="classification", classes=named)
        return ask_about(
            self,
            inquiry,
            images,
            lambda result: to_classifications(result, named),
            color_format=input_color_format,
            options=options,
        )

    @overload
    def count(
        self,
        images: Image,
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> dict[str, int]: ...

    @overload
    def count(
        self,
        images: list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> list[dict[str, int] | Failure]: ...

    def count(
        self,
        images: Image | list[_OneOfMany],
        classes: Sequence[str],
        *,
        input_color_format: ColorOrder | None = None,
        options: TaskOptions = AS_USUAL,
    ) -> dict[str, int] | list[dict[str, int] | Failure]:
        """Count the objects of each class.

        Args:
            images: One, or a list of any number.
            classes: The names of what may be answered, each once.
            input_color_format: Of arrays and tensors; None means BGR for arrays and RGB for tensors.
            options: How to ask.

        Returns:
            How many there are of each, in the order given.

        Raises:
            ConfigurationError: Classes or options cannot work.
            PromptError: The image cannot be asked about, or something is missing.
            AnswerError: The answer is cut off, or does not say what the task needs.

        """
        inquiry = Inquiry(task_type="counting", classes=read_classes(classes))
        return ask_about(self, inquiry, images, to_counts, color_format=input_color_format, options=options)
