"""Keep unmerged adapters beside one base, and choose for each row of a pass which of them it uses."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import nn

from gemma4_block.engine.adapter_tag import AdapterTag
from gemma4_block.engine.gemma4 import unpack_weights
from gemma4_block.engine.loading.adapter_fit import OF_LORA, Adapter, read_adapter
from gemma4_block.engine.loading.naming import naming

if TYPE_CHECKING:
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer
    from peft.utils.other import ModulesToSaveWrapper

# How peft calls the rows of a mixed batch that no adapter changes.
_BASE: Final = "__base__"

_NUMBERS: Final = count()


class AdapterBank:
    """The adapters of one loaded base.

    `fetch` may be called from any thread; all else must not overlap with a pass of the model.

    Args:
        module: The model, whose layers are replaced by those of peft when the first adapter is added.
        base: Where its weights are.

    """

    def __init__(self, module: nn.Module, base: Path) -> None:
        self._module = module
        self._base = base
        self._peft: PeftModel | None = None
        self._layers: list[LoraLayer] = []
        self._copies: list[ModulesToSaveWrapper] = []
        self._active: str | None = None
        self._nbytes: dict[str, int] = {}

    @property
    def nbytes(self) -> int:
        """Size of all adapters in memory."""
        return sum(list(self._nbytes.values()))

    def measure(self, name: str) -> int:
        """Return the size of an adapter in memory; 0 once it is removed."""
        return self._nbytes.get(name, 0)

    def check(self, directory: Path) -> Adapter:
        """Return an adapter that fits this base; see `read_adapter`."""
        return read_adapter(directory, self._base)

    def fetch(self, adapter: Adapter) -> dict[str, torch.Tensor]:
        """Read the tensors of an adapter, in the precision of the base and on its device.

        Args:
            adapter: One that fits.

        Returns:
            By their names in the file.

        Raises:
            CheckpointError: The file is damaged.

        """
        from peft.utils import load_peft_weights

        like = next(one for one in self._module.parameters() if one.is_floating_point())
        with naming(adapter.files.weights):
            tensors = load_peft_weights(str(adapter.files.directory), device="cpu")
        # Copied, because what was read is the file itself, and a file may be written anew while it is used.
        return {name: tensor.to(like.device, like.dtype, copy=True) for name, tensor in tensors.items()}

    def add(self, adapter: Adapter, tensors: Mapping[str, torch.Tensor], *, sees_as_base: bool) -> AdapterTag:
        """Put an adapter beside the others; where that fails, nothing of it is used.

        Args:
            adapter: One that fits.
            tensors: Its own.
            sees_as_base: Whether its images are brought to the same size as those of the base.

        Returns:
            What it is chosen by.

        Raises:
            CheckpointError: peft cannot put it on.

        """
        name = f"adapter-{next(_NUMBERS)}"
        try:
            with naming(adapter.files.weights, adapter.files.config):
                self._put_on(name, adapter, tensors)
        except BaseException:
            self.remove(name)
            raise
        finally:
            self._learn_layers()
        self._nbytes[name] = sum(tensor.nbytes for tensor in tensors.values())
        return AdapterTag(
            name=name,
            shares_passes=adapter.is_per_row,
            sees_as_base=sees_as_base and not adapter.changes_vision,
        )

    def remove(self, name: str) -> None:
        """Drop an adapter that no pass uses any more."""
        self._activate(None)
        if self._peft is not None and name in self._peft.peft_config:
            if len(self._peft.peft_config) > 1:
                self._peft.delete_adapter(name)
            else:
                # Without adapters the layers of peft would only take time.
                self._peft.unload()
                self._peft = None
            self._learn_layers()
        self._nbytes.pop(name, None)

    @contextmanager
    def rows(self, names: Sequence[str | None]) -> Iterator[None]:
        """Let the passes inside use an adapter for each row.

        Args:
            names: Of adapters, None for the base. Where they differ, each must share passes.

        Yields:
            Nothing.

        """
        wanted = set(names)
        if len(wanted) <= 1:
            self._activate(next(iter(wanted), None))
            yield
            return
        self._activate(None)
        labels = [_BASE if name is None else name for name in names]
        hooks = [
            layer.register_forward_pre_hook(partial(_label_rows, labels), with_kwargs=True)
            for layer in self._layers
            if isinstance(layer, nn.Module) and wanted & layer.lora_A.keys()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _put_on(self, name: str, adapter: Adapter, tensors: Mapping[str, torch.Tensor]) -> None:
        from peft import PeftModel

        config = deepcopy(adapter.config)
        if config.use_dora:
            # It measures the base's weights.
            unpack_weights(self._module)
        options = {"low_cpu_mem_usage": True, "autocast_adapter_dtype": False}
        with torch.inference_mode(mode=False), warnings.catch_warnings():
            # Of a config that is beside another one already, and of tied weights, which are refused before.
            warnings.simplefilter("ignore")
            if self._peft is None:
                self._peft = PeftModel(self._module, config, adapter_name=name, **options)
            else:
                self._peft.add_adapter(name, config, **options)
            self._fill(self._peft, name, tensors)
        self._module.eval()

    def _fill(self, adapted: "PeftModel", name: str, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put tensors in their places; peft would first ask all layers for theirs.

        4-bit layers that bitsandbytes has packed for a CPU are unpacked by that, and not to what they were.
        """
        from peft.utils.other import ModulesToSaveWrapper

        copies = [path for path, one in adapted.named_modules() if isinstance(one, ModulesToSaveWrapper)]
        placed = {_find_place(one, name, copies): tensor for one, tensor in tensors.items()}
        report = adapted.load_state_dict(placed, strict=False, assign=True)
        assert not report.unexpected_keys, report.unexpected_keys

    def _learn_layers(self) -> None:
        """Look up which layers adapters change, and switch all adapters off."""
        from peft.tuners.lora import LoraLayer
        from peft.utils.other import ModulesToSaveWrapper

        modules = list(self._module.modules())
        self._layers = [one for one in modules if isinstance(one, LoraLayer)]
        self._copies = [one for one in modules if isinstance(one, ModulesToSaveWrapper)]
        self._switch(None)

    def _activate(self, name: str | None) -> None:
        if name != self._active:
            self._switch(name)

    def _switch(self, name: str | None) -> None:
        for layer in self._layers:
            layer.set_adapter([] if name is None else [name], inference_mode=True)
        for copy in self._copies:
            known = [] if name is None or name not in copy.modules_to_save else [name]
            copy.set_adapter(known, inference_mode=True)
        self._active = name


def _find_place(tensor: str, adapter: str, copies: Sequence[str]) -> str:
    """Return where a tensor of an adapter's file belongs in the model of peft."""
    match = OF_LORA.search(tensor)
    if match is not None:
        return f"{tensor[: match.start()]}.lora_{match[1]}.{adapter}{match[2] or '.weight'}"
    copy = next(path for path in copies if tensor.startswith(f"{path}."))
    return f"{copy}.modules_to_save.{adapter}{tensor.removeprefix(copy)}"


def _label_rows(
    labels: list[str],
    _: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**kwargs, "adapter_names": labels}
