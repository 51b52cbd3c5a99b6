"""Which picture of docs/forms shows which block."""

from pathlib import Path

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
from roboflow_workflows.prototypes.block import WorkflowBlockManifest

from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from tests.forms.drawing import draw
from tests.forms.form import read_form

FOLDER = Path(__file__).parents[2] / "docs" / "forms"

PICTURES: dict[Path, type[WorkflowBlockManifest]] = {
    FOLDER / "gemma4.svg": Gemma4Manifest,
    FOLDER / "gemma4_multi_image.svg": MultiImageManifest,
    FOLDER / "label_detections.svg": LabelDetectionsManifest,
}


def picture_of(manifest: type[WorkflowBlockManifest]) -> str:
    """Return the picture of a block's form as SVG."""
    return draw(read_form(manifest))
