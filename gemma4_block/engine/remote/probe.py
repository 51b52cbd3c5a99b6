"""Find out what a server can do by asking it small questions, whatever it says it can."""

import asyncio
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from gemma4_block.contract import IMAGE_SEQ_LENGTHS, ImageSeqLength
from gemma4_block.engine.remote.answer_form import write_form
from gemma4_block.engine.remote.connection import Connection
from gemma4_block.engine.remote.image_urls import encode
from gemma4_block.engine.remote.request_body import (
    Body,
    Question,
    SchemaForm,
    write_encoding_body,
    write_form_fields,
    write_question,
    write_scoring_body,
)
from gemma4_block.engine.remote.tower_size import TowerGeometry
from gemma4_block.engine.remote.wire import Completion
from gemma4_block.engine.remote.written import OPENINGS
from gemma4_block.errors import EngineError, PromptError
from gemma4_block.servers import Server

_PICTURE = np.full((96, 96, 3), 128, dtype=np.uint8)
# What a model says by itself about nothing.
_SCHEMA = json.dumps({"enum": ["zq-17"]})
_BEGINNING = '{"a": 1'
_FORMS: tuple[SchemaForm, ...] = ("grammar", "schema")
# `<|image>` and `<image|>` around the soft tokens.
_IMAGE_BRACKETS = 2

_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Abilities:
    """What a server was found to do.

    Attributes:
        context_tokens: Positions for prompt and answer; None where it does not say.
        image_seq_length: The visual token budget of an image where a request names none; None where it reads
            no images, or counts them in no way that we know.
        has_budgets: Whether a request may name another.
        schema_form: How it is told a JSON Schema; None where it holds to none.
        has_token_scores: Whether it says how likely each token of an answer was.
        opening: What it puts between a question and an answer without thoughts; None where it cannot be told,
            or where the server does not say how likely a given answer is.
        thinking_opening: The same where the model may think.
        has_thinking: Whether it tells thoughts from answers.
        has_thinking_allowance: Whether it bounds thoughts.

    """

    context_tokens: int | None
    image_seq_length: ImageSeqLength | None
    has_budgets: bool
    schema_form: SchemaForm | None
    has_token_scores: bool
    opening: str | None
    thinking_opening: str | None
    has_thinking: bool
    has_thinking_allowance: bool

    @property
    def lacks(self) -> tuple[str, ...]:
        """What it cannot do, in words, each with what to do about it."""
        found = {
            "it reads no images, or not as Gemma 4 does": self.image_seq_length is not None,
            "image_seq_length stays at the server's own: start vLLM with --trust-request-mm-kwargs": (
                self.has_budgets
            ),
            "it ignores JSON Schemas, so answers are only checked: enable structured outputs": (
                self.schema_form is not None
            ),
            "it knows no grammars of llguidance, so answers in JSON may run into blanks: choose the backend "
            "auto or guidance": self.schema_form != "schema",
            "it gives no log-probabilities, so tokens have no scores": self.has_token_scores,
            "it cannot score given answers, so classes and boxes have no confidence": (
                self.opening is not None
            ),
            "it cannot score answers behind thoughts, so those have no confidence": (
                self.thinking_opening is not None or self.opening is None or not self.has_thinking
            ),
            "it does not tell thoughts from answers: start vLLM with --reasoning-parser gemma4": (
                self.has_thinking
            ),
            "max_thinking_tokens has no effect there": self.has_thinking_allowance or not self.has_thinking,
        }
        return tuple(text for text, is_there in found.items() if not is_there)


async def probe(connection: Connection, server: Server, geometry: TowerGeometry) -> Abilities:
    """Ask a server for what the engine needs of it.

    Args:
        connection: To it.
        server: The operator's entry.
        geometry: Of the model.

    Returns:
        What it can do.

    Raises:
        EngineError: It cannot be reached, refuses the key, or has no such model.

    """
    context_tokens = await _find_context(connection, server)
    plain = await connection.complete(_write_first(server.model) | {"logprobs": True})
    own, budgets, schema_form, opening, thinking_opening, thinking = await asyncio.gather(
        _find_length(connection, server, geometry, plain, None),
        _find_budgets(connection, server, geometry, plain),
        _find_schema_form(connection, server.model),
        _find_opening(connection, Question(model=server.model, text="?")),
        _find_opening(connection, Question(model=server.model, text="?", enable_thinking=True)),
        _find_thinking(connection, server.model),
    )
    logprobs = plain.choices[0].logprobs
    return Abilities(
        context_tokens=context_tokens,
        image_seq_length=own,
        has_budgets=budgets,
        schema_form=schema_form,
        has_token_scores=logprobs is not None and bool(logprobs.content),
        opening=opening,
        thinking_opening=thinking_opening,
        has_thinking=thinking[0],
        has_thinking_allowance=thinking[1],
    )


