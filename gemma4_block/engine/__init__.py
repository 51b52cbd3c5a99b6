"""What runs the model: checkpoints, conversations, batches, generation, and the pool of loaded engines.

Importing this room loads neither torch nor transformers; its modules do.
"""
