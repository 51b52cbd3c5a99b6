"""The results that tasks read from answers."""

from dataclasses import dataclass
from typing import Literal

from gemma4_block.reading import JsonValue

PredictionsKind = Literal["none", "classes", "boxes"]
"""`classes`: which classes fit the image; `boxes`: where their objects are."""

ParsedKind = Literal["none", "object", "list", "any"]
"""The type of an answer's JSON: `object` and `list` always, `any` where the user's schema decides."""

CONFIDENCE_DIGITS = 4
"""After the point, where a confidence is written into a text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassScore:
    """A class and how sure the model is of it.

    Attributes:
        class_name: As it was asked for.
        confidence: Measured, 0 to 1; None where the engine cannot tell.

    """

    class_name: str
    confidence: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Classification:
    """Which one of the classes fits.

    Attributes:
        top: The class that was answered.
        scores: Every class in the order asked; the confidences add up to at most 1, and what they leave is
            the probability of none of the classes.

    """

    top: ClassScore
    scores: tuple[ClassScore, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiLabelClassification:
    """Which of the classes fit.

    Attributes:
        scores: Every class in the order asked; each confidence is that of its presence, by itself.
        present: Those that the answer says yes to, in the same order.

    """

    scores: tuple[ClassScore, ...]
    present: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Detection:
    """An object and where it is.

    Attributes:
        class_name: One of the classes that were asked for.
        box_xyxy_px: Left, top, right, bottom in pixels of the image asked about.
        confidence: Measured, 0 to 1; None where the engine cannot tell.

    """

    class_name: str
    box_xyxy_px: tuple[float, float, float, float]
    confidence: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Detections:
    """The objects of an image, in the order answered.

    Attributes:
        items: None, one or many.

    """

    items: tuple[Detection, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Outputs:
    """The values that a task reads from every answer beside its text.

    Attributes:
        predictions: Classes or boxes.
        parsed: The answer as a value.

    """

    predictions: PredictionsKind = "none"
    parsed: ParsedKind = "none"


Predictions = Classification | MultiLabelClassification | Detections


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """The values that a task read from one answer.

    Attributes:
        output: The answer as text; of classes in the form that the host's own parsers read.
        parsed: The answer as a value; None where it is no JSON.
        count: How many things were counted or found; None where the task counts nothing.
        predictions: Classes or boxes; None where the task gives none.
        error_message: Why this is only a part of the answer; None where it is all of it.
        note: What was left out because it says nothing, of an answer that is otherwise whole; None where
            nothing was.

    """

    output: str
    parsed: JsonValue = None
    count: int | None = None
    predictions: Predictions | None = None
    error_message: str | None = None
    note: str | None = None
