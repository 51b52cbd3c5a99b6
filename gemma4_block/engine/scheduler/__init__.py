"""Which sequences the model works on next: requests, sequences, admission, fairness, the worker thread."""
