"""Inspect the machine that a model runs on: devices, free memory, threads."""

from gemma4_block.engine.hardware.devices import choose_devices, choose_freest, find_devices
from gemma4_block.engine.hardware.machine import (
    Machine,
    find_device,
    has_bfloat16,
    inspect_machine,
    read_free_memory,
    read_processor_features,
)
from gemma4_block.engine.hardware.packing import Packing, attends_slowly, choose_least_rows, choose_packing
from gemma4_block.engine.hardware.pages import give_back_pages, is_of_a_file
from gemma4_block.engine.hardware.threads import find_own_spinning, find_spinning, warn_of_spinning

__all__ = [
    "Machine",
    "Packing",
    "attends_slowly",
    "choose_devices",
    "choose_freest",
    "choose_least_rows",
    "choose_packing",
    "find_device",
    "find_devices",
    "find_own_spinning",
    "find_spinning",
    "give_back_pages",
    "has_bfloat16",
    "inspect_machine",
    "is_of_a_file",
    "read_free_memory",
    "read_processor_features",
    "warn_of_spinning",
]
