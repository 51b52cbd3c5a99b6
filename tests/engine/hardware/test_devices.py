"""Device choices, as pure functions."""

import pytest

from gemma4_block.engine.hardware.devices import choose_device
from gemma4_block.errors import ConfigurationError


@pytest.mark.parametrize(
    ("name", "has_cuda", "expected"),
    [("auto", True, "cuda"), ("auto", False, "cpu"), ("cpu", True, "cpu"), ("cuda:1", True, "cuda:1")],
)
def test_the_device_is_what_was_asked_or_the_gpu(name: str, *, has_cuda: bool, expected: str) -> None:
    """`auto` prefers CUDA; a name is taken at its word."""
    assert expected == str(choose_device(name, has_cuda=has_cuda, cuda_count=2 * has_cuda))


@pytest.mark.parametrize(
    ("name", "has_cuda"), [("cuda", False), ("cuda:2", True), ("mps", False), ("gpu", True)]
)
def test_a_device_that_is_not_there_is_refused(name: str, *, has_cuda: bool) -> None:
    """The message names the device."""
    with pytest.raises(ConfigurationError, match=name):
        choose_device(name, has_cuda=has_cuda, cuda_count=2 * has_cuda)
