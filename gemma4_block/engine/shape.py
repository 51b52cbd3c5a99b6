"""The sizes of a model that say how much memory it takes, whatever its family."""

from collections.abc import Sequence
from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength


@dataclass(frozen=True, kw_only=True, slots=True)
class CacheLayers:
    """Layers that keep equally much of a token.

    Attributes:
        count: How many there are.
        values: What each keeps of a token, keys and values together.
        window: How many tokens a sliding layer sees, the token itself included; None for all.

    """

    count: int
    values: int
    window: int | None


@dataclass(frozen=True, kw_only=True, slots=True)
class TowerShape:
    """A vision tower.

    Attributes:
        hidden: Values of a patch between layers.
        intermediate: Values of a patch within one.

    """

    hidden: int
    intermediate: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelShape:
    """A model's sizes, in values and not in bytes.

    Attributes:
        hidden: Of a token between the layers of the language model.
        intermediate: Of a token within a layer, experts included.
        expert_weights: Of all experts of a layer together; 0 where there are none.
        layer_inputs: Of a token's embeddings for single layers, all together; 0 where there are none.
        vocabulary: Entries of the vocabulary.
        caches: The layers that keep keys and values.
        patch: Of a patch of an image.
        patches_per_token: Patches that become one soft token.
        tower: None where patches go into the language model at once.
        first_layer_without_cache: From here on, layers use the keys and values of earlier ones.
        image_seq_lengths: Visual token budgets that it was trained for, smallest first.

    """

    hidden: int
    intermediate: int
    expert_weights: int
    layer_inputs: int
    vocabulary: int
    caches: tuple[CacheLayers, ...]
    patch: int
    patches_per_token: int
    tower: TowerShape | None
    first_layer_without_cache: int
    image_seq_lengths: tuple[ImageSeqLength, ...]

    def count_cached(self, tokens: int) -> int:
        """Return how many values the KV cache of so many tokens has."""
        return sum(
            layers.count
            * layers.values
            * (tokens if layers.window is None else min(tokens, layers.window - 1))
            for layers in self.caches
        )


def group_caches(layers: Sequence[tuple[int, int | None]]) -> tuple[CacheLayers, ...]:
    """Put layers of one kind together.

    Args:
        layers: What each keeps of a token, and its window.

    Returns:
        Every kind once, in the order of its first layer.

    Example:
        >>> [kind.count for kind in group_caches([(512, 512), (512, 512), (1024, None)])]
        [2, 1]

    """
    return tuple(
        CacheLayers(count=layers.count(kind), values=kind[0], window=kind[1])
        for kind in dict.fromkeys(layers)
    )
