"""Hold the engines of this process, and find the one that a model's name means."""

from gemma4_block.engine.pool.bases import find_base
from gemma4_block.engine.pool.factory import load_local, make_engine
from gemma4_block.engine.pool.log_level import set_log_level
from gemma4_block.engine.pool.pool import EnginePool, get_engine_pool
from gemma4_block.engine.pool.references import choose_auto_quantization, find_reference
from gemma4_block.engine.pool.residents import EngineStatus
from gemma4_block.engine.pool.resolver import Found, find_hub_snapshot, locate, resolve

__all__ = [
    "EnginePool",
    "EngineStatus",
    "Found",
    "choose_auto_quantization",
    "find_base",
    "find_hub_snapshot",
    "find_reference",
    "get_engine_pool",
    "load_local",
    "locate",
    "make_engine",
    "resolve",
    "set_log_level",
]
