"""Turn generated tokens into the answer: text, thoughts, and how sure the model was."""

from gemma4_block.engine.postprocess.answers import AnswerReader

__all__ = ["AnswerReader"]
