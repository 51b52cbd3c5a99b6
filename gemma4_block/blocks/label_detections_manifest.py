"""The form of the step that writes answers into detections."""

from typing import Literal, get_args

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from gemma4_block.blocks._host import (
    LIST_OF_VALUES_KIND,
    STRING_KIND,
    AirGappedAvailability,
    DependentResource,
    Discovery,
    OutputDefinition,
    RuntimeRestriction,
    StringSelector,
    WorkOperation,
    is_workflow_selector,
)
from gemma4_block.blocks._host_detections import (
    DETECTION_KINDS,
    SENT_DATA_FIELD,
    TAKEN_DATA_FIELDS,
    AnswerSelector,
    CropSelector,
    DetectionsSelector,
)
from gemma4_block.blocks.restrictions import restrictions_without_model
from gemma4_block.blocks.step_manifest import StepManifest
from gemma4_block.errors import ConfigurationError

Target = Literal["class_name", "data_field"]

_LONG_DESCRIPTION = f"""
Write what was answered about each crop onto the box that the crop was cut from: a detection model finds the
objects, a dynamic crop cuts them out, Gemma 4 (or another model) answers about each crop, and this step
puts the answers back on the boxes of the frame. Labels, tables, filters, trackers and counters then read
them there.

#### An example

1. *Object Detection Model* finds cars.
2. *Dynamic Crop* cuts each car out.
3. *Gemma 4* is asked about the crops: "What color is the car? One word."
4. *This step* takes the detections of 1, the crops of 2 and the answers of 3.
5. *Label Visualization* writes "red" and "blue" on the frame where it wrote "car" before.

#### Where the answer goes

* **Class name**: the box is renamed, from "car" to "red". Everything that looks at class names sees the
  answer: labels, filters, CSV, counters. The class id becomes that of the classification, or a number made
  from the text; the same text has the same number in every frame. The confidence becomes that of the
  classification; an answer in text has none, so the box keeps its own.
* **Data field**: the box stays a "car", with its confidence, and carries the answer beside it. Connect the
  output `label_text` to the field Text of a Label Visualization to see it, and the output `answers` to a
  CSV Formatter to list it. Servers send the data field `{SENT_DATA_FIELD}` with each box; a field of any
  other name can only be read by steps of the same workflow.

#### What stays

The boxes, their order, masks, key points, detection ids and tracker ids stay, so the step may stand before or
behind a tracker. A box that nobody answered about, because its answer failed or its crop was filtered out,
stays too and keeps what it had, or gets `fallback_text`. A frame without boxes passes.

This is what *Detections Classes Replacement* does not do: it drops boxes without an answer, gives every box
a new id, calls every text answer certain (confidence 1) and class 0, and goes by the order of text answers,
which is wrong behind a tracker or filter that dropped a box.

#### Behind a tracker or a filter

Connect `crops` as well: then each answer goes to the box its crop was cut from, whatever was dropped or
moved in between. Without it the answers must be as many as the boxes and go by their order.
""".strip()


