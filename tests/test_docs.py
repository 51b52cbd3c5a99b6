"""README.md and docs/ are true: their code runs, their tables are the code's, their commands exist."""

import importlib.util
import inspect
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
import typer.main
import yaml
from typer.testing import CliRunner

import gemma4_block
from gemma4_block import contract, errors, tasks
from gemma4_block.blocks import outputs
from gemma4_block.catalogue import EMBEDDED_ADAPTERS, VARIANTS
from gemma4_block.cli import app
from gemma4_block.cli.workflows import WorkflowRunner, load_example
from gemma4_block.contract import GenerationConfig
from gemma4_block.demo.evaluation.report import CHECKPOINT_DIRECTORY, SAVED_REPORT, Report, hash_weights
from gemma4_block.demo.evaluation.scoring import Row as EvaluationRow
from gemma4_block.demo.evaluation.tables import fill_page, write_markdown
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.demo.training.adapters import ADAPTERS, draw_dataset
from gemma4_block.engine.pool import EnginePool
from gemma4_block.finetuning import Plan
from gemma4_block.servers import Server, parse_servers
from gemma4_block.settings import GenerationDefaults, Settings
from gemma4_block.tasks import TASKS, Task
from gemma4_block.vllm_server import (
    Gpu,
    Launch,
    LaunchOptions,
    ServerMachine,
    find_served_model,
    plan_launch,
)
from tests.parity.cases import find_cases

if TYPE_CHECKING:
    import click

ROOT = Path(__file__).parents[1]
PATHS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
PAGES = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PATHS}
TEXT = "\n".join(PAGES.values())
EXAMPLES_README = "workflow_examples/README.md"


