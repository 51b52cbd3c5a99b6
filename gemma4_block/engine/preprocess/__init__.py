"""From a prompt to tensors, in threads of their own, a little ahead of the model."""
