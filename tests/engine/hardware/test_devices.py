"""Device choices, as pure functions."""

import pytest
import torch

from gemma4_block.engine.hardware.devices import choose_devices, choose_freest
from gemma4_block.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "has_cuda", "expected"),
    [
        ("auto", True, ["cuda"]),
        ("auto", False, ["cpu"]),
        ("cpu", True, ["cpu"]),
        ("cuda:1", True, ["cuda:1"]),
        ("cuda:0,cuda:1", True, ["cuda:0", "cuda:1"]),
        ("cuda:1, cuda:0", True, ["cuda:1", "cuda:0"]),
        ("cuda:1,cuda:1", True, ["cuda:1"]),
    ],
)
def test_devices_are_what_was_asked_or_the_gpu(name: str, *, has_cuda: bool, expected: list[str]) -> None:
    """`auto` prefers CUDA; names are taken at their word, and each counts once."""
    chosen = choose_devices(name, has_cuda=has_cuda, cuda_count=2 * has_cuda)
    assert expected == [str(device) for device in chosen]


@pytest.mark.parametrize(
    ("name", "has_cuda"),
    [
        ("cuda", False),
        ("cuda:2", True),
        ("mps", False),
        ("gpu", True),
        ("cuda:0,cuda:2", True),
        ("cuda:0,cpu", True),
        ("auto,cuda:1", True),
        ("cuda:0,", True),
    ],
)
def test_a_device_that_is_not_there_is_refused(name: str, *, has_cuda: bool) -> None:
    """The message names the device; several are GPUs with a number each."""
    with pytest.raises(ConfigurationError, match=name.rpartition(",")[2] or name):
        choose_devices(name, has_cuda=has_cuda, cuda_count=2 * has_cuda)


@pytest.mark.parametrize(
    ("free", "expected"),
    [((1, 2), "cuda:1"), ((2, 2), "cuda:0"), ((None, 1), "cuda:1"), ((None, 0), "cuda:0")],
)
def test_of_several_the_one_with_most_free_memory_is_chosen(
    free: tuple[int | None, int | None], expected: str
) -> None:
    """The first of equals; one of which nobody knows is chosen last."""
    devices = [torch.device("cuda:0"), torch.device("cuda:1")]
    assert str(choose_freest(devices, free)) == expected
