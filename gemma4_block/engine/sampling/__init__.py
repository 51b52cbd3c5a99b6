"""Choose the next token: the rules of a reply, the grammar of a structured answer, the sampler."""

from gemma4_block.engine.sampling.grammar import Grammar, Grammars
from gemma4_block.engine.sampling.sampler import Sampler
from gemma4_block.engine.sampling.token_rules import TokenRules

__all__ = ["Grammar", "Grammars", "Sampler", "TokenRules"]
