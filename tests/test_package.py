"""What the host reads from the package itself."""

import re
from pathlib import Path

import pytest

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


def test_every_public_name_is_listed_and_there() -> None:
    """`dir` shows what `__all__` promises, imported yet or not."""
    assert set(gemma4_block.__all__) <= set(dir(gemma4_block))
    assert all(hasattr(gemma4_block, name) for name in gemma4_block.__all__)


def test_gemma4_hf_is_one_class() -> None:
    """The package hands out the class itself, the same one every time."""
    assert gemma4_block.Gemma4HF.__name__ == "Gemma4HF"
    assert gemma4_block.Gemma4HF is gemma4_block.Gemma4HF


def test_an_unknown_name_is_refused_in_the_usual_words() -> None:
    """The host asks for names that a plugin may leave out, and needs the usual error."""
    with pytest.raises(AttributeError, match=r"^module 'gemma4_block' has no attribute 'Gemma5HF'$"):
        gemma4_block.Gemma5HF  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Gemma5HF'"):
        from gemma4_block import Gemma5HF  # noqa: F401