async def _find_context(connection: Connection, server: Server) -> int | None:
    served = {model.id: model for model in (await connection.list_models()).data}
    if server.model not in served:
        raise EngineError(
            f"{server.model_id} on {connection.url} has no model {server.model}; it has "
            f"{', '.join(served) or 'none'}. Correct model in GEMMA4_BLOCK_SERVERS, or start the server with "
            "--served-model-name."
        )
    return served[server.model].max_model_len


def _write_first(model: str) -> Body:
    return write_encoding_body(Question(model=model, text="?"), None)


async def _find_length(
    connection: Connection,
    server: Server,
    geometry: TowerGeometry,
    plain: Completion,
    budget: ImageSeqLength | None,
) -> ImageSeqLength | None:
    """Return the budget that an image gets, from how many tokens it takes."""
    url = encode(_PICTURE, _PICTURE.shape[1::-1])
    question = Question(model=server.model, text="?", image_urls=(url,), image_seq_length=budget)
    body = _write_first(server.model) | write_question(question)
    seen = await _or_none(connection.complete(body))
    if seen is None:
        return None
    tokens = seen.usage.prompt_tokens - plain.usage.prompt_tokens - _IMAGE_BRACKETS
    size_wh = _PICTURE.shape[1::-1]
    counts = {geometry.count_soft_tokens(size_wh, length): length for length in IMAGE_SEQ_LENGTHS}
    return counts.get(tokens)


async def _find_budgets(
    connection: Connection, server: Server, geometry: TowerGeometry, plain: Completion
) -> bool:
    # Two of them, because one may be the server's own.
    asked = IMAGE_SEQ_LENGTHS[:2]
    found = [await _find_length(connection, server, geometry, plain, budget) for budget in asked]
    return found == list(asked)


async def _find_schema_form(connection: Connection, model: str) -> SchemaForm | None:
    for form in _FORMS:
        body = _write_first(model) | {"max_tokens": 24} | write_form_fields(write_form(_SCHEMA, form))
        answer = await _or_none(connection.complete(body))
        if answer is not None and (answer.choices[0].message.content or "").strip() == '"zq-17"':
            return form
    return None


async def _find_opening(connection: Connection, question: Question) -> str | None:
    """Return what stands before an answer, where a text can be scored in its place."""
    start = await _or_none(connection.complete(write_encoding_body(question, None)))
    if start is None or not start.prompt_token_ids:
        return None
    length = len(start.prompt_token_ids)
    for opening in OPENINGS:
        scored = await _or_none(connection.complete(write_scoring_body(question, opening + _BEGINNING)))
        ids = [] if scored is None else scored.prompt_token_ids or []
        begins_alike = ids[:length] == start.prompt_token_ids and len(ids) > length
        if scored is not None and begins_alike and len(scored.prompt_logprobs or ()) == len(ids):
            return opening
    return None


async def _find_thinking(connection: Connection, model: str) -> tuple[bool, bool]:
    """Say whether thoughts come apart from the answer, and whether they can be bounded."""
    question = Question(model=model, text="?", enable_thinking=True)
    body = write_encoding_body(question, None) | {"max_tokens": 24}
    free = await _or_none(connection.complete(body))
    if free is None or not _has_thoughts(free):
        return (False, False)
    bounded = await _or_none(connection.complete(body | {"thinking_token_budget": 1}))
    return (True, bounded is not None and not (bounded.choices[0].message.reasoning or "").strip())


def _has_thoughts(completion: Completion) -> bool:
    # Without the parser the channel's name is all that is left of the thought's beginning.
    message = completion.choices[0].message
    return not (message.content or "").lstrip().startswith("thought")


async def _or_none(asking: Awaitable[_Result]) -> _Result | None:
    try:
        return await asking
    except PromptError:
        return None
