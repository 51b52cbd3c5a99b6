"""The pictures of the forms: what they show is read from the schema, and docs has the present ones."""

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from roboflow_workflows.prototypes.block import WorkflowBlockManifest

from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from tests.forms.form import Form, FormField, read_form
from tests.forms.pictures import FOLDER, PICTURES, picture_of


def field(form: Form, name: str) -> FormField:
    """Return a field by its name."""
    (found,) = [one for one in (*form.main, *form.optional) if one.name == name]
    return found


@pytest.mark.parametrize(("path", "manifest"), PICTURES.items(), ids=lambda value: getattr(value, "stem", ""))
def test_a_picture_shows_the_present_form(path: Path, manifest: type[WorkflowBlockManifest]) -> None:
    """`make forms` draws it anew after a change of the form."""
    assert path.read_text(encoding="utf-8") == picture_of(manifest)


def test_there_is_no_other_picture() -> None:
    """A block that has gone takes its picture with it."""
    assert set(FOLDER.iterdir()) == set(PICTURES)


@pytest.mark.parametrize(("path", "manifest"), PICTURES.items(), ids=lambda value: getattr(value, "stem", ""))
def test_a_picture_has_every_field_of_the_form(path: Path, manifest: type[WorkflowBlockManifest]) -> None:
    """Each under its title, in well-formed SVG, and within the sheet."""
    root = ET.fromstring(path.read_text(encoding="utf-8"))  # noqa: S314 - our own file
    texts = [element for element in root.iter() if element.tag.endswith("}text")]
    titles = [element.text for element in texts if element.get("class") == "title"]
    form = read_form(manifest)

    assert titles == [one.title for one in (*form.main, *form.optional)]
    assert max(float(element.get("y", "")) for element in texts) < float(root.get("height", ""))
    assert {one.name for one in (*form.main, *form.optional)} == set(manifest.model_fields) - {"type"}


def test_a_field_is_read_as_the_builder_reads_it() -> None:
    """What is demanded, what is shown at first, and what stands in the control."""
    form = read_form(Gemma4Manifest)
    assert [one.name for one in form.main] == [
        "name",
        "images",
        "task_type",
        "prompt",
        "classes",
        "output_structure",
        "model_version",
    ]
    assert [one.name for one in form.main if one.is_required and one.is_shown_at_first] == [
        "name",
        "images",
        "prompt",
    ]
    prompt, classes = field(form, "prompt"), field(form, "classes")
    assert (prompt.control, prompt.is_required, prompt.is_shown_at_first) == ("area", True, True)
    assert prompt.condition == "Task is Open prompt or Visual question answering"
    assert (classes.control, classes.shown, classes.is_shown_at_first) == (
        "text",
        '["car", "truck", "other"]',
        False,
    )
    assert (field(form, "images").control, field(form, "images").shown) == ("connection", "$inputs.image")
    task = field(form, "task_type")
    assert (task.control, task.shown, task.is_example) == ("choice", "Open prompt", False)
    thoughts = field(form, "max_thinking_tokens")
    assert thoughts.condition == "Think before Answering is on"
    assert not thoughts.is_required
    assert field(form, "enable_thinking").control == "switch"


def test_a_field_of_another_choice_is_hidden_at_first() -> None:
    """The name of a data field does nothing until answers are written there."""
    name = field(read_form(LabelDetectionsManifest), "data_field")
    assert (name.shown, name.is_example, name.is_required, name.is_shown_at_first) == (
        "data",
        False,
        True,
        False,
    )
    assert name.condition == "Where to Write is Data field"
