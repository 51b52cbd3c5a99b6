"""Threads that spin while they wait: found, and told to a host once."""

import logging
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Lock

import pytest
import torch

import gemma4_block.demo
from gemma4_block.engine.compat.gemma4_hf import Gemma4HF
from gemma4_block.engine.hardware import threads
from gemma4_block.engine.hardware.threads import find_own_spinning, find_spinning
from gemma4_block.engine.pool.factory import load_engine
from gemma4_block.settings import Settings

DEMO_CHECKPOINT = Path(gemma4_block.demo.__file__).parent / "checkpoint"
CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("environment", "has_libgomp", "spins"),
    [
        pytest.param({}, True, True, id="nothing set"),
        pytest.param({"OMP_WAIT_POLICY": "PASSIVE"}, True, False, id="passive"),
        pytest.param({"OMP_WAIT_POLICY": " passive "}, True, False, id="OpenMP takes any case"),
        pytest.param({"OMP_WAIT_POLICY": "ACTIVE"}, True, True, id="active"),
        pytest.param({"OMP_WAIT_POLICY": ""}, True, True, id="empty"),
        pytest.param({"GOMP_SPINCOUNT": "0"}, True, False, id="no spins"),
        pytest.param({"GOMP_SPINCOUNT": "1000"}, True, True, id="some spins"),
        pytest.param({"KMP_BLOCKTIME": "0"}, False, False, id="what Intel's knows"),
        pytest.param({"KMP_BLOCKTIME": "0"}, True, True, id="what GNU's does not know"),
        pytest.param({"KMP_BLOCKTIME": "200"}, False, True, id="Intel's default"),
    ],
)
def test_threads_spin_unless_the_environment_says_otherwise(
    environment: dict[str, str],
    has_libgomp: bool,  # noqa: FBT001 - a case
    spins: bool,  # noqa: FBT001 - a case
) -> None:
    """Two threads are in each other's way; one has nobody to wait for."""
    message = find_spinning(environment, threads=2, has_libgomp=has_libgomp)
    assert (message is not None) is spins
    assert find_spinning(environment, threads=1, has_libgomp=has_libgomp) is None


def test_the_message_says_what_to_do() -> None:
    """It names the number of threads and both ways out."""
    message = find_spinning({}, threads=16, has_libgomp=True)
    assert message is not None
    assert "16 threads" in message
    assert "OMP_WAIT_POLICY=PASSIVE" in message
    assert "OMP_NUM_THREADS=1" in message


@pytest.fixture
def foreign_host(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process of two threads that set up nothing and was not warned yet."""
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(threads, "_WARNED", Lock())
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def load_for_blocks() -> None:
    """Load the demo as the blocks do."""
    load_engine(DEMO_CHECKPOINT, quantization="none", settings=Settings(device="cpu"))


def load_in_python() -> None:
    """Load the demo as users of the class do."""
    Gemma4HF.from_pretrained(DEMO_CHECKPOINT, device="cpu")


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log of a host says."""
    return [record.getMessage() for record in caplog.records if record.name == threads.__name__]


@pytest.mark.usefixtures("foreign_host")
@pytest.mark.parametrize("load", [load_for_blocks, load_in_python])
def test_a_host_whose_threads_spin_is_told_once(
    caplog: pytest.LogCaptureFixture, load: Callable[[], None]
) -> None:
    """The first model that is loaded says so in the log, and others do not say it again."""
    load()
    load_for_blocks()
    load_in_python()
    (message,) = warnings_of(caplog)
    assert "OMP_WAIT_POLICY=PASSIVE" in message
    assert caplog.records[0].levelno == logging.WARNING


@pytest.mark.usefixtures("foreign_host")
def test_a_host_whose_threads_wait_passively_is_told_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the operator has set up well is no news."""
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    load_for_blocks()
    assert warnings_of(caplog) == []


@pytest.mark.skipif(sys.platform != "linux", reason="torch brings GNU's OpenMP on Linux only")
@pytest.mark.usefixtures("foreign_host")
def test_the_openmp_of_this_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """What GNU's OpenMP does not read is no way out where torch works with it."""
    monkeypatch.setenv("KMP_BLOCKTIME", "0")
    assert find_own_spinning(CPU) is not None


@pytest.mark.usefixtures("foreign_host")
def test_threads_beside_a_gpu_are_no_matter() -> None:
    """A model on a GPU leaves the processor's threads idle."""
    assert find_own_spinning(CPU) is not None
    assert find_own_spinning(torch.device("cuda")) is None
