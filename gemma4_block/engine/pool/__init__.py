"""Which engines this process holds, and how a model's name becomes one of them."""
