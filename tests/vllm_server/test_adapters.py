"""An adapter that vLLM cannot run is refused before the server is started."""

import json
from pathlib import Path

import pytest

from gemma4_block.errors import CheckpointError, ConfigurationError
from gemma4_block.vllm_server import Adapter, read_adapter


def test_an_adapter_is_read(tmp_path: Path) -> None:
    """Ids may have a slash."""
    (tmp_path / "adapter_config.json").write_text(json.dumps({"r": 12, "modules_to_save": None}))

    assert read_adapter(f"my-project/3={tmp_path}") == Adapter(
        name="my-project/3", directory=tmp_path, rank=12
    )


@pytest.mark.parametrize("given", ["plates", "=/models/plates", "plates="])
def test_an_adapter_has_a_name_and_a_directory(given: str) -> None:
    """As the option's help says."""
    with pytest.raises(ConfigurationError, match="Write NAME=DIRECTORY"):
        read_adapter(given)


@pytest.mark.parametrize(
    ("config", "words"),
    [
        pytest.param("{", "it is wrong", id="no JSON"),
        pytest.param("{}", "r is wrong", id="no rank"),
        pytest.param(
            '{"r": 8, "modules_to_save": ["lm_head"]}', "modules_to_save is wrong", id="whole modules"
        ),
        pytest.param('{"r": 8, "use_dora": true}', "use_dora or lora_bias", id="DoRA"),
        pytest.param('{"r": 8, "lora_bias": true}', "use_dora or lora_bias", id="bias"),
    ],
)
def test_what_vllm_does_not_run_is_refused(tmp_path: Path, config: str, words: str) -> None:
    """With the field."""
    (tmp_path / "adapter_config.json").write_text(config)
    with pytest.raises(CheckpointError, match=words):
        read_adapter(f"plates={tmp_path}")


def test_a_directory_without_an_adapter_is_refused(tmp_path: Path) -> None:
    """With its path."""
    with pytest.raises(CheckpointError, match=r"adapter_config.json cannot be read: No such file"):
        read_adapter(f"plates={tmp_path}")
