"""Write what a prompt asks as a server gets it, with its images at the size that the model sees."""

from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength, Prompt
from gemma4_block.engine.remote.image_urls import ImageUrls
from gemma4_block.engine.remote.line import Line
from gemma4_block.engine.remote.request_body import Question
from gemma4_block.errors import PromptError
from gemma4_block.images import to_rgb


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenQuestion:
    """A question that can be sent.

    Attributes:
        question: What is asked.
        image_tokens: Soft tokens of its images.

    """

    question: Question
    image_tokens: int


async def write_question(
    line: Line, urls: ImageUrls, prompt: Prompt, *, enable_thinking: bool
) -> WrittenQuestion:
    """Return a prompt as it is sent.

    Args:
        line: To the server.
        urls: The images of the call.
        prompt: What is asked.
        enable_thinking: Whether the model may think before it answers.

    Returns:
        The question.

    Raises:
        PromptError: The server has another budget for images, or an image cannot be sent.

    """
    asked = _find_budget(line, prompt)
    images = [to_rgb(image, "rgb") for image in prompt.images]
    found, image_tokens = [], 0
    for image in images:
        budget = line.abilities.image_seq_length if asked is None else asked
        assert budget is not None, "a server that reads no images was refused"
        size_wh = image.shape[1], image.shape[0]
        found.append(await urls.find(image, line.geometry.find_sent_size(size_wh, budget)))
        image_tokens += line.geometry.count_soft_tokens(size_wh, budget)
    question = Question(
        model=line.server.model,
        text=prompt.text,
        image_urls=tuple(found),
        system=prompt.system,
        image_seq_length=asked,
        enable_thinking=enable_thinking,
    )
    return WrittenQuestion(question=question, image_tokens=image_tokens)


def _find_budget(line: Line, prompt: Prompt) -> ImageSeqLength | None:
    """Return the budget to ask for; None for the server's own."""
    abilities, asked = line.abilities, prompt.image_seq_length
    if prompt.images and abilities.image_seq_length is None:
        raise PromptError(
            f"{line.server.model_id} reads no images on its server, or not as Gemma 4 does. Ask "
            "without, or let the server serve Gemma 4 with images."
        )
    if asked is None or not prompt.images:
        return None
    if abilities.has_budgets:
        return line.budgets.choose(asked)
    if asked != abilities.image_seq_length:
        raise PromptError(
            f"image_seq_length is {asked}, and the server of {line.server.model_id} has "
            f"{abilities.image_seq_length} for every image. Ask for that, or start vLLM with "
            "--trust-request-mm-kwargs."
        )
    return None
