"""No schema takes a server down: what each costs is bounded, and by what is written in no schema."""

import json
import subprocess
import sys
from functools import lru_cache
from typing import Any

import pytest

from tests.json_schema.hostile import SCHEMAS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="processes are forked and limited")


@lru_cache
def _measured() -> dict[str, dict[str, Any]]:
    # A process without torch, so that it may fork and its memory says something.
    run = subprocess.run(
        [sys.executable, "-m", "tests.json_schema.hostile"], capture_output=True, text=True, check=True
    )
    found = map(json.loads, run.stdout.splitlines())
    return {one["name"]: one for one in found}


@pytest.mark.parametrize("name", [*SCHEMAS, "9000 levels"])
def test_a_hostile_schema_takes_two_seconds_and_200_mb_at_most(name: str) -> None:
    """Compiled in both ways, with 20 tokens held to it and an answer checked."""
    found = _measured()[name]

    assert not found["outcome"].startswith("killed")
    # Of the processor, so that a busy machine does not count.
    assert found["seconds"] < 2
    assert found["megabytes"] < 200


def test_the_schemas_are_no_longer_than_requests_may_send() -> None:
    """Otherwise their length would refuse them, and nothing be tested."""
    # A few are a little longer, which makes them no easier.
    assert max(len(json.dumps(schema)) for schema in SCHEMAS.values()) < 30_000
