"""Measure how likely an answer was among all that could have been said, after it was written.

A server holds an answer to a grammar before it says how likely its tokens were. Of the tokens of a prompt it
says so without one, so it gets the finished answer to read.
"""

from dataclasses import replace
from itertools import zip_longest

from gemma4_block.contract import TokenScore
from gemma4_block.engine.remote.choices import Ask
from gemma4_block.engine.remote.request_body import write_scoring_body
from gemma4_block.engine.remote.scoring import read_beginning
from gemma4_block.engine.remote.written import Turn


async def measure_free_scores(turn: Turn, scores: tuple[TokenScore, ...], ask: Ask) -> tuple[TokenScore, ...]:
    """Return the scores of an answer's tokens with their log-probabilities among all tokens.

    Args:
        turn: The model's turn, up to the last of these tokens.
        scores: One for each token of the answer, without those before it.
        ask: Sends a request.

    Returns:
        The same scores, with `free_log_probability` as far as the server read the tokens that it wrote: at
        the end of an answer that was cut off it may read others.

    Raises:
        PromptError: The server refuses the prompt.
        EngineError: The server failed, reads none of the tokens that it wrote, or gives no log-probabilities.

    """
    body = write_scoring_body(turn.question, turn.write())
    found = await ask(lambda connection: connection.complete(body, turn.question.image_urls))
    known = turn.known_ids
    free = read_beginning(found, known, given=len(known) - len(scores))
    return tuple(replace(score, free_log_probability=one) for score, one in zip_longest(scores, free))
