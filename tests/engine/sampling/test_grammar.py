"""Answers are held to their schema, behind the thoughts, and say how sure the model was."""

import json
import re
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.errors import PromptError
from gemma4_block.settings import Settings
from tests.engine.conftest import DEMO_CHECKPOINT

BOXES = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "box_2d": {
                "type": "array",
                "items": {"type": "integer", "minimum": 0, "maximum": 1000},
                "minItems": 4,
                "maxItems": 4,
            },
            "label": {"enum": ["cat", "dog"]},
        },
        "required": ["box_2d", "label"],
        "additionalProperties": False,
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def _schema(schema: Any) -> JsonSchema:  # noqa: ANN401 - a schema of any form
    return JsonSchema(text=json.dumps(schema))


def _answer(engine: Gemma4HF, prompt: Prompt, **options: object) -> Answer:
    (answer,) = engine.answer([prompt], GenerationConfig(**options))  # type: ignore[arg-type]
    assert isinstance(answer, Answer)
    return answer


def test_a_question_about_something_else_still_gets_what_the_schema_says(
    engine: Gemma4HF, picture: RgbImage
) -> None:
    """Free, the demo describes; bound, it fills the form."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    bound = Prompt(text=prompt.text, images=prompt.images, constraint=_schema(PERSON))
    person = json.loads(_answer(engine, bound).text)

    with pytest.raises(json.JSONDecodeError):
        json.loads(_answer(engine, prompt).text)
    assert sorted(person) == ["age", "name"]
    assert isinstance(person["age"], int)
    assert person["age"] <= 99


def test_the_form_is_that_of_json_dumps(engine: Gemma4HF, picture: RgbImage) -> None:
    """No white space that a model could go on writing for ever."""
    text = _answer(engine, Prompt(text="Hello", images=(picture,), constraint=_schema(PERSON))).text

    assert json.dumps(json.loads(text), ensure_ascii=False) == text


def test_different_schemas_and_none_share_a_batch(engine: Gemma4HF, picture: RgbImage) -> None:
    """Each answer keeps to its own, and is the one it would be alone."""
    constraints = [_schema(PERSON), None, _schema(BOXES), _schema({"enum": [1, 2]}), None]
    prompts = [
        Prompt(text=f"Describe the image {'!' * place}", images=(picture,), constraint=constraint)
        for place, constraint in enumerate(constraints)
    ]
    together = engine.answer(prompts, GenerationConfig(max_new_tokens=64))
    alone = [_answer(engine, prompt, max_new_tokens=64) for prompt in prompts]

    assert alone == together
    assert alone[3].text in {"1", "2"}


def test_no_control_token_can_be_written(engine: Gemma4HF, picture: RgbImage) -> None:
    """Where a schema asks for one it is refused; where it leaves a choice the other is taken."""
    names = [["<turn|>"], ["<turn|>", "dog"]]
    refused, answer = engine.answer(
        [Prompt(text="Hello", images=(picture,), constraint=_schema({"enum": enum})) for enum in names],
        GenerationConfig(),
    )

    assert isinstance(refused, PromptError)
    assert "control token" in str(refused)
    assert isinstance(answer, Answer)
    assert answer.text == '"dog"'


def test_an_answer_that_does_not_fit_says_length(engine: Gemma4HF, picture: RgbImage) -> None:
    """What is there is the beginning of a valid answer."""
    prompt = Prompt(text="Describe the image.", images=(picture,), constraint=_schema(PERSON))
    cut, whole = _answer(engine, prompt, max_new_tokens=5), _answer(engine, prompt)

    assert (cut.finish_reason, cut.output_tokens) == ("length", 5)
    assert whole.text.startswith(cut.text)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        pytest.param({"type": "wish"}, "wish", id="unknown type"),
        pytest.param({"uniqueItems": True, "type": "array"}, "uniqueItems", id="what no grammar ensures"),
        pytest.param({"type": "string", "pattern": "(?=a)b"}, "look-around", id="impossible pattern"),
        pytest.param({"$ref": "https://example.com/schema"}, "nothing is fetched", id="a schema elsewhere"),
        pytest.param([1], "no JSON object", id="no schema"),
        pytest.param(
            {"type": "array", "items": {"not": {}}, "x-guidance": {"lenient": True}}, "not", id="own options"
        ),
        pytest.param({"enum": ["x" * 30_000]}, "20000 are allowed", id="too long"),
    ],
)
def test_a_schema_that_cannot_be_kept_fails_alone(
    engine: Gemma4HF, picture: RgbImage, schema: object, words: str
) -> None:
    """The message names what is wrong, and the neighbour answers."""
    prompts = [
        Prompt(text="Hello", images=(picture,), constraint=_schema(schema)),
        Prompt(text="How many shapes are there?", images=(picture,)),
    ]
    refused, answer = engine.answer(prompts, GenerationConfig())

    assert isinstance(refused, PromptError)
    assert words in str(refused)
    assert isinstance(answer, Answer)


def test_a_grammar_that_becomes_too_complex_fails_alone(engine: Gemma4HF, picture: RgbImage) -> None:
    """A pattern that would take gigabytes is stopped by the limits of its own answer."""
    pattern = "^" + "".join(f"(.*{letter}.*)" for letter in "abcdefghijklmnopqrstuvwxyz") * 8 + "$"
    prompts = [
        Prompt(text="Hello", images=(picture,), constraint=_schema({"type": "string", "pattern": pattern})),
        Prompt(text="How many shapes are there?", images=(picture,)),
    ]
    heavy, answer = engine.answer(prompts, GenerationConfig(max_new_tokens=200))

    assert isinstance(answer, Answer)
    assert answer.text == "3"
    assert isinstance(heavy, PromptError) or heavy.finish_reason in {"stop", "length"}


def test_the_operator_s_limit_reaches_the_engine(picture: RgbImage) -> None:
    """A schema is as long as the operator says."""
    checkpoint = load_checkpoint(DEMO_CHECKPOINT, LoadOptions(device=torch.device("cpu")))
    engine = Gemma4HF(checkpoint, settings=Settings(max_schema_characters=10))
    (refused,) = engine.answer(
        [Prompt(text="Hello", images=(picture,), constraint=_schema(PERSON))], GenerationConfig()
    )

    assert "10 are allowed" in str(refused)


def test_a_grammar_binds_the_answer_and_not_the_thoughts(engine: Gemma4HF, picture: RgbImage) -> None:
    """The thought is free text; JSON begins behind it."""
    prompt = Prompt(text="Describe the image.", images=(picture,), constraint=_schema(PERSON))
    answer = _answer(engine, prompt, enable_thinking=True)

    assert answer.thinking
    assert not answer.thinking.startswith("{")
    assert sorted(json.loads(answer.text)) == ["age", "name"]


@pytest.mark.parametrize("constraint", [None, _schema({"type": "integer", "maximum": 9})])
def test_a_thought_is_closed_at_its_allowance_and_the_answer_begins(
    engine: Gemma4HF, picture: RgbImage, constraint: JsonSchema | None
) -> None:
    """Thinking cannot eat the answer: its tokens are counted apart."""
    prompt = Prompt(text="Describe the image.", images=(picture,), constraint=constraint)
    free = _answer(engine, prompt, enable_thinking=True, max_thinking_tokens=99)
    short = _answer(engine, prompt, enable_thinking=True, max_thinking_tokens=4)
    shared = _answer(engine, prompt, enable_thinking=True, max_new_tokens=4)

    assert free.thinking.startswith(short.thinking)
    assert len(short.thinking) < len(free.thinking)
    assert short.text
    assert short.finish_reason == "stop"
    assert (shared.text, shared.finish_reason) == ("", "length")


def test_the_allowance_does_not_shorten_the_answer(engine: Gemma4HF, picture: RgbImage) -> None:
    """`max_new_tokens` counts the answer alone where thoughts have an allowance."""
    prompt = Prompt(text="Describe the image.", images=(picture,))
    answer = _answer(engine, prompt, enable_thinking=True, max_thinking_tokens=50, max_new_tokens=4)
    plain = _answer(engine, prompt, max_new_tokens=4)

    assert answer.finish_reason == "length"
    assert answer.thinking
    assert len(answer.text.split()) == len(plain.text.split())


def test_every_token_of_the_answer_has_a_score_where_it_is_asked_for(
    engine: Gemma4HF, picture: RgbImage
) -> None:
    """Scores cover the text from end to end; a token that the grammar forced is certain."""
    prompt = Prompt(
        text="Hello", images=(picture,), constraint=_schema({"enum": ["same"]}), needs_token_scores=True
    )
    answer = _answer(engine, prompt, enable_thinking=True)
    scores = answer.token_scores

    assert scores is not None
    assert (scores[0].start, scores[-1].end) == (0, len(answer.text))
    assert all(one.end == other.start for one, other in pairwise(scores))
    assert _answer(engine, Prompt(text="Hello", images=(picture,))).token_scores is None


def test_scores_are_those_of_the_constrained_choice(engine: Gemma4HF, picture: RgbImage) -> None:
    """Two answers share what probability there is, whatever the model would rather have said."""
    schema = {"enum": ["red", "blue"]}
    prompt = Prompt(
        text="Describe the image.", images=(picture,), constraint=_schema(schema), needs_token_scores=True
    )
    scores = _answer(engine, prompt).token_scores
    assert scores is not None
    total = sum(score.log_probability for score in scores)

    assert np.log(0.3) < total <= 0


def test_an_unconstrained_answer_can_be_scored_too(engine: Gemma4HF, picture: RgbImage) -> None:
    """The probability of each token among all."""
    answer = _answer(
        engine, Prompt(text="How many shapes are there?", images=(picture,), needs_token_scores=True)
    )

    assert answer.token_scores is not None
    assert [answer.text[score.start : score.end] for score in answer.token_scores] == ["3"]
    assert np.log(0.5) < answer.token_scores[0].log_probability <= 0


def test_sampled_constrained_answers_are_valid_and_repeatable() -> None:
    """Chance works within the grammar."""
    engine = Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")
    image = draw_scene(np.random.default_rng(1)).image
    prompt = Prompt(text="Hello", images=(image,), constraint=_schema({"type": "string", "maxLength": 8}))
    answers = [
        _answer(engine, prompt, do_sample=True, temperature=2.0, seed=seed).text for seed in (1, 2, 3, 1)
    ]

    assert all(re.fullmatch(r'".{0,8}"', text) and len(json.loads(text)) <= 8 for text in answers)
    assert answers[0] == answers[3]
    assert len(set(answers)) == 3