def python_blocks() -> dict[str, str]:
    """Return the Python of all pages; what needs a server is run with one, in test_workflow_examples.py."""
    return {
        f"{page}-{number}": code
        for page, text in PAGES.items()
        for number, code in enumerate(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
        if "HTTPClient" not in code
    }


@pytest.mark.parametrize("name", python_blocks())
def test_python_prints_what_the_comments_say(name: str) -> None:
    """A block, run as a fresh program in the checkout, prints the comment below each of its prints."""
    code = python_blocks()[name]
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", code],
        cwd=ROOT,
        # The host of this process has added names of its own to the list of plugins.
        env={key: value for key, value in os.environ.items() if key != "WORKFLOWS_PLUGINS"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    lines = code.splitlines()
    prints = [number for number, line in enumerate(lines) if line.startswith("print(")]
    assert prints
    assert done.stdout.splitlines() == [lines[number + 1].removeprefix("# ") for number in prints]


def json_blocks(page: str) -> list[dict[str, object]]:
    """Return the JSON of a page: workflows, the map of servers, and the model_config.json of a package."""
    return [json.loads(text) for text in re.findall(r"```json\n(.*?)```", PAGES[page], re.DOTALL)]


def test_all_json_is_run_by_a_test() -> None:
    """README's is in test_readme.py, and those of docs/ are below."""
    assert {page: len(json_blocks(page)) for page in PAGES if json_blocks(page)} == {
        "README.md": 1,
        "docs/adapters.md": 1,
        "docs/python.md": 1,
        "docs/servers.md": 1,
        "docs/workflow.md": 1,
    }


def test_the_map_of_servers_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The JSON block of docs/servers.md names every field, and its table their defaults."""
    monkeypatch.setenv("PLATES_KEY", "any")
    plain, full = parse_servers(json.dumps(json_blocks("docs/servers.md")[0]))
    named = [row.split("`")[1] for row in _table("entry")]

    assert named == [field.name for field in fields(Server) if field.name != "model_id"]
    assert (plain.model, plain.key_env, plain.quantization) == (plain.model_id, None, None)
    assert (plain.max_in_flight, len(plain.image_seq_lengths)) == (32, 5)
    assert (full.model, full.key_env, full.quantization, full.max_in_flight) == (
        "plates",
        "PLATES_KEY",
        "none",
        64,
    )


def test_the_command_of_a_server_is_what_is_printed() -> None:
    """For E2B on a GPU of 24 GB."""
    (shown,) = re.findall(r"```bash\n(VLLM_.*?)\n```", PAGES["docs/servers.md"], re.DOTALL)

    assert shown == _plan(LaunchOptions()).write("python")


def test_servers_in_containers_have_the_arguments_that_are_printed() -> None:
    """The YAML of docs/servers.md is whole, and starts what `serve-engine` starts."""
    texts = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
    (compose,), (deployment, service) = (list(yaml.safe_load_all(text)) for text in texts)
    launch = _plan(LaunchOptions(host="0.0.0.0", key_env="GEMMA4_KEY"))  # noqa: S104 - printed only
    template = deployment["spec"]["template"]
    (pod,), composed = template["spec"]["containers"], compose["services"]["gemma"]

    assert composed["entrypoint"] == pod["command"] == ["python3"]
    assert composed["command"] == pod["args"] == list(launch.arguments)
    given = {entry["name"]: entry.get("value") for entry in pod["env"]}
    assert launch.environment.items() <= given.items()
    assert launch.environment.items() <= composed["environment"].items()
    assert composed["environment"]["VLLM_API_KEY"].startswith("${GEMMA4_KEY:?")
    assert composed["image"] == pod["image"]
    assert service["spec"]["selector"] == template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == template["metadata"]["labels"]


def _plan(options: LaunchOptions) -> Launch:
    machine = ServerMachine(gpus=(Gpu(memory_bytes=24 * 2**30, capability=(8, 9)),))
    return plan_launch(find_served_model("gemma-4-e2b-it"), machine, options)


def test_the_package_that_is_shown_is_the_demo_s() -> None:
    """The script above it loads the demo by this file."""
    config = json.loads((CHECKPOINT_DIRECTORY / "model_config.json").read_text(encoding="utf-8"))
    assert json_blocks("docs/python.md") == [config]


def test_the_workflow_that_detects_finds_what_is_drawn() -> None:
    """The JSON block of docs/workflow.md runs as it stands, and what it says of a scene is true."""
    (detect,) = json_blocks("docs/workflow.md")
    scene = draw_scene(np.random.default_rng(1), shape_count=2)
    (row,) = WorkflowRunner(detect, init_parameters={}).run(
        {"image": np.ascontiguousarray(scene.image[..., ::-1])}
    )
    asked = detect["steps"][0]["classes"]  # type: ignore[index]
    found = sorted(shape.label for shape in scene.shapes if shape.label in asked)
    assert found
    assert row["count"] == len(found)
    assert sorted(row["boxes"].data["class_name"]) == found


def test_the_workflow_with_an_adapter_runs() -> None:
    """The JSON block of docs/adapters.md runs as it stands, and the adapter answers as the page says."""
    (workflow,) = json_blocks("docs/adapters.md")
    pool = EnginePool(Settings())
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    image = {"image": np.ascontiguousarray(scene.image[..., ::-1])}
    (row,) = WorkflowRunner(workflow, init_parameters={"gemma4_block.engine_provider": pool}).run(image)
    assert row["answer"] == "1BS 1PS"
    adapters = [adapter for status in pool.list_engines() for adapter in status.adapters]
    assert adapters == [EMBEDDED_ADAPTERS["gemma-4-demo-codes"].resolve()]
    pool.close()


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


def error_rows() -> list[str]:
    """Write the rows of the table of errors."""
    kinds = [kind for kind in vars(errors).values() if inspect.isclass(kind)]
    return [f"| `{kind.__name__}` | {inspect.getdoc(kind).splitlines()[0]} |" for kind in kinds]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("heading", "expected"),
    [
        ("`task_type`", task_rows),
        ("output", output_rows),
        ("`model_version`", model_rows),
        ("variable", environment_rows),
        ("error", error_rows),
    ],
    ids=["tasks", "outputs", "models", "variables", "errors"],
)
def test_a_table_is_the_code(heading: str, expected: Callable[[], list[str]]) -> None:
    """What the code says of tasks, outputs, models, variables and errors is not copied by hand."""
    assert _table(heading) == expected()


@pytest.mark.parametrize(
    ("heading", "described"),
    [
        ("argument of `prompt`", gemma4_block.Gemma4HF.prompt),
        ("argument of `from_pretrained`", gemma4_block.Gemma4HF.from_pretrained),
        ("field of `GenerationConfig`", GenerationConfig),
        ("field of `TaskOptions`", gemma4_block.TaskOptions),
    ],
    ids=["prompt", "from_pretrained", "GenerationConfig", "TaskOptions"],
)
def test_a_table_has_every_argument_with_its_default(heading: str, described: Callable[..., object]) -> None:
    """Whoever adds an argument, or changes a default, says so."""
    parameters = [one for one in inspect.signature(described).parameters.values() if one.name != "self"]
    expected = [
        (f"`{one.name}`", "" if one.default is one.empty else f"`{one.default!r}`") for one in parameters
    ]
    assert [
        tuple(row.strip("|").split("|")[i].strip() for i in (0, 1)) for row in _table(heading)
    ] == expected


def test_the_methods_of_tasks_are_those_of_the_class() -> None:
    """The table names each with its own arguments; what all of them take is told below it."""
    common = {"self", "input_color_format", "options"}
    for row in _table("method"):
        name, arguments = re.findall(r"`(\w+)\((.*?)\)`", row)[0]
        parameters = inspect.signature(getattr(gemma4_block.Gemma4HF, name)).parameters
        assert common <= set(parameters)
        written = [argument.split("=")[0].strip() for argument in arguments.split(",")]
        assert written == [one for one in parameters if one not in common]


def _table(first_heading: str) -> list[str]:
    """Return the rows of the one table whose first column has this heading."""
    lines = TEXT.splitlines()
    (heading,) = [index for index, line in enumerate(lines) if line.startswith(f"| {first_heading} |")]
    start = heading + 2
    end = next(index for index in range(start, len(lines)) if not lines[index].startswith("|"))
    return lines[start:end]


def test_the_table_of_parity_has_the_cases_that_are_compared() -> None:
    """All groups, in order, with their sizes; and a reason for each whose rows may differ."""
    cases = find_cases()
    sizes = Counter(case.group for case in cases)
    listed = [row.split(" | ") for row in _table("asked")]

    assert {row[0].removeprefix("| "): int(row[1]) for row in listed} == sizes
    unequal = {case.group for case in cases if case.exactness != "equal"}
    assert {row.split(" | ")[0].removeprefix("| ") for row in _table("but")} == unequal


def test_the_saved_report_is_of_the_shipped_weights() -> None:
    """Whoever ships another checkpoint judges it again."""
    report = json.loads(SAVED_REPORT.read_text(encoding="utf-8"))
    assert report["weights_sha256"] == hash_weights(CHECKPOINT_DIRECTORY)
    assert (report["scenes"], report["pictures"]) == (300, 60)


def test_the_page_of_the_demo_has_what_the_saved_report_measured() -> None:
    """With the weights, all budgets, and what is missed."""
    saved = json.loads(SAVED_REPORT.read_text(encoding="utf-8"))
    parts = {
        name: tuple(EvaluationRow(**row) for row in saved[name])
        for name in ("rows", "weak_spots", "wide_rows")
    }
    measured = write_markdown(Report(**parts, duration_s=saved["duration_s"]), saved["weights_sha256"])
    page = (ROOT / "docs" / "demo-model.md").read_text(encoding="utf-8")
    assert fill_page(page, measured) == page


def test_every_variable_exists() -> None:
    """A variable that a text names is one that is read."""
    known = {
        f"{settings.model_config['env_prefix']}{name.upper()}"
        for settings in (Settings, GenerationDefaults)
        for name in settings.model_fields
    }
    named = set(re.findall(r"\b(?:GEMMA4_BLOCK|INFERENCE_MODELS_GEMMA4_DEFAULT)_[A-Z_]*[A-Z]\b", TEXT))
    assert named <= known


def test_every_make_target_exists() -> None:
    """`make TARGET` in the text is a target of the Makefile with a line in its help."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"(?:`|^)make ([a-z]+)", TEXT, re.MULTILINE))
    assert targets >= {"bench", "check", "demo", "serve", "test"}
    assert targets <= set(re.findall(r"^([a-z]+):.*## ", makefile, re.MULTILINE))


def test_every_command_and_option_exists() -> None:
    """`gemma4-block COMMAND --option` is a command that has the option, and no command is left out."""
    group: click.Group = typer.main.get_command(app)  # type: ignore[assignment]
    uses = re.findall(r"gemma4-block ([a-z-]+)([^`\n]*)", TEXT)
    assert {name for name, _ in uses} == set(group.commands)
    for name, rest in uses:
        assert set(re.findall(r"--[a-z-]+", rest)) <= _options(group.commands[name])


def test_every_option_named_alone_exists() -> None:
    """`--option` in a sentence is an option of some command of ours."""
    group: click.Group = typer.main.get_command(app)  # type: ignore[assignment]
    known = set().union(*(_options(command) for command in group.commands.values()))
    (vllm,) = re.findall(r"python -m vllm\.[^`]*", TEXT)
    known |= set(re.findall(r"--[a-z-]+", vllm))
    assert set(re.findall(r"`(--[a-z-]+)[^`]*`", TEXT)) <= known


def _options(command: "click.Command") -> set[str]:
    return {option for one in command.params for option in (*one.opts, *one.secondary_opts)}


def test_every_module_that_is_run_exists() -> None:
    """`python -m MODULE` in the text names a module of this package."""
    modules = re.findall(r"python -m ([\w.]+)", TEXT)
    assert modules
    # vLLM has an environment of its own.
    ours = [name for name in modules if not name.startswith("vllm.")]
    assert all(importlib.util.find_spec(name) is not None for name in ours)


def test_every_figure_has_its_command() -> None:
    """A section of docs/measured.md names what measures it again, or says that nothing does."""
    _, *sections = re.split(r"^## ", PAGES["docs/measured.md"], flags=re.MULTILINE)
    ways = ("python -m ", "make bench", "make demo", "No command repeats this.")
    texts = {section.splitlines()[0]: " ".join(section.split()) for section in sections}
    assert [title for title, text in texts.items() if not any(way in text for way in ways)] == []


def draw_photos(folder: Path) -> None:
    """Draw what the examples of docs/terminal.md are about: two pictures and a film of two frames."""
    (folder / "photos").mkdir()
    for name, seed in (("one", 1), ("two", 2)):
        scene = draw_scene(np.random.default_rng(seed), shape_count=2)
        cv2.imwrite(str(folder / "photos" / f"{name}.png"), scene.image[..., ::-1])
    film = cv2.VideoWriter(str(folder / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 5, (480, 360))
    for seed in (1, 2):
        scene = draw_scene(np.random.default_rng(seed), shape_count=2)
        film.write(cv2.resize(scene.image[..., ::-1], (480, 360)))
    film.release()


def test_the_page_of_the_terminal_shows_what_ask_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every line of the examples, but for figures."""
    draw_photos(tmp_path)
    monkeypatch.chdir(tmp_path)
    examples = re.findall(
        r"^```\n\$ gemma4-block (.+)\n([^`]+)```", PAGES["docs/terminal.md"], flags=re.MULTILINE
    )

    assert len(examples) == 5
    for command, shown in examples:
        with pytest.raises(SystemExit) as ended:
            app(shlex.split(command))
        assert (ended.value.code, mask(capsys.readouterr().out)) == (0, mask(shown))


@pytest.mark.slow
def test_the_workflow_commands_of_the_terminal_work(tmp_path: Path) -> None:
    """Ours and the host's, on a folder and on a film, each as a program of its own."""
    draw_photos(tmp_path)
    (tmp_path / "workflow_examples").symlink_to(ROOT / "workflow_examples")
    blocks = re.findall(r"```sh\n(.*?)```", PAGES["docs/terminal.md"], flags=re.DOTALL)
    environment = {key: value for key, value in os.environ.items() if key != "WORKFLOWS_PLUGINS"}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    for block in blocks:
        done = subprocess.run(  # noqa: S603 - commands of our own page
            ["/bin/sh", "-ec", block],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    for output in ("run-output", "host-output"):
        table = (tmp_path / output / "photos" / "aggregated_results.csv").read_text(encoding="utf-8")
        assert {line.rsplit(",", 1)[-1] for line in table.splitlines()} == {"image", "one.png", "two.png"}
        film = (tmp_path / output / "film" / "workflow_results_source_0.csv").read_text(encoding="utf-8")
        assert len(film.splitlines()) == 3
        assert (tmp_path / output / "film" / "source_0_output_picture_preview.mp4").is_file()


@pytest.mark.slow
def test_the_commands_of_fine_tuning_work(tmp_path: Path) -> None:
    """One after the other: the adapter that the first trains answers the second."""
    draw_dataset(tmp_path / "dataset", ADAPTERS["codes"], scenes={"train": 2, "valid": 1})
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    cv2.imwrite(str(tmp_path / "picture.png"), scene.image[..., ::-1])
    environment = dict(os.environ)
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    blocks = re.findall(r"```sh\n(.*?)```", PAGES["docs/fine-tuning.md"], flags=re.DOTALL)
    shown = []
    for block in blocks:
        done = subprocess.run(  # noqa: S603 - commands of our own page
            ["/bin/sh", "-ec", block],
            cwd=tmp_path,
            env=environment,
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        shown.append(done.stdout)

    assert len(shown) == 2
    assert "before" in shown[0]
    assert shown[1].strip()


def test_the_defaults_of_fine_tuning_are_those_of_the_plan() -> None:
    """The table names every field of it."""
    told = {row.split("`")[1]: row.split(" | ")[1] for row in _table("option of `finetune`")}
    for field in fields(Plan):
        assert float(told[f"--{field.name.replace('_', '-')}"]) == field.default


def mask(text: str) -> list[str]:
    """Return lines without the figures, which differ from run to run, and without the blanks around them."""
    plural = re.sub(r"\bpass\b", "passes", text)
    return [re.sub(r"[\d.]+%?", "N", " ".join(line.split())) for line in plural.splitlines()]


def test_the_profile_is_what_bench_prints() -> None:
    """Every line of the example, but for its figures."""
    (shown,) = re.findall(r"```\n\$ gemma4-block bench --profile\n(.*?)```", TEXT, re.DOTALL)
    result = CliRunner().invoke(app, ["bench", "--profile"])

    assert result.exit_code == 0
    assert mask(shown) == mask(result.stdout)


def test_the_debug_log_is_what_a_server_writes(caplog: pytest.LogCaptureFixture) -> None:
    """The first question about a picture, and the second."""
    picture = np.ascontiguousarray(draw_scene(np.random.default_rng(2026)).image[..., ::-1])
    runner = WorkflowRunner(load_example("ask_one_image"), init_parameters={})
    with caplog.at_level(logging.DEBUG, "gemma4_block"):
        for _ in range(2):
            runner.run({"image": picture, "question": "How many shapes are there?"})
    shown = re.findall(r"^Prompts answered: .*$", TEXT, re.MULTILINE)

    written = [message for message in caplog.messages if message.startswith("Prompts answered: ")]

    assert len(written) == 2
    assert mask("\n".join(shown)) == mask("\n".join(written))


def test_the_types_on_the_way_of_a_request_exist() -> None:
    """What the drawing names is what the rooms hand to each other."""
    drawing = PAGES["docs/how-a-request-travels.md"]
    for room, names in (
        (contract, ("Prompt", "GenerationConfig", "Answer")),
        (errors, ("PromptError",)),
        (tasks, ("TaskRequest", "Result")),
    ):
        assert [name for name in names if name not in drawing or not hasattr(room, name)] == []


def test_every_room_has_its_line() -> None:
    """A folder of the package, or of its engine, is in the table of rooms."""
    package = ROOT / "gemma4_block"
    folders = [path.parent for depth in ("*", "engine/*") for path in package.glob(f"{depth}/__init__.py")]
    rooms = {folder.relative_to(package).as_posix() for folder in folders} - {"engine"}
    listed = {row.split("`")[1].rstrip("/") for row in _table("room")}
    assert rooms <= listed
    modules = {name: f"gemma4_block.{name.removesuffix('.py').replace('/', '.')}" for name in listed}
    assert [name for name, module in modules.items() if importlib.util.find_spec(module) is None] == []


def anchors(path: Path) -> set[str]:
    """Return what the headings of a page are called in links, as GitHub does."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", [*PAGES, EXAMPLES_README])
def test_every_link_leads_somewhere(page: str) -> None:
    """A relative link, of a page or a picture, leads to a file that is there, and its anchor to a heading."""
    path = ROOT / page
    links = re.findall(r"\]\((?!https?:)([^)]+)\)", path.read_text(encoding="utf-8"))
    assert links
    broken = []
    for link in links:
        name, _, anchor = link.partition("#")
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []
