"""The rows about wide pictures: what the model should know beyond the scenes of the first evaluation."""

from gemma4_block.demo.evaluation.wide.rows import BUDGETS, evaluate_wide

__all__ = ["BUDGETS", "evaluate_wide"]
