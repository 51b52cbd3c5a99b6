"""Gemma 4 blocks for Roboflow Inference Workflows."""
