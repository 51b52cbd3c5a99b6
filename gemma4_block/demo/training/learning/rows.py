"""Pack a picture, or two, and its questions into one row of tokens.

A mask lets every question see the picture and itself but no other question, and positions restart after the
picture, so each is learnt exactly as it is asked later: alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import numpy.typing as npt
import torch
from transformers import GemmaTokenizer

from gemma4_block.demo import phrases
from gemma4_block.demo.training.asking import SENTENCE_SYSTEM_PROMPTS, Kind, Language, Turn, ask
from gemma4_block.demo.training.drawing import Picture, Writing
from gemma4_block.demo.training.learning.architecture import SLIDING_WINDOW
from gemma4_block.demo.training.learning.truth import IGNORED

KINDS: tuple[Kind, ...] = get_args(Kind)
_MOST_QUESTIONS = 7
# A row takes no more questions once it has so many tokens of text; it may get longer by the last one.
_ENOUGH_TEXT = 330
# Questions whose answers hold what is written, and no label that could be the same word.
_READING: frozenset[Kind] = frozenset({"describe", "stray", "read", "structured"})
# Counts and coordinates are a few digits among many easy tokens, and the hardest to learn.
_DIGIT_WEIGHT = 3.0
# The first corner of a box says which of the things comes next; where it ends is seen from there.
_CORNER_WEIGHT = 6.0
_NUMBERS_OF_BOX = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Texts:
    """The rows of a step.

    Attributes:
        input_ids: `(B, L)` int64.
        labels: `(B, L)` int64, the token to predict at each place, `IGNORED` outside answers.
        weights: `(B, L)` float32, how much each of them counts.
        turns: `(B, L)` int64, the number of the question, 0 before them, -1 for padding.
        kinds: For each row the places in `KINDS` of its questions.
        position_ids: `(B, L)` int64.
        full_mask: `(B, 1, L, L)` bool, True where a token may look in full layers.
        sliding_mask: The same for sliding layers.

    """

    input_ids: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    turns: torch.Tensor
    kinds: tuple[tuple[int, ...], ...]
    position_ids: torch.Tensor
    full_mask: torch.Tensor
    sliding_mask: torch.Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One row before it is padded; see `Texts`."""

    ids: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32]
    turns: npt.NDArray[np.int64]
    kinds: tuple[int, ...]
    positions: npt.NDArray[np.int64]


def pack_row(
    rng: np.random.Generator,
    pictures: Sequence[Picture],
    tokenizer: GemmaTokenizer,
    soft_tokens: Sequence[int],
) -> Row:
    """Choose how pictures are asked about together, mostly one, and pack the questions behind them.

    Args:
        rng: Source of every choice.
        pictures: What is asked about.
        tokenizer: Of the checkpoint.
        soft_tokens: How many each of the pictures becomes.

    Returns:
        The row.

    """
    is_thinking = rng.random() < 0.2
    language, system_prompt, as_sentence = _draw_manner(rng)
    images = "".join(f"<|image>{'<|image|>' * count}<image|>" for count in soft_tokens)
    head = "<bos>"
    if system_prompt or is_thinking:
        head += f"<|turn>system\n{'<|think|>' if is_thinking else ''}"
        # A text between special tokens is tokenised on its own, as in the rendered template.
        head += f"\n{system_prompt}" if is_thinking else system_prompt
        head += "<turn|>\n"
    prefix = _encode(tokenizer, f"{head}<|turn>user\n{images}")
    digits = tokenizer.convert_tokens_to_ids(list("0123456789"))
    parts = [(prefix, np.full(len(prefix), IGNORED), np.zeros(len(prefix), dtype=np.float32))]
    kinds: list[int] = []
    text_length = 0
    for turn in ask(rng, pictures, language, count=_MOST_QUESTIONS, as_sentence=as_sentence):
        if text_length > _ENOUGH_TEXT:
            break
        question = _encode(tokenizer, f"{turn.question}<turn|>\n<|turn>model\n")
        answer = _encode_answer(tokenizer, turn, pictures[0].writing, is_thinking=is_thinking)
        tokens = np.concatenate([question, answer])
        target = np.full(len(tokens), IGNORED)
        weights = np.zeros(len(tokens), dtype=np.float32)
        # Each place predicts the next token: the last of the question predicts the answer's first. Long
        # answers count more than short ones, but not as much as they are longer.
        target[len(question) - 1 : -1] = answer
        weights[len(question) - 1 : -1] = _weigh(turn.kind, np.isin(answer, digits)) / np.sqrt(len(answer))
        parts.append((tokens, target, weights))
        kinds.append(KINDS.index(turn.kind))
        text_length += len(tokens)
    numbers = [np.full(len(tokens), number, dtype=np.int64) for number, (tokens, _, _) in enumerate(parts)]
    positions = [np.arange(len(prefix))]
    positions += [np.arange(len(prefix), len(prefix) + len(tokens)) for tokens, _, _ in parts[1:]]
    return Row(
        ids=np.concatenate([tokens for tokens, _, _ in parts]),
        labels=np.concatenate([target for _, target, _ in parts]),
        weights=np.concatenate([weights for _, _, weights in parts]),
        turns=np.concatenate(numbers),
        kinds=tuple(kinds),
        positions=np.concatenate(positions),
    )


