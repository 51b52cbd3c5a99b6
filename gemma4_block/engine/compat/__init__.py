"""The signatures that users of inference_models know, over the local engine."""