class LabelDetectionsManifest(StepManifest):
    """A step that writes one answer for each crop into the detections the crops were cut from."""

    model_config = ConfigDict(
        json_schema_extra={
            "name": "Label Detections with Answers",
            "version": "v1",
            "short_description": "Write the answer about each crop onto the box it was cut from.",
            "long_description": _LONG_DESCRIPTION,
            "license": "Apache-2.0",
            "block_type": "fusion",
            "search_keywords": ["Gemma", "label", "rename", "crop", "VLM", "class replacement", "caption"],
            "ui_manifest": {
                "section": "advanced",
                "icon": "fal fa-tags",
                "blockPriority": 5.5,
            },
        },
    )

    type: Literal["gemma4_block/label_detections@v1", "Gemma4LabelDetections"]
    object_detection_predictions: DetectionsSelector = Field(
        title="Detections",
        description="The boxes that were cropped, from a detection, segmentation or key point model, or what "
        "a tracker or a filter made of them.",
        examples=["$steps.detector.predictions", "$steps.tracker.tracked_detections"],
    )
    answers: AnswerSelector = Field(
        title="Answers",
        description="One answer for each crop: a text, a classification or a number.",
        examples=["$steps.gemma.output", "$steps.gemma.predictions", "$steps.gemma.count"],
    )
    crops: CropSelector | None = Field(
        default=None,
        title="Crops",
        description="The crops that were asked about. They say which box each answer belongs to, so connect "
        "them wherever a tracker or a filter stands between the crops and this step. Leave empty to go by "
        "the order of the boxes.",
        examples=["$steps.crop.crops"],
        json_schema_extra={"always_visible": True},
    )
    write_to: Target | StringSelector = Field(
        default="class_name",
        title="Where to Write",
        description="Rename the box, or keep its class and put the answer beside it.",
        examples=["class_name", "$inputs.write_to"],
        json_schema_extra={
            "values_metadata": {
                "class_name": {
                    "name": "Class name",
                    "description": "The answer is the new class of the box. Every step understands it.",
                },
                "data_field": {
                    "name": "Data field",
                    "description": "The box keeps its class; the answer is beside it.",
                },
            },
            "always_visible": True,
        },
    )
    data_field: str | StringSelector = Field(
        default=SENT_DATA_FIELD,
        title="Name of the Data Field",
        description="With a data field only: what to call it. Two questions about the same boxes need two "
        f"names. Servers send only the field {SENT_DATA_FIELD} along with each box.",
        examples=[SENT_DATA_FIELD, "color", "$inputs.data_field"],
        json_schema_extra={"relevant_for": {"write_to": {"values": ["data_field"], "required": True}}},
    )
    fallback_text: str | StringSelector | None = Field(
        default=None,
        title="Text without an Answer",
        description="What to write on a box that has no answer. Leave empty to leave such a box as it is.",
        examples=["no answer", "$inputs.fallback_text"],
    )

    @model_validator(mode="after")
    def _refuse_what_cannot_work(self) -> Self:
        if not is_workflow_selector(self.write_to) and not is_workflow_selector(self.data_field):
            check_target(self.write_to, self.data_field)
        return self

    @classmethod
    def describe_outputs(cls) -> list[OutputDefinition]:
        """Return the outputs, one of each for each image."""
        return [
            OutputDefinition(name="predictions", kind=DETECTION_KINDS),
            OutputDefinition(name="answers", kind=[LIST_OF_VALUES_KIND]),
            OutputDefinition(name="label_text", kind=[STRING_KIND]),
        ]

    @classmethod
    def accepts_empty_values(cls) -> bool:
        """Take boxes without crops, and crops without answers."""
        return True

    @classmethod
    def get_input_dimensionality_offsets(cls) -> dict[str, int]:
        """Take one answer and one crop for each box of an image."""
        return {"object_detection_predictions": 0, "answers": 1, "crops": 1}

    @classmethod
    def get_dimensionality_reference_property(cls) -> str:
        """Give one result for each image."""
        return "object_detection_predictions"

    @classmethod
    def get_execution_engine_compatibility(cls) -> str:
        """Return the versions of the Workflows engine that can run the step."""
        return ">=1.3.0,<2.0.0"

    @classmethod
    def get_air_gapped_availability(cls) -> AirGappedAvailability:
        """Run without internet access, always."""
        return AirGappedAvailability(available=True)

    def get_actual_restrictions(
        self, *, ignore_environment_restrictions: bool = False
    ) -> Discovery[RuntimeRestriction]:
        """Return where the step cannot run."""
        return restrictions_without_model(self.name, ignore_environment=ignore_environment_restrictions)

    def discover_dependent_resources(self) -> list[DependentResource]:
        """Return nothing: the step needs no model and no service."""
        return []

    def discover_work_operations(self) -> list[WorkOperation]:
        """Return the kinds of work that the step does."""
        return [WorkOperation.DETECTION_PROCESSING]


def check_target(write_to: object, data_field: object) -> None:
    """Refuse a place that an answer cannot be written to.

    Args:
        write_to: The class name or a data field.
        data_field: The name of the field, looked at where it is used.

    Raises:
        ConfigurationError: There is no such place, or the host keeps something of its own there.

    """
    targets = get_args(Target)
    if write_to not in targets:
        raise ConfigurationError(f"write_to is {write_to!r}; it must be {' or '.join(targets)}.")
    if write_to != "data_field":
        return
    if not isinstance(data_field, str) or not data_field.isidentifier():
        raise ConfigurationError(
            f"data_field is {data_field!r}; it must be one word of letters, digits and _, as in color."
        )
    if data_field in TAKEN_DATA_FIELDS:
        raise ConfigurationError(
            f"data_field is {data_field!r}, which detections use for something else. Take another name, such "
            f"as {SENT_DATA_FIELD} or color."
        )
