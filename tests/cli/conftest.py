"""What the tests of commands share."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from transformers.utils.logging import disable_progress_bar

from gemma4_block.cli import app

CAUTION = (
    "gemma-4-demo knows drawn things only, and what it says about photographs is made up: take "
    "gemma-4-e2b-it or a larger one for those (gemma4-block pull gemma-4-e2b-it)."
)
"""What stderr says wherever the embedded model has answered."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended."""

    exit_code: object
    stdout: str
    stderr: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """Run the command line in this process."""
    # A command hides these bars before transformers is imported; here another test may have imported it.
    disable_progress_bar()

    def run_command(*arguments: str) -> Ended:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        captured = capsys.readouterr()
        return Ended(exit_code=ended.value.code, stdout=captured.out, stderr=captured.err)

    return run_command
