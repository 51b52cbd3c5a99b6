"""From a directory of files to a model in memory: config, precision, weights, adapter."""
