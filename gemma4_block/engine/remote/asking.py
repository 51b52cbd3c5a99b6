"""Bring one prompt to a server and its answer back."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import TypeVar

from gemma4_block.contract import (
    Answer,
    Choices,
    FinishReason,
    GenerationConfig,
    ImageSeqLength,
    JsonSchema,
    Prompt,
    RgbImage,
)
from gemma4_block.engine.remote.answer_form import check_form, write_form
from gemma4_block.engine.remote.choices import ChoiceScorer
from gemma4_block.engine.remote.connection import Connection, close_all
from gemma4_block.engine.remote.failures import NoAnswerError
from gemma4_block.engine.remote.image_urls import ImageUrls
from gemma4_block.engine.remote.probe import Abilities
from gemma4_block.engine.remote.reply import Reply
from gemma4_block.engine.remote.request_body import AnswerForm, Body, Question, write_answer_body
from gemma4_block.engine.remote.retries import ask_until_answered
from gemma4_block.engine.remote.tower_size import TowerGeometry
from gemma4_block.errors import PromptError
from gemma4_block.images import to_rgb
from gemma4_block.servers import Server

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The way to a served model, shared by all calls. Used in one event loop.

    Attributes:
        server: The operator's entry.
        connections: One for each URL, in order.
        abilities: What the server can do.
        geometry: How the model sees images.
        in_flight: Bounds the requests of this process.
        scorer: Scores choices.

    """

    server: Server
    connections: tuple[Connection, ...]
    abilities: Abilities
    geometry: TowerGeometry
    in_flight: asyncio.Semaphore
    scorer: ChoiceScorer

    async def ask(self, request: Callable[[Connection], Awaitable[_Result]]) -> _Result:
        """Send a request when its turn has come, and again where it gets no answer.

        Args:
            request: Sends it over a connection.

        Returns:
            What it returns.

        Raises:
            PromptError: The server refuses the prompt.
            EngineError: There is no answer.

        """

        async def attempt(connection: Connection) -> _Result:
            try:
                return await request(connection)
            except NoAnswerError:
                connection.distrust()
                raise

        async with self.in_flight:
            places = sorted(self.connections, key=lambda connection: connection.is_distrusted)
            return await ask_until_answered(places, attempt)

    async def close(self) -> None:
        """Close the connections."""
        await close_all(self.connections)


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
        self._reply: Reply | None = None

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
            The answer; empty where it had not begun.

        """
        reply = self._begin_reply(0) if self._reply is None else self._reply
        return reply.read(reason)

    async def _run(self) -> Answer | PromptError:
        prompt, abilities = self._prompt, self._line.abilities
        budget = self._find_budget()
        images = [to_rgb(image, "rgb") for image in prompt.images]
        question = Question(
            model=self._line.server.model,
            text=prompt.text,
            image_urls=tuple([await self._urls.find(image, self._find_size(image)) for image in images]),
            system=prompt.system,
            image_seq_length=budget,
        )
        image_tokens = sum(self._count_tokens(image) for image in images)
        constraint = prompt.constraint
        # A chat template drops the thoughts of an answer that is to be gone on with.
        is_scored = abilities.has_choices and not self._generation.enable_thinking
        if isinstance(constraint, Choices) and is_scored:
            return await self._line.scorer.score(
                question, constraint, self._generation, self._line.ask, image_tokens=image_tokens
            )
        schema = constraint.schema if isinstance(constraint, Choices) else constraint
        body = write_answer_body(
            question,
            self._generation,
            # Beside the loop, which carries the answers of others.
            form=None if schema is None else await asyncio.to_thread(self._write_form, schema),
            needs_log_probabilities=self._needs_log_probabilities,
            context_tokens=abilities.context_tokens,
        )
        answer = await self._line.ask(
            lambda connection: self._read(connection, body, question.image_urls, image_tokens)
        )
        return answer if schema is None else await asyncio.to_thread(check_form, answer, schema.text)

    def _write_form(self, schema: JsonSchema) -> AnswerForm | None:
        form = self._line.abilities.schema_form
        return None if form is None else write_form(schema.text, form)

    async def _read(
        self, connection: Connection, body: Body, image_urls: tuple[str, ...], image_tokens: int
    ) -> Answer:
        """Read a whole answer; one that broke off is begun anew."""
        reply = self._reply = self._begin_reply(image_tokens)
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

    def _begin_reply(self, image_tokens: int) -> Reply:
        return Reply(self._generation, image_tokens=image_tokens, needs_token_scores=self._needs_token_scores)

    @property
    def _needs_log_probabilities(self) -> bool:
        # Where the answer is ended from here, the text of each token says at which of them.
        is_ended_here = bool(self._generation.stop) or self._generation.max_thinking_tokens is not None
        return self._needs_token_scores or (is_ended_here and self._line.abilities.has_token_scores)

    @property
    def _needs_token_scores(self) -> bool:
        return self._prompt.needs_token_scores and self._line.abilities.has_token_scores

    def _find_budget(self) -> ImageSeqLength | None:
        """Return the budget to ask for; None for the server's own."""
        abilities, asked = self._line.abilities, self._prompt.image_seq_length
        if self._prompt.images and abilities.image_seq_length is None:
            raise PromptError(
                f"{self._line.server.model_id} reads no images on its server, or not as Gemma 4 does. Ask "
                "without, or let the server serve Gemma 4 with images."
            )
        if asked is None or not self._prompt.images or asked == abilities.image_seq_length:
            return asked if abilities.has_budgets else None
        if not abilities.has_budgets:
            raise PromptError(
                f"image_seq_length is {asked}, and the server of {self._line.server.model_id} has "
                f"{abilities.image_seq_length} for every image. Ask for that, or start vLLM with "
                "--trust-request-mm-kwargs."
            )
        return asked

    def _find_size(self, image: RgbImage) -> tuple[int, int]:
        height, width = image.shape[:2]
        return self._line.geometry.find_sent_size((width, height), self._seen_budget)

    def _count_tokens(self, image: RgbImage) -> int:
        height, width = image.shape[:2]
        return self._line.geometry.count_soft_tokens((width, height), self._seen_budget)

    @property
    def _seen_budget(self) -> ImageSeqLength:
        asked = self._prompt.image_seq_length
        budget = self._line.abilities.image_seq_length if asked is None else asked
        assert budget is not None, "checked before images are looked at"
        return budget
