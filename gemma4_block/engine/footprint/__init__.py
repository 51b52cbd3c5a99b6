"""Estimate what an engine takes of memory, before it is loaded."""

from gemma4_block.engine.footprint.estimate import Workload, estimate, plan_workload
from gemma4_block.engine.footprint.footprint import Footprint, format_gb
from gemma4_block.engine.footprint.published import find_published_files

__all__ = [
    "Footprint",
    "Workload",
    "estimate",
    "find_published_files",
    "format_gb",
    "plan_workload",
]
