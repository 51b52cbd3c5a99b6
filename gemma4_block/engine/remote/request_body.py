"""Write the body of a request: OpenAI's chat completion with the fields that vLLM adds."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import JsonValue

from gemma4_block.contract import GenerationConfig, ImageSeqLength
from gemma4_block.engine.remote.plain_text import neutralise

Body = dict[str, JsonValue]

SchemaForm = Literal["grammar", "schema"]
"""How a server is told a JSON Schema: as a grammar of llguidance, which knows our form, or as it is."""

# The tokens that open and close a thought are not counted as thoughts.
_CHANNEL_TOKENS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked, ready to be sent.

    Attributes:
        model: The server's name of the model.
        text: Of the user.
        image_urls: Data URLs; they come before the text.
        system: Text of the system turn; None for none.
        image_seq_length: Visual token budget; None leaves it to the server.
        enable_thinking: Whether the model may think before it answers.

    """

    model: str
    text: str
    image_urls: tuple[str, ...] = ()
    system: str | None = None
    image_seq_length: ImageSeqLength | None = None
    enable_thinking: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerForm:
    """What an answer is held to.

    Attributes:
        schema_form: How `text` says it.
        text: A grammar, or a JSON Schema.

    """

    schema_form: SchemaForm
    text: str


def write_answer_body(
    question: Question,
    generation: GenerationConfig,
    *,
    form: AnswerForm | None = None,
    needs_log_probabilities: bool = False,
    context_tokens: int | None = None,
) -> Body:
    """Return the body of a request for a streamed answer.

    Args:
        question: What is asked.
        generation: How to answer. Stop texts are not sent.
        form: What the answer is held to; None for nothing.
        needs_log_probabilities: Ask for the log-probability of each token, which comes with its text.
        context_tokens: Positions that the server has; None where it does not say.

    Returns:
        The body.

    """
    allowance = generation.max_thinking_tokens
    most = generation.max_new_tokens + (0 if allowance is None else allowance + _CHANNEL_TOKENS)
    body = write_question(question) | {
        "max_tokens": most if context_tokens is None else min(most, context_tokens),
        "stream": True,
        # Answers that are ended from here get no last event with the counts.
        "stream_options": {"include_usage": True, "continuous_usage_stats": True},
        "return_token_ids": True,
    }
    body |= _write_sampling(generation)
    if allowance is not None:
        body["thinking_token_budget"] = allowance
    if needs_log_probabilities:
        body["logprobs"] = True
    if form is not None:
        body |= write_form_fields(form)
    return body


def write_scoring_body(
    question: Question, said: str, *, token_ids: Sequence[int] = (), needs_said: bool = True
) -> Body:
    """Return the body of a request that says how likely a text is as an answer, or what comes after it.

    Args:
        question: What is asked.
        said: What comes behind the user's text, up to where the model is to go on. Control tokens in it act.
        token_ids: Ask for the log-probabilities of these as the next token.
        needs_said: Ask for those of all tokens so far, for which a server reads the whole prompt anew.

    Returns:
        The body.

    """
    body = write_question(question, said) | {
        "add_generation_prompt": False,
        "continue_final_message": True,
        "max_tokens": 1,
        "temperature": 0,
        "return_token_ids": True,
    }
    if needs_said:
        body["prompt_logprobs"] = 0
    if token_ids:
        body |= {
            "logprobs": True,
            "logprob_token_ids": list(token_ids),
            "return_tokens_as_token_ids": True,
        }
    return body


def write_encoding_body(question: Question, said: str | None) -> Body:
    """Return the body of a small request that gives away the token ids of a prompt.

    Args:
        question: What is asked.
        said: What comes behind the user's text; None for what the server puts there before an answer.

    Returns:
        The body.

    """
    if said is None:
        return write_question(question) | {"max_tokens": 1, "temperature": 0, "return_token_ids": True}
    return write_scoring_body(question, said, needs_said=False)


def write_question(question: Question, said: str = "") -> Body:
    """Return the fields that ask: model, messages, the budget of images, and whether to think.

    Args:
        question: What is asked.
        said: What comes behind the user's text. Control tokens in it act.

    Returns:
        Fields of a body.

    """
    content: list[JsonValue] = [
        {"type": "image_url", "image_url": {"url": url}} for url in question.image_urls
    ]
    content.append({"type": "text", "text": neutralise(question.text.strip()) + said})
    messages: list[JsonValue] = [{"role": "user", "content": content}]
    system = "" if question.system is None else question.system.strip()
    if system:
        text: JsonValue = [{"type": "text", "text": neutralise(system)}]
        messages.insert(0, {"role": "system", "content": text})
    body: Body = {"model": question.model, "messages": messages}
    if question.image_urls and question.image_seq_length is not None:
        body["mm_processor_kwargs"] = {"max_soft_tokens": question.image_seq_length}
    if question.enable_thinking:
        body["chat_template_kwargs"] = {"enable_thinking": True}
    return body


def _write_sampling(generation: GenerationConfig) -> Body:
    if not generation.do_sample:
        body: Body = {"temperature": 0}
    else:
        # What is left out is what the checkpoint's generation_config.json says.
        given: Body = {
            "temperature": generation.temperature,
            "top_p": generation.top_p,
            "top_k": generation.top_k,
            "seed": generation.seed,
        }
        body = {name: value for name, value in given.items() if value is not None}
    if generation.repetition_penalty is not None:
        body["repetition_penalty"] = generation.repetition_penalty
    return body


def write_form_fields(form: AnswerForm) -> Body:
    """Return the fields that hold an answer to a form.

    Args:
        form: What it is held to.

    Returns:
        Fields of a body.

    """
    if form.schema_form == "grammar":
        return {"structured_outputs": {"grammar": form.text}}
    schema: JsonValue = {"name": "answer", "strict": True, "schema": json.loads(form.text)}
    return {"response_format": {"type": "json_schema", "json_schema": schema}}
