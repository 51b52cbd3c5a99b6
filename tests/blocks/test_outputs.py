"""The outputs that a step declares, by which the builder connects it to others."""

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import pytest

from gemma4_block.blocks.outputs import describe_outputs, describe_outputs_of
from gemma4_block.tasks import TaskType


@pytest.mark.parametrize(
    ("task_type", "predictions", "parsed"),
    [
        (
            "caption",
            {"object_detection_prediction", "classification_prediction"},
            {"dictionary", "list_of_values"},
        ),
        ("classification", {"classification_prediction"}, {"dictionary"}),
        ("multi-label-classification", {"classification_prediction"}, {"dictionary"}),
        ("object-detection", {"object_detection_prediction"}, {"list_of_values"}),
        ("counting", {"object_detection_prediction", "classification_prediction"}, {"dictionary"}),
    ],
)
def test_kinds_are_narrowed_by_the_task(task_type: TaskType, predictions: set[str], parsed: set[str]) -> None:
    """The builder offers the next steps that take what this one gives."""
    kinds = {output.name: {kind.name for kind in output.kind} for output in describe_outputs_of(task_type)}
    assert (kinds["predictions"], kinds["parsed"]) == (predictions, parsed)


def test_the_answer_goes_to_parsers_and_to_text_steps() -> None:
    """Parsers take language_model_output only, sinks and displays take string only."""
    kinds = {output.name: {kind.name for kind in output.kind} for output in describe_outputs()}
    assert kinds["output"] == {"string", "language_model_output"}
