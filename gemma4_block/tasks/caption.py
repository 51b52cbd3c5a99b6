"""Ask for one sentence about an image."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask

CAPTION = "Describe the image in one short sentence."

TASK = TextTask(
    name="caption",
    title="Caption",
    description="One short sentence that says what is in the image. No prompt needed.",
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives captions 70 or 140.
    image_seq_length=140,
    takes=Inputs(),
    word=lambda _: CAPTION,
)
