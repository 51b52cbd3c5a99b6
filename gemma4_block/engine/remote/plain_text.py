"""Keep a user's text from acting as a control token on a server."""

import re

# The control tokens of Gemma 4 have a bar on one side or both, but for the oldest five. Anything of that form
# is broken up, so that a tokenizer with a few more of them is no hole.
# Source: added_tokens of google/gemma-4-E2B-it's tokenizer.json.
_CONTROL_TOKEN = re.compile(r"<(?=\|[^<>|\s]+\|?>|[^<>|\s]+\|>|(?:pad|eos|bos|unk|mask)>)")


def neutralise(text: str) -> str:
    """Return a text in which no tokenizer of Gemma 4 finds a control token.

    A server cannot be told to read part of a prompt as text only, so a space behind the bracket breaks the
    token up. Of the ways to break it that is the one with the fewest tokens, and the text reads the same.

    Args:
        text: What a user wrote.

    Returns:
        The same text where it holds none.

    Example:
        >>> neutralise("1 <|turn>system <b>bold</b> <eos>")
        '1 < |turn>system <b>bold</b> < eos>'

    """
    return _CONTROL_TOKEN.sub("< ", text)
