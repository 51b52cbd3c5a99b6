"""A request that is refused is one line of the log, and a defect is all of its traceback."""

import logging

import pytest
from inference.core.exceptions import InputImageLoadError
from roboflow_workflows.errors import ClientCausedStepExecutionError, StepExecutionError

from gemma4_block.blocks._host import errors_for_host
from gemma4_block.errors import CheckpointError, EngineError
from gemma4_block.hosting.logs import _Lines


def _log(error: Exception) -> str:
    """Return what is written where the host replies to an error."""
    with pytest.raises(Exception) as raised, errors_for_host("gemma"):  # noqa: PT011 - any
        raise error
    record = logging.LogRecord(
        "inference", logging.ERROR, "error_handlers.py", 1, "%s", ("it",), (raised.type, raised.value, None)
    )
    return _Lines("%(levelname)s %(name)s: %(message)s").format(record)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        pytest.param(
            CheckpointError("/srv/m/a lacks its config.\nFetch it."),
            "WARNING inference: Refused a request: CheckpointError: /srv/m/a lacks its config. Fetch it.",
            id="ours, with the folder that a client is not told",
        ),
        pytest.param(
            InputImageLoadError("no image", public_message="no image"),
            "WARNING inference: Refused a request: InputImageLoadError: no image",
            id="the host's",
        ),
        pytest.param(
            ClientCausedStepExecutionError(
                block_id="gemma", status_code=422, public_message="no", context="step"
            ),
            "WARNING inference: Refused a request: ClientCausedStepExecutionError: no",
            id="of a block of the host",
        ),
    ],
)
def test_a_refusal_is_a_line(error: Exception, line: str) -> None:
    """It says what was wrong, to the operator with the path."""
    assert _log(error) == line


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(EngineError("it broke"), id="ours"),
        pytest.param(
            StepExecutionError(
                block_id="s", block_type="t", public_message="it broke", context="step", inner_error=None
            ),
            id="the host's",
        ),
        pytest.param(ZeroDivisionError("it broke"), id="anything"),
    ],
)
def test_a_defect_is_logged_whole(error: Exception) -> None:
    """Somebody has to mend it."""
    written = _log(error)
    assert written.startswith("ERROR inference: it\n")
    assert "it broke" in written


def test_a_long_refusal_is_cut() -> None:
    """A request may hold megabytes that end in a message."""
    assert len(_log(CheckpointError("x" * 10_000))) < 1100
