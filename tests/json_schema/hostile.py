"""JSON Schemas that would take a server down, and what each of them costs, in a process of its own each.

    python -m tests.json_schema.hostile

prints a line of JSON for each: its name, the processor's seconds, the megabytes that it added, and what came
of it.
"""

import json
import os
import resource
import time
from collections.abc import Callable
from typing import Any

from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY
from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema import compile_schema, find_mismatch, grammar_limits, relax_schema

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_TOKENS = 20
_MOST_SECONDS = 20
_MOST_BYTES = 4 * 2**30


def _nest(levels: int, wrap: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - a schema of any form
    schema: Any = {"type": "string"}
    for _ in range(levels):
        schema = wrap(schema)
    return schema


def _double(keyword: str) -> Any:  # noqa: ANN401 - a schema of any form
    """Refer twice to what refers twice, 25 times over."""
    steps = {f"a{i}": {keyword: [{"$ref": f"#/$defs/a{i - 1}"}] * 2} for i in range(1, 26)}
    return {"$ref": "#/$defs/a25", "$defs": {"a0": {"type": "string"}, **steps}}


def _all_patterns(count: int) -> Any:  # noqa: ANN401 - a schema of any form
    return {"type": "string", "allOf": [{"pattern": f".*{letter}.*"} for letter in _LETTERS[:count]]}


SCHEMAS: dict[str, Any] = {
    "8 patterns together": _all_patterns(8),
    "18 patterns together": _all_patterns(18),
    "20 patterns together": _all_patterns(20),
    "24 patterns together": _all_patterns(24),
    "24 patterns together, through references": {
        "allOf": [{"$ref": f"#/$defs/{letter}"} for letter in _LETTERS[:24]],
        "$defs": {letter: {"type": "string", "pattern": f".*{letter}.*"} for letter in _LETTERS[:24]},
    },
    "24 patterns together, of one property": {
        "type": "object",
        "allOf": [{"properties": {"a": {"pattern": f".*{letter}.*"}}} for letter in _LETTERS[:24]],
        "required": ["a"],
    },
    "24 patterns of names": {"patternProperties": {f".*{letter}.*": {} for letter in _LETTERS[:24]}},
    "60 patterns of names that exclude each other": {
        "type": "object",
        "patternProperties": {f"^(.*x.{{20}}|.*y.{{21}})*{letter}$": {} for letter in _LETTERS},
        "additionalProperties": {"type": "string"},
    },
    "multiples of two primes": {"type": "integer", "allOf": [{"multipleOf": 9973}, {"multipleOf": 9967}]},
    "multiples of a large number": {"type": "integer", "multipleOf": 99400891},
    "multiples of ten numbers": {"anyOf": [{"type": "integer", "multipleOf": 990 + i} for i in range(10)]},
    "multiples of 300 numbers": {
        "type": "object",
        "properties": {f"p{i}": {"type": "integer", "multipleOf": 9900 + i} for i in range(300)},
    },
    "multiples of a long fraction": {"type": "number", "multipleOf": 0.123456789012345},
    "multiples of a huge number": {"type": "number", "multipleOf": 1e300},
    "nested repeats": {"type": "string", "pattern": "^((a{0,100}){0,100}){0,100}$"},
    "nested exact repeats": {"type": "string", "pattern": "(a{100000}){100000}"},
    "a repeat of 100000": {"type": "string", "pattern": "^a{0,100000}$"},
    "an exact repeat of 10 to the 8": {"type": "string", "pattern": "a{100000000}"},
    "a pattern of 18000 characters": {"type": "string", "pattern": "^" + "a?" * 9000 + "$"},
    "a pattern of 2000 characters": {"type": "string", "pattern": "^" + "a?" * 990 + "$"},
    "nested parentheses": {"type": "string", "pattern": "(a|" * 240 + "a" + ")" * 240},
    "a pattern with exponentially many states": {"type": "string", "pattern": "^(.*a.{60}|.*b.{61})$"},
    "a pattern that backtracks": {"type": "string", "pattern": "^(?!x)(a|a)*(a|aa)*(a?)*b$"},
    "a look-ahead that backtracks": {"type": "string", "pattern": "^(?=(a|ab|aba|b)*$)(?=(.*.*.*)*x)"},
    "letters of every script": {"type": "string", "pattern": r"^(\p{L}|\p{N}|\W){300}$"},
    "250 patterns with lengths": {
        "type": "object",
        "properties": {
            f"p{i}": {"type": "string", "pattern": f"^.*a.{{10}}b{i}$", "maxLength": 500} for i in range(250)
        },
    },
    "900 levels": _nest(900, lambda schema: {"items": schema}),
    "58 levels": _nest(19, lambda schema: {"anyOf": [{"type": "array", "items": schema}, {"type": "null"}]}),
    "500 references in a row": {
        "$ref": "#/$defs/0",
        "$defs": {**{str(i): {"$ref": f"#/$defs/{i + 1}"} for i in range(500)}, "500": {"type": "string"}},
    },
    "references that double, allOf": _double("allOf"),
    "references that double, anyOf": _double("anyOf"),
    "references that double, oneOf": _double("oneOf"),
    "references that double, prefixItems": _double("prefixItems"),
    "alternatives that multiply": {
        "allOf": [
            {"anyOf": [{"required": [f"{letter}{i}"]} for i in range(6)], "type": "object"}
            for letter in _LETTERS[:8]
        ]
    },
    "a reference to itself": {"$ref": "#"},
    "an object that needs itself": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "a list that needs itself": {"type": "array", "items": {"$ref": "#"}, "minItems": 1},
    "alternatives of itself": {"anyOf": [{"$ref": "#"}, {"type": "string"}]},
    "itself within all": {"properties": {"a": {"allOf": [{"$ref": "#"}, {"maxLength": 3}]}}},
    "an enum of 20 kB": {"enum": [f"{i / 7}" for i in range(850)]},
    "an enum of 20 kB with a pattern": {"enum": [f"x{i}" for i in range(2500)], "pattern": ".*1.*"},
    "minItems 10 to the 9": {"type": "array", "minItems": 10**9, "items": {"type": "integer"}},
    "minLength 10 to the 9": {"type": "string", "minLength": 10**9},
    "minLength with a pattern": {"type": "string", "minLength": 10**9, "pattern": "a.*b.*c"},
    "minProperties 10 to the 9": {"type": "object", "minProperties": 10**9},
    "minItems of minItems": {
        "type": "array",
        "minItems": 10**4,
        "items": {"type": "array", "minItems": 10**4, "uniqueItems": True},
    },
    "bounds of 400 digits": {"type": "integer", "minimum": -(10**400), "maximum": 10**400},
    "300 ranges": {
        "anyOf": [{"type": "number", "minimum": i + 0.12345, "maximum": 10**9 + i / 7} for i in range(300)]
    },
    "1500 properties": {"type": "object", "properties": {f"p{i}": {} for i in range(1500)}},
}
"""Name to schema; none is longer than requests may send, 20,000 characters and a little."""


def measure(text: str) -> str:
    """Compile a schema in both ways, hold 20 tokens to it, and check an answer; return what came of it."""
    import numpy as np
    from llguidance import LLMatcher, LLTokenizer

    tokens = LLTokenizer(str(CHECKPOINT_DIRECTORY / "tokenizer.json"))
    outcomes = []
    for find_schema in (lambda: text, lambda: relax_schema(text)):
        try:
            schema = find_schema()
            grammar = compile_schema(schema)
        except ConfigurationError as error:
            outcomes.append(str(error))
            continue
        matcher = LLMatcher(tokens, grammar, log_level=0, limits=grammar_limits())
        rng = np.random.default_rng(0)
        for _ in range(_TOKENS):
            bits = np.unpackbits(np.frombuffer(matcher.compute_bitmask(), np.uint8), bitorder="little")
            allowed = np.flatnonzero(bits)
            if matcher.is_error() or len(allowed) == 0 or matcher.is_stopped():
                break
            matcher.consume_token(int(rng.choice(allowed)))
        outcomes.append("held")
    if outcomes[-1] == "held":
        find_mismatch("ab" * 500, text)
    return " / ".join(outcomes)


def _measure_apart(name: str, text: str) -> None:
    if os.fork():
        _, status = os.wait()
        if status:
            print(json.dumps({"name": name, "outcome": f"killed: {status}"}), flush=True)  # noqa: T201
        return
    resource.setrlimit(resource.RLIMIT_CPU, (_MOST_SECONDS, _MOST_SECONDS))
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    outcome = measure(text)
    found = {
        "name": name,
        "outcome": outcome,
        "seconds": time.process_time() - started,
        "megabytes": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }
    print(json.dumps(found), flush=True)  # noqa: T201
    os._exit(0)


if __name__ == "__main__":
    # Whatever is loaded at first is no schema's fault.
    measure('{"type": "string", "pattern": "(?=a)b"}')
    for schema_name, hostile in SCHEMAS.items():
        _measure_apart(schema_name, json.dumps(hostile))
    _measure_apart("9000 levels", '{"items": ' * 9000 + "{}" + "}" * 9000)
