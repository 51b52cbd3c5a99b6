"""Ask the user's question for an answer of a few words."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask


def short_answer(question: str) -> str:
    """Word a question so that the answer is a word or a short phrase."""
    return f"{question}\nAnswer with a word or a short phrase."


TASK = TextTask(
    name="visual-question-answering",
    title="Visual question answering",
    description="Your question about the image is answered with a word or a short phrase.",
    group_description="Your question about the images is answered with a word or a short phrase.",
    # A middle budget, because questions are about large and small things alike.
    # Source: https://huggingface.co/google/gemma-4-E2B-it, where 280 is the default.
    image_seq_length=280,
    takes=Inputs(prompt="required"),
    word=short_answer,
)
