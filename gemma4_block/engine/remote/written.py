"""What a model wrote, token by token, and the text that a server reads as the same tokens again.

A chat template begins the turn of a model that is to go on otherwise than that of a model that is to answer:
it drops thoughts, and with 12B, 26B and 31B the empty thought that stands before an answer. So the turn is
written behind the user's text, with its control tokens, in which a user's text has no part. What a server
says of it counts only where it read the very tokens that it had written.
"""

from dataclasses import dataclass
from itertools import groupby

from gemma4_block.engine.remote.plain_text import neutralise
from gemma4_block.engine.remote.request_body import Question

OPENINGS = (
    "<turn|>\n<|turn>model\n",
    "<turn|>\n<|turn>model\n<|channel>thought\n<channel|>",
)
"""What templates put between the user's text and an answer: the second is that of 12B, 26B and 31B where
thoughts are not wanted. Source: chat_template.jinja of google/gemma-4-E2B-it and google/gemma-4-31B-it."""

OPENS_THOUGHT, CLOSES_THOUGHT = "<|channel>", "<channel|>"
OPENS_THOUGHT_ID, CLOSES_THOUGHT_ID = 100, 101
"""Source: tokenizer.json of google/gemma-4-E2B-it, whose vocabulary all sizes share."""

_CHANNEL_TOKENS = {OPENS_THOUGHT_ID: OPENS_THOUGHT, CLOSES_THOUGHT_ID: CLOSES_THOUGHT}


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """The beginning of what a model wrote, or all of it.

    Attributes:
        prompt_ids: The tokens of the prompt, soft tokens of images included.
        token_ids: The tokens that it wrote, thoughts and the tokens around them included.
        pieces: The UTF-8 bytes of each; one may end inside a character.

    """

    prompt_ids: tuple[int, ...]
    token_ids: tuple[int, ...]
    pieces: tuple[bytes, ...]

    @property
    def text(self) -> str:
        """All of it as text, with the control tokens of thoughts and no others."""
        parts = []
        numbered = zip(self.token_ids, self.pieces, strict=True)
        for channel_token, tokens in groupby(numbered, key=lambda one: _CHANNEL_TOKENS.get(one[0])):
            pieces = [piece for _, piece in tokens]
            if channel_token is None:
                parts.append(neutralise(b"".join(pieces).decode(errors="replace")))
            else:
                parts.append(channel_token * len(pieces))
        return "".join(parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """The model's turn behind a question, as far as it is known.

    Attributes:
        question: What is asked.
        opening: What stands between the question and the model's first token.
        written: What the model has written; None for nothing yet.

    """

    question: Question
    opening: str
    written: Written | None = None

    @property
    def written_ids(self) -> tuple[int, ...]:
        """The tokens that the model has written."""
        return () if self.written is None else self.written.token_ids

    @property
    def known_ids(self) -> tuple[int, ...]:
        """All tokens so far, the prompt's included, where the model has written any; else none."""
        return () if self.written is None else self.written.prompt_ids + self.written.token_ids

    def write(self, more: str = "") -> str:
        """Return what comes behind the user's text where the model goes on with a text."""
        said = "" if self.written is None else self.written.text
        return self.opening + said + neutralise(more)
