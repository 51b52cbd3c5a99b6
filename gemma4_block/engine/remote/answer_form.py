"""Hold a server's answer to a JSON Schema: how it is told, and whether it listened."""

import json
from dataclasses import replace

from gemma4_block.contract import Answer
from gemma4_block.engine.remote.request_body import AnswerForm, SchemaForm
from gemma4_block.errors import ConfigurationError, PromptError
from gemma4_block.json_schema import matches_schema, write_lark

_SHOWN_CHARACTERS = 200
# JSON in prose begins at one of the first brackets; a long answer that is none is not searched for ever.
_MOST_STARTS = 20
_END_OF_TURN = "<turn|>"


def write_form(schema: str, schema_form: SchemaForm) -> AnswerForm:
    """Return what a server is told.

    Args:
        schema: A JSON Schema as text.
        schema_form: How it is told.

    Returns:
        The form.

    Raises:
        PromptError: The schema cannot be used.

    """
    try:
        text = write_lark(schema, end=_END_OF_TURN) if schema_form == "grammar" else schema
    except ConfigurationError as error:
        raise PromptError(str(error)) from error
    return AnswerForm(schema_form=schema_form, text=text)


def check_form(answer: Answer, schema: str) -> Answer | PromptError:
    """Return an answer that matches its schema, in the form that `json.dumps` writes.

    Args:
        answer: What came back.
        schema: The JSON Schema that it was to match, which can be used.

    Returns:
        The answer where it matches or was cut off. Where it is written otherwise, or stands in prose, the
        answer with its JSON alone, and without scores, whose places are no longer right. Else why not.

    """
    if answer.cut_off is not None or matches_schema(schema, answer.text):
        return answer
    starts = [place for place, letter in enumerate(answer.text) if letter in "{[" or place == 0]
    for start in starts[:_MOST_STARTS]:
        try:
            value, _ = json.JSONDecoder().raw_decode(answer.text, start)
            written = json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError):
            continue
        if matches_schema(schema, written):
            return replace(answer, text=written, token_scores=None)
    shown = answer.text[:_SHOWN_CHARACTERS]
    return PromptError(
        f"The server's answer does not match the JSON Schema: {shown!r}. Let the server hold answers to "
        "grammars, or ask for text."
    )
