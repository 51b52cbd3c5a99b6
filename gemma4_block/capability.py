"""Refuse what an engine cannot do, before it is asked."""

from gemma4_block.contract import Capabilities, Choices, GenerationConfig, JsonSchema, Prompt
from gemma4_block.errors import ConfigurationError, PromptError


def check_can_generate(can: Capabilities, generation: GenerationConfig) -> None:
    """Refuse a way to answer that an engine does not have.

    Args:
        can: What the engine can do.
        generation: How to answer.

    Raises:
        ConfigurationError: It cannot.

    """
    if generation.seed is not None and not can.has_seed:
        raise ConfigurationError(
            f"seed is {generation.seed}, and what runs this model cannot repeat a draw. Leave seed out."
        )
    if generation.max_thinking_tokens is not None and not can.has_thinking_allowance:
        raise ConfigurationError(
            f"max_thinking_tokens is {generation.max_thinking_tokens}, and what runs this model cannot limit "
            "thoughts apart from the answer. Turn enable_thinking off."
        )


def check_can_answer(can: Capabilities, prompt: Prompt) -> None:
    """Refuse a prompt whose answer an engine cannot hold to what was asked.

    Args:
        can: What the engine can do.
        prompt: What is to be asked.

    Raises:
        PromptError: It cannot.

    """
    # Choices that cannot be scored are held to a schema instead.
    needs_schema = isinstance(prompt.constraint, JsonSchema) or (
        isinstance(prompt.constraint, Choices) and not can.has_choices
    )
    if needs_schema and not can.has_json_schema:
        raise PromptError(
            "The answer is to match a JSON Schema, and what runs this model cannot hold it to one. Ask for "
            "text, or choose another model."
        )
