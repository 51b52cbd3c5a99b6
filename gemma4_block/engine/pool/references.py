"""Say which engine a model's name and a precision mean."""

from contextlib import suppress
from pathlib import Path

from typing_extensions import assert_never

from gemma4_block.catalogue import Variant, find_named_variant
from gemma4_block.contract import LocalModel, ModelReference, Quantization, ServedModel
from gemma4_block.engine.pool.bases import find_base, find_variant_of
from gemma4_block.engine.pool.downloads import DOWNLOADS
from gemma4_block.engine.pool.resolver import is_two_parts, resolve
from gemma4_block.errors import ConfigurationError, ModelNotFoundError
from gemma4_block.servers import Server
from gemma4_block.settings import Settings


def find_reference(model_version: str, quantization: Quantization, settings: Settings) -> ModelReference:
    """Return which engine is meant; every name of the same model and precision gives the same reference.

    Args:
        model_version: As `locate` takes it.
        quantization: Precision of the weights.
        settings: The operator's; they name roots and device.

    Returns:
        A model of a server where the operator names one for the id; else a directory of this machine, in
        the precision that `auto` means there.

    Raises:
        ConfigurationError: The id is unknown or may not be used, the operator's device does not exist, 4 bits
            were asked for a variant that is refused in them, or a precision that the operator does not say a
            server has.
        CheckpointError: The model is not on this machine, or its config.json cannot be read.
        EngineLoadingError: The operator allows downloads, and the model is being downloaded.
        EngineError: It was not downloaded.

    """
    variant = find_named_variant(model_version)
    names = {model_version} if variant is None else {model_version, variant.model_id}
    for server in settings.servers:
        if server.model_id in names:
            _check_precision(server, quantization)
            return ServedModel(server=server.model_id, model=server.model)
    directory = _find_directory(model_version, variant, settings)
    adapter: Path | None = None
    if (directory / "adapter_config.json").is_file():
        adapter, directory = directory, find_base(directory, settings)
        variant = find_variant_of(directory)
    if variant is not None and variant.why_whole and quantization in ("auto", "nf4"):
        quantization = _keep_whole(variant, quantization)
    elif quantization == "auto":
        quantization = choose_auto_quantization(directory, settings)
    return LocalModel(directory=directory, quantization=quantization, adapter=adapter)


def _find_directory(model_version: str, variant: Variant | None, settings: Settings) -> Path:
    """Return the directory of a model, which is fetched first where it is nowhere and that is allowed."""
    if variant is None or variant.hub_id is None or not settings.allow_downloads:
        return resolve(model_version, settings)
    # What was fetched in part would be refused.
    if not DOWNLOADS.is_under_way(variant.model_id):
        with suppress(ModelNotFoundError):
            return resolve(model_version, settings)
    DOWNLOADS.fetch(variant.model_id, patience_s=settings.max_loading_seconds)
    return resolve(model_version, settings)


def _keep_whole(variant: Variant, quantization: Quantization) -> Quantization:
    if quantization == "nf4":
        raise ConfigurationError(
            f"quantization nf4 was asked for {variant.model_id}: {variant.why_whole}. Use quantization none."
        )
    return "none"


def choose_auto_quantization(directory: Path, settings: Settings) -> Quantization:
    """Say what `auto` is on this machine.

    Args:
        directory: Weights, or an adapter beside its `base/`.
        settings: The operator's; they name the device.

    Returns:
        `nf4` on CUDA, except for a mixture of experts; else `none`.

    Raises:
        CheckpointError: The directory's config.json cannot be read.
        ConfigurationError: The operator's device does not exist.

    """
    # torch and transformers are imported when the first engine is asked for, and not before.
    from gemma4_block.engine.hardware import find_device

    device = find_device(settings.device)
    if device.type == "cpu":
        return "none"
    from gemma4_block.engine.loading import choose_quantization, has_experts, load_config, weights_directory

    config = load_config(weights_directory(directory), trust_remote_code=False)
    return choose_quantization("auto", device=device, has_experts=has_experts(config))


def _check_precision(server: Server, quantization: Quantization) -> None:
    """Refuse a precision that a server is not said to have; it was chosen when the server was started."""
    if quantization not in ("auto", server.quantization):
        has = "which one is not said" if server.quantization is None else f"it is {server.quantization}"
        raise ConfigurationError(
            f"quantization is {quantization}, and {server.model_id} runs on a server that has its own: "
            f"{has}. Leave it at auto, or let the operator name it in GEMMA4_BLOCK_SERVERS."
        )


def describe_reference(reference: ModelReference) -> str:
    """Return the name of an engine for messages."""
    match reference:
        case LocalModel():
            return str(reference.directory if reference.adapter is None else reference.adapter)
        case ServedModel():
            return f"{reference.model} on {reference.server}"
        case _:
            assert_never(reference)


def label_engine(reference: ModelReference, name: str) -> str:
    """Return what an operator's monitoring calls an engine: one of as many names as there are models.

    A directory can be written in any number of ways, and a request chooses one.

    Args:
        reference: Of the engine.
        name: What it was first asked for as.

    Returns:
        The id of a variant or a server, a `project/version` or `org/name`, or the last part of a directory.

    """
    variant = find_named_variant(name)
    if variant is not None:
        return variant.model_id
    match reference:
        case LocalModel():
            directory = reference.directory if reference.adapter is None else reference.adapter
            return name if is_two_parts(name) else directory.name
        case ServedModel():
            return reference.server
        case _:
            assert_never(reference)
