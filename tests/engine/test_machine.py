"""What a model finds on a machine."""

from pathlib import Path

import pytest
import torch

from gemma4_block.engine.hardware.machine import has_bfloat16, inspect_machine, read_free_bytes
from gemma4_block.errors import ConfigurationError

MEMINFO = "MemTotal:       24683656 kB\nMemFree:        1000 kB\nMemAvailable:   2000 kB\n"


def write_root(root: Path, meminfo: str | None, limit: str | None) -> Path:
    """Write what a Linux kernel says about memory."""
    if meminfo is not None:
        (root / "proc").mkdir()
        (root / "proc" / "meminfo").write_text(meminfo)
    if limit is not None:
        (root / "sys" / "fs" / "cgroup").mkdir(parents=True)
        (root / "sys" / "fs" / "cgroup" / "memory.max").write_text(limit)
    return root


@pytest.mark.parametrize(
    ("meminfo", "limit", "free_bytes"),
    [
        pytest.param(MEMINFO, None, 2_048_000, id="no container"),
        pytest.param(MEMINFO, "max\n", 2_048_000, id="a container without a limit"),
        pytest.param(MEMINFO, "1000000\n", 1_000_000, id="a container with less"),
        pytest.param(MEMINFO, "9000000\n", 2_048_000, id="a container that may have more than there is"),
        pytest.param(None, "1000000\n", None, id="no Linux"),
        pytest.param("MemTotal: 1 kB\n", None, None, id="an old kernel"),
        pytest.param("MemAvailable: much\n", None, None, id="nonsense"),
    ],
)
def test_free_memory_is_what_a_program_can_still_take(
    tmp_path: Path, meminfo: str | None, limit: str | None, free_bytes: int | None
) -> None:
    """It is what the kernel calls available, within the limit of a container; None is not 0."""
    assert read_free_bytes(write_root(tmp_path, meminfo, limit)) == free_bytes


VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file", "total_active_file")
VERSION_2 = ("memory.max", "memory.current", "inactive_file", "active_file")


def write_group(directory: Path, names: tuple[str, str, str, str], *, limit: int, used: int) -> None:
    """Write what a control group says of its memory, of which 300 bytes are files."""
    directory.mkdir(parents=True, exist_ok=True)
    limit_name, used_name, inactive, active = names
    (directory / limit_name).write_text(f"{limit}\n")
    (directory / used_name).write_text(f"{used}\n")
    (directory / "memory.stat").write_text(f"anon 5\n{inactive} 100\n{active} 200\n")


@pytest.mark.parametrize(
    ("line", "folder", "names"),
    [
        pytest.param("0::/", "", VERSION_2, id="a container"),
        pytest.param("0::/system.slice/our.service", "system.slice/our.service", VERSION_2, id="a service"),
        pytest.param("0::/system.slice/our.service", "system.slice", VERSION_2, id="a group of services"),
        pytest.param("4:memory:/docker/1a2b", "memory", VERSION_1, id="version 1, in a container"),
        pytest.param("4:memory:/docker/1a2b", "memory/docker/1a2b", VERSION_1, id="version 1, outside"),
    ],
)
def test_what_a_control_group_has_used_is_not_free(
    tmp_path: Path, line: str, folder: str, names: tuple[str, str, str, str]
) -> None:
    """Files in memory can be dropped; a group's limit is one for all groups in it."""
    root = write_root(tmp_path, MEMINFO, None)
    (root / "proc" / "self").mkdir()
    (root / "proc" / "self" / "cgroup").write_text(f"5:cpu:/elsewhere\n{line}\n")
    write_group(root / "sys" / "fs" / "cgroup" / folder, names, limit=10_000, used=4_300)
    assert read_free_bytes(root) == 6_000


def test_a_control_group_that_is_full_has_nothing_left(tmp_path: Path) -> None:
    """Less than nothing is nothing."""
    write_group(tmp_path / "sys" / "fs" / "cgroup", VERSION_2, limit=10_000, used=10_500)
    assert read_free_bytes(write_root(tmp_path, MEMINFO, None)) == 0


@pytest.mark.parametrize("feature", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_processor_with_any_of_the_features_has_bfloat16(feature: str) -> None:
    """x86 and ARM have their own names for it; one that is there but False is not there."""
    assert has_bfloat16({"avx2": True, feature: True})
    assert not has_bfloat16({"avx2": True, feature: False})


def test_the_processor_of_this_machine_is_looked_at() -> None:
    """What is said is what torch says."""
    machine = inspect_machine("cpu")
    assert machine.device == torch.device("cpu")
    assert machine.threads == torch.get_num_threads()
    assert (machine.free_bytes is None) is (read_free_bytes(Path("/")) is None)
    if hasattr(torch.cpu, "get_capabilities"):
        assert machine.has_bfloat16 is has_bfloat16(torch.cpu.get_capabilities())
    else:
        assert machine.has_bfloat16 is None


def test_a_device_that_is_not_there_is_refused() -> None:
    """A GPU that torch does not see is named."""
    with pytest.raises(ConfigurationError, match="cuda:99"):
        inspect_machine("cuda:99")