def stack_rows(rows: Sequence[Row]) -> Texts:
    """Pad rows to the longest, and say what each token may see."""
    longest = max(len(row.ids) for row in rows)
    shape = (len(rows), longest)
    ids, labels = torch.zeros(shape, dtype=torch.long), torch.full(shape, IGNORED)
    weights = torch.zeros(shape)
    positions, turns = torch.zeros(shape, dtype=torch.long), torch.full(shape, -1)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.from_numpy(row.ids)
        labels[index, :length] = torch.from_numpy(row.labels)
        weights[index, :length] = torch.from_numpy(row.weights)
        positions[index, :length] = torch.from_numpy(row.positions)
        turns[index, :length] = torch.from_numpy(row.turns)
    own = turns[:, :, None] == turns[:, None, :]
    shared = (turns[:, None, :] == 0) & (turns[:, :, None] >= 0)
    causal = torch.ones(longest, longest, dtype=torch.bool).tril()
    mask = (own | shared) & causal
    near = positions[:, :, None] - positions[:, None, :] < SLIDING_WINDOW
    return Texts(
        input_ids=ids,
        labels=labels,
        weights=weights,
        turns=turns,
        kinds=tuple(row.kinds for row in rows),
        position_ids=positions,
        full_mask=mask[:, None],
        sliding_mask=(mask & near)[:, None],
    )


def _draw_manner(rng: np.random.Generator) -> tuple[Language, str, bool]:
    """Return the language, the system prompt, and whether counts are answered with a sentence."""
    choice = rng.random()
    if choice < 0.12:
        return "french", _pick(rng, phrases.FRENCH_SYSTEM_PROMPTS), False
    if choice < 0.3:
        return "english", _pick(rng, phrases.PLAIN_SYSTEM_PROMPTS), False
    if choice < 0.37:
        return "english", _pick(rng, SENTENCE_SYSTEM_PROMPTS), True
    return "english", "", False


def _weigh(kind: Kind, is_digit: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how much each token of an answer `(N,)` counts."""
    weights = np.where(is_digit, _DIGIT_WEIGHT, 1.0)
    if kind == "detect":
        begins = is_digit & ~np.concatenate([[False], is_digit[:-1]])
        number = (np.cumsum(begins) - 1) % _NUMBERS_OF_BOX
        weights[is_digit & (number < _NUMBERS_OF_BOX // 2)] = _CORNER_WEIGHT
    return weights


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _encode_answer(
    tokenizer: GemmaTokenizer, turn: Turn, writing: Writing | None, *, is_thinking: bool
) -> npt.NDArray[np.int64]:
    written = writing.text if writing is not None and turn.kind in _READING else None
    parts = [_spell(tokenizer, turn.answer, written), _encode(tokenizer, "<turn|>")]
    if is_thinking:
        thought = _spell(tokenizer, turn.thought, written)
        parts = [_encode(tokenizer, "<|channel>thought\n"), thought, _encode(tokenizer, "<channel|>"), *parts]
    return np.concatenate(parts)


def _spell(tokenizer: GemmaTokenizer, said: str, written: str | None) -> npt.NDArray[np.int64]:
    """Encode a part of an answer; what is written in the picture letter by letter, as it is seen there.

    In longer pieces, which letters make up each of them would have to be learnt as well.
    """
    if written is None:
        return _encode(tokenizer, said)
    letters = np.asarray(
        tokenizer.convert_tokens_to_ids(list(written.replace(" ", "\u2581"))), dtype=np.int64
    )
    if said == written:
        return letters
    before, quoted, after = said.rpartition(f'"{written}"')
    if not quoted:
        return _encode(tokenizer, said)
    return np.concatenate([_encode(tokenizer, f'{before}"'), letters, _encode(tokenizer, f'"{after}')])


def _encode(tokenizer: GemmaTokenizer, text: str) -> npt.NDArray[np.int64]:
    return np.asarray(tokenizer.encode(text, add_special_tokens=False), dtype=np.int64)
