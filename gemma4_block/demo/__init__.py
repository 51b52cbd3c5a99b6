"""The embedded demo checkpoint and the scenes it knows; `training` and `evaluation` are for developers."""
