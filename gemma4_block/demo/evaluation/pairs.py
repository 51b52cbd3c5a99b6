"""Ask prompts that have one true answer each."""

from collections.abc import Sequence

from gemma4_block.contract import Answer, Engine, GenerationConfig, Prompt
from gemma4_block.demo.evaluation.scoring import Pair


def ask_pairs(
    engine: Engine,
    prompts: Sequence[Prompt],
    expected: Sequence[str],
    *,
    max_new_tokens: int,
    thinks: bool = False,
) -> list[Pair]:
    """Return the expected and the given answer of every prompt.

    Args:
        engine: Asked in one batch, always for the likeliest answer.
        prompts: Questions.
        expected: The true answer of each.
        max_new_tokens: A model that runs on is cut here.
        thinks: Whether it thinks first.

    Returns:
        One pair for each prompt, in order.

    Raises:
        PromptError: The engine refused a prompt.

    """
    generation = GenerationConfig(max_new_tokens=max_new_tokens, enable_thinking=thinks)
    pairs = []
    for right, answer in zip(expected, engine.answer(prompts, generation), strict=True):
        if not isinstance(answer, Answer):
            raise answer
        pairs.append((right, answer.text))
    return pairs
