"""Score given texts as continuations of a prompt, all of them in one forward pass after its prefill."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

import torch

from gemma4_block.engine.family import LanguageModel
from gemma4_block.engine.runner.masks import build_masks
from gemma4_block.engine.runner.prefill import Prefilled

# Logits of so many positions are held at once: 0.3 GB with Gemma 4's vocabulary, which is less than a prompt
# with an image takes; tests/engine/footprint/test_work.py compares the two.
MOST_LOGITS: Final = 256
# Of so many their exponentials.
_SUMMED_AT_ONCE: Final = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenTree:
    """Continuations of one prompt that share their beginnings.

    Attributes:
        tokens: Id of each node, parents before children. Tokens after which nothing is scored are left out.
        parents: Place of each node's parent; -1 where that is the end of the prompt.
        edges: For each text the steps that count: the node that it is at, or -1, and its next id there.

    """

    tokens: tuple[int, ...]
    parents: tuple[int, ...]
    edges: tuple[tuple[tuple[int, int], ...], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScoredText:
    """A text to be scored.

    Attributes:
        ids: Its tokens, at least one.
        given: How many of the first of them are taken as said, so that they do not count; fewer than all.

    """

    ids: tuple[int, ...]
    given: int = 0


def plant_tree(texts: Sequence[ScoredText]) -> TokenTree:
    """Merge the shared prefixes of texts into a tree.

    Args:
        texts: Any number.

    Returns:
        The tree.

    Example:
        >>> plant_tree([ScoredText(ids=(5, 6)), ScoredText(ids=(5, 7), given=1), ScoredText(ids=(8,))])
        TokenTree(tokens=(5,), parents=(-1,), edges=(((-1, 5), (0, 6)), ((0, 7),), ((-1, 8),)))

    """
    nodes: dict[tuple[int, int], int] = {}
    edges: list[tuple[tuple[int, int], ...]] = []
    for text in texts:
        place, steps = -1, []
        for index, token_id in enumerate(text.ids):
            steps.append((place, token_id))
            if index < len(text.ids) - 1:
                place = nodes.setdefault((place, token_id), len(nodes))
        edges.append(tuple(steps[text.given :]))
    return TokenTree(
        tokens=tuple(token_id for _, token_id in nodes),
        parents=tuple(parent for parent, _ in nodes),
        edges=tuple(edges),
    )


def score_texts(
    model: LanguageModel,
    prefilled: Prefilled,
    texts: Sequence[Sequence[ScoredText]],
) -> list[list[float]]:
    """Return the log-probability of every text right after its prompt and what is given of it.

    Args:
        model: Scores.
        prefilled: KV cache and logits of the prompts; it is used up.
        texts: For each prompt its texts, at least one.

    Returns:
        Natural logarithms, in the same order. A text's is the sum over its tokens that count, each given all
        before it.

    """
    most = max(1, MOST_LOGITS // len(texts))
    scores: list[list[float]] = [[] for _ in texts]
    parts = [_parts(row, most) for row in texts]
    nothing = TokenTree(tokens=(), parents=(), edges=())
    rounds = list(zip_longest(*parts, fillvalue=nothing))
    for place, trees in enumerate(rounds):
        # Every part starts after the same prompts, and a pass grows their KV cache; the last may use it up.
        part = prefilled if place == len(rounds) - 1 else deepcopy(prefilled)
        for row, found in enumerate(_score_trees(model, part, trees)):
            scores[row] += found
    return scores


def _parts(texts: Sequence[ScoredText], most: int) -> list[TokenTree]:
    """Cut texts, in order, into trees of about as many nodes as may be held at once."""
    parts: list[list[ScoredText]] = [[]]
    for text in texts:
        if parts[-1] and sum(len(other.ids) for other in parts[-1]) + len(text.ids) > most:
            parts.append([])
        parts[-1].append(text)
    return [plant_tree(part) for part in parts]


def _score_trees(model: LanguageModel, prefilled: Prefilled, trees: Sequence[TokenTree]) -> list[list[float]]:
    steps = [(row, *step) for row, tree in enumerate(trees) for edges in tree.edges for step in edges]
    # What follows the end of a prompt, and what follows a node.
    begun = [(row, 0, token_id) for row, place, token_id in steps if place < 0]
    later = [step for step in steps if step[1] >= 0]
    first = prefilled.logits[:, None]
    # One transfer to the device, and one from it, for all of them.
    wanted = torch.tensor([*begun, *later], dtype=torch.long, device=first.device).reshape(-1, 3)
    found = [_look_up(first, wanted[: len(begun)])]
    if later:
        found.append(_look_up(_pass_over_trees(model, prefilled, trees), wanted[len(begun) :]))
    numbers = torch.cat(found).tolist()
    after_prompt, after_node = iter(numbers[: len(begun)]), iter(numbers[len(begun) :])
    return [
        [sum(next(after_prompt if place < 0 else after_node) for place, _ in edges) for edges in tree.edges]
        for tree in trees
    ]


def _look_up(logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """Return log-probabilities `(K,)` of rows, places and ids `(K, 3)` in logits `(B, N, V)`.

    A table of all of them would be as large as the logits.
    """
    rows, places, ids = wanted.unbind(dim=1)
    sums = torch.cat([part.logsumexp(dim=-1) for part in logits.flatten(0, 1).split(_SUMMED_AT_ONCE)])
    return logits[rows, places, ids] - sums[rows * logits.shape[1] + places]


def _pass_over_trees(model: LanguageModel, prefilled: Prefilled, trees: Sequence[TokenTree]) -> torch.Tensor:
    """Return the logits `(B, N, V)` float32 after each node, which sees only its own branch."""
    device = prefilled.logits.device
    size = max(len(tree.tokens) for tree in trees)
    ids = torch.zeros(len(trees), size, dtype=torch.long)
    sees = torch.zeros(len(trees), size, size, dtype=torch.bool)
    depth = torch.zeros(len(trees), size, dtype=torch.long)
    for row, tree in enumerate(trees):
        for place, (token_id, parent) in enumerate(zip(tree.tokens, tree.parents, strict=True)):
            ids[row, place] = token_id
            if parent >= 0:
                sees[row, place] = sees[row, parent]
                depth[row, place] = depth[row, parent] + 1
            sees[row, place, place] = True
    lengths = torch.tensor(prefilled.batch.lengths, device=device)[:, None]
    positions = lengths + depth.to(device)
    masks = build_masks(
        prefilled.batch.mask(lengths),
        positions,
        sees.to(device),
        sliding_window=model.sliding_window,
    )
    return model.read_tokens(ids.to(device), masks, positions, prefilled.batch.cache, last=size)
