"""What the workflow sees: the form of a step, its run, its outputs."""
