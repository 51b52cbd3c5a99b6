"""README.md says what is true: its code runs, its tables are the code's, its commands exist."""

import importlib.util
import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner

from gemma4_block.blocks import outputs
from gemma4_block.catalogue import VARIANTS
from gemma4_block.cli import app
from gemma4_block.cli.workflows import WorkflowRunner
from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY, SAVED_REPORT, hash_weights
from gemma4_block.demo.evaluation.scoring import Row as EvaluationRow
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.settings import GenerationDefaults, Settings
from gemma4_block.tasks import TASKS, Task

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
# The block that needs a server is run with the server, in test_workflow_examples.py.
LOCAL_CODE = [
    code for code in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "HTTPClient" not in code
]


def task_rows() -> list[str]:
    """Write the rows of the table of tasks."""
    return [
        f"| `{task.name}` | {', '.join(['image', *_fields(task)])} | {task.description} "
        f"| {task.image_seq_length} |"
        for task in TASKS.values()
    ]


def _fields(task: Task) -> list[str]:
    uses = {name: getattr(task.takes, name) for name in ("prompt", "classes", "output_structure")}
    words = {"required": "`{}`", "optional": "maybe `{}`"}
    return [words[use].format(name) for name, use in uses.items() if use != "unused"]


def output_rows() -> list[str]:
    """Write the rows of the table of outputs."""
    return [f"| `{name}` | {description} |" for name, description in outputs.OUTPUT_MEANINGS.items()]


def model_rows() -> list[str]:
    """Write the rows of the table of models."""
    return [
        f"| `{variant.model_id}` | {variant.weights_gb:.2f} GB "
        f"| {'no' if variant.nf4_gb is None else f'{variant.nf4_gb:.2f} GB'} "
        f"| {'comes with the package' if variant.fetch_command is None else f'`{variant.fetch_command}`'} |"
        for variant in VARIANTS
    ]


def environment_rows() -> list[str]:
    """Write the rows of the table of variables."""
    rows = []
    for settings in (Settings, GenerationDefaults):
        for name, field in settings.model_fields.items():
            variable = f"{settings.model_config['env_prefix']}{name.upper()}"
            default = "" if field.default == () else f"`{field.default}`"
            rows.append(f"| `{variable}` | {default} | {field.description} |")
    return rows


def _table(first_heading: str) -> list[str]:
    """Return the rows of the table whose first column has this heading."""
    lines = README.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith(f"| {first_heading} |")) + 2
    end = next(index for index in range(start, len(lines)) if not lines[index].startswith("|"))
    return lines[start:end]


def test_the_table_of_tasks_is_the_code() -> None:
    """Every task is listed with its inputs, output and visual token budget."""
    assert _table("`task_type`") == task_rows()


def test_the_table_of_outputs_is_the_code() -> None:
    """Every output of the block is listed with its meaning."""
    assert _table("output") == output_rows()


def test_the_table_of_models_is_the_code() -> None:
    """Every model is listed with its size and the command that fetches it."""
    assert _table("`model_version`") == model_rows()


def evaluation_rows() -> list[str]:
    """Return the table of measured quality as the saved report says it."""
    saved = json.loads(SAVED_REPORT.read_text(encoding="utf-8"))["rows"]
    rows = [EvaluationRow(**row) for row in saved]
    return [f"| {row.name} | {row.value:.3f} | {row.demand} | {row.n} |" for row in rows]


def test_the_table_of_measured_quality_is_the_saved_report() -> None:
    """Nobody copied a figure by hand."""
    assert _table("measure") == evaluation_rows()


def test_the_saved_report_is_of_the_shipped_weights() -> None:
    """Whoever ships another checkpoint judges it again."""
    report = json.loads(SAVED_REPORT.read_text(encoding="utf-8"))
    assert report["weights_sha256"] == hash_weights(CHECKPOINT_DIRECTORY)
    assert report["scenes"] == 300


def test_the_table_of_variables_is_the_code() -> None:
    """Every variable of the environment is listed with its default and meaning."""
    assert _table("variable") == environment_rows()


