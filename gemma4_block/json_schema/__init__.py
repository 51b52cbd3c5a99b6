"""JSON Schemas: what of one an answer is held to while it is written, and whether the answer matches it."""

from gemma4_block.json_schema.grammar import compile_schema, relax_schema
from gemma4_block.json_schema.library import grammar_limits
from gemma4_block.json_schema.mismatch import find_mismatch
from gemma4_block.json_schema.served import matches_schema, write_lark

__all__ = [
    "compile_schema",
    "find_mismatch",
    "grammar_limits",
    "matches_schema",
    "relax_schema",
    "write_lark",
]
