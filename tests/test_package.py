"""What the package is made of, and what the host reads from it."""

import re
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

import gemma4_block

ROOT = Path(__file__).parents[1]
PYPROJECT = ROOT / "pyproject.toml"


@pytest.fixture(scope="module")
def wheel_paths() -> set[str]:
    """List what the build tool would put into the wheel."""
    return {file.distribution_path for file in WheelBuilder(str(ROOT)).recurse_included_files()}


def test_the_version_is_that_of_the_distribution() -> None:
    """The two places that name the version agree."""
    text = PYPROJECT.read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.+)"$', text, re.MULTILINE) == [gemma4_block.__version__]


def test_the_provider_is_registered_as_a_function() -> None:
    """The host calls it when it builds a block; before that no engine is imported."""
    assert list(gemma4_block.REGISTERED_INITIALIZERS) == ["engine_provider"]
    provider = gemma4_block.REGISTERED_INITIALIZERS["engine_provider"]()
    assert provider is gemma4_block.REGISTERED_INITIALIZERS["engine_provider"]()


def test_the_wheel_brings_what_the_package_reads(wheel_paths: set[str]) -> None:
    """The small model, its adapters, the detector, the examples and the marker of types come along."""
    assert wheel_paths >= {
        "gemma4_block/cli/__init__.py",
        "gemma4_block/demo/adapters/codes/adapter_config.json",
        "gemma4_block/demo/adapters/codes/adapter_model.safetensors",
        "gemma4_block/demo/adapters/dutch/adapter_config.json",
        "gemma4_block/demo/adapters/dutch/adapter_model.safetensors",
        "gemma4_block/demo/checkpoint/chat_template.jinja",
        "gemma4_block/demo/checkpoint/config.json",
        "gemma4_block/demo/checkpoint/generation_config.json",
        "gemma4_block/demo/checkpoint/model.safetensors",
        "gemma4_block/demo/checkpoint/model_config.json",
        "gemma4_block/demo/checkpoint/processor_config.json",
        "gemma4_block/demo/checkpoint/tokenizer.json",
        "gemma4_block/demo/checkpoint/tokenizer_config.json",
        "gemma4_block/demo/detector/class_names.txt",
        "gemma4_block/demo/detector/inference_config.json",
        "gemma4_block/demo/detector/model_config.json",
        "gemma4_block/demo/detector/weights.onnx",
        "gemma4_block/demo/scenes.py",
        "gemma4_block/py.typed",
    }
    examples = {f"gemma4_block/workflow_examples/{path.name}" for path in ROOT.glob("workflow_examples/*")}
    assert "gemma4_block/workflow_examples/ask_one_image.json" in examples
    assert wheel_paths >= examples


def test_the_wheel_leaves_the_developers_tools_out(wheel_paths: set[str]) -> None:
    """All modules are in it but for those that train and judge the demo model, and the tests."""
    modules = {path.relative_to(ROOT).as_posix() for path in ROOT.glob("gemma4_block/**/*.py")}
    tools = {path for path in modules if re.match(r"gemma4_block/demo/(evaluation|training)/", path)}
    assert {
        "gemma4_block/demo/evaluation/report.py",
        "gemma4_block/demo/training/learning/trainer.py",
    } <= tools
    examples = {f"gemma4_block/workflow_examples/{path.name}" for path in ROOT.glob("workflow_examples/*.py")}
    assert {path for path in wheel_paths if path.endswith(".py")} == (modules - tools) | examples
    assert [path for path in wheel_paths if "/evaluation/" in path or "/training/" in path] == []


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
