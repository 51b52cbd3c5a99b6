"""Say what an adapter changes, by the names of the modules that it touches."""

import re
from collections.abc import Iterable

# Called with one row for each sequence; a router gets the tokens of all of them in one row after the other.
_PER_ROW = re.compile(
    r"model\.language_model\.layers\.\d+\."
    r"(self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj|per_layer_input_gate|per_layer_projection)"
)
_TEXT = ("model.language_model.", "lm_head")
_NEVER_RUN = ("model.audio_tower.", "model.embed_audio.")
_TABLES = ("embed_tokens", "embed_tokens_per_layer", "lm_head")


def changes_vision(modules: Iterable[str]) -> bool:
    """Say whether images look otherwise where these modules are changed.

    >>> changes_vision(["model.language_model.layers.0.mlp.up_proj"])
    False
    >>> changes_vision(["model.embed_vision.embedding_projection"])
    True
    """
    return any(not name.startswith((*_TEXT, *_NEVER_RUN)) for name in modules)


def is_per_row(modules: Iterable[str]) -> bool:
    """Say whether every module of the language model among these can be changed for some rows of a pass.

    >>> is_per_row(["model.language_model.layers.0.mlp.up_proj", "model.embed_vision.embedding_projection"])
    True
    >>> is_per_row(["model.language_model.layers.0.router.proj"])
    False
    """
    return all(_PER_ROW.fullmatch(name) for name in modules if name.startswith(_TEXT))


def find_table(modules: Iterable[str]) -> str | None:
    """Return the first of these modules that has a row for every token of the vocabulary, or None."""
    return next((name for name in modules if name.rsplit(".", 1)[-1] in _TABLES), None)
