"""Turn a reference into the engine that it means."""

from typing import TYPE_CHECKING

from typing_extensions import assert_never

from gemma4_block.contract import Engine, LocalModel, ModelReference, ServedModel
from gemma4_block.engine.pool.cautions import log_caution
from gemma4_block.errors import ConfigurationError
from gemma4_block.servers import Server
from gemma4_block.settings import Settings

if TYPE_CHECKING:
    from gemma4_block.engine.local import LocalEngine


def make_engine(reference: ModelReference, settings: Settings) -> Engine:
    """Load or connect an engine, as the operator's settings say, and log what its model is not for.

    Args:
        reference: Which one.
        settings: The operator's.

    Returns:
        The engine, ready to answer.

    Raises:
        CheckpointError: Files are missing, damaged or do not fit together.
        ConfigurationError: The device or precision cannot work, or a server's key is empty.
        EngineError: A server cannot be reached, refuses the key, or has no such model.

    """
    match reference:
        case LocalModel():
            engine: Engine = load_local(reference, settings)
        case ServedModel():
            # The client library is imported when the first served model is asked for, and not before.
            from gemma4_block.engine.remote import connect

            engine = connect(_find_server(reference, settings))
        case _:
            assert_never(reference)
    log_caution(reference)
    return engine


def load_local(model: LocalModel, settings: Settings) -> "LocalEngine":
    """Load a model of this machine, on the operator's device and in the operator's precision.

    Args:
        model: Which one; its adapter is put beside it later, by the engine.
        settings: The operator's.

    Returns:
        The engine, ready to answer.

    Raises:
        CheckpointError: Files are missing, damaged or do not fit together.
        ConfigurationError: The device or precision cannot work.

    """
    # torch and transformers are imported when the first engine is asked for, and not before.
    from gemma4_block.engine.hardware import find_device
    from gemma4_block.engine.loading import LoadOptions, load_checkpoint
    from gemma4_block.engine.local import LocalEngine

    options = LoadOptions(
        device=find_device(settings.device), dtype=settings.dtype, quantization=model.quantization
    )
    return LocalEngine(load_checkpoint(model.directory, options), settings)


def _find_server(reference: ServedModel, settings: Settings) -> Server:
    for server in settings.servers:
        if server.model_id == reference.server:
            return server
    raise ConfigurationError(
        f"{reference.server} is in no entry of GEMMA4_BLOCK_SERVERS. Name a model that is, or add it."
    )
