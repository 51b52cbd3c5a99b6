"""Checking several guessed tokens in one pass changes how long an answer takes, and not one of its tokens."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gemma4_block.contract import Answer, Choices, GenerationConfig, JsonSchema, Prompt, RgbImage
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.engine.local import LocalEngine
from gemma4_block.engine.runner.kv_cache import BatchCache
from gemma4_block.settings import Settings
from tests.engine.rooms import make_passes
from tests.miniatures import Shape, build_miniature

CPU = LoadOptions(device=torch.device("cpu"), dtype="float32")
# Longer than the sliding window of the miniatures.
LONG = GenerationConfig(max_new_tokens=60)


def photo(seed: int) -> RgbImage:
    """Draw noise."""
    drawn: RgbImage = np.random.default_rng(seed).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    return drawn


def prompts() -> list[Prompt]:
    """Ask about images and about none, in texts of different lengths, some of which repeat themselves."""
    return [
        Prompt(text="red blue red blue red blue red blue"),
        Prompt(text="What is this?", images=(photo(0),)),
        Prompt(text="What is this? " * 4, images=(photo(1),)),
        Prompt(text="one two three, one two three, one two"),
        Prompt(text="?"),
    ]


class Engines:
    """The same checkpoint with guesses and without, and how many forward passes each of them has taken."""

    def __init__(self, directory: Path) -> None:
        self.passes = {0: 0, 7: 0}
        self._engines = {most: self._load(directory, most) for most in self.passes}

    def answer(self, asked: list[Prompt], generation: GenerationConfig) -> dict[int, list[list[int]]]:
        """Ask both, and return the tokens of each answer."""
        self.passes = dict.fromkeys(self.passes, 0)
        return {
            most: [_tokens(answer) for answer in engine.answer(asked, generation)]
            for most, engine in self._engines.items()
        }

    def close(self) -> None:
        """End their threads."""
        for engine in self._engines.values():
            engine.close()

    def _load(self, directory: Path, most: int) -> LocalEngine:
        checkpoint = load_checkpoint(directory, CPU)

        def count(*_: object) -> None:
            self.passes[most] += 1

        checkpoint.model.module.get_decoder().register_forward_pre_hook(count)
        return LocalEngine(checkpoint, Settings(device="cpu", guessed_tokens=most, max_batch_size=8))


def _tokens(answer: object) -> list[int]:
    assert isinstance(answer, Answer)
    return [answer.output_tokens, *answer.text.encode()]


@pytest.fixture(scope="module", params=["e2b", "12b", "31b"])
def engines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    """Those of an architecture: shared keys and values, no tower, and one with other heads."""
    shape: Shape = request.param
    made = Engines(build_miniature(shape, tmp_path_factory.mktemp("guessing") / shape))
    yield made
    made.close()


@pytest.mark.parametrize("count", [1, 2, 5])
def test_tokens_stay_the_same(engines: Engines, count: int) -> None:
    """Alone and together, beyond the sliding window, also where guesses are wrong."""
    found = engines.answer(prompts()[:count], LONG)

    assert found[7] == found[0]


def test_the_last_answer_to_a_question_saves_passes(engines: Engines) -> None:
    """Asked again, a text takes a pass for up to eight of its tokens, and few more."""
    asked = [Prompt(text="Say it again.")]
    engines.answer(asked, LONG)
    found = engines.answer(asked, LONG)

    assert found[7] == found[0]
    assert found[0][0][0] > 20
    assert engines.passes[7] < engines.passes[0] / 2


def test_a_question_about_another_image_corrects_the_guess(engines: Engines) -> None:
    """The last answer to the same words is a guess only: the image decides."""
    for seed in range(4):
        found = engines.answer([Prompt(text="What is this?", images=(photo(seed),))], LONG)

        assert found[7] == found[0]


@pytest.mark.parametrize(
    ("prompt", "generation"),
    [
        pytest.param(
            Prompt(text="a b a b", constraint=JsonSchema(text='{"enum": ["a b a b a b", "b"]}')),
            LONG,
            id="schema",
        ),
        pytest.param(
            Prompt(text="a b a b", constraint=Choices(groups=(("a", "b"),), schema=JsonSchema(text="{}"))),
            LONG,
            id="choices",
        ),
        pytest.param(
            Prompt(text="a b a b"),
            GenerationConfig(max_new_tokens=40, do_sample=True, temperature=1.0, seed=7),
            id="chance",
        ),
        pytest.param(
            Prompt(text="a b a b", needs_token_scores=True), GenerationConfig(max_new_tokens=20), id="scores"
        ),
    ],
)
def test_what_is_not_simply_the_likeliest_is_not_guessed(
    engines: Engines, prompt: Prompt, generation: GenerationConfig
) -> None:
    """Such answers take as many passes as without guesses, and are the same, twice."""
    for _ in range(2):
        found = engines.answer([prompt], generation)

        assert found[7] == found[0]
        assert engines.passes[7] == engines.passes[0]


def test_dropped_tokens_leave_no_trace(tmp_path: Path) -> None:
    """A row that drops its last tokens reads on as if it had never had them, whatever the others keep."""
    checkpoint = load_checkpoint(build_miniature("e2b", tmp_path / "e2b"), CPU)
    passes = make_passes(checkpoint)
    texts = [list(range(300, 340)), list(range(310, 345)), list(range(400, 405))]

    def begin() -> BatchCache:
        batch, _, _ = passes.prefill(texts, [], prefix_lengths=[0, 0, 0])
        return batch

    with torch.inference_mode():
        plain, drafted = begin(), begin()
        passes.read(plain, [[500], [501, 502, 503], [504, 505]], last=1)
        passes.read_likeliest(drafted, [[500, 9, 9, 9], [501, 502, 503, 9], [504, 505, 9]])
        drafted.drop_last([3, 1, 1])
        expected, found = (passes.read(one, [[600], [601], [602]], last=1) for one in (plain, drafted))

    assert drafted.lengths == plain.lengths
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
