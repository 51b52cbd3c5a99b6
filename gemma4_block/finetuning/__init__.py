"""Fine-tuning: an adapter for a model, from a folder of pictures with questions and answers."""

from gemma4_block.finetuning.dataset import ANNOTATIONS, Dataset, Example, read_dataset
from gemma4_block.finetuning.plan import Plan
from gemma4_block.finetuning.results import Comparison, Judgement, Watcher
from gemma4_block.finetuning.run import finetune
from gemma4_block.finetuning.wording import Wording

__all__ = [
    "ANNOTATIONS",
    "Comparison",
    "Dataset",
    "Example",
    "Judgement",
    "Plan",
    "Watcher",
    "Wording",
    "finetune",
    "read_dataset",
]
