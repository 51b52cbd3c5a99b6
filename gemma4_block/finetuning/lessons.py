"""Word the questions of a dataset as a task does, and prepare them for the model."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gemma4_block.contract import Prompt
from gemma4_block.engine.adapted import make_preprocessor
from gemma4_block.engine.loading import Checkpoint
from gemma4_block.engine.preprocess import FeatureCache
from gemma4_block.errors import ConfigurationError, Gemma4BlockError
from gemma4_block.finetuning.dataset import Example
from gemma4_block.finetuning.rows import Row
from gemma4_block.finetuning.targets import write_target
from gemma4_block.finetuning.wording import Wording
from gemma4_block.images import to_rgb
from gemma4_block.pictures import open_picture
from gemma4_block.tasks import TaskRequest, fit_image_seq_length


@dataclass(frozen=True, kw_only=True, slots=True)
class Lesson:
    """A question and its answer.

    Attributes:
        prompt: The question.
        target: The answer.

    """

    prompt: Prompt
    target: str


class Lessons:
    """Makes lessons of examples, and rows of lessons.

    Args:
        checkpoint: The model that learns.
        wording: Of the questions.
        max_pixels: Most pixels of a picture.
        vision_cache_bytes: Most bytes of what the tower has seen that is kept for the next epoch.

    Attributes:
        features: What the tower has seen.

    """

    def __init__(
        self, checkpoint: Checkpoint, wording: Wording, *, max_pixels: int, vision_cache_bytes: int
    ) -> None:
        self._checkpoint = checkpoint
        self._wording = wording
        self._max_pixels = max_pixels
        self._preprocessor = make_preprocessor(checkpoint, None)
        self.features = FeatureCache(vision_cache_bytes)

    def word(self, example: Example) -> Lesson:
        """Return the lesson of an example.

        Args:
            example: Of the dataset.

        Returns:
            The question as the task words it, and the answer in its form.

        Raises:
            ConfigurationError: The picture cannot be read, or the question or answer is none of this task;
                the message names the example.

        """
        try:
            image = to_rgb(open_picture(example.image, max_pixels=self._max_pixels), "rgb")
            prompt = self._wording.task.ask(
                TaskRequest(
                    images=(image,),
                    image_seq_length=self._wording.image_seq_length
                    if self._wording.image_seq_length is not None
                    else fit_image_seq_length(
                        self._wording.task.image_seq_length, self._checkpoint.budgets.trained, [image]
                    ),
                    prompt=example.prefix,
                    system_prompt=self._wording.system_prompt,
                    classes=self._wording.classes,
                    output_structure=self._wording.output_structure,
                )
            )
            target = write_target(prompt, example.suffix)
        except Gemma4BlockError as error:
            raise ConfigurationError(f"{example.place}: {error}") from error
        return Lesson(prompt=prompt, target=target)

    def prepare(self, lessons: Sequence[Lesson]) -> Iterator[Row]:
        """Yield the tokens of lessons.

        Args:
            lessons: Any number.

        Yields:
            One row for each.

        Raises:
            PromptError: A question and its answer are longer than the model's context.

        """
        for lesson in lessons:
            prepared = self._preprocessor.prepare(
                0, lesson.prompt, enable_thinking=False, features=self.features
            )
            answer = self._checkpoint.template.encode_text(lesson.target)
            yield Row(
                input_ids=prepared.input_ids,
                images=prepared.images,
                answer_ids=(*answer, self._checkpoint.special_tokens.end_of_turn),
            )
