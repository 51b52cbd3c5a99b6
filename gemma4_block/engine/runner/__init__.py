"""Run the model on sequences: prefill, decode, KV and prefix cache, masks, scoring, CUDA graphs."""

from gemma4_block.engine.runner.forward import ForwardPasses
from gemma4_block.engine.runner.graphed import GraphedSteps, make_graphs
from gemma4_block.engine.runner.placed import find_bucket
from gemma4_block.engine.runner.prefill import PrefixCache
from gemma4_block.engine.runner.runner import ModelRunner

__all__ = ["ForwardPasses", "GraphedSteps", "ModelRunner", "PrefixCache", "find_bucket", "make_graphs"]
