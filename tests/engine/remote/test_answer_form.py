"""A server is told the same grammar that this process holds answers to."""

import json
from pathlib import Path

import pytest
from llguidance import LLMatcher, grammar_from
from llguidance.hf import from_tokenizer
from transformers import AutoTokenizer

import gemma4_block.demo
from gemma4_block.engine.remote.answer_form import write_form
from gemma4_block.json_schema import matches_schema

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
COUNTS = json.dumps(
    {
        "type": "object",
        "properties": {"é": {"type": "integer"}, "b": {"type": "array", "items": {"type": "boolean"}}},
        "required": ["é"],
        "additionalProperties": False,
    }
)
ANSWERS = {
    '{"é": 3}': True,
    '{"é": 3, "b": [true, false]}': True,
    '{"é":3}': False,
    '{"é": 3, "b": [true,false]}': False,
    '{\n"é": 3}': False,
    '{"é": 3} ': False,
    '{"é": "3"}': False,
    '{"é": 3': False,
    "": False,
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_an_answer_matches_in_our_form_only(answer: str) -> None:
    """As `json.dumps` writes it, and whole."""
    assert matches_schema(COUNTS, answer) is ANSWERS[answer]


@pytest.mark.parametrize("answer", ANSWERS)
def test_the_grammar_that_is_sent_allows_the_same_and_then_the_end_of_the_turn(answer: str) -> None:
    """By the library that the server has too, and the model's own tokens."""
    tokens = from_tokenizer(AutoTokenizer.from_pretrained(DEMO_CHECKPOINT))
    sent = write_form(COUNTS, "grammar").text
    matcher = LLMatcher(tokens, grammar_from("grammar", sent), log_level=0)
    ids = [*tokens.tokenize_str(answer), *tokens.tokenize_str("<turn|>", parse_special=True)]

    assert (matcher.try_consume_tokens(ids) == len(ids)) is ANSWERS[answer]


def test_the_schema_itself_is_sent_where_grammars_are_not_known() -> None:
    """As it is."""
    assert write_form(COUNTS, "schema").text == COUNTS
