"""Say which text a model is to learn as its answer, in the form that it is held to when it is asked."""

import json

from gemma4_block.contract import Choices, JsonSchema, Prompt
from gemma4_block.errors import ConfigurationError
from gemma4_block.json_schema import matches_schema

_SHOWN_CHARACTERS = 200


def write_target(prompt: Prompt, suffix: str) -> str:
    r"""Return the answer to learn.

    Args:
        prompt: What is asked.
        suffix: What the dataset says is to be answered.

    Returns:
        The text, without outer white space; JSON as `json.dumps` writes it.

    Raises:
        ConfigurationError: The answer is empty, or none that this question allows.

    Example:
        >>> schema = JsonSchema(text='{"type": "object", "properties": {"cars": {"type": "integer"}}}')
        >>> write_target(Prompt(text="Count.", constraint=schema), '{"cars":3}\n')
        '{"cars": 3}'

    """
    text = suffix.strip()
    if not text:
        raise ConfigurationError("suffix is empty. Write what is to be answered.")
    match prompt.constraint:
        case None:
            return text
        case JsonSchema() as schema:
            return _write_json(schema, text)
        case Choices(groups=(group,)):
            if text not in group:
                raise ConfigurationError(
                    f"suffix is {_shown(text)}; this task answers one of {', '.join(group)}."
                )
            return text
        case _:
            raise ConfigurationError(
                "this task asks about every class on its own, and has no answer that could be learnt "
                "as a text. Take structured-answering with a field for each class."
            )


def _write_json(schema: JsonSchema, text: str) -> str:
    try:
        written = json.dumps(json.loads(text), ensure_ascii=False)
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(f"suffix is {_shown(text)}, which is no JSON: {error}.") from error
    if not matches_schema(schema.text, written):
        raise ConfigurationError(
            f"suffix is {_shown(text)}, which does not match the form that this task asks for: "
            f"{_shown(schema.text)}."
        )
    return written


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
