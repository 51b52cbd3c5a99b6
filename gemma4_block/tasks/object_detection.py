"""Ask where the objects of the given classes are in an image."""

from collections.abc import Sequence


def wording(classes: Sequence[str]) -> str:
    """Word the question for `classes`, in the order given.

    The box contract is Gemma 4's own: `box_2d` as y1, x1, y2, x2, integers 0-1000 of the whole image.
    """
    return (
        f"Detect every object of these classes in the image: {', '.join(classes)}. "
        'Answer in JSON with a list of "box_2d" and "label".'
    )
