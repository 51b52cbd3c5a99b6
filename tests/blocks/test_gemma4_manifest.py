"""The form of the step: what it accepts, and what a released one promises.

`python -m tests.blocks.test_gemma4_manifest` writes the promise again, into `gemma4_v1.schema.json`.
Workflows that people have saved rely on it: what they use must not go or change meaning; that takes a new
version of the block.
"""

import json
from pathlib import Path

# The host's settings must be installed before roboflow_workflows freezes its own.
import inference.core  # noqa: F401  # isort: split
import pytest
from pydantic import ValidationError
from roboflow_workflows.core_steps.loader import load_blocks as load_core_blocks
from roboflow_workflows.execution_engine.entities.workload import Runtime

from gemma4_block.blocks.fields import GroupFields, ImageFields, StepFields, read_fields
from gemma4_block.blocks.gemma4_manifest import Gemma4Manifest
from gemma4_block.blocks.label_detections_manifest import LabelDetectionsManifest
from gemma4_block.blocks.model_step_manifest import ModelStepManifest
from gemma4_block.blocks.multi_image_manifest import MultiImageManifest
from gemma4_block.blocks.step_manifest import StepManifest
from gemma4_block.catalogue import MODEL_IDS
from gemma4_block.tasks import GROUP_TASKS, TASKS, Task
from tests.blocks.promises import promise_of

SNAPSHOT = Path(__file__).with_name("gemma4_v1.schema.json")
STEP = {"type": "gemma4_block/gemma4@v1", "name": "gemma", "images": "$inputs.image", "prompt": "What?"}
PLAIN_FIELDS = {"type", "name"}
# A field that would do nothing is refused, so each is tried in a step that looks at it.
STEP_OF_FIELD: dict[str, dict[str, object]] = {
    "classes": {"prompt": None, "task_type": "classification"},
    "output_structure": {"prompt": None, "task_type": "structured-answering"},
}


def test_the_released_step_keeps_its_promise() -> None:
    """Fields, types, defaults and outputs are those that saved workflows were written for."""
    assert promise_of(Gemma4Manifest) == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


@pytest.mark.parametrize("source", ["$inputs.value", "$steps.other.value"])
@pytest.mark.parametrize("name", sorted(set(Gemma4Manifest.model_fields) - PLAIN_FIELDS - {"task_type"}))
def test_every_field_but_the_task_takes_selectors(name: str, source: str) -> None:
    """Whatever can vary at run time may come from an input or an earlier step."""
    manifest = Gemma4Manifest.model_validate({**STEP, **STEP_OF_FIELD.get(name, {}), name: source})
    assert getattr(manifest, name) == source
    arms = Gemma4Manifest.model_json_schema()["properties"][name]
    assert any(arm.get("reference") for arm in arms.get("anyOf", [arms]))


def test_the_task_takes_no_selector() -> None:
    """Which fields a step needs depends on its task, so the task is known when it is compiled."""
    with pytest.raises(ValidationError, match="Input should be 'unconstrained'"):
        Gemma4Manifest.model_validate({**STEP, "task_type": "$inputs.task"})


@pytest.mark.parametrize("name", sorted(set(Gemma4Manifest.model_fields) - PLAIN_FIELDS))
def test_every_field_is_explained_with_an_example(name: str) -> None:
    """The form says what a field is for, and shows what to write."""
    field = Gemma4Manifest.model_fields[name]
    assert field.description
    assert field.examples


@pytest.mark.parametrize("task_type", ["caption", "detailed-caption", "ocr"])
@pytest.mark.parametrize("prompt", [None, "", "  "])
def test_a_task_with_its_own_question_takes_an_empty_prompt(task_type: str, prompt: str | None) -> None:
    """A form sends the fields that it hides empty."""
    assert Gemma4Manifest.model_validate({**STEP, "task_type": task_type, "prompt": prompt}).prompt == prompt


