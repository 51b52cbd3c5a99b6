"""Count the backpacks of a picture in Python, as the example of this name in inference_models does.

Run `python workflow_examples/count_backpacks.py`, or with a picture and a model of your own:
`python workflow_examples/count_backpacks.py photo.jpg gemma-4-e2b-it`. `count_backpacks.json` is the same
as a workflow.
"""

import sys
from pathlib import Path

import cv2

from gemma4_block import Gemma4HF

DRAWN = Path(__file__).with_suffix(".png")
QUESTION = "How many backpacks are clearly visible?"
SYSTEM = "Answer with a number first, then one short sentence."

if __name__ == "__main__":
    picture, model_id = [*sys.argv[1:], *(str(DRAWN), "gemma-4-demo")[len(sys.argv) - 1 :]]
    image = cv2.imread(picture)
    if image is None:
        sys.exit(f"{picture} cannot be read as an image.")
    model = Gemma4HF.from_pretrained(model_id)
    answers = model.prompt(
        images=image,
        prompt=f"{QUESTION}<system_prompt>{SYSTEM}",
        max_new_tokens=256,
        do_sample=False,
        input_color_format="bgr",
    )
    print(answers[0])  # noqa: T201 - a command
