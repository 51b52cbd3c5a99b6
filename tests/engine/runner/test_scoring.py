"""Given texts are scored as if each had been read alone."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt, RgbImage
from gemma4_block.demo.scenes import draw_crop, draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.runner import scoring
from gemma4_block.engine.runner.scoring import ScoredText, plant_tree, score_texts
from gemma4_block.tasks import classification
from tests.engine.rooms import make_inputs, prefill, prepare
from tests.miniatures import Shape, build_miniature

ANYTHING = JsonSchema(text="{}")
COLORS = ("red", "green", "blue")
TEXTS = [(5, 6, 7), (5, 6, 8, 9), (5,), (11, 12), (13,)]
SCORED = [ScoredText(ids=text) for text in TEXTS]


def _choose(*groups: tuple[str, ...]) -> Choices:
    return Choices(groups=groups, schema=ANYTHING)


def _answer(engine: Gemma4HF, prompt: Prompt, **options: object) -> Answer:
    (answer,) = engine.answer([prompt], GenerationConfig(**options))  # type: ignore[arg-type]
    assert isinstance(answer, Answer)
    return answer


@pytest.fixture(scope="module")
def crop() -> RgbImage:
    """One red shape."""
    rng = np.random.default_rng(3)
    return next(crop.image for crop in (draw_crop(rng) for _ in range(99)) if crop.shapes[0].color == "red")


def test_shared_beginnings_are_read_once() -> None:
    """The last token of a text is never read, because nothing is scored after it."""
    tree = plant_tree(SCORED)

    assert (tree.tokens, tree.parents) == ((5, 6, 8, 11), (-1, 0, 1, -1))
    assert tree.edges[1] == ((-1, 5), (0, 6), (1, 8), (2, 9))


def _score_alone(engine: Gemma4HF, prompt: Prompt, text: tuple[int, ...]) -> float:
    """Read the prompt with the text behind it, and add up what the model gave its tokens."""
    checkpoint = engine.engine.checkpoint
    inputs = make_inputs(checkpoint, *prepare(engine.engine, prompt))
    length = inputs["input_ids"].shape[1]
    added = torch.tensor([text])
    inputs["input_ids"] = torch.cat([inputs["input_ids"], added], dim=1)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(added)], dim=1)
    with torch.inference_mode():
        logits = checkpoint.model.module(**inputs).logits[0, length - 1 : -1].float()
    return sum(float(row[token]) for row, token in zip(logits.log_softmax(-1), text, strict=True))


@pytest.mark.parametrize("most", [512, 7], ids=["one tree", "several trees"])
@pytest.mark.parametrize("shape", ["e2b", "26b-a4b", "31b"])
def test_scores_equal_those_of_reading_each_text_alone(
    shape: Shape, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Padding, windows, shared KV and image attention included: branches do not see each other."""
    monkeypatch.setattr(scoring, "MOST_LOGITS", most)
    engine = Gemma4HF.from_pretrained(build_miniature(shape, tmp_path / shape), device="cpu")
    checkpoint = engine.engine.checkpoint
    window = checkpoint.model.module.config.get_text_config().sliding_window
    image = draw_scene(np.random.default_rng(2)).image
    prompts = [
        Prompt(text="Count", images=(image,)),
        Prompt(text="Describe the image. " * 9, images=(image,)),
    ]
    prepared = prepare(engine.engine, *prompts)
    assert len(prepared[1].input_ids) > window
    with torch.inference_mode():
        found = score_texts(checkpoint.model, prefill(checkpoint, *prepared), [SCORED, SCORED[1:4]])

    expected = [[_score_alone(engine, prompts[0], text) for text in TEXTS]]
    expected.append([_score_alone(engine, prompts[1], text) for text in TEXTS[1:4]])
    # Measured: below 1e-4; a branch that sees another one changes whole units.
    np.testing.assert_allclose(found[0], expected[0], atol=2e-3)
    np.testing.assert_allclose(found[1], expected[1], atol=2e-3)


def test_the_right_class_is_chosen_and_all_have_a_probability(engine: Gemma4HF, crop: RgbImage) -> None:
    """Probabilities of a group add up to one, and the text is the alternative that was chosen."""
    texts = tuple(json.dumps({"class_name": color}) for color in COLORS)
    answer = _answer(
        engine, Prompt(text=classification.wording(COLORS), images=(crop,), constraint=_choose(texts))
    )

    assert answer.choice_probabilities is not None
    (probabilities,) = answer.choice_probabilities
    assert answer.text == texts[0]
    assert probabilities[0] > 0.9
    assert math.isclose(sum(probabilities), 1.0, rel_tol=1e-6)
    assert answer.finish_reason == "stop"


def test_groups_do_not_know_of_each_other(engine: Gemma4HF, crop: RgbImage) -> None:
    """A group's probabilities are the same beside another group and alone; each has a line of the text."""
    first, second = ('{"a": true', '{"a": false'), ('{"bb": 1', '{"bb": 2', '{"bb": 3')
    prompt = Prompt(text="Which?", images=(crop,))
    both = _answer(engine, _with(prompt, first, second))
    alone = _answer(engine, _with(prompt, second))

    assert both.choice_probabilities is not None
    assert alone.choice_probabilities is not None
    np.testing.assert_allclose(both.choice_probabilities[1], alone.choice_probabilities[0], atol=1e-5)
    assert both.text.split("\n")[1] == alone.text


