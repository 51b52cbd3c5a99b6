"""Damage the demo checkpoint in every way of the table, and print which are not met.

A damage is met where loading refuses it by file and key, or where answers stay as they were.

Run it with `python -m tests.engine.loading.sweep [WORDS]`, where WORDS are part of a damage's name. It takes
about ten minutes on one core.
"""

import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from peft import LoraConfig, get_peft_model

from gemma4_block.contract import Answer, GenerationConfig, Prompt
from gemma4_block.demo.scenes import draw_scene
from gemma4_block.engine.compat import Gemma4HF
from gemma4_block.engine.loading import LoadOptions, load_checkpoint
from gemma4_block.errors import CheckpointError, PromptError
from tests.engine.conftest import DEMO_CHECKPOINT
from tests.engine.loading.damage import Damage, list_adapter_damages, list_damages

# Only the language model: the towers' linears are wrapped and PEFT cannot adapt them.
_TARGETS = r".*language_model.*\.(q_proj|up_proj)"
OPTIONS = LoadOptions(device=torch.device("cpu"), dtype="float32")


def ask(directory: Path) -> list[Answer | PromptError]:
    """Return what a checkpoint says about a picture, with and without a system prompt."""
    picture = draw_scene(np.random.default_rng(4), shape_count=3).image
    model = Gemma4HF(load_checkpoint(directory, OPTIONS))
    try:
        prompts = [Prompt(text="Describe the image.", images=(picture,), system=one) for one in ("Hi", None)]
        return model.answer(prompts, GenerationConfig(max_new_tokens=12))
    finally:
        model.engine.close()


def save_adapter(directory: Path) -> Path:
    """Write an adapter that changes answers beside a copy of the demo, and return its directory."""
    base = load_checkpoint(DEMO_CHECKPOINT, OPTIONS).model.module
    torch.manual_seed(0)
    adapted = get_peft_model(base, LoraConfig(r=4, target_modules=_TARGETS))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=8)
    adapted.save_pretrained(directory)
    shutil.copytree(DEMO_CHECKPOINT, directory / "base")
    return directory


def judge(source: Path, damage: Damage, folder: Path, expected: list[Answer | PromptError]) -> str:
    """Return why a damage of a copy is not met; empty where it is."""
    directory = folder / "checkpoint"
    shutil.copytree(source, directory)
    damage.apply(directory)
    try:
        found = ask(directory)
    except CheckpointError as error:
        words = str(error)
        # A size that does not fit is told by the tensor that has another.
        is_size = damage.keys and damage.file == "config.json"
        keys = (*damage.keys, "'model.") if is_size else damage.keys
        is_named = damage.file in words and (not keys or any(key in words for key in keys))
        return "" if is_named else f"not named: {words}"
    return "" if found == expected else f"answers differ: {found}"


def _sweep(source: Path, damages: list[Damage], words: str) -> None:
    expected = ask(source)
    met: Counter[str] = Counter()
    for damage in damages:
        if words not in damage.name:
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                problem = judge(source, damage, Path(folder), expected)
            except Exception as error:  # noqa: BLE001 - what is looked for
                problem = f"{type(error).__name__}: {error}"
        met["met" if not problem else "not met"] += 1
        if problem:
            print(f"{damage.name}: {problem[:300]}", flush=True)  # noqa: T201
    print(source, dict(met))  # noqa: T201


def _main(words: str) -> None:
    _sweep(DEMO_CHECKPOINT, list_damages(DEMO_CHECKPOINT), words)
    with tempfile.TemporaryDirectory() as folder:
        adapter = save_adapter(Path(folder) / "adapter")
        _sweep(adapter, list_adapter_damages(adapter), words)


if __name__ == "__main__":
    _main(sys.argv[1] if len(sys.argv) > 1 else "")
