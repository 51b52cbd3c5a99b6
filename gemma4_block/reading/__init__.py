"""How model text is read: JSON in prose, what box numbers mean, and which class a word names."""

from gemma4_block.reading.boxes import (
    BOX_CONTRACTS,
    DEFAULT_BOX_FORMAT,
    BoxContract,
    BoxesReading,
    BoxFormat,
    ReadBox,
    boxes_schema,
    read_boxes,
)
from gemma4_block.reading.confidence import score_entries
from gemma4_block.reading.json_text import JsonReading, JsonValue, read_json
from gemma4_block.reading.labels import find_class

__all__ = [
    "BOX_CONTRACTS",
    "DEFAULT_BOX_FORMAT",
    "BoxContract",
    "BoxFormat",
    "BoxesReading",
    "JsonReading",
    "JsonValue",
    "ReadBox",
    "boxes_schema",
    "find_class",
    "read_boxes",
    "read_json",
    "score_entries",
]
