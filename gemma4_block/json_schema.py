"""Turn a JSON Schema into a grammar that an engine can hold an answer to, or say why that cannot be done."""

import json
from functools import lru_cache
from typing import TYPE_CHECKING

from gemma4_block.errors import ConfigurationError

if TYPE_CHECKING:
    from llguidance import LLParserLimits, LLTokenizer
    from llguidance._lib import JsonCompileOptions

# The form that json.dumps writes. Free white space would let a model generate blanks without end.
_FORM: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Refuse keywords that a grammar cannot ensure, instead of ignoring them.
    "lenient": False,
}


@lru_cache(maxsize=64)
def compile_schema(text: str) -> str:
    """Return the grammar of all answers that match a schema and are written as `json.dumps` writes.

    Args:
        text: The schema as JSON text.

    Returns:
        A grammar for `llguidance`.

    Raises:
        ConfigurationError: The schema is no JSON Schema, asks for what no grammar can ensure, or
            has no answer.

    """
    # Loaded where it is used, because the builder's forms need none of it.
    from llguidance import LLMatcher

    try:
        grammar: str = LLMatcher.grammar_from_json_schema(text, overrides=_FORM)
    except ValueError as error:
        raise ConfigurationError(f"The JSON Schema is no JSON object: {error}. Correct it.") from error
    problem = LLMatcher.validate_grammar(grammar, limits=grammar_limits())
    if problem:
        raise ConfigurationError(
            f"The JSON Schema cannot be used: {problem}. Leave out what it names; types, properties, "
            "required, enum, items, length and number limits, anyOf and $defs all work."
        )
    return grammar


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


def grammar_limits() -> "LLParserLimits":
    """Return the bounds of work for one grammar, so that no schema can stall the engine.

    They are the library's own, about 20 ms to build a lexer and 15 ms for a token, except for the number of
    lexer states, which is memory that lasts as long as an answer does.
    """
    from llguidance import LLParserLimits

    # A state takes 1 to 2 kB, so these are 100 MB at most. Source: LLParserLimits in llguidance/_lib.pyi 1.9.
    return LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
