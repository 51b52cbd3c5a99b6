"""What a model finds on a machine."""

import sys
from pathlib import Path

import psutil
import pytest
import torch

from gemma4_block.engine.hardware.machine import (
    find_free_bytes,
    has_bfloat16,
    inspect_machine,
    read_available_bytes,
)
from gemma4_block.errors import ConfigurationError

AVAILABLE_BYTES = 2_048_000
# All that psutil reads of it.
MEMINFO = """\
MemTotal: 24683656 kB
MemFree: 1000 kB
MemAvailable: 2000 kB
Buffers: 100 kB
Cached: 900 kB
Active: 500 kB
Inactive: 500 kB
Shmem: 10 kB
"""


@pytest.mark.parametrize(
    ("available_bytes", "limit", "free_bytes"),
    [
        pytest.param(AVAILABLE_BYTES, None, 2_048_000, id="no container"),
        pytest.param(AVAILABLE_BYTES, "max\n", 2_048_000, id="a container without a limit"),
        pytest.param(AVAILABLE_BYTES, "1000000\n", 1_000_000, id="a container with less"),
        pytest.param(
            AVAILABLE_BYTES, "9000000\n", 2_048_000, id="a container that may have more than there is"
        ),
        pytest.param(0, "1000000\n", 0, id="nothing"),
        pytest.param(None, "1000000\n", None, id="nobody can tell"),
    ],
)
def test_free_memory_is_what_a_program_can_still_take(
    tmp_path: Path, available_bytes: int | None, limit: str | None, free_bytes: int | None
) -> None:
    """It is what the system calls available, within the limit of a container; None is not 0."""
    if limit is not None:
        (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
        (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text(limit)
    assert find_free_bytes(available_bytes, tmp_path) == free_bytes


@pytest.mark.skipif(sys.platform != "linux", reason="Elsewhere the system is not asked through files.")
@pytest.mark.parametrize(
    ("meminfo", "available_bytes"),
    [
        pytest.param(MEMINFO, 2_048_000, id="said"),
        pytest.param("MemTotal: much\n", None, id="nonsense"),
        pytest.param("", None, id="empty"),
        pytest.param(None, None, id="no such file"),
    ],
)
def test_available_is_what_the_kernel_calls_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meminfo: str | None, available_bytes: int | None
) -> None:
    """It is more than what is free, as files in memory can be dropped; where nobody can tell, it is None."""
    monkeypatch.setattr(psutil, "PROCFS_PATH", str(tmp_path))
    if meminfo is not None:
        (tmp_path / "meminfo").write_text(meminfo)
    assert read_available_bytes() == available_bytes


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
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(f"5:cpu:/elsewhere\n{line}\n")
    write_group(tmp_path / "sys" / "fs" / "cgroup" / folder, names, limit=10_000, used=4_300)
    assert find_free_bytes(AVAILABLE_BYTES, tmp_path) == 6_000


def test_a_control_group_that_is_full_has_nothing_left(tmp_path: Path) -> None:
    """Less than nothing is nothing."""
    write_group(tmp_path / "sys" / "fs" / "cgroup", VERSION_2, limit=10_000, used=10_500)
    assert find_free_bytes(AVAILABLE_BYTES, tmp_path) == 0


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
    assert machine.free_bytes is not None
    assert 0 < machine.free_bytes <= psutil.virtual_memory().total
    if hasattr(torch.cpu, "get_capabilities"):
        assert machine.has_bfloat16 is has_bfloat16(torch.cpu.get_capabilities())
    else:
        assert machine.has_bfloat16 is None


def test_a_device_that_is_not_there_is_refused() -> None:
    """A GPU that torch does not see is named."""
    with pytest.raises(ConfigurationError, match="cuda:99"):
        inspect_machine("cuda:99")
