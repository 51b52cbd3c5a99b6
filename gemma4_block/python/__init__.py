"""What a Python program imports: the model, and its tasks as methods."""

from gemma4_block.python.gemma4_hf import Gemma4HF
from gemma4_block.python.options import TaskOptions

__all__ = ["Gemma4HF", "TaskOptions"]
