"""What may come next in a reply, and when it ends: thoughts, their allowance, grammars, limits."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

import pytest
import torch
from transformers import GenerationConfig as HfGenerationConfig

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.gemma4.special_tokens import Vocabulary
from gemma4_block.engine.sampling.sampler import Sampler
from gemma4_block.engine.scheduler.sequence import Row
from gemma4_block.errors import PromptError

if TYPE_CHECKING:
    from gemma4_block.engine.sampling.grammar import Grammar

EOS, OPENS, CLOSES, TURN, IMAGE, A, B, C = 1, 2, 3, 4, 5, 6, 7, 8
SIZE = 9
VOCABULARY = Vocabulary(
    stop_ids=frozenset({EOS, TURN}),
    end_of_turn=TURN,
    pad_id=0,
    opens_thought=OPENS,
    closes_thought=CLOSES,
    control_ids=frozenset({0, EOS, OPENS, CLOSES, TURN, IMAGE}),
)


class OneThenTwo:
    """A grammar of `A B` and the end of the turn; it fails where it is told to."""

    def __init__(self, *, fails_at: int | None = None) -> None:
        self._place = 0
        self._fails_at = fails_at

    def allowed(self, size: int, device: torch.device) -> torch.Tensor:
        """Allow the next of the three."""
        if self._place == self._fails_at:
            raise PromptError("too complex")
        mask = torch.zeros(size, dtype=torch.bool, device=device)
        mask[(A, B, TURN)[self._place]] = True
        return mask

    def advance(self, token_id: int) -> None:
        """Go on."""
        assert token_id == (A, B)[self._place]
        self._place += 1


def make_row(
    prompt_ids: Sequence[int] = (A,), *, grammar: OneThenTwo | None = None, **options: object
) -> Row:
    """Make a row; options are those of the generation."""
    ends_after_thought = bool(options.pop("ends_after_thought", False))
    generation = GenerationConfig(**options)  # type: ignore[arg-type]
    return Row(
        prompt_ids,
        generation,
        VOCABULARY,
        Sampler(generation, HfGenerationConfig()),
        grammar=cast("Grammar | None", grammar),
        needs_scores=True,
        ends_after_thought=ends_after_thought,
    )


def write(row: Row, wishes: Sequence[int]) -> list[int]:
    """Let the model wish for one token after the other, until the row ends; return what was chosen."""
    for wish in wishes:
        if row.is_ended:
            break
        logits = torch.zeros(SIZE)
        # What it says where its wish is forbidden.
        logits[C] = 1.0
        logits[wish] = 5.0
        token_id, log_probability = row.draw(logits).tolist()
        row.take(int(token_id), log_probability)
    return row.ids


@pytest.mark.parametrize(
    ("prompt_ids", "wishes", "expected"),
    [
        pytest.param((A,), (C, C, C), [A, B, TURN], id="no channel"),
        pytest.param((OPENS, CLOSES), (C, C, C), [A, B, TURN], id="the prompt holds an empty thought"),
        pytest.param(
            (OPENS,), (B, TURN, CLOSES, C, C, C), [B, C, CLOSES, A, B, TURN], id="the prompt opened one"
        ),
    ],
)
def test_without_thinking_the_grammar_binds_from_the_start(
    prompt_ids: tuple[int, ...], wishes: tuple[int, ...], expected: list[int]
) -> None:
    """Only a thought that the prompt itself has opened comes first, and the turn cannot end in it."""
    assert write(make_row(prompt_ids, grammar=OneThenTwo()), wishes) == expected


def test_with_thinking_the_grammar_binds_behind_the_thought() -> None:
    """What is thought is free, but for control tokens."""
    row = make_row(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(row, (OPENS, C, B, CLOSES, C, C, C)) == [OPENS, C, B, CLOSES, A, B, TURN]
    assert row.finish_reason == "stop"


@pytest.mark.parametrize("wish", [TURN, EOS, IMAGE, OPENS])
def test_a_thought_before_a_bound_answer_holds_no_control_token(wish: int) -> None:
    """Neither the turn nor anything else ends it."""
    row = make_row(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(row, (OPENS, wish)) == [OPENS, C]
    assert not row.is_ended


def test_with_thinking_a_model_may_do_without() -> None:
    """The first token is a thought's beginning or the answer's."""
    row = make_row(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(row, (A, C, C)) == [A, B, TURN]


@pytest.mark.parametrize("grammar", [None, OneThenTwo()], ids=["free", "bound"])
def test_a_thought_is_closed_at_its_allowance(grammar: OneThenTwo | None) -> None:
    """Whatever the model would rather say."""
    row = make_row(grammar=grammar, enable_thinking=True, max_thinking_tokens=2)

    assert write(row, (OPENS, C, C, C, A, B, TURN)) == [OPENS, C, C, CLOSES, A, B, TURN]


def test_a_thought_that_is_opened_again_is_closed_at_once_and_counts() -> None:
    """A model cannot go on for ever by opening thoughts."""
    row = make_row(enable_thinking=True, max_thinking_tokens=1, max_new_tokens=3)

    assert write(row, (OPENS, C) * 20) == [OPENS, C, CLOSES, C, OPENS, CLOSES, OPENS]
    assert row.finish_reason == "length"


def test_the_answer_has_all_of_its_tokens_whatever_was_thought() -> None:
    """Thoughts with an allowance are counted apart; without one they share."""
    apart = make_row(enable_thinking=True, max_thinking_tokens=4, max_new_tokens=2)
    shared = make_row(enable_thinking=True, max_new_tokens=2)

    assert write(apart, (OPENS, C, CLOSES, A, A, A)) == [OPENS, C, CLOSES, A, A]
    assert write(shared, (OPENS, C, CLOSES, A, A, A)) == [OPENS, C]
    assert (apart.finish_reason, shared.finish_reason) == ("length", "length")


@pytest.mark.parametrize(
    ("wishes", "expected"),
    [
        pytest.param((OPENS, C, CLOSES), [OPENS, C, CLOSES], id="closed by the model"),
        pytest.param((OPENS, C, C, C, C), [OPENS, C, C, CLOSES], id="closed at the allowance"),
        pytest.param((A,), [], id="no thought"),
    ],
)
def test_a_row_that_only_thinks_ends_where_the_answer_would_begin(
    wishes: tuple[int, ...], expected: list[int]
) -> None:
    """What is chosen among alternatives is scored behind it."""
    row = make_row(enable_thinking=True, max_thinking_tokens=2, ends_after_thought=True)

    assert write(row, wishes) == expected
    assert row.finish_reason == "stop"


def test_a_grammar_that_fails_ends_its_row_with_the_reason() -> None:
    """The neighbours go on."""
    row = make_row(grammar=OneThenTwo(fails_at=1))

    assert write(row, (A, B, TURN)) == [A]
    assert row.is_ended
    assert str(row.failure) == "too complex"


def test_what_is_forced_is_certain_and_what_is_free_is_not() -> None:
    """Log-probabilities are those among the tokens that were allowed."""
    bound, free = make_row(grammar=OneThenTwo()), make_row()
    write(bound, (C, C, C))
    write(free, (C, TURN))

    assert bound.log_probabilities == [0.0, 0.0, 0.0]
    assert len(free.log_probabilities) == 2
    assert all(-1 < one < 0 for one in free.log_probabilities)
