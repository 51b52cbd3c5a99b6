"""Put one question about many picture files to the engine, a few files at a time."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import Self

from gemma4_block.asking import Question, ask_all
from gemma4_block.cli.inquiry import Inquiry
from gemma4_block.contract import Answer, Engine, RgbImage
from gemma4_block.engine.pool import EnginePool
from gemma4_block.errors import AnswerError, PromptError
from gemma4_block.limits import Limits
from gemma4_block.pictures import open_picture
from gemma4_block.settings import get_settings
from gemma4_block.tasks import Result


@dataclass(frozen=True, kw_only=True, slots=True)
class Reply:
    """What is to be told about one picture.

    Attributes:
        path: Its file.
        image: `(H, W, 3)` uint8, RGB; None where the file cannot be read.
        answer: The model's; None where it could not be asked.
        result: What the task read from it; None where that is nothing.
        error: Why there is nothing, or only a part; None where there is all of it.

    """

    path: Path
    image: RgbImage | None = None
    answer: Answer | None = None
    result: Result | None = None
    error: str | None = None


class Correspondent:
    """Asks one question about picture after picture; a context, in which the model stays loaded.

    Args:
        inquiry: The question.
        pool: Where the model comes from; it is loaded for the first picture that can be read.

    """

    def __init__(self, inquiry: Inquiry, pool: EnginePool) -> None:
        self._inquiry = inquiry
        self._pool = pool
        self._lease = ExitStack()
        self._engine: Engine | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *reason: object) -> None:
        self._engine = None
        self._lease.close()

    def split(self, paths: Sequence[Path]) -> Iterator[Sequence[Path]]:
        """Yield the files in groups that the model works on at the same time."""
        size = get_settings().max_batch_size
        yield from (paths[start : start + size] for start in range(0, len(paths), size))

    def ask(self, paths: Sequence[Path]) -> list[Reply]:
        """Ask about a group; blocks while the model loads and answers.

        Args:
            paths: Files.

        Returns:
            One reply for each, in order.

        Raises:
            Gemma4BlockError: The model cannot be loaded, or cannot do what is asked.

        """
        limits = Limits.of_requests(get_settings())
        images = [_read(path, limits.max_image_pixels) for path in paths]
        if all(isinstance(image, PromptError) for image in images):
            return [Reply(path=path, error=str(image)) for path, image in zip(paths, images, strict=True)]
        engine = self._find_engine()
        questions = [self._word(image, engine) for image in images]
        answers = ask_all(engine, self._inquiry.task, questions, self._inquiry.generation, limits=limits)
        return [
            self._reply(path, question, answer)
            for path, question, answer in zip(paths, questions, answers, strict=True)
        ]

    def _find_engine(self) -> Engine:
        if self._engine is None:
            version, precision = self._inquiry.model_version, self._inquiry.quantization
            lease = self._pool.lease(version) if precision is None else self._pool.lease(version, precision)
            self._engine = self._lease.enter_context(lease)
        return self._engine

    def _word(self, image: RgbImage | PromptError, engine: Engine) -> Question | PromptError:
        if isinstance(image, PromptError):
            return image
        request = self._inquiry.about(image, engine)
        try:
            return Question(request=request, prompt=self._inquiry.task.ask(request))
        except PromptError as error:
            return error

    def _reply(self, path: Path, question: Question | PromptError, answer: Answer | PromptError) -> Reply:
        if isinstance(question, PromptError):
            return Reply(path=path, error=str(question))
        request = question.request
        (image,) = request.images
        if isinstance(answer, PromptError):
            return Reply(path=path, image=image, error=str(answer))
        try:
            result = self._inquiry.task.read(answer, request)
        except AnswerError as error:
            return Reply(path=path, image=image, answer=answer, error=str(error))
        return Reply(path=path, image=image, answer=answer, result=result, error=result.error_message)


def _read(path: Path, max_pixels: int) -> RgbImage | PromptError:
    try:
        return open_picture(path, max_pixels=max_pixels)
    except PromptError as error:
        return error
