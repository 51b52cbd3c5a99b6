"""`gemma4_block.register()` makes `AutoModel` of inference_models load Gemma 4 with this package's class.

Each test is a program of its own: the host reads the environment and fills its registry once in a process.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from gemma4_block.demo.scenes import draw_scene
from tests.engine.conftest import DEMO_CHECKPOINT

ROOT = Path(__file__).parents[2]
PYTHON_PAGE = ROOT / "docs" / "python.md"

_SEED = f"""
from pathlib import Path
from tests.python.seeded_cache import seed_package_cache
seed_package_cache("gemma-4-e2b-it", Path({str(DEMO_CHECKPOINT)!r}))
"""
_REGISTER = """
import gemma4_block
gemma4_block.register()
"""
# The examples of the documentation of inference_models, as they are written there but for the picture's path.
_BASIC_PROMPT = """
import cv2
from inference_models import AutoModel
model = AutoModel.from_pretrained(
    "gemma-4-e2b-it",
    backend="hugging-face",
)
image = cv2.imread("picture.png")
answers = model.prompt(
    images=image,
    prompt="What is in the picture?",
    max_new_tokens=256,
    do_sample=False,
)
print(answers[0])
"""
_SYSTEM_PROMPT = """
user = "What is in the picture?"
system = "Answer in French."
prompt = f"{user}<system_prompt>{system}"
answers = model.prompt(images=image, prompt=prompt, input_color_format="bgr")
print(answers[0])
"""
_SAY_CLASS = "print(f'{type(model).__module__}.{type(model).__name__}')\n"
_OURS = "gemma4_block.python.gemma4_hf.Gemma4HF"
_THEIRS = "inference_models.models.gemma4.gemma4_hf.Gemma4HF"


def run(code: str, folder: Path) -> list[str]:
    """Run a program offline, with a cache of its own and a picture beside it, and return what it prints."""
    picture = draw_scene(np.random.default_rng(0), shape_count=2).image
    cv2.imwrite(str(folder / "picture.png"), np.ascontiguousarray(picture[..., ::-1]))
    environment = {name: value for name, value in os.environ.items() if name != "WORKFLOWS_PLUGINS"}
    environment |= {
        # Whichever of the two the tests around this one have set.
        "INFERENCE_HOME": str(folder / "cache"),
        "MODEL_CACHE_DIR": str(folder / "cache"),
        "OFFLINE_MODE": "true",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.slow
def test_the_examples_of_the_documentation_run_by_id(tmp_path: Path) -> None:
    """A package of the cache is loaded by its id; the system prompt after the mark is obeyed."""
    code = _SEED + _REGISTER + _BASIC_PROMPT + _SYSTEM_PROMPT + _SAY_CLASS
    assert run(code, tmp_path) == ["1 blue star, 1 purple star.", "1 étoile bleue, 1 étoile violette.", _OURS]


@pytest.mark.slow
def test_without_the_call_nothing_of_the_host_changes(tmp_path: Path) -> None:
    """Importing the package, its blocks and its class leaves the host's registry as it is."""
    imports = "import gemma4_block\ngemma4_block.load_blocks()\ngemma4_block.Gemma4HF\n"
    load = _BASIC_PROMPT.partition("image = ")[0]
    assert run(_SEED + imports + load + _SAY_CLASS, tmp_path) == [_THEIRS]


@pytest.mark.slow
def test_a_local_package_is_loaded_with_its_options(tmp_path: Path) -> None:
    """model_config.json names the architecture; options reach the class, and unknown ones are refused."""
    code = f"""{_REGISTER}
from inference_models import AutoModel
directory = {str(DEMO_CHECKPOINT)!r}
gemma4_block.register()
model = AutoModel.from_pretrained(directory, gemma_image_seq_length=70, dtype="float32", device="cpu")
print(model.engine.checkpoint.model.module.dtype)
for options in ({{"gemma_image_seq_length": 71}}, {{"image_seq_length": 70}}):
    try:
        AutoModel.from_pretrained(directory, **options)
    except gemma4_block.errors.ConfigurationError as error:
        print(error)
"""
    dtype, budget, unknown = run(code, tmp_path)
    assert dtype == "torch.float32"
    assert "71" in budget
    assert "image_seq_length, which Gemma 4 does not have" in unknown


def test_registering_twice_and_early_costs_nothing(tmp_path: Path) -> None:
    """Neither a model's libraries nor the engine are imported, and one entry of the registry changes."""
    code = """
import sys
from inference_models.models.auto_loaders.models_registry import REGISTERED_MODELS
before = dict(REGISTERED_MODELS)
import gemma4_block
gemma4_block.register()
once = dict(REGISTERED_MODELS)
gemma4_block.register()
print(sorted({"transformers", "peft", "gemma4_block.python"} & set(sys.modules)))
print([key[:2] for key in before if before[key] is not REGISTERED_MODELS[key]])
print(once == dict(REGISTERED_MODELS))
"""
    assert run(code, tmp_path) == ["[]", "[('gemma-4', 'vlm')]", "True"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param([], "2. There are 2 backpacks.", id="demo"),
        pytest.param([str(DEMO_CHECKPOINT), "picture.png"], "0. There are no backpacks.", id="a picture"),
    ],
)
def test_the_script_of_the_documentation_counts(tmp_path: Path, arguments: list[str], expected: str) -> None:
    """`count_backpacks` runs as it is written, and with a package and a picture of one's own."""
    scripts = re.findall(r"```python\n(# count_backpacks.*?)```", PYTHON_PAGE.read_text("utf-8"), re.DOTALL)
    assert len(scripts) == 1
    for name in ("gemma4_block", "workflow_examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    start = f"import sys\nsys.argv = {['count_backpacks.py', *arguments]!r}\n"
    assert run(start + scripts[0], tmp_path) == [expected]
