"""What a server cannot do with a model on a machine, found before minutes are spent on loading it."""

from typing import Final, get_args

from gemma4_block.errors import ConfigurationError
from gemma4_block.vllm_server.machine import ServerMachine
from gemma4_block.vllm_server.model import ServedModel
from gemma4_block.vllm_server.options import LaunchOptions, ServedQuantization

# Source: MaxLoRARanks in vllm/config/lora.py of vLLM 0.32.0.
_RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Source: Fp8Config.get_min_capability in vLLM 0.32.0.
_FIRST_WITH_FP8: Final = (7, 5)
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
# An image of the largest budget and a short answer.
_LEAST_TOKENS: Final = 2048
_MOST_CACHE_GIB: Final = 16
_GIB: Final = 2**30
_GB: Final = 1e9


def choose_quantization(given: str, model: ServedModel) -> ServedQuantization:
    """Return the quantization that the operator names.

    Args:
        given: Its name.
        model: To be served.

    Returns:
        The same.

    Raises:
        ConfigurationError: There is none such, or not on a server.

    """
    for allowed in get_args(ServedQuantization):
        if given == allowed:
            return allowed  # type: ignore[no-any-return]  # of the literal
    reason = ""
    if given == "nf4":
        # Source: QuantizationMethods in vLLM 0.32.0.
        reason = " vLLM 0.32.0 has no bitsandbytes."
        if model.why_no_4_bits:
            reason += f" Besides, {model.why_no_4_bits}."
    raise ConfigurationError(
        f"--quantization is {given}.{reason} Use one of {', '.join(get_args(ServedQuantization))}."
    )


def list_names(model: ServedModel, options: LaunchOptions) -> list[str]:
    """Return the names of a server's models, those of its adapters last."""
    name = model.model_id if options.name is None else options.name
    return [name, *(adapter.name for adapter in options.adapters)]


def check_options(model: ServedModel, options: LaunchOptions) -> None:
    """Refuse what cannot work on any machine.

    Args:
        model: To be served.
        options: What the operator chose.

    Raises:
        ConfigurationError: It cannot; says which option is in the way.

    """
    if options.host not in _LOOPBACK and options.key_env is None:
        raise ConfigurationError(
            f"--host is {options.host}, where the network can ask. Name a variable with a key in --key-env."
        )
    names = list_names(model, options)
    if len(set(names)) < len(names):
        raise ConfigurationError(f"Models and adapters need names of their own; they are {', '.join(names)}.")
    if options.max_model_len < _LEAST_TOKENS:
        raise ConfigurationError(
            f"--max-model-len is {options.max_model_len}, which one image can fill. "
            f"Use at least {_LEAST_TOKENS}."
        )
    if options.quantization == "fp8" and options.dtype == "float32":
        raise ConfigurationError("--quantization is fp8 and --dtype float32. Leave one of them out.")
    if not _can_share(model, options.tensor_parallel):
        allowed = [str(size) for size in range(1, model.heads.query + 1) if _can_share(model, size)]
        raise ConfigurationError(
            f"--tensor-parallel is {options.tensor_parallel}, and {model.model_id} has {model.heads.query} "
            f"heads. Use one of {', '.join(allowed)}."
        )


def check_machine(model: ServedModel, machine: ServerMachine, options: LaunchOptions) -> None:
    """Refuse what cannot work on this machine.

    Args:
        model: To be served.
        machine: Where.
        options: What the operator chose.

    Raises:
        ConfigurationError: It cannot; says which option is in the way.

    """
    if not machine.gpus:
        _check_processor(options)
        return
    if options.cpu_cache_gib is not None:
        raise ConfigurationError("--cpu-cache-gib is for a server on the processor. Leave it out.")
    needed = options.tensor_parallel * options.data_parallel
    if needed > len(machine.gpus):
        raise ConfigurationError(
            f"--tensor-parallel {options.tensor_parallel} times --data-parallel {options.data_parallel} "
            f"needs {needed} GPUs, and there are {len(machine.gpus)}."
        )
    oldest = min(gpu.capability for gpu in machine.gpus)
    if options.quantization == "fp8" and oldest < _FIRST_WITH_FP8:
        raise ConfigurationError(
            f"--quantization fp8 needs compute capability 7.5, and a GPU here has {oldest[0]}.{oldest[1]}."
        )
    share = _count_weights_bytes(model, options) / options.tensor_parallel
    room = options.gpu_memory_utilization * min(gpu.memory_bytes for gpu in machine.gpus)
    if share >= room:
        raise ConfigurationError(
            f"{model.model_id} needs {share / _GB:.1f} GB of each GPU for its weights alone, and the server "
            f"gets {room / _GB:.1f} GB. Use --quantization fp8, a larger --tensor-parallel, or a smaller "
            "model."
        )


def choose_cache_gib(model: ServedModel, machine: ServerMachine, options: LaunchOptions) -> int:
    """Return how much main memory each copy of a server on a processor keeps prompts in.

    Args:
        model: To be served.
        machine: Where.
        options: What the operator chose.

    Returns:
        What is wanted, or half of what the weights leave, in GiB; 1 where that is unknown.

    Raises:
        ConfigurationError: The weights leave too little.

    """
    wanted, copies = options.cpu_cache_gib, options.data_parallel
    if machine.free_bytes is None:
        return 1 if wanted is None else wanted
    need = _count_weights_bytes(model, options)
    left = machine.free_bytes / copies - need
    cache_gib = min(int(left / 2 / _GIB), _MOST_CACHE_GIB) if wanted is None else wanted
    if not 1 <= cache_gib <= left / _GIB:
        raise ConfigurationError(
            f"{model.model_id} has {need / _GB:.1f} GB of weights for each of {copies} processes, and of "
            f"{machine.free_bytes / _GB:.1f} GB that are free {max(2, cache_gib)} GiB must be left for each. "
            "Use a smaller --cpu-cache-gib, a smaller model, or a machine with more memory."
        )
    return cache_gib


def choose_rank(rank: int) -> int:
    """Return the smallest rank that vLLM can be started with and that is no smaller.

    >>> [choose_rank(rank) for rank in (4, 16, 17)]
    [8, 16, 32]
    """
    for allowed in _RANKS:
        if rank <= allowed:
            return allowed
    raise ConfigurationError(f"An adapter has rank {rank}; vLLM runs ranks up to {_RANKS[-1]}.")


def _check_processor(options: LaunchOptions) -> None:
    if options.quantization == "fp8":
        raise ConfigurationError("--quantization fp8 needs a GPU, and this server works on the processor.")
    if options.tensor_parallel > 1:
        raise ConfigurationError(
            "--tensor-parallel shares a model out over GPUs, and this server works on the processor. "
            "Leave it out."
        )


def _count_weights_bytes(model: ServedModel, options: LaunchOptions) -> float:
    if options.quantization == "fp8":
        return model.weights_bytes / 2
    return model.weights_bytes * 2 if options.dtype == "float32" else model.weights_bytes


def _can_share(model: ServedModel, size: int) -> bool:
    # Fewer key-value heads than GPUs are copied. Source: Gemma4Attention in vLLM 0.32.0.
    return model.heads.query % size == 0 and all(
        max(heads, size) % min(heads, size) == 0 for heads in model.heads.key_value
    )
