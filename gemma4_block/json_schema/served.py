"""Hold the answer of a server to a schema: the grammar that it is sent, and whether it kept to it."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from gemma4_block.json_schema.grammar import compile_schema
from gemma4_block.json_schema.library import grammar_limits

if TYPE_CHECKING:
    from llguidance import LLTokenizer


def write_lark(text: str, *, end: str) -> str:
    """Return the same grammar as `compile_schema` does, in the language that a server is sent.

    Its first line is a directive that only `llguidance` knows: what else a server may have reads the rest
    too, without our form, and is to leave it alone.

    Args:
        text: The schema as JSON text.
        end: The control token that ends an answer. A server may know another one, which the model does not
            write by itself, so that a number would go on where it might have ended.

    Returns:
        A Lark grammar.

    Raises:
        ConfigurationError: As in `compile_schema`.

    """
    (compiled,) = json.loads(compile_schema(text))["grammars"]
    return f"%llguidance {{}}\nstart: answer {end}\nanswer: %json {json.dumps(compiled['json_schema'])}"


def matches_schema(schema: str, answer: str) -> bool:
    """Say whether an answer matches a schema and is written as `json.dumps` writes.

    Args:
        schema: The schema as JSON text.
        answer: The whole answer.

    Returns:
        Whether it does; False too where the schema is too complex to say.

    Raises:
        ConfigurationError: As in `compile_schema`.

    """
    from llguidance import LLMatcher

    tokens = _byte_tokens()
    matcher = LLMatcher(tokens, compile_schema(schema), log_level=0, limits=grammar_limits())
    ids = tokens.tokenize_bytes(answer.encode(errors="replace"))
    return matcher.try_consume_tokens(ids) == len(ids) and matcher.is_accepting()


@lru_cache(maxsize=1)
def _byte_tokens() -> "LLTokenizer":
    from llguidance import LLTokenizer

    return LLTokenizer("byte")
