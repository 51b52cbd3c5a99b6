"""4-bit weights that say they are on `cuda:0`, multiplied by what bitsandbytes has for processors.

bitsandbytes turns a tensor into one of its own class, which torch allows of plain tensors only. So its
weights have a stand-in here; layers, scales, which layers are converted and what a step calls are its own.
"""

from typing import Any

import torch
from bitsandbytes.functional import quantize_4bit
from bitsandbytes.nn import Linear4bit, Params4bit

from tests.pretend_cuda.device import PretendTensor


class PretendParams4bit(PretendTensor, Params4bit):  # type: ignore[misc]
    """Weights of a layer, whole or in 4 bits."""

    @staticmethod
    def __new__(  # noqa: PYI034 - Python 3.10
        cls: type["PretendParams4bit"],
        data: PretendTensor,
        **options: Any,  # noqa: ANN401 - of bitsandbytes
    ) -> "PretendParams4bit":
        """Wrap what another tensor holds, with the attributes that bitsandbytes gives its own."""
        made: PretendParams4bit = PretendTensor.__new__(cls, data.held)
        made.__dict__.update(vars(_make(Params4bit, None, **options)))
        return made

    def to(self, *_: object, **__: object) -> "PretendParams4bit":
        """Return the weights in 4 bits; they are on the device already."""
        if self.bnb_quantized:
            return self
        options = {name: getattr(self, name) for name in ("blocksize", "compress_statistics", "quant_type")}
        packed, state = quantize_4bit(PretendTensor(self.held), quant_storage=self.quant_storage, **options)
        return PretendParams4bit(packed, **options, quant_state=state, module=self.module, bnb_quantized=True)


_make = Params4bit.__new__


def _choose(
    cls: type[Params4bit],
    data: torch.Tensor | None = None,
    **options: Any,  # noqa: ANN401 - of bitsandbytes
) -> Params4bit:
    if cls is Params4bit and isinstance(data, PretendTensor):
        return PretendParams4bit(data, **options)
    made: Params4bit = _make(cls, data, **options)
    return made


def let_weights_pretend() -> None:
    """Make 4-bit weights of a tensor on the device pretend as well; for good."""
    Params4bit.__new__ = _choose


def list_layers(module: torch.nn.Module) -> dict[str, Linear4bit]:
    """Return the layers in 4 bits by their names."""
    return {name: one for name, one in module.named_modules() if isinstance(one, Linear4bit)}