@pytest.mark.parametrize("code", LOCAL_CODE, ids=["workflow", "Gemma4HF"])
def test_python_prints_what_the_comment_below_says(code: str) -> None:
    """A Python block, run as a fresh program in the checkout, prints its last comment."""
    printed = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        cwd=ROOT,
        # The host of this process has added names of its own to the list of plugins.
        env={name: value for name, value in os.environ.items() if name != "WORKFLOWS_PLUGINS"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert printed.splitlines() == [code.strip().splitlines()[-1].removeprefix("# ")]


def test_the_json_are_workflows_that_answer() -> None:
    """Both JSON blocks run as they stand, and what they say of a scene is true."""
    ask, detect = (json.loads(text) for text in re.findall(r"```json\n(.*?)```", README, re.DOTALL))
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    picture = np.ascontiguousarray(scene.image[..., ::-1])
    assert WorkflowRunner(ask, init_parameters={}).run({"image": picture}) == [{"answer": "2"}]
    (row,) = WorkflowRunner(detect, init_parameters={}).run({"image": picture})
    asked = detect["steps"][0]["classes"]
    found = sorted(shape.label for shape in scene.shapes if shape.label in asked)
    assert row["count"] == len(found)
    assert sorted(row["boxes"].data["class_name"]) == found


def test_every_make_target_exists() -> None:
    """`make TARGET` in the text is a target of the Makefile with a line in its help."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z]+)", README, re.MULTILINE))
    assert targets >= {"check", "demo", "test"}
    assert targets <= set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))


def test_every_command_and_option_exists() -> None:
    """`gemma4-block COMMAND --option` in the text is a command that has the option."""
    group: click.Group = typer.main.get_command(app)  # type: ignore[assignment]
    uses = re.findall(r"gemma4-block ([a-z]+)([^`\n]*)", README)
    assert {name for name, _ in uses} == set(group.commands)
    for name, rest in uses:
        parameters = group.commands[name].params
        options = {option for one in parameters for option in (*one.opts, *one.secondary_opts)}
        assert set(re.findall(r"--[a-z-]+", rest)) <= options


def mask(text: str) -> list[str]:
    """Return lines without the figures, which differ from run to run, and without the blanks around them."""
    plural = re.sub(r"\bpass\b", "passes", text)
    return [re.sub(r"[\d.]+%?", "N", " ".join(line.split())) for line in plural.splitlines()]


def test_the_profile_is_what_bench_prints() -> None:
    """Every line of the example, but for its figures."""
    (shown,) = re.findall(r"```\n\$ gemma4-block bench --profile\n(.*?)```", README, re.DOTALL)
    result = CliRunner().invoke(app, ["bench", "--profile"])

    assert result.exit_code == 0
    assert mask(shown) == mask(result.stdout)


def test_the_debug_log_is_what_a_server_writes(caplog: pytest.LogCaptureFixture) -> None:
    """The first question about a picture, and the second."""
    picture = np.ascontiguousarray(draw_scene(np.random.default_rng(2026)).image[..., ::-1])
    ask = json.loads(re.findall(r"```json\n(.*?)```", README, re.DOTALL)[0])
    runner = WorkflowRunner(ask, init_parameters={})
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        for _ in range(2):
            runner.run({"image": picture})
    shown = re.findall(r"^DEBUG:gemma4_block\.engine\.local:(Prompts answered: .*)$", README, re.MULTILINE)

    assert mask("\n".join(shown)) == mask("\n".join(caplog.messages))


def test_every_module_that_is_run_exists() -> None:
    """`python -m MODULE` in the text names a module of this package."""
    modules = re.findall(r"python -m ([\w.]+)", README)
    assert modules
    assert all(importlib.util.find_spec(name) is not None for name in modules)


@pytest.mark.parametrize("document", ["README.md", "workflow_examples/README.md"])
def test_every_link_leads_to_a_file(document: str) -> None:
    """A relative link, of a page or a picture, leads to something that is there."""
    path = ROOT / document
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (path.parent / link).exists()] == []
