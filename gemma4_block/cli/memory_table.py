"""The memory that every variant needs in every precision and with every budget, from configs alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from gemma4_block.catalogue import VARIANTS, Variant
from gemma4_block.contract import IMAGE_SEQ_LENGTHS, Quantization
from gemma4_block.errors import CheckpointError
from gemma4_block.settings import Dtype, Settings

if TYPE_CHECKING:
    from gemma4_block.engine.hardware import Machine

_PRECISIONS: Final[tuple[tuple[Dtype, Quantization], ...]] = (
    ("bfloat16", "nf4"),
    ("bfloat16", "int8"),
    ("bfloat16", "none"),
    ("float32", "none"),
)
_GB: Final = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class MemoryNeed:
    """What one model needs in one precision with one budget.

    Attributes:
        model_id: Of a variant.
        dtype: Of the weights that stay whole.
        quantization: `none`, `nf4` or, on a CPU, `int8`.
        image_seq_length: The visual token budget of its images.
        weights_bytes: Those that stay in memory.
        needed_bytes: All that it may take.
        fits: Whether so much is free, with nothing of it loaded; None where nobody knows what is free.

    """

    model_id: str
    dtype: Dtype
    quantization: Quantization
    image_seq_length: int
    weights_bytes: int
    needed_bytes: int
    fits: bool | None


def list_needs(machine: "Machine", settings: Settings) -> list[MemoryNeed]:
    """Return what each variant needs in each precision that it has, with each budget.

    Args:
        machine: Where it would work.
        settings: The operator's; batch size and caches are theirs.

    Returns:
        Smallest variants first, and of each the smallest precision; none of files that are damaged.

    """
    return [
        need
        for variant in VARIANTS
        for dtype, quantization in _PRECISIONS
        if quantization == "none" or not variant.why_whole
        if quantization != "int8" or machine.device.type == "cpu"
        for need in _list_budgets(variant, dtype, quantization, machine, settings)
    ]


def write_table(needs: Sequence[MemoryNeed], machine: "Machine") -> Iterator[str]:
    """Write the table for people.

    Args:
        needs: As they were listed.
        machine: What they were compared with.

    Yields:
        Its lines.

    """
    free = "an unknown amount" if machine.free_bytes is None else f"{machine.free_bytes / _GB:.2f} GB"
    yield f"Memory that a model may take on {machine.device}, in GB, by image_seq_length of its images;"
    yield f"* is more than is free, {free}. Batch size and caches are those of the settings."
    budgets = "".join(f"{budget:>9} " for budget in IMAGE_SEQ_LENGTHS)
    width = max(len(need.model_id) for need in needs)
    yield f"{'':{width}}  {'':8}  {'weights':>8}{budgets}".rstrip()
    rows: dict[tuple[str, Dtype, Quantization], list[MemoryNeed]] = {}
    for need in needs:
        rows.setdefault((need.model_id, need.dtype, need.quantization), []).append(need)
    for (model_id, dtype, quantization), row in rows.items():
        precision = {"nf4": "4 bits", "int8": "8 bits"}.get(quantization, dtype)
        cells = {need.image_seq_length: f"{need.needed_bytes / _GB:.2f}{_mark(need)}" for need in row}
        line = "".join(f"{cells.get(budget, '- '):>10}" for budget in IMAGE_SEQ_LENGTHS)
        yield f"{model_id:{width}}  {precision:8}  {row[0].weights_bytes / _GB:8.2f}{line}".rstrip()


def _mark(need: MemoryNeed) -> str:
    return "*" if need.fits is False else " "


def _list_budgets(
    variant: Variant, dtype: Dtype, quantization: Quantization, machine: "Machine", settings: Settings
) -> Iterator[MemoryNeed]:
    from gemma4_block.engine.footprint import find_published_files, forecast

    try:
        files = find_published_files(variant)
    except CheckpointError:
        # Its own line says so.
        return
    chosen = settings.model_copy(update={"dtype": dtype})
    for budget in files.shape.image_seq_lengths:
        footprint = forecast(
            files, machine=machine, settings=chosen, quantization=quantization, image_seq_length=budget
        ).footprint
        if footprint is None:
            return
        fits = None if machine.free_bytes is None else footprint.needed <= machine.free_bytes
        yield MemoryNeed(
            model_id=variant.model_id,
            dtype=dtype,
            quantization=quantization,
            image_seq_length=budget,
            weights_bytes=footprint.weights,
            needed_bytes=footprint.needed,
            fits=fits,
        )
