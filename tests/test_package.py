"""What the host reads from the package itself."""

import re
from pathlib import Path

import gemma4_block

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def test_the_version_is_that_of_the_distribution() -> None:
    """The two places that name the version agree."""
    text = PYPROJECT.read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.+)"$', text, re.MULTILINE) == [gemma4_block.__version__]


def test_the_provider_is_registered_as_a_function() -> None:
    """The host calls it when it builds a block; before that no engine is imported."""
    assert list(gemma4_block.REGISTERED_INITIALIZERS) == ["engine_provider"]
    provider = gemma4_block.REGISTERED_INITIALIZERS["engine_provider"]()
    assert provider is gemma4_block.REGISTERED_INITIALIZERS["engine_provider"]()