@pytest.mark.parametrize(
    ("field", "values", "is_required"),
    [
        ("prompt", ["unconstrained", "visual-question-answering"], True),
        (
            "classes",
            ["classification", "multi-label-classification", "object-detection", "counting"],
            True,
        ),
        ("output_structure", ["structured-answering"], True),
        ("box_format", ["object-detection"], False),
    ],
)
def test_the_form_shows_a_field_where_it_is_looked_at(
    field: str,
    values: list[str],
    is_required: bool,  # noqa: FBT001 - a case
) -> None:
    """`relevant_for` names tasks that take the field; a form can only demand it in all of them."""
    shown = Gemma4Manifest.model_json_schema()["properties"][field]["relevant_for"]["task_type"]
    assert shown == {"values": values, "required": is_required}


def fill_as_the_form_demands(manifest: type[ModelStepManifest], task_type: str) -> dict[str, object]:
    """Return a step with everything that the form of a task marks as required, and nothing else."""
    texts = {"name": "gemma", "images": "$inputs.image", "prompt": "What?", "classes": ["cat"]}
    values = {**texts, "output_structure": {"color": "of the car"}}
    schema = manifest.model_json_schema()
    step: dict[str, object] = {"type": schema["properties"]["type"]["enum"][0], "task_type": task_type}
    for name, field in schema["properties"].items():
        uses = field.get("relevant_for", {}).get("task_type", {"values": [], "required": False})
        if name in values and (
            name in schema["required"] or (uses["required"] and task_type in uses["values"])
        ):
            step[name] = values[name]
    return step


@pytest.mark.parametrize(
    ("manifest", "task_type"),
    [(Gemma4Manifest, name) for name in TASKS] + [(MultiImageManifest, name) for name in GROUP_TASKS],
)
def test_a_step_that_the_form_can_save_works(manifest: type[ModelStepManifest], task_type: str) -> None:
    """What is marked as required is enough, and without any of it the step is refused."""
    step = fill_as_the_form_demands(manifest, task_type)
    manifest.model_validate(step)
    for name in set(step) - {"type", "task_type"}:
        with pytest.raises(ValidationError):
            manifest.model_validate({key: value for key, value in step.items() if key != name})


@pytest.mark.parametrize("manifest", [Gemma4Manifest, MultiImageManifest])
def test_a_fresh_step_cannot_be_saved_empty(manifest: type[ModelStepManifest]) -> None:
    """The task that a form begins with needs a prompt, and the form says so."""
    fresh = manifest.model_json_schema()["properties"]["task_type"]["default"]
    assert "prompt" in fill_as_the_form_demands(manifest, fresh)


@pytest.mark.parametrize("manifest", [Gemma4Manifest, MultiImageManifest])
def test_an_allowance_for_thoughts_is_shown_where_there_are_thoughts(
    manifest: type[ModelStepManifest],
) -> None:
    """Without thoughts it would be refused, because it would do nothing."""
    field = manifest.model_json_schema()["properties"]["max_thinking_tokens"]
    assert field["relevant_for"] == {"enable_thinking": {"values": [True], "required": False}}


@pytest.mark.parametrize("manifest", [Gemma4Manifest, LabelDetectionsManifest, MultiImageManifest])
def test_every_title_was_written_for_people(manifest: type[StepManifest]) -> None:
    """None is the name of the field with its underscores gone."""
    fields = {name: field for name, field in manifest.model_fields.items() if name != "type"}
    assert [name for name, field in fields.items() if field.title is None] == []


def test_the_model_blocks_are_told_from_the_hosts_by_their_icon() -> None:
    """No block of the host has it."""
    icons = {
        block.get_manifest().model_json_schema().get("ui_manifest", {}).get("icon")
        for block in load_core_blocks()
    }
    assert "fa-brands fa-google" in icons
    for manifest in (Gemma4Manifest, MultiImageManifest):
        assert manifest.model_json_schema()["ui_manifest"]["icon"] not in icons


