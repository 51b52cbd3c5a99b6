"""GPUs are those that the driver shows; without any the processor works."""

from pathlib import Path

import pytest

from gemma4_block.errors import ConfigurationError
from gemma4_block.vllm_server import Gpu, inspect_server_machine


@pytest.fixture
def put_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Path":
    """A folder that is all of PATH, for a driver's program."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path / "nvidia-smi"


def write_program(path: Path, body: str) -> None:
    """Write a program of the shell."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


def test_gpus_are_listed(put_nvidia_smi: Path) -> None:
    """Each with its memory and its capability."""
    write_program(put_nvidia_smi, "echo '24564, 8.9'; echo '81920, 10.0'")

    assert inspect_server_machine("auto").gpus == (
        Gpu(memory_bytes=24564 * 2**20, capability=(8, 9)),
        Gpu(memory_bytes=81920 * 2**20, capability=(10, 0)),
    )
    assert inspect_server_machine("cpu").gpus == ()


@pytest.mark.parametrize("body", ["exit 9", "echo '[N/A], 8.9'", None])
def test_a_driver_that_shows_nothing_leaves_the_processor(put_nvidia_smi: Path, body: str | None) -> None:
    """Where GPUs are asked for, that is refused."""
    if body is not None:
        write_program(put_nvidia_smi, body)
    machine = inspect_server_machine("auto")

    assert machine.gpus == ()
    assert machine.free_bytes is not None
    assert machine.free_bytes > 0
    with pytest.raises(ConfigurationError, match="nvidia-smi shows no GPU"):
        inspect_server_machine("cuda")
