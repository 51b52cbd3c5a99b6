"""Ask how many objects of each of the given classes an image shows."""

from collections.abc import Sequence


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"How many of each of these classes are in the image: {', '.join(classes)}? "
        "Answer in JSON with a number for each class."
    )
