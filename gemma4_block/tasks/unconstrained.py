"""Ask whatever the user writes, word for word."""

from gemma4_block.tasks.inputs import Inputs
from gemma4_block.tasks.task import TextTask

TASK = TextTask(
    name="unconstrained",
    title="Open prompt",
    description="Your prompt goes to the model word for word, and you get its answer as it is.",
    group_description="Your own prompt, sent as it is after the names of the images.",
    # A middle budget, because the prompt may ask for anything.
    # Source: https://huggingface.co/google/gemma-4-E2B-it, which gives low budgets to classes and captions,
    # high ones to text, and has 280 as its default.
    image_seq_length=280,
    takes=Inputs(prompt="required"),
    word=str,
)
