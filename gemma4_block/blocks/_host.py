"""The Workflows host as this package sees it; no other file imports its internals."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

import cv2

from gemma4_block.blocks.public_text import hide_folders
from gemma4_block.blocks.unchanged_frames import FramePlace
from gemma4_block.contract import RgbImage
from gemma4_block.errors import (
    CheckpointError,
    ConfigurationError,
    EngineBusyError,
    EngineError,
    EngineLoadingError,
    Gemma4BlockError,
    OutOfMemoryError,
    PromptError,
)
from gemma4_block.meter import get_meter
from gemma4_block.settings import get_settings

# The host's settings must be installed before roboflow_workflows, imported alone, freezes its own.
try:
    from inference.core.exceptions import InputImageLoadError
except ImportError:
    # roboflow_workflows alone also runs this plugin; it has one error for every image it cannot load.
    from roboflow_workflows.errors import WorkflowImageLoadError as InputImageLoadError

from roboflow_workflows.errors import (
    ClientCausedStepExecutionError,
    RuntimeLimitsCausedStepExecutionError,
    WorkflowImageLoadError,
)
from roboflow_workflows.execution_engine.entities.base import Batch, OutputDefinition
from roboflow_workflows.execution_engine.entities.types import (
    BOOLEAN_KIND,
    CLASSIFICATION_PREDICTION_KIND,
    DICTIONARY_KIND,
    FLOAT_KIND,
    FLOAT_ZERO_TO_ONE_KIND,
    IMAGE_KIND,
    INFERENCE_ID_KIND,
    INTEGER_KIND,
    LANGUAGE_MODEL_OUTPUT_KIND,
    LIST_OF_VALUES_KIND,
    OBJECT_DETECTION_PREDICTION_KIND,
    ROBOFLOW_MODEL_ID_KIND,
    STRING_KIND,
    ImageInputField,
    Kind,
    Selector,
)
from roboflow_workflows.execution_engine.entities.workload import (
    Discovery,
    Runtime,
    RuntimeRestriction,
    Severity,
    WorkOperation,
    incomplete_discovery,
    unresolved_selector_problem,
)
from roboflow_workflows.prototypes.block import (
    AirGappedAvailability,
    BlockResult,
    DependentResource,
    ModelExecutionLocation,
    WorkflowBlock,
    WorkflowBlockManifest,
    actual_restrictions_of,
    is_workflow_selector,
    roboflow_platform_model,
)

__all__ = [
    "BOOLEAN_KIND",
    "CLASSIFICATION_PREDICTION_KIND",
    "DICTIONARY_KIND",
    "INFERENCE_ID_KIND",
    "INTEGER_KIND",
    "LANGUAGE_MODEL_OUTPUT_KIND",
    "LIST_OF_VALUES_KIND",
    "OBJECT_DETECTION_PREDICTION_KIND",
    "ROBOFLOW_MODEL_ID_KIND",
    "STRING_KIND",
    "AirGappedAvailability",
    "Batch",
    "BlockResult",
    "BooleanSelector",
    "DependentResource",
    "DictionarySelector",
    "Discovery",
    "FloatSelector",
    "ImageInputField",
    "ImageSelector",
    "IntegerSelector",
    "Kind",
    "ListSelector",
    "ModelExecutionLocation",
    "ModelIdSelector",
    "OutputDefinition",
    "Runtime",
    "RuntimeRestriction",
    "Severity",
    "StringSelector",
    "TextSelector",
    "WorkOperation",
    "WorkflowBlock",
    "WorkflowBlockManifest",
    "actual_restrictions_of",
    "errors_for_host",
    "find_frame_place",
    "incomplete_discovery",
    "is_workflow_selector",
    "read_image",
    "roboflow_platform_model",
    "unresolved_selector_problem",
]

if TYPE_CHECKING:
    # The host builds its selectors by a call, which is no type to a checker.
    BooleanSelector: TypeAlias = str
    DictionarySelector: TypeAlias = str
    FloatSelector: TypeAlias = str
    ImageSelector: TypeAlias = str
    IntegerSelector: TypeAlias = str
    ListSelector: TypeAlias = str
    ModelIdSelector: TypeAlias = str
    StringSelector: TypeAlias = str
    TextSelector: TypeAlias = str
else:
    BooleanSelector = Selector(kind=[BOOLEAN_KIND])
    DictionarySelector = Selector(kind=[DICTIONARY_KIND])
    FloatSelector = Selector(kind=[FLOAT_KIND, FLOAT_ZERO_TO_ONE_KIND, INTEGER_KIND])
    ImageSelector = Selector(kind=[IMAGE_KIND])
    IntegerSelector = Selector(kind=[INTEGER_KIND])
    ListSelector = Selector(kind=[LIST_OF_VALUES_KIND])
    ModelIdSelector = Selector(kind=[ROBOFLOW_MODEL_ID_KIND, STRING_KIND])
    StringSelector = Selector(kind=[STRING_KIND])
    TextSelector = Selector(kind=[STRING_KIND, LANGUAGE_MODEL_OUTPUT_KIND])


# Source: create_crop in roboflow_workflows/execution_engine/entities/base.py of inference 1.8.3.
_CROP_MARK = " | crop: "


def read_image(image: Any) -> RgbImage:  # noqa: ANN401 - WorkflowImageData, which has no types
    """Return a workflow's image as `(H, W, 3)` uint8 RGB.

    Args:
        image: `WorkflowImageData`, which is BGR; it is decoded where that has not happened yet.

    Returns:
        An array that may share memory with the workflow's.

    Raises:
        PromptError: It cannot be loaded, holds no pixels, or is larger than requests may send.

    """
    # Torch comes with it.
    from gemma4_block.images import to_rgb
    from gemma4_block.limits import Limits

    try:
        pixels = image.numpy_image
    except (InputImageLoadError, WorkflowImageLoadError, cv2.error) as error:
        raise PromptError(f"The image cannot be loaded: {error}. Send a PNG, JPEG or WebP file.") from error
    # Before a copy of it is made.
    height, width = pixels.shape[:2]
    Limits.of_requests(get_settings()).check_image_size(width, height)
    return to_rgb(pixels, color_order="bgr")


def find_frame_place(image: Any) -> FramePlace | None:  # noqa: ANN401 - WorkflowImageData, which has no types
    """Return where in which video a workflow's image was taken from.

    Args:
        image: `WorkflowImageData`.

    Returns:
        The place, or None for an image of no video. The host passes on of which video a static crop is, and
        not of which a dynamic crop is.

    """
    video = image.video_metadata
    # The host numbers the frames of a video from 1, and makes up a frame 0 for an image of none.
    if video.frame_number < 1:
        return None
    corner = image.workflow_root_ancestor_metadata.origin_coordinates
    height, width = image.numpy_image.shape[:2]
    # The host adds a name to the identifier that is another one for every crop.
    identifier: str = video.video_identifier.split(_CROP_MARK, maxsplit=1)[0]
    return FramePlace(
        video=identifier,
        box_xywh_px=(int(corner.left_top_x), int(corner.left_top_y), int(width), int(height)),
    )


@contextmanager
def errors_for_host(step_name: str) -> Iterator[None]:
    """Raise our errors as the host's, with messages that name no folder of this machine.

    The status is 422 where the request must change, 503 where too much waits or the model is loading, 507
    where memory is short, 500 where the engine failed. Their causes, which the host logs, say all.

    Args:
        step_name: The step that the host should name.

    Raises:
        ClientCausedStepExecutionError: A field, a prompt or the chosen model cannot work.
        RuntimeLimitsCausedStepExecutionError: Too much waits already, the model is loading, the device has
            too little memory, or the engine failed.

    """
    where = {"block_id": step_name, "context": "workflow_execution | step_execution"}
    try:
        with _counting():
            yield
    except (ConfigurationError, CheckpointError, PromptError) as error:
        raise ClientCausedStepExecutionError(status_code=422, **_tell(error), **where) from error
    except (EngineBusyError, EngineLoadingError) as error:
        raise RuntimeLimitsCausedStepExecutionError(status_code=503, **_tell(error), **where) from error
    except OutOfMemoryError as error:
        raise RuntimeLimitsCausedStepExecutionError(status_code=507, **_tell(error), **where) from error
    except EngineError as error:
        # The host would send the traceback.
        raise RuntimeLimitsCausedStepExecutionError(status_code=500, **_tell(error), **where) from error


@contextmanager
def _counting() -> Iterator[None]:
    try:
        yield
    except Gemma4BlockError as error:
        get_meter().note_refusal(type(error).__name__)
        raise


def _tell(error: Gemma4BlockError) -> dict[str, Any]:
    """Return what the host tells a client of an error; it also tells the inner error's text."""
    public = hide_folders(str(error))
    return {"public_message": public, "inner_error": type(error)(public)}
