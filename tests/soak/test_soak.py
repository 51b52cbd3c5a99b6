"""The soak in short; `make soak` is the long one."""

from pathlib import Path

import pytest

from tests.soak.soak import soak


@pytest.mark.slow
def test_everything_at_once_is_answered_right_or_refused_as_documented(tmp_path: Path) -> None:
    """No answer is wrong or lost, no request hangs or breaks the server, and it keeps nothing of them."""
    outcome = soak(tmp_path, seconds=60, callers=16)
    assert outcome.find_faults() == [], outcome.describe()
