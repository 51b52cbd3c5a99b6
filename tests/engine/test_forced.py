"""Text that a schema forces is written without asking the model, and answers stay what they were."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, GenerationConfig, JsonSchema, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.scheduler import Sequence as TokenSequence
from tests.miniatures import Shape, build_miniature

CPU = LoadOptions(device=torch.device("cpu"), dtype="float32")
FORM = {
    "type": "object",
    "properties": {
        "number_of_shapes": {"type": "integer", "minimum": 0, "maximum": 20},
        "colour": {"enum": ["red", "blue", "yellow"]},
        "visible": {"type": "boolean"},
    },
    "required": ["number_of_shapes", "colour", "visible"],
    "additionalProperties": False,
}
LIST = {"type": "array", "items": {"enum": ["circle", "triangle"]}, "minItems": 4, "maxItems": 6}
FIXED = {"const": {"nothing": "to choose"}}


def load(directory: Path) -> tuple[Gemma4HF, list[int]]:
    """Load an engine that notes how many rows each pass of the whole model has."""
    checkpoint = load_checkpoint(directory, CPU)
    passes: list[int] = []

    def note(_: torch.nn.Module, __: object, inputs: dict[str, torch.Tensor]) -> None:
        passes.append(len(inputs["position_ids"]))

    checkpoint.model.module.get_decoder().register_forward_pre_hook(note, with_kwargs=True)
    return Gemma4HF(checkpoint), passes


def ask(engine: Gemma4HF, prompts: Sequence[Prompt], **options: object) -> list[Answer]:
    """Return the answers, all of which must be some."""
    answers = engine.answer(prompts, GenerationConfig(**options))  # type: ignore[arg-type]
    return [answer for answer in answers if isinstance(answer, Answer)]


def scores_of(answer: Answer) -> list[float]:
    """Return how likely each token was; nothing where the text has no place for each."""
    return [score.log_probability for score in answer.token_scores or ()]


def free_scores_of(answer: Answer, *, like: Answer | None = None) -> list[float]:
    """Return how likely each token was by itself, NaN where the answer, or one like it, does not tell."""
    places = (answer if like is None else like).token_scores or ()
    scores = [score.free_log_probability for score in answer.token_scores or ()]
    return [
        math.nan if score is None or place.free_log_probability is None else score
        for score, place in zip(scores, places, strict=True)
    ]


def make_prompts() -> list[Prompt]:
    """Ask with different schemas and none, with images and without."""
    images = [draw_scene(np.random.default_rng(seed)).image for seed in range(3)]
    schemas = [FORM, LIST, None, FORM, FIXED]
    return [
        Prompt(
            text=f"Describe it {'!' * place}",
            images=tuple(images[:place]),
            constraint=None if schema is None else JsonSchema(text=json.dumps(schema)),
            needs_token_scores=True,
        )
        for place, schema in enumerate(schemas)
    ]


@pytest.mark.parametrize(
    "options", [{}, {"do_sample": True, "seed": 3}, {"repetition_penalty": 1.3}, {"max_new_tokens": 7}]
)
@pytest.mark.parametrize("shape", ["e2b", "26b-a4b", "31b"])
def test_answers_are_those_of_asking_the_model_for_every_token(
    shape: Shape, options: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Texts, counts and scores; in a batch where rows are forced at different times, and alone."""
    directory = build_miniature(shape, tmp_path / shape)
    options = {"max_new_tokens": 48, **options}
    engine, passes = load(directory)
    prompts = make_prompts()
    found, alone = (
        ask(engine, prompts, **options),
        [ask(engine, [prompt], **options)[0] for prompt in prompts],
    )
    steps = len(passes)
    monkeypatch.setattr(TokenSequence, "take_forced", lambda *_: None)
    plain_engine, plain_passes = load(directory)
    expected = ask(plain_engine, prompts, **options)
    for prompt in prompts:
        ask(plain_engine, [prompt], **options)

    for answers in (found, alone):
        for answer, wanted in zip(answers, expected, strict=True):
            assert (answer.text, answer.finish_reason, answer.output_tokens) == (
                wanted.text,
                wanted.finish_reason,
                wanted.output_tokens,
            )
            np.testing.assert_allclose(scores_of(answer), scores_of(wanted), atol=2e-3)
            np.testing.assert_allclose(free_scores_of(answer), free_scores_of(wanted, like=answer), atol=2e-3)
    assert steps < len(plain_passes)


def test_the_model_is_asked_what_it_would_have_said_instead_of_forced_text(tmp_path: Path) -> None:
    """All tokens but those that are forced up to the end; a forced one is certain and need not be likely."""
    engine, _ = load(build_miniature("e2b", tmp_path / "e2b"))
    (answer,) = ask(engine, [make_prompts()[3]], max_new_tokens=64)
    assert answer.token_scores is not None
    known = [score.free_log_probability is not None for score in answer.token_scores]
    last = max(place for place, score in enumerate(answer.token_scores) if score.log_probability < 0)

    assert all(known[: last + 1])
    assert not any(known[last + 1 :])
    certain = [score for score in answer.token_scores[:last] if score.log_probability == 0]
    assert min(score.free_log_probability or 0.0 for score in certain) < math.log(0.5)


def test_the_model_is_asked_only_where_there_is_a_choice(tmp_path: Path) -> None:
    """A form of three fields takes three choices of a few tokens; a constant takes none at all."""
    engine, passes = load(build_miniature("e2b", tmp_path / "e2b"))
    form, fixed = make_prompts()[3], make_prompts()[4]
    (answer,) = ask(engine, [form], max_new_tokens=64)
    assert json.loads(answer.text)["colour"] in FORM["properties"]["colour"]["enum"]  # type: ignore[index]
    assert len(passes) < answer.output_tokens / 2
    passes.clear()
    (answer,) = ask(engine, [fixed], max_new_tokens=64)

    assert json.loads(answer.text) == FIXED["const"]
    assert answer.finish_reason == "stop"
    assert passes == []


def test_a_limit_is_not_passed_by_what_is_forced(tmp_path: Path) -> None:
    """The answer is cut at the operator's number of tokens, forced or not."""
    engine, _ = load(build_miniature("e2b", tmp_path / "e2b"))
    (answer,) = ask(engine, [make_prompts()[4]], max_new_tokens=3)

    assert (answer.output_tokens, answer.finish_reason) == (3, "length")