def test_a_batch_scores_as_each_prompt_alone(engine: Gemma4HF, crop: RgbImage) -> None:
    """Different questions, lengths and numbers of alternatives share a batch."""
    prompts = [
        _with(Prompt(text="Which one?", images=(crop,)), ("red", "blue")),
        _with(Prompt(text="And here, which one is it then?", images=(crop, crop)), ("a circle", "a", "star")),
    ]
    together = engine.answer(prompts, GenerationConfig())
    for prompt, answer in zip(prompts, together, strict=True):
        alone = _answer(engine, prompt)
        assert isinstance(answer, Answer)
        assert (alone.text, alone.input_tokens) == (answer.text, answer.input_tokens)
        np.testing.assert_allclose(alone.choice_probabilities, answer.choice_probabilities, atol=1e-5)  # type: ignore[arg-type]


def test_a_longer_alternative_is_not_punished_for_its_length(engine: Gemma4HF, crop: RgbImage) -> None:
    """What follows the alternatives alike is part of them, so one that begins another can win and lose."""
    texts = tuple(json.dumps({"class_name": name}) for name in ("red", "red circle", "red square"))
    kinds = ("circle", "square")
    rng = np.random.default_rng(9)
    wanted = next(c for c in (draw_crop(rng) for _ in range(99)) if c.shapes[0].label == "red square")
    prompt = Prompt(text=classification.wording(["red circle", "red square"]), images=(wanted.image,))
    answer = _answer(engine, _with(prompt, texts))

    assert answer.text == json.dumps({"class_name": f"red {kinds[1]}"})
    assert crop.shape[2] == 3


def test_thoughts_come_before_the_choice_and_are_returned(engine: Gemma4HF, crop: RgbImage) -> None:
    """With thinking on the alternatives are scored behind the thought."""
    texts = tuple(json.dumps({"class_name": color}) for color in COLORS)
    prompt = _with(Prompt(text=classification.wording(COLORS), images=(crop,)), texts)
    plain = _answer(engine, prompt)
    thinking = _answer(engine, prompt, enable_thinking=True, max_thinking_tokens=20)

    assert "red" in thinking.thinking
    assert (plain.thinking, plain.text) == ("", thinking.text)
    assert thinking.output_tokens > plain.output_tokens
    assert thinking.choice_probabilities != plain.choice_probabilities


def test_chance_draws_alternatives_by_their_probability(engine: Gemma4HF, crop: RgbImage) -> None:
    """With a high temperature seeds differ; the probabilities that are told stay the measured ones."""
    prompt = _with(Prompt(text="What color is the shape?", images=(crop,)), COLORS)
    plain = _answer(engine, prompt)
    drawn = [_answer(engine, prompt, do_sample=True, temperature=50.0, seed=seed) for seed in range(12)]

    assert len({answer.text for answer in drawn}) > 1
    assert {answer.choice_probabilities for answer in drawn} == {plain.choice_probabilities}
    again = _answer(engine, prompt, do_sample=True, temperature=50.0, seed=3)
    assert again.text == drawn[3].text


def _with(prompt: Prompt, *groups: tuple[str, ...]) -> Prompt:
    return Prompt(text=prompt.text, images=prompt.images, constraint=_choose(*groups))


def test_the_lead_does_not_count_and_the_rest_is_what_the_others_leave(
    engine: Gemma4HF, crop: RgbImage
) -> None:
    """Asked which of three things it is that are not there, the model would have said none of them."""
    fitting, lacking = ("red", "green", "blue"), ("tractor", "planet", "zebra")
    lead = '{"class_name": "'

    def ask(classes: tuple[str, ...], *, rest: int | None) -> Answer:
        constraint = Choices(
            groups=(tuple(json.dumps({"class_name": name}) for name in classes),),
            schema=ANYTHING,
            lead=lead,
            rest=rest,
        )
        prompt = Prompt(text=classification.wording(classes), images=(crop,), constraint=constraint)
        return _answer(engine, prompt)

    there, absent, other = ask(fitting, rest=None), ask(lacking, rest=None), ask(lacking, rest=2)
    assert there.group_probabilities is not None
    assert absent.group_probabilities is not None
    assert other.choice_probabilities is not None
    assert 0.9 < there.group_probabilities[0] <= 1
    assert absent.group_probabilities[0] < 0.1
    assert other.text == '{"class_name": "zebra"}'
    assert other.group_probabilities == pytest.approx((1.0,))
    assert sum(other.choice_probabilities[0][:2]) <= absent.group_probabilities[0]


def test_given_tokens_are_left_out_of_the_sum(tmp_path: Path) -> None:
    """A text scores as much less as its given beginning would alone."""
    engine = Gemma4HF.from_pretrained(build_miniature("e2b", tmp_path / "e2b"), device="cpu")
    checkpoint = engine.engine.checkpoint
    (prepared,) = prepare(engine.engine, Prompt(text="Count"))
    texts = [
        ScoredText(ids=(5, 6, 7)),
        ScoredText(ids=(5,)),
        ScoredText(ids=(5, 6, 7), given=1),
    ]
    with torch.inference_mode():
        ((whole, beginning, rest),) = score_texts(checkpoint.model, prefill(checkpoint, prepared), [texts])

    assert math.isclose(rest, whole - beginning, abs_tol=1e-4)
