"""Refuse texts that no model can be asked."""

from gemma4_block.errors import PromptError


def check_text(name: str, text: str, *, max_characters: int) -> None:
    """Refuse a text that the model cannot be asked.

    Args:
        name: What a message calls it.
        text: What a user wrote.
        max_characters: The operator's limit.

    Raises:
        PromptError: It is too long, or holds half a surrogate pair, which is no character.

    """
    if len(text) > max_characters:
        raise PromptError(
            f"The {name} has {len(text)} characters; {max_characters} are allowed. Shorten it, or raise "
            "GEMMA4_BLOCK_MAX_PROMPT_CHARACTERS."
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise PromptError(
            f"The {name} holds {text[error.start]!r} at character {error.start}, half a surrogate pair. Send "
            "whole characters."
        ) from error
