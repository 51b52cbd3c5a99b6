"""Ask for the text that an image shows."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask

OCR = "Read the text in the image. Answer with the text only."

TASK = TextTask(
    name="ocr",
    title="Text recognition (OCR)",
    description="The text that is written in the image, and nothing else. No prompt needed.",
    # Source: the Gemma 4 model card, which gives text 560 or 1120. The larger one, because a page that
    # is read wrong is worth less than the time it saves; who reads large print can ask for less.
    image_seq_length=1120,
    takes=Inputs(),
    word=lambda _: OCR,
)
