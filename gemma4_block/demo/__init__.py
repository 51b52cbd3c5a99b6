"""The embedded demo checkpoint: the scenes it was trained on, how it was trained, how good it is."""
