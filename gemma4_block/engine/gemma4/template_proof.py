"""Prove at loading that a chat template ends, and shows what it is given."""

import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from types import FrameType
from typing import Any, Final

import numpy as np

from gemma4_block.contract import Prompt
from gemma4_block.engine.gemma4.template import Gemma4Template

# Lines of Python, into which jinja compiles a template. Gemma 4's own takes less than a thousandth.
_MOST_STEPS: Final = 1_000_000


class _EndlessTemplateError(Exception):
    """A template that has taken too many steps."""


def prove_template(template: Gemma4Template) -> None:
    """Render every form of a prompt, in a thread that ends where the template does not.

    Users' texts are put in after rendering, so that a template sees no more than these forms and the number
    of images.

    Args:
        template: Of a checkpoint.

    Raises:
        CheckpointError: It is missing, damaged or endless, or does not show every text and image once.

    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="gemma4-template") as thread:
        # A function that traces is set for one thread, and ends with it.
        thread.submit(_render_all, template).result()


def _render_all(template: Gemma4Template) -> None:
    sys.settrace(_Steps().trace)
    image = np.zeros((1, 1, 3), np.uint8)
    for system, count, enable_thinking in product((None, "system"), (0, 1, 2), (False, True)):
        prompt = Prompt(text="user", system=system, images=(image,) * count)
        template.render(prompt, (1,) * count, enable_thinking=enable_thinking)


class _Steps:
    """Counts the lines that a thread runs."""

    def __init__(self) -> None:
        self._count = 0

    def trace(self, _frame: FrameType, _event: str, _argument: Any) -> "Any":  # noqa: ANN401 - its type is recursive
        """Count a line, and go on with the next."""
        self._count += 1
        if self._count > _MOST_STEPS:
            raise _EndlessTemplateError("it does not end")
        return self.trace
