"""What may come next in a reply, and when it ends: thoughts, their allowance, grammars, limits."""

from typing import TYPE_CHECKING, cast

import pytest
import torch

from gemma4_block.contract import GenerationConfig
from gemma4_block.engine.family import SamplingDefaults, SpecialTokens
from gemma4_block.engine.preprocess import PreparedPrompt
from gemma4_block.engine.sampling import Sampler
from gemma4_block.engine.scheduler import Request, Sequence
from gemma4_block.errors import PromptError

if TYPE_CHECKING:
    from gemma4_block.engine.sampling import Grammar

EOS, OPENS, CLOSES, TURN, IMAGE, A, B, C = 1, 2, 3, 4, 5, 6, 7, 8
SIZE = 9
TOKENS = SpecialTokens(
    stop_ids=frozenset({EOS, TURN}),
    end_of_turn=TURN,
    pad_id=0,
    image_id=IMAGE,
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


def make_sequence(
    prompt_ids: tuple[int, ...] = (A,),
    *,
    grammar: OneThenTwo | None = None,
    has_choices: bool = False,
    needs_token_scores: bool = True,
    **options: object,
) -> Sequence:
    """Make a sequence that is running; options are those of the generation."""
    generation = GenerationConfig(**options)  # type: ignore[arg-type]
    prompt = PreparedPrompt(
        index=0,
        input_ids=prompt_ids,
        image_tokens=0,
        images=(),
        choices=(((A,), (B,)),) if has_choices else (),
        lead_lengths=(0,) if has_choices else (),
        needs_token_scores=needs_token_scores,
    )
    sequence = Sequence(
        Request(1),
        prompt,
        generation,
        TOKENS,
        Sampler(generation, SamplingDefaults()),
        grammar=cast("Grammar | None", grammar),
        has_stop_text=_has_stop_text if generation.stop else None,
    )
    sequence.admit()
    return sequence


def _has_stop_text(ids: list[int], stop: tuple[str, ...]) -> bool:
    text = "".join({A: "a", B: "b", C: "c"}.get(token_id, "") for token_id in ids)
    return any(mark in text for mark in stop)


def write(sequence: Sequence, wishes: tuple[int, ...]) -> list[int]:
    """Let the model wish for one token after the other while it runs; return what was chosen."""
    for wish in wishes:
        if sequence.state != "running":
            break
        logits = torch.zeros(SIZE)
        # What it says where its wish is forbidden.
        logits[C] = 1.0
        logits[wish] = 5.0
        token_id, allowed, free = sequence.draw(logits).tolist()
        sequence.take(int(token_id), allowed, free)
    return sequence.output_ids


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
    assert write(make_sequence(prompt_ids, grammar=OneThenTwo()), wishes) == expected


def test_with_thinking_the_grammar_binds_behind_the_thought() -> None:
    """What is thought is free, but for control tokens."""
    sequence = make_sequence(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(sequence, (OPENS, C, B, CLOSES, C, C, C)) == [OPENS, C, B, CLOSES, A, B, TURN]
    assert sequence.finish_reason == "stop"


@pytest.mark.parametrize("wish", [TURN, EOS, IMAGE, OPENS])
def test_a_thought_before_a_bound_answer_holds_no_control_token(wish: int) -> None:
    """Neither the turn nor anything else ends it."""
    sequence = make_sequence(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(sequence, (OPENS, wish)) == [OPENS, C]
    assert not sequence.has_ended


def test_with_thinking_a_model_may_do_without() -> None:
    """The first token is a thought's beginning or the answer's."""
    sequence = make_sequence(grammar=OneThenTwo(), enable_thinking=True, max_thinking_tokens=9)

    assert write(sequence, (A, C, C)) == [A, B, TURN]


@pytest.mark.parametrize("grammar", [None, OneThenTwo()], ids=["free", "bound"])
def test_a_thought_is_closed_at_its_allowance(grammar: OneThenTwo | None) -> None:
    """Whatever the model would rather say."""
    sequence = make_sequence(grammar=grammar, enable_thinking=True, max_thinking_tokens=2)

    assert write(sequence, (OPENS, C, C, C, A, B, TURN)) == [OPENS, C, C, CLOSES, A, B, TURN]


def test_a_thought_that_is_opened_again_is_closed_at_once_and_counts() -> None:
    """A model cannot go on for ever by opening thoughts."""
    sequence = make_sequence(enable_thinking=True, max_thinking_tokens=1, max_new_tokens=3)

    assert write(sequence, (OPENS, C) * 20) == [OPENS, C, CLOSES, C, OPENS, CLOSES, OPENS]
    assert sequence.finish_reason == "length"


def test_the_answer_has_all_of_its_tokens_whatever_was_thought() -> None:
    """Thoughts with an allowance are counted apart; without one they share."""
    apart = make_sequence(enable_thinking=True, max_thinking_tokens=4, max_new_tokens=2)
    shared = make_sequence(enable_thinking=True, max_new_tokens=2)

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
def test_before_choices_only_thoughts_are_generated(wishes: tuple[int, ...], expected: list[int]) -> None:
    """What is chosen among alternatives is scored behind it."""
    sequence = make_sequence(enable_thinking=True, max_thinking_tokens=2, has_choices=True)

    assert write(sequence, wishes) == expected
    assert (sequence.state, sequence.is_scoring) == ("waiting", True)


def test_a_grammar_that_fails_ends_its_row_with_the_reason() -> None:
    """The neighbours go on."""
    sequence = make_sequence(grammar=OneThenTwo(fails_at=1))

    assert write(sequence, (A, B, TURN)) == [A]
    assert sequence.has_ended
    assert str(sequence.failure) == "too complex"


def test_what_is_forced_is_certain_and_what_is_free_is_not() -> None:
    """Log-probabilities are those among the tokens that were allowed."""
    bound, free = make_sequence(grammar=OneThenTwo()), make_sequence()
    write(bound, (C, C, C))
    write(free, (C, TURN))

    assert bound.log_probabilities == [0.0, 0.0, 0.0]
    assert len(free.log_probabilities) == 2
    assert all(-1 < one < 0 for one in free.log_probabilities)


class ForcedTwoThenFree:
    """A grammar of `A B`, and after that `C` or the end of the turn."""

    def __init__(self) -> None:
        self._place = 0

    def forced(self, _: int) -> int | None:
        """Say what must come next."""
        return (A, B, None)[self._place]

    def allowed(self, size: int, device: torch.device) -> torch.Tensor:
        """Allow the two, or the one."""
        mask = torch.zeros(size, dtype=torch.bool, device=device)
        mask[[[A], [B], [C, TURN]][self._place]] = True
        return mask

    def advance(self, _: int) -> None:
        """Go on; after the last `C` comes another."""
        self._place = min(2, self._place + 1)


def test_forced_tokens_are_read_to_be_scored_before_a_choice_is_made() -> None:
    """The prompt's last position tells about the first of them, the last of them about the choice."""
    sequence = make_sequence(grammar=cast("OneThenTwo", ForcedTwoThenFree()))
    sequence.take_forced(SIZE)

    assert (sequence.output_ids, sequence.prefill_ids) == ([A, B], (A,))
    sequence.mark_prefilled()
    assert (sequence.unscored_ids, sequence.is_read) == ([A], False)
    sequence.take_free_scores([-0.5])
    assert (sequence.uncached_ids, sequence.scored_positions) == ([A, B], 2)
    sequence.mark_cached(2)
    assert (sequence.unscored_ids, sequence.is_read) == ([B], True)
    sequence.take_free_scores([-0.25])
    write(sequence, (C,))
    assert sequence.free_log_probabilities[:2] == [-0.5, -0.25]
    assert (sequence.unscored_ids, sequence.uncached_ids) == ([], [C])


def test_forced_tokens_that_are_put_back_are_scored_all_the_same() -> None:
    """A prefill ends before the first that has no score yet."""
    sequence = make_sequence(grammar=cast("OneThenTwo", ForcedTwoThenFree()))
    sequence.take_forced(SIZE)
    sequence.mark_prefilled()
    sequence.take_free_scores([-0.5])
    sequence.put_back()
    sequence.admit()

    assert sequence.prefill_ids == (A, A)
    sequence.mark_prefilled()
    assert (sequence.unscored_ids, sequence.is_read) == ([B], False)


def test_so_many_forced_tokens_are_scored_at_once_that_their_logits_stay_small() -> None:
    """The others follow in the next passes."""
    sequence = make_sequence(max_new_tokens=30)
    for _ in range(20):
        sequence.log_probabilities.append(0.0)
        sequence.accept(A)
    sequence.mark_prefilled()
    sequence.take_free_scores([-1.0])
    seen = []
    while not sequence.is_read:
        seen.append(len(sequence.uncached_ids))
        sequence.mark_cached(seen[-1])
        sequence.take_free_scores([-1.0] * len(sequence.unscored_ids))

    assert seen == [8, 8, 4]
    assert len(sequence.free_log_probabilities) == 20


def test_what_is_not_scored_is_read_at_once() -> None:
    """Forced tokens of other prompts cost one position, however many they are."""
    sequence = make_sequence(has_choices=False, needs_token_scores=False, max_new_tokens=30)
    for _ in range(20):
        sequence.accept(A)

    assert sequence.prefill_ids == (A,) * 21
    assert (len(sequence.uncached_ids), sequence.scored_positions, sequence.unscored_ids) == (20, 1, [])


def test_a_stop_text_is_met_where_it_is_completed_and_only_in_the_answer() -> None:
    """It may be spread over tokens; a thought does not count, and neither does what came long before."""
    thinking = make_sequence(enable_thinking=True, max_thinking_tokens=9, stop=("ab",))
    long = make_sequence(stop=("ab",), max_new_tokens=100)

    assert write(thinking, (OPENS, A, B, CLOSES, B, A, C, A, B, C)) == [OPENS, A, B, CLOSES, B, A, C, A, B]
    assert write(long, (C,) * 60 + (A, B, C)) == [C] * 60 + [A, B]
    assert (thinking.finish_reason, long.finish_reason) == ("stop", "stop")


def test_looking_for_a_stop_text_does_not_take_longer_at_the_end_of_a_long_answer() -> None:
    """Only so many of the last tokens are looked at as the longest text may have."""
    looked: list[int] = []
    sequence = make_sequence(stop=("abc",), max_new_tokens=500)
    sequence._has_stop_text = lambda ids, _: bool(looked.append(len(ids)))
    write(sequence, (C,) * 500)

    assert len(looked) == 500
    assert max(looked) == 16


def test_a_draw_that_was_not_taken_is_the_same_when_it_is_tried_again() -> None:
    """A step that failed after drawing changes nothing."""
    options = {"do_sample": True, "temperature": 2.0, "seed": 3}
    first, second = make_sequence(**options), make_sequence(**options)
    logits = torch.linspace(0, 1, SIZE)
    logits[[EOS, TURN, OPENS, CLOSES]] = -torch.inf
    drawn: list[list[int]] = [[], []]
    for sequence, ids, tries in ((first, drawn[0], 1), (second, drawn[1], 3)):
        for _ in range(20):
            for _ in range(tries):
                token_id = int(sequence.draw(logits)[0])
            sequence.take(token_id, 0.0, 0.0)
            ids.append(token_id)

    assert drawn[0] == drawn[1]
    assert len(set(drawn[0])) > 2


def test_what_has_ended_cannot_end_otherwise_or_run_again() -> None:
    """A sequence has one state, and the first end counts."""
    sequence = make_sequence(max_new_tokens=1)
    write(sequence, (A,))
    sequence.finish("cancelled")
    sequence.fail(PromptError("late"))

    assert (sequence.state, sequence.finish_reason, sequence.failure) == ("finished", "length", None)
    with pytest.raises(AssertionError):
        sequence.put_back()
    with pytest.raises(AssertionError):
        sequence.admit()


def test_what_is_put_back_is_read_again_from_the_start() -> None:
    """The KV cache of its tokens is gone."""
    sequence = make_sequence()
    write(sequence, (A, B))
    sequence.mark_cached(2)
    write(sequence, (C,))

    assert sequence.uncached_ids == [C]
    sequence.put_back()
    assert (sequence.state, sequence.uncached_ids) == ("waiting", [A, B, C])
