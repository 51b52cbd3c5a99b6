"""The form of the multi-image step: what it accepts, and what a released one promises.

`python -m tests.blocks.test_multi_image_manifest` writes the promise again, into
`gemma4_multi_image_v1.schema.json`, which saved workflows rely on as on that of the Gemma 4 step.
"""

import json
from pathlib import Path

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import pytest
from pydantic import ValidationError

from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.outputs import GROUP_OUTPUT_MEANINGS
from tests.blocks.promises import promise_of

SNAPSHOT = Path(__file__).with_name("gemma4_multi_image_v1.schema.json")
STEP = {
    "type": "gemma4_block/gemma4_multi_image@v1",
    "name": "gemma",
    "images": "$steps.crop.crops",
    "prompt": "What?",
}
STRUCTURED = {"task_type": "structured-answering", "output_structure": {"color": "of the car"}}
FIELDS = sorted(set(MultiImageManifest.model_fields) - {"type", "name"})
OF_OTHER_TASKS = {"classes", "box_format", "unchanged_below"}


def test_the_released_step_keeps_its_promise() -> None:
    """Fields, types, defaults and outputs are those that saved workflows were written for."""
    assert promise_of(MultiImageManifest) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", ["$inputs.value", "$steps.other.value"])
@pytest.mark.parametrize("name", [name for name in FIELDS if name != "task_type"])
def test_every_field_but_the_task_takes_selectors(name: str, source: str) -> None:
    """Whatever can vary at run time may come from an input or an earlier step."""
    task = STRUCTURED if name == "output_structure" else {}
    manifest = MultiImageManifest.model_validate({**STEP, **task, name: source})
    assert getattr(manifest, name) == source
    arms = MultiImageManifest.model_json_schema()["properties"][name]
    assert any(arm.get("reference") for arm in arms.get("anyOf", [arms]))


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_explained_with_an_example(name: str) -> None:
    """The form says what a field is for, and shows what to write."""
    field = MultiImageManifest.model_fields[name]
    assert field.description
    assert field.examples


def test_the_fields_of_the_gemma_4_step_are_the_same_here() -> None:
    """Who knows one step knows the other; fields of other tasks are left out, two are new."""
    assert set(Gemma4Manifest.model_fields) - set(MultiImageManifest.model_fields) == OF_OTHER_TASKS
    assert set(MultiImageManifest.model_fields) - set(Gemma4Manifest.model_fields) == {
        "max_images",
        "when_too_many",
    }


@pytest.mark.parametrize("field", ["prompt", "output_structure"])
def test_the_form_shows_a_field_for_tasks_that_it_offers(field: str) -> None:
    """No choice of the form refers to a task of the other step."""
    properties = MultiImageManifest.model_json_schema()["properties"]
    offered = set(properties["task_type"]["enum"])
    assert set(properties["task_type"]["values_metadata"]) == offered
    assert set(properties[field]["relevant_for"]["task_type"]["values"]) <= offered


def test_every_output_has_a_meaning() -> None:
    """The long description explains each output of the step, and no other."""
    names = [output.name for output in MultiImageManifest.describe_outputs()]
    assert names == list(GROUP_OUTPUT_MEANINGS)
    description = str(MultiImageManifest.model_config["json_schema_extra"]["long_description"])  # type: ignore[index,call-overload]
    assert all(f"| `{name}` | {meaning} |" in description for name, meaning in GROUP_OUTPUT_MEANINGS.items())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"prompt": None}, "task_type unconstrained needs a prompt, and it is empty."),
        ({"prompt": " ", "task_type": "visual-question-answering"}, "needs a prompt, and it is empty."),
        ({"task_type": "structured-answering"}, "needs an output_structure, and it is empty."),
        ({"output_structure": {"a": "b"}}, "an output_structure would do nothing"),
        (
            {**STRUCTURED, "output_structure": {"type": "object", "properties": {"x": {"type": "nonsense"}}}},
            "The JSON Schema is none: at properties/x/type, 'nonsense' is not valid",
        ),
        ({**STRUCTURED, "output_structure": {"type": "nonsense", "x": 1}}, "the field 'x' is 1"),
        ({"task_type": "caption"}, "Input should be 'unconstrained'"),
        ({"task_type": "$inputs.task"}, "Input should be 'unconstrained'"),
        ({"prompt": "x" * 20_001}, "The prompt has 20001 characters"),
        ({"system_prompt": "x" * 20_001}, "The system prompt has 20001 characters"),
        ({"max_images": 0}, "max_images is 0; this machine allows 1 to 32."),
        ({"max_images": 33}, "GEMMA4_BLOCK_MAX_IMAGES_PER_PROMPT"),
        ({"max_images": True}, "Input should be a valid integer"),
        ({"when_too_many": "drop"}, "Input should be 'refuse' or 'sample'"),
        ({"top_p": 0.5}, "top_p is 0.5 while sampling is off"),
    ],
)
def test_a_step_that_cannot_work_is_refused(fields: dict[str, object], message: str) -> None:
    """What is wrong in the definition is found when it is compiled."""
    with pytest.raises(ValidationError) as caught:
        MultiImageManifest.model_validate({**STEP, **fields})
    assert message in str(caught.value)


@pytest.mark.parametrize("fields", [{**STRUCTURED, "prompt": None}, STRUCTURED])
def test_a_structured_answer_needs_no_prompt(fields: dict[str, object]) -> None:
    """The fields of the answer say enough."""
    assert MultiImageManifest.model_validate({**STEP, **fields}).task_type == "structured-answering"


def test_the_step_runs_offline() -> None:
    """It is available without internet, on the same terms as the Gemma 4 step."""
    assert MultiImageManifest.get_air_gapped_availability().available is True
    assert MultiImageManifest.get_restrictions() == Gemma4Manifest.get_restrictions()


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(promise_of(MultiImageManifest), indent=2) + "\n", encoding="utf-8")
