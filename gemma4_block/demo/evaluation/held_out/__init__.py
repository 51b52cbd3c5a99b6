"""A second generator of pictures, which training never saw: other code, fonts and backgrounds."""

from gemma4_block.demo.evaluation.held_out.scenes import CONDITIONS, Condition, draw_held_out
from gemma4_block.demo.evaluation.held_out.words import draw_words

__all__ = ["CONDITIONS", "Condition", "draw_held_out", "draw_words"]
