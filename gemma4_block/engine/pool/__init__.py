"""Hold the engines of this process, and find the one that a model's name means."""

from gemma4_block.engine.pool.bases import find_base, find_variant_of
from gemma4_block.engine.pool.cautions import find_caution
from gemma4_block.engine.pool.claims import MemoryGauge
from gemma4_block.engine.pool.copies import describe_own_copies
from gemma4_block.engine.pool.factory import load_local, make_engine
from gemma4_block.engine.pool.fetching import fetch
from gemma4_block.engine.pool.inventory import StoredModel, list_models
from gemma4_block.engine.pool.log_level import set_log_level
from gemma4_block.engine.pool.model_caches import find_hub_snapshot
from gemma4_block.engine.pool.pool import EnginePool
from gemma4_block.engine.pool.process_pool import get_engine_pool
from gemma4_block.engine.pool.references import choose_auto_quantization, find_reference, label_engine
from gemma4_block.engine.pool.residents import EngineStatus
from gemma4_block.engine.pool.resolver import Found, locate, resolve

__all__ = [
    "EnginePool",
    "EngineStatus",
    "Found",
    "MemoryGauge",
    "StoredModel",
    "choose_auto_quantization",
    "describe_own_copies",
    "fetch",
    "find_base",
    "find_caution",
    "find_hub_snapshot",
    "find_reference",
    "find_variant_of",
    "get_engine_pool",
    "label_engine",
    "list_models",
    "load_local",
    "locate",
    "make_engine",
    "resolve",
    "set_log_level",
]
