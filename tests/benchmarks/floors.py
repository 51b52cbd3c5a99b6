"""The least time that a row can take on this machine, from the shapes of the checkpoint's own layers.

Matrices are multiplied at the measured rate, weights and keys are read once for each decode step at the
measured bandwidth, and nothing else takes time. Work that the answer does not depend on is left out: padded
patches, and at all positions of a prompt but the last the layers that keep no keys and values.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForMultimodalLM, AutoProcessor

from gemma4_block.contract import ImageSeqLength
from tests.benchmarks.contestants import process
from tests.benchmarks.machine import Machine
from tests.benchmarks.workloads import NEW_TOKENS, Step


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What the model reads of one question.

    Attributes:
        patches: Of its image, without padding.
        soft_tokens: What the image becomes.
        prefix: Tokens up to the end of the image.
        length: Tokens of the whole prompt.

    """

    patches: int
    soft_tokens: int
    prefix: int
    length: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Floor:
    """The least seconds of each stage.

    Attributes:
        vision: Images go through the tower.
        prefill: Prompts are read, and the first tokens are chosen.
        decode: All other tokens are written.

    """

    vision: float = 0.0
    prefill: float
    decode: float

    @property
    def total_s(self) -> float:
        """The sum."""
        return self.vision + self.prefill + self.decode


class Floors:
    """Floors for one checkpoint on one machine.

    Args:
        directory: A checkpoint with a dense text model.
        machine: How fast it is.

    """

    def __init__(self, directory: Path, machine: Machine) -> None:
        config = AutoConfig.from_pretrained(directory)
        # Shapes are all that matters, and weights on this device take no memory.
        with torch.device("meta"):
            model = AutoModelForMultimodalLM.from_config(config)
        self._model = model
        self._processor = AutoProcessor.from_pretrained(directory)
        self._machine = machine
        self._layers = [_Layer(layer, config.text_config) for layer in model.get_decoder().layers]
        self._common_weights = _count_weights(model.get_decoder()) - sum(one.weights for one in self._layers)
        self._head_weights: int = model.get_output_embeddings().weight.numel()
        self._item_bytes: int = getattr(torch, machine.dtype).itemsize

    def read(self, step: Step, budget: ImageSeqLength) -> list[Reading]:
        """Count what each question of a step makes the model read."""
        return [self._count(process(self._processor, image, text, budget)) for image, text in step]

    def of_step(self, step: Step, budget: ImageSeqLength) -> Floor:
        """Return the floor of questions about different images that are decoded together."""
        readings = self.read(step, budget)
        return Floor(
            vision=sum(self._see(one) for one in readings) / self._machine.gemm_flops,
            prefill=sum(self._read(0, one.length) for one in readings) / self._machine.gemm_flops,
            decode=self.of_decoding(readings, NEW_TOKENS),
        )

    def of_one_frame(self, steps: Sequence[Step], budget: ImageSeqLength) -> Floor:
        """Return the floor of questions about one image that are decoded together."""
        readings = [one for step in steps for one in self.read(step, budget)]
        suffixes = sum(self._read(one.prefix, one.length) for one in readings)
        return Floor(
            vision=self._see(readings[0]) / self._machine.gemm_flops,
            prefill=(self._read_prefix(readings[0].prefix) + suffixes) / self._machine.gemm_flops,
            decode=self.of_decoding(readings, NEW_TOKENS),
        )

    def of_known_frame(self, step: Step, budget: ImageSeqLength, new_tokens: int = NEW_TOKENS) -> Floor:
        """Return the floor of questions about images that were asked about before."""
        readings = self.read(step, budget)
        suffixes = sum(self._read(one.prefix, one.length) for one in readings)
        return Floor(
            prefill=suffixes / self._machine.gemm_flops, decode=self.of_decoding(readings, new_tokens)
        )

    def of_decoding(self, readings: Sequence[Reading], new_tokens: int) -> float:
        """Return the seconds of the steps after the first token, in which all questions take part."""
        return sum(self._decode([one.length + place for one in readings]) for place in range(1, new_tokens))

    def _decode(self, lengths: Sequence[int]) -> float:
        """Return the seconds of one step, in which each row looks back on so many positions."""
        weights = self._common_weights + self._head_weights + sum(layer.weights for layer in self._layers)
        kept = sum(layer.kept(length) for layer in self._layers for length in lengths)
        # Which of the two is faster depends on the machine.
        bandwidth = max(self._machine.read_bytes, self._machine.gemv_bytes)
        read_s = self._item_bytes * (weights + kept) / bandwidth
        attention = sum(layer.attention([length]) for layer in self._layers for length in lengths)
        return max(read_s, (2 * weights * len(lengths) + attention) / self._machine.gemm_flops)

    def _see(self, reading: Reading) -> float:
        tower = self._model.model.vision_tower
        weights = _count_weights(tower)
        hidden: int = self._model.config.vision_config.hidden_size
        layer_count: int = len(tower.encoder.layers)
        attention = 4 * reading.patches**2 * hidden * layer_count
        projection = _count_weights(self._model.model.embed_vision)
        return 2 * (reading.patches * weights + reading.soft_tokens * projection) + attention

    def _read(self, start: int, end: int) -> float:
        """Count the operations of reading a prompt from a position on, and choosing the first token."""
        last = sum(2 * layer.weights + layer.attention([end]) for layer in self._layers if not layer.keeps)
        return self._read_prefix(end, start) + last + 2 * self._head_weights

    def _read_prefix(self, end: int, start: int = 0) -> float:
        flops = 2.0 * self._common_weights * (end - start)
        for layer in self._layers:
            if layer.keeps:
                flops += 2 * layer.weights * (end - start) + layer.attention(range(start + 1, end + 1))
        return flops

    def _count(self, inputs: Any) -> Reading:  # noqa: ANN401
        is_image = inputs["input_ids"][0] == self._model.config.image_token_id
        # One more token ends the image.
        prefix = int(is_image.nonzero().max()) + 2
        return Reading(
            patches=int((inputs["image_position_ids"][..., 0] >= 0).sum()),
            soft_tokens=int(is_image.sum()),
            prefix=prefix,
            length=len(is_image),
        )


class _Layer:
    """Numbers of one text layer: weights of its products, and whether it keeps keys and values of its own."""

    def __init__(self, layer: Any, config: Any) -> None:  # noqa: ANN401
        attention = layer.self_attn
        self.weights = _count_weights(layer)
        self.keeps = getattr(attention, "k_proj", None) is not None
        self._query_size: int = attention.q_proj.out_features
        self._kept_size: int = 2 * attention.k_proj.out_features if self.keeps else 0
        is_sliding = config.layer_types[attention.layer_idx] == "sliding_attention"
        self._window: int = config.sliding_window if is_sliding else config.max_position_embeddings

    def attention(self, lengths: Iterable[int]) -> float:
        """Count the operations of queries that look back on so many positions each."""
        return 4.0 * self._query_size * sum(min(length, self._window) for length in lengths)

    def kept(self, length: int) -> int:
        """Count the numbers kept of so many positions, as far as the layer looks back."""
        return self._kept_size * min(length, self._window)


def _count_weights(module: torch.nn.Module) -> int:
    linears = (part for part in module.modules() if isinstance(part, torch.nn.Linear))
    return sum(linear.weight.numel() for linear in linears)
