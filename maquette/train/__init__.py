"""Floor 5: the loop and the run."""
