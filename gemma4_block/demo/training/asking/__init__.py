"""Ask about wide pictures: questions in the words of the tasks and of users, with their true answers."""

from gemma4_block.demo.training.asking.classes import scale_box_1000
from gemma4_block.demo.training.asking.counting import SENTENCE_SYSTEM_PROMPTS
from gemma4_block.demo.training.asking.describing import describe
from gemma4_block.demo.training.asking.names import FOREIGN, KINDS, LABELS, plural, with_article
from gemma4_block.demo.training.asking.outstanding import OUTSTANDING, find_outstanding
from gemma4_block.demo.training.asking.turn import Kind, Language, Turn
from gemma4_block.demo.training.asking.turns import ask

__all__ = [
    "FOREIGN",
    "KINDS",
    "LABELS",
    "OUTSTANDING",
    "SENTENCE_SYSTEM_PROMPTS",
    "Kind",
    "Language",
    "Turn",
    "ask",
    "describe",
    "find_outstanding",
    "plural",
    "scale_box_1000",
    "with_article",
]
