"""What the operator may choose about a server."""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from gemma4_block.contract import ImageSeqLength
from gemma4_block.vllm_server.adapters import Adapter

ServedQuantization = Literal["none", "fp8"]
"""What a server may make of the weights; those of 4 bits are not among it."""

ServedDtype = Literal["auto", "bfloat16", "float32"]
DTYPES: Final[tuple[ServedDtype, ...]] = get_args(ServedDtype)


@dataclass(frozen=True, kw_only=True, slots=True)
class LaunchOptions:
    """What the operator may choose.

    Attributes:
        name: What workflows and the server call the model; None for its id.
        host: Address to listen on.
        port: Port to listen on.
        key_env: The environment variable that holds the key of the server; None for none.
        tensor_parallel: How many GPUs share each layer.
        data_parallel: How many copies answer beside each other.
        quantization: Of the weights.
        dtype: What is computed in; `auto` is what the checkpoint says.
        max_model_len: Most tokens of prompt and answer together.
        gpu_memory_utilization: The share of each GPU's memory that the server takes.
        cpu_cache_gib: Main memory in which a copy on the processor keeps prompts, in GiB; None for half of
            what the weights leave.
        image_seq_length: Visual token budget of requests that name none; None for the checkpoint's.
        adapters: Models of their own beside it.
        is_eager: Whether it starts sooner and answers more slowly.

    """

    name: str | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key_env: str | None = None
    tensor_parallel: int = 1
    data_parallel: int = 1
    quantization: ServedQuantization = "none"
    dtype: ServedDtype = "auto"
    max_model_len: int = 16_384
    gpu_memory_utilization: float = 0.9
    cpu_cache_gib: int | None = None
    image_seq_length: ImageSeqLength | None = None
    adapters: tuple[Adapter, ...] = ()
    is_eager: bool = False
