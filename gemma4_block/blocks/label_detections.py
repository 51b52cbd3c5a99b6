"""The step that writes one answer for each crop into the detections the crops were cut from."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from gemma4_block.blocks._host import Batch, BlockResult, WorkflowBlock, errors_for_host
from gemma4_block.blocks._host_detections import (
    Label,
    class_id_of,
    read_classification,
    read_detection_ids,
    with_class_names,
    with_data_field,
)
from gemma4_block.blocks.fields import read_text
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest, Target, check_target
from gemma4_block.errors import ConfigurationError


class LabelDetectionsBlock(WorkflowBlock):
    """`gemma4_block/label_detections@v1`."""

    # The host names the step after it has built the block.
    _workflow_step_name = "label_detections"

    @classmethod
    def get_manifest(cls) -> type[LabelDetectionsManifest]:
        """Return the form of the step."""
        return LabelDetectionsManifest

    def run(
        self,
        *,
        object_detection_predictions: Any,  # noqa: ANN401 - one of the host's forms of detections
        answers: Batch | None,
        crops: Batch | None,
        write_to: Target,
        data_field: str,
        fallback_text: str | None,
    ) -> BlockResult:
        """Write the answers of one image.

        Args:
            object_detection_predictions: The boxes of the image; None where it was filtered out.
            answers: One for each crop, None where there is none; None where there are no crops.
            crops: One for each answer; None where the order counts, or where there are no crops.
            write_to: Where to.
            data_field: The name of the field, looked at where it is used.
            fallback_text: For boxes without an answer; None leaves them as they are.

        Returns:
            The boxes with their answers, the texts of the answers, and what to set as text of a label.

        Raises:
            ClientCausedStepExecutionError: An input is of no use, or the order says nothing because there are
                not as many answers as boxes.

        """
        with errors_for_host(self._workflow_step_name):
            check_target(write_to, data_field)
            if object_detection_predictions is None:
                return dict.fromkeys(("predictions", "answers", "label_text"))
            ids = read_detection_ids(object_detection_predictions)
            labels = _match(ids, answers, crops)
            fallback = read_label(read_text("fallback text", fallback_text))
            labels = [fallback if label is None else label for label in labels]
            texts = [None if label is None else label.text for label in labels]
            if write_to == "class_name":
                written = with_class_names(object_detection_predictions, labels)
            else:
                written = with_data_field(object_detection_predictions, data_field, texts)
            label_text = "Class" if write_to == "class_name" else data_field
            return {"predictions": written, "answers": texts, "label_text": label_text}


def _match(ids: Sequence[str | None], answers: Batch | None, crops: Batch | None) -> list[Label | None]:
    if answers is None:
        return [None] * len(ids)
    labels = [read_label(answer) for answer in answers]
    if crops is None:
        # A classification says whose crop it is about; one of the whole image says something else.
        by_owner = {_owner_of(answer): label for answer, label in zip(answers, labels, strict=True) if label}
        if None not in by_owner and any(owner in ids for owner in by_owner):
            return [None if own is None else by_owner.get(own) for own in ids]
        if len(labels) != len(ids):
            raise ConfigurationError(
                f"There are {len(labels)} answers for {len(ids)} detections, so their order does not say "
                "which belongs to which. Connect crops, the crops that were asked about."
            )
        return labels
    # A filter may have taken away answers or crops, each in its own place.
    cut_from = {
        place: str(crop.parent_metadata.parent_id)
        for place, crop in zip(crops.indices, crops, strict=True)
        if crop is not None
    }
    by_id = {cut_from.get(place): label for place, label in zip(answers.indices, labels, strict=True)}
    return [None if own is None else by_id.get(own) for own in ids]


def _owner_of(answer: object) -> str | None:
    """Return the id of the detection that a classification says its crop was cut from; None for a text."""
    answer = read_classification(answer)
    owner = answer.get("parent_id") if isinstance(answer, Mapping) else None
    return None if owner is None else str(owner)


def read_label(answer: object) -> Label | None:
    """Return what an answer names its detection.

    Args:
        answer: A text, a whole number, or a classification in one of the host's forms.

    Returns:
        The name; None where the answer is none: None, blank, or a classification without a class.

    Raises:
        ConfigurationError: It is something else.

    """
    answer = read_classification(answer)
    if answer is None:
        return None
    if isinstance(answer, str | int) and not isinstance(answer, bool):
        text = str(answer)
        return Label(text=text, class_id=class_id_of(text)) if text.strip() else None
    if isinstance(answer, Mapping) and "top" in answer:
        scores = {entry["class"]: entry for entry in answer.get("predictions", ())}
        return _label_of([answer["top"]] if answer["top"] else [], scores)
    if isinstance(answer, Mapping) and "predicted_classes" in answer:
        return _label_of(answer["predicted_classes"], answer["predictions"])
    raise ConfigurationError(
        f"An answer is a {type(answer).__name__}; it must be a text, a classification or a whole number. "
        "Connect the output or the predictions of a step that answers about crops."
    )


def _label_of(names: Sequence[str], scores: Mapping[str, Mapping[str, Any]]) -> Label | None:
    if not names:
        return None
    text = ", ".join(names)
    if len(names) > 1 or names[0] not in scores:
        # Several together are a class of their own, whose probability was not measured.
        return Label(text=text, class_id=class_id_of(text))
    score = scores[names[0]]
    confidence = float(score["confidence"])
    return Label(
        text=text,
        class_id=int(score["class_id"]),
        confidence=None if math.isnan(confidence) else confidence,
    )
