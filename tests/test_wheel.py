"""The wheel, built and installed beside nothing but its dependencies, works and describes itself."""

import os
import re
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from email.parser import Parser
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.demo.scenes import draw_scene

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


def run_quietly(*command: str | Path, cwd: Path = ROOT) -> str:
    """Run a program as a user would, far from this checkout; return what it prints."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("GEMMA4_BLOCK_", "PYTHON", "WORKFLOWS_PLUGINS"))
    }
    done = subprocess.run(  # noqa: S603 - our own commands
        command, cwd=cwd, env=environment, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel without fetching anything."""
    folder = tmp_path_factory.mktemp("dist")
    run_quietly(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def command(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Install the wheel into an empty environment, which sees the libraries of this one."""
    environment = tmp_path_factory.mktemp("environment")
    venv.create(environment)
    python = environment / "bin" / "python"
    run_quietly(
        *(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps"),
        wheel,
    )
    (packages,) = environment.glob("lib/python*/site-packages")
    # Editable installs are seen through .pth files, and those of a folder that is added so are not read.
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    found = run_quietly(python, "-c", "import gemma4_block; print(gemma4_block.__file__)", cwd=environment)
    assert Path(found.strip()).is_relative_to(packages)

    def run_command(*arguments: str | Path) -> str:
        return run_quietly(environment / "bin" / "gemma4-block", *arguments, cwd=environment)

    return run_command


def test_its_page_leads_nowhere_into_the_checkout(wheel: Path) -> None:
    """A picture or a link that is relative is broken on a package page."""
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(archive.read(name).decode())
    page = metadata.get_payload()

    assert isinstance(page, str)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert page.startswith("# gemma4-block\n")
    assert "## Start" in page
    assert "## Limits" in page
    assert "![" not in page
    assert re.findall(r"\]\((?!https?:|#)[^)]*\)", page) == []


def test_it_lists_its_commands(command: Callable[..., str]) -> None:
    """`--help` is the first thing that a new user tries."""
    assert {"ask", "bench", "demo", "doctor", "run", "serve"} <= set(command("--help").split())


def test_doctor_finds_the_model_that_came_with_it(command: Callable[..., str]) -> None:
    """The demo model is in the wheel."""
    lines = [one for one in command("doctor").splitlines() if one.startswith("gemma-4-demo")]

    # The table of memory below names it again.
    assert lines[0].split()[1] == "ok"


def test_it_answers(command: Callable[..., str], tmp_path: Path) -> None:
    """One question to the demo model, about a scene of two shapes."""
    scene = draw_scene(np.random.default_rng(0), shape_count=2)
    cv2.imwrite(str(tmp_path / "scene.png"), scene.image[..., ::-1])

    assert command("ask", tmp_path / "scene.png", "How many shapes are there?") == "2\n"
