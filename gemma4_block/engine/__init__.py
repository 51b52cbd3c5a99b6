"""Run the model: load checkpoints, preprocess prompts, schedule, prefill and decode sequences, pool engines.

Importing this package loads neither torch nor transformers; its modules do.
"""
