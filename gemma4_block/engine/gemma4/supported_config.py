"""Refuse configs of Gemma 4 that load, and would then answer wrongly."""

from typing import Any


def find_unsupported(config: Any) -> str | None:  # noqa: ANN401 - one of several classes
    """Return a setting that this engine would run wrongly, and what is allowed; None where there is none.

    Args:
        config: Of the whole model.

    Returns:
        Words that complete "config.json says ...".

    """
    text = config.get_text_config()
    if text.use_bidirectional_attention not in {None, "vision"}:
        return (
            f"use_bidirectional_attention {text.use_bidirectional_attention!r}: a model whose text sees what "
            "follows cannot generate. It must be null or 'vision'; use a checkpoint that generates."
        )
    if text.sliding_window < 2:  # noqa: PLR2004 - the token itself, and one before it
        return (
            f"sliding_window {text.sliding_window}, in which a token sees none before it. It must be 2 or "
            "more; fetch the config.json that came with the weights."
        )
    return None
