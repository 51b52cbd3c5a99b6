"""Estimate what an engine takes of memory, before it is loaded."""

from gemma4_block.engine.footprint.estimate import Workload, estimate
from gemma4_block.engine.footprint.footprint import Footprint, format_gb
from gemma4_block.engine.footprint.forecast import Forecast, forecast
from gemma4_block.engine.footprint.published import find_published_files

__all__ = [
    "Footprint",
    "Forecast",
    "Workload",
    "estimate",
    "find_published_files",
    "forecast",
    "format_gb",
]
