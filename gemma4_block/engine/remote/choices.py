"""Score the alternatives of `Choices` on a server: one request a group where that does, else one for each."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeVar

from gemma4_block.contract import Answer, Choices, GenerationConfig
from gemma4_block.engine.remote.connection import Connection
from gemma4_block.engine.remote.once import Once
from gemma4_block.engine.remote.plain_text import neutralise
from gemma4_block.engine.remote.request_body import (
    Body,
    Question,
    write_encoding_body,
    write_scoring_body,
)
from gemma4_block.engine.remote.scoring import (
    Chooser,
    add_rest,
    add_up,
    count_shared,
    find_last_tokens,
    find_shared_beginning,
    normalise,
    read_last_tokens,
    read_tokens,
)
from gemma4_block.engine.remote.wire import Completion
from gemma4_block.engine.remote.written import Turn
from gemma4_block.errors import EngineError

_Result = TypeVar("_Result")

# Ids of so many texts are kept; a class is a text or two.
_MOST_TEXTS = 4096


class Ask(Protocol):
    """Sends a request and returns what it returns."""

    def __call__(self, request: Callable[[Connection], Awaitable[_Result]]) -> Awaitable[_Result]:
        """Send it, again where it gets no answer."""


class ChoiceScorer:
    """Knows the tokens of texts on one server. Used in one event loop.

    Args:
        model: The server's name of the model.
        opening: What stands between a question and its answer there.

    """

    def __init__(self, model: str, opening: str) -> None:
        self.opening = opening
        self._question = Question(model=model, text="?")
        # None is the beginning of the model's turn.
        self._ids: Once[str | None, tuple[int, ...]] = Once(_MOST_TEXTS)

    async def score(
        self, turn: Turn, choices: Choices, generation: GenerationConfig, ask: Ask, *, image_tokens: int
    ) -> Answer:
        """Return the answer that is chosen, with the probability of every alternative.

        Args:
            turn: The model's turn, up to where the answer begins.
            choices: The alternatives, each scored right there.
            generation: How to choose.
            ask: Sends a request.
            image_tokens: Soft tokens of the images.

        Returns:
            The answer, without the text of thoughts.

        Raises:
            PromptError: The server refuses the prompt.
            EngineError: The server failed, reads other tokens than it wrote, or gives no log-probabilities.

        """
        groups = choices.groups
        lead = await self._encode(choices.lead, ask) if choices.lead else ()
        scored = await asyncio.gather(*(self._score_group(turn, group, lead, ask) for group in groups))
        chooser = Chooser(generation)
        whole = [add_rest(group_scores, choices.rest) for group_scores, _ in scored]
        probabilities = [normalise(group_scores) for group_scores in whole]
        chosen = [chooser.choose(group) for group in probabilities]
        texts = [group[place] for group, place in zip(groups, chosen, strict=True)]
        ids = [await self._encode(text, ask) for text in texts]
        return Answer(
            text="\n".join(texts),
            thinking="",
            finish_reason="stop",
            input_tokens=min(input_tokens for _, input_tokens in scored),
            output_tokens=len(turn.written_ids) + sum(map(len, ids)),
            image_tokens=image_tokens,
            choice_probabilities=tuple(probabilities),
            group_probabilities=tuple(add_up(group_scores) for group_scores in whole),
        )

    async def _score_group(
        self, turn: Turn, texts: Sequence[str], lead: tuple[int, ...], ask: Ask
    ) -> tuple[list[float], int]:
        """Return the log-probability of each text after the lead, and the tokens of the prompt before it."""
        ids = await asyncio.gather(*(self._encode(text, ask) for text in texts))
        known = turn.known_ids
        # The last token of the lead may be another one where a text goes on behind it.
        given = len(known) + count_shared([lead, *ids])
        beginning = find_shared_beginning(texts)
        last = None
        if len(texts) > 1 and beginning:
            last = find_last_tokens(beginning, await self._encode(beginning, ask), ids)
        if last is not None:
            shared_ids = known + last.beginning_ids
            is_counted = given < len(shared_ids)
            body = write_scoring_body(
                turn.question, turn.write(last.beginning), token_ids=last.token_ids, needs_said=is_counted
            )
            found = await _complete(body, ask, turn.question.image_urls)
            shared = sum(read_tokens(found, shared_ids, given=given))
            scores = [shared + one for one in read_last_tokens(found, last)]
            return scores, found.usage.prompt_tokens - len(turn.written_ids) - len(last.beginning_ids)
        bodies = [write_scoring_body(turn.question, turn.write(text)) for text in texts]
        completions = await asyncio.gather(
            *(_complete(body, ask, turn.question.image_urls) for body in bodies)
        )
        scores = [
            sum(read_tokens(one, known + own, given=given)) for one, own in zip(completions, ids, strict=True)
        ]
        return scores, completions[0].usage.prompt_tokens - len(turn.written_ids) - len(ids[0])

    async def _encode(self, text: str, ask: Ask) -> tuple[int, ...]:
        """Return the token ids of a text at the beginning of an answer."""
        start = await self._ids.find(None, lambda: self._find_ids(None, ask))
        whole = await self._ids.find(text, lambda: self._find_ids(self.opening + neutralise(text), ask))
        if whole[: len(start)] != start:
            raise EngineError(
                f"The server reads {text!r} together with what stands before it. Ask for the model again."
            )
        return whole[len(start) :]

    async def _find_ids(self, said: str | None, ask: Ask) -> tuple[int, ...]:
        completion = await _complete(write_encoding_body(self._question, said), ask)
        return tuple(completion.prompt_token_ids or ())


async def _complete(body: Body, ask: Ask, image_urls: Sequence[str] = ()) -> Completion:
    return await ask(lambda connection: connection.complete(body, image_urls))
