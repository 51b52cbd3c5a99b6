"""Turn a JSON Schema into a grammar that an engine can hold an answer to, or say why that cannot be done."""

import json
from collections.abc import Iterable
from functools import lru_cache

from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema.bundle import Bundle, read_schema
from gemma4_block.json_schema.holding import exact_schema, relaxed_schemas
from gemma4_block.json_schema.keywords import Schema
from gemma4_block.json_schema.library import find_problem, form_grammar
from gemma4_block.json_schema.mismatch import check_checkable
from gemma4_block.json_schema.recursion import check_recursion


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
    return _compile_first([exact_schema(_read(text))])[1]


@lru_cache(maxsize=64)
def relax_schema(text: str) -> str:
    """Return what a grammar can hold of a schema, where the answer is checked afterwards.

    Args:
        text: The schema as JSON text.

    Returns:
        A schema that `compile_schema` takes, as JSON text; the same for a schema of which it holds all.

    Raises:
        ConfigurationError: The schema is no JSON Schema, refers to what is not in it, has no answer, or
            cannot be checked.

    """
    bundle = _read(text)
    check_checkable(bundle)
    schema, _ = _compile_first(relaxed_schemas(bundle))
    return json.dumps(schema, allow_nan=False)


def _read(text: str) -> Bundle:
    bundle = read_schema(text)
    check_recursion(bundle)
    return bundle


def _compile_first(schemas: Iterable[Schema]) -> tuple[Schema, str]:
    problems = []
    for schema in schemas:
        grammar = form_grammar(schema)
        problem = find_problem(grammar)
        if problem is None:
            return schema, grammar
        problems.append(problem)
        if problem.startswith("Unsatisfiable"):
            # What allows less than this has no answer either.
            break
    raise ConfigurationError(
        f"The JSON Schema cannot be used: {problems[0]}. Leave out what it names; types, properties, "
        "required, enum, items, length and number limits, anyOf and $defs all work."
    )
