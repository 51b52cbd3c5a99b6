"""What waits for an answer is counted over all callers, and more than is allowed is refused."""

import pytest

from gemma4_block.errors import ConfigurationError, EngineBusyError
from gemma4_block.waiting import WaitingRoom


@pytest.fixture
def room() -> WaitingRoom:
    """An empty one."""
    return WaitingRoom("prompts", max_count_setting="MAX_COUNT", max_bytes_setting="MAX_BYTES")


def test_what_has_left_does_not_count(room: WaitingRoom) -> None:
    """Whether it was answered or failed."""
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), room.wait(2, 10, max_count=2, max_bytes=10):
            raise ZeroDivisionError


@pytest.mark.parametrize(
    ("count", "nbytes", "message"),
    [
        pytest.param(2, 0, "2 prompts wait already; 3 may on this machine", id="number"),
        pytest.param(0, 5, "6 bytes of prompts wait already; 10 may on this machine", id="bytes"),
    ],
)
def test_more_than_may_wait_is_refused_as_busy(
    room: WaitingRoom, count: int, nbytes: int, message: str
) -> None:
    """The same can be asked later, and what was refused is not counted."""
    with room.wait(2, 6, max_count=3, max_bytes=10):
        with (
            pytest.raises(EngineBusyError, match=message),
            room.wait(count, nbytes, max_count=3, max_bytes=10),
        ):
            pass
        with room.wait(1, 4, max_count=3, max_bytes=10):
            pass


@pytest.mark.parametrize(
    ("count", "nbytes", "message"),
    [
        pytest.param(4, 0, "4 prompts come at once; 3 may wait .* or raise MAX_COUNT", id="number"),
        pytest.param(
            1, 11, "11 bytes of prompts come at once; 10 may wait .* or raise MAX_BYTES", id="bytes"
        ),
    ],
)
def test_what_could_never_wait_is_refused_for_good(
    room: WaitingRoom, count: int, nbytes: int, message: str
) -> None:
    """To ask again later would not help."""
    with (
        pytest.raises(ConfigurationError, match=message),
        room.wait(count, nbytes, max_count=3, max_bytes=10),
    ):
        pass


def test_without_a_limit_any_number_waits(room: WaitingRoom) -> None:
    """A program's own calls are its own to count."""
    with room.wait(10**9, 10**12, max_count=None, max_bytes=None):
        pass
