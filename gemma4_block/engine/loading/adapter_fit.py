"""Say whether an adapter fits a base, from their files alone, before memory is taken for either."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final

import torch
from cachetools import LRUCache
from torch import nn
from transformers import AutoModelForMultimodalLM

from gemma4_block.engine.gemma4 import changes_vision, find_table, is_per_row
from gemma4_block.engine.loading.adapter_files import AdapterFiles, find_adapter_files, read_adapter_shapes
from gemma4_block.engine.loading.adapter_rules import AdapterRules
from gemma4_block.engine.loading.checked_json import check_json
from gemma4_block.engine.loading.config import load_config
from gemma4_block.engine.loading.naming import naming
from gemma4_block.engine.loading.weights import ONE_LOADS
from gemma4_block.errors import CheckpointError

if TYPE_CHECKING:
    from peft import LoraConfig

# Which peft can put a LoRA on. Source: dispatch_default in peft/tuners/lora/layer.py of peft 0.21.2.
_ADAPTABLE: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_REMEMBERED: Final = 32
# How peft names the tensors of a module in its file.
_PREFIX: Final = "base_model.model."
OF_LORA: Final = re.compile(r"\.lora_(A|B|magnitude_vector)(\..*)?$")
_RANK_AXIS: Final = {"A": 0, "B": 1}


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Adapter:
    """An adapter that fits its base.

    Attributes:
        files: Of the adapter.
        config: How peft puts it on; its `target_modules` are whole names.
        changes_vision: Whether images look otherwise to it than to the base.
        is_per_row: Whether it can be used for some rows of a pass and not for others.
        elements: How many numbers it has.

    """

    files: AdapterFiles
    config: "LoraConfig"
    changes_vision: bool
    is_per_row: bool
    elements: int


_FOUND: Final[LRUCache[tuple[AdapterFiles, Path], Adapter]] = LRUCache(_REMEMBERED)
# For a look that takes no time, and for finding out.
_LOOKING, _READING = Lock(), Lock()


def read_adapter(directory: Path, base: Path) -> Adapter:
    """Return an adapter that fits a base; what was found out about files is remembered until they change.

    Args:
        directory: Of the adapter.
        base: Of the weights.

    Returns:
        The adapter.

    Raises:
        CheckpointError: A file is missing or damaged, this engine does not run such an adapter, or it was
            trained on another base; the first tensor that does not fit is named.

    """
    files = find_adapter_files(directory)
    found = _look_up(files, base)
    if found is None:
        # Many may ask for an adapter that is new; the first finds out for all of them.
        with _READING:
            found = _look_up(files, base)
            if found is None:
                found = _read(files, base)
                with _LOOKING:
                    _FOUND[files, base] = found
    return found


def _look_up(files: AdapterFiles, base: Path) -> Adapter | None:
    with _LOOKING:
        return _FOUND.get((files, base))


def _read(files: AdapterFiles, base: Path) -> Adapter:
    from peft import LoraConfig

    rules = check_json(files.config, AdapterRules)
    held = read_adapter_shapes(files)
    with naming(files.config):
        config = LoraConfig.from_pretrained(str(files.directory))
    model = _build_without_weights(base)
    config.target_modules = _find_targets(files, config, model, base)
    # What is left of these chose the names, or would draw first values, which the file overwrites.
    config.exclude_modules = config.layers_to_transform = config.layers_pattern = None
    config.init_lora_weights, config.inference_mode, config.bias = True, True, "none"
    expected = _list_expected(files, config, model)
    _compare(files, base, held, expected)
    touched = {_module_of(name) for name in expected}
    return Adapter(
        files=files,
        config=config,
        changes_vision=changes_vision(touched),
        is_per_row=is_per_row(touched) and not rules.use_dora,
        elements=sum(map(math.prod, held.values())),
    )


def _build_without_weights(base: Path) -> nn.Module:
    config = load_config(base, trust_remote_code=False)
    with ONE_LOADS, naming(base / "config.json"), torch.device("meta"):
        model: nn.Module = AutoModelForMultimodalLM.from_config(config)
    return model


def _find_targets(files: AdapterFiles, config: "LoraConfig", model: nn.Module, base: Path) -> list[str]:
    """Return the whole names of the modules that `target_modules` means.

    Plain names such as `q_proj` also mean the layers of the towers that clip, which peft cannot adapt; they
    are left out, and the linear layers inside of them have names of their own.
    """
    from peft.tuners.tuners_utils import check_target_module_exists

    with naming(files.config, key="target_modules"):
        meant = {name: one for name, one in model.named_modules() if check_target_module_exists(config, name)}
    table = find_table([*meant, *(config.modules_to_save or ())])
    if table is not None:
        raise CheckpointError(
            f"{files.config} adapts {table!r}, a table of the whole vocabulary, which this engine does not "
            "run. Leave it out of target_modules and modules_to_save."
        )
    targets = sorted(name for name, one in meant.items() if isinstance(one, _ADAPTABLE))
    if not targets:
        why = "only layers that clip, whose linear layers are meant by q_proj.linear" if meant else "nothing"
        raise CheckpointError(
            f"{files.config} says target_modules {config.target_modules!r}, which means {why} in {base}. "
            "Name linear layers of this base."
        )
    return targets


def _list_expected(files: AdapterFiles, config: "LoraConfig", model: nn.Module) -> dict[str, tuple[int, ...]]:
    from peft import PeftModel, get_peft_model_state_dict

    with naming(files.config), torch.device("meta"):
        tensors = get_peft_model_state_dict(PeftModel(model, config), save_embedding_layers=False)
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def _compare(
    files: AdapterFiles,
    base: Path,
    held: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
) -> None:
    """Refuse the first tensor that does not fit."""
    for name in sorted({*held, *expected}):
        if held.get(name) != expected.get(name):
            raise CheckpointError(
                f"The adapter {files.weights} does not fit its base {base}: "
                f"{_describe(files, name, held.get(name), expected.get(name))}"
            )


def _describe(
    files: AdapterFiles, name: str, held: tuple[int, ...] | None, expected: tuple[int, ...] | None
) -> str:
    if held is None:
        return (
            f"it lacks {name!r} {expected}, which target_modules or modules_to_save of {files.config.name} "
            "ask for. Save the adapter again, or use the base that it was trained on."
        )
    match = OF_LORA.search(name)
    if expected is None:
        if name.endswith(".bias") and match is None:
            return (
                f"{name!r} is a bias of the base, which the base's other adapters share. Train with bias "
                "'none', or merge the adapter into its base."
            )
        return (
            f"{name!r} {held} has no place there. It was trained on another base, or on a layer that clips: "
            "of those, target the linear layer inside, as in q_proj.linear."
        )
    axis = None if match is None else _RANK_AXIS.get(match[1])
    if axis is not None and _is_rank_alone(held, expected, axis):
        return (
            f"{name!r} has rank {held[axis]} where r and rank_pattern of {files.config.name} say "
            f"{expected[axis]}. Use the file that was saved with the weights."
        )
    return f"{name!r} is {held} where {expected} is asked for. It was trained on another base."


def _is_rank_alone(held: tuple[int, ...], expected: tuple[int, ...], axis: int) -> bool:
    """Say whether two shapes differ in one axis and in no other."""
    differing = [place for place, pair in enumerate(zip(held, expected, strict=False)) if pair[0] != pair[1]]
    return len(held) == len(expected) and differing == [axis]


def _module_of(tensor: str) -> str:
    """Return the name of the module that a tensor of an adapter's file belongs to."""
    name = tensor.removeprefix(_PREFIX)
    return OF_LORA.sub("", name) if OF_LORA.search(name) else name.rpartition(".")[0]
