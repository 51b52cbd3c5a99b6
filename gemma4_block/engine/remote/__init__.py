"""Run a model on OpenAI-compatible servers, vLLM above all, which the operator names."""

from gemma4_block.engine.remote.engine import RemoteEngine, connect
from gemma4_block.engine.remote.inspection import ServerReport, inspect_server

__all__ = ["RemoteEngine", "ServerReport", "connect", "inspect_server"]
