"""Ask for the text that an image shows."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask

OCR = "Read the text in the image. Answer with the text only."

TASK = TextTask(
    name="ocr",
    title="Text recognition (OCR)",
    description="The text that is written in the image, and nothing else. No prompt needed.",
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives text 560 or 1120. The larger one,
    # because a page that is read wrong is worth less than the time it saves; large print needs less.
    image_seq_length=1120,
    takes=Inputs(),
    word=lambda _: OCR,
)
