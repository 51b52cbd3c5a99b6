"""The blocks of the plugin: the form of each step, its run and its outputs."""

from gemma4_block.blocks.gemma4 import Gemma4Block
from gemma4_block.blocks.label_detections import LabelDetectionsBlock
from gemma4_block.blocks.multi_image import MultiImageBlock

__all__ = ["Gemma4Block", "LabelDetectionsBlock", "MultiImageBlock"]
