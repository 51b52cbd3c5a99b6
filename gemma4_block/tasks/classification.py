"""Ask which one of the given classes fits an image."""

from collections.abc import Sequence


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"Which one of these classes fits the image best: {', '.join(classes)}? "
        'Answer in JSON: {"class_name": "..."}'
    )
