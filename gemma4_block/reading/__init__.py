"""How model text is read: JSON in prose, what box numbers mean, which class is meant, and how surely."""

from gemma4_block.reading.box_contracts import (
    BOX_CONTRACTS,
    DEFAULT_BOX_FORMAT,
    BoxContract,
    BoxFormat,
    boxes_schema,
)
from gemma4_block.reading.boxes import BoxesReading, ReadBox, read_boxes
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
