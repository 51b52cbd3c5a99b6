"""Say of every call of an engine how much it was, in the log and to the operator's monitoring."""

import logging
from collections.abc import Sequence
from typing import Final

from gemma4_block.contract import Answer
from gemma4_block.errors import PromptError
from gemma4_block.log_line import log_line
from gemma4_block.meter import get_meter

_LOGGER: Final = logging.getLogger(__name__)


def account_for(results: Sequence[Answer | PromptError], seconds: float) -> None:
    """Log a call in one line, with counts and no texts, and count it.

    Args:
        results: Of all its prompts.
        seconds: From the first check to the last answer.

    """
    answers = [one for one in results if isinstance(one, Answer)]
    refused = len(results) - len(answers)
    read = sum(answer.input_tokens for answer in answers)
    written = sum(answer.output_tokens for answer in answers)
    meter = get_meter()
    meter.note_answers(len(answers), read, written)
    if refused:
        meter.note_refusal(PromptError.__name__, refused)
    _LOGGER.info(
        log_line(
            "Request",
            answers=len(answers),
            refused=refused,
            input_tokens=read,
            output_tokens=written,
            seconds=seconds,
        )
    )
