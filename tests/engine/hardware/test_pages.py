"""Pages of weights that nobody needs any more are given back, and nothing else is."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gemma4_block.engine.hardware import give_back_pages

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def resident_bytes(path: Path) -> int:
    """Return how much of a mapped file counts as resident."""
    size, is_ours = 0, False
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8").splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            is_ours = line.endswith(str(path))
        elif is_ours and words[0] == "Rss:":
            size += 1024 * int(words[1])
    return size


def test_what_is_read_from_a_file_is_given_back(tmp_path: Path) -> None:
    """As safetensors maps it, of which torch's storage does not know the file; the values stay readable."""
    path = tmp_path / "weights.safetensors"
    written = torch.rand(1024, 1024)
    save_file({"weight": written}, path)
    weight = load_file(path)["weight"]
    assert torch.equal(weight, written)
    assert resident_bytes(path) >= weight.nbytes
    give_back_pages(weight)
    assert resident_bytes(path) < 0.1 * weight.nbytes
    assert torch.equal(weight, written)


def test_memory_that_is_no_files_stays() -> None:
    """It would be zeroes."""
    weight = torch.rand(1024, 1024)
    before = weight.clone()
    give_back_pages(weight)
    assert torch.equal(weight, before)
