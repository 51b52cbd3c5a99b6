"""The library that makes grammars of JSON Schemas: in which form, within which limits, and its refusals."""

import json
from typing import TYPE_CHECKING

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.keywords import Schema

if TYPE_CHECKING:
    from llguidance import LLParserLimits
    from llguidance._lib import JsonCompileOptions

# The form that json.dumps writes. Free white space would let a model generate blanks without end.
_FORM: "JsonCompileOptions" = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
    # Refuse keywords that a grammar cannot ensure, instead of ignoring them.
    "lenient": False,
}


def form_grammar(schema: Schema) -> str:
    """Return the grammar of a schema, which may turn out to be none.

    Args:
        schema: In one form, as a bundle writes it.

    Returns:
        A grammar for `llguidance`.

    Raises:
        ConfigurationError: The schema holds what is no JSON.

    """
    # Loaded where it is used, because the builder's forms need none of it.
    from llguidance import LLMatcher

    try:
        grammar: str = LLMatcher.grammar_from_json_schema(
            json.dumps(schema, allow_nan=False), overrides=_FORM
        )
    except ValueError as error:
        raise ConfigurationError(f"The JSON Schema is no JSON: {error}. Correct it.") from error
    return grammar


def find_problem(grammar: str) -> str | None:
    """Return why a grammar cannot be used; None where it can.

    Args:
        grammar: Of `form_grammar`.

    Returns:
        Words for a message.

    """
    from llguidance import LLMatcher

    problem: str = LLMatcher.validate_grammar(grammar, limits=grammar_limits())
    if problem.startswith("oneOf"):
        # The library's words name an option of its own.
        return "the alternatives of a oneOf may overlap, which cannot be ensured while an answer is written"
    return problem[:300] or None


def grammar_limits() -> "LLParserLimits":
    """Return the bounds of work for one grammar, so that no schema can stall the engine.

    They are the library's own, about 20 ms to build a lexer and 15 ms for a token, except for the number of
    lexer states, which is memory that lasts as long as an answer does.
    """
    from llguidance import LLParserLimits

    # A state takes 1 to 2 kB, so these are 100 MB at most. Source: LLParserLimits in llguidance/_lib.pyi 1.9.
    return LLParserLimits(max_lexer_states=50_000, verbose_errors=False)
