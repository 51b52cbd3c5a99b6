"""What we ask the model and how we read its answer, one file a task."""
