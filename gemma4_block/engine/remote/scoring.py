"""Compute how likely texts are as answers, from the log-probabilities that a server gives."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.remote.wire import Completion
from gemma4_block.errors import EngineError

_TEMPERATURE, _TOP_K, _TOP_P = 1.0, 64, 0.95
"""Source: generation_config.json of google/gemma-4-E2B-it, and of the other published sizes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LastTokens:
    """Alternatives that differ in their last token only, so that one request scores them.

    Attributes:
        beginning: The text that they share, as far as the last token.
        beginning_ids: Its token ids.
        token_ids: The last token of each alternative.

    """

    beginning: str
    beginning_ids: tuple[int, ...]
    token_ids: tuple[int, ...]


def find_shared_beginning(texts: Sequence[str]) -> str:
    """Return what all texts begin with, without white space at its end, which a chat template cuts off.

    >>> find_shared_beginning(['{"cat": true', '{"cat": false'])
    '{"cat":'
    """
    shortest = min(texts, key=len)
    length = next(
        (place for place in range(len(shortest)) if len({text[place] for text in texts}) > 1), len(shortest)
    )
    return shortest[:length].rstrip()


def find_last_tokens(
    beginning: str, beginning_ids: tuple[int, ...], text_ids: Sequence[tuple[int, ...]]
) -> LastTokens | None:
    """Return the last tokens of alternatives that differ in nothing else.

    Args:
        beginning: The text that all share.
        beginning_ids: Its token ids.
        text_ids: Those of each alternative.

    Returns:
        None where they differ in more, or where the text that they share is not a whole number of tokens.

    """
    if not beginning or any(ids[:-1] != beginning_ids for ids in text_ids):
        return None
    return LastTokens(
        beginning=beginning, beginning_ids=beginning_ids, token_ids=tuple(ids[-1] for ids in text_ids)
    )


def read_last_tokens(completion: Completion, asked: LastTokens) -> list[float]:
    """Return the log-probability of each alternative's last token.

    Args:
        completion: The server's answer, with tokens named by id.
        asked: What it was asked.

    Returns:
        Natural logarithms, in order.

    Raises:
        EngineError: The server gives no log-probabilities.

    """
    logprobs = completion.choices[0].logprobs
    places = None if logprobs is None else logprobs.content
    found: Mapping[str, float] = {}
    if places:
        found = {likely.token: likely.logprob for likely in (*places[0].top_logprobs, places[0])}
    names = [f"token_id:{token_id}" for token_id in asked.token_ids]
    if not all(name in found for name in names):
        raise EngineError(_NOT_GIVEN)
    return [found[name] for name in names]


def read_tokens(completion: Completion, token_ids: tuple[int, ...], *, given: int) -> list[float]:
    """Return the log-probability of each token that counts, among all tokens and given all before it.

    Args:
        completion: The server's answer.
        token_ids: The tokens that end the prompt.
        given: How many of the first of them are taken as said, and do not count.

    Returns:
        Natural logarithms, in order.

    Raises:
        EngineError: The server read other tokens, or gives no log-probabilities.

    """
    ids = tuple(completion.prompt_token_ids or ())
    if ids[len(ids) - len(token_ids) :] != token_ids:
        raise EngineError(_READ_OTHERWISE)
    counted = token_ids[given:]
    return _look_up(completion, len(ids) - len(counted), counted)


def read_beginning(completion: Completion, token_ids: tuple[int, ...], *, given: int) -> list[float]:
    """Return the log-probability of each token that counts, as far as the server read the same tokens.

    Args:
        completion: The server's answer.
        token_ids: The tokens that the prompt was to be.
        given: How many of the first of them do not count.

    Returns:
        Natural logarithms, in order; fewer where the prompt goes on otherwise.

    Raises:
        EngineError: The server read none of those that count, or gives no log-probabilities.

    """
    same = count_shared([token_ids, completion.prompt_token_ids or ()])
    if same <= given:
        raise EngineError(_READ_OTHERWISE)
    return _look_up(completion, given, token_ids[given:same])


