"""What a server sends back, read with types: the fields that we use, of OpenAI's form and of vLLM's."""

from collections.abc import Mapping

from pydantic import AliasChoices, BaseModel, Field


class Delta(BaseModel):
    """What a chunk adds to a reply."""

    content: str | None = None
    # vLLM renamed it in 0.12.
    reasoning: str | None = Field(
        default=None, validation_alias=AliasChoices("reasoning", "reasoning_content")
    )


class LikelyToken(BaseModel):
    """A token that might have come at one place of a reply."""

    token: str
    logprob: float


class TokenLogprob(LikelyToken):
    """A token that came; `bytes` are those of its text."""

    bytes: list[int] | None = None
    top_logprobs: list[LikelyToken] = []


class Logprobs(BaseModel):
    """Of the tokens of a chunk, or of a whole reply."""

    content: list[TokenLogprob] | None = None


class ChunkChoice(BaseModel):
    """The one reply of a chunk. `token_ids` are vLLM's."""

    delta: Delta = Delta()
    finish_reason: str | None = None
    logprobs: Logprobs | None = None
    token_ids: list[int] | None = None


class Usage(BaseModel):
    """Tokens so far."""

    prompt_tokens: int = 0
    completion_tokens: int | None = 0


class Chunk(BaseModel):
    """One event of a stream. `prompt_token_ids` are vLLM's, and come with the first."""

    choices: list[ChunkChoice] = []
    prompt_token_ids: list[int] | None = None
    usage: Usage | None = None


class Message(BaseModel):
    """A whole reply."""

    content: str | None = None
    reasoning: str | None = Field(
        default=None, validation_alias=AliasChoices("reasoning", "reasoning_content")
    )


class CompletionChoice(BaseModel):
    """The one reply of a completion."""

    message: Message
    finish_reason: str | None = None
    logprobs: Logprobs | None = None


class PromptLogprob(BaseModel):
    """Of one token of a prompt."""

    logprob: float


class Completion(BaseModel):
    """A reply that was not streamed. `prompt_token_ids` and `prompt_logprobs` are vLLM's."""

    choices: list[CompletionChoice] = Field(min_length=1)
    usage: Usage = Usage()
    prompt_token_ids: list[int] | None = None
    prompt_logprobs: list[Mapping[str, PromptLogprob] | None] | None = None


class ServedName(BaseModel):
    """A model that a server has. `max_model_len` is vLLM's."""

    id: str
    max_model_len: int | None = None


class ServedNames(BaseModel):
    """The models that a server has."""

    data: list[ServedName]
