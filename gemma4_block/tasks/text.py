"""The wording of the tasks whose answer is plain text, for training a model on it."""

from gemma4_block.tasks.caption import CAPTION
from gemma4_block.tasks.detailed_caption import DETAILED_CAPTION
from gemma4_block.tasks.ocr import OCR
from gemma4_block.tasks.visual_question_answering import short_answer

__all__ = ["CAPTION", "DETAILED_CAPTION", "OCR", "short_answer"]
