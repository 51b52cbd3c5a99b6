"""Say in which precision a model would be loaded on a device, and what it would take there."""

from dataclasses import dataclass

from gemma4_block.contract import ImageSeqLength, Quantization
from gemma4_block.engine.footprint.estimate import estimate, plan_workload
from gemma4_block.engine.footprint.footprint import Footprint
from gemma4_block.engine.hardware import Machine
from gemma4_block.engine.loading import ModelFiles, Precision, forecast_precision
from gemma4_block.settings import Settings


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """How a model would be loaded.

    Attributes:
        precision: Of its weights.
        footprint: What it takes; None where its files do not tell.

    """

    precision: Precision
    footprint: Footprint | None


def forecast(
    files: ModelFiles,
    *,
    machine: Machine,
    settings: Settings,
    quantization: Quantization = "auto",
    image_seq_length: ImageSeqLength | None = None,
) -> Forecast:
    """Say how a model would be loaded.

    Args:
        files: What its files say.
        machine: Where it would work.
        settings: The operator's.
        quantization: What is asked for.
        image_seq_length: Of every image; None means the largest that the model was trained for.

    Returns:
        Precision and estimate.

    Raises:
        ConfigurationError: 4 bits are asked for a mixture of experts.

    """
    precision = forecast_precision(files, machine=machine, dtype=settings.dtype, quantization=quantization)
    weights = files.weights
    if weights is None:
        return Forecast(precision=precision, footprint=None)
    budget = files.shape.image_seq_lengths[-1] if image_seq_length is None else image_seq_length
    footprint = estimate(
        files,
        weights,
        precision,
        machine=machine,
        workload=plan_workload(settings, machine.device, budget),
        settings=settings,
    )
    return Forecast(precision=precision, footprint=footprint)
