"""All that is Gemma 4's alone: the model's modules, its template, its special tokens, its image patches."""
