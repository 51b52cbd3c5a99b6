"""Bring one prompt to a server and its answer back."""

import asyncio
import logging
from collections.abc import Awaitable
from contextlib import aclosing
from dataclasses import replace
from typing import TypeVar

from gemma4_block.contract import (
    Answer,
    Choices,
    FinishReason,
    GenerationConfig,
    JsonSchema,
    Prompt,
)
from gemma4_block.engine.remote.answer_form import check_form, write_form
from gemma4_block.engine.remote.connection import Connection
from gemma4_block.engine.remote.failures import NoAnswerError
from gemma4_block.engine.remote.image_urls import ImageUrls
from gemma4_block.engine.remote.line import Line
from gemma4_block.engine.remote.measuring import measure_free_scores
from gemma4_block.engine.remote.questions import write_question
from gemma4_block.engine.remote.reply import Reply
from gemma4_block.engine.remote.request_body import AnswerForm, Body, Question, write_answer_body
from gemma4_block.engine.remote.written import Turn
from gemma4_block.errors import EngineError, PromptError

_LOGGER = logging.getLogger(__name__)

_Result = TypeVar("_Result")


class Asking:
    """One prompt of a call.

    Args:
        line: To the server.
        urls: The images of the call.
        prompt: What is asked.
        generation: How to answer.

    """

    def __init__(self, line: Line, urls: ImageUrls, prompt: Prompt, generation: GenerationConfig) -> None:
        self._line = line
        self._urls = urls
        self._prompt = prompt
        self._generation = generation
        if isinstance(prompt.constraint, Choices) and line.abilities.has_thinking_allowance:
            self._generation = _bound_thoughts(generation)
        self._image_tokens = 0
        self._reply: Reply | None = None
        self._whole: Answer | None = None

    async def run(self) -> Answer | PromptError:
        """Ask, and return the answer or why there is none.

        Returns:
            Either of them.

        Raises:
            EngineError: The server failed.

        """
        try:
            return await self._run()
        except PromptError as error:
            # The frames of its traceback would keep the images as long as the caller keeps the error.
            return error.with_traceback(None)

    def cut(self, reason: FinishReason) -> Answer:
        """Return what there is of the answer.

        Args:
            reason: Why it ended.

        Returns:
            The answer; whole where only its confidences were not known yet, empty where it had not begun.

        """
        if self._whole is not None:
            return self._whole
        reply = self._begin_reply() if self._reply is None else self._reply
        return reply.read(reason)

    async def _run(self) -> Answer | PromptError:
        written = await write_question(
            self._line, self._urls, self._prompt, enable_thinking=self._generation.enable_thinking
        )
        question, self._image_tokens = written.question, written.image_tokens
        constraint = self._prompt.constraint
        if isinstance(constraint, Choices):
            return await self._choose(question, constraint)
        answer = await self._answer(question, constraint)
        if isinstance(answer, PromptError) or not answer.token_scores:
            return answer
        turn = self._find_turn(question, len(answer.token_scores))
        if turn is None:
            return answer
        scores = await self._or_none(measure_free_scores(turn, answer.token_scores, self._line.ask))
        return answer if scores is None else replace(answer, token_scores=scores)

    async def _choose(self, question: Question, choices: Choices) -> Answer | PromptError:
        scorer = self._line.scorer
        if scorer is not None and not question.enable_thinking:
            return await scorer.score(
                Turn(question=question, opening=scorer.opening),
                choices,
                self._generation,
                self._line.ask,
                image_tokens=self._image_tokens,
            )
        # Where its alternatives cannot be scored behind the thoughts, there is an answer all the same.
        answer = await self._answer(question, choices.schema)
        turn = self._find_turn(question, 0)
        if scorer is None or turn is None or self._reply is None:
            return answer
        scoring = scorer.score(
            turn, choices, self._generation, self._line.ask, image_tokens=self._image_tokens
        )
        scored = await self._or_none(scoring)
        return answer if scored is None else replace(scored, thinking=self._reply.thinking)

    async def _answer(self, question: Question, schema: JsonSchema | None) -> Answer | PromptError:
        body = write_answer_body(
            question,
            self._generation,
            # Beside the loop, which carries the answers of others.
            form=None if schema is None else await asyncio.to_thread(self._write_form, schema),
            needs_log_probabilities=self._needs_log_probabilities,
            context_tokens=self._line.abilities.context_tokens,
        )
        answer = await self._line.ask(lambda connection: self._read(connection, body, question.image_urls))
        if schema is None:
            self._whole = answer
            return answer
        checked = await asyncio.to_thread(check_form, answer, schema.text)
        self._whole = checked if isinstance(checked, Answer) else None
        return checked

    def _find_turn(self, question: Question, answer_tokens: int) -> Turn | None:
        """Return the model's turn up to some token of its answer; None where it cannot be read once more."""
        abilities = self._line.abilities
        opening = abilities.thinking_opening if question.enable_thinking else abilities.opening
        written = None if self._reply is None else self._reply.tokens.find_written(answer_tokens)
        if opening is None or written is None:
            return None
        return Turn(question=question, opening=opening, written=written)

    async def _or_none(self, measuring: Awaitable[_Result]) -> _Result | None:
        """Return what is measured of an answer that is there; None, and say so, where that fails."""
        try:
            return await measuring
        except (EngineError, PromptError) as error:
            _LOGGER.warning("%s answered, without confidences: %s", self._line.server.model_id, error)
            return None

    def _write_form(self, schema: JsonSchema) -> AnswerForm | None:
        form = self._line.abilities.schema_form
        return None if form is None else write_form(schema.text, form)

    async def _read(self, connection: Connection, body: Body, image_urls: tuple[str, ...]) -> Answer:
        """Read a whole answer; one that broke off is begun anew."""
        reply = self._reply = self._begin_reply()
        async with aclosing(connection.stream(body, image_urls)) as chunks:
            async for chunk in chunks:
                reply.take(chunk)
                if reply.is_over:
                    break
        if reply.finish_reason is None:
            raise NoAnswerError(
                f"{self._line.server.model_id} on {connection.url} broke off an answer. Look into its log, "
                "or ask again."
            )
        return reply.read(reply.finish_reason)

    def _begin_reply(self) -> Reply:
        return Reply(
            self._generation, image_tokens=self._image_tokens, needs_token_scores=self._needs_token_scores
        )

    @property
    def _needs_log_probabilities(self) -> bool:
        # Where the answer is ended from here, the text of each token says at which of them.
        is_ended_here = bool(self._generation.stop) or self._generation.max_thinking_tokens is not None
        # The thoughts before choices are read once more.
        needs_texts = is_ended_here or isinstance(self._prompt.constraint, Choices)
        return self._needs_token_scores or (needs_texts and self._line.abilities.has_token_scores)

    @property
    def _needs_token_scores(self) -> bool:
        return self._prompt.needs_token_scores and self._line.abilities.has_token_scores


def _bound_thoughts(generation: GenerationConfig) -> GenerationConfig:
    """Give thoughts the allowance that they have before choices in this process, so that some follow."""
    if not generation.enable_thinking or generation.max_thinking_tokens is not None:
        return generation
    return replace(generation, max_thinking_tokens=generation.max_new_tokens)
