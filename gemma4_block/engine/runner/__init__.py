"""The model at work: prefill, decode, KV cache, prefix cache, attention masks, scoring."""
