"""Floor 6: models behind HTTP: the engine that runs them, the doors before it, jobs beside it."""
