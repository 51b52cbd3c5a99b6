"""Any schema is refused in our words or held in bounded time, and an answer that is held to it matches it."""

import json
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher, LLTokenizer

from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY
from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema import compile_schema, find_mismatch, grammar_limits, relax_schema

TOKENS = LLTokenizer(str(CHECKPOINT_DIRECTORY / "tokenizer.json"))
_SECONDS = 2.0
_MOST_TOKENS = 60
_EOS = TOKENS.eos_token
_TYPES = ("array", "boolean", "integer", "null", "number", "object", "string")
_NAMES = st.sampled_from(("a", "b", "größe", "$ref", "a b", "x-y", "type", ""))
_PATTERNS = st.sampled_from(
    (
        "^a",
        "b$",
        "^[a-z]{1,3}$",
        r"\\d+",
        "(?!x)",
        r"\bred\b",
        "(a+)+$",
        r"\p{L}",
        "[",
        "a{3}",
        "^.*a.{9}$",
        "",
    )
)
_SMALL = st.integers(0, 4)
_NUMBERS = st.one_of(
    st.integers(-5, 5), st.sampled_from((0.1, 0.01, -2.5, 1e18, 2**63, -(2**64), 1e300, 10**400, 9973))
)
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBERS, st.sampled_from(("", "a", "red", 'say "no"', "<|turn>"))),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_NAMES, inner, max_size=2)),
    max_leaves=4,
)
_REFERENCES = st.sampled_from(
    (
        "#",
        "#/$defs/a",
        "#/$defs/b",
        "#/properties/a",
        "#anchor",
        "#/nowhere",
        "https://a.b/c",
        "other.json#/a",
    )
)


def _keywords(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    schemas, named = st.lists(inner, max_size=3), st.dictionaries(_NAMES, inner, max_size=3)
    names = st.lists(_NAMES, max_size=2, unique=True)
    keywords: dict[str, st.SearchStrategy[Any]] = {
        "$anchor": st.just("anchor"),
        "$defs": st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
        "$ref": _REFERENCES,
        "const": _VALUES,
        "dependencies": st.dictionaries(_NAMES, st.one_of(inner, names), max_size=2),
        "dependentRequired": st.dictionaries(_NAMES, names, max_size=2),
        "enum": st.lists(_VALUES, max_size=3),
        "format": st.sampled_from(("date", "uri", "email", "password", "int32", "uuid")),
        "pattern": _PATTERNS,
        "patternProperties": st.dictionaries(_PATTERNS, inner, max_size=2),
        "required": names,
        "type": st.one_of(st.sampled_from(_TYPES), st.lists(st.sampled_from(_TYPES), min_size=1, max_size=3)),
        "uniqueItems": st.booleans(),
    }
    keywords |= dict.fromkeys(
        ("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"), _NUMBERS
    )
    keywords |= dict.fromkeys(("maxItems", "maxLength", "maxProperties", "minContains"), _SMALL)
    keywords |= dict.fromkeys(("minItems", "minLength", "minProperties"), _SMALL)
    keywords |= dict.fromkeys(("allOf", "anyOf", "oneOf", "prefixItems"), schemas)
    keywords |= dict.fromkeys(("dependentSchemas", "properties"), named)
    one = ("additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then")
    keywords |= dict.fromkeys((*one, "unevaluatedItems", "unevaluatedProperties"), inner)
    few = st.lists(st.sampled_from(sorted(keywords)), max_size=4, unique=True)
    # A value of a wrong kind now and then, as people write it.
    return few.flatmap(
        lambda names: st.fixed_dictionaries(
            {
                name: st.one_of(*[keywords[name]] * 12, _VALUES) if len(names) > 2 else keywords[name]
                for name in names
            }
        )
    )


SCHEMAS = st.recursive(
    st.one_of(st.booleans(), st.just({}), st.builds(lambda kind: {"type": kind}, st.sampled_from(_TYPES))),
    _keywords,
    max_leaves=8,
)


def _write(grammar: str, seed: int) -> str | None:
    """Write an answer at random; None where it does not come to its end."""
    matcher = LLMatcher(TOKENS, grammar, log_level=0, limits=grammar_limits())
    rng = np.random.default_rng(seed)
    ids: list[int] = []
    for place in range(_MOST_TOKENS):
        started = time.process_time()
        bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
        assert time.process_time() - started < _SECONDS
        if matcher.is_error():
            return None
        # The longer it is, the rather it ends where it may.
        if matcher.is_accepting() and rng.random() < place / 20:
            return TOKENS.decode_str(ids)
        allowed = [token for token in np.flatnonzero(bits) if token != _EOS]
        # A name of a control token is a text to the library; engines never write one.
        allowed = [token for token in allowed if not TOKENS.is_special_token(int(token))]
        if not allowed:
            return TOKENS.decode_str(ids) if matcher.is_accepting() else None
        ids.append(int(rng.choice(allowed)))
        assert matcher.consume_token(ids[-1])
    return None


@pytest.mark.parametrize("is_checked_later", [False, True], ids=["held", "checked"])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, seed=st.integers(0, 3))
@example(schema={"const": 2**63}, seed=0)
@example(schema={"multipleOf": 10**400, "type": "number"}, seed=0)
@example(schema={"not": None, "$ref": "#anchor", "$anchor": "anchor"}, seed=0)
@example(schema={"patternProperties": None, "$ref": "#anchor", "$anchor": "anchor"}, seed=0)
def test_any_schema_is_refused_or_held(is_checked_later: bool, schema: Any, seed: int) -> None:  # noqa: ANN401, FBT001 - any JSON
    """Within two seconds, and with no other error than the package's own."""
    text = json.dumps(schema)
    started = time.process_time()
    try:
        relaxed = relax_schema(text)
        grammar = compile_schema(relaxed if is_checked_later else text)
    except ConfigurationError:
        return
    finally:
        assert time.process_time() - started < _SECONDS
    answer = _write(grammar, seed)
    if answer is None:
        return
    value = json.loads(answer)
    assert find_mismatch(value, relaxed) is None
    mismatch = find_mismatch(value, text)
    assert is_checked_later or mismatch is None
