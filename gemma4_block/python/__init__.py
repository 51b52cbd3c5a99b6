"""What a Python program imports: the model, and its tasks as methods."""

from gemma4_block.python.gemma4_hf import Gemma4HF
from gemma4_block.python.options import TaskOptions
from gemma4_block.python.package import Gemma4Package

__all__ = ["Gemma4HF", "Gemma4Package", "TaskOptions"]
