"""Learn from wide pictures: the model, its tokenizer, batches, throw-away heads and the loop."""

from gemma4_block.demo.training.learning.loop import Settings, Start, train
from gemma4_block.demo.training.learning.schedule import Plan
from gemma4_block.demo.training.learning.trainer import Trainer

__all__ = ["Plan", "Settings", "Start", "Trainer", "train"]
