"""Ask for everything that an image shows."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask

DETAILED_CAPTION = "Describe the image in detail."

TASK = TextTask(
    name="detailed-caption",
    title="Detailed caption",
    description="A thorough description of the image in several sentences. No prompt needed.",
    # Details are lost at the 140 of a short caption.
    # Source: https://huggingface.co/google/gemma-4-E2B-it, where 280 is the default.
    image_seq_length=280,
    takes=Inputs(),
    word=lambda _: DETAILED_CAPTION,
)
