"""`gemma4-block doctor`: what would load here, and why not."""

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from unittest.mock import patch

import pytest
import torch

import gemma4_block.demo
from gemma4_block.catalogue import MODEL_IDS, Variant, find_variant
from gemma4_block.cli import app
from gemma4_block.cli.doctor import (
    examine_device,
    examine_packages,
    examine_settings,
    examine_threads,
    examine_variant,
)
from gemma4_block.cli.examination import Finding
from gemma4_block.cli.memory_table import list_needs, write_table
from gemma4_block.engine.hardware.machine import Machine
from gemma4_block.settings import Dtype, Settings, get_generation_defaults, get_settings
from tests.engine.remote.fake_server import Behaviour, serving

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
CPU = Machine(device=torch.device("cpu"), has_bfloat16=True, free_bytes=12 * 10**9, threads=1, spinning=None)
GPU = replace(CPU, device=torch.device("cuda"))


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the command printed, and how it ended."""

    exit_code: object
    lines: dict[str, tuple[str, str]]
    table: list[str]
    stdout: str
    stderr: str


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Two threads, empty caches, no settings and no `.env`; what was there is put back."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    ours = ("GEMMA4_BLOCK_", "INFERENCE_MODELS_GEMMA4_", "OMP_WAIT_POLICY", "GOMP_", "KMP_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    caches = {"XDG_CACHE_HOME": "xdg", "HF_HOME": "hf_home", "HF_HUB_CACHE": "hub_cache"}
    kept |= {name: str(tmp_path / folder) for name, folder in caches.items()}
    with patch.dict(os.environ, kept, clear=True):
        get_settings.cache_clear()
        get_generation_defaults.cache_clear()
        yield
    torch.set_num_threads(threads)
    get_settings.cache_clear()
    get_generation_defaults.cache_clear()


@pytest.fixture
def examine(environment: None, capsys: pytest.CaptureFixture[str]) -> Callable[[], Report]:  # noqa: ARG001 - set up
    """Run the command in this process."""

    def run() -> Report:
        with pytest.raises(SystemExit) as ended:
            app(["doctor"])
        captured = capsys.readouterr()
        findings, _, table = captured.out.partition("\n\n")
        lines = [re.split(r" {2,}", line, maxsplit=2) for line in findings.splitlines()]
        return Report(
            exit_code=ended.value.code,
            lines={subject: (status, text) for subject, status, text in lines},
            table=table.splitlines(),
            stdout=captured.out,
            stderr=captured.err,
        )

    return run


@pytest.mark.usefixtures("with_bfloat16")
def test_a_fresh_machine_has_the_demo_and_is_told_how_to_get_the_rest(examine: Callable[[], Report]) -> None:
    """One line for each thing, plain where it is piped; what is not there is no failure."""
    report = examine()
    assert (report.exit_code, report.stderr) == (0, "")
    assert list(report.lines) == ["gemma4-block", "settings", "device", "threads", *MODEL_IDS]
    assert "\x1b" not in report.stdout
    assert is_demo(report.lines["gemma-4-demo"], "bfloat16")
    status, text = report.lines["gemma-4-e2b-it"]
    assert status == "-"
    assert re.match(
        "not found here: gemma4-block pull gemma-4-e2b-it; auto: bfloat16, needs \\d+\\.\\d\\d GB", text
    )
    assert report.lines["settings"] == ("ok", "set: none")


@pytest.mark.usefixtures("without_bfloat16")
def test_a_processor_without_bfloat16_is_told_what_float32_does(examine: Callable[[], Report]) -> None:
    """The demo, which fits anywhere, would be in float32."""
    report = examine()
    assert (report.exit_code, report.stderr) == (0, "")
    status, text = report.lines["device"]
    assert status == "ok"
    assert text.endswith(
        "; it has no bfloat16, so that models are in float32 where that leaves a quarter of the memory"
    )
    assert is_demo(report.lines["gemma-4-demo"], "float32")


def test_threads_are_judged_as_a_server_of_the_users_own_would_have_them(
    examine: Callable[[], Report],
) -> None:
    """No default of our commands is set before; a warning is no failure."""
    report = examine()
    status, text = report.lines["threads"]
    assert (status, report.exit_code) == ("WARN", 0)
    assert "torch works with 2 threads" in text
    assert "gemma4-block demo, ask, bench and serve do the first by themselves" in text
    assert "OMP_WAIT_POLICY" not in os.environ


def test_what_is_in_dotenv_counts(examine: Callable[[], Report]) -> None:
    """The host reads it before torch, so both the settings and the threads are as it says."""
    Path(".env").write_text("OMP_WAIT_POLICY=PASSIVE\nGEMMA4_BLOCK_DTYPE=float32\n", encoding="utf-8")
    report = examine()
    assert report.lines["threads"] == ("ok", "torch has 2, which wait passively")
    assert report.lines["settings"] == ("ok", "set: GEMMA4_BLOCK_DTYPE")
    assert "weights in float32" in report.lines["device"][1]
    assert is_demo(report.lines["gemma-4-demo"], "float32")


@pytest.mark.parametrize(
    ("variable", "value", "subject"),
    [
        ("GEMMA4_BLOCK_MAX_CLASSES", "many", "settings"),
        ("GEMMA4_BLOCK_NONSENSE", "1", "settings"),
        ("INFERENCE_MODELS_GEMMA4_DEFAULT_TOP_P", "2", "settings"),
        ("GEMMA4_BLOCK_DEVICE", "cuda:99", "device"),
    ],
)
def test_a_setting_that_cannot_work_is_a_failure(
    examine: Callable[[], Report], monkeypatch: pytest.MonkeyPatch, variable: str, value: str, subject: str
) -> None:
    """The last line says what is wrong with which value, and the exit code is 1."""
    monkeypatch.setenv(variable, value)
    report = examine()
    assert report.exit_code == 1
    assert list(report.lines)[-1] == subject
    status, text = report.lines[subject]
    assert status == "FAIL"
    assert (value if subject == "device" else variable) in text


def test_a_model_of_which_files_are_missing_is_a_failure(
    examine: Callable[[], Report], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Who fetched it means to use it; the other models are looked at nevertheless."""
    shutil.copytree(DEMO_CHECKPOINT, tmp_path / "models" / "gemma-4-e2b-it")
    (tmp_path / "models" / "gemma-4-e2b-it" / "model.safetensors").unlink()
    monkeypatch.setenv("GEMMA4_BLOCK_MODEL_ROOTS", str(tmp_path / "models"))
    report = examine()
    assert report.exit_code == 1
    status, text = report.lines["gemma-4-e2b-it"]
    assert status == "FAIL"
    assert "lacks model.safetensors" in text
    assert report.lines["gemma-4-demo"][0] == "ok"


