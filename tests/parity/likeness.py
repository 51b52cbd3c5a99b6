"""What has to be equal of two answers to one question, and what only nearly."""

from dataclasses import replace

from gemma4_block.contract import Answer

# Of a probability, in float32, where the two differ in the order of their sums.
TOLERANCE = 0.01


def without_numbers(found: Answer) -> Answer:
    """Return an answer without the numbers that are compared with a tolerance."""
    return replace(found, token_scores=None, choice_probabilities=None, group_probabilities=None)


def numbers(found: Answer) -> list[float]:
    """Return its probabilities, and the log-probabilities of its tokens."""
    chosen = [one for group in found.choice_probabilities or () for one in group]
    chosen += found.group_probabilities or ()
    return chosen + [score.log_probability for score in found.token_scores or ()]
