"""Say what fits where a model does not: another precision of it, less at once, or a smaller variant."""

from collections.abc import Iterator
from dataclasses import replace

from gemma4_block.catalogue import VARIANTS, Variant, find_variant
from gemma4_block.contract import LocalModel, Quantization
from gemma4_block.engine.pool.placement import Refuse
from gemma4_block.errors import OutOfMemoryError
from gemma4_block.settings import Settings

_PRECISIONS: tuple[tuple[str, Quantization], ...] = (
    ("bfloat16", "none"),
    ("bfloat16", "int8"),
    ("bfloat16", "nf4"),
)


def explain_refusal(
    name: str, reference: LocalModel, settings: Settings, refusal: Refuse
) -> OutOfMemoryError:
    """Return the error of a model that never fits, with the numbers and the nearest choice that does.

    Args:
        name: What the model was asked for as.
        reference: Which one it is.
        settings: The operator's.
        refusal: What was found.

    Returns:
        The error.

    """
    from gemma4_block.engine.footprint import format_gb

    device = refusal.claim.device
    choice = next(_list_fitting(find_variant(name), reference, settings, refusal), None)
    fits = "Nothing smaller that is known here fits either" if choice is None else f"What fits is {choice}"
    message = (
        f"{name} never fits into the memory of {device}: it needs {refusal.claim.footprint}; and "
        f"{format_gb(refusal.most)} GB are there with every other model closed. {fits}. Or free memory of "
        "other programs"
    )
    if device.startswith("cuda"):
        # Layers on several devices would take turns, and the KV cache of a batch is joined on one.
        message += ". A model is not spread over GPUs here; a server does that, see docs/servers.md"
    return OutOfMemoryError(f"{message}.")


def _list_fitting(
    variant: Variant | None, reference: LocalModel, settings: Settings, refusal: Refuse
) -> Iterator[str]:
    """Yield in words what fits, from the nearest on."""
    from gemma4_block.engine.footprint import find_published_files, forecast, format_gb
    from gemma4_block.engine.hardware import inspect_machine
    from gemma4_block.engine.loading import ModelFiles, read_model_files

    machine = replace(inspect_machine(refusal.claim.device), free_bytes=refusal.most)

    def measure(files: ModelFiles, chosen: Settings, quantization: Quantization) -> int | None:
        """Return what it needs where that fits."""
        found = forecast(files, machine=machine, settings=chosen, quantization=quantization).footprint
        return None if found is None or found.needed > refusal.most else found.needed

    files = read_model_files(reference.directory)
    least = settings.model_copy(
        update={"vision_cache_bytes": 0, "prefix_cache_bytes": 0, "max_batch_size": 1}
    )
    size = measure(files, least, reference.quantization)
    if size is not None:
        yield (
            "the same model with GEMMA4_BLOCK_MAX_BATCH_SIZE=1, GEMMA4_BLOCK_VISION_CACHE_BYTES=0 and "
            f"GEMMA4_BLOCK_PREFIX_CACHE_BYTES=0 ({format_gb(size)} GB)"
        )
    for dtype, quantization in _PRECISIONS:
        if quantization != "none" and (files.has_experts or (variant is not None and variant.why_whole)):
            continue
        if quantization == "int8" and machine.device.type != "cpu":
            continue
        size = measure(files, settings.model_copy(update={"dtype": dtype}), quantization)
        if size is not None:
            how = f"GEMMA4_BLOCK_DTYPE={dtype}" if quantization == "none" else f"quantization {quantization}"
            yield f"the same model with {how} ({format_gb(size)} GB)"
    for smaller in reversed([one for one in VARIANTS if one.hub_id is not None]):
        size = measure(find_published_files(smaller), settings, "auto")
        if size is not None and size < refusal.claim.footprint.needed:
            yield f"{smaller.model_id} ({format_gb(size)} GB)"