def test_a_torch_that_cannot_be_imported_is_a_failure(
    examine: Callable[[], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The report ends with the reason and without a stack trace."""
    monkeypatch.setitem(sys.modules, "gemma4_block.engine.hardware", None)
    report = examine()
    assert (report.exit_code, list(report.lines)[-1]) == (1, "device")
    assert report.lines["device"][0] == "FAIL"


def test_missing_packages_are_a_failure() -> None:
    """Versions of those that are there are told as well."""
    finding = examine_packages(["torch", "no-such-package"])
    assert finding.status == "FAIL"
    assert f"torch {metadata.version('torch')}, without no-such-package" in finding.text


def test_a_folder_of_models_that_is_not_there_is_a_warning(tmp_path: Path) -> None:
    """It may be a misspelt path, and it may be a disk that is not mounted yet."""
    finding = examine_settings(Settings(model_roots=(tmp_path, tmp_path / "none")))
    assert finding.status == "WARN"
    assert finding.text.endswith(f"names what is no folder: {tmp_path / 'none'}")


@pytest.mark.parametrize(
    ("has_bfloat16", "dtype", "status", "words"),
    [
        pytest.param(True, "auto", "ok", "it has bfloat16", id="it has"),
        pytest.param(False, "auto", "ok", "float32 where that leaves a quarter", id="it has not"),
        pytest.param(False, "bfloat16", "WARN", "GEMMA4_BLOCK_DTYPE=float32", id="it has not, and must"),
        pytest.param(False, "float32", "ok", "needs none", id="it need not"),
        pytest.param(None, "auto", "ok", "torch 2.11 could say", id="nobody knows"),
    ],
)
def test_a_device_without_bfloat16_is_a_warning_where_it_matters(
    has_bfloat16: bool | None,  # noqa: FBT001 - a case
    dtype: Dtype,
    status: str,
    words: str,
) -> None:
    """Weights in bfloat16 work everywhere, and slowly where the processor has none."""
    finding = examine_device(replace(CPU, has_bfloat16=has_bfloat16), dtype)
    assert (finding.subject, finding.status) == ("device", status)
    assert finding.text.startswith("cpu, memory free: 12.00 GB; ")
    assert words in finding.text


def test_a_gpu_without_bfloat16_is_a_warning() -> None:
    """`auto` changes nothing there."""
    finding = examine_device(replace(GPU, has_bfloat16=False), "auto")
    assert finding.status == "WARN"
    assert finding.text.endswith("GEMMA4_BLOCK_DTYPE=float32")


@pytest.mark.parametrize(
    ("machine", "text"),
    [
        (CPU, "torch has 1"),
        (replace(CPU, threads=2), "torch has 2, which wait passively"),
        (replace(GPU, threads=2), "torch has 2"),
    ],
)
def test_threads_that_are_in_nobodys_way_are_counted(machine: Machine, text: str) -> None:
    """One thread, passive ones, and those beside a GPU."""
    assert examine_threads(machine) == Finding(subject="threads", status="ok", text=text)


def test_memory_that_nobody_knows_is_unknown() -> None:
    """And no model is too large for it."""
    machine = replace(CPU, free_bytes=None)
    assert "memory free: unknown" in examine_device(machine, "auto").text
    assert examine_variant(variant("gemma-4-demo"), machine, Settings()).status == "ok"


def is_demo(line: tuple[str, str], dtype: str) -> bool:
    """Say whether a line is that of the embedded model, which fits."""
    status, text = line
    said = re.fullmatch(rf"comes with the package; auto: {dtype}, needs \d\.\d\d GB", text)
    return status == "ok" and said is not None


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("model_id", "machine", "text"),
    [
        pytest.param("gemma-4-e2b-it", CPU, r"auto: bfloat16, needs \d+\.\d\d GB", id="fits"),
        pytest.param(
            "gemma-4-31b-it",
            replace(CPU, free_bytes=60 * 10**9),
            r"auto: bfloat16, needs \d+\.\d\d GB, more than is free",
            id="does not fit",
        ),
        pytest.param("gemma-4-e4b-it", GPU, r"auto: 4 bits, needs 1[01]\.\d\d GB", id="fits in 4 bits"),
        pytest.param(
            "gemma-4-e2b-it",
            replace(CPU, has_bfloat16=False, free_bytes=28 * 10**9),
            r"auto: float32, needs 2\d\.\d\d GB",
            id="fits in float32",
        ),
        pytest.param(
            "gemma-4-e2b-it",
            replace(CPU, has_bfloat16=False),
            r"auto: bfloat16, needs \d+\.\d\d GB, slow on this processor",
            id="does not fit in float32",
        ),
    ],
)
def test_what_a_model_needs_is_compared_with_what_is_free(model_id: str, machine: Machine, text: str) -> None:
    """Before anybody downloads it."""
    finding = examine_variant(variant(model_id), machine, Settings())
    assert finding.status == "-"
    assert re.search(f"; {text}$", finding.text), finding.text


def test_a_model_that_is_here_and_does_not_fit_is_a_warning() -> None:
    """Memory may be freed before it is loaded, so that it is no failure."""
    finding = examine_variant(variant("gemma-4-demo"), replace(CPU, free_bytes=1_000_000), Settings())
    assert finding.status == "WARN"
    assert re.search(r"auto: bfloat16, needs \d\.\d\d GB, more than is free$", finding.text)


def test_a_model_that_is_here_and_slow_is_a_warning() -> None:
    """Its weights are small enough for bfloat16, but not for float32, which the processor is faster in."""
    machine = replace(CPU, has_bfloat16=False, free_bytes=15_000_000)
    settings = Settings(vision_cache_bytes=0, prefix_cache_bytes=0)
    finding = examine_variant(variant("gemma-4-demo"), machine, settings)
    assert finding.status == "WARN"
    assert finding.text.endswith(", more than is free, slow on this processor")


def variant(model_id: str) -> Variant:
    """Return a variant that is there."""
    found = find_variant(model_id)
    assert found is not None
    return found


def test_every_server_is_asked_what_it_can_do(
    examine: Callable[[], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its model is not looked for here; what it lacks is a warning, and not being there a failure."""
    with serving() as whole, serving(Behaviour(has_budgets=False)) as lacking:
        servers = {
            "gemma-4-e2b-it": {"urls": [whole.url], "model": "there"},
            "lacking/1": {"urls": [lacking.url], "model": "there"},
            "gone/1": {"urls": ["http://127.0.0.1:9/v1"]},
        }
        monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", json.dumps(servers))
        report = examine()

    assert list(report.lines)[2:5] == list(servers)
    assert report.lines["gemma-4-e2b-it"] == ("ok", f"there on {whole.url}, tokens at most: 4096")
    status, text = report.lines["lacking/1"]
    assert (status, "trust-request-mm-kwargs" in text) == ("WARN", True)
    status, text = report.lines["gone/1"]
    assert (status, "cannot be reached" in text) == ("FAIL", True)
    assert report.exit_code == 1


def test_a_table_shows_the_memory_of_every_variant(examine: Callable[[], Report]) -> None:
    """In each precision that it has, by budget; the demo was trained for three."""
    table = examine().table
    assert table[0].startswith("Memory that a model may take on cpu, in GB, by image_seq_length")
    assert table[2].split() == ["weights", "70", "140", "280", "560", "1120"]
    rows = [re.split(r" {2,}", line) for line in table[3:]]
    assert [row[:2] for row in rows] == [
        [model_id, precision]
        for model_id in MODEL_IDS
        for precision in ("4 bits", "8 bits", "bfloat16", "float32")
        if not precision.endswith("bits") or model_id not in ("gemma-4-26b-a4b-it", "gemma-4-demo")
    ]
    whole = next(row for row in rows if row[:2] == ["gemma-4-31b-it", "float32"])
    sizes = [float(cell.rstrip("*")) for cell in whole[2:]]
    assert sizes[0] == 125.09
    assert sizes == sorted(set(sizes))
    assert [cell == "-" for cell in rows[-1][3:]] == [False, False, False, True, True]


def test_needs_are_compared_with_what_is_free() -> None:
    """A star marks what does not fit; where nobody knows, nothing is marked."""
    machine = replace(CPU, free_bytes=20 * 10**9)
    needs = list_needs(machine, Settings())
    marked = [line for line in write_table(needs, machine) if "*" in line][1:]
    assert marked
    assert all("*" in line for line in marked if "gemma-4-31b-it" in line)
    assert {need.fits for need in needs} == {True, False}
    unknown = replace(CPU, free_bytes=None)
    needs = list_needs(unknown, Settings())
    assert {need.fits for need in needs} == {None}
    assert [line for line in write_table(needs, unknown) if "*" in line][1:] == []


@pytest.mark.usefixtures("environment")
def test_a_program_reads_all_of_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line of JSON, without the operator's secrets."""
    said = "open sesame"
    monkeypatch.setenv("GEMMA4_BLOCK_TOKEN", said)
    monkeypatch.setenv("THE_KEY", said)
    servers = {"gone/1": {"urls": ["http://127.0.0.1:9/v1"], "key_env": "THE_KEY"}}
    monkeypatch.setenv("GEMMA4_BLOCK_SERVERS", json.dumps(servers))
    with pytest.raises(SystemExit) as ended:
        app(["doctor", "--json"])
    printed = capsys.readouterr().out
    assert ended.value.code == 1, "the server is gone"
    assert said not in printed
    assert len(printed.splitlines()) == 1
    told = json.loads(printed)
    assert list(told) == [
        "versions",
        "findings",
        "settings",
        "servers",
        "devices",
        "models",
        "memory",
    ]
    assert told["versions"]["torch"] == metadata.version("torch")
    assert told["settings"]["max_batch_size"] == 8
    assert told["servers"][0]["key_env"] == "THE_KEY"
    assert [device["device"] for device in told["devices"]] == ["cpu"]
    assert told["models"] == [
        {
            "model_id": "gemma-4-demo",
            "place": "comes with the package",
            "directory": str(DEMO_CHECKPOINT),
        }
    ]
    needs = [one for one in told["memory"] if one["model_id"] == "gemma-4-demo" and one["dtype"] == "float32"]
    assert [need["image_seq_length"] for need in needs] == [70, 140, 280]
    assert all(need["needed_bytes"] > need["weights_bytes"] > 23_000_000 for need in needs)
    assert {finding["subject"]: finding["status"] for finding in told["findings"]}["gone/1"] == "FAIL"


def test_processes_that_load_copies_are_told(
    examine: Callable[[], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker of the stock server has its own."""
    monkeypatch.setenv("NUM_WORKERS", "3")
    status, text = examine().lines["processes"]
    assert (status, "3 times the memory" in text) == ("WARN", True)
