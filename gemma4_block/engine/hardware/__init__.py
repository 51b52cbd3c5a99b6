"""Where a model runs: devices, free memory, threads."""
