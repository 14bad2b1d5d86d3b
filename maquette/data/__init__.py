"""Floor 3: rows to batches."""
