"""Which token comes next: the sampler, and the grammar that a structured answer is held to."""
