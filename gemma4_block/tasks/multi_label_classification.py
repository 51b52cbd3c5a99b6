"""Ask for each of the given classes whether an image shows it."""

from collections.abc import Sequence


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given."""
    return (
        f"Which of these classes are in the image: {', '.join(classes)}? "
        "Answer in JSON with true or false for each class."
    )
