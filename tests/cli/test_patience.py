"""The spinner is for what takes a while."""

import io
import time

import pytest

from gemma4_block.cli.patience import spinner


@pytest.mark.parametrize(("after_s", "is_shown"), [(0.0, True), (60.0, False)], ids=["slow", "quick"])
def test_it_appears_after_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
    after_s: float,
    is_shown: bool,  # noqa: FBT001 - a case
) -> None:
    """On a terminal; what ends before that writes nothing."""
    terminal = io.StringIO()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("FORCE_COLOR", "1")
    with spinner("Loading ...", after_s=after_s):
        time.sleep(0.5)

    assert ("Loading ..." in terminal.getvalue()) is is_shown