@pytest.mark.parametrize("task", TASKS.values(), ids=lambda task: task.name)
@pytest.mark.parametrize("field", ["prompt", "classes", "output_structure"])
def test_the_form_and_its_check_agree(task: Task, field: str) -> None:
    """A field that a task needs is missed, and one that it does not look at is refused."""
    given = {"prompt": "What?", "classes": ["cat"], "output_structure": {"color": "of the car"}}
    uses = {name: getattr(task.takes, name) for name in given}
    fields = {name: value for name, value in given.items() if uses[name] != "unused"}
    step = {"type": STEP["type"], "name": "gemma", "images": "$inputs.image", "task_type": task.name}
    Gemma4Manifest.model_validate({**step, **fields})
    wrong = dict(fields)
    if uses[field] == "unused":
        wrong[field] = given[field]
    else:
        del wrong[field]
    if uses[field] == "optional":
        Gemma4Manifest.model_validate({**step, **wrong})
    else:
        with pytest.raises(ValidationError, match=field.replace("_", ".")):
            Gemma4Manifest.model_validate({**step, **wrong})


def test_the_form_offers_every_variant() -> None:
    """The models in the list are those of the catalogue, each with a title and a description."""
    field = Gemma4Manifest.model_json_schema()["properties"]["model_version"]
    assert field["anyOf"][0]["enum"] == list(MODEL_IDS)
    assert set(field["values_metadata"]) == set(MODEL_IDS)


def test_literals_that_no_selector_hides_are_checked_together() -> None:
    """A temperature that comes at run time may turn top_p on; other mistakes are still found."""
    Gemma4Manifest.model_validate({**STEP, "temperature": "$inputs.temperature", "top_p": 0.5})
    with pytest.raises(ValidationError, match="max_new_tokens is 0"):
        Gemma4Manifest.model_validate({**STEP, "temperature": "$inputs.temperature", "max_new_tokens": 0})


@pytest.mark.parametrize(
    ("model_version", "model_ids"),
    [
        ("gemma-4-demo", []),
        ("gemma-4-e2b-it", ["gemma-4-e2b-it"]),
        ("my-project/3", ["my-project/3"]),
        ("$inputs.model", ["$inputs.model"]),
    ],
)
def test_weights_are_declared_as_a_resource(model_version: str, model_ids: list[str]) -> None:
    """The embedded model needs no other files; the host's model manager loads none of them."""
    resources = Gemma4Manifest.model_validate(
        {**STEP, "model_version": model_version}
    ).discover_dependent_resources()
    assert [resource.metadata.model_id for resource in resources] == model_ids
    assert not any(resource.metadata.preloadable for resource in resources)


@pytest.mark.parametrize(
    ("model_version", "codes", "is_complete"),
    [
        ("gemma-4-demo", {"third_party_plugin_not_loaded"}, True),
        ("gemma-4-e2b-it", {"third_party_plugin_not_loaded", "slow_without_gpu"}, True),
        ("$inputs.model", {"third_party_plugin_not_loaded"}, False),
    ],
)
def test_restrictions_depend_on_the_model(model_version: str, codes: set[str], is_complete: bool) -> None:  # noqa: FBT001 - a case
    """A small model is not slow on a CPU, and an unknown one is not guessed."""
    manifest = Gemma4Manifest.model_validate({**STEP, "model_version": model_version})
    found = manifest.get_actual_restrictions()
    assert {restriction.code for restriction in found.items} == codes
    assert found.complete is is_complete


@pytest.mark.parametrize(
    ("manifest", "form"), [(Gemma4Manifest, ImageFields), (MultiImageManifest, GroupFields)]
)
def test_a_run_checks_what_the_form_offers(manifest: type[ModelStepManifest], form: type[StepFields]) -> None:
    """Every field of a form is checked again where its selector is resolved, and its default passes."""
    offered = manifest.model_fields
    assert set(offered) - set(form.model_fields) == PLAIN_FIELDS | {"images", "prompt", "system_prompt"}
    read_fields(form, {name: offered[name].default for name in form.model_fields})


def test_the_step_runs_offline_everywhere_but_on_hosted_servers() -> None:
    """The class says the same as a step of an ordinary model."""
    assert Gemma4Manifest.get_air_gapped_availability().available is True
    assert Gemma4Manifest.get_supported_model_variants() is None
    assert [restriction.applies_to_runtimes for restriction in Gemma4Manifest.get_restrictions()] == [
        [Runtime.HOSTED_SERVERLESS],
        [Runtime.SELF_HOSTED_CPU],
    ]


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(promise_of(Gemma4Manifest), indent=2) + "\n", encoding="utf-8")
