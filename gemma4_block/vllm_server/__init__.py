"""Plan the vLLM server of a model: which command, with which environment, and what workflows see of it."""

from gemma4_block.vllm_server.adapters import Adapter, read_adapter
from gemma4_block.vllm_server.checks import check_options, choose_quantization
from gemma4_block.vllm_server.machine import Gpu, ServerMachine, inspect_server_machine
from gemma4_block.vllm_server.model import ServedModel, find_served_model
from gemma4_block.vllm_server.options import DTYPES, LaunchOptions, ServedDtype
from gemma4_block.vllm_server.plan import Launch, plan_launch

__all__ = [
    "DTYPES",
    "Adapter",
    "Gpu",
    "Launch",
    "LaunchOptions",
    "ServedDtype",
    "ServedModel",
    "ServerMachine",
    "check_options",
    "choose_quantization",
    "find_served_model",
    "inspect_server_machine",
    "plan_launch",
    "read_adapter",
]
