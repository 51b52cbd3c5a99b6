"""Put messages about fields into the words of the terminal."""

import re
from typing import Final

_OPTIONS: Final = {
    "box_format": "--box-format",
    "enable_thinking": "--thinking",
    "image_seq_length": "--image-seq-length",
    "max_new_tokens": "--max-new-tokens",
    "max_thinking_tokens": "--max-thinking-tokens",
    "model_version": "--model-version",
    "output_structure": "--structure",
    "quantization": "--quantization",
    "seed": "--seed",
    "task_type": "--task-type",
    "temperature": "--temperature",
    "top_k": "--top-k",
    "top_p": "--top-p",
}
# Plain words among them are names of fields in these places only.
_NAMES: Final = re.compile(
    r"(?<![\w'\"-])(?:\w+_\w+|(?:seed|temperature|quantization)(?= is )|(?<=Leave )seed(?= out)"
    r"|(?<=a )temperature(?= above))(?![\w'\"=-])"
)


def in_terminal_words(message: str) -> str:
    """Return a message with options in the places of fields; what stands in quotation marks is the user's.

    >>> in_terminal_words("top_k is 3 while sampling is off. Turn sampling on with a temperature above 0.")
    '--top-k is 3 while sampling is off. Turn sampling on with a --temperature above 0.'
    >>> in_terminal_words("The class 'top_k' is there twice.")
    "The class 'top_k' is there twice."
    """
    return _NAMES.sub(lambda match: _OPTIONS.get(match[0], match[0]), message)