def add_rest(log_probabilities: Sequence[float], rest: int | None) -> list[float]:
    """Return log-probabilities where one alternative also stands for all that is none of them.

    Args:
        log_probabilities: Of each alternative.
        rest: Its place; None where every alternative means itself alone.

    Returns:
        Natural logarithms, in order.

    Example:
        >>> [round(math.exp(one), 6) for one in add_rest([math.log(0.1), math.log(0.3)], 0)]
        [0.7, 0.3]

    """
    found = list(log_probabilities)
    if rest is not None:
        left = max(0.0, 1 - math.fsum(map(math.exp, found)))
        whole = math.exp(found[rest]) + left
        found[rest] = math.log(whole) if whole > 0 else found[rest]
    return found


def add_up(log_probabilities: Sequence[float]) -> float:
    """Return how likely any of the alternatives is, 0 to 1."""
    return min(1.0, math.fsum(map(math.exp, log_probabilities)))


def count_shared(texts: Sequence[Sequence[int]]) -> int:
    """Return with how many tokens that are the same all of some texts begin.

    >>> count_shared([(5, 6, 7), (5, 6, 8), (5, 6)])
    2
    """
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, zip(*texts, strict=False)))


def normalise(log_probabilities: Sequence[float]) -> tuple[float, ...]:
    """Return probabilities that add up to 1.

    >>> [round(one, 6) for one in normalise([math.log(0.1), math.log(0.3)])]
    [0.25, 0.75]
    """
    highest = max(log_probabilities)
    weights = [math.exp(one - highest) for one in log_probabilities]
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


class Chooser:
    """Chooses the alternative of each group: the likeliest, or one by chance.

    Args:
        generation: How to answer.

    """

    def __init__(self, generation: GenerationConfig) -> None:
        self._generation = generation
        self._random = random.Random(generation.seed)  # noqa: S311 - no secret

    def choose(self, probabilities: Sequence[float]) -> int:
        """Return the place of the alternative that is chosen; the first of equals.

        Args:
            probabilities: Of each, adding up to 1.

        Returns:
            Its place.

        """
        ranked = sorted(range(len(probabilities)), key=lambda place: -probabilities[place])
        if not self._generation.do_sample:
            return ranked[0]
        temperature = _first_set(self._generation.temperature, _TEMPERATURE)
        top_k = int(_first_set(self._generation.top_k, _TOP_K))
        top_p = _first_set(self._generation.top_p, _TOP_P)
        warmed = normalise([math.log(max(one, 1e-300)) / temperature for one in probabilities])
        kept = ranked[:top_k]
        sums = [math.fsum(warmed[other] for other in kept[:place]) for place in range(len(kept))]
        enough = top_p * math.fsum(warmed[place] for place in kept)
        kept = [place for place, before in zip(kept, sums, strict=True) if before < enough]
        return self._random.choices(kept, weights=[warmed[place] for place in kept])[0]


_NOT_GIVEN = (
    "The server gave no log-probabilities of what it was to read, though it did when it was connected to. "
    "Look into its log, and ask for the model again."
)
_READ_OTHERWISE = (
    "The server read what a model said as other tokens than it was said in, so that nothing can be told of "
    "those."
)


def _look_up(completion: Completion, begin: int, token_ids: tuple[int, ...]) -> list[float]:
    """Return the log-probabilities of a prompt's tokens from some place on."""
    known = (completion.prompt_logprobs or ())[begin : begin + len(token_ids)]
    if len(known) < len(token_ids):
        raise EngineError(_NOT_GIVEN)
    found = []
    for token_id, place in zip(token_ids, known, strict=True):
        if place is None or str(token_id) not in place:
            raise EngineError(_NOT_GIVEN)
        found.append(place[str(token_id)].logprob)
    return found


def _first_set(asked: float | None, default: float) -> float:
    return default if asked is None else asked
